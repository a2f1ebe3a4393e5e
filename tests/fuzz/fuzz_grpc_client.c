/* SPDX-License-Identifier: Apache-2.0
 * Whatever a server may answer to our gRPC client. The first byte says how the rest is sent: bit 0: as frames (type,
 * flags, stream, length, payload) after SETTINGS (else raw); bits 1 to 3: in pieces of 1 << 2n bytes. Every call
 * must be told its end exactly once. */
#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agihpc.pb-c.h"
#include "base/buf.h"
#include "net/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { CALLS = 3 };
static struct event_base *base;
static int listening;
static char target[64];
static int n_done;

static void remove_socket(void) { (void)unlink(target + 5); }

static void listen_once(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	base = event_base_new();
	snprintf(target, sizeof target, "unix:/tmp/agi-fuzz-client.%ld", (long)getpid());
	snprintf(sa.sun_path, sizeof sa.sun_path, "%s", target + 5);
	remove_socket();
	listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (!base || listening < 0 || bind(listening, (struct sockaddr *)&sa, sizeof sa) || listen(listening, 8))
		abort();
	(void)atexit(remove_socket);
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	(void)arg;
	assert(r->status == AGI_GRPC_OK ? r->res != NULL : r->res == NULL);
	n_done++;
}

static void turn(int fd)
{
	uint8_t drop[65536];

	event_base_loop(base, EVLOOP_NONBLOCK);
	while (fd >= 0 && recv(fd, drop, sizeof drop, MSG_DONTWAIT) > 0)
		;
}

static void say(int fd, const uint8_t *p, size_t n, size_t piece)
{
	while (n > 0) {
		ssize_t done = send(fd, p, n < piece ? n : piece, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (done > 0) {
			p += done;
			n -= (size_t)done;
		}
		turn(fd);
		if (done < 0 && errno != EAGAIN)
			return;
	}
}

static void put_frames(struct agi_buf *out, struct agi_cur *in)
{
	agi_buf_put(out, "\0\0\0\4\0\0\0\0\0", 9);
	while (in->n) {
		uint8_t type = agi_cur_u8(in), flags = agi_cur_u8(in), stream = agi_cur_u8(in);
		size_t n = agi_cur_u8(in);
		struct agi_str payload = agi_cur_take(in, n < in->n ? n : in->n);

		agi_buf_u8(out, 0);
		agi_buf_u16(out, (uint16_t)payload.n);
		agi_buf_u8(out, type % 11);
		agi_buf_u8(out, flags);
		agi_buf_u32(out, stream % 8);
		agi_buf_put_str(out, payload);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agi_cur in = {data, n, false};
	uint8_t how = agi_cur_u8(&in);
	Agihpc__V1__GetRequest req = AGIHPC__V1__GET_REQUEST__INIT;
	struct agi_grpc_channel *ch;
	struct agi_buf out;
	int fd = -1;

	if (!base)
		listen_once();
	n_done = 0;
	if (agi_grpc_channel_new(base, target, &ch, NULL))
		abort();
	for (int i = 0; i < CALLS; i++)
		if (agi_grpc_unary(ch, "/t.S/Get", &req.base, &agihpc__v1__get_response__descriptor, 0, on_done, NULL))
			abort();
	for (int i = 0; i < 100 && fd < 0; i++) {
		turn(-1);
		fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
	}
	assert(fd >= 0);
	turn(fd);
	agi_buf_init(&out, 0);
	if (how & 1)
		put_frames(&out, &in);
	else
		agi_buf_put_str(&out, agi_cur_take(&in, in.n));
	say(fd, out.p, out.n, (size_t)1 << 2 * (how >> 1 & 7));
	agi_buf_free(&out);
	turn(fd);
	close(fd);
	agi_grpc_channel_free(ch);
	turn(-1);
	assert(n_done == CALLS);
	while ((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		close(fd); /* it may have dialled again */
	return 0;
}
