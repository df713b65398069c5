#include "config/validate_psk.h"
#include "config/text.h"
#include "edge/netlink.h"
#include "net/address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

// Spec: RFC 8200 5, the least that a link must carry for IPv6.
#define IPV6_LEAST_MTU 1280

static void add(struct load *load, const char *path, const char *message)
{
	struct tree_place place = {0};
	if (load_is_given(load, path))
		place = load_setting(load, path)->place;
	problem_add(&load->problems, place, path, "%s", message);
}

static void replace(char **text, char *fresh)
{
	free(*text);
	*text = fresh;
}

// ---- defaults that depend

static void complete_address(struct load *load, const char *path, char **text, const char *initial)
{
	if (!*text && !load_is_given(load, path))
		*text = text_copy(initial);
	if (*text && strcmp(*text, "none") == 0)
		(*text)[0] = '\0';
}

static bool has_metrics_key(const struct load *load)
{
	return load_is_given(load, "metrics.enabled") || load_is_given(load, "metrics.metrics_port") ||
	       load_is_given(load, "metrics.metrics_bind_ip");
}

void validate_psk_complete(struct load *load)
{
	struct config *config = load->config;
	bool is_server = load->command == CONFIG_PSK_SERVER;
	bool has_room = config->psk.mtu >= IPV6_LEAST_MTU;
	complete_address(load, "psk.ipv4", &config->psk.ipv4, is_server ? "10.1.1.1/30" : "10.1.1.2/30");
	complete_address(load, "psk.ipv6", &config->psk.ipv6, !has_room ? "" : is_server ? "fc11::1/126" : "fc11::2/126");
	complete_address(load, "psk.peer_ipv4", &config->psk.peer_ipv4, "");
	complete_address(load, "psk.peer_ipv6", &config->psk.peer_ipv6, "");
	// A tool of one line should not open a port that nobody has asked for.
	if (!has_metrics_key(load))
		config->metrics.enabled = false;
	if (is_server && config->psk.listen && config->psk.listen[0] == ':')
		replace(&config->psk.listen, text_format("[::]%s", config->psk.listen));
}

// ---- the key

// A flag wins over the environment, the environment over the file; two at once on one level contradict each other.
static void check_key(struct load *load)
{
	static const char *const paths[] = {"psk.key", "psk.key_file", "psk.key_fd"};
	const char *best = NULL;
	bool is_twice = false;
	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		enum load_origin origin = load_setting(load, paths[i])->origin;
		if (origin == LOAD_DEFAULT || (best && origin < load_setting(load, best)->origin))
			continue;
		is_twice = best && origin == load_setting(load, best)->origin;
		best = paths[i];
	}
	struct config *config = load->config;
	if (!best)
		add(load, "psk.key",
		    "missing -k <psk>: give the pre-shared key with --key-file FILE, QANAT_PSK_KEY, --key-fd N or "
		    "-k; `qanat psk genkey` makes one");
	else if (is_twice)
		add(load, best, "give the key in one way only: key, key_file or key_fd");
	if (best && best != paths[0] && config->psk.key) {
		explicit_bzero(config->psk.key, strlen(config->psk.key));
		replace(&config->psk.key, NULL);
	}
	if (best && best != paths[1])
		replace(&config->psk.key_file, NULL);
	if (best && best != paths[2])
		replace(&config->psk.key_fd, NULL);
	const char *fd = config->psk.key_fd;
	if (fd && (strspn(fd, "0123456789") != strlen(fd) || strlen(fd) > 5))
		add(load, "psk.key_fd", "must be the number of an open descriptor");
}

// ---- addresses

static void check_address(struct load *load, const char *path, const char *text, int family)
{
	struct netlink_address address;
	if (!text || !text[0])
		return;
	if (netlink_parse(text, &address) != 0)
		add(load, path,
		    family == AF_INET ? "must be an IPv4 address such as 10.1.1.1/30"
		                      : "must be an IPv6 address such as fc11::1/126");
	else if (address.family != family)
		add(load, path, family == AF_INET ? "is not an IPv4 address" : "is not an IPv6 address");
}

static void check_peer(struct load *load, const char *path, const char *peer, const char *own_path, const char *own)
{
	if (!peer || !peer[0])
		return;
	if (strchr(peer, '/'))
		add(load, path, "is one host: without /BITS");
	if (!own || !own[0])
		add(load, path, strcmp(own_path, "psk.ipv4") == 0 ? "needs psk.ipv4" : "needs psk.ipv6");
}

static void check_addresses(struct load *load)
{
	const struct config *config = load->config;
	check_address(load, "psk.ipv4", config->psk.ipv4, AF_INET);
	check_address(load, "psk.ipv6", config->psk.ipv6, AF_INET6);
	check_address(load, "psk.peer_ipv4", config->psk.peer_ipv4, AF_INET);
	check_address(load, "psk.peer_ipv6", config->psk.peer_ipv6, AF_INET6);
	check_peer(load, "psk.peer_ipv4", config->psk.peer_ipv4, "psk.ipv4", config->psk.ipv4);
	check_peer(load, "psk.peer_ipv6", config->psk.peer_ipv6, "psk.ipv6", config->psk.ipv6);
	if (config->psk.ipv6 && config->psk.ipv6[0] && config->psk.mtu < IPV6_LEAST_MTU)
		add(load, "psk.mtu", "is too small for IPv6, which needs 1280: set psk.ipv6 = \"none\" or a larger mtu");
	for (size_t i = 0; i < config->psk.route_count; i++) {
		struct netlink_address to;
		if (netlink_parse(config->psk.routes[i], &to) == 0)
			continue;
		const struct load_setting *setting = load_setting(load, "psk.routes");
		problem_add(&load->problems, setting->item_places ? setting->item_places[i] : setting->place, "psk.routes",
		            "\"%s\" is not a network such as 192.168.7.0/24 or fd00:7::/64", config->psk.routes[i]);
	}
}

static void check_device(struct load *load)
{
	const char *name = load->config->psk.device, *percent = name ? strchr(name, '%') : NULL;
	if (!name)
		return;
	if (strchr(name, '/') || strchr(name, ':') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		add(load, "psk.device", "is not a name of a network device");
	else if (percent && (strncmp(percent, "%d", 2) != 0 || strchr(percent + 1, '%')))
		add(load, "psk.device", "may have one %d, which stands for a number, and no other %");
}

static void check_ends(struct load *load)
{
	const struct config *config = load->config;
	struct address address;
	char host[256];
	uint16_t port;
	if (load->command == CONFIG_PSK_SERVER && config->psk.listen &&
	    (address_parse(config->psk.listen, &address) != 0 || address_is_unix(&address)))
		add(load, "psk.listen", "must be IP:PORT, [IP6]:PORT or :PORT");
	if (load->command == CONFIG_PSK_CLIENT && config->psk.server &&
	    address_split(config->psk.server, host, sizeof host, &port) != 0)
		add(load, "psk.server", "must be HOST:PORT; there is no default port");
}

void validate_psk(struct load *load)
{
	const struct config *config = load->config;
	check_key(load);
	check_ends(load);
	check_device(load);
	check_addresses(load);
	if (config->psk.initial_reconnect_delay_ms > config->psk.max_reconnect_delay_ms)
		add(load, "psk.initial_reconnect_delay_ms", "is longer than psk.max_reconnect_delay_ms");
}
