/* SPDX-License-Identifier: Apache-2.0 */
#include "node/backup.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <event2/event.h>

#include "node/backup_task.h"
#include "node/log.h"

enum {
	ATTEMPTS = 3,
	POLL_MS = 200,
	SILENT_MAX = 50 /* polls in a row that a node does not answer before its part is given up */
};
enum step { STEP_BEGIN, STEP_COPYING, STEP_LISTING, STEP_SUMMING };
static const char *const steps[] = {"beginning", "copying", "comparing slots", "making checksums"};

/* One node that takes part. */
struct peer {
	struct agi_backup *b;
	uint32_t i;           /* of nodes */
	uint64_t call;        /* in flight; 0 = none */
	bool is_done;         /* with this step */
	uint32_t silent;
	struct agi_backup_part held; /* LISTING: what its copy holds */
};

struct agi_backup {
	struct agi_backup_cfg cfg;
	struct event *timer;
	enum agi_backup_state state;
	enum step step;
	char name[AGI_BACKUP_NAME_MAX + 1];
	uint64_t began_ms;
	uint32_t attempt, slots, whole, first_incomplete;
	struct agi_why why;
	struct agi_backup_node *nodes;
	struct peer *peers; /* as nodes */
	bool is_over, is_early; /* to be ended; before there were checksums */
	size_t n;
};

static void begin_step(struct agi_backup *b, enum step step);

/* --- ends ------------------------------------------------------------------------------------------ */
static void forget_lists(struct agi_backup *b)
{
	for (size_t i = 0; i < b->n; i++)
		agi_backup_part_free(&b->peers[i].held);
}

static void end(struct agi_backup *b, enum agi_backup_state state)
{
	b->state = state;
	evtimer_del(b->timer);
	for (size_t i = 0; i < b->n; i++) { /* who has not answered is not waited for any more */
		agi_dht_host_cancel(b->cfg.host, b->peers[i].call);
		b->peers[i].call = 0;
	}
	forget_lists(b);
	AGI_LOG(b->cfg.log, state == AGI_BACKUP_DONE ? AGI_LOG_INFO : AGI_LOG_ERROR,
	        state == AGI_BACKUP_DONE ? "backup_done" : "backup_failed", agi_kv_z("name", b->name),
	        agi_kv_u("slots_whole", b->whole), agi_kv_u("slots", b->slots), agi_kv_z("why", b->why.text));
}

static void on_dropped(void *arg, const struct agi_result *res)
{
	(void)arg, (void)res; /* one that stays is removed by the next backup of its name */
}

/* Nothing came of it: the copies go. */
static void drop_copies(struct agi_backup *b)
{
	const struct agi_task t = {.kind = AGI_TASK_DROP, .name = agi_str_of(b->name), .attempt = b->attempt};
	struct agi_buf task;

	agi_buf_init(&task, 0);
	agi_task_put(&task, &t);
	for (size_t i = 0; i < b->n && !task.err; i++) {
		struct agi_call call = {.kind = AGI_CALL_OPERATE, .target = b->nodes[i].contact.id,
		                        .value = agi_buf_str(&task)};

		if (b->nodes[i].is_asked)
			agi_dht_host_call(b->cfg.host, &call, on_dropped, NULL);
	}
	agi_buf_free(&task);
}

static void fail_early(struct agi_backup *b)
{
	drop_copies(b);
	end(b, AGI_BACKUP_FAILED);
}

static void give_up(struct agi_backup *b, struct peer *p, const char *text)
{
	struct agi_backup_node *node = &b->nodes[p->i];

	node->is_asked = false;
	node->part.state = AGI_PART_FAILED;
	agi_fail(&node->part.why, AGI_E_IO, "%s", text);
	p->is_done = true;
	agi_backup_part_free(&p->held);
}

/* --- counting what is whole --------------------------------------------------------------------------- */
static enum agi_err count_whole(struct agi_backup *b)
{
	const struct agi_backup_part **parts = calloc(b->n + 1, sizeof *parts);
	struct agi_backup_cover cover;
	size_t n = 0;
	enum agi_err e;

	for (size_t i = 0; parts && i < b->n; i++)
		if (b->nodes[i].is_asked)
			parts[n++] = &b->peers[i].held;
	e = parts ? AGI_OK : AGI_E_NOMEM;
	if (!e && n)
		e = agi_backup_cover(parts, n, &cover);
	free(parts);
	if (e)
		return e;
	b->whole = n ? cover.whole : 0;
	b->first_incomplete = n ? cover.first_incomplete : 0;
	if (n)
		agi_backup_cover_free(&cover);
	return AGI_OK;
}

static void conclude(struct agi_backup *b)
{
	size_t failed = 0;
	enum agi_err e = count_whole(b);

	for (size_t i = 0; i < b->n; i++)
		failed += !b->nodes[i].is_asked;
	b->why.text[0] = '\0';
	if (e)
		agi_fail(&b->why, e, "%s", agi_err_text(e));
	else if (b->whole < b->slots)
		agi_fail(&b->why, AGI_E_NO_QUORUM,
		         "%u of %u slots are not whole (slot %u is one): too few of their members took part, or they "
		         "were changing them all the while",
		         b->slots - b->whole, b->slots, b->first_incomplete);
	else if (failed)
		agi_fail(&b->why, AGI_OK, "every slot is whole, but %zu of %zu nodes did not take part", failed, b->n);
	if (b->is_early)
		drop_copies(b);
	end(b, e || b->whole < b->slots ? AGI_BACKUP_FAILED : AGI_BACKUP_DONE);
}

static void after_listing(struct agi_backup *b)
{
	enum agi_err e = count_whole(b);

	if (e) {
		agi_fail(&b->why, e, "%s", agi_err_text(e));
		fail_early(b);
	} else if (b->whole == 0) {
		b->is_early = true;
		conclude(b);
	} else if (b->whole < b->slots && b->attempt % ATTEMPTS + 1 < ATTEMPTS) {
		b->attempt++;
		forget_lists(b);
		begin_step(b, STEP_BEGIN);
	} else {
		begin_step(b, STEP_SUMMING);
	}
}

/* --- steps ---------------------------------------------------------------------------------------------- */
static bool all_done(const struct agi_backup *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->nodes[i].is_asked && !b->peers[i].is_done)
			return false;
	return true;
}

static void go_on(struct agi_backup *b)
{
	if (b->state != AGI_BACKUP_RUNNING || !all_done(b))
		return;
	switch (b->step) {
	case STEP_BEGIN:
		begin_step(b, STEP_COPYING);
		break;
	case STEP_COPYING:
		begin_step(b, STEP_LISTING);
		break;
	case STEP_LISTING:
		after_listing(b);
		break;
	case STEP_SUMMING:
		conclude(b);
		break;
	}
}

static void take_list(struct agi_backup *b, struct peer *p, struct agi_task_answer *a)
{
	uint32_t next;

	if (agi_task_take_list(a, &p->held, &next)) {
		give_up(b, p, "its list of slots makes no sense");
		return;
	}
	p->is_done = next == UINT32_MAX; /* else the next poll asks on */
}

static void take_answer(struct agi_backup *b, struct peer *p, struct agi_str bytes)
{
	struct agi_backup_node *node = &b->nodes[p->i];
	struct agi_task_answer a;

	if (agi_task_take_answer(&a, bytes)) {
		give_up(b, p, "its answer makes no sense");
		return;
	}
	p->silent = 0;
	node->part = a.part;
	if (a.err == AGI_E_EXISTS && b->step == STEP_BEGIN) {
		agi_fail(&b->why, a.err, "%s", a.part.why.text);
		b->is_over = true; /* ended by the timer: others may be in the middle of an answer */
		return;
	}
	if (a.err || a.part.state == AGI_PART_FAILED) {
		give_up(b, p, a.part.why.text[0] ? a.part.why.text : agi_err_text(a.err));
		return;
	}
	switch (b->step) {
	case STEP_BEGIN:
		p->is_done = true;
		break;
	case STEP_COPYING:
		p->is_done = a.part.state == AGI_PART_COPIED;
		break;
	case STEP_LISTING:
		take_list(b, p, &a);
		break;
	case STEP_SUMMING:
		p->is_done = a.part.state == AGI_PART_DONE;
		break;
	}
}

static void on_answer(void *arg, const struct agi_result *res)
{
	struct peer *p = arg;
	struct agi_backup *b = p->b;

	p->call = 0;
	if (b->state != AGI_BACKUP_RUNNING || p->is_done || !b->nodes[p->i].is_asked)
		return;
	if (res->err == AGI_E_UNSUPPORTED)
		give_up(b, p, "it is of a version without backups");
	else if (res->err && ++p->silent > SILENT_MAX)
		give_up(b, p, "it does not answer any more");
	else if (!res->err)
		take_answer(b, p, res->value);
}

static void put_task(struct agi_backup *b, struct peer *p, struct agi_id *hosts, struct agi_buf *out)
{
	struct agi_task t = {.kind = AGI_TASK_LOOK, .name = agi_str_of(b->name), .attempt = b->attempt,
	                     .began_ms = b->began_ms, .hosts = hosts};
	enum agi_part_state state = b->nodes[p->i].part.state;

	if (b->step == STEP_BEGIN)
		t.kind = AGI_TASK_BEGIN;
	else if (b->step == STEP_LISTING)
		t.kind = AGI_TASK_LIST;
	else if (b->step == STEP_SUMMING && state == AGI_PART_COPIED)
		t.kind = AGI_TASK_FINISH;
	if (t.kind == AGI_TASK_LIST && p->held.n_slots)
		t.from = p->held.slots[p->held.n_slots - 1].slot + 1;
	for (size_t i = 0; i < b->n; i++)
		if (b->nodes[i].is_asked)
			hosts[t.n_hosts++] = b->nodes[i].contact.id;
	agi_task_put(out, &t);
}

static void ask(struct agi_backup *b, struct peer *p)
{
	struct agi_call call = {.kind = AGI_CALL_OPERATE, .target = b->nodes[p->i].contact.id};
	struct agi_id *hosts = calloc(b->n + 1, sizeof *hosts);
	struct agi_buf task;

	agi_buf_init(&task, 0);
	if (hosts)
		put_task(b, p, hosts, &task);
	call.value = agi_buf_str(&task);
	if (hosts && !task.err)
		p->call = agi_dht_host_call(b->cfg.host, &call, on_answer, p);
	agi_buf_free(&task);
	free(hosts);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct agi_backup *b = arg;
	const struct timeval next = {0, POLL_MS * 1000};
	(void)fd;
	(void)what;

	if (b->is_over)
		fail_early(b);
	else
		go_on(b);
	for (size_t i = 0; b->state == AGI_BACKUP_RUNNING && i < b->n; i++)
		if (b->nodes[i].is_asked && !b->peers[i].is_done && !b->peers[i].call)
			ask(b, &b->peers[i]);
	if (b->state == AGI_BACKUP_RUNNING)
		evtimer_add(b->timer, &next);
}

static void begin_step(struct agi_backup *b, enum step step)
{
	b->step = step;
	for (size_t i = 0; i < b->n; i++) {
		struct peer *p = &b->peers[i];

		p->is_done = !b->nodes[i].is_asked;
		p->silent = 0;
		if (step == STEP_LISTING)
			p->held.slot_bits = (uint32_t)__builtin_ctz(b->slots);
		if (step == STEP_LISTING)
			p->held.node = b->nodes[i].contact.id;
	}
}

/* --- beginning ----------------------------------------------------------------------------------------------- */
static enum agi_err list_nodes(struct agi_backup *b)
{
	const struct agi_dht *d = agi_dht_host_core(b->cfg.host);
	struct agi_member m;
	size_t n = 0;

	while (agi_dht_member(d, n, &m))
		n++;
	free(b->nodes);
	free(b->peers);
	b->n = 0;
	b->nodes = calloc(n + 1, sizeof *b->nodes);
	b->peers = calloc(n + 1, sizeof *b->peers);
	if (!b->nodes || !b->peers)
		return AGI_E_NOMEM;
	for (size_t i = 0; i < n && agi_dht_member(d, i, &m); i++) {
		b->nodes[i].contact = m.contact;
		b->nodes[i].is_asked = m.state != AGI_MEMBER_DOWN;
		b->nodes[i].part.state = m.state == AGI_MEMBER_DOWN ? AGI_PART_FAILED : AGI_PART_NONE;
		if (m.state == AGI_MEMBER_DOWN)
			agi_fail(&b->nodes[i].part.why, AGI_OK, "it is down");
		b->peers[i] = (struct peer){.b = b, .i = (uint32_t)i};
		b->n = i + 1;
	}
	return AGI_OK;
}

enum agi_err agi_backup_start(struct agi_backup *b, struct agi_str name, struct agi_why *why)
{
	struct agi_dht_status st;

	if (b->state == AGI_BACKUP_RUNNING)
		return agi_fail(why, AGI_E_FULL, "the backup \"%s\" is being made", b->name);
	if (!agi_backup_name_is_valid(name))
		return agi_fail(why, AGI_E_INVALID,
		                "the name of a backup: 1 to %d letters, digits, \".\", \"_\" or \"-\", the first a "
		                "letter or digit", AGI_BACKUP_NAME_MAX);
	agi_dht_status(agi_dht_host_core(b->cfg.host), &st);
	if (!st.is_joined)
		return agi_fail(why, AGI_E_NOT_READY, "%s", st.phase);
	if (list_nodes(b))
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	snprintf(b->name, sizeof b->name, "%.*s", AGI_STR_ARG(name));
	b->slots = st.slots_total;
	b->whole = 0;
	b->is_over = b->is_early = false;
	b->why.text[0] = '\0';
	b->began_ms = agi_clock_now().wall_ms;
	b->attempt = (uint32_t)(b->began_ms / 1000 % 0x40000000) * ATTEMPTS; /* other than any before */
	b->state = AGI_BACKUP_RUNNING;
	AGI_LOG(b->cfg.log, AGI_LOG_INFO, "backup_began", agi_kv_z("name", b->name), agi_kv_u("nodes", b->n));
	begin_step(b, STEP_BEGIN);
	on_timer(-1, 0, b);
	return AGI_OK;
}

void agi_backup_look(const struct agi_backup *b, struct agi_backup_status *out)
{
	*out = (struct agi_backup_status){.state = b->state, .step = steps[b->step],
	                                  .attempt = b->attempt % ATTEMPTS + 1, .slots = b->slots,
	                                  .whole = b->whole, .why = b->why, .nodes = b->nodes, .n_nodes = b->n};
	snprintf(out->name, sizeof out->name, "%s", b->name);
}

/* --- life ----------------------------------------------------------------------------------------------------- */
enum agi_err agi_backup_new(const struct agi_backup_cfg *cfg, struct agi_backup **out)
{
	struct agi_backup *b = calloc(1, sizeof *b);

	if (!b)
		return AGI_E_NOMEM;
	b->cfg = *cfg;
	b->timer = evtimer_new(cfg->base, on_timer, b);
	if (!b->timer) {
		free(b);
		return AGI_E_NOMEM;
	}
	*out = b;
	return AGI_OK;
}

void agi_backup_free(struct agi_backup *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n; i++)
		if (b->peers[i].call)
			agi_dht_host_cancel(b->cfg.host, b->peers[i].call);
	forget_lists(b);
	event_free(b->timer);
	free(b->nodes);
	free(b->peers);
	free(b);
}
