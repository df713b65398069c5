#include "cmd/psk_words.h"

#include "core/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_VALUE, KIND_KEY, KIND_SWITCH, KIND_TRUTH };
enum side { SIDE_BOTH, SIDE_SERVER, SIDE_CLIENT };

static const struct word {
	const char *name, *flag;
	enum kind kind;
	enum side side;
} table[] = {
	{"k", "--key", KIND_KEY, SIDE_BOTH},
	{"key", "--key", KIND_KEY, SIDE_BOTH},
	{"m", "--method", KIND_VALUE, SIDE_BOTH},
	{"l", "--listen", KIND_VALUE, SIDE_SERVER},
	{"s", "--server", KIND_VALUE, SIDE_CLIENT},
	{"mtu", "--mtu", KIND_VALUE, SIDE_BOTH},
	{"mptcp", "--mptcp", KIND_SWITCH, SIDE_BOTH},
	{"pq", "--pq", KIND_TRUTH, SIDE_BOTH},
	{"check-sources", "--check-sources", KIND_TRUTH, SIDE_BOTH},
};

// "-x", "--x", with or without "=v". *value is NULL without.
static const struct word *find(char *text, char **value)
{
	if (text[0] != '-' || text[1] == '\0')
		return NULL;
	const char *name = text + (text[1] == '-' ? 2 : 1);
	size_t length = strcspn(name, "=");
	*value = name[length] ? (char *)name + length + 1 : NULL;
	for (size_t i = 0; i < COUNT_OF(table); i++)
		if (strlen(table[i].name) == length && strncmp(table[i].name, name, length) == 0)
			return &table[i];
	return NULL;
}

static int append(struct psk_words *words, const char *flag, const char *value)
{
	char *text = NULL;
	int length = value ? asprintf(&text, "%s=%s", flag, value) : asprintf(&text, "%s", flag);
	if (length < 0)
		return -ENOMEM;
	words->argv[words->argc++] = text;
	return 0;
}

static const char *switch_word(enum kind kind, const char *value)
{
	static const char *const words[][2] = {
		{"1", "on"},  {"t", "on"},  {"T", "on"},  {"true", "on"},   {"TRUE", "on"},   {"True", "on"},
		{"0", "off"}, {"f", "off"}, {"F", "off"}, {"false", "off"}, {"FALSE", "off"}, {"False", "off"},
	};
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (strcmp(words[i][0], value) == 0)
			return kind == KIND_SWITCH ? words[i][1] : strcmp(words[i][1], "on") == 0 ? "true" : "false";
	return value;
}

static bool is_choice(enum kind kind, const char *text)
{
	if (kind == KIND_TRUTH)
		return text && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0);
	return text && (strcmp(text, "on") == 0 || strcmp(text, "off") == 0 || strcmp(text, "auto") == 0);
}

// Of a flag that was found at argv[*at]; moves on when the value is a word of its own.
static int take_one(bool is_server, const struct word *word, char *value, char **next, struct psk_words *words)
{
	bool is_switch = word->kind == KIND_SWITCH || word->kind == KIND_TRUTH;
	if (is_switch && !value)
		value = is_choice(word->kind, *next) ? *next : "1";
	if (is_switch)
		return append(words, word->flag, switch_word(word->kind, value));
	if (!value)
		value = *next;
	if (word->side == (is_server ? SIDE_CLIENT : SIDE_SERVER)) {
		words->ignored = word->flag;
		return 0;
	}
	int result = append(words, word->flag, value);
	if (word->kind == KIND_KEY && value) {
		words->has_key = true;
		secret_wipe(value, strlen(value));
	}
	return result;
}

int psk_words_take(bool is_server, int argc, char **argv, struct psk_words *words)
{
	int result = 0;
	*words = (struct psk_words){.argv = calloc((size_t)argc + 1, sizeof *words->argv)};
	if (!words->argv)
		return -ENOMEM;
	for (int at = 0; result == 0 && at < argc && argv[at]; at++) {
		char *value = NULL;
		const struct word *word = find(argv[at], &value);
		if (!word) {
			result = append(words, argv[at], NULL);
			continue;
		}
		bool has_next = at + 1 < argc && argv[at + 1];
		bool uses_next = !value && has_next &&
		                 (word->kind == KIND_VALUE || word->kind == KIND_KEY || is_choice(word->kind, argv[at + 1]));
		result = take_one(is_server, word, value, argv + at + 1, words);
		at += uses_next;
	}
	if (result < 0)
		psk_words_fini(words);
	return result;
}

void psk_words_fini(struct psk_words *words)
{
	for (int i = 0; i < words->argc; i++) {
		secret_wipe(words->argv[i], strlen(words->argv[i]));
		free(words->argv[i]);
	}
	free(words->argv);
	*words = (struct psk_words){0};
}
