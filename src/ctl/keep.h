/* SPDX-License-Identifier: Apache-2.0
 * A lease that is held while something goes on: until a signal, until a child has ended, or until it is lost. */
#ifndef AGI_CTL_KEEP_H
#define AGI_CTL_KEEP_H

#include <signal.h>
#include <sys/types.h>

#include "agihpc.pb-c.h"
#include "base/limits.h"
#include "ctl/call.h"

struct ctl_keep {
	struct ctl *c;
	uint64_t lease, ttl_ms;
	uint64_t until_us;  /* monotonic: so long it holds for sure */
	sigset_t old;       /* the signals that were blocked before ctl_keep_init */
};
enum ctl_kept { CTL_KEPT_SIGNAL, CTL_KEPT_CHILD, CTL_KEPT_LOST };

/* From now on SIGINT, SIGTERM, SIGHUP and SIGCHLD wait to be asked for. */
void ctl_keep_init(struct ctl_keep *k, struct ctl *c);
/* Errors have been reported. */
enum ctl_exit ctl_keep_grant(struct ctl_keep *k, uint64_t ttl_ms, struct agi_str holder);
/* One renewal. NOT_FOUND: it has ended. Others may succeed later, at another node. Reports nothing. */
enum agi_grpc_status ctl_keep_renew(struct ctl_keep *k);
/* Renews at a third of the ttl. *signal: SIGNAL: which came. child: 0 = none; its status is left to waitpid. */
enum ctl_kept ctl_keep_run(struct ctl_keep *k, pid_t child, int *signal);
/* A signal that asks to end, waiting up to so long for one; 0 = none came. */
int ctl_keep_signal(uint32_t ms);
/* Ends the lease; says so when that did not work (it ends by itself). */
void ctl_keep_revoke(struct ctl_keep *k);
/* The next call may take so long, and may go to another node if has_failed. */
void ctl_keep_begin(struct ctl *c, uint32_t ms, bool has_failed);

/* What a lease is granted for: the text given, or who runs this. */
void ctl_lease_holder(char out[AGI_LEASE_HOLDER_MAX + 1], const char *given);
/* A duration of 1 s to a day. name: of the argument, for the error. */
enum ctl_exit ctl_lease_ttl(const struct ctl *c, const char *name, const char *text, uint64_t *out);
/* "0123456789abcdef", as it is printed. Usage error when it is none. */
enum ctl_exit ctl_lease_id(const struct ctl *c, const char *text, uint64_t *out);

#endif
