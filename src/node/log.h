/* SPDX-License-Identifier: Apache-2.0
 * Structured log lines: one event per line, key=value (logfmt) or one JSON object, to a file descriptor.
 *
 *   2026-11-23T14:05:00.123Z level=info event=member_up node=3f1c… addr=127.0.0.12:5000
 *
 * Values that need it are quoted; control bytes and bytes that are not UTF-8 are escaped, so a line is
 * always one line. Never log payloads, item values or keys of any kind.
 *
 * A descriptor that cannot take a line at once loses it (dropped_before=N on the next): logging never waits.
 *
 * Repeats: a line equal to one written less than AGI_LOG_REPEAT_MS ago is not written but counted; the
 * next time it is written it carries repeated=N. The owner calls agi_log_flush_repeats now and then so
 * that a count that nothing follows is still told.
 *
 * Bursts: of one event (below debug) at most AGI_LOG_BURST lines are written within AGI_LOG_REPEAT_MS, however
 * they differ: a stranger who knocks a thousand times a second does not fill the disk. The next line of that
 * event carries held_back=N. Used from one thread. */
#ifndef AGI_NODE_LOG_H
#define AGI_NODE_LOG_H

#include "base/addr.h"
#include "base/clock.h"
#include "base/id.h"
#include "config/config.h" /* enum agi_log_level, enum agi_log_format */

enum {
	AGI_LOG_REPEAT_MS = 10000,
	AGI_LOG_REPEATS = 64,     /* distinct lines whose repeats are counted at once */
	AGI_LOG_BURST = 100,
	AGI_LOG_EVENTS = 64,      /* events whose bursts are counted at once */
	AGI_LOG_VALUE_MAX = 512   /* bytes of one value before it is cut, with "..." */
};

struct agi_log;

/* fd is borrowed (2 = stderr). */
AGI_MUST_USE enum agi_err agi_log_new(int fd, enum agi_log_level level, enum agi_log_format format,
                                      struct agi_log **out);
/* Tells outstanding repeats first. NULL is allowed. */
void agi_log_free(struct agi_log *l);
void agi_log_set_level(struct agi_log *l, enum agi_log_level level);
enum agi_log_level agi_log_level(const struct agi_log *l);
bool agi_log_is_on(const struct agi_log *l, enum agi_log_level level);
/* "error", "warn", "info", "debug"; INVALID otherwise. */
AGI_MUST_USE enum agi_err agi_log_level_parse(enum agi_log_level *out, struct agi_str s);
const char *agi_log_level_name(enum agi_log_level level);
/* Writes a line for every repeated event whose window has passed. */
void agi_log_flush_repeats(struct agi_log *l);
/* Lines written and repeats held back since start, by level (metrics). */
uint64_t agi_log_count(const struct agi_log *l, enum agi_log_level level);

/* --- one line -------------------------------------------------------------------------------------- */
enum agi_log_type { AGI_LOG_STR, AGI_LOG_U64, AGI_LOG_F64, AGI_LOG_BOOL, AGI_LOG_ID, AGI_LOG_ADDR };
struct agi_log_field {
	const char *key; /* [a-z_]+, a literal */
	enum agi_log_type type;
	union {
		struct agi_str s;
		uint64_t u;
		double f;
		bool b;
		const struct agi_id *id;     /* written short */
		const struct agi_addr *addr; /* "-" when unset */
	} v;
};
static inline struct agi_log_field agi_kv_str(const char *key, struct agi_str s)
{
	return (struct agi_log_field){key, AGI_LOG_STR, {.s = s}};
}
static inline struct agi_log_field agi_kv_z(const char *key, const char *z)
{
	return (struct agi_log_field){key, AGI_LOG_STR, {.s = agi_str_of(z)}};
}
static inline struct agi_log_field agi_kv_u(const char *key, uint64_t u)
{
	return (struct agi_log_field){key, AGI_LOG_U64, {.u = u}};
}
static inline struct agi_log_field agi_kv_f(const char *key, double f)
{
	return (struct agi_log_field){key, AGI_LOG_F64, {.f = f}};
}
static inline struct agi_log_field agi_kv_b(const char *key, bool b)
{
	return (struct agi_log_field){key, AGI_LOG_BOOL, {.b = b}};
}
static inline struct agi_log_field agi_kv_id(const char *key, const struct agi_id *id)
{
	return (struct agi_log_field){key, AGI_LOG_ID, {.id = id}};
}
static inline struct agi_log_field agi_kv_addr(const char *key, const struct agi_addr *addr)
{
	return (struct agi_log_field){key, AGI_LOG_ADDR, {.addr = addr}};
}

/* event: [a-z_]+, a literal. l may be NULL (nothing is logged). */
void agi_log_write(struct agi_log *l, enum agi_log_level level, const char *event,
                   const struct agi_log_field *fields, size_t n);
/* AGI_LOG(log, AGI_LOG_INFO, "member_up", agi_kv_id("node", &c->id), agi_kv_u("slot", 3)); */
#define AGI_LOG(l, level, event, ...)                                                          \
	agi_log_write(l, level, event, (const struct agi_log_field[]){__VA_ARGS__},            \
	              sizeof((const struct agi_log_field[]){__VA_ARGS__}) /                    \
	                  sizeof(struct agi_log_field))

#endif
