#include "cmd/cert.h"

#include "core/outcome.h"

// cmocka.h uses these and includes none of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64], text[16384];

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/qanat-cert-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	return chdir(folder);
}

static int stop(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return chdir("/") == 0 ? system(command) : -1;
}

// Runs `cert` with words that are separated by blanks ('+' stands for a blank in a word). What it says on standard
// output and standard error is left in `text`.
static int run(const char *line)
{
	char words[512], *argv[40] = {(char[]){"cert"}};
	int argc = 1;

	snprintf(words, sizeof words, "%s", line);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
		for (char *at = word; *at; at++)
			*at = *at == '+' ? ' ' : *at;
		argv[argc++] = word;
	}
	int said = open("said", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
	fflush(NULL);
	dup2(said, STDOUT_FILENO);
	dup2(said, STDERR_FILENO);
	int status = cert_command(argc, argv);
	fflush(NULL);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	close(out);
	close(err);
	ssize_t length = pread(said, text, sizeof text - 1, 0);
	close(said);
	text[length > 0 ? length : 0] = 0;
	return status;
}

static void expect(int status, const char *line, const char *word)
{
	int got = run(line);
	if (got != status)
		fail_msg("cert %s: exit status %d, not %d: %s", line, got, status, text);
	if (!strstr(text, word))
		fail_msg("cert %s: '%s' is not in: %s", line, word, text);
}

static void wrong_usage_is_explained_and_nothing_is_made(void **state)
{
	(void)state;
	expect(2, "", "usage: qanat cert VERB");
	expect(2, "sing", "there is no verb sing");
	expect(2, "renew", "missing --cert, --ca-cert, --ca-key, --out-cert");
	expect(2, "renew --cert a --ca-cert b --ca-key c --out-cert d --new-key", "--new-key needs --out-key");
	expect(2, "renew --cert a --ca-cert b --ca-key c --out-cert d --out-key e", "no use for --out-key");
	expect(2, "renew --cert a --ca-cert b --ca-key c --out-cert d --key p256", "no use for --key");
	expect(2, "revoke --ca-cert a", "give one of --cert and --serial");
	expect(2, "revoke --ca-cert a --cert b --serial 1", "give one of --cert and --serial");
	expect(2, "revoke --ca-cert a --serial 1 --reason anger", "not anger");
	expect(2, "crl --ca-cert a --ca-key b --out-crl c --days 0", "1 to 3650");
	expect(2, "csr --common-name a --out-csr b", "give one of --out-key");
	expect(2, "csr --common-name a --out-csr b --out-key c --use-key d", "give one of --out-key");
	expect(2, "csr --common-name a --out-csr b --use-key d --key p256", "leave out --key");
	expect(2, "sign --csr a --usage mail --ca-cert b --ca-key c --out-cert d", "not mail");
	expect(2, "list --ca-cert a --expires-in x", "1 to 36500");
	expect(2, "verify --cert a --ca-cert b --crl=", "--crl is empty");
	expect(2, "ca", "missing --common-name, --out-cert, --out-key");
	expect(2, "ca --common-name x --out-cert a.crt", "missing --out-key");
	expect(2, "ca --common-name x --out-cert a.crt --out-key", "no value after --out-key");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key --dns-names y", "unknown flag --dns-names");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key more", "one argument too many: more");
	expect(2, "ca --common-name x --common-name y --out-cert a.crt --out-key a.key", "--common-name is given twice");
	expect(2, "ca --common-name= --out-cert a.crt --out-key a.key", "--common-name is empty");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key --key rsa", "not rsa");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key --key dilithium3", "--key ml-dsa-65");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key --validity-days 0", "1 to 36500");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key --validity-days 36501", "1 to 36500");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key --validity-days 10d", "1 to 36500");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key --validity-days -1", "1 to 36500");
	expect(2, "ca --common-name x --out-cert a.crt --out-key a.key --validity-days 99999999999999999999", "1 to 36500");
	expect(2, "show", "missing --cert");
	expect(2, "show a b", "one argument too many: b");
	expect(2, "show --cert a b", "one argument too many: b");
	expect(2, "verify --cert a", "missing --ca-cert");
	expect(2, "verify --cert a --ca-cert b --purpose both", "not both");
	assert_int_equal(access("a.crt", F_OK), -1);
	assert_int_equal(access("a.key", F_OK), -1);
}

static void help_is_asked_for_in_every_way(void **state)
{
	(void)state;
	expect(0, "--help", "usage: qanat cert VERB");
	expect(0, "-h", "usage: qanat cert VERB");
	expect(0, "help", "usage: qanat cert VERB");
	expect(0, "ca --help", "qanat cert ca --common-name \"My CA\"");
	expect(0, "server -h", "--ip-addresses");
	expect(0, "client --help", "client1");
	expect(0, "show --help", "qanat cert show server.crt");
	expect(0, "verify --help", "--hostname");
	expect(0, "renew --help", "--new-key");
	expect(0, "csr --help", "--use-key");
	expect(0, "sign --help", "--usage USAGE");
	expect(0, "revoke --help", "key-compromise");
	expect(0, "crl --help", "--days N");
	expect(0, "list --help", "--expires-in DAYS");
}

static void the_seeds_quick_start_works_as_printed(void **state)
{
	(void)state;
	expect(0, "ca --common-name My+CA --out-cert ca.crt --out-key ca.key", "Private key: ca.key");
	assert_null(strstr(text, "PRIVATE KEY"));
	expect(0,
	       "server --common-name server.example.com --dns-names server.example.com,localhost "
	       "--ip-addresses 127.0.0.1,192.168.1.10 --ca-cert ca.crt --ca-key ca.key --out-cert server.crt "
	       "--out-key server.key",
	       "DNS:server.example.com,DNS:localhost,IP:127.0.0.1,IP:192.168.1.10");
	expect(0,
	       "client --common-name client1 --ca-cert ca.crt --ca-key ca.key --out-cert client.crt --out-key client.key",
	       "CN=client1");
	expect(0, "show server.crt", "TLS Web Server Authentication");
	expect(0, "show --cert server.crt --json", "\"key\": \"P-256\"");
	expect(0, "verify --cert server.crt --ca-cert ca.crt --hostname server.example.com",
	       "Certificate chain verification: PASSED\nHostname verification for 'server.example.com': PASSED\n"
	       "All verifications passed successfully\n");
	expect(1, "verify --cert server.crt --ca-cert ca.crt --hostname other.example.com",
	       "Hostname verification for 'other.example.com': FAILED (the certificate is for DNS:server.example.com");
	expect(1, "verify --cert client.crt --ca-cert ca.crt --purpose server --json", "lacks serverAuth");
	expect(1, "verify --cert none.crt --ca-cert ca.crt --json", "\"passed\": false");
	expect(1, "show none.crt", "none.crt does not exist");
	expect(1, "ca --common-name My+CA --out-cert ca.crt --out-key ca.key", "--force");
	expect(0, "ca --common-name My+CA --out-cert ca.crt --out-key ca.key --force --key ed25519", "ED25519");
}

static void names_may_be_given_in_several_flags_and_with_blanks(void **state)
{
	(void)state;
	expect(0, "ca --common-name My+CA --out-cert ca2.crt --out-key ca2.key", "");
	expect(
		0,
		"server --common-name x --dns-names a.example.org,+b.example.org+ --dns-names c.example.org --ca-cert ca2.crt "
		"--ca-key ca2.key --out-cert many.crt --out-key many.key --validity-days 9999",
		"DNS:a.example.org,DNS:b.example.org,DNS:c.example.org");
	assert_non_null(strstr(text, "less than was asked for"));
	expect(1,
	       "server --common-name x --dns-names a.example.org,,b --ca-cert ca2.crt --ca-key ca2.key --out-cert y.crt "
	       "--out-key y.key",
	       "empty part");
}

static void a_certificate_lives_from_request_to_revocation(void **state)
{
	(void)state;
	expect(0, "ca --common-name Life+CA --out-cert l.crt --out-key l.key --key ed25519", "");
	expect(0, "list --ca-cert l.crt", "nothing");
	expect(0, "csr --common-name life.example.org --out-csr n.csr --out-key n.key --key ed25519", "it stays here");
	expect(0, "show n.csr", "would take it");
	expect(0, "show n.csr --json", "\"is_acceptable\": true");
	expect(0, "sign --csr n.csr --usage both --ca-cert l.crt --ca-key l.key --out-cert n.crt", "Asked for in n.csr");
	expect(0, "list --ca-cert l.crt", "CN=life.example.org");
	assert_non_null(strstr(text, "server,client"));
	expect(0, "crl --ca-cert l.crt --ca-key l.key --out-crl l.crl", "Number:          1");
	expect(0, "verify --cert n.crt --ca-cert l.crt --crl l.crl --expires-in 300",
	       "Valid for more than 300 days: PASSED");
	expect(1, "verify --cert n.crt --ca-cert l.crt --expires-in 400", "FAILED (it has 36");
	expect(1, "list --ca-cert l.crt --expires-in 400", "CN=life.example.org");
	expect(0, "renew --cert n.crt --ca-cert l.crt --ca-key l.key --out-cert m.crt --validity-days 500", "CN=life");
	expect(0, "list --ca-cert l.crt --expires-in 400", "nothing");
	expect(0, "revoke --cert n.crt --ca-cert l.crt --reason keyCompromise", "Revoked: serial");
	expect(0, "revoke --cert n.crt --ca-cert l.crt --reason key-compromise", "Was revoked already: serial");
	expect(1, "revoke --cert n.crt --ca-cert l.crt", "for another reason (key-compromise)");
	expect(1, "renew --cert n.crt --ca-cert l.crt --ca-key l.key --out-cert o.crt", "is revoked");
	expect(1, "crl --ca-cert l.crt --ca-key l.key --out-crl l.crl", "--force");
	expect(0, "crl --ca-cert l.crt --ca-key l.key --out-crl l.crl --force", "Revoked:         1 certificate\n");
	expect(0, "show l.crl", "key-compromise");
	expect(0, "show l.crl --json", "\"number\": \"2\"");
	expect(1, "verify --cert n.crt --ca-cert l.crt --crl l.crl", "certificate revoked");
	expect(0, "verify --cert m.crt --ca-cert l.crt --crl l.crl", "All verifications passed");
	expect(0, "list --ca-cert l.crt --json", "\"state\": \"revoked\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_usage_is_explained_and_nothing_is_made),
		cmocka_unit_test(help_is_asked_for_in_every_way),
		cmocka_unit_test(the_seeds_quick_start_works_as_printed),
		cmocka_unit_test(names_may_be_given_in_several_flags_and_with_blanks),
		cmocka_unit_test(a_certificate_lives_from_request_to_revocation),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
