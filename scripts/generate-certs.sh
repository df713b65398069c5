#!/bin/sh
# Makes a CA, a server certificate and a client certificate to start with, and verifies them.
set -eu

usage() {
	cat <<'END'
usage: scripts/generate-certs.sh [--dir DIR] [--layout utun|flat] [--dns A,B] [--ip A,B] [--key ALG] [--force]

  --layout utun   (default) in DIR (default: certs)
                    ca.crt  ca.key  dest/server.crt  dest/server.key  source/client.crt  source/client.key
  --layout flat   in DIR (default: .)
                    ca.crt  ca.key  server.crt  server.key  client.crt  client.key
  --dns A,B       names of the server besides localhost, utun-dest and this machine's name
  --ip A,B        addresses of the server besides 127.0.0.1 and ::1
  --key ALG       p256 (default), ed25519, ml-dsa-65, ml-dsa-87
  --force         replace what is there, the CA included

Each side gets ca.crt and its own pair. ca.key makes new members: keep it away from both.
The program is found in $QANAT, then build/qanat, then $PATH.
END
}

fail() {
	printf 'generate-certs: %s\n' "$*" >&2
	exit 1
}

wrong_usage() {
	printf 'generate-certs: %s\n' "$*" >&2
	usage >&2
	exit 2
}

find_qanat() {
	if [ -n "${QANAT:-}" ]; then
		[ -x "$QANAT" ] || fail "QANAT=$QANAT cannot be run"
		printf '%s\n' "$QANAT"
		return
	fi
	for candidate in "$(dirname -- "$0")/../build/qanat" ./build/qanat; do
		if [ -x "$candidate" ]; then
			printf '%s\n' "$candidate"
			return
		fi
	done
	command -v qanat || fail "there is no qanat program: run make first, or set QANAT to its path"
}

dir='' layout=utun dns='' ip='' key=p256 force=''
while [ $# -gt 0 ]; do
	case $1 in
	--dir | --layout | --dns | --ip | --key)
		[ $# -ge 2 ] || wrong_usage "no value after $1"
		[ -n "$2" ] || wrong_usage "$1 is empty"
		case $1 in
		--dir) dir=$2 ;;
		--layout) layout=$2 ;;
		--dns) dns=$dns,$2 ;;
		--ip) ip=$ip,$2 ;;
		--key) key=$2 ;;
		esac
		shift 2
		;;
	--force)
		force=--force
		shift
		;;
	-h | --help)
		usage
		exit 0
		;;
	*) wrong_usage "unknown flag $1" ;;
	esac
done

case $layout in
utun)
	dir=${dir:-certs}
	server=dest/server client=source/client
	;;
flat)
	dir=${dir:-.}
	server=server client=client
	;;
*) wrong_usage "--layout is utun or flat, not $layout" ;;
esac

qanat=$(find_qanat)
# A relative DIR that begins with '-' would be taken for a flag.
case $dir in
/*) ;;
*) dir=./$dir ;;
esac

# All or nothing: a set of which half is from an earlier run does not verify.
if [ -z "$force" ]; then
	for name in ca "$server" "$client"; do
		for file in "$dir/$name.crt" "$dir/$name.key"; do
			[ ! -e "$file" ] || fail "$file exists; replace the whole set with --force, or choose another --dir"
		done
	done
fi

names=localhost,utun-dest
host=$(hostname 2>/dev/null || uname -n)
case $host in
'' | localhost | *[!A-Za-z0-9.-]* | -* | *- | .* | *. | *..* | *-.* | *.-*) ;;
*[!0-9.]*) names=$names,$host ;;
esac
names=$names$dns
addresses=127.0.0.1,::1$ip

# None of the six files was there, so what a failed run leaves is ours to remove; the CA's index only when it is new.
index=
[ -e "$dir/ca.crt.index" ] || index=$dir/ca.crt.index
remove_half() {
	status=$?
	if [ "$status" -ne 0 ] && [ -z "$force" ]; then
		for name in ca "$server" "$client"; do
			rm -f -- "$dir/$name.crt" "$dir/$name.key"
		done
		[ -z "$index" ] || rm -f -- "$index"
	fi
	exit "$status"
}
trap remove_half EXIT

mkdir -p -- "$(dirname -- "$dir/$server")" "$(dirname -- "$dir/$client")"
# shellcheck disable=SC2086  # $force is one flag or none
{
	"$qanat" cert ca --common-name "qanat CA" --key "$key" --out-cert "$dir/ca.crt" --out-key "$dir/ca.key" $force
	echo
	"$qanat" cert server --common-name server --dns-names "$names" --ip-addresses "$addresses" --key "$key" \
		--ca-cert "$dir/ca.crt" --ca-key "$dir/ca.key" --out-cert "$dir/$server.crt" --out-key "$dir/$server.key" $force
	echo
	"$qanat" cert client --common-name client --key "$key" \
		--ca-cert "$dir/ca.crt" --ca-key "$dir/ca.key" --out-cert "$dir/$client.crt" --out-key "$dir/$client.key" $force
}
echo
"$qanat" cert verify --cert "$dir/$server.crt" --ca-cert "$dir/ca.crt" --purpose server --hostname localhost
"$qanat" cert verify --cert "$dir/$client.crt" --ca-cert "$dir/ca.crt" --purpose client
