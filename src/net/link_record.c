/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link_record.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/uio.h>

enum { TAG = AGI_NOISE_TAG_BYTES, LENGTH = 4, PART_KEEP = 65536 };

static void put_be16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static size_t get_be16(const uint8_t *p) { return (size_t)p[0] << 8 | p[1]; }

static void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, v >> 16);
	put_be16(p + 2, v & 0xffff);
}

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)(get_be16(p) << 16 | get_be16(p + 2));
}

/* --- records --------------------------------------------------------------------------- */
static struct agi_record *record_new(struct agi_record_pool *pool)
{
	struct agi_record *r = pool->spare;

	if (r) {
		pool->spare = r->next;
		pool->n--;
	} else {
		r = malloc(sizeof *r);
		if (!r)
			return NULL;
	}
	r->next = NULL;
	r->n = r->text = r->written = 0;
	r->is_sealed = r->is_mark = false;
	return r;
}

static void record_free(struct agi_record_pool *pool, struct agi_record *r)
{
	if (pool->n >= AGI_RECORD_POOL_MAX) {
		free(r);
		return;
	}
	r->next = pool->spare;
	pool->spare = r;
	pool->n++;
}

static void list_free(struct agi_record_pool *pool, struct agi_record *r)
{
	while (r) {
		struct agi_record *next = r->next;

		record_free(pool, r);
		r = next;
	}
}

void agi_record_pool_free(struct agi_record_pool *pool)
{
	while (pool->spare) {
		struct agi_record *r = pool->spare;

		pool->spare = r->next;
		free(r);
	}
	pool->n = 0;
}

/* --- outbox ---------------------------------------------------------------------------- */
static void append(struct agi_outbox *o, struct agi_record *first, struct agi_record *last)
{
	if (o->tail)
		o->tail->next = first;
	else
		o->head = first;
	o->tail = last;
}

static size_t room(const struct agi_record *r)
{
	return r && !r->is_sealed && !r->is_mark ? AGI_RECORD_TEXT_MAX - r->n : 0;
}

/* Empty records for n bytes; NULL when n is 0 or there is no memory. */
static struct agi_record *records_for(struct agi_record_pool *pool, size_t n,
				      struct agi_record **last)
{
	struct agi_record *first = NULL;

	*last = NULL;
	for (size_t have = 0; have < n; have += AGI_RECORD_TEXT_MAX) {
		struct agi_record *r = record_new(pool);

		if (!r) {
			list_free(pool, first);
			return NULL;
		}
		if (*last)
			(*last)->next = r;
		else
			first = r;
		*last = r;
	}
	return first;
}

/* Copies text into records from r on; returns the record to go on with. */
static struct agi_record *fill(struct agi_record *r, struct agi_str text)
{
	while (text.n) {
		size_t n = room(r) < text.n ? room(r) : text.n;

		if (n == 0) {
			r = r->next;
			continue;
		}
		memcpy(r->b + 2 + r->n, text.p, n);
		r->n += (uint32_t)n;
		r->text = r->n;
		text.p += n;
		text.n -= n;
	}
	return r;
}

enum agi_err agi_outbox_put(struct agi_outbox *o, struct agi_record_pool *pool,
			    struct agi_str message)
{
	size_t total = LENGTH + message.n, here = room(o->tail);
	struct agi_record *start = here ? o->tail : NULL;
	uint8_t length[LENGTH];

	if (message.n > AGI_LINK_FRAME_MAX)
		return AGI_E_TOO_LARGE;
	if (total > here) {
		struct agi_record *last, *first = records_for(pool, total - here, &last);

		if (!first)
			return AGI_E_NOMEM;
		append(o, first, last);
		start = start ? start : first;
	}
	put_be32(length, (uint32_t)message.n);
	start = fill(start, (struct agi_str){(const char *)length, LENGTH});
	fill(start, message);
	o->text_bytes += total;
	return AGI_OK;
}

enum agi_err agi_outbox_mark(struct agi_outbox *o, struct agi_record_pool *pool)
{
	struct agi_record *r = record_new(pool);

	if (!r)
		return AGI_E_NOMEM;
	r->is_mark = true;
	append(o, r, r);
	return AGI_OK;
}

enum agi_err agi_outbox_raw(struct agi_outbox *o, struct agi_record_pool *pool, struct agi_str wire)
{
	struct agi_record *r = record_new(pool), *before = NULL;

	if (!r)
		return AGI_E_NOMEM;
	assert(wire.n <= sizeof r->b);
	memcpy(r->b, wire.p, wire.n);
	r->n = (uint32_t)wire.n;
	r->is_sealed = true;
	for (struct agi_record *i = o->head; i && i->is_sealed; i = i->next)
		before = i;
	r->next = before ? before->next : o->head;
	if (before)
		before->next = r;
	else
		o->head = r;
	if (!r->next)
		o->tail = r;
	return AGI_OK;
}

void agi_outbox_drop_raw(struct agi_outbox *o, struct agi_record_pool *pool)
{
	while (o->head && o->head->is_sealed) {
		struct agi_record *r = o->head;

		assert(r->text == 0);
		o->head = r->next;
		record_free(pool, r);
	}
	if (!o->head)
		o->tail = NULL;
}

void agi_outbox_move(struct agi_outbox *to, struct agi_outbox *from)
{
	if (!from->head)
		return;
	assert(!from->head->is_sealed);
	append(to, from->head, from->tail);
	to->text_bytes += from->text_bytes;
	*from = (struct agi_outbox){0};
}

bool agi_outbox_is_empty(const struct agi_outbox *o) { return !o->head; }

/* Both sides count records alike, so they change the key at the same one. */
static void rekey_when_due(struct agi_noise_cipher *c)
{
	if (c->nonce && c->nonce % AGI_LINK_REKEY_RECORDS == 0)
		agi_noise_rekey(c);
}

static void seal(struct agi_record *r, struct agi_noise_cipher *c)
{
	enum agi_err err;

	rekey_when_due(c);
	err = agi_noise_seal(c, AGI_STR(""), r->b + 2, r->n);
	assert(!err); /* 2^64 records: not in the life of the machine */
	put_be16(r->b, r->n + TAG);
	r->n += 2 + TAG;
	r->is_sealed = true;
}

size_t agi_outbox_gather(struct agi_outbox *o, struct agi_noise_cipher *c, struct iovec *iov,
			 size_t max)
{
	size_t n = 0;

	for (struct agi_record *r = o->head; r && n < max; r = r->next) {
		if (!r->is_sealed && !c)
			break;
		if (!r->is_sealed)
			seal(r, c);
		iov[n++] = (struct iovec){r->b + r->written, r->n - r->written};
	}
	return n;
}

void agi_outbox_written(struct agi_outbox *o, struct agi_record_pool *pool, size_t n)
{
	while (n) {
		struct agi_record *r = o->head;
		size_t left = r->n - r->written;

		if (n < left) {
			r->written += (uint32_t)n;
			return;
		}
		n -= left;
		o->text_bytes -= r->text;
		o->head = r->next;
		if (!o->head)
			o->tail = NULL;
		record_free(pool, r);
	}
}

void agi_outbox_free(struct agi_outbox *o, struct agi_record_pool *pool)
{
	list_free(pool, o->head);
	*o = (struct agi_outbox){0};
}

/* --- inbox ----------------------------------------------------------------------------- */
void agi_inbox_init(struct agi_inbox *in) { agi_buf_init(&in->part, LENGTH + AGI_LINK_FRAME_MAX); }
void agi_inbox_free(struct agi_inbox *in) { agi_buf_free(&in->part); }
bool agi_inbox_is_between(const struct agi_inbox *in) { return in->part.n == 0; }

static enum agi_err check_length(uint32_t n, struct agi_why *why)
{
	if (n <= AGI_LINK_FRAME_MAX)
		return AGI_OK;
	return agi_fail(why, AGI_E_TOO_LARGE,
			"the peer announced a message of %u bytes, at most %d are taken", n,
			AGI_LINK_FRAME_MAX);
}

/* Moves up to n bytes of text to the message in part. */
static enum agi_err keep(struct agi_inbox *in, struct agi_cur *text, size_t n)
{
	agi_buf_put_str(&in->part, agi_cur_take(text, n < text->n ? n : text->n));
	return in->part.err;
}

/* Completes the message in part as far as text goes; *done when it is whole. Memory grows with the
 * bytes that have come, not with the length a peer announces. */
static enum agi_err complete(struct agi_inbox *in, struct agi_cur *text, bool *done,
			     struct agi_why *why)
{
	enum agi_err err = AGI_OK;
	uint32_t want;

	*done = false;
	if (in->part.n < LENGTH)
		err = keep(in, text, LENGTH - in->part.n);
	if (err || in->part.n < LENGTH)
		return err;
	want = get_be32(in->part.p);
	err = check_length(want, why);
	if (!err)
		err = keep(in, text, LENGTH + want - in->part.n);
	*done = !err && in->part.n == LENGTH + want;
	return err;
}

static void forget_part(struct agi_inbox *in)
{
	if (in->part.cap > PART_KEEP)
		agi_buf_free(&in->part);
	else
		agi_buf_reset(&in->part);
}

/* The messages that lie whole in text, without copying. */
static enum agi_err deliver_whole(struct agi_cur *text, const struct agi_inbox_sink *sink, bool *go,
				  struct agi_why *why)
{
	while (*go && text->n >= LENGTH) {
		uint32_t n = get_be32(text->p);
		enum agi_err err = check_length(n, why);

		if (err)
			return err;
		if (text->n - LENGTH < n)
			break;
		(void)agi_cur_take(text, LENGTH);
		*go = sink->on_message(sink->ctx, agi_cur_take(text, n));
	}
	return AGI_OK;
}

static enum agi_err take_text(struct agi_inbox *in, struct agi_cur text,
			      const struct agi_inbox_sink *sink, bool *go, struct agi_why *why)
{
	enum agi_err err = AGI_OK;

	if (in->part.n) {
		bool done;

		err = complete(in, &text, &done, why);
		if (err || !done)
			return err;
		*go = sink->on_message(
		    sink->ctx, (struct agi_str){(char *)in->part.p + LENGTH, in->part.n - LENGTH});
		forget_part(in);
	}
	err = deliver_whole(&text, sink, go, why);
	return err || !*go ? err : keep(in, &text, text.n);
}

static enum agi_err take_record(struct agi_inbox *in, struct agi_noise_cipher *c, uint8_t *p,
				size_t n, const struct agi_inbox_sink *sink, bool *go,
				struct agi_why *why)
{
	if (n < TAG)
		return agi_fail(why, AGI_E_MALFORMED,
				"a record of %zu bytes: at least %d are needed", n, TAG);
	rekey_when_due(c);
	if (agi_noise_open(c, AGI_STR(""), p, n))
		return agi_fail(why, AGI_E_AUTH,
				"a record that the peer did not seal (changed on the way?)");
	if (n > TAG)
		return take_text(in, (struct agi_cur){p, n - TAG, false}, sink, go, why);
	if (!agi_inbox_is_between(in))
		return agi_fail(why, AGI_E_MALFORMED, "a mark inside a message");
	*go = sink->on_mark(sink->ctx);
	return AGI_OK;
}

enum agi_err agi_inbox_feed(struct agi_inbox *in, struct agi_noise_cipher *c, uint8_t *p, size_t n,
			    size_t *used, const struct agi_inbox_sink *sink, struct agi_why *why)
{
	enum agi_err err = AGI_OK;
	bool go = true;

	*used = 0;
	while (go && !err && n - *used >= 2) {
		size_t len = get_be16(p + *used);

		if (n - *used - 2 < len)
			break;
		err = take_record(in, c, p + *used + 2, len, sink, &go, why);
		*used += 2 + len;
	}
	return err;
}
