// What `qanat cert VERB --help` says, for everything after a certificate was made.

#include "cmd/cert_internal.h"

#define INDEX_HELP "  --index FILE          the CA's index; default: its certificate's path and \".index\"\n"

const char cert_show_help[] =
	"usage: qanat cert show FILE [--json]\n"
	"\n"
	"Shows what is in a PEM file: certificates (subject, issuer, serial number, validity, usages, names, fingerprint),\n"
	"requests for certificates (and whether `qanat cert sign` would take them), revocation lists.\n"
	"\n"
	"  --cert FILE           the same as the plain argument\n"
	"  --json                for programs\n"
	"\n"
	"  qanat cert show server.crt\n"
	"  qanat cert show server.csr\n"
	"  qanat cert show ca.crl\n";

const char cert_verify_help[] =
	"usage: qanat cert verify --cert FILE --ca-cert FILE [--hostname NAME] [--purpose server|client] [--crl FILE]\n"
	"                         [--expires-in DAYS] [--json]\n"
	"\n"
	"Tells whether a peer would accept the certificate: signatures up to the CA, validity now, usage, and name.\n"
	"Exits 1 and says why when it would not.\n"
	"\n"
	"  --cert FILE           the certificate, with its intermediates behind it (required)\n"
	"  --ca-cert FILE        the CA certificates that are believed (required)\n"
	"  --hostname NAME       host name or IP address that a client would dial\n"
	"  --purpose PURPOSE     server or client; by default what the certificate says it is for\n"
	"  --crl FILE            a revocation list (may be given again); every certificate then needs a current one\n"
	"  --expires-in DAYS     also fail when it expires within so many days\n"
	"  --json                for programs\n"
	"\n"
	"  qanat cert verify --cert server.crt --ca-cert ca.crt --hostname server.example.com\n"
	"  qanat cert verify --cert server.crt --ca-cert ca.crt --hostname 2001:db8::1\n"
	"  qanat cert verify --cert client.crt --ca-cert ca.crt --purpose client --crl ca.crl\n"
	"  qanat cert verify --cert client.crt --ca-cert ca.crt --expires-in 30 || echo renew it\n";

const char cert_renew_help[] =
	"usage: qanat cert renew --cert FILE --ca-cert FILE --ca-key FILE --out-cert FILE [--new-key --out-key FILE] [flags]\n"
	"\n"
	"Issues a certificate again: the same subject, names and usages, a new validity and serial number.\n"
	"\n"
	"  --cert FILE           the certificate of this CA to renew; expired is fine, revoked is not (required)\n"
	"  --ca-cert FILE        the CA's certificate (required)\n"
	"  --ca-key FILE         the CA's private key (required)\n" INDEX_HELP
	"  --out-cert FILE       where the new certificate goes; with --force it may be --cert's own file (required)\n"
	"  --new-key             with a new private key of the same algorithm, instead of the key it has\n"
	"  --out-key FILE        where the new private key goes, mode 0600 (with --new-key)\n"
	"  --key ALG             another algorithm for the new key: p256, ed25519, ml-dsa-65, ml-dsa-87\n"
	"  --validity-days N     default 365; never longer than the CA's\n"
	"  --validity SPAN       the same in another unit: 90s, 15m, 12h, 30d\n"
	"  --force               replace existing files\n"
	"\n"
	"A node takes the new files into use at SIGHUP. The old certificate stays valid until it expires or is revoked.\n"
	"\n"
	"  qanat cert renew --cert server.crt --ca-cert ca.crt --ca-key ca.key --out-cert server.crt --force\n"
	"  qanat cert renew --cert server.crt --ca-cert ca.crt --ca-key ca.key --new-key --key ml-dsa-65 \\\n"
	"    --out-cert new.crt --out-key new.key\n";

const char cert_csr_help[] =
	"usage: qanat cert csr --common-name NAME --out-csr FILE (--out-key FILE | --use-key FILE) [flags]\n"
	"\n"
	"Makes a private key and a request for a certificate, on the machine that will use them. Only the request leaves it.\n"
	"\n"
	"  --common-name NAME    what people will see (required); also the name it is reached by when none is given below\n"
	"  --dns-names A,B       host names it is reached by\n"
	"  --ip-addresses A,B    IPv4 and IPv6 addresses it is reached by\n"
	"  --out-csr FILE        where the request goes, mode 0644 (required)\n"
	"  --out-key FILE        where the new private key goes, mode 0600\n"
	"  --use-key FILE        an existing private key instead of a new one\n"
	"  --key ALG             p256 (default), ed25519, ml-dsa-65, ml-dsa-87; the last two sign quantum-safely\n"
	"  --force               replace existing files\n"
	"\n"
	"  qanat cert csr --common-name server.example.com --out-csr server.csr --out-key server.key\n"
	"  qanat cert csr --common-name server.example.com --out-csr again.csr --use-key server.key\n";

const char cert_sign_help[] =
	"usage: qanat cert sign --csr FILE --usage server|client|both --ca-cert FILE --ca-key FILE --out-cert FILE [flags]\n"
	"\n"
	"Issues a certificate for a request, whoever made it. Shows what is asked for, then signs or says why not.\n"
	"\n"
	"  --csr FILE            the request (required)\n"
	"  --usage USAGE         server, client, or both: the CA decides it, whatever the request says (required)\n"
	"  --ca-cert FILE        the CA's certificate (required)\n"
	"  --ca-key FILE         the CA's private key (required)\n" INDEX_HELP
	"  --out-cert FILE       where the certificate goes, mode 0644 (required)\n"
	"  --validity-days N     default 365; never longer than the CA's\n"
	"  --validity SPAN       the same in another unit: 90s, 15m, 12h, 30d\n"
	"  --force               replace an existing file\n"
	"\n"
	"Taken from the request: its key, its common name, its DNS names and addresses. Refused: a wrong self-signature,\n"
	"weak keys, names that are no host names or addresses, a request to be a CA. Look first: qanat cert show FILE.\n"
	"\n"
	"  qanat cert sign --csr server.csr --usage server --ca-cert ca.crt --ca-key ca.key --out-cert server.crt\n";

const char cert_revoke_help[] =
	"usage: qanat cert revoke (--cert FILE | --serial HEX) --ca-cert FILE [--reason REASON] [flags]\n"
	"\n"
	"Takes a certificate back, for ever: writes it down in the CA's index. Peers learn of it from the next revocation\n"
	"list (qanat cert crl).\n"
	"\n"
	"  --cert FILE           the certificate; or\n"
	"  --serial HEX          its serial number, which the index must know\n"
	"  --ca-cert FILE        the CA's certificate (required)\n"
	"  --reason REASON       unspecified (default), key-compromise, affiliation-changed, superseded,\n"
	"                        cessation-of-operation, privilege-withdrawn\n" INDEX_HELP "\n"
	"  qanat cert revoke --cert client.crt --ca-cert ca.crt --reason key-compromise\n"
	"  qanat cert revoke --serial 5f3a90c2 --ca-cert ca.crt\n";

const char cert_crl_help[] =
	"usage: qanat cert crl --ca-cert FILE --ca-key FILE --out-crl FILE [--days N] [flags]\n"
	"\n"
	"Writes a signed list of every certificate of this CA that was revoked. A list that is over is refused by those who\n"
	"use it, so write the next one in time, also when nothing was revoked.\n"
	"\n"
	"  --ca-cert FILE        the CA's certificate (required)\n"
	"  --ca-key FILE         the CA's private key (required)\n"
	"  --out-crl FILE        where the list goes, mode 0644 (required)\n"
	"  --days N              until the next one is due; default 30\n" INDEX_HELP
	"  --force               replace an older list\n"
	"\n"
	"  qanat cert crl --ca-cert ca.crt --ca-key ca.key --out-crl ca.crl --days 7 --force\n";

const char cert_list_help[] =
	"usage: qanat cert list --ca-cert FILE [--expires-in DAYS] [--json] [flags]\n"
	"\n"
	"Shows what the CA has issued, from its index: serial number, state, days left, usage, subject.\n"
	"\n"
	"  --ca-cert FILE        the CA's certificate (required)\n"
	"  --expires-in DAYS     only what is valid and expires within so many days, without a later certificate of the\n"
	"                        same subject and usage; exits 1 when there is any\n"
	"  --json                for programs\n" INDEX_HELP "\n"
	"  qanat cert list --ca-cert ca.crt\n"
	"  qanat cert list --ca-cert ca.crt --expires-in 30 || echo time to renew\n";

const char cert_serve_help[] =
	"usage: qanat cert serve (--drop DIR [--once] | --listen ADDRESS) --ca-cert FILE --ca-key FILE [flags]\n"
	"\n"
	"Answers the requests of nodes with [renewal], in a folder (NAME.csr becomes NAME.crt, or NAME.refused with the\n"
	"reason) or over connections. Signed is only what was signed before: a certificate that is in the CA's index, valid,\n"
	"not revoked, and whose private key has made the request; the new one has the same subject, names and usages.\n"
	"Runs until SIGTERM.\n"
	"\n"
	"  --drop DIR            the folder; not one that every user may write in\n"
	"  --once                answer what is there now, and exit 1 when something was refused\n"
	"  --listen ADDRESS      IP:PORT or unix:PATH; offer it as a service of `qanat dest`, or on loopback\n"
	"  --proxy-protocol      each connection begins with a PROXY header (at dest: proxy_protocol = \"v2\") that names who\n"
	"                        asks by a verified certificate, and only that name's certificate is renewed\n"
	"  --ca-cert FILE        the CA's certificate (required)\n"
	"  --ca-key FILE         the CA's private key (required)\n" INDEX_HELP
	"  --keys LIST           kinds of new keys that are signed: p256,ed25519,ml-dsa-65,ml-dsa-87 (default: all)\n"
	"  --validity-days N     default: as long as the certificate that is renewed was issued for\n"
	"  --validity SPAN       the same in another unit: 90s, 15m, 12h, 30d\n"
	"  --keep-days N         default 90: certificates that ended so long ago and were never revoked go from the index\n"
	"\n"
	"  qanat cert serve --drop /srv/renewals --ca-cert ca.crt --ca-key ca.key\n"
	"  qanat cert serve --drop /srv/renewals --ca-cert ca.crt --ca-key ca.key --once --keys ml-dsa-65\n"
	"  qanat cert serve --listen 127.0.0.1:7001 --proxy-protocol --ca-cert ca.crt --ca-key ca.key\n";
