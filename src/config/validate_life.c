#include "config/validate_life.h"

static bool has_certificates(const struct load *load)
{
	return load->command == CONFIG_SOURCE || load->command == CONFIG_DEST;
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

void validate_life(struct load *load)
{
	if (!has_certificates(load))
		return;
	check_expiry(load);
}
