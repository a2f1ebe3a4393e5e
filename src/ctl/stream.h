/* SPDX-License-Identifier: Apache-2.0
 * A call that answers with a stream of messages. */
#ifndef AGI_CTL_STREAM_H
#define AGI_CTL_STREAM_H

#include "ctl/ctl.h"

struct ctl_stream {
	const char *path; /* "/package.Service/Method" */
	const ProtobufCMessage *req;
	const ProtobufCMessageDescriptor *res_type;
	/* One message; false ends the stream. Borrowed. */
	bool (*on_message)(void *arg, const ProtobufCMessage *res);
	void *arg;
	/* how it ended; ctl_stream_clear frees it */
	enum agi_grpc_status status; /* OK when it was stopped */
	char *message;
	bool is_stopped; /* by on_message, by the time limit, or by SIGINT or SIGTERM */
};

/* Runs the stream at c->node until it ends. until_us: monotonic time limit; UINT64_MAX = none. */
void ctl_stream_run(struct ctl *c, struct ctl_stream *s, uint64_t until_us);
void ctl_stream_clear(struct ctl_stream *s);

#endif
