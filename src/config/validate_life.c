#include "config/validate_life.h"

#include "config/certificates.h"
#include "crypto/drop.h"
#include "policy/span.h"

static bool has_certificates(const struct load *load)
{
	return load->command == CONFIG_SOURCE || load->command == CONFIG_DEST || load->command == CONFIG_PROXY ||
	       load->command == CONFIG_HUB || load->command == CONFIG_AGENT;
}

static void check_expiry(struct load *load)
{
	const struct config *config = load->config;

	if (config->expiry.warning_days > config->expiry.notice_days)
		problem_add(&load->problems, load_setting(load, "expiry.warning_days")->place, "expiry.warning_days",
		            "is more than expiry.notice_days: the first warning would come second");
	if (config->expiry.urgent_days > config->expiry.warning_days)
		problem_add(&load->problems, load_setting(load, "expiry.urgent_days")->place, "expiry.urgent_days",
		            "is more than expiry.warning_days: the second warning would come third");
}

static void refuse(struct load *load, const char *path, const char *why)
{
	problem_add(&load->problems, load_setting(load, path)->place, path, "%s", why);
}

static void check_proxy(struct load *load)
{
	const struct config *config = load->config;

	if (certificates_count(config) == 0)
		refuse(load, "renewal.method", "is given, but there is no certificate to renew");
	if (!config->renewal.ca_cert_path && !config->proxy.ca_cert_path)
		refuse(load, "renewal.ca_cert_path",
		       "is needed: without a CA nobody could tell a renewed certificate from a forged one");
	for (size_t i = 0; i < certificates_count(config); i++)
		if (certificates_at(config, i).ocsp_path)
			refuse(
				load, "renewal.method",
				"is given, and an OCSP response to staple as well: that is of one certificate and would not be of the "
				"renewed one. Leave one of them out");
}

static void check_renewal(struct load *load)
{
	const struct config *config = load->config;
	struct span before;

	if (span_parse_any(config->renewal.before, &before) != 0)
		refuse(load, "renewal.before", "is a share or a time: 33%, 90s, 15m, 12h, 30d");
	if (config->renewal.retry_seconds > config->renewal.retry_max_seconds)
		refuse(load, "renewal.retry_seconds", "is longer than renewal.retry_max_seconds");
	if (config->renewal.method != CONFIG_RENEWAL_DROP && load_is_given(load, "renewal.drop_folder"))
		refuse(load, "renewal.drop_folder", "is given, but renewal.method is not \"drop\"");
	if (config->renewal.method == CONFIG_RENEWAL_LINK && !config->renewal.endpoint)
		refuse(load, "renewal.endpoint", "is needed for renewal.method \"link\"");
	if (config->renewal.method != CONFIG_RENEWAL_LINK && load_is_given(load, "renewal.endpoint"))
		refuse(load, "renewal.endpoint", "is given, but renewal.method is not \"link\"");
	if (config->renewal.method != CONFIG_RENEWAL_OFF && load->command == CONFIG_PROXY)
		check_proxy(load);
	if (config->renewal.method != CONFIG_RENEWAL_DROP)
		return;
	if (!config->renewal.drop_folder)
		refuse(load, "renewal.drop_folder", "is needed for renewal.method \"drop\"");
	const char *name = config->renewal.name ? config->renewal.name : config->node.name;
	if (name && !drop_is_name(name))
		refuse(load, "renewal.name",
		       "may have letters, digits, '.', '-' and '_' only, 64 at most; without one it is node.name");
}

void validate_life(struct load *load)
{
	if (!has_certificates(load))
		return;
	check_expiry(load);
	check_renewal(load);
}
