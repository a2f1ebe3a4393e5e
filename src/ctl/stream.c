/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/stream.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/call.h"
#include "net/grpc.h"

struct running {
	struct ctl_stream *s;
	struct event_base *base;
	struct agi_grpc_client_call *call; /* NULL = over */
};

static void stop(struct running *r)
{
	r->s->is_stopped = true;
	event_base_loopbreak(r->base);
}

static void on_message(void *arg, const ProtobufCMessage *res)
{
	struct running *r = arg;

	if (!r->s->on_message(r->s->arg, res))
		stop(r);
	else
		agi_grpc_stream_recv(r->call);
}

static void on_end(void *arg, const struct agi_grpc_result *result)
{
	struct running *r = arg;

	r->call = NULL;
	if (r->s->is_stopped)
		return; /* by us: the rest does not matter */
	r->s->status = result->status;
	r->s->message = ctl_copy(result->message);
	event_base_loopbreak(r->base);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	stop(arg);
}

static enum agi_err open_stream(struct ctl *c, struct running *r, struct agi_grpc_channel **channel, struct agi_why *why)
{
	static const struct agi_grpc_client_ops ops = {.on_message = on_message, .on_end = on_end};
	enum agi_err e = ctl_open_channel(c, r->base, c->node, channel, why);

	if (e)
		return e;
	e = agi_grpc_stream_open(*channel, r->s->path, r->s->res_type, NULL, &ops, r, &r->call);
	if (!e)
		e = agi_grpc_stream_send(r->call, r->s->req);
	if (e)
		return agi_fail(why, e, "%s", agi_err_text(e));
	agi_grpc_stream_half_close(r->call);
	agi_grpc_stream_recv(r->call);
	return AGI_OK;
}

static void run(struct ctl *c, struct running *r, uint64_t until_us)
{
	struct event *on_int = evsignal_new(r->base, SIGINT, on_signal, r);
	struct event *on_term = evsignal_new(r->base, SIGTERM, on_signal, r);
	uint64_t now = ctl_now_us(), left = until_us > now ? until_us - now : 0;
	const struct timeval tv = {(time_t)(left / 1000000), (suseconds_t)(left % 1000000)};
	struct event *on_time = evtimer_new(r->base, on_signal, r);
	struct agi_grpc_channel *channel = NULL;
	struct agi_why why = {""};

	if (!on_int || !on_term || !on_time || evsignal_add(on_int, NULL) || evsignal_add(on_term, NULL) ||
	    (until_us != UINT64_MAX && evtimer_add(on_time, &tv)))
		agi_fail(&why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	else if (open_stream(c, r, &channel, &why) == AGI_OK)
		event_base_dispatch(r->base);
	if (why.text[0] && !r->s->message) {
		r->s->status = AGI_GRPC_UNAVAILABLE;
		r->s->message = ctl_copy(agi_str_of(why.text));
	}
	r->s->is_stopped = r->s->is_stopped || r->s->message == NULL;
	agi_grpc_channel_free(channel); /* ends the call */
	event_free(on_int);
	event_free(on_term);
	event_free(on_time);
}

void ctl_stream_run(struct ctl *c, struct ctl_stream *s, uint64_t until_us)
{
	struct running r = {.s = s, .base = event_base_new()};

	s->status = AGI_GRPC_OK;
	s->message = NULL;
	s->is_stopped = false;
	if (r.base) {
		run(c, &r, until_us);
		event_base_free(r.base);
	}
	if (!s->message)
		s->message = ctl_copy(agi_str_of(""));
}

void ctl_stream_clear(struct ctl_stream *s)
{
	free(s->message);
	s->message = NULL;
}
