/* SPDX-License-Identifier: Apache-2.0
 * A host that leaves holds nothing any more; may it go? Not while a slot still counts on it: a view that names it may be
 * proposed, by a member that is stopped at this moment, or be decided, and it was not told yet. A view of two of which
 * one has gone for good never has a majority again.
 *
 * So it asks the other hosts, round after round. Each looks at the slots it holds, which is where views and proposals
 * are on the disk, and agrees when none of them names the leaving host. From then on, knowing that host's weight 0, it
 * accepts no new proposal that takes it in (one that somebody has accepted before may have been chosen, and is accepted).
 * So after a round in which all agreed nothing new can come; a second one finds what was decided during the first.
 *
 * A host that is down is waited for, as long as it may be a member of something: when it has been down for longer than
 * down_after, and the others, more than half of all hosts, hold no slot together with it any more, its word is not
 * needed. A leave by force does not wait for such a host at all. */
#include <stdlib.h>

#include "dht/state.h"

enum { ROUNDS = 2 };

/* --- asked ----------------------------------------------------------------------------------------------- */

static bool names(const struct agi_slot *s, const struct agi_id *id)
{
	return agi_view_has(&s->view, id) || (s->accepted.round && agi_view_has(&s->proposal, id));
}

/* A node whose disk takes no writes never gets rid of what it should hand over, and hears no news of it; those that
 * decided on that view know as much. */
static bool is_witness(const struct agi_dht *d, const struct agi_slot *s)
{
	return agi_slot_is_held(s) && !(d->is_read_only && s->phase == AGI_VIEW_LEAVING);
}

static bool needs_any(const struct agi_dht *d, const struct agi_slot *s, const struct agi_id *leaving,
                      const struct agi_msg *m)
{
	if (!is_witness(d, s))
		return false;
	for (uint8_t i = 0; i < m->n_sources; i++)
		if (names(s, &m->sources[i]))
			return true;
	return names(s, leaving);
}

void agi_farewell_on_ask(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_FAREWELL_ACK};
	struct agi_host *h = agi_hosts_find(d, &from->id);

	if (h && h->c.weight_milli)
		out.status = AGI_E_NOT_READY; /* not heard of it yet: could still take it in */
	for (uint32_t i = 0; i < d->slots.n && out.status == AGI_OK; i++) {
		if (!needs_any(d, d->slots.by_number[i], &from->id, m))
			continue;
		out.status = AGI_E_SEALED;
		out.slot = i;
	}
	agi_answer(d, from, m, &out);
}

bool agi_farewell_permits(struct agi_dht *d, const struct agi_view *present, const struct agi_view *next)
{
	for (uint8_t i = 0; i < next->n_members; i++) {
		struct agi_host *h = agi_hosts_find(d, &next->members[i]);

		if (!agi_view_has(present, &next->members[i]) && (!h || h->c.weight_milli == 0))
			return false;
	}
	return true;
}

/* --- asking ---------------------------------------------------------------------------------------------- */

static void refused_by(struct agi_dht *d, const struct agi_peer *peer, const char *why)
{
	struct agi_farewell *f = &d->drain.farewell;
	char addr[AGI_ADDR_TEXT];
	struct agi_buf b;

	f->is_refused = true;
	agi_addr_format(addr, &peer->addr);
	agi_buf_init(&b, 0);
	agi_buf_printf(&b, "leaves, %s %s", addr, why);
	if (!b.err) {
		size_t n = b.n < sizeof f->waits_for - 1 ? b.n : sizeof f->waits_for - 1;

		memcpy(f->waits_for, b.p, n);
		f->waits_for[n] = '\0';
	}
	agi_buf_free(&b);
}

static void end_round(struct agi_dht *d)
{
	struct agi_farewell *f = &d->drain.farewell;

	f->n_clean = f->is_refused ? 0 : (uint8_t)(f->n_clean + 1);
	if (!f->is_refused)
		f->waits_for[0] = '\0';
}

static void on_answer(struct agi_dht *d, void *arg, uint32_t round, enum agi_err err, const struct agi_peer *from,
                      const struct agi_msg *m)
{
	struct agi_farewell *f = &d->drain.farewell;
	bool is_yes = err == AGI_E_UNSUPPORTED || (err == AGI_OK && m->kind == AGI_MSG_FAREWELL_ACK && m->status == AGI_OK);

	(void)arg;
	if (round != f->round)
		return;
	if (!is_yes && err == AGI_OK)
		refused_by(d, from, m->status == AGI_E_SEALED ? "still needs it" : "has not heard of it yet");
	else if (!is_yes)
		refused_by(d, from, "does not answer");
	if (--f->waiting == 0)
		end_round(d);
}

/* Its answer is not to be had. */
static bool is_out_of_reach(const struct agi_host *h) { return h->state == AGI_MEMBER_DOWN && !h->is_in_ring; }

/* Whose word is to be replaced by what the others say; false: too many are out of reach. */
static bool name_unreachable(struct agi_dht *d, struct agi_msg *m)
{
	uint32_t n_out = 0, n = HASH_COUNT(d->hosts.by_id) + 1;
	struct agi_host *h, *tmp;

	if (d->drain.flags & AGI_DRAIN_FORCED)
		return true;
	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		if (!is_out_of_reach(h))
			continue;
		if (++n_out > AGI_REPLICAS_MAX || n - n_out < agi_majority(n)) {
			refused_by(d, &(struct agi_peer){h->c.id, h->c.addr}, "is down");
			return false;
		}
		m->sources[m->n_sources++] = h->c.id;
	}
	return true;
}

static void ask_all(struct agi_dht *d, struct agi_msg *m)
{
	struct agi_farewell *f = &d->drain.farewell;
	struct agi_host *h, *tmp;

	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		struct agi_peer to = {h->c.id, h->c.addr};

		if (is_out_of_reach(h))
			continue;
		if (agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, m, AGI_RPC_TIMEOUT_MS, on_answer, NULL, f->round))
			f->waiting++;
		else
			f->is_refused = true;
	}
}

bool agi_farewell_is_permitted(struct agi_dht *d)
{
	struct agi_farewell *f = &d->drain.farewell;
	struct agi_msg m = {.kind = AGI_MSG_FAREWELL};

	if (f->n_clean >= ROUNDS || AGI_MUTANT(LEAVE_UNASKED))
		return true;
	if (f->waiting)
		return false;
	f->round++;
	f->is_refused = false;
	if (name_unreachable(d, &m))
		ask_all(d, &m);
	if (f->waiting == 0)
		end_round(d);
	return false;
}

void agi_farewell_reset(struct agi_dht *d)
{
	uint32_t round = d->drain.farewell.round;

	d->drain.farewell = (struct agi_farewell){.round = round + 1};
}
