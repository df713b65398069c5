// The verbs that make certificates: ca, server, client, renew, csr, sign.

#include "cmd/cert_internal.h"
#include "cmd/cert_report.h"
#include "crypto/inspect.h"
#include "crypto/renew.h"
#include "crypto/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HOUR_S = 3600, DAY_S = 86400 };

// What was made, as it lies on the disk.
static int report(const struct cert_verb *verb, const char *cert_path, const char *key_path, uint64_t asked_s)
{
	struct inspect_details *details = NULL;
	char problem[INSPECT_PROBLEM_BYTES] = "";
	size_t count = 0;
	int result = inspect_file(cert_path, &details, &count, problem);

	if (result != 0)
		return cert_failed(verb, result, problem);
	cert_report_issued(cert_path, key_path, details);
	if (asked_s > HOUR_S && details->text.not_after + HOUR_S < (int64_t)time(NULL) + (int64_t)asked_s)
		puts("Note:        its CA ends then, so it is valid for less than was asked for");
	free(details);
	return 0;
}

static uint64_t seconds_of(unsigned days, uint64_t seconds)
{
	return seconds ? seconds : days * (uint64_t)DAY_S;
}

int cert_issue(const struct cert_verb *verb, const struct cert_options *options)
{
	struct issue_request request = {
		.kind = verb->kind,
		.common_name = options->common_name,
		.dns_names = (const char *const *)options->dns_names.items,
		.dns_count = options->dns_names.count,
		.ip_addresses = (const char *const *)options->ip_addresses.items,
		.ip_count = options->ip_addresses.count,
		.ca_cert_path = options->ca_cert,
		.ca_key_path = options->ca_key,
		.out_cert_path = options->out_cert,
		.out_key_path = options->out_key,
		.force = options->force,
		.index_path = options->index,
	};
	char problem[ISSUE_PROBLEM_BYTES] = "";
	int status = cert_flags_key(verb, options, &request.key);

	if (status == 0)
		status = cert_flags_validity(verb, options, &request.validity_days, &request.validity_s);
	if (status != 0)
		return status;
	int result = issue_certificate(&request, problem);
	if (result != 0)
		return cert_failed(verb, result, problem);
	return report(verb, request.out_cert_path, request.out_key_path,
	              seconds_of(request.validity_days, request.validity_s));
}

int cert_renew(const struct cert_verb *verb, const struct cert_options *options)
{
	struct renew_request request = {
		.ca = cert_flags_ca(options),
		.cert_path = options->cert,
		.new_key = options->new_key,
		.other_algorithm = options->key,
		.out_cert_path = options->out_cert,
		.out_key_path = options->out_key,
		.force = options->force,
	};
	char problem[ISSUE_PROBLEM_BYTES] = "";
	int status = cert_flags_key(verb, options, &request.key);

	if (status == 0)
		status = cert_flags_validity(verb, options, &request.validity_days, &request.validity_s);
	if (status != 0)
		return status;
	if (request.new_key && !request.out_key_path)
		return cert_usage_error(verb->name, "--new-key needs ", "--out-key");
	if (!request.new_key && (request.out_key_path || request.other_algorithm))
		return cert_usage_error(verb->name, "the key stays as it is without --new-key, so there is no use for ",
		                        request.out_key_path ? "--out-key" : "--key");
	int result = renew_certificate(&request, problem);
	if (result != 0)
		return cert_failed(verb, result, problem);
	return report(verb, request.out_cert_path, request.out_key_path,
	              seconds_of(request.validity_days, request.validity_s));
}

int cert_csr(const struct cert_verb *verb, const struct cert_options *options)
{
	struct request_making making = {
		.common_name = options->common_name,
		.dns_names = (const char *const *)options->dns_names.items,
		.dns_count = options->dns_names.count,
		.ip_addresses = (const char *const *)options->ip_addresses.items,
		.ip_count = options->ip_addresses.count,
		.use_key_path = options->use_key,
		.out_key_path = options->out_key,
		.out_path = options->out_csr,
		.force = options->force,
	};
	struct request_details details;
	char problem[REQUEST_PROBLEM_BYTES] = "";
	int status = cert_flags_key(verb, options, &making.key);

	if (status != 0)
		return status;
	if (!making.use_key_path == !making.out_key_path)
		return cert_usage_error(verb->name, "give one of ", "--out-key (a new key) and --use-key (an existing one)");
	if (making.use_key_path && options->key)
		return cert_usage_error(verb->name, "an existing key has its algorithm: leave out ", "--key");
	int result = request_make(&making, problem);
	if (result == 0)
		result = request_inspect(making.out_path, &details, problem);
	if (result != 0)
		return cert_failed(verb, result, problem);
	printf("Request:     %s (for the CA: qanat cert sign)\n", making.out_path);
	if (making.out_key_path)
		printf("Private key: %s (only you can read it; it stays here)\n", making.out_key_path);
	cert_report_request_short(&details);
	return 0;
}

int cert_sign(const struct cert_verb *verb, const struct cert_options *options)
{
	const char *usage = options->usage;
	bool is_both = strcmp(usage, "both") == 0;
	struct request_signing signing = {
		.ca = cert_flags_ca(options),
		.path = options->csr,
		.is_server = is_both || strcmp(usage, "server") == 0,
		.is_client = is_both || strcmp(usage, "client") == 0,
		.out_cert_path = options->out_cert,
		.force = options->force,
	};
	struct request_details details;
	char problem[REQUEST_PROBLEM_BYTES] = "";

	if (!signing.is_server && !signing.is_client)
		return cert_usage_error(verb->name, "--usage is server, client or both, not ", usage);
	int status = cert_flags_validity(verb, options, &signing.validity_days, &signing.validity_s);
	if (status != 0)
		return status;
	int result = request_inspect(signing.path, &details, problem);
	if (result != 0)
		return cert_failed(verb, result, problem);
	printf("Asked for in %s:\n", signing.path);
	cert_report_request_short(&details);
	if (details.ignored[0])
		printf("Not given:   %s (what a certificate is for is the CA's word)\n", details.ignored);
	putchar('\n');
	fflush(stdout);
	result = request_sign(&signing, problem);
	return result == 0
	           ? report(verb, signing.out_cert_path, NULL, seconds_of(signing.validity_days, signing.validity_s))
	           : cert_failed(verb, result, problem);
}
