/* SPDX-License-Identifier: Apache-2.0 */
#include "node/compare.h"

#include <stdlib.h>

#include <event2/event.h>

enum {
	AT_ONCE = 8,      /* slots */
	LOOKS_MAX = 6,    /* at a slot that differs, before it is told */
	PAUSE_MS = 500,   /* between them: a write under way, a hint, a repair */
	ASK_MS = 60000
};

struct asking {
	struct agi_compare *c;
	uint32_t slot, looks;
	bool is_open;
	uint64_t call;
	struct event *again;
};

struct agi_compare {
	struct agi_dht_host *host;
	struct agi_compare_status st, last;
	int64_t last_at;
	struct agi_compare_slot told[AGI_COMPARE_TOLD_MAX];
	struct asking asking[AT_ONCE];
	uint32_t next;
	struct event *go;
};

/* --- judging ----------------------------------------------------------------------------------------- */
struct judgement {
	bool differs, is_incomplete, is_damaged;
	bool may_pass; /* differs, or members were changing: worth another look */
	uint64_t records, bytes;
};

static bool is_same(const struct agi_holding *a, const struct agi_holding *b)
{
	for (int i = 0; i < 2; i++)
		if (a->part[i].records != b->part[i].records ||
		    memcmp(a->part[i].hash, b->part[i].hash, sizeof a->part[i].hash) != 0)
			return false;
	return true;
}

static struct judgement judge(const struct agi_result *res)
{
	struct judgement j = {.is_incomplete = res->err != AGI_OK || res->n_digests == 0, .may_pass = res->err != AGI_OK};
	const struct agi_holding *first = NULL;

	for (size_t i = 0; !res->err && i < res->n_digests; i++) {
		const struct agi_holding *h = &res->digests[i];

		j.is_incomplete = j.is_incomplete || h->err;
		j.is_damaged = j.is_damaged || h->err == AGI_E_CORRUPT || h->err == AGI_E_IO;
		j.may_pass = j.may_pass || (h->err && h->err != AGI_E_UNREACHABLE && h->err != AGI_E_TIMEOUT);
		if (h->err)
			continue;
		if (!first)
			first = h;
		else
			j.differs = j.differs || !is_same(first, h);
	}
	j.may_pass = j.may_pass || j.differs;
	for (int i = 0; first && i < 2; i++) {
		j.records += first->part[i].records;
		j.bytes += first->part[i].bytes;
	}
	return j;
}

static void tell(struct agi_compare *c, uint32_t slot, const struct agi_result *res)
{
	struct agi_compare_slot *t;

	if (c->st.n_told == AGI_COMPARE_TOLD_MAX)
		return;
	t = &c->told[c->st.n_told++];
	*t = (struct agi_compare_slot){.view = res->view};
	t->view.slot = slot;
	for (size_t i = 0; i < res->n_digests; i++)
		t->holding[i] = res->digests[i];
}

static void count(struct agi_compare *c, uint32_t slot, const struct judgement *j, const struct agi_result *res)
{
	c->st.judged++;
	c->st.records += j->records;
	c->st.bytes += j->bytes;
	c->st.damaged += j->is_damaged;
	if (j->differs)
		c->st.different++;
	else if (j->is_incomplete)
		c->st.incomplete++;
	else
		c->st.same++;
	if (j->differs || j->is_incomplete)
		tell(c, slot, res);
}

/* --- asking -------------------------------------------------------------------------------------------- */
static void on_answer(void *arg, const struct agi_result *res)
{
	struct asking *a = arg;
	struct agi_compare *c = a->c;
	struct judgement j = judge(res);
	const struct timeval pause = {0, PAUSE_MS * 1000};

	a->call = 0;
	if (j.may_pass && ++a->looks < LOOKS_MAX) {
		evtimer_add(a->again, &pause);
		return;
	}
	count(c, a->slot, &j, res);
	a->is_open = false;
	event_active(c->go, EV_TIMEOUT, 0);
}

static void ask(struct asking *a)
{
	struct agi_call call = {.kind = AGI_CALL_DIGEST, .slot = a->slot, .timeout_ms = ASK_MS};

	a->call = agi_dht_host_call(a->c->host, &call, on_answer, a);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask(arg);
}

static void on_go(evutil_socket_t fd, short what, void *arg)
{
	struct agi_compare *c = arg;
	(void)fd;
	(void)what;

	for (int i = 0; i < AT_ONCE && c->next < c->st.slots; i++) {
		struct asking *a = &c->asking[i];

		if (a->is_open)
			continue;
		a->is_open = true;
		a->slot = c->next++;
		a->looks = 0;
		ask(a);
	}
	if (c->st.judged < c->st.slots || c->st.state != AGI_COMPARE_RUNNING)
		return;
	c->st.state = AGI_COMPARE_DONE;
	c->last = c->st;
	c->last_at = (int64_t)(agi_clock_now().wall_ms / 1000);
}

int64_t agi_compare_last(const struct agi_compare *c, struct agi_compare_status *out)
{
	*out = c->last;
	return c->last_at;
}

enum agi_err agi_compare_start(struct agi_compare *c, struct agi_why *why)
{
	struct agi_dht_status st;

	if (c->st.state == AGI_COMPARE_RUNNING)
		return agi_fail(why, AGI_E_FULL, "slots are being compared");
	agi_dht_status(agi_dht_host_core(c->host), &st);
	if (!st.is_joined)
		return agi_fail(why, AGI_E_NOT_READY, "%s", st.phase);
	c->st = (struct agi_compare_status){.state = AGI_COMPARE_RUNNING, .slots = st.slots_total};
	c->next = 0;
	event_active(c->go, EV_TIMEOUT, 0);
	return AGI_OK;
}

void agi_compare_look(const struct agi_compare *c, struct agi_compare_status *out)
{
	*out = c->st;
	out->told = c->told;
}

/* --- life -------------------------------------------------------------------------------------------------- */
enum agi_err agi_compare_new(struct event_base *base, struct agi_dht_host *host, struct agi_compare **out)
{
	struct agi_compare *c = calloc(1, sizeof *c);
	bool ok;

	if (!c)
		return AGI_E_NOMEM;
	c->host = host;
	c->go = event_new(base, -1, 0, on_go, c);
	ok = c->go != NULL;
	for (int i = 0; i < AT_ONCE; i++) {
		c->asking[i].c = c;
		c->asking[i].again = evtimer_new(base, on_again, &c->asking[i]);
		ok = ok && c->asking[i].again;
	}
	if (!ok) {
		agi_compare_free(c);
		return AGI_E_NOMEM;
	}
	*out = c;
	return AGI_OK;
}

void agi_compare_free(struct agi_compare *c)
{
	if (!c)
		return;
	for (int i = 0; i < AT_ONCE; i++) {
		if (c->asking[i].call)
			agi_dht_host_cancel(c->host, c->asking[i].call);
		if (c->asking[i].again)
			event_free(c->asking[i].again);
	}
	if (c->go)
		event_free(c->go);
	free(c);
}
