/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/follow.h"

#include <stdlib.h>
#include <time.h>

#include "ctl/call.h"

enum { PAUSE_MIN_MS = 250, PAUSE_MAX_MS = 5000 };

static bool can_go_on(const struct ctl_follow *f)
{
	const enum agi_grpc_status status = f->s.status;

	return f->has_begun && !f->s.is_stopped &&
	       (status == AGI_GRPC_UNAVAILABLE || status == AGI_GRPC_CANCELLED || status == AGI_GRPC_INTERNAL ||
		status == AGI_GRPC_RESOURCE_EXHAUSTED);
}

static void prepare(struct ctl *c, struct ctl_follow *f)
{
	uint32_t ms = f->is_well || !f->pause_ms ? PAUSE_MIN_MS : f->pause_ms;
	const struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000L};

	ctl_warn(c, "%s: %s; going on", c->node, f->s.message);
	f->resume(f->s.arg);
	nanosleep(&pause, NULL);
	f->is_well = false;
	f->pause_ms = ms * 2 < PAUSE_MAX_MS ? ms * 2 : PAUSE_MAX_MS;
	free(c->node); /* any of -n will do */
	c->node = NULL;
	c->deadline_us = ctl_now_us() + (uint64_t)c->timeout_ms * 1000;
}

static enum ctl_exit report(struct ctl *c, const struct ctl_follow *f)
{
	struct ctl_call call = {.target = c->node, .status = f->s.status, .message = f->s.message};

	return ctl_report(c, &call, f->s.status == AGI_GRPC_OUT_OF_RANGE ? f->advice : NULL);
}

enum ctl_exit ctl_follow_run(struct ctl *c, struct ctl_follow *f, uint64_t until_us)
{
	enum ctl_exit code = CTL_OK;
	bool again = true;

	while (again) {
		code = ctl_choose_node(c);
		if (code != CTL_OK && !(f->has_begun && ctl_now_us() < until_us))
			return code;
		if (code != CTL_OK) {
			f->s.message = ctl_copy(agi_str_of("no node answers"));
			c->node = ctl_copy(agi_str_of(c->nodes));
			f->s.status = AGI_GRPC_UNAVAILABLE;
		} else {
			ctl_stream_run(c, &f->s, until_us);
		}
		again = can_go_on(f);
		code = f->s.is_stopped ? f->code : CTL_OK;
		if (again)
			prepare(c, f);
		else if (!f->s.is_stopped)
			code = report(c, f);
		ctl_stream_clear(&f->s);
	}
	return code;
}
