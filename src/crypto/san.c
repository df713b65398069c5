#include "crypto/san.h"

#include "crypto/issue_name.h"
#include "crypto/refusal.h"
#include "limits.h"

#include <stdio.h>
#include <string.h>

_Static_assert((int)SAN_REFUSED == (int)REFUSAL && SAN_PROBLEM_BYTES == REFUSAL_BYTES, "refusals are passed up");

enum { DNS_NAME_BYTES = 254 };

int san_check(const struct san_request *request, char problem[SAN_PROBLEM_BYTES])
{
	uint8_t bytes[16];

	for (size_t i = 0; i < request->dns_count; i++) {
		const char *name = request->dns_names[i], *fault = issue_host_name_fault(name, true);
		if (fault && issue_parse_address(name, bytes) > 0)
			return refusal(problem, "'%s' is an address, not a DNS name: give it with --ip-addresses", name);
		if (fault)
			return refusal(problem, "'%s' is not a DNS name: %s", name, fault);
	}
	for (size_t i = 0; i < request->ip_count; i++) {
		if (issue_parse_address(request->ip_addresses[i], bytes) == 0)
			return refusal(problem, "'%s' is not an IPv4 or IPv6 address (no brackets, no port, no zone)",
			               request->ip_addresses[i]);
	}
	if (request->is_server && request->dns_count == 0 && request->ip_count == 0 &&
	    issue_host_name_fault(request->common_name, true) && issue_parse_address(request->common_name, bytes) == 0)
		return refusal(
			problem,
			"a server certificate needs the names it is reached by: '%s' is neither a host name nor an address, so "
			"give --dns-names or --ip-addresses",
			request->common_name);
	return 0;
}

static bool push_name(GENERAL_NAMES *names, int type, const void *bytes, size_t length)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *value = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);

	if (!name || !value || ASN1_STRING_set(value, bytes, (int)length) != 1) {
		ASN1_STRING_free(value);
		GENERAL_NAME_free(name);
		return false;
	}
	GENERAL_NAME_set0_value(name, type, value);
	if (sk_GENERAL_NAME_push(names, name) > 0)
		return true;
	GENERAL_NAME_free(name);
	return false;
}

static bool push_address(GENERAL_NAMES *names, const char *literal)
{
	uint8_t bytes[16];
	size_t length = issue_parse_address(literal, bytes);

	return length > 0 && push_name(names, GEN_IPADD, bytes, length);
}

// The names given; without any, the common name where it can be one.
static bool push_names(const struct san_request *request, GENERAL_NAMES *names)
{
	const char *common_name = request->common_name;
	uint8_t bytes[16];
	bool done = true;

	for (size_t i = 0; done && i < request->dns_count; i++)
		done = push_name(names, GEN_DNS, request->dns_names[i], strlen(request->dns_names[i]));
	for (size_t i = 0; done && i < request->ip_count; i++)
		done = push_address(names, request->ip_addresses[i]);
	if (!done || sk_GENERAL_NAME_num(names) > 0)
		return done;
	if (!issue_host_name_fault(common_name, request->is_server))
		return push_name(names, GEN_DNS, common_name, strlen(common_name));
	if (request->is_server && issue_parse_address(common_name, bytes) > 0)
		return push_address(names, common_name);
	return true;
}

bool san_make(const struct san_request *request, GENERAL_NAMES **names)
{
	*names = GENERAL_NAMES_new();
	return *names && push_names(request, *names);
}

// ---- the names of a stranger

static int judge_dns(const ASN1_STRING *value, char problem[SAN_PROBLEM_BYTES])
{
	char name[DNS_NAME_BYTES] = "";
	int length = ASN1_STRING_length(value);
	const unsigned char *bytes = ASN1_STRING_get0_data(value);

	if (length <= 0 || length >= DNS_NAME_BYTES || memchr(bytes, 0, (size_t)length))
		return refusal(problem, "a DNS name that is asked for is empty, longer than 253 bytes, or holds a NUL");
	memcpy(name, bytes, (size_t)length);
	const char *fault = issue_host_name_fault(name, true);
	if (!fault)
		return 0;
	for (char *at = name; *at; at++)
		*at = *at < 0x20 || *at > 0x7e ? '?' : *at;
	return refusal(problem, "it asks for '%s', which is not a DNS name: %s", name, fault);
}

int san_judge(const GENERAL_NAMES *names, char problem[SAN_PROBLEM_BYTES])
{
	int count = names ? sk_GENERAL_NAME_num(names) : 0, result = 0;

	if (count > LIMIT_CERTIFICATE_NAMES)
		return refusal(problem, "it asks for %d names, more than the %d a certificate should carry", count,
		               LIMIT_CERTIFICATE_NAMES);
	for (int i = 0; result == 0 && i < count; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type == GEN_DNS) {
			result = judge_dns(name->d.dNSName, problem);
		} else if (name->type == GEN_IPADD) {
			int length = ASN1_STRING_length(name->d.iPAddress);
			if (length != 4 && length != 16)
				result = refusal(problem, "it asks for an address of %d bytes; there are only IPv4 and IPv6", length);
		} else {
			result = refusal(problem,
			                 "it asks for a name that is neither a DNS name nor an address%s; none of those "
			                 "is given",
			                 name->type == GEN_URI     ? " (a URI)"
			                 : name->type == GEN_EMAIL ? " (an e-mail address)"
			                                           : "");
		}
	}
	return result;
}
