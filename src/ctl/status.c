/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/status.h"

#include <string.h>

enum ctl_exit ctl_exit_of_status(enum agi_grpc_status s)
{
	switch (s) {
	case AGI_GRPC_OK:
		return CTL_OK;
	case AGI_GRPC_NOT_FOUND:
		return CTL_NOT_FOUND;
	case AGI_GRPC_UNKNOWN: /* how a write ended */
	case AGI_GRPC_UNAVAILABLE:
	case AGI_GRPC_DEADLINE_EXCEEDED:
	case AGI_GRPC_RESOURCE_EXHAUSTED:
	case AGI_GRPC_ABORTED:
		return CTL_UNAVAILABLE;
	default:
		return CTL_FAILED;
	}
}

/* The node's texts begin with the name of the error (base/err.def), where there is one. */
static const char *advice_by_name(const char *message)
{
	static const struct {
		enum agi_err err;
		const char *advice;
	} rows[] = {
	    {AGI_E_NO_QUORUM, "too few hosts answered: agihpc-ctl members shows which are down"},
	    {AGI_E_NO_VIEW,
	     "no reachable node knows who holds it: agihpc-ctl members shows who is down"},
	    {AGI_E_NOT_READY,
	     "the node is still joining: agihpc-ctl status shows what it waits for"},
	    {AGI_E_READ_ONLY, "the node's disk failed or is full: agihpc-ctl status says why"},
	    {AGI_E_SEALED, "the slot is changing its members: try again in a moment"},
	    {AGI_E_STALE_EPOCH, "the slot has changed its members: try again"},
	    {AGI_E_NOT_MEMBER, "the slot has changed its members: try again"},
	    {AGI_E_FULL, "the node is overloaded: try again later"},
	    {AGI_E_CLOSED, "the node is shutting down: -n names another"},
	    {AGI_E_UNKNOWN_OUTCOME, "read the key to see whether it was written"},
	    {AGI_E_CLOCK_SKEW, "set the clocks: every host should run NTP"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *name = agi_err_name(rows[i].err);
		size_t n = strlen(name);

		if (strncmp(message, name, n) == 0 && (message[n] == ':' || message[n] == '\0'))
			return rows[i].advice;
	}
	return NULL;
}

const char *ctl_advice(enum agi_grpc_status s, const char *message)
{
	const char *by_name = advice_by_name(message);

	if (by_name)
		return by_name;
	switch (s) {
	case AGI_GRPC_UNAVAILABLE:
		return "is agihpc-node running there? -n or AGIHPC_NODE names another node";
	case AGI_GRPC_DEADLINE_EXCEEDED:
		return "the node is busy or cannot be reached: -t gives it longer, -n names "
		       "another";
	case AGI_GRPC_UNIMPLEMENTED:
		return "is this an agihpc-node, and not older than this agihpc-ctl?";
	case AGI_GRPC_RESOURCE_EXHAUSTED:
	case AGI_GRPC_ABORTED:
		return "try again";
	default:
		return NULL;
	}
}
