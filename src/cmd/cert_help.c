// What `qanat cert VERB --help` says, for the verbs that make certificates. The other verbs' texts are in
// cmd/cert_help_life.c.

#include "cmd/cert_internal.h"

#define KEY_HELP                                                                                                \
	"  --key ALG             p256 (default), ed25519, ml-dsa-65, ml-dsa-87; the last two sign quantum-safely\n" \
	"  --force               replace existing files\n"

#define INDEX_HELP "  --index FILE          the CA's index; default: its certificate's path and \".index\"\n"

#define CA_FILES_HELP                                           \
	"  --ca-cert FILE        the CA's certificate (required)\n" \
	"  --ca-key FILE         the CA's private key (required); its algorithm may differ from --key\n" INDEX_HELP

const char cert_ca_help[] =
	"usage: qanat cert ca --common-name NAME --out-cert FILE --out-key FILE [flags]\n"
	"\n"
	"Makes a CA: a self-signed certificate that may sign servers and clients, but no further CAs.\n"
	"\n"
	"  --common-name NAME    what people will see (required)\n"
	"  --out-cert FILE       where the certificate goes, mode 0644 (required)\n"
	"  --out-key FILE        where the private key goes, mode 0600 (required)\n"
	"  --validity-days N     default 3650\n" KEY_HELP "\n"
	"Both ends of a link get ca.crt. Whoever has ca.key can make members of your network: keep it off both.\n"
	"\n"
	"  qanat cert ca --common-name \"My CA\" --out-cert ca.crt --out-key ca.key\n"
	"  qanat cert ca --common-name \"My CA\" --key ml-dsa-87 --out-cert ca.crt --out-key ca.key\n";

const char cert_server_help[] =
	"usage: qanat cert server --common-name NAME --ca-cert FILE --ca-key FILE --out-cert FILE --out-key FILE [flags]\n"
	"\n"
	"Makes a certificate for the side that listens (qanat dest).\n"
	"\n"
	"  --common-name NAME    what people will see (required); also the name it is reached by when none is given below\n"
	"  --dns-names A,B       host names it is reached by; *.example.com stands for one more part\n"
	"  --ip-addresses A,B    IPv4 and IPv6 addresses it is reached by\n" CA_FILES_HELP
	"  --out-cert FILE       where the certificate goes, mode 0644 (required)\n"
	"  --out-key FILE        where the private key goes, mode 0600 (required)\n"
	"  --validity-days N     default 365; never longer than the CA's\n"
	"  --validity SPAN       the same in another unit: 90s, 15m, 12h, 30d\n" KEY_HELP "\n"
	"Peers compare the name they dialled with these names only, never with the common name.\n"
	"\n"
	"  qanat cert server --common-name server.example.com --dns-names server.example.com,localhost \\\n"
	"    --ip-addresses 127.0.0.1,::1 --ca-cert ca.crt --ca-key ca.key --out-cert server.crt --out-key server.key\n";

const char cert_client_help[] =
	"usage: qanat cert client --common-name NAME --ca-cert FILE --ca-key FILE --out-cert FILE --out-key FILE [flags]\n"
	"\n"
	"Makes a certificate for the side that dials (qanat source).\n"
	"\n"
	"  --common-name NAME    who it is; peers may allow or refuse by this name (required)\n" CA_FILES_HELP
	"  --out-cert FILE       where the certificate goes, mode 0644 (required)\n"
	"  --out-key FILE        where the private key goes, mode 0600 (required)\n"
	"  --validity-days N     default 365; never longer than the CA's\n"
	"  --validity SPAN       the same in another unit: 90s, 15m, 12h, 30d\n" KEY_HELP "\n"
	"  qanat cert client --common-name client1 --ca-cert ca.crt --ca-key ca.key \\\n"
	"    --out-cert client.crt --out-key client.key\n";
