#include "cmd/hub_policy.h"

#include "cmd/accounts.h"
#include "core/counter.h"
#include "policy/pattern.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DAY_S 86400ULL

static const char *const usual_rules[] = {"URI:urn:qanat:device:*", "DNS:*", "CN=*"};

// ---- lists ---------------------------------------------------------------------------------------------------------

static void free_list(char **list, size_t count)
{
	for (size_t i = 0; list && i < count; i++)
		free(list[i]);
	free(list);
}

static char **copy_list(char *const *from, size_t count)
{
	char **list = calloc(count + 1, sizeof *list);
	for (size_t i = 0; list && i < count; i++)
		if (!(list[i] = strdup(from[i]))) {
			free_list(list, count);
			return NULL;
		}
	return list;
}

// ---- the deny-list -------------------------------------------------------------------------------------------------

static bool add_denied(struct hub_policy *policy, const char *line, size_t length)
{
	if ((policy->denied_count & (policy->denied_count + 1)) == 0) {
		char **longer = realloc(policy->denied, 2 * (policy->denied_count + 1) * sizeof *longer);
		if (!longer)
			return false;
		policy->denied = longer;
	}
	policy->denied[policy->denied_count] = strndup(line, length);
	return policy->denied[policy->denied_count++] != NULL;
}

static bool read_denied(struct hub_policy *policy, char *text)
{
	for (char *line = text; *line;) {
		size_t whole = strcspn(line, "\n"), blank = strspn(line, " \t");
		size_t length = strcspn(line, "#\r\n");
		while (length > 0 && (line[length - 1] == ' ' || line[length - 1] == '\t'))
			length--;
		if (length > blank && !add_denied(policy, line + blank, length - blank))
			return false;
		line += whole + (line[whole] == '\n');
	}
	return true;
}

// A list that cannot be read is no empty list.
static int load_denied(struct hub_policy *policy, const char *path, char problem[HUB_POLICY_PROBLEM_BYTES])
{
	if (!path)
		return 0;
	FILE *file = fopen(path, "re");
	char *text = file ? malloc(LIMIT_DEVICE_FILE_BYTES + 1) : NULL;
	int r = file ? (text ? 0 : -ENOMEM) : -errno;
	size_t n = text ? fread(text, 1, LIMIT_DEVICE_FILE_BYTES + 1, file) : 0;
	if (r == 0 && (ferror(file) || n > LIMIT_DEVICE_FILE_BYTES))
		r = ferror(file) ? -EIO : -EFBIG;
	if (r == 0 && text) {
		text[n] = '\0';
		r = strlen(text) != n ? -EINVAL : read_denied(policy, text) ? 0 : -ENOMEM;
	}
	if (r < 0)
		snprintf(problem, HUB_POLICY_PROBLEM_BYTES, "hub.deny_path: %.150s: %s", path, outcome_text(r));
	if (file)
		fclose(file);
	free(text);
	return r;
}

bool hub_policy_denies(const struct hub_policy *policy, const char *name, const char *fingerprint)
{
	for (size_t i = 0; i < policy->denied_count; i++)
		if (pattern_matches(policy->denied[i], name) || strcasecmp(policy->denied[i], fingerprint) == 0)
			return true;
	return false;
}

// ---- access and sockets --------------------------------------------------------------------------------------------

static int copy_access(struct hub_policy *policy, const struct config_of_hub *hub)
{
	policy->access = calloc(hub->access_count + 1, sizeof *policy->access);
	if (!policy->access)
		return -ENOMEM;
	for (size_t i = 0; i < hub->access_count; i++) {
		const struct config_hub_access *from = &hub->access[i];
		policy->access[i] = (struct access_rule){
			.devices = (const char *const *)copy_list(from->devices, from->device_count),
			.device_count = from->device_count,
			.services = (const char *const *)copy_list(from->services, from->service_count),
			.service_count = from->service_count,
			.uids = accounts_users(from->users, from->user_count, "hub.access"),
			.uid_count = from->user_count,
			.gids = accounts_groups(from->groups, from->group_count, "hub.access"),
			.gid_count = from->group_count,
		};
		policy->access_count++;
		const struct access_rule *rule = &policy->access[i];
		if (!rule->devices || !rule->services || !rule->uids || !rule->gids)
			return -EINVAL;
	}
	return 0;
}

static int set_sockets(struct hub_policy *policy, const struct config_of_hub *hub)
{
	policy->mode = (mode_t)strtoul(hub->socket_mode, NULL, 8);
	policy->uid = (uid_t)-1;
	policy->gid = (gid_t)-1;
	uint32_t *uid = hub->socket_owner ? accounts_users(&hub->socket_owner, 1, "hub.socket_owner") : NULL;
	uint32_t *gid = hub->socket_group ? accounts_groups(&hub->socket_group, 1, "hub.socket_group") : NULL;
	bool all = (!hub->socket_owner || uid) && (!hub->socket_group || gid);
	if (uid)
		policy->uid = *uid;
	if (gid)
		policy->gid = *gid;
	free(uid);
	free(gid);
	return all ? 0 : -EINVAL;
}

int hub_policy_new(const struct config *config, struct hub_policy **out, char problem[HUB_POLICY_PROBLEM_BYTES])
{
	const struct config_of_hub *hub = &config->hub;
	struct hub_policy *policy = calloc(1, sizeof *policy);
	snprintf(problem, HUB_POLICY_PROBLEM_BYTES, "a user or group of [hub] is not known here, or memory is short");
	if (!policy)
		return -ENOMEM;
	policy->identity = hub->identity;
	policy->expiry = (struct expiry_thresholds){.notice_s = config->expiry.notice_days * DAY_S,
	                                            .warning_s = config->expiry.warning_days * DAY_S,
	                                            .urgent_s = config->expiry.urgent_days * DAY_S};
	bool has_rules = hub->name_rule_count > 0;
	policy->rule_count = has_rules ? hub->name_rule_count : COUNT_OF(usual_rules);
	policy->rules = copy_list(has_rules ? hub->name_rules : (char *const *)usual_rules, policy->rule_count);
	policy->services = copy_list(hub->services, hub->service_count);
	policy->service_count = hub->service_count;
	int r = policy->rules && policy->services ? 0 : -ENOMEM;
	if (r == 0)
		r = set_sockets(policy, hub);
	if (r == 0)
		r = copy_access(policy, hub);
	if (r == 0)
		r = load_denied(policy, hub->deny_path, problem);
	if (r < 0) {
		hub_policy_free(&policy);
		return r;
	}
	*out = policy;
	return 0;
}

void hub_policy_free(struct hub_policy **slot)
{
	struct hub_policy *policy = *slot;
	*slot = NULL;
	if (!policy)
		return;
	for (size_t i = 0; i < policy->access_count; i++) {
		struct access_rule *rule = &policy->access[i];
		free_list((char **)(uintptr_t)rule->devices, rule->device_count);
		free_list((char **)(uintptr_t)rule->services, rule->service_count);
		free((void *)(uintptr_t)rule->uids);
		free((void *)(uintptr_t)rule->gids);
	}
	free(policy->access);
	free_list(policy->rules, policy->rule_count);
	free_list(policy->services, policy->service_count);
	free_list(policy->denied, policy->denied_count);
	free(policy);
}

// ---- names ---------------------------------------------------------------------------------------------------------

#define SAY(...) (void)snprintf(text, LIMIT_REASON_BYTES + 1, __VA_ARGS__)

static enum control_reason name_claimed(const struct link_peer *peer, char name[NAMING_BYTES],
                                        char text[LIMIT_REASON_BYTES + 1])
{
	if (!naming_is_good(peer->device)) {
		counter_add(COUNTER_DEVICE_NO_NAME, 1);
		SAY("this hub asks devices for a name (--robot)");
		return CONTROL_REASON_PEER_POLICY;
	}
	snprintf(name, NAMING_BYTES, "%s", peer->device);
	return CONTROL_REASON_NONE;
}

static enum control_reason name_certified(const struct hub_policy *policy, const struct link_peer *peer,
                                          char name[NAMING_BYTES], char text[LIMIT_REASON_BYTES + 1])
{
	int r = naming_find(peer->x509, (const char *const *)policy->rules, policy->rule_count, peer->device, name);
	if (r == 0)
		return CONTROL_REASON_NONE;
	counter_add(r == NAMING_OTHER ? COUNTER_DEVICE_OTHER_NAME : COUNTER_DEVICE_NO_NAME, 1);
	if (r == NAMING_OTHER)
		SAY("the device claims the name \"%s\", but its certificate is for \"%s\"", peer->device, name);
	else if (r == NAMING_SEVERAL)
		SAY("the certificate has several names: the device must say which is meant (--robot)");
	else
		SAY("the certificate has no name that hub.name_rules makes a device's name of");
	return CONTROL_REASON_PEER_POLICY;
}

// "011.ssh" must not stand where the socket of 011's service ssh belongs.
static const char *clashing_service(const struct hub_policy *policy, const char *name)
{
	size_t length = strlen(name);
	for (size_t i = 0; i < policy->service_count; i++) {
		size_t tail = strlen(policy->services[i]);
		if (length > tail + 1 && name[length - tail - 1] == '.' &&
		    strcmp(name + length - tail, policy->services[i]) == 0)
			return policy->services[i];
	}
	return NULL;
}

enum control_reason hub_policy_name(const struct hub_policy *policy, const struct link_peer *peer,
                                    char name[NAMING_BYTES], char text[LIMIT_REASON_BYTES + 1])
{
	enum control_reason reason = policy->identity == CONFIG_HUB_CLAIMED ? name_claimed(peer, name, text)
	                                                                    : name_certified(policy, peer, name, text);
	if (reason != CONTROL_REASON_NONE)
		return reason;
	const char *service = clashing_service(policy, name);
	if (service) {
		counter_add(COUNTER_DEVICE_NO_NAME, 1);
		SAY("the name \"%s\" would be that of a socket of service \"%s\"", name, service);
		return CONTROL_REASON_PEER_POLICY;
	}
	if (hub_policy_denies(policy, name, peer->certificate.fingerprint)) {
		counter_add(COUNTER_DEVICE_DENIED, 1);
		SAY("device \"%s\" is denied", name);
		return CONTROL_REASON_REVOKED;
	}
	return CONTROL_REASON_NONE;
}
