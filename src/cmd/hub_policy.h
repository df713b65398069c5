// What a hub's configuration says of devices and users, as one value that is replaced on a reload: how names are found,
// who is denied, who may reach what. Lists of its own.

#pragma once

#include "config/config.h"
#include "fleet/access.h"
#include "fleet/naming.h"
#include "link/link.h"
#include "node/expiry.h"

struct hub_policy {
	char **rules; // naming
	size_t rule_count;
	char **services; // with sockets of their own
	size_t service_count;
	enum config_hub_identity identity;
	char **denied; // patterns and fingerprints
	size_t denied_count;
	struct access_rule *access;
	size_t access_count;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct expiry_thresholds expiry; // of devices' certificates
};

#define HUB_POLICY_PROBLEM_BYTES 256
// 0; otherwise `problem` says what cannot be read or is unknown (or it was logged).
MUST_USE int hub_policy_new(const struct config *config, struct hub_policy **policy,
                            char problem[HUB_POLICY_PROBLEM_BYTES]);
void hub_policy_free(struct hub_policy **policy);

// The name of a peer's device. CONTROL_REASON_NONE, or why it has none that it may use; `text` says more.
enum control_reason hub_policy_name(const struct hub_policy *policy, const struct link_peer *peer,
                                    char name[NAMING_BYTES], char text[LIMIT_REASON_BYTES + 1]);
bool hub_policy_denies(const struct hub_policy *policy, const char *name, const char *fingerprint);
