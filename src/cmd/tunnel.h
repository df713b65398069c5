// What `source` and `dest` have in common: the link's settings out of a configuration, and what /status says of links.

#pragma once

#include "config/config.h"
#include "crypto/identity.h"
#include "flow/service.h"
#include "link/control.h"
#include "link/link.h"
#include "net/address.h"
#include "ops/http.h"
#include "ops/status.h"
#include "wire/tls_profile.h"

struct control_settings tunnel_control(const struct config *config, enum control_role role);
struct link_settings tunnel_link(const struct config *config);
enum tls_pq tunnel_pq(const struct config *config);
struct identity_files tunnel_identity_files(const struct config *config, enum identity_usage usage);
// Loads the certificate files; on failure the problem has been logged and the exit status is returned, otherwise 0.
MUST_USE int tunnel_identity(const struct config *config, enum identity_usage usage, struct identity **identity);
void tunnel_log(const struct config *config);
// Starts /metrics, /health and /status when they are enabled, and says where. Exit status, 0 is good.
MUST_USE int tunnel_http(const struct config *config, status_fn fill, void *owner, struct http **http);
// Heartbeat intervals in which a link's peer said nothing.
int64_t tunnel_missed_pongs(const struct config *config, struct link *link);
// Handshakes, keys, links and flows refused so far: the seed's error count of a dest.
uint64_t tunnel_refusals(void);
// Everything of a link that people may see.
// Why an address cannot be listened on, and what helps.
const char *tunnel_listen_problem(const struct address *address, int error);
// What its services carry.
void tunnel_describe_services(const struct service_table *table, struct status_node *status);
void tunnel_describe_link(struct link *link, struct status_link *out);
