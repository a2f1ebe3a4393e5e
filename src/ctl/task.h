/* SPDX-License-Identifier: Apache-2.0
 * Tasks that a node works on by itself: started once, then looked at until they end. */
#ifndef AGI_CTL_TASK_H
#define AGI_CTL_TASK_H

#include "ctl/call.h"

struct ctl_task {
	const char *path;                    /* of the method that starts and tells */
	const ProtobufCMessage *look, *start;
	const ProtobufCMessageDescriptor *res_type;
	bool (*goes_on)(const ProtobufCMessage *res);
	void (*show)(const ProtobufCMessage *res);  /* progress */
	enum ctl_exit (*tell)(struct ctl *c, const ProtobufCMessage *res); /* the end of it */
	bool is_started_only;                /* do not wait */
};
/* Looks; starts the task unless it goes on already; shows it until it ends, or until -t has passed, and tells. A node
 * that does not answer for ten seconds is an error. */
enum ctl_exit ctl_task_run(struct ctl *c, const struct ctl_task *w);

#endif
