#include "crypto/issue_name.h"

#include <arpa/inet.h>
#include <string.h>

enum { NAME_MAX_LENGTH = 253, LABEL_MAX_LENGTH = 63 };

static bool is_letter(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static const char *label_fault(const char *label, size_t length)
{
	if (length == 0)
		return "it has an empty part";
	if (length > LABEL_MAX_LENGTH)
		return "one of its parts is longer than 63 characters";
	if (label[0] == '-' || label[length - 1] == '-')
		return "one of its parts begins or ends with '-'";
	for (size_t i = 0; i < length; i++) {
		if (label[i] == '*')
			return "'*' may only be its whole first part";
		if ((unsigned char)label[i] >= 0x80)
			return "it is not ASCII; write the xn-- form";
		if (!is_letter(label[i]) && !is_digit(label[i]) && label[i] != '-')
			return "only letters, digits, '-' and '.' are allowed";
	}
	return NULL;
}

static bool is_number(const char *label)
{
	return label[strspn(label, "0123456789")] == 0;
}

const char *issue_host_name_fault(const char *name, bool wildcard)
{
	const char *label = name;
	size_t labels = 0;

	if (strlen(name) > NAME_MAX_LENGTH)
		return "it is longer than 253 characters";
	bool starred = wildcard && strncmp(name, "*.", 2) == 0;
	if (starred)
		label += 2;
	for (;;) {
		const char *fault = label_fault(label, strcspn(label, "."));
		if (fault)
			return fault;
		labels++;
		const char *dot = strchr(label, '.');
		if (!dot)
			break;
		label = dot + 1;
	}
	if (is_number(label))
		return "its last part is a number, as in an address";
	if (starred && labels < 2)
		return "a wildcard needs at least two parts after it, otherwise nobody honours it";
	return NULL;
}

size_t issue_parse_address(const char *literal, uint8_t bytes[16])
{
	if (inet_pton(AF_INET, literal, bytes) == 1)
		return 4;
	return inet_pton(AF_INET6, literal, bytes) == 1 ? 16 : 0;
}
