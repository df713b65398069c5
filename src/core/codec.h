// Bounded reading and writing of big-endian wire fields. A reader or writer that once ran out stays `bad` and yields
// zeros, so a decoder reads a whole message straight down and asks once at its end.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
};

void reader_init(struct reader *reader, const uint8_t *bytes, size_t length);
uint8_t reader_u8(struct reader *reader);
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
// A view of the next length bytes, lent for as long as the input lives; NULL when they are not there.
const uint8_t *reader_bytes(struct reader *reader, size_t length);
// Copies exactly length bytes; on failure `out` is zeroed.
void reader_copy(struct reader *reader, uint8_t *out, size_t length);
// A u16 length and so many bytes, copied into out[size] with a final NUL. Bad when it does not fit or holds a NUL.
void reader_text(struct reader *reader, char *out, size_t size);
size_t reader_left(const struct reader *reader);
// True when nothing was missing and nothing is left over.
bool reader_is_done(const struct reader *reader);

struct writer {
	uint8_t *start;
	uint8_t *at;
	uint8_t *end;
	bool bad;
};

void writer_init(struct writer *writer, uint8_t *bytes, size_t size);
void writer_u8(struct writer *writer, uint8_t value);
void writer_u16(struct writer *writer, uint16_t value);
void writer_u32(struct writer *writer, uint32_t value);
void writer_u64(struct writer *writer, uint64_t value);
void writer_bytes(struct writer *writer, const void *bytes, size_t length);
// u16 length and the bytes of a C string (not its NUL); bad when longer than 65535.
void writer_text(struct writer *writer, const char *text);
size_t writer_length(const struct writer *writer);
