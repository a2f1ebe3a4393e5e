/* SPDX-License-Identifier: Apache-2.0
 * Health checks that are programs of this host. A program is started directly, by no shell, in a session of its own, with
 * no descriptor but /dev/null, and a pipe for what it writes, an environment of a few variables, and "/" as its
 * directory. It and all it started in its session's group are killed when the time is over, and when it has ended;
 * every child is waited for. Of its output the first line is kept, the rest read and dropped.
 * Only what the operator permits is run: clients of the network register checks. One event loop. */
#ifndef AGI_NODE_HEALTH_EXEC_H
#define AGI_NODE_HEALTH_EXEC_H

#include "config/config.h"
#include "node/health_config.h"

struct event_base;
struct agi_exec;  /* what runs, of all checks */
struct agi_child;

enum { AGI_EXEC_MAX = 64 /* programs that run at once; a check that finds no room has failed */ };

/* permitted: absolute paths of programs, and of directories whose programs are permitted; borrowed, NULL = none. */
AGI_MUST_USE enum agi_err agi_exec_new(struct event_base *base, const struct agi_config_list *permitted,
				       struct agi_exec **out);
/* Kills and waits for what runs; no verdict follows. NULL is allowed. */
void agi_exec_free(struct agi_exec *x);

/* OK, or DENIED + why: the program, links followed, is none that is permitted. */
AGI_MUST_USE enum agi_err agi_exec_check(const struct agi_exec *x, const char *path, struct agi_why *why);
/* detail: what it wrote, or how it ended. Called once, never before return of _start. */
typedef void agi_exec_done_fn(void *arg, bool is_ok, const char *detail);
/* config: kind EXEC. Its status 0 is good. The time limit is the caller's: agi_exec_stop. DENIED, FULL, NOMEM, IO + why:
 * nothing was started. */
AGI_MUST_USE enum agi_err agi_exec_start(struct agi_exec *x, const struct agi_health_config *config, const char *service,
					 const char *address, agi_exec_done_fn *done, void *arg, struct agi_child **out,
					 struct agi_why *why);
/* done will not be called. */
void agi_exec_stop(struct agi_child *child);

#endif
