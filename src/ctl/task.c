/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/task.h"

#include <time.h>

#include "ctl/progress.h"

enum { LOOK_EVERY_MS = 250, ASK_MS = 5000, SILENT_MAX_US = 10000000 };

static void forget(struct ctl_call *call)
{
	ctl_call_clear(call);
	call->retry_ms = 0;
}

/* One request, with as much patience as the command has; without -t each has its own. */
static void ask(struct ctl *c, struct ctl_call *call)
{
	uint32_t left = c->has_timeout ? ctl_left_ms(c) : ASK_MS;

	call->target = c->node;
	ctl_calls_run(c, call, 1, left < ASK_MS ? left : ASK_MS);
}

static bool is_silence(const struct ctl_call *call)
{
	return call->status == AGI_GRPC_UNAVAILABLE || call->status == AGI_GRPC_DEADLINE_EXCEEDED;
}

static enum ctl_exit follow(struct ctl *c, const struct ctl_task *w, struct ctl_call *call)
{
	const struct timespec pause = {0, LOOK_EVERY_MS * 1000000};
	uint64_t heard_us = ctl_now_us();

	while (call->status != AGI_GRPC_OK || w->goes_on(call->res)) {
		if (call->status == AGI_GRPC_OK) {
			heard_us = ctl_now_us();
			w->show(call->res);
		} else if (!is_silence(call) || ctl_now_us() - heard_us > SILENT_MAX_US) {
			return ctl_report(c, call, NULL);
		}
		if (c->has_timeout && ctl_left_ms(c) <= LOOK_EVERY_MS) {
			ctl_progress_end();
			return ctl_error(c, CTL_UNAVAILABLE, "it goes on; the same command looks at it again");
		}
		nanosleep(&pause, NULL);
		forget(call);
		call->req = w->look;
		ask(c, call);
	}
	ctl_progress_end();
	return w->tell(c, call->res);
}

enum ctl_exit ctl_task_run(struct ctl *c, const struct ctl_task *w)
{
	struct ctl_call call = {.path = w->path, .req = w->look, .res_type = w->res_type};
	enum ctl_exit code = ctl_choose_node(c);

	if (code != CTL_OK)
		return code;
	ask(c, &call);
	if (call.status == AGI_GRPC_OK && !w->goes_on(call.res)) {
		forget(&call);
		call.req = w->start;
		ask(c, &call);
	}
	if (call.status != AGI_GRPC_OK)
		code = ctl_report(c, &call, NULL);
	else if (!w->is_started_only)
		code = follow(c, w, &call);
	ctl_call_clear(&call);
	return code;
}
