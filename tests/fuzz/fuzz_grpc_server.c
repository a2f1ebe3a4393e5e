/* SPDX-License-Identifier: Apache-2.0
 * Whatever a client may send to the gRPC server. The first byte says how the rest is sent: bit 0: after a preface and
 * SETTINGS (else raw); bit 1: as frames (type, flags, stream, length, payload), so that the framing is right and
 * the fuzzer works on what is in it; bits 2 to 4: in pieces of 1 << 2n bytes. When the client has gone, nothing may be
 * left of it: no connection, no call, no byte that is counted. */
#include <assert.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "net/grpc_server.h"
#include "tests/net/stream_service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct event_base *base;
static struct agi_grpc_server *server;
static struct streams streams;

static void echo(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;

	(void)ctx;
	res.value = ((const Agihpc__V1__GetRequest *)req)->key;
	agi_grpc_reply(call, &res.base);
}

static void serve(void)
{
	static const ProtobufCMethodDescriptor names[] = {
	    {"Get", &agihpc__v1__get_request__descriptor, &agihpc__v1__get_response__descriptor},
	    {"Sum", &agihpc__v1__get_request__descriptor, &agihpc__v1__get_response__descriptor},
	    {"Chat", &agihpc__v1__get_request__descriptor, &agihpc__v1__get_response__descriptor}};
	static const ProtobufCServiceDescriptor desc = {
	    .magic = PROTOBUF_C__SERVICE_DESCRIPTOR_MAGIC, .name = "t.S", .n_methods = 3, .methods = names};
	static const struct agi_grpc_method methods[] = {{"Get", echo, AGI_GRPC_UNARY, NULL},
							 {"Sum", NULL, AGI_GRPC_CLIENT_STREAM, stream_sum},
							 {"Chat", NULL, AGI_GRPC_BIDI, stream_chat}};
	const struct agi_grpc_server_cfg cfg = {.recv_max_bytes = 1 << 16};

	base = event_base_new();
	if (!base || agi_grpc_server_new(base, &cfg, &server) ||
	    agi_grpc_server_add(server, &desc, methods, 3, &streams))
		abort();
}

static void turn(int fd)
{
	uint8_t drop[65536];

	event_base_loop(base, EVLOOP_NONBLOCK);
	while (recv(fd, drop, sizeof drop, MSG_DONTWAIT) > 0)
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

/* Few streams, so that frames meet calls. */
static void put_frames(struct agi_buf *out, struct agi_cur *in)
{
	while (in->n) {
		uint8_t type = agi_cur_u8(in), flags = agi_cur_u8(in), stream = agi_cur_u8(in);
		size_t n = agi_cur_u8(in);
		struct agi_str payload = agi_cur_take(in, n < in->n ? n : in->n);

		agi_buf_u8(out, 0);
		agi_buf_u16(out, (uint16_t)payload.n);
		agi_buf_u8(out, type % 11);
		agi_buf_u8(out, flags);
		agi_buf_u32(out, stream % 16);
		agi_buf_put_str(out, payload);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct agi_str greeting =
	    AGI_STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0");
	struct agi_cur in = {data, n, false};
	uint8_t how = agi_cur_u8(&in);
	struct agi_buf out;
	int pair[2];

	if (!server)
		serve();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
		abort();
	agi_grpc_server_accept(server, pair[0], &(struct agi_addr){0});
	agi_buf_init(&out, 0);
	if (how & 1)
		agi_buf_put_str(&out, greeting);
	if (how & 2)
		put_frames(&out, &in);
	else
		agi_buf_put_str(&out, agi_cur_take(&in, in.n));
	say(pair[1], out.p, out.n, (size_t)1 << 2 * (how >> 2 & 7));
	agi_buf_free(&out);
	turn(pair[1]);
	close(pair[1]);
	for (int i = 0; i < 4; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	assert(server->n_conns == 0 && server->n_calls == 0 && server->request_bytes == 0);
	assert(TAILQ_EMPTY(&server->ready) && streams.n_open == 0);
	return 0;
}
