/* SPDX-License-Identifier: Apache-2.0 */
#include "node/log.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

/* bytes of a line around the event's fields: time, level, event's name, counts */
enum { LINE_FRAME = 256 };

/* A line that was written lately, and how often it has come again since. */
struct repeat {
	uint64_t hash;     /* of level, event and fields; 0 = free */
	uint64_t since_ms; /* monotonic, when it was last written */
	uint64_t count;
	enum agi_log_level level;
	const char *event;
};

/* Lines of one event in the window that began at since_ms. */
struct burst {
	const char *event; /* NULL = free */
	uint64_t since_ms;
	uint32_t lines, held_back;
};

struct agi_log {
	int fd;
	enum agi_log_level level;
	enum agi_log_format format;
	uint64_t written[AGI_LOG_DEBUG + 1];
	uint64_t dropped; /* lines nobody could take since the last one that was written */
	struct repeat repeats[AGI_LOG_REPEATS];
	struct burst bursts[AGI_LOG_EVENTS];
	struct agi_buf line;   /* the whole line */
	struct agi_buf fields; /* the event's own part: what repeats are told by */
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static uint64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

enum agi_err agi_log_new(int fd, enum agi_log_level level, enum agi_log_format format,
                         struct agi_log **out)
{
	struct agi_log *l = calloc(1, sizeof *l);

	if (!l)
		return AGI_E_NOMEM;
	l->fd = fd;
	l->level = level;
	l->format = format;
	agi_buf_init(&l->line, PIPE_BUF);
	agi_buf_init(&l->fields, PIPE_BUF - LINE_FRAME);
	*out = l;
	return AGI_OK;
}

void agi_log_set_level(struct agi_log *l, enum agi_log_level level) { l->level = level; }

enum agi_log_level agi_log_level(const struct agi_log *l) { return l->level; }

bool agi_log_is_on(const struct agi_log *l, enum agi_log_level level)
{
	return l && level <= l->level;
}

const char *agi_log_level_name(enum agi_log_level level) { return level_names[level]; }

enum agi_err agi_log_level_parse(enum agi_log_level *out, struct agi_str s)
{
	for (int i = AGI_LOG_ERROR; i <= AGI_LOG_DEBUG; i++) {
		if (agi_str_eq(s, agi_str_of(level_names[i]))) {
			*out = (enum agi_log_level)i;
			return AGI_OK;
		}
	}
	return AGI_E_INVALID;
}

uint64_t agi_log_count(const struct agi_log *l, enum agi_log_level level)
{
	return l->written[level];
}

/* --- text ------------------------------------------------------------------------------------------ */
static bool is_bare(struct agi_str s)
{
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
			return false;
	}
	return true;
}

/* Inside double quotes, the same escapes for logfmt and JSON. is_text: bytes above 0x7f pass as UTF-8,
 * else each becomes the replacement character. */
static void put_escaped(struct agi_buf *b, struct agi_str s, bool is_text)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			agi_buf_printf(b, "\\%c", c);
		else if (c == '\n')
			agi_buf_put_str(b, AGI_STR("\\n"));
		else if (c < ' ' || c == 0x7f)
			agi_buf_printf(b, "\\u%04x", c);
		else if (c >= 0x80 && !is_text)
			agi_buf_put_str(b, AGI_STR("\\ufffd"));
		else
			agi_buf_u8(b, c);
	}
}

static void put_text(struct agi_log *l, struct agi_str s)
{
	bool is_cut = s.n > AGI_LOG_VALUE_MAX, is_text;

	if (is_cut)
		s.n = AGI_LOG_VALUE_MAX;
	if (l->format == AGI_LOG_LOGFMT && !is_cut && is_bare(s)) {
		agi_buf_put_str(&l->fields, s);
		return;
	}
	is_text = agi_utf8_is_valid(s);
	agi_buf_u8(&l->fields, '"');
	put_escaped(&l->fields, s, is_text);
	if (is_cut)
		agi_buf_put_str(&l->fields, AGI_STR("..."));
	agi_buf_u8(&l->fields, '"');
}

static void put_value(struct agi_log *l, const struct agi_log_field *f)
{
	char text[AGI_ADDR_TEXT] = "-";

	switch (f->type) {
	case AGI_LOG_STR:
		put_text(l, f->v.s);
		return;
	case AGI_LOG_U64:
		agi_buf_printf(&l->fields, "%llu", (unsigned long long)f->v.u);
		return;
	case AGI_LOG_F64:
		if (isfinite(f->v.f))
			agi_buf_printf(&l->fields, "%.6g", f->v.f);
		else
			put_text(l, AGI_STR("not-a-number"));
		return;
	case AGI_LOG_BOOL:
		agi_buf_put_str(&l->fields, f->v.b ? AGI_STR("true") : AGI_STR("false"));
		return;
	case AGI_LOG_ID:
		if (!agi_id_is_zero(f->v.id))
			agi_id_short(text, f->v.id);
		put_text(l, agi_str_of(text));
		return;
	case AGI_LOG_ADDR:
		if (f->v.addr->port)
			agi_addr_format(text, f->v.addr);
		put_text(l, agi_str_of(text));
		return;
	}
}

static void put_key(struct agi_log *l, struct agi_buf *b, const char *key)
{
	agi_buf_printf(b, l->format == AGI_LOG_JSON ? ",\"%s\":" : " %s=", key);
}

/* A reader that does not read must not stop the node: the line is dropped when the descriptor cannot take
 * it now. (A pipe that polls writable takes PIPE_BUF bytes without waiting; lines are kept below that.) */
static bool give(int fd, struct agi_str line)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	ssize_t n;

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return false;
	do
		n = write(fd, line.p, line.n);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)line.n;
}

static void put_count(struct agi_log *l, const char *key, uint64_t n)
{
	if (n == 0)
		return;
	put_key(l, &l->line, key);
	agi_buf_printf(&l->line, "%llu", (unsigned long long)n);
}

static void write_line(struct agi_log *l, enum agi_log_level level, const char *event,
                       struct agi_str fields, uint64_t repeated, uint64_t held_back)
{
	bool is_json = l->format == AGI_LOG_JSON;
	struct timespec t;
	struct tm tm;
	char when[32];

	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &tm);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
	agi_buf_reset(&l->line);
	agi_buf_printf(&l->line,
	               is_json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"event\":\"%s\""
	                       : "%s.%03ldZ level=%s event=%s",
	               when, t.tv_nsec / 1000000, level_names[level], event);
	agi_buf_put_str(&l->line, fields);
	put_count(l, "repeated", repeated);
	put_count(l, "held_back", held_back);
	put_count(l, "dropped_before", l->dropped);
	agi_buf_put_str(&l->line, is_json ? AGI_STR("}\n") : AGI_STR("\n"));
	if (l->line.err || !give(l->fd, agi_buf_str(&l->line)))
		l->dropped++;
	else
		l->dropped = 0;
}

/* --- repeats --------------------------------------------------------------------------------------- */
static uint64_t hash_of(enum agi_log_level level, const char *event, struct agi_str fields)
{
	uint64_t h = 1469598103934665603u ^ (uint64_t)level; /* FNV-1a, 64 bit */

	for (; *event; event++)
		h = (h ^ (unsigned char)*event) * 1099511628211u;
	for (size_t i = 0; i < fields.n; i++)
		h = (h ^ (unsigned char)fields.p[i]) * 1099511628211u;
	return h ? h : 1;
}

static void tell_repeat(struct agi_log *l, struct repeat *r)
{
	if (r->hash && r->count)
		write_line(l, r->level, r->event, AGI_STR(""), r->count, 0);
	*r = (struct repeat){0};
}

/* True when the line is to be written; *repeated = how often it was held back before. */
static bool note_repeat(struct agi_log *l, uint64_t hash, enum agi_log_level level,
                        const char *event, uint64_t *repeated)
{
	uint64_t now = mono_ms();
	struct repeat *oldest = &l->repeats[0];

	*repeated = 0;
	for (size_t i = 0; i < AGI_LOG_REPEATS; i++) {
		struct repeat *r = &l->repeats[i];

		if (r->hash == hash) {
			if (now - r->since_ms < AGI_LOG_REPEAT_MS) {
				r->count++;
				return false;
			}
			*repeated = r->count;
			r->count = 0;
			r->since_ms = now;
			return true;
		}
		if (r->since_ms < oldest->since_ms)
			oldest = r;
	}
	tell_repeat(l, oldest);
	*oldest = (struct repeat){hash, now, 0, level, event};
	return true;
}

/* --- bursts ------------------------------------------------------------------------------------------- */
static struct burst *burst_of(struct agi_log *l, const char *event)
{
	struct burst *oldest = &l->bursts[0];

	for (size_t i = 0; i < AGI_LOG_EVENTS; i++) {
		if (l->bursts[i].event && strcmp(l->bursts[i].event, event) == 0)
			return &l->bursts[i];
		if (l->bursts[i].since_ms < oldest->since_ms)
			oldest = &l->bursts[i];
	}
	*oldest = (struct burst){.event = event};
	return oldest;
}

/* True when the line is to be written; *held_back = how many of its event were not before it. */
static bool note_burst(struct agi_log *l, enum agi_log_level level, const char *event,
                       uint64_t *held_back)
{
	struct burst *b;
	uint64_t now = mono_ms();

	*held_back = 0;
	if (level == AGI_LOG_DEBUG)
		return true;
	b = burst_of(l, event);
	if (now - b->since_ms >= AGI_LOG_REPEAT_MS || b->since_ms == 0) {
		b->since_ms = now;
		b->lines = 0;
	}
	if (b->lines >= AGI_LOG_BURST) {
		b->held_back++;
		return false;
	}
	b->lines++;
	*held_back = b->held_back;
	b->held_back = 0;
	return true;
}

void agi_log_flush_repeats(struct agi_log *l)
{
	uint64_t now = mono_ms();

	for (size_t i = 0; i < AGI_LOG_REPEATS; i++)
		if (l->repeats[i].hash && now - l->repeats[i].since_ms >= AGI_LOG_REPEAT_MS)
			tell_repeat(l, &l->repeats[i]);
	for (size_t i = 0; i < AGI_LOG_EVENTS; i++) {
		struct burst *b = &l->bursts[i];

		if (!b->held_back || now - b->since_ms < AGI_LOG_REPEAT_MS)
			continue;
		write_line(l, AGI_LOG_WARN, b->event, AGI_STR(""), 0, b->held_back);
		b->held_back = 0;
	}
}

void agi_log_write(struct agi_log *l, enum agi_log_level level, const char *event,
                   const struct agi_log_field *fields, size_t n)
{
	uint64_t repeated, held_back;

	if (!agi_log_is_on(l, level))
		return;
	l->written[level]++;
	agi_buf_reset(&l->fields);
	for (size_t i = 0; i < n; i++) {
		put_key(l, &l->fields, fields[i].key);
		put_value(l, &fields[i]);
	}
	if (l->fields.err) { /* too long a line */
		agi_buf_reset(&l->fields);
		put_key(l, &l->fields, "cut");
		agi_buf_put_str(&l->fields, AGI_STR("true"));
	}
	if (note_repeat(l, hash_of(level, event, agi_buf_str(&l->fields)), level, event, &repeated) &&
	    note_burst(l, level, event, &held_back))
		write_line(l, level, event, agi_buf_str(&l->fields), repeated, held_back);
}

void agi_log_free(struct agi_log *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < AGI_LOG_REPEATS; i++)
		tell_repeat(l, &l->repeats[i]);
	agi_buf_free(&l->line);
	agi_buf_free(&l->fields);
	free(l);
}
