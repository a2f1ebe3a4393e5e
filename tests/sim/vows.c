/* SPDX-License-Identifier: Apache-2.0 */
#include "vows.h"

#include "dht/state.h"

#include <inttypes.h>
#include <string.h>

/* The request's place by who asks and its number. A newer one may take the place: then its answer
 * goes unseen. */
static struct sim_request *place_of(struct sim_world *w, const struct sim_node *asker,
				    uint64_t rpc_id)
{
	uint64_t h = (rpc_id ^ (uint64_t)asker->index << 56) * 0x9e3779b97f4a7c15u;

	return &w->request[h >> 32 & (SIM_REQUESTS - 1)];
}

static uint64_t key_of(const struct agi_msg *m)
{
	struct agi_str ns = m->n_items ? m->items[0].ns : m->ns,
		       key = m->n_items ? m->items[0].key : m->key;
	uint64_t h = m->slot + 1;

	for (size_t i = 0; i < ns.n; i++)
		h = (h ^ (uint8_t)ns.p[i]) * 0x100000001b3u;
	for (size_t i = 0; i < key.n; i++)
		h = (h ^ (uint8_t)key.p[i]) * 0x100000001b3u;
	return h | 1;
}

/* The write that a request was part of; NULL = the leader has written the key again since, or
 * another one. */
static struct sim_reg_write *write_of(struct sim_world *w, const struct sim_request *q)
{
	struct sim_reg_write *e = &w->reg_write[q->key % SIM_REG_WRITES];

	return e->key == q->key && e->epoch == q->epoch && e->seq == q->seq &&
		       agi_ballot_cmp(&e->ballot, &q->ballot) == 0
		   ? e
		   : NULL;
}

static void note_request(struct sim_node *asker, const struct agi_msg *m)
{
	struct sim_request *q = place_of(asker->w, asker, m->rpc_id);
	struct sim_reg_write *lost = q->kind == AGI_MSG_REG_WRITE ? write_of(asker->w, q) : NULL;

	if (lost && q->rpc_id != m->rpc_id)
		lost->key = 0; /* its answer will not be understood: nothing can be said of it */
	*q = (struct sim_request){asker->id, m->rpc_id, m->kind,   m->slot,
				  m->epoch,  m->ballot, key_of(m), m->seq};
}

static const struct sim_request *request_of(const struct sim_node *asker,
					    const struct agi_msg *answer, enum agi_msg_kind kind)
{
	const struct sim_request *q = place_of(asker->w, asker, answer->rpc_id);

	return q->rpc_id == answer->rpc_id && q->kind == kind && agi_id_eq(&q->asker, &asker->id)
		   ? q
		   : NULL;
}

/* What the node has told of this epoch of the slot. */
static struct sim_vow *vow_of(struct sim_node *n, const struct sim_request *q)
{
	struct sim_vow *v = &n->w->vow[n->index][q->slot];

	if (v->epoch != q->epoch || v->identity != n->identity)
		*v = (struct sim_vow){.epoch = q->epoch, .identity = n->identity};
	return v;
}

static void keep(struct sim_node *n, struct agi_ballot *told, const struct sim_request *q,
		 const char *what, bool may_repeat)
{
	int order = agi_ballot_cmp(&q->ballot, told);

	if (order < 0 || (order == 0 && !may_repeat))
		sim_fail(n->w,
			 "node %u slot %u epoch %" PRIu64 ": %s in round %" PRIu64
			 ", having promised round %" PRIu64,
			 n->index, q->slot, q->epoch, what, q->ballot.round, told->round);
	else
		*told = q->ballot;
}

/* A leader's read counts as its prepare; it may be answered after a later leader's. */
static void raise_to(struct agi_ballot *told, const struct agi_ballot *b)
{
	if (agi_ballot_cmp(b, told) > 0)
		*told = *b;
}

static bool is_at(const struct sim_proposal *p, uint64_t epoch, const struct agi_ballot *b)
{
	return p->epoch == epoch && agi_ballot_cmp(&p->ballot, b) == 0;
}

/* Once a view is chosen, every later round of its epoch proposes it again. */
static void propose(struct sim_node *n, const struct agi_msg *m)
{
	struct sim_proposal *p = n->w->proposed[m->slot],
			    now = {m->epoch, sim_view_hash(&m->view), 0, m->ballot};
	const struct sim_proposal *chosen = &n->w->chosen[m->slot];

	if (chosen->epoch == m->epoch && chosen->hash != now.hash &&
	    agi_ballot_cmp(&m->ballot, &chosen->ballot) > 0)
		sim_fail(n->w,
			 "node %u slot %u epoch %" PRIu64 ": round %" PRIu64
			 " proposes another view than was chosen in "
			 "round %" PRIu64,
			 n->index, m->slot, m->epoch, m->ballot.round, chosen->ballot.round);
	for (int i = 0; i < SIM_PROPOSALS; i++)
		if (is_at(&p[i], m->epoch, &m->ballot))
			return;
	n->w->stats.rival_views += p[0].epoch == m->epoch && p[0].hash != now.hash;
	memmove(p + 1, p, (SIM_PROPOSALS - 1) * sizeof *p);
	p[0] = now;
}

/* How many decide about the view after this epoch; 0 = this node does not know any more. */
static uint32_t n_voters(const struct sim_node *n, uint32_t slot, uint64_t epoch)
{
	const struct agi_slot *s = agi_slot_find(n->dht, slot);

	if (s && s->view.epoch == epoch)
		return s->view.n_members;
	return s && s->view.epoch == epoch + 1 ? s->n_prev : 0;
}

static void accept(struct sim_node *n, const struct sim_request *q)
{
	struct sim_proposal *p = n->w->proposed[q->slot], *chosen = &n->w->chosen[q->slot];
	uint32_t voters = n_voters(n, q->slot, q->epoch);

	for (int i = 0; i < SIM_PROPOSALS; i++) {
		if (!is_at(&p[i], q->epoch, &q->ballot))
			continue;
		p[i].who |= (uint64_t)1 << n->index;
		if (voters && (uint32_t)__builtin_popcountll(p[i].who) >= agi_majority(voters) &&
		    q->epoch > chosen->epoch)
			*chosen = p[i];
	}
}

/* --- a leader's writes
 * ------------------------------------------------------------------------------------------ */

static void write_asked(struct sim_node *n, const struct sim_node *to, const struct agi_msg *m)
{
	struct sim_request q = {
	    .epoch = m->epoch, .ballot = m->ballot, .key = key_of(m), .seq = m->seq};
	struct sim_reg_write *e = write_of(n->w, &q);

	if (!e) {
		e = &n->w->reg_write[q.key % SIM_REG_WRITES];
		*e = (struct sim_reg_write){
		    .key = q.key, .seq = m->seq, .epoch = m->epoch, .ballot = m->ballot};
	}
	e->asked |= (uint64_t)1 << to->index;
}

static void write_answered(struct sim_node *from, const struct sim_request *q, bool is_done)
{
	struct sim_reg_write *e = write_of(from->w, q);

	if (e)
		*(is_done ? &e->done : &e->refused) |= (uint64_t)1 << from->index;
}

/* What a leader reads it builds on: no write of its own under the same ballot may come behind it.
 */
static void read_asked(struct sim_node *n, const struct agi_msg *m)
{
	uint64_t key = key_of(m);
	const struct sim_reg_write *e = &n->w->reg_write[key % SIM_REG_WRITES];
	uint32_t need = agi_majority(n_voters(n, m->slot, m->epoch));

	if (e->key != key || e->epoch != m->epoch || agi_ballot_cmp(&e->ballot, &m->ballot) != 0)
		return;
	if ((uint32_t)__builtin_popcountll(e->done) < need &&
	    (uint32_t)__builtin_popcountll(e->asked & ~e->refused) >= need)
		sim_fail(n->w,
			 "node %u slot %u: reads in round %" PRIu64 ", in which its write %" PRIu64
			 " of the key may still "
			 "arrive",
			 n->index, m->slot, m->ballot.round, e->seq);
}

/* --- everything that is sent
 * ------------------------------------------------------------------------------------ */

void sim_vows_look(struct sim_node *from, const struct sim_node *to, const struct agi_msg *m)
{
	const struct sim_request *q;

	switch (m->kind) {
	case AGI_MSG_VIEW_ACCEPT:
		propose(from, m);
		note_request(from, m);
		return;
	case AGI_MSG_REG_READ:
		if (m->ballot.round)
			read_asked(from, m);
		note_request(from, m);
		return;
	case AGI_MSG_REG_WRITE:
		note_request(from, m);
		write_asked(from, to, m);
		return;
	case AGI_MSG_VIEW_PREPARE:
	case AGI_MSG_LEAD:
		note_request(from, m);
		return;
	default:
		break;
	}
	if (m->kind == AGI_MSG_REG_ACK && (q = request_of(to, m, AGI_MSG_REG_WRITE)))
		write_answered(from, q, m->status == AGI_OK);
	if (m->status != AGI_OK)
		return;
	if (m->kind == AGI_MSG_VIEW_PROMISE && (q = request_of(to, m, AGI_MSG_VIEW_PREPARE)))
		keep(from, &vow_of(from, q)->view, q, "promises a proposer", false);
	else if (m->kind == AGI_MSG_VIEW_ACCEPTED && (q = request_of(to, m, AGI_MSG_VIEW_ACCEPT)))
		keep(from, &vow_of(from, q)->view, q, "accepts a view", true), accept(from, q);
	else if (m->kind == AGI_MSG_REG_STATE && (q = request_of(to, m, AGI_MSG_REG_READ)))
		raise_to(&vow_of(from, q)->lead, &q->ballot);
	else if (m->kind == AGI_MSG_LED && (q = request_of(to, m, AGI_MSG_LEAD)))
		keep(from, &vow_of(from, q)->lead, q, "promises a leader", false);
	else if (m->kind == AGI_MSG_REG_ACK && (q = request_of(to, m, AGI_MSG_REG_WRITE)))
		keep(from, &vow_of(from, q)->lead, q, "accepts a register write", true);
}
