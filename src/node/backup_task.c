/* SPDX-License-Identifier: Apache-2.0 */
#include "node/backup_task.h"

#include <stdio.h>
#include <stdlib.h>

#include "node/backup.h"

enum { LIST_SLOTS = 16384, HOSTS_MAX = 65536 }; /* of one answer: at most 46 bytes a slot */

/* --- tasks ---------------------------------------------------------------------------------------- */
void agi_task_put(struct agi_buf *b, const struct agi_task *t)
{
	agi_buf_u8(b, (uint8_t)t->kind);
	agi_buf_blob(b, t->name);
	agi_buf_u32(b, t->attempt);
	switch (t->kind) {
	case AGI_TASK_BEGIN:
		agi_buf_u64(b, t->began_ms);
		break;
	case AGI_TASK_LIST:
		agi_buf_u32(b, t->from);
		break;
	case AGI_TASK_FINISH:
		agi_buf_u32(b, t->n_hosts);
		for (uint32_t i = 0; i < t->n_hosts; i++)
			agi_buf_put(b, t->hosts[i].b, AGI_ID_BYTES);
		break;
	case AGI_TASK_LOOK:
	case AGI_TASK_DROP:
		break;
	}
}

/* --- answers -------------------------------------------------------------------------------------- */
static void put_slot(struct agi_buf *b, const struct agi_backup_slot *s)
{
	agi_buf_u32(b, s->slot);
	agi_buf_u64(b, s->epoch);
	agi_buf_u8(b, (uint8_t)s->phase);
	agi_buf_u8(b, s->n_members);
	for (uint8_t i = 0; i < s->n_members; i++)
		agi_buf_u32(b, s->members[i]);
}

static void put_list(struct agi_buf *b, const struct agi_backup_part *p, uint32_t from)
{
	size_t first = 0, last;

	agi_buf_u32(b, (uint32_t)p->n_hosts);
	for (size_t i = 0; i < p->n_hosts; i++)
		agi_buf_put(b, p->hosts[i].b, AGI_ID_BYTES);
	while (first < p->n_slots && p->slots[first].slot < from)
		first++;
	last = p->n_slots - first > LIST_SLOTS ? first + LIST_SLOTS : p->n_slots;
	agi_buf_u32(b, (uint32_t)(last - first));
	for (size_t i = first; i < last; i++)
		put_slot(b, &p->slots[i]);
	agi_buf_u8(b, last < p->n_slots);
}

static void put_answer(struct agi_buf *b, enum agi_err err, const struct agi_why *why,
                       const struct agi_part_status *st)
{
	agi_buf_u8(b, (uint8_t)err);
	agi_buf_blob(b, agi_str_of(why->text));
	agi_buf_u8(b, (uint8_t)st->state);
	agi_buf_u64(b, st->bytes);
	agi_buf_u64(b, st->bytes_total);
	agi_buf_u32(b, st->files);
}

static enum agi_err take_ids(struct agi_cur *c, struct agi_id **out, uint32_t *n)
{
	*out = NULL;
	*n = agi_cur_u32(c);
	if (c->bad || *n > HOSTS_MAX || c->n / AGI_ID_BYTES < *n)
		return AGI_E_MALFORMED;
	*out = calloc(*n + 1u, sizeof **out);
	if (!*out)
		return AGI_E_NOMEM;
	for (uint32_t i = 0; i < *n; i++)
		agi_cur_copy(c, (*out)[i].b, AGI_ID_BYTES);
	return AGI_OK;
}

static enum agi_err finish(struct agi_backup_maker *m, struct agi_str name, uint32_t attempt, struct agi_cur *c)
{
	struct agi_id *hosts;
	uint32_t n;
	enum agi_err e = take_ids(c, &hosts, &n);

	if (!e)
		e = agi_part_finish(m, name, attempt, hosts, n);
	free(hosts);
	return e;
}

/* *held: what a LIST is to be answered with. */
static enum agi_err do_task(struct agi_backup_maker *m, struct agi_cur *c, struct agi_task *t,
                            const struct agi_backup_part **held, struct agi_why *why)
{
	switch (t->kind) {
	case AGI_TASK_BEGIN:
		return agi_part_begin(m, t->name, t->attempt, agi_cur_u64(c), why);
	case AGI_TASK_FINISH:
		return finish(m, t->name, t->attempt, c);
	case AGI_TASK_LIST:
		t->from = agi_cur_u32(c);
		*held = agi_part_held(m);
		return *held ? AGI_OK : AGI_E_CONDITION;
	case AGI_TASK_DROP:
		agi_part_drop(m, t->name, t->attempt);
		return AGI_OK;
	case AGI_TASK_LOOK:
		break;
	}
	return AGI_OK;
}

enum agi_err agi_backup_on_task(struct agi_backup_maker *m, struct agi_str task, struct agi_buf *answer)
{
	struct agi_cur c = agi_cur_of(task);
	struct agi_task t = {.kind = agi_cur_u8(&c), .name = agi_cur_blob(&c), .attempt = agi_cur_u32(&c)};
	const struct agi_backup_part *held = NULL;
	struct agi_part_status st;
	struct agi_why why = {""};
	enum agi_err e;

	if (c.bad || t.kind < AGI_TASK_BEGIN || t.kind > AGI_TASK_DROP)
		return AGI_E_MALFORMED;
	e = do_task(m, &c, &t, &held, &why);
	agi_part_look(m, &st);
	if (!e && (!agi_str_eq(t.name, agi_str_of(st.name)) || t.attempt != st.attempt))
		e = AGI_E_CONDITION;
	if (e == AGI_E_CONDITION)
		agi_fail(&why, e, "this node has begun anew, or makes another backup");
	else if (e && !why.text[0])
		agi_fail(&why, e, "%s", agi_err_text(e));
	else if (!e && st.state == AGI_PART_FAILED)
		why = st.why;
	put_answer(answer, e, &why, &st);
	if (!e && held)
		put_list(answer, held, t.from);
	return answer->err;
}

enum agi_err agi_task_take_answer(struct agi_task_answer *out, struct agi_str bytes)
{
	struct agi_cur c = agi_cur_of(bytes);
	uint8_t err = agi_cur_u8(&c), state;
	struct agi_str why = agi_cur_blob(&c);

	*out = (struct agi_task_answer){.err = err < AGI_E_COUNT ? (enum agi_err)err : AGI_E_INTERNAL};
	snprintf(out->part.why.text, sizeof out->part.why.text, "%.*s", AGI_STR_ARG(why));
	state = agi_cur_u8(&c);
	out->part.bytes = agi_cur_u64(&c);
	out->part.bytes_total = agi_cur_u64(&c);
	out->part.files = agi_cur_u32(&c);
	out->list = c;
	if (c.bad || state >= AGI_PART_STATES)
		return AGI_E_MALFORMED;
	out->part.state = (enum agi_part_state)state;
	return AGI_OK;
}

static enum agi_err take_slot(struct agi_cur *c, const struct agi_id *hosts, uint32_t n_hosts,
                              struct agi_backup_part *p)
{
	struct agi_backup_slot s = {.slot = agi_cur_u32(c), .epoch = agi_cur_u64(c)};
	uint8_t phase = agi_cur_u8(c);
	enum agi_err e = AGI_OK;

	s.n_members = agi_cur_u8(c);
	if (c->bad || phase > AGI_BACKUP_LEAVING || s.n_members == 0 || s.n_members > AGI_REPLICAS_MAX ||
	    s.slot >> p->slot_bits || (p->n_slots && s.slot <= p->slots[p->n_slots - 1].slot))
		return AGI_E_MALFORMED;
	s.phase = (enum agi_backup_phase)phase;
	for (uint8_t i = 0; i < s.n_members && !e; i++) {
		uint32_t host = agi_cur_u32(c);

		e = host < n_hosts ? agi_backup_host(p, &hosts[host], &s.members[i]) : AGI_E_MALFORMED;
	}
	return e ? e : agi_backup_add_slot(p, &s);
}

enum agi_err agi_task_take_list(struct agi_task_answer *a, struct agi_backup_part *p, uint32_t *next)
{
	struct agi_cur *c = &a->list;
	struct agi_id *hosts;
	uint32_t n_hosts, n;
	enum agi_err e = take_ids(c, &hosts, &n_hosts);

	n = e ? 0 : agi_cur_u32(c);
	if (n > LIST_SLOTS)
		e = AGI_E_MALFORMED;
	for (uint32_t i = 0; i < n && !e; i++)
		e = take_slot(c, hosts, n_hosts, p);
	free(hosts);
	*next = !e && agi_cur_u8(c) && p->n_slots ? p->slots[p->n_slots - 1].slot + 1 : UINT32_MAX;
	return !e && c->bad ? AGI_E_MALFORMED : e;
}
