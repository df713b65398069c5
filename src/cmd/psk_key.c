#include "cmd/psk_key.h"

#include "core/log.h"
#include "crypto/digest.h"
#include "limits.h"
#include "policy/weakness.h"
#include "wire/ttun.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANDOM_BYTES 32

// All of it, up to the limit. Negative errno, or how many bytes; more than the limit is -EFBIG.
static ssize_t read_all(int fd, uint8_t bytes[LIMIT_PSK_BYTES + 1])
{
	size_t length = 0;
	while (length <= LIMIT_PSK_BYTES) {
		ssize_t got = read(fd, bytes + length, LIMIT_PSK_BYTES + 1 - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		length += (size_t)got;
	}
	return length > LIMIT_PSK_BYTES ? -EFBIG : (ssize_t)length;
}

static ssize_t read_file(const char *path, uint8_t bytes[LIMIT_PSK_BYTES + 1], char problem[PSK_KEY_PROBLEM_BYTES])
{
	struct stat status;
	// A pipe without a writer must not stop a running node at a reload.
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &status) != 0) {
		snprintf(problem, PSK_KEY_PROBLEM_BYTES, "%s: cannot be opened: %s", path, outcome_text(-errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	ssize_t length = -1;
	if (!S_ISREG(status.st_mode))
		snprintf(problem, PSK_KEY_PROBLEM_BYTES, "%s: is not a file; a pipe is given with --key-fd", path);
	else if ((status.st_mode & 077) != 0)
		snprintf(problem, PSK_KEY_PROBLEM_BYTES, "%s: others may read this key (mode %03o): chmod 600 it", path,
		         (unsigned)status.st_mode & 0777);
	else if ((length = read_all(fd, bytes)) < 0)
		snprintf(problem, PSK_KEY_PROBLEM_BYTES, "%s: cannot be read: %s", path, outcome_text((int)length));
	close(fd);
	return length;
}

static ssize_t read_descriptor(const char *number, uint8_t bytes[LIMIT_PSK_BYTES + 1],
                               char problem[PSK_KEY_PROBLEM_BYTES])
{
	int fd = (int)strtol(number, NULL, 10);
	ssize_t length = read_all(fd, bytes);
	if (length < 0)
		snprintf(problem, PSK_KEY_PROBLEM_BYTES, "descriptor %d: cannot be read: %s", fd, outcome_text((int)length));
	else if (fd > STDERR_FILENO)
		close(fd);
	return length;
}

static ssize_t without_line_end(const uint8_t *bytes, ssize_t length)
{
	if (length > 0 && bytes[length - 1] == '\n')
		length--;
	if (length > 0 && bytes[length - 1] == '\r')
		length--;
	return length;
}

static ssize_t find(struct config *config, uint8_t bytes[LIMIT_PSK_BYTES + 1], char problem[PSK_KEY_PROBLEM_BYTES])
{
	if (config->psk.key_file)
		return without_line_end(bytes, read_file(config->psk.key_file, bytes, problem));
	if (config->psk.key_fd)
		return without_line_end(bytes, read_descriptor(config->psk.key_fd, bytes, problem));
	size_t length = strlen(config->psk.key);
	if (length > LIMIT_PSK_BYTES) {
		snprintf(problem, PSK_KEY_PROBLEM_BYTES, "the key is longer than %d bytes", LIMIT_PSK_BYTES);
		return -1;
	}
	memcpy(bytes, config->psk.key, length);
	secret_wipe(config->psk.key, length);
	return (ssize_t)length;
}

// 0, or 1 and `problem` says why.
static int judge(const struct config *config, const uint8_t *bytes, ssize_t length, char problem[PSK_KEY_PROBLEM_BYTES])
{
	if (length == 0)
		snprintf(problem, PSK_KEY_PROBLEM_BYTES, "the key is empty");
	if (length <= 0)
		return 1;
	if (config->psk.pq && length < AEAD_KEY_BYTES) {
		snprintf(problem, PSK_KEY_PROBLEM_BYTES, "--pq needs a key of at least 32 bytes: `qanat psk genkey` makes one");
		return 1;
	}
	const char *weakness = weakness_of(bytes, (size_t)length);
	if (weakness)
		log_warn("psk",
		         "the pre-shared key is weak: %s. Whoever records one handshake can try keys at leisure; `qanat psk "
		         "genkey` makes a strong one",
		         weakness);
	return 0;
}

int psk_key_load(struct config *config, struct secret *key, char problem[PSK_KEY_PROBLEM_BYTES])
{
	uint8_t bytes[LIMIT_PSK_BYTES + 1];
	ssize_t length = find(config, bytes, problem);
	int result = judge(config, bytes, length, problem);
	if (result == 0) {
		result = ttun_key(bytes, (size_t)length, key);
		if (result < 0)
			snprintf(problem, PSK_KEY_PROBLEM_BYTES, "%s", outcome_text(result));
	}
	// Whatever came of it: also of one that is too long, a part was read.
	secret_wipe(bytes, sizeof bytes);
	return result != 0;
}

static void print_base64(const uint8_t *bytes, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < length; i += 3) {
		size_t left = length - i;
		uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
		                 (left > 2 ? bytes[i + 2] : 0);
		putchar(digits[group >> 18]);
		putchar(digits[group >> 12 & 63]);
		putchar(left > 1 ? digits[group >> 6 & 63] : '=');
		putchar(left > 2 ? digits[group & 63] : '=');
	}
	putchar('\n');
}

int psk_key_generate(int argc, char **argv)
{
	(void)argv;
	if (argc > 0) {
		fputs("usage: qanat psk genkey\n\nPrints a new key of 32 random bytes, in base64. The text is the key.\n",
		      stderr);
		return 2;
	}
	uint8_t bytes[RANDOM_BYTES];
	random_bytes(bytes, sizeof bytes);
	print_base64(bytes, sizeof bytes);
	secret_wipe(bytes, sizeof bytes);
	return fflush(stdout) == 0 ? 0 : 1;
}
