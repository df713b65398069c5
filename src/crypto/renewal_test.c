#include "crypto/renewal.h"

#include "crypto/answer.h"
#include "crypto/renewal_request.h"
#include "crypto/revoke.h"
#include "limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// A CA and a server of its in a folder of their own.
static char folder[64];
static char problem[RENEWAL_PROBLEM_BYTES];
static char answer[LIMIT_RENEWAL_BYTES + 1];
static size_t answer_length;

static const struct renewal_files files = {
	.identity = {.ca_path = "ca.crt", .cert_path = "own.crt", .key_path = "own.key", .usage = IDENTITY_SERVER},
	.new_key = true,
};
static const struct renewal_files same_key = {
	.identity = {.ca_path = "ca.crt", .cert_path = "own.crt", .key_path = "own.key", .usage = IDENTITY_SERVER},
};
// Its validity grows, so that each certificate ends later than the one before it, also within a second.
static struct answer_policy policy = {.ca = {"ca.crt", "ca.key", NULL}, .keys = ~0u, .validity_s = 7200};

static void make(enum issue_kind kind, enum issue_key key, const char *name, const char *stem)
{
	char cert[32], key_path[32];
	const struct issue_request request = {.kind = kind,
	                                      .key = key,
	                                      .common_name = name,
	                                      .validity_days = 30,
	                                      .validity_s = kind == ISSUE_CA ? 0 : 3600,
	                                      .ca_cert_path = kind == ISSUE_CA ? NULL : "ca.crt",
	                                      .ca_key_path = kind == ISSUE_CA ? NULL : "ca.key",
	                                      .out_cert_path = cert,
	                                      .out_key_path = key_path,
	                                      .force = true};

	snprintf(cert, sizeof cert, "%s.crt", stem);
	snprintf(key_path, sizeof key_path, "%s.key", stem);
	if (issue_certificate(&request, problem) != 0)
		fail_msg("refused: %s", problem);
}

static int start(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/qanat-renewal-XXXXXX");
	if (!mkdtemp(folder) || chdir(folder) != 0)
		return -1;
	make(ISSUE_CA, ISSUE_KEY_P256, "test CA", "ca");
	make(ISSUE_SERVER, ISSUE_KEY_P256, "server.test", "own");
	answer_length = 0;
	return 0;
}

static int stop(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return chdir("/") == 0 ? system(command) : -1;
}

static int keep(void *owner, const char *pem, size_t length, char text[ANSWER_PROBLEM_BYTES])
{
	(void)owner;
	(void)text;
	memcpy(answer, pem, length);
	answer_length = length;
	return 0;
}

static int lose(void *owner, const char *pem, size_t length, char text[ANSWER_PROBLEM_BYTES])
{
	(void)owner;
	(void)pem;
	(void)length;
	snprintf(text, ANSWER_PROBLEM_BYTES, "lost");
	return ANSWER_REFUSED;
}

static int ask_ca_as(const char *text, size_t length, const char *requester)
{
	const struct answer_question question = {text, length, requester};
	const struct answer_delivery delivery = {keep, NULL};
	struct answer_news news;
	return answer_renewal(&policy, &question, &delivery, &news, problem);
}

static int ask_ca(const char *text)
{
	return ask_ca_as(text, strlen(text), NULL);
}

static char *ask(const struct renewal_files *which)
{
	char *text = NULL;
	if (renewal_ask(which, &text, problem) != 0)
		fail_msg("refused: %s", problem);
	return text;
}

static void assert_refused(int result, const char *why)
{
	assert_int_equal(result, 1);
	if (!strstr(problem, why))
		fail_msg("refused for something else than \"%s\": %s", why, problem);
}

static X509 *certificate_of(const char *path)
{
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
	assert_non_null(certificate);
	fclose(file);
	return certificate;
}

static EVP_PKEY *key_of(const char *path)
{
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	assert_non_null(key);
	fclose(file);
	return key;
}

static void assert_startable(void)
{
	struct identity *identity = NULL;
	if (identity_load(&files.identity, &identity, problem) != 0)
		fail_msg("the node could not start: %s", problem);
	identity_unref(&identity);
	assert_int_equal(access("own.crt.pending", F_OK), -1);
}

// ---- the whole way

static void every_algorithm_is_renewed_with_a_new_key_and_with_the_same(void **state)
{
	(void)state;
	for (int kind = ISSUE_KEY_P256; kind <= ISSUE_KEY_ML_DSA_87; kind++) {
		make(ISSUE_SERVER, (enum issue_key)kind, issue_key_name((enum issue_key)kind), "own");
		for (int is_same = 0; is_same < 2; is_same++) {
			const struct renewal_files *which = is_same ? &same_key : &files;
			X509 *before = certificate_of("own.crt");
			EVP_PKEY *old = key_of("own.key");
			char *text = ask(which);
			assert_int_equal(ask_ca(text), 0);
			if (renewal_take(which, answer, answer_length, problem) != 0)
				fail_msg("refused: %s", problem);
			assert_startable();
			X509 *after = certificate_of("own.crt");
			EVP_PKEY *fresh = key_of("own.key");
			assert_int_equal(X509_NAME_cmp(X509_get_subject_name(before), X509_get_subject_name(after)), 0);
			assert_int_equal(EVP_PKEY_eq(old, fresh) == 1, is_same);
			assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(after), X509_get0_notAfter(before)), 1);
			assert_int_equal(access("own.key.pending", F_OK), -1);
			X509_free(before);
			X509_free(after);
			EVP_PKEY_free(old);
			EVP_PKEY_free(fresh);
			free(text);
			policy.validity_s += 60;
		}
	}
}

static void the_new_key_may_be_of_another_kind_and_is_private_from_the_start(void **state)
{
	struct renewal_files other = files;
	struct stat info;
	(void)state;
	other.other_algorithm = true;
	other.key = ISSUE_KEY_ML_DSA_65;
	char *text = ask(&other);
	assert_int_equal(stat("own.key.pending", &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	assert_null(strstr(text, "PRIVATE"));
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(renewal_take(&other, answer, answer_length, problem), 0);
	EVP_PKEY *key = key_of("own.key");
	assert_true(EVP_PKEY_is_a(key, "ML-DSA-65"));
	assert_int_equal(stat("own.key", &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	EVP_PKEY_free(key);
	free(text);
}

static void asking_again_asks_with_the_same_pending_key(void **state)
{
	(void)state;
	char *first = ask(&files);
	EVP_PKEY *key = key_of("own.key.pending");
	char *second = ask(&files);
	EVP_PKEY *again = key_of("own.key.pending");
	assert_int_equal(EVP_PKEY_eq(key, again), 1);
	assert_int_equal(ask_ca(first), 0);
	assert_int_equal(renewal_take(&files, answer, answer_length, problem), 0);
	EVP_PKEY_free(key);
	EVP_PKEY_free(again);
	free(first);
	free(second);
}

static void without_a_validity_of_its_own_the_ca_gives_as_long_as_before(void **state)
{
	struct answer_policy as_before = policy;
	struct answer_news news;
	(void)state;
	as_before.validity_s = 0;
	char *text = ask(&files);
	const struct answer_question question = {text, strlen(text), NULL};
	const struct answer_delivery delivery = {keep, NULL};
	int64_t now = (int64_t)time(NULL);
	assert_int_equal(answer_renewal(&as_before, &question, &delivery, &news, problem), 0);
	assert_true(news.not_after >= now + 3600 - 5 && news.not_after <= now + 3600 + 5);
	assert_string_equal(news.subject, "CN=server.test, O=qanat");
	free(text);
}

// ---- what a CA refuses

// The blocks of a text, to be put together anew.
static const char *block(const char *text, const char *name)
{
	char begin[64];
	snprintf(begin, sizeof begin, "-----BEGIN %s-----", name);
	const char *at = strstr(text, begin);
	assert_non_null(at);
	return at;
}

static char *splice(const char *request, const char *certificate, const char *proof)
{
	const char *parts[] = {block(request, "CERTIFICATE REQUEST"), block(certificate, "CERTIFICATE"),
	                       block(proof, "QANAT RENEWAL PROOF")};
	char *text = calloc(1, 3 * LIMIT_RENEWAL_BYTES);
	assert_non_null(text);
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		const char *end = strstr(parts[i], "-----END");
		end = strchr(end, '\n') + 1;
		strncat(text, parts[i], (size_t)(end - parts[i]));
	}
	return text;
}

static void nobody_renews_what_is_not_its_own(void **state)
{
	(void)state;
	char *own = ask(&files);
	make(ISSUE_SERVER, ISSUE_KEY_P256, "other.test", "other");
	struct renewal_files thief = files;
	thief.identity.cert_path = "other.crt";
	thief.identity.key_path = "other.key";
	char *theirs = ask(&thief);
	// A victim's certificate, which is public, with the thief's request and proof.
	char *text = splice(theirs, own, theirs);
	assert_refused(ask_ca(text), "the proof is wrong");
	free(text);
	// The victim's request with the thief's certificate and proof, and the thief's request with the victim's proof.
	text = splice(own, theirs, theirs);
	assert_refused(ask_ca(text), "the proof is wrong");
	free(text);
	text = splice(theirs, own, own);
	assert_refused(ask_ca(text), "the proof is wrong");
	free(text);
	assert_int_equal(ask_ca(theirs), 0);
	free(own);
	free(theirs);
}

static X509_REQ *request_for(const char *name, EVP_PKEY *key)
{
	X509_REQ *request = X509_REQ_new();
	assert_int_equal(X509_REQ_set_version(request, 0), 1);
	assert_int_equal(X509_REQ_set_pubkey(request, key), 1);
	assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_UTF8,
	                                            (const unsigned char *)name, -1, -1, 0),
	                 1);
	assert_true(X509_REQ_sign(request, key, EVP_sha256()) > 0);
	return request;
}

static void a_holder_of_one_certificate_gets_no_other_names(void **state)
{
	(void)state;
	X509 *certificate = certificate_of("own.crt");
	EVP_PKEY *key = key_of("own.key");
	X509_REQ *request = request_for("admin.test", key);
	char *text = NULL;
	assert_int_equal(renewal_request_encode(request, certificate, key, &text, problem), 0);
	assert_refused(ask_ca(text), "another subject");
	free(text);
	X509_REQ_free(request);
	EVP_PKEY_free(key);
	X509_free(certificate);
}

static void one_flipped_bit_anywhere_is_refused(void **state)
{
	struct renewal_request request = {0};
	(void)state;
	char *text = ask(&files);
	assert_int_equal(renewal_request_decode(text, strlen(text), &request, problem), 0);
	assert_int_equal(renewal_request_prove(&request, problem), 0);
	for (size_t at = 0; at < request.proof_bytes; at++) {
		request.proof[at] ^= 0x10;
		assert_int_equal(renewal_request_prove(&request, problem), 1);
		request.proof[at] ^= 0x10;
	}
	assert_int_equal(renewal_request_prove(&request, problem), 0);
	renewal_request_fini(&request);
	for (size_t at = 40; at < strlen(text); at += 7) {
		char old = text[at];
		text[at] = old == 'A' ? 'B' : 'A';
		// PEM forgives line ends, and the last letter before the padding has bits that mean nothing.
		if (ask_ca(text) == 0 && old != '\n' && text[at + 1] != '=')
			fail_msg("byte %zu was changed, and the answer is a certificate", at);
		text[at] = old;
	}
	free(text);
}

static void damaged_and_incomplete_texts_are_refused(void **state)
{
	(void)state;
	char *text = ask(&files);
	size_t length = strlen(text);
	char *twice = calloc(1, 2 * length + 1), *large = calloc(1, LIMIT_RENEWAL_BYTES + 2);
	assert_true(twice && large);
	for (size_t cut = 0; cut < length - 2; cut += 13)
		assert_int_equal(ask_ca_as(text, cut, NULL), 1);
	snprintf(twice, 2 * length + 1, "%s%s", text, text);
	assert_refused(ask_ca(twice), "does not belong");
	memset(large, '\n', LIMIT_RENEWAL_BYTES + 1);
	memcpy(large, text, length);
	assert_int_equal(ask_ca_as(large, LIMIT_RENEWAL_BYTES, NULL), 0);
	assert_refused(ask_ca_as(large, LIMIT_RENEWAL_BYTES + 1, NULL), "larger than");
	assert_refused(ask_ca("hello"), "lacks the request");
	free(twice);
	free(large);
	free(text);
}

static void take_back(const char *path, enum index_reason reason)
{
	const struct revoke_request request = {.ca = {"ca.crt", NULL, NULL}, .cert_path = path, .reason = reason};
	struct index_entry entry;
	assert_int_equal(revoke_certificate(&request, &entry, problem), 0);
}

static void a_revoked_certificate_is_not_renewed_nor_what_a_thief_renewed_before(void **state)
{
	(void)state;
	char *text = ask(&files);
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(renewal_take(&files, answer, answer_length, problem), 0);
	free(text);
	char *next = ask(&files); // with the certificate that was got by renewing
	make(ISSUE_SERVER, ISSUE_KEY_P256, "server.test", "first");
	// Another one of the same names is revoked: who has any of them may be the thief.
	take_back("first.crt", INDEX_KEY_COMPROMISE);
	assert_refused(ask_ca(next), "revoked after this one was issued (key-compromise)");
	take_back("own.crt", INDEX_UNSPECIFIED);
	assert_refused(ask_ca(next), "is revoked");
	free(next);
	// What a person issues afterwards renews again; the index has seconds.
	for (time_t then = time(NULL); time(NULL) == then;)
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	make(ISSUE_SERVER, ISSUE_KEY_P256, "server.test", "own");
	(void)unlink("own.key.pending");
	next = ask(&files);
	if (ask_ca(next) != 0)
		fail_msg("refused: %s", problem);
	free(next);
}

static void a_certificate_that_the_index_does_not_know_is_not_renewed(void **state)
{
	(void)state;
	char *text = ask(&files);
	assert_int_equal(rename("ca.crt.index", "away"), 0);
	assert_refused(ask_ca(text), "not in this CA's index");
	assert_int_equal(rename("away", "ca.crt.index"), 0);
	make(ISSUE_CA, ISSUE_KEY_P256, "test CA", "ca");
	assert_refused(ask_ca(text), "was not issued by CA");
	free(text);
}

static void kinds_that_the_policy_leaves_out_are_refused(void **state)
{
	struct answer_policy strict = policy;
	struct answer_news news;
	(void)state;
	strict.keys = 1u << ISSUE_KEY_ML_DSA_87;
	char *text = ask(&files);
	const struct answer_question question = {text, strlen(text), NULL};
	const struct answer_delivery delivery = {keep, NULL};
	assert_refused(answer_renewal(&strict, &question, &delivery, &news, problem), "kind p256");
	free(text);
	text = ask(&same_key);
	const struct answer_question same = {text, strlen(text), NULL};
	assert_int_equal(answer_renewal(&strict, &same, &delivery, &news, problem), 0);
	free(text);
}

static void a_peer_of_another_name_is_refused(void **state)
{
	(void)state;
	char *text = ask(&files);
	assert_refused(ask_ca_as(text, strlen(text), "other.test"), "another name");
	assert_int_equal(ask_ca_as(text, strlen(text), "server.test"), 0);
	free(text);
}

// With a new key each time: what it asks again with the same key is answered as before.
static void a_node_that_asks_for_ever_is_stopped(void **state)
{
	int given = 0, result = 0;
	(void)state;
	for (; given <= LIMIT_LIVE_TWINS && result == 0; given += result == 0) {
		(void)unlink("own.key.pending");
		char *text = ask(&files);
		result = ask_ca(text);
		free(text);
	}
	assert_int_equal(given, LIMIT_LIVE_TWINS - 1);
	assert_non_null(strstr(problem, "are valid already"));
}

static size_t index_lines(void)
{
	FILE *file = fopen("ca.crt.index", "r");
	char line[LIMIT_INDEX_LINE_BYTES];
	size_t count = 0;
	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		count++;
	fclose(file);
	return count;
}

static void a_request_that_is_laid_down_again_gets_the_answer_of_before(void **state)
{
	static char first[LIMIT_RENEWAL_BYTES + 1];
	(void)state;
	char *text = ask(&files);
	assert_int_equal(ask_ca(text), 0);
	memcpy(first, answer, answer_length);
	size_t length = answer_length, lines = index_lines();
	for (int i = 0; i < 2 * LIMIT_LIVE_TWINS; i++) {
		// Also the node's own second try, which is another text with the same key.
		char *again = ask(&files);
		assert_int_equal(ask_ca(i % 2 == 0 ? text : again), 0);
		assert_int_equal(answer_length, length);
		assert_memory_equal(answer, first, length);
		free(again);
	}
	assert_int_equal(index_lines(), lines);
	// Whoever replays has used up nothing.
	assert_int_equal(renewal_take(&files, answer, answer_length, problem), 0);
	free(text);
	text = ask(&files);
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(index_lines(), lines + 1);
	free(text);
}

static void an_answer_that_could_not_be_delivered_is_not_given_again(void **state)
{
	struct answer_news news;
	(void)state;
	char *text = ask(&files);
	const struct answer_question question = {text, strlen(text), NULL};
	assert_int_equal(answer_renewal(&policy, &question, &(struct answer_delivery){lose, NULL}, &news, problem), 1);
	size_t lines = index_lines();
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(index_lines(), lines + 1);
	assert_int_equal(renewal_take(&files, answer, answer_length, problem), 0);
	free(text);
}

static void an_answer_of_before_that_is_revoked_damaged_or_gone_is_not_given_again(void **state)
{
	(void)state;
	char *text = ask(&files);
	assert_int_equal(ask_ca(text), 0);
	size_t lines = index_lines();
	assert_int_equal(system("for f in ca.crt.index.answers/*; do echo x >$f; done"), 0); // NOLINT
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(index_lines(), ++lines);
	assert_int_equal(system("rm -r ca.crt.index.answers"), 0); // NOLINT
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(index_lines(), ++lines);
	FILE *file = fopen("given.crt", "w");
	assert_non_null(file);
	assert_int_equal(fwrite(answer, 1, answer_length, file), answer_length);
	fclose(file);
	take_back("given.crt", INDEX_KEY_COMPROMISE);
	assert_refused(ask_ca(text), "revoked after this one was issued");
	free(text);
}

static void a_stranger_does_not_have_the_index_opened(void **state)
{
	(void)state;
	char *text = ask(&files);
	make(ISSUE_CA, ISSUE_KEY_P256, "another CA", "ca");
	FILE *file = fopen("ca.crt.index", "w");
	assert_non_null(file);
	assert_true(fputs("who reads this is refused\n", file) > 0);
	fclose(file);
	assert_refused(ask_ca(text), "was not issued by CA");
	free(text);
}

// ---- what a node refuses

static void a_wrong_answer_changes_nothing(void **state)
{
	(void)state;
	X509 *before = certificate_of("own.crt");
	free(ask(&files));
	make(ISSUE_SERVER, ISSUE_KEY_P256, "server.test", "foreign");
	FILE *file = fopen("foreign.crt", "r");
	assert_non_null(file);
	char foreign[8192];
	size_t length = fread(foreign, 1, sizeof foreign, file);
	fclose(file);
	assert_refused(renewal_take(&files, foreign, length, problem), "another key");
	assert_refused(renewal_take(&files, "", 0, problem), "no certificate");
	assert_refused(renewal_take(&files, "hello", 5, problem), "no certificate");
	static const char locked[] = "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
								 "00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END CERTIFICATE-----\n";
	assert_refused(renewal_take(&files, locked, sizeof locked - 1, problem), "no certificate");
	X509 *after = certificate_of("own.crt");
	assert_int_equal(X509_cmp(before, after), 0);
	assert_startable();
	X509_free(before);
	X509_free(after);
}

static void an_answer_of_a_ca_that_is_not_believed_changes_nothing(void **state)
{
	(void)state;
	char *text = ask(&files);
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(rename("ca.crt", "old.crt"), 0);
	assert_int_equal(rename("ca.key", "old.key"), 0);
	make(ISSUE_CA, ISSUE_KEY_P256, "another CA", "ca");
	assert_refused(renewal_take(&files, answer, answer_length, problem), "does not verify");
	assert_int_equal(rename("old.crt", "ca.crt"), 0);
	assert_startable();
	free(text);
}

static void an_answer_is_taken_once(void **state)
{
	(void)state;
	char *text = ask(&files);
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(renewal_take(&files, answer, answer_length, problem), 0);
	assert_int_equal(renewal_take(&files, answer, answer_length, problem), 1);
	assert_startable();
	free(text);
}

// ---- crashes

static void copy(const char *from, const char *to)
{
	char command[128];
	snprintf(command, sizeof command, "cp -p %s %s", from, to);
	assert_int_equal(system(command), 0); // NOLINT(concurrency-mt-unsafe,cert-env33-c)
}

// The four files as they are after each step, and what comes of them.
static void a_crash_between_any_two_steps_is_continued_from(void **state)
{
	bool moved;
	(void)state;
	copy("own.crt", "old.crt");
	copy("own.key", "old.key");
	char *text = ask(&files);
	// Only the key was made.
	assert_int_equal(renewal_recover(&files, &moved, problem), 0);
	assert_false(moved);
	assert_startable();
	copy("own.key.pending", "new.key");
	assert_int_equal(ask_ca(text), 0);
	assert_int_equal(renewal_take(&files, answer, answer_length, problem), 0);
	copy("own.crt", "new.crt");
	for (int step = 0; step < 2; step++) {
		copy(step == 0 ? "old.key" : "new.key", "own.key");
		copy("old.crt", "own.crt");
		copy("new.crt", "own.crt.pending");
		if (step == 0)
			copy("new.key", "own.key.pending");
		assert_int_equal(renewal_recover(&files, &moved, problem), 0);
		assert_true(moved);
		assert_startable();
		X509 *now = certificate_of("own.crt"), *fresh = certificate_of("new.crt");
		assert_int_equal(X509_cmp(now, fresh), 0);
		assert_int_equal(access("own.key.pending", F_OK), -1);
		X509_free(now);
		X509_free(fresh);
	}
	// What is staged and of no use is cleared away.
	copy("ca.crt", "own.crt.pending");
	assert_int_equal(renewal_recover(&files, &moved, problem), 0);
	assert_false(moved);
	assert_startable();
	free(text);
}

static void files_that_could_not_be_replaced_are_said_beforehand(void **state)
{
	(void)state;
	assert_int_equal(renewal_check(&files, problem), 0);
	assert_int_equal(rename("own.key", "real.key"), 0);
	assert_int_equal(symlink("real.key", "own.key"), 0);
	assert_refused(renewal_check(&files, problem), "own.key is no regular file");
	assert_int_equal(renewal_check(&same_key, problem), 0);
	if (geteuid() == 0)
		return; // root may write anywhere
	assert_int_equal(chmod(".", 0500), 0);
	assert_refused(renewal_check(&same_key, problem), "not ours to write in");
	assert_int_equal(chmod(".", 0700), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_algorithm_is_renewed_with_a_new_key_and_with_the_same),
		TEST(the_new_key_may_be_of_another_kind_and_is_private_from_the_start),
		TEST(asking_again_asks_with_the_same_pending_key),
		TEST(without_a_validity_of_its_own_the_ca_gives_as_long_as_before),
		TEST(nobody_renews_what_is_not_its_own),
		TEST(a_holder_of_one_certificate_gets_no_other_names),
		TEST(one_flipped_bit_anywhere_is_refused),
		TEST(damaged_and_incomplete_texts_are_refused),
		TEST(a_revoked_certificate_is_not_renewed_nor_what_a_thief_renewed_before),
		TEST(a_certificate_that_the_index_does_not_know_is_not_renewed),
		TEST(kinds_that_the_policy_leaves_out_are_refused),
		TEST(a_peer_of_another_name_is_refused),
		TEST(a_node_that_asks_for_ever_is_stopped),
		TEST(a_request_that_is_laid_down_again_gets_the_answer_of_before),
		TEST(an_answer_that_could_not_be_delivered_is_not_given_again),
		TEST(an_answer_of_before_that_is_revoked_damaged_or_gone_is_not_given_again),
		TEST(a_stranger_does_not_have_the_index_opened),
		TEST(a_wrong_answer_changes_nothing),
		TEST(an_answer_of_a_ca_that_is_not_believed_changes_nothing),
		TEST(an_answer_is_taken_once),
		TEST(a_crash_between_any_two_steps_is_continued_from),
		TEST(files_that_could_not_be_replaced_are_said_beforehand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
