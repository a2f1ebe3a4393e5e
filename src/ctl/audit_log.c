/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/audit_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agihpc.pb-c.h"
#include "ctl/call.h"

enum { HOST_MS = 3000 /* for one page of one host */, ENTRIES_MAX = 2000000, FINDINGS_MAX = 1000 };

/* --- findings and lists --------------------------------------------------------------------------------------- */
static void *grown(void *list, size_t n, size_t *cap, size_t size)
{
	void *more;

	if (n < *cap)
		return list;
	*cap = *cap ? 2 * *cap : 64;
	more = ctl_alloc(*cap * size);
	if (n)
		memcpy(more, list, n * size);
	free(list);
	return more;
}

static void find(struct ctl_audit *a, const struct agi_id *node, uint64_t life, uint64_t seq, const char *what)
{
	struct agi_buf b;
	char id[AGI_ID_SHORT_HEX];

	if (!a->is_checked || a->n_findings == FINDINGS_MAX)
		return;
	agi_id_short(id, node);
	agi_buf_init(&b, 0);
	agi_buf_printf(&b, "%s: life %" PRIu64 ", entry %" PRIu64 ": %s", id, life, seq, what);
	a->findings = grown(a->findings, a->n_findings, &a->cap_findings, sizeof *a->findings);
	a->findings[a->n_findings++] = ctl_copy(agi_buf_str(&b));
	agi_buf_free(&b);
}

static void add_entry(struct ctl_audit *a, const struct agi_audit_entry *e, struct agi_str bytes, int holder)
{
	struct ctl_audit_entry *n;

	a->entries = grown(a->entries, a->n_entries, &a->cap_entries, sizeof *a->entries);
	n = &a->entries[a->n_entries++];
	*n = (struct ctl_audit_entry){.e = *e, .bytes = {ctl_copy(bytes), bytes.n}, .holder = holder};
	n->e.body.p = n->bytes.p + (bytes.n - e->body.n);
	agi_audit_hash(n->hash, bytes);
}

static struct ctl_audit_life *life_of(const struct ctl_audit *a, const struct agi_id *node, uint64_t incarnation)
{
	for (size_t i = a->n_lives; i-- > 0;)
		if (a->lives[i].incarnation == incarnation && agi_id_eq(&a->lives[i].node, node))
			return &a->lives[i];
	return NULL;
}

static void note_life(struct ctl_audit *a, const struct agi_audit_entry *e)
{
	struct ctl_audit_life *l = life_of(a, &e->node, e->incarnation);

	if (!l) {
		a->lives = grown(a->lives, a->n_lives, &a->cap_lives, sizeof *a->lives);
		l = &a->lives[a->n_lives++];
		*l = (struct ctl_audit_life){.node = e->node, .incarnation = e->incarnation};
	}
	if (e->seq > l->last_seq)
		l->last_seq = e->seq;
}

/* --- what a host sent -------------------------------------------------------------------------------------------- */
static void take_copies(struct ctl_audit *a, size_t host, const struct agi_audit_entry *witness)
{
	struct agi_cur c = agi_cur_of(witness->body);
	struct agi_audit_entry e;
	struct agi_str bytes;

	while (agi_audit_next_entry(&c, &bytes))
		if (agi_audit_decode(&e, bytes) == AGI_OK && e.at_ms >= a->since_ms)
			add_entry(a, &e, bytes, (int)host);
	if (c.bad)
		find(a, &witness->node, witness->incarnation, witness->seq, "copies that cannot be read");
}

static void take_entry(struct ctl_audit *a, size_t host, struct agi_str bytes, const uint8_t *hash, bool with_copies)
{
	struct ctl_audit_host *h = &a->hosts[host];
	struct agi_audit_entry e;
	struct agi_why why = {""};
	enum agi_err err = agi_audit_follow(&h->walk, bytes, hash, &e, &why);

	a->checked++;
	if (err == AGI_E_MALFORMED) {
		find(a, &h->id, h->walk.incarnation, h->walk.seq, "what follows it is no entry");
		return;
	}
	if (!err && e.kind == AGI_AUDIT_DECISION && a->is_checked)
		err = agi_audit_check_decision(&e, a->known, a->n_known, &why);
	if (!err && e.kind == AGI_AUDIT_PROOFS)
		err = agi_proof_follow(&h->proofs, e.body, &why);
	if (err)
		find(a, &e.node, e.incarnation, e.seq, why.text);
	note_life(a, &e);
	if (!h->has_oldest) {
		h->has_oldest = true;
		h->oldest_life = e.incarnation;
		h->oldest_seq = e.seq;
	}
	if (e.kind != AGI_AUDIT_WITNESS)
		add_entry(a, &e, bytes, -1);
	else if (with_copies)
		take_copies(a, host, &e);
}

static void take_page(struct ctl_audit *a, size_t host, const Agihpc__V1__AuditPage *page, bool with_copies)
{
	struct ctl_audit_host *h = &a->hosts[host];
	struct agi_cur c = agi_cur_of(ctl_str(page->records));
	const uint8_t *hash;
	struct agi_str bytes;

	while (agi_audit_next_record(&c, &bytes, &hash))
		take_entry(a, host, bytes, hash, with_copies);
	if (c.bad)
		find(a, &h->id, h->walk.incarnation, h->walk.seq, "what follows it in the node's answer cannot be read");
	if (page->damage.len) {
		char *text = ctl_copy(ctl_str(page->damage));

		find(a, &h->id, h->walk.incarnation, h->walk.seq, text);
		free(text);
		h->walk.has_last = false;
	}
	free((char *)(uintptr_t)h->cursor.p);
	h->cursor = (struct agi_str){ctl_copy(ctl_str(page->cursor)), page->cursor.len};
	h->has_more = page->has_more;
}

/* --- asking -------------------------------------------------------------------------------------------------------- */
static void take_answer(struct ctl_audit *a, size_t host, struct ctl_call *call, bool with_copies)
{
	struct ctl_audit_host *h = &a->hosts[host];

	if (call->status == AGI_GRPC_OK) {
		take_page(a, host, (const Agihpc__V1__AuditPage *)call->res, with_copies);
		return;
	}
	h->has_more = false;
	if (call->status != AGI_GRPC_NOT_FOUND) /* it keeps no log: nothing of its own, and so it is compared */
		h->why = ctl_copy(agi_str_of(call->message[0] ? call->message : agi_grpc_status_name(call->status)));
}

/* One page of each host that has more. */
static void ask_round(struct ctl *c, struct ctl_audit *a, bool with_copies)
{
	struct ctl_call *calls = ctl_alloc(a->n_hosts * sizeof *calls);
	Agihpc__V1__AuditRequest *reqs = ctl_alloc(a->n_hosts * sizeof *reqs);
	size_t *of = ctl_alloc(a->n_hosts * sizeof *of), n = 0;
	uint32_t left = ctl_left_ms(c);

	for (size_t i = 0; i < a->n_hosts; i++) {
		if (!a->hosts[i].has_more)
			continue;
		reqs[n] = (Agihpc__V1__AuditRequest)AGIHPC__V1__AUDIT_REQUEST__INIT;
		/* from the first one of that time on, all: clocks may have been set back since */
		reqs[n].since_ms = a->hosts[i].walk.has_last ? 0 : a->since_ms;
		reqs[n].cursor = ctl_bin(a->hosts[i].cursor);
		calls[n] = (struct ctl_call)CTL_CALL("agihpc.v1.AuditService/Read", &reqs[n],
		                                     agihpc__v1__audit_page__descriptor);
		calls[n].target = a->hosts[i].target;
		of[n++] = i;
	}
	ctl_calls_run(c, calls, n, left < HOST_MS ? left : HOST_MS);
	for (size_t i = 0; i < n; i++) {
		take_answer(a, of[i], &calls[i], with_copies);
		ctl_call_clear(&calls[i]);
	}
	free(calls);
	free(reqs);
	free(of);
}

static bool has_more(const struct ctl_audit *a)
{
	for (size_t i = 0; i < a->n_hosts; i++)
		if (a->hosts[i].has_more)
			return true;
	return false;
}

static enum ctl_exit read_all(struct ctl *c, struct ctl_audit *a, bool with_copies)
{
	while (has_more(a)) {
		if (ctl_now_us() >= c->deadline_us)
			return ctl_error(c, CTL_UNAVAILABLE, "not all could be read in time: give more with -t, or a later --since");
		if (a->n_entries > ENTRIES_MAX)
			return ctl_error(c, CTL_FAILED, "more than %d entries: give a later --since", ENTRIES_MAX);
		ask_round(c, a, with_copies);
	}
	return CTL_OK;
}

static enum ctl_exit find_hosts(struct ctl *c, struct ctl_audit *a)
{
	Agihpc__V1__MembersRequest req = AGIHPC__V1__MEMBERS_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Members", &req, agihpc__v1__members_response__descriptor);
	const Agihpc__V1__MembersResponse *res;
	enum ctl_exit code = ctl_ask(c, &call);

	if (code == CTL_OK) {
		res = (const Agihpc__V1__MembersResponse *)call.res;
		a->hosts = ctl_alloc((res->n_members + 1) * sizeof *a->hosts);
		for (size_t i = 0; i < res->n_members; i++) {
			struct ctl_audit_host *h = &a->hosts[a->n_hosts];

			*h = (struct ctl_audit_host){.has_more = true};
			if (agi_id_parse(&h->id, ctl_str(res->members[i]->node_id)))
				continue;
			h->target = ctl_copy(i ? ctl_str(res->members[i]->address) : agi_str_of(c->node));
			a->n_hosts++;
		}
	}
	ctl_call_clear(&call);
	return code;
}

enum ctl_exit ctl_audit_collect(struct ctl *c, struct ctl_audit *a)
{
	enum ctl_exit code = find_hosts(c, a);

	if (code == CTL_OK)
		code = read_all(c, a, true);
	/* Entries are in their own host's log before anybody keeps a copy: what has come since the first look, too. */
	for (size_t i = 0; i < a->n_hosts; i++)
		a->hosts[i].has_more = !a->hosts[i].why;
	return code == CTL_OK ? read_all(c, a, false) : code;
}

/* --- comparing ------------------------------------------------------------------------------------------------------- */
static int by_place(const void *x, const void *y)
{
	const struct ctl_audit_entry *a = x, *b = y;
	int d = agi_id_cmp(&a->e.node, &b->e.node);

	if (d)
		return d;
	if (a->e.incarnation != b->e.incarnation)
		return a->e.incarnation < b->e.incarnation ? -1 : 1;
	if (a->e.seq != b->e.seq)
		return a->e.seq < b->e.seq ? -1 : 1;
	return (a->holder > b->holder) - (a->holder < b->holder);
}

static const struct ctl_audit_host *host_of(const struct ctl_audit *a, const struct agi_id *node)
{
	for (size_t i = 0; i < a->n_hosts; i++)
		if (agi_id_eq(&a->hosts[i].id, node))
			return &a->hosts[i];
	return NULL;
}

static void find_at(struct ctl_audit *a, const struct ctl_audit_entry *copy, const char *what)
{
	char id[AGI_ID_SHORT_HEX], text[200];

	agi_id_short(id, &a->hosts[copy->holder].id);
	snprintf(text, sizeof text, "%s (copy at %s)", what, id);
	find(a, &copy->e.node, copy->e.incarnation, copy->e.seq, text);
}

/* A copy of what its own host's log does not have. */
static void judge_missing(struct ctl_audit *a, const struct ctl_audit_entry *copy)
{
	const struct ctl_audit_host *h = host_of(a, &copy->e.node);
	const struct ctl_audit_life *l = life_of(a, &copy->e.node, copy->e.incarnation);
	char what[120];

	if (!h || h->why)
		return; /* nothing to compare with */
	if (h->has_oldest && (copy->e.incarnation < h->oldest_life ||
	                      (copy->e.incarnation == h->oldest_life && copy->e.seq < h->oldest_seq)))
		return; /* it keeps its newest entries only */
	if (l && copy->e.seq > l->last_seq)
		snprintf(what, sizeof what, "truncated: its own log of that life ends at entry %" PRIu64, l->last_seq);
	else
		snprintf(what, sizeof what, l ? "missing in its own log" : "truncated: its own log has nothing of that life");
	find_at(a, copy, what);
}

/* The entries of one number: its own host's, if that is here, then copies. */
static void judge_group(struct ctl_audit *a, size_t from, size_t to)
{
	struct ctl_audit_entry *first = &a->entries[from];
	struct agi_why why = {""};

	first->is_shown = true;
	first->copies = (uint32_t)(to - from) - (first->holder < 0);
	if (!a->is_checked)
		return;
	if (first->holder >= 0) {
		judge_missing(a, first);
		if (first->e.kind == AGI_AUDIT_DECISION &&
		    agi_audit_check_decision(&first->e, a->known, a->n_known, &why))
			find_at(a, first, why.text);
	}
	for (size_t i = from + 1; i < to; i++)
		if (memcmp(a->entries[i].hash, first->hash, AGI_AUDIT_HASH) != 0 && a->entries[i].holder >= 0)
			find_at(a, &a->entries[i], first->holder < 0 ? "changed: its own log and a copy differ"
			                                             : "changed: two copies differ");
}

void ctl_audit_compare(struct ctl_audit *a)
{
	size_t from = 0;

	if (a->n_entries)
		qsort(a->entries, a->n_entries, sizeof *a->entries, by_place);
	while (from < a->n_entries) {
		size_t to = from + 1;

		while (to < a->n_entries && a->entries[to].e.seq == a->entries[from].e.seq &&
		       a->entries[to].e.incarnation == a->entries[from].e.incarnation &&
		       agi_id_eq(&a->entries[to].e.node, &a->entries[from].e.node))
			to++;
		judge_group(a, from, to);
		from = to;
	}
}

size_t ctl_audit_missing(const struct ctl_audit *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_hosts; i++)
		n += a->hosts[i].why != NULL;
	return n;
}

void ctl_audit_free(struct ctl_audit *a)
{
	for (size_t i = 0; i < a->n_hosts; i++) {
		free(a->hosts[i].target);
		free(a->hosts[i].why);
		free((char *)(uintptr_t)a->hosts[i].cursor.p);
	}
	for (size_t i = 0; i < a->n_entries; i++)
		free((char *)(uintptr_t)a->entries[i].bytes.p);
	for (size_t i = 0; i < a->n_findings; i++)
		free(a->findings[i]);
	free(a->hosts);
	free(a->entries);
	free(a->lives);
	free(a->findings);
}
