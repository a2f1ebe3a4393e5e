/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/call.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <sodium.h>

#include "ctl/status.h"
#include "ctl/table.h"
#include "ctl/units.h"
#include "health.pb-c.h"
#include "net/grpc.h"

enum {
	GUARD_MS = 500, /* after the deadline: when a call that should have timed out is given up */
	ANSWER_MAX = 64 << 20 /* bytes; 65536 slots with seven members each take 32 MiB */
};

struct batch;
struct slot {
	struct batch *batch;
	struct ctl_call *call; /* NULL = free */
	struct agi_grpc_channel *channel;
	uint64_t start_us;
};
struct batch {
	const struct ctl *c;
	struct event_base *base;
	struct ctl_call *calls;
	size_t n, next, n_open;
	uint64_t deadline_us;
	bool is_over; /* the guard has struck: calls still open are given up */
	struct slot slots[CTL_CALLS_AT_ONCE];
	struct event *turn; /* opens the next calls, outside of any call's callback */
};

static uint32_t ms_until(uint64_t deadline_us)
{
	uint64_t now = ctl_now_us();

	return now + 1000 >= deadline_us ? 1 : (uint32_t)((deadline_us - now) / 1000);
}

uint32_t ctl_left_ms(const struct ctl *c) { return ms_until(c->deadline_us); }

static void end_call(struct ctl_call *call, enum agi_grpc_status status, const char *message)
{
	call->status = status;
	call->message = ctl_copy(agi_str_of(message));
}

/* The result lives only as long as the callback. */
static ProtobufCMessage *copy_message(const ProtobufCMessage *m, struct agi_why *why)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *bytes = ctl_alloc(n + 1);
	ProtobufCMessage *copy;

	protobuf_c_message_pack(m, bytes);
	copy = agi_pb_unpack(m->descriptor, (struct agi_str){(char *)bytes, n}, why);
	free(bytes);
	return copy;
}

/* The server's hint when to come again (gRFC A6: a number; anything else means never). */
static uint32_t retry_of(const struct agi_grpc_result *r)
{
	struct agi_str s = agi_grpc_result_metadata(r, AGI_GRPC_PUSHBACK);
	uint32_t ms = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || ms > CTL_TIMEOUT_MAX_MS)
			return 0;
		ms = ms * 10 + (uint32_t)(s.p[i] - '0');
	}
	return ms;
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct slot *s = arg;
	struct ctl_call *call = s->call;
	struct agi_why why = {""};

	call->took_us = ctl_now_us() - s->start_us;
	if (s->batch->is_over)
		end_call(call, AGI_GRPC_DEADLINE_EXCEEDED, "no answer in time");
	else {
		call->status = r->status;
		call->is_unsent = r->is_unsent;
		call->retry_ms = retry_of(r);
		call->message = ctl_copy(r->message);
	}
	if (call->status == AGI_GRPC_OK) {
		call->res = copy_message(r->res, &why);
		if (!call->res) {
			free(call->message);
			end_call(call, AGI_GRPC_INTERNAL, why.text);
		}
	}
	s->call = NULL;
	s->batch->n_open--;
	event_active(s->batch->turn, EV_TIMEOUT, 0);
}

enum agi_err ctl_open_channel(const struct ctl *c, struct event_base *base, const char *target,
			      struct agi_grpc_channel **out, struct agi_why *why)
{
	bool is_bare = strncmp(target, "unix:", 5) != 0 &&
		       strncmp(target, CTL_TLS_PREFIX, strlen(CTL_TLS_PREFIX)) != 0;
	char full[CTL_TARGET_TEXT + sizeof CTL_TLS_PREFIX];
	enum agi_err e;

	snprintf(full, sizeof full, "%s%s", c->tls && is_bare ? CTL_TLS_PREFIX : "", target);
	e = agi_grpc_channel_new(base, full, out, why);
	if (e)
		return e;
	agi_grpc_channel_set_tls(*out, c->tls);
	e = agi_grpc_channel_set_token(*out, c->token);
	return e ? agi_fail(why, e, "the token cannot be sent: %s", agi_err_text(e)) : AGI_OK;
}

static void open_call(struct batch *b, struct slot *s, struct ctl_call *call)
{
	struct agi_why why = {""};

	agi_grpc_channel_free(s->channel);
	s->channel = NULL;
	if (ctl_open_channel(b->c, b->base, call->target, &s->channel, &why) != AGI_OK) {
		end_call(call, AGI_GRPC_UNAVAILABLE, why.text);
		event_active(b->turn, EV_TIMEOUT, 0);
		return;
	}
	agi_grpc_channel_set_recv_max(s->channel, ANSWER_MAX);
	*s = (struct slot){b, call, s->channel, ctl_now_us()};
	if (agi_grpc_unary(s->channel, call->path, call->req, call->res_type,
			   ms_until(b->deadline_us), on_done, s) != AGI_OK) {
		s->call = NULL;
		end_call(call, AGI_GRPC_RESOURCE_EXHAUSTED, agi_err_text(AGI_E_NOMEM));
		event_active(b->turn, EV_TIMEOUT, 0);
		return;
	}
	b->n_open++;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct batch *b = arg;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < CTL_CALLS_AT_ONCE && b->next < b->n; i++)
		if (!b->slots[i].call)
			open_call(b, &b->slots[i], &b->calls[b->next++]);
	if (b->n_open == 0 && b->next == b->n)
		event_base_loopbreak(b->base);
}

static void run_loop(struct batch *b, uint32_t timeout_ms)
{
	uint32_t ms = timeout_ms + GUARD_MS;
	struct timeval guard = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};

	b->turn = event_new(b->base, -1, 0, on_turn, b);
	if (b->turn && event_base_loopexit(b->base, &guard) == 0) {
		event_active(b->turn, EV_TIMEOUT, 0);
		event_base_dispatch(b->base);
	}
	b->is_over = true;
	b->next = b->n;
	for (size_t i = 0; i < CTL_CALLS_AT_ONCE && b->turn; i++)
		agi_grpc_channel_free(b->slots[i].channel);
	if (b->turn)
		event_free(b->turn);
}

void ctl_calls_run(struct ctl *c, struct ctl_call *calls, size_t n, uint32_t timeout_ms)
{
	struct batch *b = ctl_alloc(sizeof *b);

	memset(b, 0, sizeof *b);
	b->c = c;
	b->calls = calls;
	b->n = n;
	b->deadline_us = ctl_now_us() + (uint64_t)timeout_ms * 1000;
	b->base = event_base_new();
	if (b->base) {
		run_loop(b, timeout_ms);
		event_base_free(b->base);
	}
	for (size_t i = 0; i < n; i++)
		if (!calls[i].message)
			end_call(&calls[i], AGI_GRPC_DEADLINE_EXCEEDED, "no answer in time");
	free(b);
}

void ctl_call_clear(struct ctl_call *call)
{
	free(call->message);
	if (call->res)
		protobuf_c_message_free_unpacked(call->res, NULL);
	call->message = NULL;
	call->res = NULL;
}

/* --- which node ------------------------------------------------------------------------------- */
/* The next address of the list; false at its end. Addresses were checked when -n was read. */
static bool next_address(const char **list, char out[CTL_TARGET_TEXT])
{
	size_t n = strcspn(*list, ",");

	if (n == 0 || ctl_parse_target(out, *list, n, CTL_DEFAULT_PORT, NULL) != AGI_OK)
		return false;
	*list += n;
	*list += **list == ',';
	return true;
}

/* Any answer to a health check shows that somebody is there; which one does not matter here. */
static bool answers(struct ctl *c, const char *target, uint32_t timeout_ms)
{
	Grpc__Health__V1__HealthCheckRequest req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("grpc.health.v1.Health/Check", &req,
					grpc__health__v1__health_check_response__descriptor);
	bool is_there;

	call.target = target;
	ctl_calls_run(c, &call, 1, timeout_ms);
	is_there = call.status != AGI_GRPC_UNAVAILABLE && call.status != AGI_GRPC_DEADLINE_EXCEEDED;
	ctl_call_clear(&call);
	return is_there;
}

enum ctl_exit ctl_choose_node(struct ctl *c)
{
	const char *at = c->nodes;
	char target[CTL_TARGET_TEXT];
	uint32_t n_left = 1;

	if (c->node)
		return CTL_OK;
	for (const char *p = at; *p; p++)
		n_left += *p == ',';
	for (bool is_only = n_left == 1; next_address(&at, target); n_left--)
		if (is_only || answers(c, target, (ctl_left_ms(c) + n_left) / (n_left + 1))) {
			c->node = ctl_copy(agi_str_of(target));
			return CTL_OK;
		}
	return ctl_error(c, CTL_UNAVAILABLE,
			 "UNAVAILABLE: none of %s answers (is agihpc-node running there?)",
			 c->nodes);
}

/* --- answers ---------------------------------------------------------------------------------- */
enum ctl_exit ctl_report(const struct ctl *c, const struct ctl_call *call, const char *instead)
{
	const char *advice = instead ? instead : ctl_advice(call->status, call->message);
	enum ctl_exit code = ctl_exit_of_status(call->status);
	struct agi_buf text;

	agi_buf_init(&text, 0);
	ctl_put_harmless(&text, agi_str_of(call->message));
	if (!strstr(call->message, call->target))
		agi_buf_printf(&text, " [%s]", call->target);
	if (advice)
		agi_buf_printf(&text, " (%s)", advice);
	ctl_error(c, code, "%s: %.*s", agi_grpc_status_name(call->status),
		  AGI_STR_ARG(agi_buf_str(&text)));
	agi_buf_free(&text);
	return code;
}

/* Waits as long as the node asked for, and up to half as long again: others were told the same. False when there
 * is no time for it. */
static bool wait_for_room(const struct ctl *c, uint32_t ms)
{
	uint32_t left = ctl_left_ms(c);

	if (!ms || ms >= left)
		return false;
	ms += randombytes_uniform(ms / 2 + 1);
	ms = ms < left ? ms : left - 1;
	nanosleep(&(struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000}, NULL);
	return true;
}

enum ctl_exit ctl_ask(struct ctl *c, struct ctl_call *call)
{
	enum ctl_exit code = ctl_choose_node(c);

	if (code != CTL_OK)
		return code;
	call->target = c->node;
	ctl_calls_run(c, call, 1, ctl_left_ms(c));
	while (call->status == AGI_GRPC_RESOURCE_EXHAUSTED && wait_for_room(c, call->retry_ms)) {
		ctl_call_clear(call);
		call->retry_ms = 0;
		ctl_calls_run(c, call, 1, ctl_left_ms(c));
	}
	return call->status == AGI_GRPC_OK ? CTL_OK : ctl_report(c, call, NULL);
}
