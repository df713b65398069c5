#include "crypto/refusal.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>

int refusal(char problem[REFUSAL_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, REFUSAL_BYTES, format, arguments);
	va_end(arguments);
	ERR_clear_error();
	return REFUSAL;
}

int refusal_by_library(const char *doing, char problem[REFUSAL_BYTES])
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return refusal(problem, "the crypto library failed while %s: %s", doing, reason ? reason : "no reason given");
}
