// The parts of `qanat cert` among themselves: flags, verbs, texts.

#pragma once

#include "core/outcome.h"
#include "crypto/authority.h"
#include "crypto/issue.h"
#include "limits.h"

#include <stdbool.h>
#include <stddef.h>

enum { CERT_FAILED = 1, CERT_USAGE = 2 };

struct cert_list {
	char *items[LIMIT_CERTIFICATE_NAMES];
	size_t count;
};

// Texts are lent from argv; the lists are owned.
struct cert_options {
	const char *common_name, *ca_cert, *ca_key, *validity_days, *validity, *out_cert, *out_key, *key;
	const char *cert, *hostname, *purpose;
	const char *serial, *reason, *days, *out_crl, *out_csr, *csr, *usage, *use_key, *index, *expires_in;
	const char *drop, *keys, *listen, *keep_days;
	struct cert_list dns_names, ip_addresses, crls;
	bool force, json, new_key, once, proxy_protocol;
};

struct cert_verb {
	const char *name;
	const char *summary;
	const char *codes;    // the flags it takes
	const char *required; // those it cannot do without
	unsigned validity_days;
	enum issue_kind kind;
	int (*run)(const struct cert_verb *verb, const struct cert_options *options);
	const char *help;
	bool takes_file; // a plain argument stands for --cert
};

// Both return the exit status.
int cert_usage_error(const char *verb, const char *what, const char *detail);
int cert_failed(const struct cert_verb *verb, int result, const char *problem);

// ---- cert_flags.c

// 0 to go on, CERT_USAGE, or -1 when the help was asked for and given.
int cert_flags_parse(const struct cert_verb *verb, int argc, char **argv, struct cert_options *options);
void cert_flags_fini(struct cert_options *options);
// A flag that is a number: 0, or CERT_USAGE with the message printed. Not given (NULL): unchanged.
int cert_flags_number(const struct cert_verb *verb, const char *flag, const char *text, unsigned most,
                      unsigned *number);
// --validity or --validity-days: seconds, or days when those are 0.
int cert_flags_validity(const struct cert_verb *verb, const struct cert_options *options, unsigned *days,
                        uint64_t *seconds);
int cert_flags_key(const struct cert_verb *verb, const struct cert_options *options, enum issue_key *key);
struct authority_files cert_flags_ca(const struct cert_options *options);

// ---- the verbs

int cert_issue(const struct cert_verb *verb, const struct cert_options *options);
int cert_renew(const struct cert_verb *verb, const struct cert_options *options);
int cert_csr(const struct cert_verb *verb, const struct cert_options *options);
int cert_sign(const struct cert_verb *verb, const struct cert_options *options);
int cert_revoke(const struct cert_verb *verb, const struct cert_options *options);
int cert_crl(const struct cert_verb *verb, const struct cert_options *options);
int cert_list(const struct cert_verb *verb, const struct cert_options *options);
int cert_serve(const struct cert_verb *verb, const struct cert_options *options);
int cert_show(const struct cert_verb *verb, const struct cert_options *options);
int cert_verify(const struct cert_verb *verb, const struct cert_options *options);

extern const char cert_ca_help[], cert_server_help[], cert_client_help[], cert_show_help[], cert_verify_help[];
extern const char cert_renew_help[], cert_csr_help[], cert_sign_help[], cert_revoke_help[], cert_crl_help[];
extern const char cert_list_help[], cert_serve_help[];
