#include "cmd/cert.h"

#include "cmd/cert_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int cert_usage_error(const char *verb, const char *what, const char *detail)
{
	fprintf(stderr, "qanat cert%s%s: %s%s\nTry: qanat cert%s%s --help\n", *verb ? " " : "", verb, what, detail,
	        *verb ? " " : "", verb);
	return CERT_USAGE;
}

int cert_failed(const struct cert_verb *verb, int result, const char *problem)
{
	fprintf(stderr, "qanat cert %s: %s\n", verb->name, result < 0 ? outcome_text(result) : problem);
	return CERT_FAILED;
}

static const struct cert_verb verbs[] = {
	{"ca", "make a CA", "nvoOkfh", "noO", 3650, ISSUE_CA, cert_issue, cert_ca_help, false},
	{"server", "make a certificate for the side that listens", "ndiCKxvVoOkfh", "nCKoO", 365, ISSUE_SERVER, cert_issue,
     cert_server_help, false},
	{"client", "make a certificate for the side that dials", "nCKxvVoOkfh", "nCKoO", 365, ISSUE_CLIENT, cert_issue,
     cert_client_help, false},
	{"csr", "make a key and a request for a certificate", "ndiOURkfh", "nR", 0, 0, cert_csr, cert_csr_help, false},
	{"sign", "make a certificate for a request", "quCKxvVofh", "quCKo", 365, 0, cert_sign, cert_sign_help, false},
	{"renew", "make a certificate again, with a new validity", "cCKxvVoOkNfh", "cCKo", 365, 0, cert_renew,
     cert_renew_help, false},
	{"revoke", "take a certificate back", "csCrxh", "C", 0, 0, cert_revoke, cert_revoke_help, false},
	{"crl", "write the list of what was revoked", "CKLDxfh", "CKL", 0, 0, cert_crl, cert_crl_help, false},
	{"list", "list what the CA has issued, and what expires", "Cxejh", "C", 0, 0, cert_list, cert_list_help, false},
	{"serve", "answer requests for renewals", "PaXCKxvVyE1h", "CK", 0, 0, cert_serve, cert_serve_help, false},
	{"show", "show certificates, requests and revocation lists", "cjh", "c", 0, 0, cert_show, cert_show_help, true},
	{"verify", "tell whether a peer would accept a certificate", "cCHplejh", "cC", 0, 0, cert_verify, cert_verify_help,
     false},
};

static void print_help(FILE *out)
{
	fputs("usage: qanat cert VERB [flags]\n\nA small CA for links that prove themselves with certificates.\n\n", out);
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		fprintf(out, "  %-8s  %s\n", verbs[i].name, verbs[i].summary);
	fputs("\nqanat cert VERB --help says more, with examples. From nothing to two members of a network:\n\n"
	      "  qanat cert ca --common-name \"My CA\" --out-cert ca.crt --out-key ca.key\n"
	      "  qanat cert server --common-name server.example.com --ca-cert ca.crt --ca-key ca.key \\\n"
	      "    --out-cert server.crt --out-key server.key\n"
	      "  qanat cert client --common-name client1 --ca-cert ca.crt --ca-key ca.key \\\n"
	      "    --out-cert client.crt --out-key client.key\n",
	      out);
}

int cert_command(int argc, char **argv)
{
	struct cert_options options = {0};
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
		print_help(stdout);
		return 0;
	}
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (strcmp(name, verbs[i].name) != 0)
			continue;
		int status = cert_flags_parse(&verbs[i], argc - 1, argv + 1, &options);
		if (status == 0)
			status = verbs[i].run(&verbs[i], &options);
		cert_flags_fini(&options);
		if (fflush(stdout) != 0 && status <= 0)
			return cert_failed(&verbs[i], -errno, NULL);
		return status < 0 ? 0 : status;
	}
	if (argc > 1)
		return cert_usage_error("", "there is no verb ", name);
	print_help(stderr);
	return CERT_USAGE;
}
