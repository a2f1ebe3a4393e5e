/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/latch.h"

#include <string.h>

#include "roles/mutant.h"

enum { RECORD_VERSION = 1 };

void agi_stop_encode(struct agi_buf *b, const struct agi_stop_record *r)
{
	agi_buf_u8(b, RECORD_VERSION);
	agi_buf_u8(b, r->is_stopped);
	agi_buf_u64(b, r->epoch);
	agi_buf_u64(b, r->at_ms);
	agi_buf_put(b, r->id, sizeof r->id);
	agi_buf_blob(b, agi_str_of(r->reason));
	agi_buf_blob(b, agi_str_of(r->source));
	agi_buf_blob(b, agi_str_of(r->node));
}

void agi_stop_set_text(char *to, size_t max, struct agi_str text)
{
	size_t n = text.n < max ? text.n : max;

	while (n < text.n && n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
		n--; /* inside a character */
	if (n)
		memcpy(to, text.p, n);
	to[n] = '\0';
}

static bool take_text(struct agi_cur *c, char *to, size_t max)
{
	struct agi_str s = agi_cur_blob(c);

	if (s.n > max || (s.n && memchr(s.p, '\0', s.n)))
		return false;
	agi_stop_set_text(to, max, s);
	return true;
}

enum agi_err agi_stop_decode(struct agi_stop_record *out, struct agi_str bytes)
{
	struct agi_cur c = agi_cur_of(bytes);
	uint8_t version = agi_cur_u8(&c);
	bool is_text;

	*out = (struct agi_stop_record){.is_stopped = agi_cur_u8(&c) != 0};
	out->epoch = agi_cur_u64(&c);
	out->at_ms = agi_cur_u64(&c);
	agi_cur_copy(&c, out->id, sizeof out->id);
	is_text = take_text(&c, out->reason, AGI_STOP_REASON_MAX) &&
	          take_text(&c, out->source, AGI_STOP_WHO_MAX) && take_text(&c, out->node, AGI_STOP_WHO_MAX);
	if (version == RECORD_VERSION && is_text && !c.bad && c.n == 0)
		return AGI_OK;
	*out = (struct agi_stop_record){0};
	return AGI_E_MALFORMED;
}

const char *agi_stop_name(enum agi_stop s)
{
	static const char *const names[] = {"unknown", "clear", "stopped"};

	return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

void agi_latch_read(struct agi_latch *l, const struct agi_stop_record *r, uint64_t began_us)
{
	uint64_t until = began_us + (uint64_t)AGI_STOP_VALID_MS * 1000;

	if ((r ? r->epoch : 0) < l->known.epoch)
		return;
	if (r)
		l->known = *r;
	if (until > l->clear_until_us)
		l->clear_until_us = until;
}

bool agi_latch_told(struct agi_latch *l, const struct agi_stop_record *r)
{
	if (!r->is_stopped || r->epoch <= l->known.epoch)
		return false;
	l->known = *r;
	return true;
}

enum agi_stop agi_latch_state(const struct agi_latch *l, uint64_t now_us)
{
	if (l->known.is_stopped)
		return AGI_STOP_SET;
	return now_us < l->clear_until_us || (AGI_ROLE_MUTANT(CLEAR_FOREVER) && l->clear_until_us) ? AGI_STOP_CLEAR : AGI_STOP_UNKNOWN;
}

bool agi_latch_is_followed(const struct agi_latch *l, uint64_t now_us)
{
	return l->clear_until_us && now_us < l->clear_until_us + (uint64_t)AGI_STOP_LOST_MS * 1000;
}
