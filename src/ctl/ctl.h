/* SPDX-License-Identifier: Apache-2.0
 * agihpc-ctl: a client of the node's gRPC API. One invocation runs one command; a command asks
 * (call.h), prints one answer (out.h) and returns an exit code. Nothing is kept between
 * invocations. */
#ifndef AGI_CTL_CTL_H
#define AGI_CTL_CTL_H

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"
#include "base/str.h"
#include "ctl/args.h"

/* Part of the interface: agihpc-ctl(1), EXIT STATUS. */
enum ctl_exit {
	CTL_OK = 0, /* safety check: ALLOW */
	CTL_FAILED = 1,
	CTL_USAGE = 2,
	CTL_NOT_FOUND = 3,
	CTL_UNAVAILABLE = 4, /* no answer, no quorum; the same command may succeed later */
	CTL_CONFLICT = 5,    /* --if-version, --if-absent: the condition does not hold */
	CTL_BLOCK = 10,
	CTL_REVISE = 11,
	CTL_DEFER = 12
};

enum { CTL_TIMEOUT_DEFAULT_MS = 5000, CTL_TIMEOUT_MAX_MS = 3600 * 1000 };

struct agi_tls_client;
struct ctl;
struct ctl_input {
	struct ctl_optset opts;
	struct ctl_words words;
};

struct ctl_command {
	const char *name; /* one word, or two: "safety check" */
	const char *args; /* for the usage line; "" = none */
	const char *help; /* one line */
	enum ctl_exit (*run)(struct ctl *c, const struct ctl_input *in);
	const struct ctl_opt *opts; /* NULL = none */
	int words_min, words_max;
};

struct ctl {
	const struct ctl_command *commands; /* all of them, ended by a NULL name */
	const struct ctl_command *command;  /* the one that runs; NULL before it is known */
	const struct ctl_opt *global_opts;
	const char *nodes; /* -n: addresses, comma separated */
	bool is_json;
	bool has_colour;
	uint32_t timeout_ms;  /* -t */
	bool has_timeout;     /* it was given */
	uint64_t deadline_us; /* monotonic; the end of the whole command */
	struct agi_tls_client *tls; /* NULL = nodes are called without TLS */
	char *token;          /* to carry with every call; NULL = none */
	char *node;           /* the address that answered; NULL before ctl_choose_node */
};

/* --- errors, to stderr: "agihpc-ctl: put: text". Both return the code they are given. ------------
 */
enum ctl_exit ctl_error(const struct ctl *c, enum ctl_exit code, const char *fmt, ...)
    AGI_PRINTF(3, 4);
/* Usage: adds "(agihpc-ctl help put shows how)". */
enum ctl_exit ctl_usage(const struct ctl *c, const char *fmt, ...) AGI_PRINTF(2, 3);
/* No command has that name: what there is, and the nearest. */
enum ctl_exit ctl_unknown_command(const struct ctl *c, const char *name);
void ctl_warn(const struct ctl *c, const char *fmt, ...) AGI_PRINTF(2, 3);

/* Memory or the end of the program: a client that cannot allocate has nothing left to do. */
void *ctl_alloc(size_t bytes);
char *ctl_copy(struct agi_str s); /* terminated */

uint64_t ctl_now_us(void); /* monotonic */

/* --- protobuf's bytes as text -------------------------------------------------------------------
 */
static inline struct agi_str ctl_str(ProtobufCBinaryData b)
{
	return (struct agi_str){(const char *)b.data, b.len};
}
static inline ProtobufCBinaryData ctl_bin(struct agi_str s)
{
	return (ProtobufCBinaryData){s.n, (uint8_t *)(uintptr_t)s.p};
}
static inline ProtobufCBinaryData ctl_bin_of(const char *z) { return ctl_bin(agi_str_of(z)); }

/* Reads a file ("-" = standard input) of at most max bytes; *out is the caller's. Reports its own
 * errors. */
enum ctl_exit ctl_read_file(const struct ctl *c, const char *path, size_t max, struct agi_str *out);

enum { CTL_SOURCE_BYTES = 160, CTL_TIME_TEXT = 32 };
/* Who asks, for the record: not a proof of anything. */
ProtobufCBinaryData ctl_source(char text[CTL_SOURCE_BYTES]);
/* "2026-01-31T12:00:00Z" of milliseconds since 1970; "-" for 0. */
void ctl_format_time(char out[CTL_TIME_TEXT], uint64_t ms);

/* --- the commands, by file ----------------------------------------------------------------------
 */
enum ctl_exit ctl_status(struct ctl *c, const struct ctl_input *in); /* cmd_node.c */
enum ctl_exit ctl_members(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_roles(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_health(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_lookup(struct ctl *c, const struct ctl_input *in);   /* cmd_lookup.c */
enum ctl_exit ctl_slots(struct ctl *c, const struct ctl_input *in);    /* cmd_slots.c */
enum ctl_exit ctl_rebalance(struct ctl *c, const struct ctl_input *in); /* cmd_move.c */
enum ctl_exit ctl_drain(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_undrain(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_leave(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_slot_recover(struct ctl *c, const struct ctl_input *in); /* cmd_recover.c */
enum ctl_exit ctl_register(struct ctl *c, const struct ctl_input *in); /* cmd_registry.c */
enum ctl_exit ctl_deregister(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_heartbeat(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_discover(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_nearest(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_put(struct ctl *c, const struct ctl_input *in); /* cmd_kv.c */
enum ctl_exit ctl_get(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_del(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_incr(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_scan(struct ctl *c, const struct ctl_input *in); /* cmd_scan.c */
enum ctl_exit ctl_batch(struct ctl *c, const struct ctl_input *in); /* cmd_batch.c */
enum ctl_exit ctl_watch(struct ctl *c, const struct ctl_input *in); /* cmd_watch.c */
/* of watch --service: cmd_watch_service.c; --count (untouched when not given) and --for of both */
enum ctl_exit ctl_watch_service(struct ctl *c, const struct ctl_input *in, const char *service);
enum ctl_exit ctl_watch_limits(struct ctl *c, const struct ctl_input *in, uint32_t *count, uint64_t *until_us);
enum ctl_exit ctl_lease_grant(struct ctl *c, const struct ctl_input *in); /* cmd_lease.c */
enum ctl_exit ctl_lease_keepalive(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_lease_revoke(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_lease_show(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_lease_list(struct ctl *c, const struct ctl_input *in);
enum { CTL_LOCK_WORDS = 1000 }; /* of a command and its arguments */
enum ctl_exit ctl_lock(struct ctl *c, const struct ctl_input *in); /* cmd_lock.c */
enum ctl_exit ctl_owners(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_safety_check(struct ctl *c, const struct ctl_input *in); /* cmd_safety.c */
enum ctl_exit ctl_safety_stop(struct ctl *c, const struct ctl_input *in);  /* cmd_stop.c */
enum ctl_exit ctl_safety_resume(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_safety_status(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_safety_verify(struct ctl *c, const struct ctl_input *in); /* cmd_verify.c */
enum ctl_exit ctl_safety_audit(struct ctl *c, const struct ctl_input *in);  /* cmd_audit.c */
enum ctl_exit ctl_safety_policy(struct ctl *c, const struct ctl_input *in); /* cmd_policy.c */
enum ctl_exit ctl_keygen(struct ctl *c, const struct ctl_input *in);       /* cmd_local.c */
enum ctl_exit ctl_token_new(struct ctl *c, const struct ctl_input *in);    /* cmd_token.c */
enum ctl_exit ctl_version(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_config_check(struct ctl *c, const struct ctl_input *in); /* cmd_config.c */
enum ctl_exit ctl_backup(struct ctl *c, const struct ctl_input *in);       /* cmd_backup.c */
enum ctl_exit ctl_restore(struct ctl *c, const struct ctl_input *in);
enum ctl_exit ctl_verify(struct ctl *c, const struct ctl_input *in);       /* cmd_compare.c */
enum ctl_exit ctl_help(struct ctl *c, const struct ctl_input *in);         /* help.c */
enum ctl_exit ctl_completion(struct ctl *c, const struct ctl_input *in);   /* completion.c */

extern const struct ctl_opt ctl_opts_backup[], ctl_opts_restore[], ctl_opts_verify[];
extern const struct ctl_opt ctl_opts_rebalance[], ctl_opts_drain[], ctl_opts_slot_recover[],
    ctl_opts_slots[], ctl_opts_register[], ctl_opts_heartbeat[], ctl_opts_discover[], ctl_opts_nearest[],
    ctl_opts_put[], ctl_opts_get[], ctl_opts_del[], ctl_opts_incr[], ctl_opts_scan[], ctl_opts_batch[], ctl_opts_watch[],
    ctl_opts_owners[], ctl_opts_lease_grant[], ctl_opts_lease_keepalive[], ctl_opts_lock[],
    ctl_opts_lookup[], ctl_opts_safety_check[], ctl_opts_safety_stop[],
    ctl_opts_safety_verify[], ctl_opts_safety_audit[], ctl_opts_safety_policy[],
    ctl_opts_keygen[], ctl_opts_token_new[], ctl_opts_config_check[];

#endif
