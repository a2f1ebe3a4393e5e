/* SPDX-License-Identifier: Apache-2.0
 * A stream that goes on, at another of -n or the same node, where it broke off. */
#ifndef AGI_CTL_FOLLOW_H
#define AGI_CTL_FOLLOW_H

#include "ctl/stream.h"

struct ctl_follow {
	struct ctl_stream s;
	/* The request is to ask for what comes after what was heard; called before each further attempt. */
	void (*resume)(void *arg);
	const char *advice; /* printed when what was missed cannot be told (OUT_OF_RANGE) */
	bool has_begun;     /* set by s.on_message: there is something to go on from */
	bool is_well;       /* set by s.on_message: the next attempt, should there be one, comes soon */
	enum ctl_exit code; /* what s.on_message ended the stream with */
	uint32_t pause_ms;
};

/* Runs until s.on_message ends it, until_us has passed, or it cannot go on (which is then printed). */
enum ctl_exit ctl_follow_run(struct ctl *c, struct ctl_follow *f, uint64_t until_us);

#endif
