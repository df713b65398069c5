// The tables inside lists ([[source.exposed_ports]] and its like) and their one-line form as flags.

#pragma once

#include "config/schema.h"

extern const struct schema_table schema_exposed_port;
extern const struct schema_table schema_forward;
extern const struct schema_table schema_service;
extern const struct schema_table schema_hub_access;
extern const struct schema_table schema_hub_tcp;
extern const struct schema_table schema_route;
extern const struct schema_table schema_certificate;
extern const struct schema_table schema_agent_service;
extern const struct schema_table schema_vpn_client;

// "2222"
struct tree_node *schema_exposed_port_from_text(const char *text, struct tree_place place);
// "LISTEN=SERVICE"
struct tree_node *schema_forward_from_text(const char *text, struct tree_place place);
// "NAME=PORT:HOST:TARGET_PORT", "NAME=PORT:[IP6]:TARGET_PORT", "NAME=PORT:unix:/path"
struct tree_node *schema_service_from_text(const char *text, struct tree_place place);
// "NAME[+NAME]=TARGET[+TARGET]"
struct tree_node *schema_route_from_text(const char *text, struct tree_place place);
// "CERT:KEY[:OCSP]"
struct tree_node *schema_certificate_from_text(const char *text, struct tree_place place);
// "NAME=TARGET"
struct tree_node *schema_agent_service_from_text(const char *text, struct tree_place place);
