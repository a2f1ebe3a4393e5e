/* SPDX-License-Identifier: Apache-2.0
 * One instance is asked: the request goes there as it came, the answer comes back as it is. */
#include <stdio.h>

#include "net/grpc_meta.h"
#include "node/svc_forward_impl.h"

/* --- handing back ---------------------------------------------------------------------------------------- */
/* grpc-status-details-bin is the application's, though its name is the protocol's. */
static bool is_handed_back(struct agi_str name)
{
	return agi_str_eq(name, AGI_STR("grpc-status-details-bin")) ||
	       (!agi_meta_is_reserved(name) && !agi_str_eq(name, AGI_STR("content-length")));
}

/* Of an answer's pairs those from byte `from` on; as headers, those from trailers_at on as trailers. */
static void give_pairs(struct agi_grpc_call *call, const struct agi_buf *pairs, size_t from, size_t trailers_at)
{
	struct agi_str name, value;
	size_t at = from, began = from;
	char z[256];

	for (; agi_pairs_next(pairs, &at, &name, &value); began = at) {
		if (!is_handed_back(name) || name.n >= sizeof z)
			continue;
		snprintf(z, sizeof z, "%.*s", AGI_STR_ARG(name));
		if (began < trailers_at)
			agi_grpc_call_add_header(call, z, value);
		else
			agi_grpc_call_add_trailer(call, z, value);
	}
}

/* The instance asks for a token, and the client has sent one: it is told why that did not arrive. */
static struct agi_str tell_why_kept(const struct agi_forwarded *c, struct agi_str text, char *to, size_t room)
{
	int n = snprintf(to, room, "%.*s (this node did not hand the call's token on: %s)",
	                 (int)(text.n < 512 ? text.n : 512), text.n ? text.p : "",
	                 c->targets[c->at - 1].keeps_why);

	return (struct agi_str){to, (size_t)n < room ? (size_t)n : room - 1};
}

static void hand_back(struct agi_forwarded *c, const struct agi_grpc_raw_result *r)
{
	struct agi_str text = r->message;
	char why[768];

	give_pairs(c->call, r->metadata, c->has_headers ? r->trailers_at : 0, r->trailers_at);
	if (c->is_token_kept && r->status == AGI_GRPC_UNAUTHENTICATED)
		text = tell_why_kept(c, text, why, sizeof why);
	agi_grpc_call_on_cancel(c->call, NULL, NULL);
	agi_grpc_relay(c->call, r->status, text, r->res);
	agi_forwarded_forget(c);
}

static void on_answer(void *arg, const struct agi_grpc_raw_result *r)
{
	struct agi_forwarded *c = arg;
	char text[256];

	agi_channel_pool_put(c->f->pool, c->channel);
	c->channel = NULL;
	c->out = NULL;
	c->is_held = false;
	if (!c->call) {
		agi_forwarded_forget(c);
	} else if (r->is_unsent && r->status == AGI_GRPC_UNAVAILABLE) {
		snprintf(text, sizeof text, "%.*s", AGI_STR_ARG(r->message));
		agi_forwarded_ask_next(c, text);
	} else {
		hand_back(c, r);
	}
}

/* --- streams: one message at a time, when the client has read the one before ------------------------------- */
static void on_headers(void *arg, const struct agi_buf *metadata)
{
	struct agi_forwarded *c = arg;

	if (!c->call)
		return;
	c->has_headers = true;
	give_pairs(c->call, metadata, 0, metadata->n);
	agi_grpc_send_headers(c->call);
}

static void break_off(struct agi_forwarded *c)
{
	struct agi_grpc_call *call = c->call;

	c->call = NULL;
	agi_forwarded_stop(c);
	agi_grpc_call_on_cancel(call, NULL, NULL);
	agi_grpc_fail(call, AGI_GRPC_RESOURCE_EXHAUSTED, "a message is too large to hand on");
}

static void on_message(void *arg, struct agi_str message)
{
	struct agi_forwarded *c = arg;
	enum agi_err e = c->call ? agi_grpc_send_bytes(c->call, message) : AGI_E_CANCELLED;

	c->is_held = e == AGI_E_FULL;
	if (c->is_held)
		c->held = message; /* valid until the next one is asked for */
	else if (!e)
		agi_grpc_stream_recv(c->out);
	else if (e != AGI_E_CANCELLED) /* of which on_cancel tells */
		break_off(c);
}

static void on_writable(void *arg)
{
	struct agi_forwarded *c = arg;

	if (c->is_held)
		on_message(c, c->held);
}

const struct agi_grpc_stream_ops agi_forwarded_stream_ops = {.on_writable = on_writable};

static enum agi_err open_stream(struct agi_forwarded *c, const struct agi_buf *metadata, uint32_t timeout_ms)
{
	static const struct agi_grpc_raw_ops ops = {on_headers, on_message, on_answer};
	enum agi_err e = agi_grpc_stream_raw(agi_pooled_channel(c->channel), c->path, agi_grpc_call_bytes(c->call),
	                                     metadata, timeout_ms, &ops, c, &c->out);

	if (!e)
		agi_grpc_stream_recv(c->out);
	return e;
}

/* --- asking ---------------------------------------------------------------------------------------------- */
/* What belongs to one connection, or says who we are ourselves. */
static bool is_ours(struct agi_str name)
{
	return agi_str_eq(name, AGI_STR("user-agent")) ||
	       agi_str_eq(name, AGI_STR("content-length")) || agi_str_eq(name, AGI_STR("host")) ||
	       agi_str_eq(name, AGI_STR(AGI_FORWARD_HEADER));
}

static void copy_metadata(struct agi_forwarded *c, const struct agi_forward_target *t, struct agi_buf *out)
{
	struct agi_str name, value;
	size_t at = 0;

	c->is_token_kept = false;
	while (agi_grpc_call_metadata_next(c->call, &at, &name, &value)) {
		if (is_ours(name))
			continue;
		if (t->keeps_why && agi_str_eq(name, AGI_STR("authorization")))
			c->is_token_kept = true;
		else
			(void)!agi_meta_give(out, name, value);
	}
	(void)!agi_meta_give(out, AGI_STR(AGI_FORWARD_HEADER), AGI_STR("1"));
}

/* 0 = none, for a stream: it may go on for as long as its client listens. */
static uint32_t timeout_of(const struct agi_forwarded *c)
{
	uint32_t left = agi_grpc_call_left_ms(c->call);

	if (left == UINT32_MAX)
		return c->is_stream ? 0 : AGI_FORWARD_MAX_MS;
	return left ? left : 1;
}

static enum agi_err open_channel(struct agi_forwarded *c, const struct agi_forward_target *t, struct agi_why *why)
{
	const struct agi_forward_cfg *cfg = &c->f->cfg;
	enum agi_err e = agi_channel_pool_get(c->f->pool, agi_str_of(t->text), &c->channel, why);

	if (e)
		return e;
	agi_grpc_channel_set_recv_max(agi_pooled_channel(c->channel), cfg->answer_bytes_max);
	if (t->text != t->address && cfg->tls)
		agi_grpc_channel_set_tls(agi_pooled_channel(c->channel), cfg->tls(cfg->ctx));
	return AGI_OK;
}

enum agi_err agi_forwarded_ask(struct agi_forwarded *c, const struct agi_forward_target *t, struct agi_why *why)
{
	struct agi_buf metadata;
	enum agi_err e = open_channel(c, t, why);

	if (e)
		return e;
	agi_buf_init(&metadata, 0);
	copy_metadata(c, t, &metadata);
	e = metadata.err;
	if (!e && c->is_stream)
		e = open_stream(c, &metadata, timeout_of(c));
	else if (!e)
		e = agi_grpc_unary_raw(agi_pooled_channel(c->channel), c->path, agi_grpc_call_bytes(c->call),
		                       &metadata, timeout_of(c), on_answer, c, &c->out);
	agi_buf_free(&metadata);
	if (!e)
		return AGI_OK;
	agi_channel_pool_put(c->f->pool, c->channel);
	c->channel = NULL;
	return agi_fail(why, e, "%s", agi_err_text(e));
}

void agi_forwarded_stop(struct agi_forwarded *c)
{
	if (c->out && c->is_stream)
		agi_grpc_stream_cancel(c->out);
	else if (c->out)
		agi_grpc_unary_cancel(c->out); /* on_answer follows */
}
