#include "net/socket_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { PROBE_SEGMENT_BYTES = 1200, PROBE_NAMES_BYTES = 256 };

static struct sockaddr_storage loopback(int family, socklen_t *length)
{
	struct sockaddr_storage address = {.ss_family = (sa_family_t)family};

	if (family == AF_INET6) {
		((struct sockaddr_in6 *)(void *)&address)->sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
		*length = sizeof(struct sockaddr_in6);
	} else {
		((struct sockaddr_in *)(void *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		*length = sizeof(struct sockaddr_in);
	}
	return address;
}

// Both ends of a TCP connection over loopback, or a negative.
static int connect_pair(int family, int ends[2])
{
	socklen_t length;
	struct sockaddr_storage address = loopback(family, &length);
	int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

	ends[0] = ends[1] = -1;
	if (listener < 0)
		return -errno;
	if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
	    (ends[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 ||
	    connect(ends[0], (struct sockaddr *)&address, length) != 0 ||
	    (ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
		error = errno;
	close(listener);
	return -error;
}

static void close_pair(int ends[2])
{
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
}

static void probe_loopback(struct findings *findings)
{
	int ends[2];
	int result = connect_pair(AF_INET, ends);

	close_pair(ends);
	if (result < 0)
		finding_add(findings, FINDING_ERROR, "IPv4 loopback", "bring the interface up: ip link set lo up",
		            "127.0.0.1 cannot be used: %s", outcome_text(result));
	else
		finding_add(findings, FINDING_OK, "IPv4 loopback", NULL, "works");
	result = connect_pair(AF_INET6, ends);
	close_pair(ends);
	if (result < 0)
		finding_add(findings, FINDING_NOTE, "IPv6 loopback",
		            "listen on IPv4 addresses only, or allow IPv6: sysctl net.ipv6.conf.lo.disable_ipv6=0",
		            "::1 cannot be used: %s", outcome_text(result));
	else
		finding_add(findings, FINDING_OK, "IPv6 loopback", NULL, "works");
}

// The file's first line; "" when it cannot be read.
static void read_line(const char *path, char *text, size_t room)
{
	FILE *file = fopen(path, "re");

	text[0] = 0;
	if (file && fgets(text, (int)room, file))
		text[strcspn(text, "\n")] = 0;
	if (file)
		fclose(file);
}

static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += length)
		if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0))
			return true;
	return false;
}

static void probe_congestion(struct findings *findings)
{
	char available[PROBE_NAMES_BYTES], now[64];

	read_line("/proc/sys/net/ipv4/tcp_available_congestion_control", available, sizeof available);
	read_line("/proc/sys/net/ipv4/tcp_congestion_control", now, sizeof now);
	if (!available[0])
		finding_add(findings, FINDING_NOTE, "congestion control", NULL,
		            "/proc/sys/net/ipv4 cannot be read, so it is not known which there are");
	else if (!has_word(available, "cubic") && !has_word(available, "reno"))
		finding_add(
			findings, FINDING_WARNING, "congestion control",
			"modprobe tcp_cubic: link.congestion = \"auto\" wants it for connections on loopback, where pacing costs "
			"a third of the throughput",
			"%s, of %s: neither cubic nor reno", now, available);
	else
		finding_add(findings, FINDING_OK, "congestion control", NULL, "%s, of %s", now, available);
}

static void probe_kernel_tls(struct findings *findings)
{
	int ends[2];
	int result = connect_pair(AF_INET, ends);
	bool has_statistics = access("/proc/net/tls_stat", R_OK) == 0;

	if (result == 0 && setsockopt(ends[0], SOL_TCP, TCP_ULP, "tls", sizeof "tls") != 0)
		result = -errno;
	close_pair(ends);
	if (result == 0)
		finding_add(findings, FINDING_OK, "kernel TLS", NULL,
		            "a socket takes it%s; links do not use it in this version",
		            has_statistics ? "" : " (without /proc/net/tls_stat)");
	else
		finding_add(findings, FINDING_NOTE, "kernel TLS",
		            "nothing to do: links do not use it in this version. To have it: modprobe tls",
		            "a socket does not take it (%s)", outcome_text(result));
}

static int try_udp(int option, int value)
{
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (udp < 0)
		return -errno;
	int result = setsockopt(udp, SOL_UDP, option, &value, sizeof value) == 0 ? 0 : -errno;
	close(udp);
	return result;
}

static void probe_udp(struct findings *findings)
{
	static const struct {
		const char *subject;
		int option, value;
	} options[] = {{"UDP segmentation (GSO)", UDP_SEGMENT, PROBE_SEGMENT_BYTES}, {"UDP coalescing (GRO)", UDP_GRO, 1}};

	for (size_t i = 0; i < COUNT_OF(options); i++) {
		int result = try_udp(options[i].option, options[i].value);
		if (result == 0)
			finding_add(findings, FINDING_OK, options[i].subject, NULL, "a socket takes it");
		else
			finding_add(findings, FINDING_NOTE, options[i].subject,
			            "Linux 4.18 (GSO) and 5.0 (GRO) or newer have it; datagrams then go one by one",
			            "a socket does not take it (%s)", outcome_text(result));
	}
}

void socket_probe(struct findings *findings)
{
	probe_loopback(findings);
	probe_congestion(findings);
	probe_kernel_tls(findings);
	probe_udp(findings);
}
