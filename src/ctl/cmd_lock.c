/* SPDX-License-Identifier: Apache-2.0
 * lock: takes a lock, and holds it until a command has ended or a signal comes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/keep.h"
#include "ctl/kv.h"
#include "ctl/units.h"

enum {
	TTL_DEFAULT_MS = 10000,
	CALL_MS_MAX = 2000, /* a signal is looked for in between */
	PAUSE_MS = 100,
	KILL_MS = 1000      /* after SIGTERM; the lock may be somebody else's by then */
};

const struct ctl_opt ctl_opts_lock[] = {
    {"namespace", 0, "NS", NULL, "namespace of the lock (default: locks)"},
    {"ttl", 0, "TIME", NULL, "when the holder dies the lock is free after this time (default: 10s)"},
    {"wait", 0, "TIME", NULL, "give up when it is not free after this time, or 0: at once (default: never)"},
    {NULL, 0, NULL, NULL, NULL}};

struct locking {
	struct ctl *c;
	struct ctl_keep keep;
	Agihpc__V1__LockRequest req;
	uint64_t ttl_ms, give_up_us; /* monotonic; UINT64_MAX = never */
	char holder[AGI_LEASE_HOLDER_MAX + 1];
	uint64_t token, held_by;
};

/* --- taking it -------------------------------------------------------------------------------- */
static bool may_pass(enum agi_grpc_status s)
{
	return s == AGI_GRPC_UNAVAILABLE || s == AGI_GRPC_DEADLINE_EXCEEDED || s == AGI_GRPC_UNKNOWN ||
	       s == AGI_GRPC_RESOURCE_EXHAUSTED || s == AGI_GRPC_CANCELLED || s == AGI_GRPC_ABORTED;
}

/* Asks once, for as long as the lease needs no renewal. */
static enum agi_grpc_status ask(struct locking *l, bool has_failed, struct ctl_call *call)
{
	uint64_t now = ctl_now_us(), left_ms = l->give_up_us > now ? (l->give_up_us - now) / 1000 : 0;
	uint64_t ms = l->ttl_ms / 3 < CALL_MS_MAX ? l->ttl_ms / 3 : CALL_MS_MAX;

	l->req.wait = left_ms > 0;
	l->req.lease_id = l->keep.lease;
	ctl_keep_begin(l->c, l->req.wait && left_ms < ms ? (uint32_t)left_ms + 1 : (uint32_t)ms, has_failed);
	if (ctl_choose_node(l->c) != CTL_OK) {
		call->message = ctl_copy(agi_str_of("no node answers"));
		return call->status = AGI_GRPC_UNAVAILABLE;
	}
	call->target = l->c->node;
	ctl_calls_run(l->c, call, 1, ctl_left_ms(l->c));
	return call->status;
}

/* OK: take_answer's. UNAVAILABLE: try again; others are the end of it, and have been reported. */
static enum ctl_exit try_once(struct locking *l, bool *has_failed, bool *has_lock)
{
	struct ctl_call call = CTL_CALL("agihpc.v1.LeaseService/Lock", &l->req, agihpc__v1__lock_response__descriptor);
	enum agi_grpc_status s = ask(l, *has_failed, &call);
	enum ctl_exit code = CTL_OK;

	*has_failed = s != AGI_GRPC_OK;
	if (s == AGI_GRPC_OK) {
		const Agihpc__V1__LockResponse *res = (const Agihpc__V1__LockResponse *)call.res;

		*has_lock = res->acquired;
		l->token = res->token;
		l->held_by = res->lease_id;
	} else if (s != AGI_GRPC_NOT_FOUND && !may_pass(s)) {
		code = ctl_report(l->c, &call, NULL);
	} else if (s == AGI_GRPC_NOT_FOUND) {
		l->keep.lease = 0; /* it took too long: another one */
	}
	ctl_call_clear(&call);
	return code;
}

static enum ctl_exit give_up(struct locking *l)
{
	if (l->held_by)
		return ctl_error(l->c, CTL_CONFLICT, "the lock is held, by lease %016" PRIx64, l->held_by);
	if (l->token)
		return ctl_error(l->c, CTL_CONFLICT, "an item without a lease is in the way");
	return ctl_error(l->c, CTL_UNAVAILABLE, "the lock could not be asked for in time");
}

static enum ctl_exit renew_or_grant(struct locking *l, bool has_failed)
{
	ctl_keep_begin(l->c, CTL_TIMEOUT_DEFAULT_MS, has_failed);
	if (!l->keep.lease)
		return ctl_keep_grant(&l->keep, l->ttl_ms, agi_str_of(l->holder));
	if (l->keep.until_us < ctl_now_us() + l->ttl_ms * 500 && ctl_keep_renew(&l->keep) == AGI_GRPC_NOT_FOUND)
		l->keep.lease = 0;
	return CTL_OK;
}

/* OK: it is held, by a lease that has just been looked at. *signal: one came. */
static enum ctl_exit take(struct locking *l, int *signal)
{
	bool has_failed = false, has_lock = false, is_last = false;
	enum ctl_exit code;

	for (;;) {
		code = renew_or_grant(l, has_failed);
		if (code == CTL_OK && l->keep.lease)
			code = try_once(l, &has_failed, &has_lock);
		if (code != CTL_OK)
			return code;
		*signal = ctl_keep_signal(has_failed ? PAUSE_MS : 0);
		if (*signal || (has_lock && l->keep.until_us > ctl_now_us()))
			return CTL_OK;
		has_lock = false;
		if (is_last)
			return give_up(l);
		is_last = ctl_now_us() >= l->give_up_us;
	}
}

/* --- the command ------------------------------------------------------------------------------ */
static void become(const struct locking *l, char *const *argv)
{
	char text[24];

	/* who holds no lock must not go on as if it did */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigprocmask(SIG_SETMASK, &l->keep.old, NULL);
	snprintf(text, sizeof text, "%" PRIu64, l->token);
	setenv("AGIHPC_LOCK_TOKEN", text, 1);
	snprintf(text, sizeof text, "%016" PRIx64, l->keep.lease);
	setenv("AGIHPC_LOCK_LEASE", text, 1);
	execvp(argv[0], argv);
	fprintf(stderr, "agihpc-ctl: lock: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static enum ctl_exit exit_of(int status)
{
	return (enum ctl_exit)(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

/* SIGTERM, then SIGKILL. */
static void end_child(pid_t child)
{
	int status;

	kill(child, SIGTERM);
	for (uint64_t until = ctl_now_us() + KILL_MS * 1000; ctl_now_us() < until;) {
		if (waitpid(child, &status, WNOHANG) == child)
			return;
		ctl_keep_signal(10);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

static enum ctl_exit run_command(struct locking *l, char *const *argv)
{
	pid_t parent = getpid(), child = fork();
	int signal, status;

	if (child < 0)
		return ctl_error(l->c, CTL_FAILED, "cannot start a process: %s", strerror(errno));
	if (child == 0) {
		if (getppid() == parent)
			become(l, argv);
		_exit(126);
	}
	for (;;) {
		switch (ctl_keep_run(&l->keep, child, &signal)) {
		case CTL_KEPT_SIGNAL:
			kill(child, signal);
			break;
		case CTL_KEPT_CHILD:
			if (waitpid(child, &status, WNOHANG) == child)
				return exit_of(status);
			break;
		case CTL_KEPT_LOST:
			end_child(child);
			return ctl_error(l->c, CTL_UNAVAILABLE, "the lock was lost; the command was ended");
		}
	}
}

static enum ctl_exit print_held(struct locking *l)
{
	struct agi_buf out;
	char lease[17];
	json_t *o;

	snprintf(lease, sizeof lease, "%016" PRIx64, l->keep.lease);
	if (l->c->is_json) {
		o = ctl_kv_json(l->req.namespace_, l->req.key);
		ctl_kv_set_version(o, "token", l->token);
		ctl_set(o, "lease", json_string(lease));
		return ctl_print_json_take(l->c, o);
	}
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "token %" PRIu64 " lease %s\n", l->token, lease);
	return ctl_kv_print_take(l->c, &out);
}

static enum ctl_exit hold(struct locking *l)
{
	enum ctl_exit code = print_held(l);
	int signal;

	fflush(stdout);
	if (code == CTL_OK && ctl_keep_run(&l->keep, 0, &signal) == CTL_KEPT_LOST)
		return ctl_error(l->c, CTL_UNAVAILABLE, "the lock was lost");
	return code;
}

static enum ctl_exit take_words(struct locking *l, const struct ctl_input *in)
{
	const char *ttl = ctl_opt_value(&in->opts, "ttl"), *wait = ctl_opt_value(&in->opts, "wait");
	enum ctl_exit code = ctl_kv_key(l->c, in, &l->req.namespace_, &l->req.key);
	struct agi_why why;
	uint64_t ms = 0;

	if (!ctl_opt_is_set(&in->opts, "namespace"))
		l->req.namespace_ = ctl_bin_of("locks");
	if (code == CTL_OK && ttl)
		code = ctl_lease_ttl(l->c, "--ttl", ttl, &l->ttl_ms);
	if (code == CTL_OK && wait && strcmp(wait, "0") == 0)
		ms = 0;
	else if (code == CTL_OK && wait && ctl_parse_duration(&ms, wait, 0, UINT64_C(1) << 40, &why) != AGI_OK)
		code = ctl_usage(l->c, "--wait %s", why.text);
	if (code == CTL_OK && wait)
		l->give_up_us = ctl_now_us() + ms * 1000;
	return code;
}

enum ctl_exit ctl_lock(struct ctl *c, const struct ctl_input *in)
{
	struct locking l = {.c = c, .req = AGIHPC__V1__LOCK_REQUEST__INIT, .ttl_ms = TTL_DEFAULT_MS,
			    .give_up_us = UINT64_MAX};
	enum ctl_exit code = take_words(&l, in);
	char *argv[CTL_LOCK_WORDS + 1] = {NULL};
	int signal = 0;

	if (code != CTL_OK)
		return code;
	for (int i = 1; i < in->words.n && i <= CTL_LOCK_WORDS; i++)
		argv[i - 1] = in->words.p[i];
	ctl_lease_holder(l.holder, NULL);
	l.req.value = ctl_bin_of(l.holder);
	ctl_keep_init(&l.keep, c);
	code = take(&l, &signal);
	if (code == CTL_OK && !signal)
		code = argv[0] ? run_command(&l, argv) : hold(&l);
	else if (code == CTL_OK)
		code = (enum ctl_exit)(128 + signal);
	if (l.keep.lease)
		ctl_keep_revoke(&l.keep); /* and the lock with it */
	return code;
}
