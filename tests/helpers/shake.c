// Mutual TLS handshakes, one after the other on each of some threads, for benchmarks of what terminates TLS: each is a
// full one (no resumption), one byte goes there and back, and both sides end in order.
//
//   shake HOST:PORT CA CERT KEY --seconds N [--threads N] [--group NAME]
//
// Prints one line of JSON: how many were done and how many failed, for how long, with which group.

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64

static struct sockaddr_in address;
static SSL_CTX *context;
static double until;
static _Atomic uint64_t done, failed;
static char group[64];
static pthread_mutex_t group_lock = PTHREAD_MUTEX_INITIALIZER;

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static bool talk(SSL *ssl)
{
	char byte = 'x', more[64];
	if (SSL_connect(ssl) != 1 || SSL_write(ssl, &byte, 1) != 1 || SSL_read(ssl, &byte, 1) != 1 || byte != 'x')
		return false;
	pthread_mutex_lock(&group_lock);
	snprintf(group, sizeof group, "%s", SSL_get0_group_name(ssl) ? SSL_get0_group_name(ssl) : "");
	pthread_mutex_unlock(&group_lock);
	SSL_shutdown(ssl);
	while (SSL_read(ssl, more, sizeof more) > 0)
		;
	return true;
}

static bool shake(void)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = 20};
	SSL *ssl = SSL_new(context);
	bool good = fd >= 0 && ssl && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
	            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
	            connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && SSL_set_fd(ssl, fd) == 1 && talk(ssl);
	SSL_free(ssl);
	ERR_clear_error();
	if (fd >= 0)
		close(fd);
	return good;
}

static void *work(void *unused)
{
	while (now() < until)
		atomic_fetch_add(shake() ? &done : &failed, 1);
	return unused;
}

static bool read_address(char *text)
{
	char *colon = strrchr(text, ':');
	if (!colon)
		return false;
	*colon = '\0';
	address.sin_family = AF_INET;
	address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	return inet_pton(AF_INET, text, &address.sin_addr) == 1;
}

static bool prepare(char **files, const char *groups)
{
	context = SSL_CTX_new(TLS_client_method());
	if (!context)
		return false;
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	return SSL_CTX_load_verify_locations(context, files[0], NULL) == 1 &&
	       SSL_CTX_use_certificate_chain_file(context, files[1]) == 1 &&
	       SSL_CTX_use_PrivateKey_file(context, files[2], SSL_FILETYPE_PEM) == 1 &&
	       SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
	       (!groups || SSL_CTX_set1_groups_list(context, groups) == 1);
}

int main(int argc, char **argv)
{
	const char *groups = NULL;
	double seconds = 3;
	int threads = 2;
	pthread_t thread[THREADS_MAX];
	for (int i = 5; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtod(argv[i + 1], NULL);
		else if (strcmp(argv[i], "--threads") == 0)
			threads = (int)strtol(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--group") == 0)
			groups = argv[i + 1];
	}
	if (argc < 5 || threads < 1 || threads > THREADS_MAX || !read_address(argv[1]) || !prepare(argv + 2, groups)) {
		fprintf(stderr, "usage: shake HOST:PORT CA CERT KEY --seconds N [--threads N] [--group NAME]\n");
		ERR_print_errors_fp(stderr);
		return 2;
	}
	double began = now();
	until = began + seconds;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, work, NULL) != 0)
			return 1;
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	printf("{\"done\": %llu, \"failed\": %llu, \"seconds\": %.3f, \"group\": \"%s\"}\n",
	       (unsigned long long)atomic_load(&done), (unsigned long long)atomic_load(&failed), now() - began, group);
	SSL_CTX_free(context);
	return atomic_load(&failed) > 0;
}
