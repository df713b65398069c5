// The verbs that only look: show, verify.

#include "cmd/cert_internal.h"
#include "cmd/cert_report.h"
#include "crypto/inspect.h"
#include "crypto/pem.h"
#include "crypto/request.h"
#include "crypto/revoke.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int show_certificates(const struct cert_options *options, char problem[INSPECT_PROBLEM_BYTES])
{
	struct inspect_details *list = NULL;
	size_t count = 0;
	int result = inspect_file(options->cert, &list, &count, problem);

	if (result == 0)
		cert_report_list(list, count, options->json);
	free(list);
	return result;
}

static int show_request(const struct cert_options *options, char problem[REQUEST_PROBLEM_BYTES])
{
	struct request_details details;
	int result = request_inspect(options->cert, &details, problem);

	if (result == 0)
		cert_report_request(&details, options->json);
	return result;
}

static int show_lists(const struct cert_options *options, char problem[REVOKE_PROBLEM_BYTES])
{
	struct revoke_details *lists = NULL;
	size_t count = 0;
	int result = revoke_inspect(options->cert, &lists, &count, problem);

	if (result == 0)
		cert_report_lists(lists, count, options->json);
	revoke_free(lists, count);
	return result;
}

int cert_show(const struct cert_verb *verb, const struct cert_options *options)
{
	struct pem_kinds kinds;
	char problem[INSPECT_PROBLEM_BYTES] = "";
	int result = pem_look(options->cert, &kinds, problem);

	if (result == 0 && !kinds.certificate && kinds.request)
		result = show_request(options, problem);
	else if (result == 0 && !kinds.certificate && kinds.list)
		result = show_lists(options, problem);
	else if (result == 0)
		result = show_certificates(options, problem);
	return result == 0 ? 0 : cert_failed(verb, result, problem);
}

int cert_verify(const struct cert_verb *verb, const struct cert_options *options)
{
	struct inspect_question question = {.cert_path = options->cert,
	                                    .ca_path = options->ca_cert,
	                                    .name = options->hostname,
	                                    .crl_paths = (const char *const *)options->crls.items,
	                                    .crl_count = options->crls.count};
	struct inspect_verdict verdict;
	char problem[INSPECT_PROBLEM_BYTES] = "";

	if (options->purpose && strcmp(options->purpose, "server") == 0)
		question.purpose = INSPECT_FOR_SERVER;
	else if (options->purpose && strcmp(options->purpose, "client") == 0)
		question.purpose = INSPECT_FOR_CLIENT;
	else if (options->purpose)
		return cert_usage_error(verb->name, "--purpose is server or client, not ", options->purpose);
	int status = cert_flags_number(verb, "--expires-in", options->expires_in, ISSUE_MAX_DAYS,
	                               &question.expires_in_days);
	if (status != 0)
		return status;
	int result = inspect_verify(&question, &verdict, problem);
	if (result == INSPECT_REFUSED && options->json)
		cert_report_problem(problem);
	if (result != 0)
		return cert_failed(verb, result, problem);
	return cert_report_verdict(&question, &verdict, options->json) ? 0 : CERT_FAILED;
}
