/* SPDX-License-Identifier: Apache-2.0
 * The one place where nodes are called. Every call ends by the command's deadline (-t). */
#ifndef AGI_CTL_CALL_H
#define AGI_CTL_CALL_H

#include "ctl/ctl.h"

struct ctl_call {
	const char *target; /* "host:port" */
	const char *path;   /* "/package.Service/Method" */
	const ProtobufCMessage *req;
	const ProtobufCMessageDescriptor *res_type;
	/* the answer; ctl_call_clear frees it */
	enum agi_grpc_status status;
	char *message;         /* never NULL afterwards */
	ProtobufCMessage *res; /* NULL unless OK */
	bool is_unsent;        /* there was nobody to ask */
	uint32_t retry_ms;     /* refused for lack of room: when to ask again; 0 = not told */
	uint64_t took_us;
};
enum { CTL_CALLS_AT_ONCE = 64 }; /* sockets open at a time when many nodes are asked */

/* Makes all calls, side by side, and returns when each has its answer or the timeout has passed. */
void ctl_calls_run(struct ctl *c, struct ctl_call *calls, size_t n, uint32_t timeout_ms);
void ctl_call_clear(struct ctl_call *call);

/* Sets c->node: the first address of -n that answers anything at all. One address is taken as it
 * is: whether it answers shows when it is asked. */
AGI_MUST_USE enum ctl_exit ctl_choose_node(struct ctl *c);
/* Calls the chosen node; again when the node says that it has no room and when it will have, as long as the
 * command's time lasts. CTL_OK: call->res is there. Otherwise the error has been reported. */
AGI_MUST_USE enum ctl_exit ctl_ask(struct ctl *c, struct ctl_call *call);
/* Reports a call that did not end OK, with what to do about it; returns the exit code of its
 * status. */
enum ctl_exit ctl_report(const struct ctl *c, const struct ctl_call *call, const char *instead);
/* Milliseconds until the command's deadline, at least 1. */
uint32_t ctl_left_ms(const struct ctl *c);

/* A channel to target, with the command's TLS and token. With TLS every node is called with TLS: an answer names
 * others by host:port only. */
struct event_base;
struct agi_grpc_channel;
AGI_MUST_USE enum agi_err ctl_open_channel(const struct ctl *c, struct event_base *base, const char *target,
					   struct agi_grpc_channel **out, struct agi_why *why);

/* struct ctl_call for METHOD of SERVICE, its request and the type of its answer. */
#define CTL_CALL(service_method, request, response_descriptor)                                     \
	{                                                                                          \
		.path = "/" service_method, .req = &(request)->base,                               \
		.res_type = &(response_descriptor)                                                 \
	}

#endif
