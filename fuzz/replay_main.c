// Runs one fuzz target over a corpus without a fuzzer: every file named, and every file in the folders named.
// A finding is a crash or an assertion, so reaching the last line is the proof.

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	REPLAY_MAX_BYTES = 1 << 20,
	REPLAY_MAX_FILES = 100000,
	REPLAY_MAX_DEPTH = 8,
	REPLAY_MAX_PATH = 4096,
};

static unsigned passed;

static void stop(const char *path, const char *reason)
{
	fprintf(stderr, "replay: %s: %s\n", path, reason);
	exit(2);
}

// The copy has exactly the size of the input, so that a sanitizer sees the first byte read beyond it.
static void replay_file(const char *path, size_t size)
{
	if (size > REPLAY_MAX_BYTES)
		stop(path, "longer than any corpus file should be");
	if (passed == REPLAY_MAX_FILES)
		stop(path, "too many files in the corpus");
	FILE *file = fopen(path, "rb");
	if (!file)
		stop(path, strerror(errno));
	uint8_t *data = malloc(size > 0 ? size : 1);
	if (!data)
		stop(path, "no memory");
	if (fread(data, 1, size, file) != size)
		stop(path, "cannot be read whole");
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	passed++;
}

static void replay_path(const char *path, int depth);

static void replay_folder(const char *path, int depth)
{
	if (depth > REPLAY_MAX_DEPTH)
		stop(path, "folders nested too deeply");
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		stop(path, strerror(errno));
	for (int i = 0; i < count; i++) {
		char child[REPLAY_MAX_PATH];
		int length = snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
		if (length < 0 || (size_t)length >= sizeof child)
			stop(path, "path too long");
		if (entries[i]->d_name[0] != '.')
			replay_path(child, depth + 1);
		free(entries[i]);
	}
	free(entries);
}

static void replay_path(const char *path, int depth)
{
	struct stat info;
	if (stat(path, &info) != 0)
		stop(path, strerror(errno));
	if (S_ISDIR(info.st_mode))
		replay_folder(path, depth);
	else if (S_ISREG(info.st_mode))
		replay_file(path, (size_t)info.st_size);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE_OR_FOLDER...\n", argv[0]);
		return 2;
	}
	for (int i = 1; i < argc; i++)
		replay_path(argv[i], 0);
	printf("%u passed, 0 failed\n", passed);
	return passed > 0 ? 0 : 1;
}
