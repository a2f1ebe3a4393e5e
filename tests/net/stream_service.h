/* SPDX-License-Identifier: Apache-2.0
 * A service for tests of streams, "test.Streams", with the messages of agihpc.v1 Get:
 *   Count  server stream: key "N SIZE" answers N messages, version = 0, 1, ... and SIZE bytes of
 * value, then OK; key "N SIZE fail" ends with DATA_LOSS "enough" instead Sum    client stream:
 * answers version = all bytes of the keys, acks = how many messages Chat   bidirectional: every key
 * comes back as value; "bye" ends the call with OK at once Hold   bidirectional: takes nothing
 * until the test says so (streams->held) */
#ifndef AGI_TESTS_STREAM_SERVICE_H
#define AGI_TESTS_STREAM_SERVICE_H

#include <stdio.h>
#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "base/buf.h"
#include "net/grpc.h"

struct streams {
	struct agi_grpc_call *held;
	size_t held_bytes;
	int n_open, n_cancelled, n_full, n_held, n_ended;
};

struct stream_call {
	struct streams *s;
	struct agi_grpc_call *call;
	uint64_t i, n, bytes;
	size_t size;
	bool fails;
	struct agi_buf pending; /* Chat: an answer that did not fit */
	bool is_pending;
};

static inline void stream_end(struct stream_call *c)
{
	c->s->n_open--;
	agi_buf_free(&c->pending);
	free(c);
}

static inline void stream_cancelled(void *arg)
{
	struct stream_call *c = arg;

	c->s->n_cancelled++;
	if (c->s->held == c->call)
		c->s->held = NULL;
	agi_grpc_fail(c->call, AGI_GRPC_CANCELLED, "cancelled");
	stream_end(c);
}

static inline struct stream_call *stream_begin(struct agi_grpc_call *call, struct streams *s,
					       const struct agi_grpc_stream_ops *ops)
{
	struct stream_call *c = calloc(1, sizeof *c);

	if (!c)
		abort();
	c->s = s;
	c->call = call;
	s->n_open++;
	agi_grpc_call_stream(call, ops, c);
	agi_grpc_call_on_cancel(call, stream_cancelled, c);
	return c;
}

static inline enum agi_err stream_answer(struct stream_call *c, struct agi_str value,
					 uint64_t version)
{
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;
	enum agi_err e;

	res.value = (ProtobufCBinaryData){value.n, (uint8_t *)(uintptr_t)value.p};
	res.version = version;
	e = agi_grpc_send(c->call, &res.base);
	c->s->n_full += e == AGI_E_FULL;
	return e;
}

/* --- Count ----------------------------------------------------------------------------------- */
static inline void count_on(void *arg)
{
	struct stream_call *c = arg;
	char *value = calloc(1, c->size + 1);

	while (c->i < c->n && stream_answer(c, (struct agi_str){value, c->size}, c->i) == AGI_OK)
		c->i++;
	free(value);
	if (c->i < c->n)
		return;
	if (c->fails)
		agi_grpc_fail(c->call, AGI_GRPC_DATA_LOSS, "enough");
	else
		agi_grpc_finish(c->call);
	stream_end(c);
}

static inline void stream_count(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_writable = count_on};
	const Agihpc__V1__GetRequest *r = (const void *)req;
	struct stream_call *c = stream_begin(call, ctx, &ops);
	char text[64], word[8] = "";
	unsigned long n = 0, size = 0;

	snprintf(text, sizeof text, "%.*s", (int)r->key.len, (const char *)r->key.data);
	(void)!sscanf(text, "%lu %lu %7s", &n, &size, word);
	c->n = n;
	c->size = size;
	c->fails = word[0] != 0;
	count_on(c);
}

/* --- Sum ------------------------------------------------------------------------------------- */
static inline void sum_message(void *arg, const ProtobufCMessage *req)
{
	struct stream_call *c = arg;
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;

	if (req) {
		c->bytes += ((const Agihpc__V1__GetRequest *)req)->key.len;
		c->n++;
		agi_grpc_recv(c->call);
		return;
	}
	res.version = c->bytes;
	res.acks = (uint32_t)c->n;
	agi_grpc_reply(c->call, &res.base);
	stream_end(c);
}

static inline void stream_sum(struct agi_grpc_call *call, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_message = sum_message};

	stream_begin(call, ctx, &ops);
	agi_grpc_recv(call);
}

/* --- Chat ------------------------------------------------------------------------------------ */
static inline void chat_say(struct stream_call *c)
{
	if (stream_answer(c, agi_buf_str(&c->pending), c->n) == AGI_E_FULL) {
		c->is_pending = true;
		return;
	}
	c->is_pending = false;
	c->n++;
	agi_grpc_recv(c->call);
}

static inline void chat_on(void *arg)
{
	if (((struct stream_call *)arg)->is_pending)
		chat_say(arg);
}

static inline void chat_message(void *arg, const ProtobufCMessage *req)
{
	struct stream_call *c = arg;
	const Agihpc__V1__GetRequest *r = (const void *)req;

	if (!r || (r->key.len == 3 && memcmp(r->key.data, "bye", 3) == 0)) {
		agi_grpc_finish(c->call);
		stream_end(c);
		return;
	}
	agi_buf_reset(&c->pending);
	agi_buf_put(&c->pending, r->key.data, r->key.len);
	chat_say(c);
}

static inline void stream_chat(struct agi_grpc_call *call, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_message = chat_message,
						       .on_writable = chat_on};

	stream_begin(call, ctx, &ops);
	agi_grpc_send_headers(call);
	agi_grpc_recv(call);
}

/* --- Hold ------------------------------------------------------------------------------------ */
static inline void hold_message(void *arg, const ProtobufCMessage *req)
{
	struct stream_call *c = arg;

	if (req) {
		c->s->n_held++;
		c->s->held_bytes += ((const Agihpc__V1__GetRequest *)req)->key.len;
	} else {
		c->s->n_ended++;
		c->s->held = NULL;
		agi_grpc_fail(c->call, AGI_GRPC_OUT_OF_RANGE, "done");
		stream_end(c);
	}
}

static inline void stream_hold(struct agi_grpc_call *call, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_message = hold_message};

	((struct streams *)ctx)->held = stream_begin(call, ctx, &ops)->call;
}

static inline void streams_add(struct agi_grpc_server *server, struct streams *s)
{
	static const ProtobufCMethodDescriptor names[] = {
	    {"Count", &agihpc__v1__get_request__descriptor, &agihpc__v1__get_response__descriptor},
	    {"Sum", &agihpc__v1__get_request__descriptor, &agihpc__v1__get_response__descriptor},
	    {"Chat", &agihpc__v1__get_request__descriptor, &agihpc__v1__get_response__descriptor},
	    {"Hold", &agihpc__v1__get_request__descriptor, &agihpc__v1__get_response__descriptor}};
	static const ProtobufCServiceDescriptor desc = {.magic =
							    PROTOBUF_C__SERVICE_DESCRIPTOR_MAGIC,
							.name = "test.Streams",
							.n_methods = 4,
							.methods = names};
	static const struct agi_grpc_method methods[] = {
	    {"Count", stream_count, AGI_GRPC_SERVER_STREAM, NULL},
	    {"Sum", NULL, AGI_GRPC_CLIENT_STREAM, stream_sum},
	    {"Chat", NULL, AGI_GRPC_BIDI, stream_chat},
	    {"Hold", NULL, AGI_GRPC_BIDI, stream_hold}};

	*s = (struct streams){0};
	if (agi_grpc_server_add(server, &desc, methods, 4, s))
		abort();
}

#endif
