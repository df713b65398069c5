#include "link/schedule.h"

#include "core/codec.h"

#include <assert.h>
#include <string.h>

// Labels are written once, here. Spec: docs/protocol.md, "Key schedule".
#define LABEL_PREFIX "qanat/1 "
#define LABEL_HELLO "qanat/1 hello"
#define LABEL_EPOCH "qanat/1 epoch"
#define LABEL_STREAM "qanat/1 stream"
#define IDENTITY_PREFIX "q1"

enum {
	LABEL_MAX_BYTES = 48,
	SALT_HEAD_BYTES = sizeof(LABEL_EPOCH) - 1 + 4 + 1,
	STREAM_INFO_BYTES = sizeof(LABEL_STREAM) - 1 + 1 + LINK_ID_BYTES + 4 + 8 + 2,
	ROLE_DIALLED_BY_INITIATOR = 0,
};

static int expand_label(const struct secret *prk, const char *label, struct secret *out)
{
	char info[LABEL_MAX_BYTES] = LABEL_PREFIX;
	size_t prefix_length = sizeof(LABEL_PREFIX) - 1;
	size_t label_length = strlen(label);
	assert(prefix_length + label_length <= sizeof info);
	memcpy(info + prefix_length, label, label_length);
	return hkdf_expand(prk, info, prefix_length + label_length, DIGEST_BYTES, out);
}

void schedule_hello_context(const uint8_t cert_i_digest[DIGEST_BYTES], const uint8_t cert_r_digest[DIGEST_BYTES],
                            const struct digest_part *frame_i, const struct digest_part *frame_r,
                            uint8_t context[DIGEST_BYTES])
{
	const struct digest_part parts[] = {
		{LABEL_HELLO, sizeof(LABEL_HELLO) - 1},
		{cert_i_digest, DIGEST_BYTES},
		{cert_r_digest, DIGEST_BYTES},
		*frame_i,
		*frame_r,
	};
	digest_sha384(parts, COUNT_OF(parts), context);
}

int schedule_link_id(const struct secret *chain_0, uint8_t link_id[LINK_ID_BYTES])
{
	struct secret expanded = {0};
	int outcome = expand_label(chain_0, "link id", &expanded);
	if (outcome != 0)
		return outcome;
	memcpy(link_id, expanded.bytes, LINK_ID_BYTES);
	secret_fini(&expanded);
	return 0;
}

// Everything both sides said about this epoch. Spec: docs/protocol.md, "Key schedule".
static void epoch_salt(const struct schedule_input *input, uint8_t salt[DIGEST_BYTES])
{
	uint8_t head[SALT_HEAD_BYTES];
	struct writer writer;
	writer_init(&writer, head, sizeof head);
	writer_bytes(&writer, LABEL_EPOCH, sizeof(LABEL_EPOCH) - 1);
	writer_u32(&writer, input->epoch);
	writer_u8(&writer, input->legs);
	assert(!writer.bad && writer_length(&writer) == sizeof head);
	const struct digest_part parts[] = {
		{head, sizeof head},
		{input->offer_digest, DIGEST_BYTES},
		{input->accept_digest, DIGEST_BYTES},
		{input->mceliece_digest, DIGEST_BYTES},
	};
	digest_sha384(parts, COUNT_OF(parts), salt);
}

static int epoch_extract(const struct schedule_input *input, struct secret *prk)
{
	assert(input->legs & LEG_X25519);
	assert(!(input->legs & LEG_MLKEM768) == !input->mlkem768);
	assert(!(input->legs & LEG_MCELIECE) == !input->mceliece);
	uint8_t salt[DIGEST_BYTES];
	epoch_salt(input, salt);
	struct digest_part ikm[4];
	size_t count = 0;
	const struct secret *parts[] = {input->chain, input->x25519, input->mlkem768, input->mceliece};
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (!parts[i])
			continue;
		assert(secret_is_set(parts[i]));
		ikm[count++] = (struct digest_part){parts[i]->bytes, parts[i]->length};
	}
	return hkdf_extract(salt, sizeof salt, ikm, count, prk);
}

int schedule_epoch_derive(const struct schedule_input *input, struct schedule_epoch *out)
{
	struct secret prk = {0};
	struct schedule_epoch derived = {0};
	int outcome = epoch_extract(input, &prk);
	if (outcome == 0)
		outcome = expand_label(&prk, "chain", &derived.chain);
	if (outcome == 0)
		outcome = expand_label(&prk, "data", &derived.data);
	if (outcome == 0)
		outcome = expand_label(&prk, "confirm responder", &derived.confirm_r);
	if (outcome == 0)
		outcome = expand_label(&prk, "confirm initiator", &derived.confirm_i);
	secret_fini(&prk);
	if (outcome != 0) {
		schedule_epoch_fini(&derived);
		return outcome;
	}
	secret_move(&out->chain, &derived.chain);
	secret_move(&out->data, &derived.data);
	secret_move(&out->confirm_r, &derived.confirm_r);
	secret_move(&out->confirm_i, &derived.confirm_i);
	return 0;
}

void schedule_epoch_fini(struct schedule_epoch *epoch)
{
	secret_fini(&epoch->chain);
	secret_fini(&epoch->data);
	secret_fini(&epoch->confirm_r);
	secret_fini(&epoch->confirm_i);
}

void psk_identity_encode(const struct psk_identity *identity, uint8_t out[PSK_IDENTITY_BYTES])
{
	struct writer writer;
	writer_init(&writer, out, PSK_IDENTITY_BYTES);
	writer_bytes(&writer, IDENTITY_PREFIX, sizeof(IDENTITY_PREFIX) - 1);
	writer_bytes(&writer, identity->link_id, LINK_ID_BYTES);
	writer_u32(&writer, identity->epoch);
	writer_u64(&writer, identity->index);
	assert(!writer.bad && writer_length(&writer) == PSK_IDENTITY_BYTES);
}

int psk_identity_decode(const uint8_t *bytes, size_t length, struct psk_identity *identity)
{
	// Hostile: a stranger's ClientHello carries these bytes, before anything is proved.
	if (length != PSK_IDENTITY_BYTES || memcmp(bytes, IDENTITY_PREFIX, sizeof(IDENTITY_PREFIX) - 1) != 0)
		return PSK_IDENTITY_BAD;
	struct reader reader;
	reader_init(&reader, bytes + sizeof(IDENTITY_PREFIX) - 1, length - (sizeof(IDENTITY_PREFIX) - 1));
	reader_copy(&reader, identity->link_id, LINK_ID_BYTES);
	identity->epoch = reader_u32(&reader);
	identity->index = reader_u64(&reader);
	assert(reader_is_done(&reader));
	return 0;
}

int schedule_psk(const struct secret *data, const struct psk_identity *identity, uint16_t suite, struct secret *psk)
{
	uint8_t info[STREAM_INFO_BYTES];
	struct writer writer;
	writer_init(&writer, info, sizeof info);
	writer_bytes(&writer, LABEL_STREAM, sizeof(LABEL_STREAM) - 1);
	writer_u8(&writer, ROLE_DIALLED_BY_INITIATOR);
	writer_bytes(&writer, identity->link_id, LINK_ID_BYTES);
	writer_u32(&writer, identity->epoch);
	writer_u64(&writer, identity->index);
	writer_u16(&writer, suite);
	assert(!writer.bad && writer_length(&writer) == sizeof info);
	return hkdf_expand(data, info, sizeof info, PSK_BYTES, psk);
}
