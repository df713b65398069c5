#include "config/help.h"

#include <string.h>

static const char *const headings[][2] = {
	{"source", "The local side"},
	{"dest", "The tunnel's side and the services"},
	{"udp", "UDP"},
	{"psk", "The tunnel"},
	{"proxy", "The proxy"},
	{"agent", "The agent"},
	{"auth", "Certificates"},
	{"crypto", "Keys"},
	{"link", "The link"},
	{"expiry", "Warnings before certificates end"},
	{"renewal", "Renewal of the own certificate"},
	{"logging", "Log"},
	{"metrics", "Metrics, health and status"},
	{"control", "The control socket"},
	{"node", "The process"},
};

static bool is_in(const struct schema_key *key, const char *section)
{
	size_t length = strlen(section);
	return schema_section_length(key->path) == length && strncmp(key->path, section, length) == 0;
}

static bool is_shown(const struct schema_key *key, enum config_command command, const char *section)
{
	return is_in(key, section) && (key->commands & schema_command_bit(command)) && key->state == SCHEMA_BUILT &&
	       key->size > 0;
}

static void print_key(const struct schema_key *key, FILE *out)
{
	char environment[SCHEMA_ENVIRONMENT_BYTES], type[160];
	schema_environment(key, environment);
	schema_describe_type(key, type, sizeof type);
	if (key->flag) {
		fputs("  ", out);
		for (size_t i = 0; i < COUNT_OF(key->flag_aliases) && key->flag_aliases[i]; i++)
			fprintf(out, "%s, ", key->flag_aliases[i]);
		fprintf(out, "%s %s\n", key->flag, key->value_name);
	} else
		fprintf(out, "  (file or environment) %s\n", key->path);
	fprintf(out, "        %s.\n", key->help);
	fprintf(out, "        %s%s", type, key->flag && key->item_from_text ? "; the flag may be repeated" : "");
	if (key->required)
		fprintf(out, "; required");
	else if (key->initial || key->initial_note)
		fprintf(out, "; default: %s", key->initial_note ? key->initial_note : key->initial);
	fprintf(out, "\n        file: %s, environment: %s\n", key->path, environment);
}

static void print_section(enum config_command command, const char *const heading[2], FILE *out)
{
	bool is_first = true;
	for (size_t i = 0; i < schema.count; i++) {
		const struct schema_key *key = &schema.keys[i];
		if (!is_shown(key, command, heading[0]))
			continue;
		if (is_first)
			fprintf(out, "\n%s [%s]\n", heading[1], heading[0]);
		is_first = false;
		print_key(key, out);
	}
}

static void print_source_head(FILE *out)
{
	fputs("usage: qanat source [-c FILE] [flags]\n\n"
	      "Listens on local ports and carries what arrives through a quantum-safe link to `qanat dest`.\n\n"
	      "  qanat source -c source.toml\n"
	      "  qanat source --dest-host dest.example.net --dest-tunnel-port 9443 \\\n"
	      "      --ca-cert ca.crt --cert client.crt --key client.key --forward 127.0.0.1:2222=ssh\n",
	      out);
}

static void print_dest_head(FILE *out)
{
	fputs("usage: qanat dest [-c FILE] [flags]\n\n"
	      "Accepts quantum-safe links from `qanat source` and hands what they carry to the services here.\n\n"
	      "  qanat dest -c dest.toml\n"
	      "  qanat dest --tunnel-port 9443 --ca-cert ca.crt --cert server.crt --key server.key \\\n"
	      "      --service ssh=22:127.0.0.1:22\n",
	      out);
}

static void print_psk_head(enum config_command command, FILE *out)
{
	bool is_server = command == CONFIG_PSK_SERVER;
	fprintf(out,
	        "usage: qanat %s [-c FILE] [flags]\n\n"
	        "%s of a layer-3 tunnel with a pre-shared key; the other side is qanat or ttun. Needs the right to\n"
	        "make a TUN device (root, or CAP_NET_ADMIN).\n\n"
	        "  qanat psk genkey > tunnel.key\n"
	        "  qanat %s --key-file tunnel.key%s\n\n"
	        "The flags of ttun mean the same here: -k KEY, -m CIPHER, -l [IP]:PORT, -s HOST:PORT, -mtu BYTES,\n"
	        "-mptcp[=false].\n",
	        schema_command_name(command), is_server ? "The listening side" : "The dialling side",
	        schema_command_name(command), is_server ? "" : " --server tunnel.example.net:20203");
}

static void print_proxy_head(FILE *out)
{
	fputs("usage: qanat proxy [-c FILE] [flags]\n\n"
	      "Takes TLS with hybrid post-quantum keys in front of a plain service; with --mode client the reverse.\n\n"
	      "  qanat proxy --listen 0.0.0.0:8443 --target 127.0.0.1:6000 --cert server.crt --key server.key \\\n"
	      "      --ca-cert ca.crt --client-cert-mode required\n"
	      "  qanat proxy --config-file config.json\n"
	      "  qanat proxy --mode client --listen 127.0.0.1:6000 --target proxy.example.net:8443 --ca-cert ca.crt\n\n"
	      "The command line of Quantum Safe Proxy means the same here, also when this program is started under the\n"
	      "name quantum-safe-proxy.\n\n"
	      "  --from-env\n"
	      "        Read the environment names of Quantum Safe Proxy (QUANTUM_SAFE_PROXY_LISTEN, ..._TARGET, ..._CERT,\n"
	      "        ..._KEY, ..._CA_CERT, ..._LOG_LEVEL, ..._HYBRID_MODE, ..._CLIENT_CERT_MODE, ...) as well.\n",
	      out);
}

static void print_agent_head(FILE *out)
{
	fputs(
		"usage: qanat agent [-c FILE] [flags]\n\n"
		"Runs on a device, keeps a link with a hub, and lets the hub reach the services named here, and nothing else.\n\n"
		"  qanat agent --rhost hub.example.net --rport 2222 --robot 011 --lhost 127.0.0.1 --lport 22 \\\n"
		"      --ca ca.crt --crt client.crt --key client.key\n"
		"  qanat agent --hub hub.example.net:2222 --service ssh=127.0.0.1:22 --service app=unix:/run/app.sock ...\n\n"
		"The command line of shadow-client means the same here, also when this program is started under that name.\n",
		out);
}

void help_print(enum config_command command, FILE *out)
{
	switch (command) {
	case CONFIG_SOURCE:
		print_source_head(out);
		break;
	case CONFIG_DEST:
		print_dest_head(out);
		break;
	case CONFIG_PSK_SERVER:
	case CONFIG_PSK_CLIENT:
		print_psk_head(command, out);
		break;
	case CONFIG_PROXY:
		print_proxy_head(out);
		break;
	case CONFIG_AGENT:
		print_agent_head(out);
		break;
	}
	fputs("\nA flag wins over the environment, the environment over the file, the file over the default. Lists are\n"
	      "replaced as a whole; in the environment their items are separated by commas.\n\n"
	      "  -c, --config, --config-file FILE\n"
	      "        Configuration: TOML, or JSON when its name ends in .json.\n"
	      "        default: " SCHEMA_DEFAULT_PATH ", if it exists; environment: QANAT_CONFIG\n"
	      "  -h, --help\n",
	      out);
	for (size_t i = 0; i < COUNT_OF(headings); i++)
		print_section(command, headings[i], out);
	fputs("\nExit status: 0 stopped as asked, 1 failure while running, 2 wrong command line or configuration.\n", out);
}
