#include "core/codec.h"

#include <string.h>

void reader_init(struct reader *reader, const uint8_t *bytes, size_t length)
{
	// NULL is fine for nothing at all.
	*reader = (struct reader){.at = bytes, .end = length > 0 ? bytes + length : bytes};
}

const uint8_t *reader_bytes(struct reader *reader, size_t length)
{
	// Hostile: compared as a length, so no pointer is ever formed behind the end.
	if (reader->bad || (size_t)(reader->end - reader->at) < length) {
		reader->bad = true;
		return NULL;
	}
	const uint8_t *bytes = reader->at;
	reader->at += length;
	return bytes;
}

static uint64_t read_number(struct reader *reader, size_t size)
{
	const uint8_t *bytes = reader_bytes(reader, size);
	uint64_t value = 0;
	for (size_t i = 0; bytes && i < size; i++)
		value = value << 8 | bytes[i];
	return value;
}

uint8_t reader_u8(struct reader *reader)
{
	return (uint8_t)read_number(reader, 1);
}

uint16_t reader_u16(struct reader *reader)
{
	return (uint16_t)read_number(reader, 2);
}

uint32_t reader_u32(struct reader *reader)
{
	return (uint32_t)read_number(reader, 4);
}

uint64_t reader_u64(struct reader *reader)
{
	return read_number(reader, 8);
}

void reader_copy(struct reader *reader, uint8_t *out, size_t length)
{
	const uint8_t *bytes = reader_bytes(reader, length);
	if (bytes)
		memcpy(out, bytes, length);
	else
		memset(out, 0, length);
}

void reader_text(struct reader *reader, char *out, size_t size)
{
	size_t length = reader_u16(reader);
	out[0] = '\0';
	// Hostile: checked against the room before anything is copied.
	if (length >= size)
		reader->bad = true;
	const uint8_t *bytes = reader_bytes(reader, length);
	if (!bytes)
		return;
	if (memchr(bytes, '\0', length)) {
		reader->bad = true;
		return;
	}
	memcpy(out, bytes, length);
	out[length] = '\0';
}

size_t reader_left(const struct reader *reader)
{
	return reader->bad ? 0 : (size_t)(reader->end - reader->at);
}

bool reader_is_done(const struct reader *reader)
{
	return !reader->bad && reader->at == reader->end;
}

void writer_init(struct writer *writer, uint8_t *bytes, size_t size)
{
	*writer = (struct writer){.start = bytes, .at = bytes, .end = size > 0 ? bytes + size : bytes};
}

void writer_bytes(struct writer *writer, const void *bytes, size_t length)
{
	if (writer->bad || (size_t)(writer->end - writer->at) < length) {
		writer->bad = true;
		return;
	}
	if (length > 0)
		memcpy(writer->at, bytes, length);
	writer->at += length;
}

static void write_number(struct writer *writer, uint64_t value, size_t size)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
	writer_bytes(writer, bytes, size);
}

void writer_u8(struct writer *writer, uint8_t value)
{
	write_number(writer, value, 1);
}

void writer_u16(struct writer *writer, uint16_t value)
{
	write_number(writer, value, 2);
}

void writer_u32(struct writer *writer, uint32_t value)
{
	write_number(writer, value, 4);
}

void writer_u64(struct writer *writer, uint64_t value)
{
	write_number(writer, value, 8);
}

void writer_text(struct writer *writer, const char *text)
{
	size_t length = strlen(text);
	if (length > UINT16_MAX) {
		writer->bad = true;
		return;
	}
	writer_u16(writer, (uint16_t)length);
	writer_bytes(writer, text, length);
}

size_t writer_length(const struct writer *writer)
{
	return (size_t)(writer->at - writer->start);
}
