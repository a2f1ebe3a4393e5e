/* SPDX-License-Identifier: Apache-2.0
 * The safety loop (docs/decisions/0004): a thread with the safety plane, the links of the safety channel and what
 * else is built on its base (the role ports), so that no other load of the node delays a vote. What is below is
 * called on the main loop's thread, unless it says otherwise.
 *
 * Life: _new → (listeners on agi_safety_host_base) → _open → (servers) → _start → … → _drain → … → _stop (from here
 * on nothing runs there) → (servers and listeners freed) → _free. */
#ifndef AGI_NODE_SAFETY_HOST_H
#define AGI_NODE_SAFETY_HOST_H

#include "net/link.h"
#include "net/loop_thread.h"
#include "node/metrics.h"
#include "node/safety_door.h"
#include "node/safety_known.h"

struct agi_log;
struct agi_role_def;
struct agi_transport;
struct agi_safety_host;
struct agi_security;

enum { AGI_SAFETY_NICE = -10 /* where the process may: before the other threads of this host */ };

struct agi_safety_host_cfg {
	struct agi_loop *main;
	const struct agi_config *config;
	struct agi_log *log; /* written on the main loop only */
	uint32_t doors;      /* so many agi_safety_host_new_door will be asked for */
};
AGI_MUST_USE enum agi_err agi_safety_host_new(const struct agi_safety_host_cfg *cfg,
                                              struct agi_safety_host **out, struct agi_why *why);
struct agi_loop *agi_safety_host_loop(const struct agi_safety_host *h);
struct event_base *agi_safety_host_base(const struct agi_safety_host *h);
/* Certificates and tokens for what listens on that base: read and watched apart from the main loop's. */
struct agi_security *agi_safety_host_security(const struct agi_safety_host *h);
/* links: keys; its channels are set here. */
AGI_MUST_USE enum agi_err agi_safety_host_open(struct agi_safety_host *h,
                                               const struct agi_safety_self *self,
                                               const struct agi_links_cfg *links, struct agi_why *why);
/* Where the audit log is, and the loop of a thread that may wait for it. */
void agi_safety_host_audit_dir(const struct agi_safety_host *h, char out[AGI_AUDIT_PATH_MAX]);
struct agi_loop *agi_safety_host_audit_loop(const struct agi_safety_host *h);
/* For servers on the safety loop, before _start. */
struct agi_safety_plane *agi_safety_host_plane(const struct agi_safety_host *h);
/* What the safety loop counts (agi_metrics_add_part). */
struct agi_metrics *agi_safety_host_metrics(const struct agi_safety_host *h);
/* For servers of the main loop. */
struct agi_safety_door *agi_safety_host_door(const struct agi_safety_host *h);
/* For servers of another loop, after _open; the caller frees it after _stop. */
AGI_MUST_USE enum agi_err agi_safety_host_new_door(struct agi_safety_host *h, struct agi_loop *home,
                                                   struct agi_safety_door **out);

AGI_MUST_USE enum agi_err agi_safety_host_start(struct agi_safety_host *h, struct agi_why *why);
/* Runs fn(arg) on the safety loop. False: it does not run. */
bool agi_safety_host_run(struct agi_safety_host *h, agi_loop_fn *fn, void *arg);
/* As agi_loop_post to the safety loop. */
AGI_MUST_USE enum agi_err agi_safety_host_post(struct agi_safety_host *h, agi_loop_fn *fn, agi_loop_fn *drop,
                                               void *arg);
/* Called on the safety loop when a peer gave notice of an emergency stop. Before _start. */
void agi_safety_host_on_stop(struct agi_safety_host *h, void (*fn)(void *ctx, const struct agi_stop_record *r),
                             void *ctx);
/* Called on the safety loop: the plane's hooks of these names. Before _start. */
struct agi_safety_policy_hooks {
	void (*noticed)(void *ctx);
	void (*told)(void *ctx, const struct agi_policy_told *t);
};
void agi_safety_host_on_policy(struct agi_safety_host *h, const struct agi_safety_policy_hooks *hooks, void *ctx);
/* Takes an inbound link's socket. */
void agi_safety_host_take_link(struct agi_safety_host *h, int fd, const struct agi_addr *remote);
/* Who is known; call often: told when it changes and every second. */
void agi_safety_host_know(struct agi_safety_host *h, const struct agi_dht *d, uint64_t now_us);
/* CPU time of the safety loop's thread, in microseconds. From the main loop. */
uint64_t agi_safety_host_cpu_us(const struct agi_safety_host *h);
/* Links of the safety channel, at most a second old. */
const struct agi_links_stats *agi_safety_host_links(const struct agi_safety_host *h);
/* Reads certificates and tokens again; the log level is as the main loop's. */
void agi_safety_host_reload(struct agi_safety_host *h);
/* From now on no role is served. */
void agi_safety_host_drain(struct agi_safety_host *h);
void agi_safety_host_stop(struct agi_safety_host *h);
/* NULL is allowed. */
void agi_safety_host_free(struct agi_safety_host *h);

/* NULL: this node's gateway is well, by its canary (roles/safety_gateway/canary.h), as the main loop knows it; else why
 * not. Valid until the main loop's next turn. */
const char *agi_safety_host_illness(const struct agi_safety_host *h);

/* The role is not offered here for now, though it could serve (node/activate.h). */
void agi_safety_host_set_standby(struct agi_safety_host *h, const struct agi_role_def *role, bool is_standby);

/* On the safety loop: whether a role serves. A gateway that is not well is not offered. */
bool agi_safety_host_serves(struct agi_safety_host *h, const struct agi_role_def *role);

#endif
