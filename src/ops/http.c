// libmicrohttpd does the HTTP; this says what is served and keeps its connections in bounds. Everything but start and
// stop runs on libmicrohttpd's one thread, so nothing here needs a lock.

#include "ops/http.h"

#include "core/clock.h"
#include "core/log.h"
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Hostile: a scraper costs at most one place, 32 KiB and five silent seconds. When the last place is taken the oldest
// connection is ended, so connections that are kept busy a byte at a time do not lock other people out.
#define CONNECTIONS 64
#define CONNECTION_BYTES (32 * 1024)
#define SILENCE_S 5
#define BACKLOG 128
// Hostile: pages that are asked for and not read, all together. A page of 1000 links is about 2 MiB.
#define UNREAD_BYTES (16 * 1024 * 1024)
// Pages up to this size are sent whatever else is held: a probe of /health is always answered.
#define SMALL_BYTES 4096
#define OUT_OF_DESCRIPTORS_MS 100

struct http {
	struct MHD_Daemon *daemon;
	status_fn fill;
	void *owner;
	struct address address;
	struct stat made;    // the Unix path as we made it; st_ino 0: none
	size_t unread_bytes; // pages that libmicrohttpd still holds
	struct place {
		struct MHD_Connection *connection; // NULL: free
		uint64_t since_ms;
	} places[CONNECTIONS];
};

#define PATHS "/metrics  for Prometheus\n/health   200 when of use, 503 when not\n/status   everything, as JSON\n"
#define JSON "application/json"
#define PLAIN "text/plain; charset=utf-8"

// ---- connections ---------------------------------------------------------------------------------------------------

static void end_oldest(struct http *http)
{
	struct place *oldest = NULL;
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct place *place = &http->places[i];
		if (!place->connection)
			return;
		if (!oldest || place->since_ms < oldest->since_ms)
			oldest = place;
	}
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(oldest->connection,
	                                                               MHD_CONNECTION_INFO_CONNECTION_FD);
	if (info)
		(void)shutdown(info->connect_fd, SHUT_RDWR);
	// It is ended once, also when its end is a while in coming.
	oldest->since_ms = UINT64_MAX;
}

static void on_connection(void *owner, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
	struct http *http = owner;
	bool started = code == MHD_CONNECTION_NOTIFY_STARTED;
	(void)context;
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct place *place = &http->places[i];
		if (place->connection != (started ? NULL : connection))
			continue;
		place->connection = started ? connection : NULL;
		place->since_ms = clock_ms();
		break;
	}
	if (started)
		end_oldest(http);
}

// ---- answers -------------------------------------------------------------------------------------------------------

struct page {
	struct http *http;
	char *text;
	size_t length;
};

static void free_page(void *owner)
{
	struct page *page = owner;
	page->http->unread_bytes -= page->length;
	free(page->text);
	free(page);
}

// Takes text, which came from malloc; NULL without memory.
static struct MHD_Response *respond(struct http *http, char *text)
{
	struct page *page = malloc(sizeof *page);
	if (!page) {
		free(text);
		return NULL;
	}
	*page = (struct page){.http = http, .text = text, .length = strlen(text)};
	http->unread_bytes += page->length;
	struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(page->length, text,
	                                                                                       free_page, page);
	if (!response)
		free_page(page);
	return response;
}

static bool add_headers(struct MHD_Response *response, unsigned code, const char *type)
{
	return MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
	       MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES &&
	       (code != MHD_HTTP_METHOD_NOT_ALLOWED ||
	        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES);
}

// Takes text, which came from malloc. NULL, no memory for it, ends the connection.
static enum MHD_Result answer(struct http *http, struct MHD_Connection *connection, unsigned code, const char *type,
                              char *text)
{
	if (!text)
		return MHD_NO;
	size_t length = strlen(text);
	if (length > SMALL_BYTES && http->unread_bytes > 0 && http->unread_bytes + length > UNREAD_BYTES) {
		free(text);
		return answer(http, connection, MHD_HTTP_SERVICE_UNAVAILABLE, PLAIN,
		              strdup("busy: too many pages wait to be read\n"));
	}
	struct MHD_Response *response = respond(http, text);
	if (!response)
		return MHD_NO;
	enum MHD_Result result = add_headers(response, code, type) ? MHD_queue_response(connection, code, response)
	                                                           : MHD_NO;
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_path(struct http *http, struct MHD_Connection *connection, const char *path)
{
	struct status_node status = {0};
	if (strcmp(path, "/") == 0)
		return answer(http, connection, MHD_HTTP_OK, PLAIN, strdup(PATHS));
	if (strcmp(path, "/metrics") == 0) {
		http->fill(http->owner, &status);
		return answer(http, connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
		              status_encode_metrics(&status));
	}
	if (strcmp(path, "/status") == 0) {
		http->fill(http->owner, &status);
		return answer(http, connection, MHD_HTTP_OK, JSON, status_encode(&status));
	}
	if (strcmp(path, "/health") == 0) {
		http->fill(http->owner, &status);
		bool is_of_use = status.ready && strcmp(status.health, "Unhealthy") != 0;
		unsigned code = is_of_use ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
		return answer(http, connection, code, JSON, status_encode_health(&status));
	}
	return answer(http, connection, MHD_HTTP_NOT_FOUND, PLAIN, strdup("not here; there are\n" PATHS));
}

// Called when the head of a request is complete, for each piece of its body, and at its end. The shape is
// libmicrohttpd's. NOLINTNEXTLINE(readability-function-size)
static enum MHD_Result on_request(void *owner, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *body, size_t *body_length, void **context)
{
	static char seen;
	struct http *http = owner;
	(void)version;
	(void)body;
	// Hostile: refused before its body is read.
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer(http, connection, MHD_HTTP_METHOD_NOT_ALLOWED, PLAIN, strdup("only GET and HEAD\n"));
	if (!*context) {
		*context = &seen;
		return MHD_YES;
	}
	if (*body_length > 0) {
		*body_length = 0;
		return MHD_YES;
	}
	return answer_path(http, connection, path);
}

// ---- life ----------------------------------------------------------------------------------------------------------

// libmicrohttpd tries again at once, and for ever, when there is no descriptor for a connection that waits; and it
// complains each time, which is our chance to slow it down.
static void on_complaint(void *owner, const char *format, va_list arguments)
{
	(void)owner;
	(void)format;
	(void)arguments;
	int spare = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	if (spare < 0)
		(void)poll(NULL, 0, OUT_OF_DESCRIPTORS_MS);
	else
		close(spare);
}

static struct MHD_Daemon *start(struct http *http, int fd)
{
	// Syscalls: clone3, prctl, poll, accept4, recvfrom, sendto, sendmsg, setsockopt, shutdown,
	// eventfd2, fcntl, close
	return MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ERROR_LOG, 0, NULL, NULL,
	                        on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_complaint, NULL, MHD_OPTION_LISTEN_SOCKET,
	                        fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	                        (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S,
	                        MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_END);
}

// The path goes only while it is still the socket we made: another node may have taken its place.
static void remove_path(const struct http *http)
{
	struct stat now;
	if (http->made.st_ino != 0 && lstat(http->address.un.sun_path, &now) == 0 && now.st_dev == http->made.st_dev &&
	    now.st_ino == http->made.st_ino)
		unlink(http->address.un.sun_path);
}

int http_start(struct address *address, status_fn fill, void *owner, struct http **out)
{
	int fd = -1;
	struct http *http = calloc(1, sizeof *http);
	if (!http)
		return -ENOMEM;
	http->fill = fill;
	http->owner = owner;
	int r = socket_listen(address, BACKLOG, &fd);
	if (r < 0) {
		free(http);
		return r;
	}
	http->address = *address;
	if (address_is_unix(address) && r != SOCKET_INHERITED && lstat(address->un.sun_path, &http->made) != 0)
		http->made = (struct stat){0};
	errno = 0;
	http->daemon = start(http, fd);
	if (!http->daemon) {
		// The socket is libmicrohttpd's now: most failures close it, the others leave it to the end of the process.
		r = errno ? -errno : -ENOMEM;
		remove_path(http);
		free(http);
		return r;
	}
	*out = http;
	return 0;
}

void http_stop(struct http **slot)
{
	struct http *http = *slot;
	*slot = NULL;
	if (!http)
		return;
	remove_path(http);
	MHD_stop_daemon(http->daemon);
	free(http);
}
