/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/keep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAUSE_MS = 200, CALL_MS_MAX = 5000 };

static void the_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGCHLD);
}

void ctl_keep_init(struct ctl_keep *k, struct ctl *c)
{
	sigset_t set;

	*k = (struct ctl_keep){.c = c};
	the_signals(&set);
	sigprocmask(SIG_BLOCK, &set, &k->old);
}

void ctl_keep_begin(struct ctl *c, uint32_t ms, bool has_failed)
{
	if (has_failed) { /* any of -n will do */
		free(c->node);
		c->node = NULL;
	}
	c->deadline_us = ctl_now_us() + (uint64_t)(ms < CALL_MS_MAX ? ms : CALL_MS_MAX) * 1000;
}

enum ctl_exit ctl_keep_grant(struct ctl_keep *k, uint64_t ttl_ms, struct agi_str holder)
{
	Agihpc__V1__GrantRequest req = AGIHPC__V1__GRANT_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.LeaseService/Grant", &req, agihpc__v1__grant_response__descriptor);
	uint64_t sent_us = ctl_now_us();
	enum ctl_exit code;

	req.ttl_ms = ttl_ms;
	req.holder = ctl_bin(holder);
	code = ctl_ask(k->c, &call);
	if (code == CTL_OK) {
		const Agihpc__V1__GrantResponse *res = (const Agihpc__V1__GrantResponse *)call.res;

		k->lease = res->lease_id;
		k->ttl_ms = res->ttl_ms;
		k->until_us = sent_us + k->ttl_ms * 1000;
	}
	ctl_call_clear(&call);
	return code;
}

enum agi_grpc_status ctl_keep_renew(struct ctl_keep *k)
{
	Agihpc__V1__KeepAliveRequest req = AGIHPC__V1__KEEP_ALIVE_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.LeaseService/KeepAlive", &req, agihpc__v1__keep_alive_response__descriptor);
	enum agi_grpc_status status = AGI_GRPC_UNAVAILABLE;
	uint64_t sent_us;

	if (ctl_choose_node(k->c) != CTL_OK)
		return status;
	req.lease_id = k->lease;
	call.target = k->c->node;
	sent_us = ctl_now_us();
	ctl_calls_run(k->c, &call, 1, ctl_left_ms(k->c));
	status = call.status;
	if (status == AGI_GRPC_OK) {
		k->ttl_ms = ((const Agihpc__V1__KeepAliveResponse *)call.res)->ttl_ms;
		k->until_us = sent_us + k->ttl_ms * 1000;
	}
	ctl_call_clear(&call);
	return status;
}

/* SIGCHLD too. */
static int wait_for_any(uint32_t ms)
{
	const struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000L};
	sigset_t set;
	int n;

	the_signals(&set);
	do
		n = sigtimedwait(&set, NULL, &t);
	while (n < 0 && errno == EINTR);
	return n < 0 ? 0 : n;
}

int ctl_keep_signal(uint32_t ms)
{
	int n = wait_for_any(ms);

	return n == SIGCHLD ? 0 : n;
}

/* Milliseconds until the lease may have ended; 0 = it may have. */
static uint32_t left_ms(const struct ctl_keep *k)
{
	uint64_t now = ctl_now_us();

	return k->until_us > now ? (uint32_t)((k->until_us - now) / 1000) : 0;
}

enum ctl_kept ctl_keep_run(struct ctl_keep *k, pid_t child, int *signal)
{
	uint32_t pause_ms = (uint32_t)(k->ttl_ms / 3);
	bool has_failed = false;

	for (;;) {
		enum agi_grpc_status status;

		*signal = wait_for_any(pause_ms < left_ms(k) ? pause_ms : left_ms(k));
		if (*signal == SIGCHLD && child)
			return CTL_KEPT_CHILD;
		if (*signal && *signal != SIGCHLD)
			return CTL_KEPT_SIGNAL;
		if (!left_ms(k))
			return CTL_KEPT_LOST;
		ctl_keep_begin(k->c, left_ms(k), has_failed);
		status = ctl_keep_renew(k);
		if (status == AGI_GRPC_NOT_FOUND)
			return CTL_KEPT_LOST;
		has_failed = status != AGI_GRPC_OK;
		pause_ms = has_failed ? PAUSE_MS : (uint32_t)(k->ttl_ms / 3);
	}
}

void ctl_keep_revoke(struct ctl_keep *k)
{
	Agihpc__V1__RevokeRequest req = AGIHPC__V1__REVOKE_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.LeaseService/Revoke", &req, agihpc__v1__revoke_response__descriptor);

	req.lease_id = k->lease;
	ctl_keep_begin(k->c, CALL_MS_MAX, false);
	if (ctl_choose_node(k->c) != CTL_OK)
		return;
	call.target = k->c->node;
	ctl_calls_run(k->c, &call, 1, ctl_left_ms(k->c));
	if (call.status != AGI_GRPC_OK && call.status != AGI_GRPC_NOT_FOUND)
		ctl_warn(k->c, "the lease was not revoked (%s); it ends by itself", call.message);
	ctl_call_clear(&call);
}

enum ctl_exit ctl_lease_id(const struct ctl *c, const char *text, uint64_t *out)
{
	size_t n = strspn(text, "0123456789abcdefABCDEF");

	*out = strtoull(text, NULL, 16);
	if (text[n] || n == 0 || n > 16 || *out == 0 || *out >> 63)
		return ctl_usage(c, "'%.40s' is not the number of a lease (as lease grant prints it)", text);
	return CTL_OK;
}
