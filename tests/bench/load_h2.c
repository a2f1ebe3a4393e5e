/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/load_h2.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	HEAD_BYTES = 9,
	IN_BYTES = 256 << 10,
	OUT_BYTES = 256 << 10,
	REQUEST_MAX = 16384, /* a frame's default maximum */
	WINDOW = 65535
};

void load_die(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(1);
}

double load_now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial_unix(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof un))
		load_die(path);
	return fd;
}

int load_dial(const char *target)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *colon = strchr(target, ':');
	char ip[64];
	int fd, on = 1;

	if (strchr(target, '/'))
		return dial_unix(target);
	snprintf(ip, sizeof ip, "%.*s", colon ? (int)(colon - target) : 0, target);
	if (colon && inet_pton(AF_INET, ip, &in.sin_addr) != 1)
		load_die(target);
	in.sin_port = htons((uint16_t)atoi(colon ? colon + 1 : target));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof in))
		load_die(target);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

/* --- writing -----------------------------------------------------------------------------------
 */
void load_h2_flush(struct load_h2 *c)
{
	size_t done = 0;

	while (done < c->n_out) {
		ssize_t n = send(c->fd, c->out + done, c->n_out - done, MSG_NOSIGNAL);

		if (n < 0)
			load_die("connection lost while writing");
		done += (size_t)n;
	}
	c->n_out = 0;
}

static void put(struct load_h2 *c, const void *p, size_t n)
{
	if (n > OUT_BYTES - c->n_out)
		load_h2_flush(c);
	memcpy(c->out + c->n_out, p, n);
	c->n_out += n;
}

static void put_head(struct load_h2 *c, size_t n, uint8_t type, uint8_t flags, int32_t stream_id)
{
	unsigned char h[HEAD_BYTES] = {(unsigned char)(n >> 16),
				       (unsigned char)(n >> 8),
				       (unsigned char)n,
				       type,
				       flags,
				       (unsigned char)(stream_id >> 24),
				       (unsigned char)(stream_id >> 16),
				       (unsigned char)(stream_id >> 8),
				       (unsigned char)stream_id};

	put(c, h, sizeof h);
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0};
}

/* What a gRPC C++ client sends. */
static void deflate(struct load_h2 *c)
{
	nghttp2_nv list[] = {nv(":scheme", "http"),
			     nv(":method", "POST"),
			     nv(":authority", "127.0.0.1:50051"),
			     nv(":path", c->path),
			     nv("te", "trailers"),
			     nv("content-type", "application/grpc"),
			     nv("user-agent", "grpc-c++/1.51.1 grpc-c/29.0.0 (linux)"),
			     nv("grpc-accept-encoding", "identity, deflate, gzip")};
	ssize_t n = nghttp2_hd_deflate_hd(c->deflater, c->headers, sizeof c->headers, list,
					  sizeof list / sizeof *list);

	if (n < 0)
		load_die("deflate");
	c->n_headers = (size_t)n;
}

void load_h2_ask(struct load_h2 *c)
{
	unsigned char body[REQUEST_MAX];
	size_t n;

	if (c->window < REQUEST_MAX) {
		c->waiting++;
		return;
	}
	n = c->make(c->ctx, body, sizeof body);
	c->window -= (int64_t)n;
	if (!c->is_known) { /* the first fills the table, the second is all indexes, as all after it
			     */
		deflate(c);
		c->is_known = c->next_stream_id > 1;
	}
	put_head(c, c->n_headers, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, c->next_stream_id);
	put(c, c->headers, c->n_headers);
	put_head(c, n, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, c->next_stream_id);
	put(c, body, n);
	c->next_stream_id += 2;
}

/* --- reading -------------------------------------------------------------------------------------
 */
static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Looks for grpc-status: 0 in a header block. */
static bool read_headers(struct load_h2 *c, const unsigned char *p, size_t n)
{
	bool is_ok = false;

	for (;;) {
		nghttp2_nv f;
		int flags = 0;
		ssize_t r = nghttp2_hd_inflate_hd2(c->inflater, &f, &flags, p, n, 1);

		if (r < 0)
			load_die("a header block that does not decode");
		p += r;
		n -= (size_t)r;
		if (flags & NGHTTP2_HD_INFLATE_EMIT && f.namelen == 11 &&
		    memcmp(f.name, "grpc-status", 11) == 0)
			is_ok = f.valuelen == 1 && f.value[0] == '0';
		if (flags & NGHTTP2_HD_INFLATE_EMIT && f.namelen == 12 && !is_ok &&
		    !c->is_tolerant && memcmp(f.name, "grpc-message", 12) == 0)
			fprintf(stderr, "load: grpc-message: %.*s\n", (int)f.valuelen,
				(char *)f.value);
		if (flags & NGHTTP2_HD_INFLATE_FINAL)
			break;
		if (!(flags & NGHTTP2_HD_INFLATE_EMIT) && n == 0)
			break;
	}
	nghttp2_hd_inflate_end_headers(c->inflater);
	return is_ok;
}

static uint32_t *body_of(struct load_h2 *c, int32_t stream_id)
{
	return &c->body_bytes[(stream_id / 2) % (2 * LOAD_STREAMS_MAX)];
}

static void take_window(struct load_h2 *c, uint32_t more)
{
	c->window += more;
	for (; c->waiting && c->window >= REQUEST_MAX; c->waiting--)
		load_h2_ask(c);
}

static void answered(struct load_h2 *c, int32_t stream_id, bool is_ok)
{
	if (!is_ok && !c->is_tolerant)
		load_die("a call did not end with grpc-status 0");
	c->has_failed = !is_ok;
	c->answer_bytes = *body_of(c, stream_id);
	*body_of(c, stream_id) = 0;
}

/* One frame; true when it ends a call. */
static bool take_frame(struct load_h2 *c, uint8_t type, uint8_t flags, int32_t stream_id,
		       const unsigned char *p, size_t n)
{
	switch (type) {
	case NGHTTP2_DATA:
		*body_of(c, stream_id) += (uint32_t)n;
		return false;
	case NGHTTP2_HEADERS: {
		bool is_ok = read_headers(c, p, n);

		if (!(flags & NGHTTP2_FLAG_END_STREAM))
			return false;
		answered(c, stream_id, is_ok);
		return true;
	}
	case NGHTTP2_SETTINGS:
		if (!(flags & NGHTTP2_FLAG_ACK))
			put_head(c, 0, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0);
		return false;
	case NGHTTP2_PING:
		if (!(flags & NGHTTP2_FLAG_ACK)) {
			put_head(c, n, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0);
			put(c, p, n);
		}
		return false;
	case NGHTTP2_WINDOW_UPDATE:
		if (stream_id == 0)
			take_window(c, be32(p));
		return false;
	case NGHTTP2_GOAWAY:
	case NGHTTP2_RST_STREAM:
		load_die("the server ended a stream or the connection");
	}
	return false;
}

/* Everything that is here; the calls that ended. */
static int take_input(struct load_h2 *c)
{
	size_t at = 0;
	int ended = 0;

	while (c->n_in - at >= HEAD_BYTES) {
		const unsigned char *h = c->in + at;
		size_t n = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];

		if (c->n_in - at < HEAD_BYTES + n)
			break;
		ended += take_frame(c, h[3], h[4], (int32_t)(be32(h + 5) & 0x7fffffff),
				    h + HEAD_BYTES, n);
		at += HEAD_BYTES + n;
	}
	memmove(c->in, c->in + at, c->n_in - at);
	c->n_in -= at;
	return ended;
}

int load_h2_receive(struct load_h2 *c)
{
	ssize_t n = recv(c->fd, c->in + c->n_in, IN_BYTES - c->n_in, 0);

	if (n <= 0)
		load_die("connection lost while reading");
	c->n_in += (size_t)n;
	return take_input(c);
}

static void greet(struct load_h2 *c)
{
	static const unsigned char window[4] = {0x7f, 0xff, 0,
						0}; /* for everything that will ever come */

	put(c, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
	put_head(c, 0, NGHTTP2_SETTINGS, 0, 0);
	put_head(c, 4, NGHTTP2_WINDOW_UPDATE, 0, 0);
	put(c, window, sizeof window);
}

void load_h2_open(struct load_h2 *c, const char *target, const char *path)
{
	*c = (struct load_h2){
	    .fd = load_dial(target), .path = path, .next_stream_id = 1, .window = WINDOW};
	c->in = malloc(IN_BYTES);
	c->out = malloc(OUT_BYTES);
	c->body_bytes = calloc(2 * LOAD_STREAMS_MAX, sizeof *c->body_bytes);
	if (!c->in || !c->out || !c->body_bytes || nghttp2_hd_deflate_new(&c->deflater, 4096) ||
	    nghttp2_hd_inflate_new(&c->inflater))
		load_die("out of memory");
	greet(c);
}

void load_h2_close(struct load_h2 *c)
{
	close(c->fd);
	nghttp2_hd_deflate_del(c->deflater);
	nghttp2_hd_inflate_del(c->inflater);
	free(c->in);
	free(c->out);
	free(c->body_bytes);
}
