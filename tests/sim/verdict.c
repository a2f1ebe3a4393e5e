/* SPDX-License-Identifier: Apache-2.0 */
#include "verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clients.h"
#include "faults.h"
#include "replicas.h"

enum { SECOND = 1000000, SETTLE_SECONDS = 240, ALIKE_SECONDS = 120, ATTEMPTS = 5, ATTEMPT_MS = 4500, STEP_MS = 20, WANTED = 3 };

/* --- settled ------------------------------------------------------------------------------------------ */

static bool is_node_settled(const struct sim_world *w, uint32_t i)
{
	struct agi_dht_status st;
	struct agi_dht_moves m;

	if (!w->node[i].dht)
		return false;
	agi_dht_status(w->node[i].dht, &st);
	agi_dht_moves(w->node[i].dht, &m);
	return st.is_ready && st.members_up == w->cfg.nodes - 1 && !st.reconfigs && !st.hints &&
	       !st.slots_joining && !st.slots_sealed && !st.slots_leaving && !m.copies && m.is_settled;
}

/* Every member of every slot's newest view is active, and the view is as ideal as the hosts allow. */
bool sim_is_settled(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (!is_node_settled(w, i))
			return false;
	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		uint32_t active = 0;

		for (uint32_t i = 0; i < w->cfg.nodes; i++) {
			enum agi_view_phase phase;
			struct agi_view v;

			active += agi_dht_slot(w->node[i].dht, s, &v, &phase) && phase == AGI_VIEW_ACTIVE;
		}
		if (active != (w->cfg.nodes < WANTED ? w->cfg.nodes : WANTED))
			return false;
	}
	return true;
}

static void explain_unsettled(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		struct agi_dht_status st;

		agi_dht_status(w->node[i].dht, &st);
		sim_say(w, "node %u: ready %d up %u active %u joining %u sealed %u leaving %u hints %u reconfigs %u (%s)",
		        i, st.is_ready, st.members_up, st.slots_active, st.slots_joining, st.slots_sealed,
		        st.slots_leaving, st.hints, st.reconfigs, st.phase);
	}
	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		for (uint32_t i = 0; i < w->cfg.nodes; i++) {
			enum agi_view_phase phase;
			struct agi_view v;

			if (agi_dht_slot(w->node[i].dht, s, &v, &phase) && phase != AGI_VIEW_FORWARD)
				sim_say(w, "slot %u: node %u %s at epoch %" PRIu64 " with %u members", s, i,
				        agi_view_phase_name(phase), v.epoch, v.n_members);
		}
	}
}

static void settle(struct sim_world *w)
{
	for (int s = 0; s < SETTLE_SECONDS && !w->failure[0] && !sim_is_settled(w); s++) {
		sim_faults_restaff(w);
		sim_run_until(w, w->now_us + SECOND);
	}
	if (w->failure[0] || sim_is_settled(w))
		return;
	explain_unsettled(w);
	sim_fail(w, "the cluster did not settle within %d s after healing", SETTLE_SECONDS);
}

/* --- what is on the disks ---------------------------------------------------------------------------------- */

/* Who is no member of a slot has released its data. */
static void check_released(struct sim_world *w, uint32_t node, enum agi_cf cf)
{
	const struct sim_table *t = &w->node[node].disk.cf[cf];

	for (size_t i = 0; i < t->n; i++) {
		struct agi_cur c = agi_cur_of(t->e[i].key);
		uint32_t slot = agi_cur_u32(&c);
		enum agi_view_phase phase = AGI_VIEW_NONE;
		struct agi_view v;

		if (!agi_dht_slot(w->node[node].dht, slot, &v, &phase) || phase != AGI_VIEW_ACTIVE)
			sim_fail(w, "node %u keeps data of slot %u, of which it is no member", node, slot);
	}
}

/* --- every slot serves ---------------------------------------------------------------------------------------- */

typedef void start_fn(struct sim_world *w, uint32_t what, uint32_t node, int *outcome);

/* Asks for all of them at once, and again for those that were not answered. */
static void demand(struct sim_world *w, start_fn *start, uint32_t n, const char *what)
{
	uint32_t open = n;

	memset(w->outcome, 0, sizeof w->outcome);
	for (int attempt = 0; attempt < ATTEMPTS && open && !w->failure[0]; attempt++) {
		uint64_t until = w->now_us + ATTEMPT_MS * 1000;

		for (uint32_t i = 0; i < n && !w->failure[0]; i++)
			if (!w->outcome[i])
				start(w, i, (uint32_t)agi_prng_below(&w->prng, w->cfg.nodes), &w->outcome[i]);
		while (open && w->now_us < until && !w->failure[0]) {
			sim_run_until(w, w->now_us + STEP_MS * 1000);
			open = 0;
			for (uint32_t i = 0; i < n; i++)
				open += !w->outcome[i];
		}
	}
	for (uint32_t i = 0; i < n && open && !w->failure[0]; i++)
		if (!w->outcome[i])
			sim_fail(w, "%s %u is not answered after everything healed", what, i);
}

static void tell_history(struct sim_world *w, const struct lin_history *h)
{
	static const char *const names[] = {"none", "get", "put", "delete", "cas", "add"};

	for (size_t i = 0; i < h->n; i++) {
		const struct lin_op *op = &h->op[i];

		if (op->kind != LIN_NONE)
			sim_say(w, "  %12.6f .. %12.6f %-6s arg %" PRIu64 " expected %" PRIu64 " result %" PRIu64
			        " saw %" PRIu64 " version %" PRIx64 "%s",
			        (double)op->start / 1e6, op->end == LIN_PENDING ? 0 : (double)op->end / 1e6,
			        names[op->kind], op->arg, op->expected, op->result, op->saw, op->version,
			        op->end == LIN_PENDING ? " (unknown)" : "");
	}
}

static void check_histories(struct sim_world *w)
{
	for (uint32_t r = 0; r < SIM_REGISTERS && !w->failure[0]; r++) {
		enum lin_answer answer = lin_check(&w->reg[r].history);

		if (answer == LIN_YES)
			continue;
		tell_history(w, &w->reg[r].history);
		w->is_undecided = answer == LIN_UNDECIDED;
		sim_fail(w, "register %u: its history of %zu operations %s", r, w->reg[r].history.n,
		         answer == LIN_NO ? "is not linearizable"
		                          : "is undecided: the checker was cut off (TRIED_MAX of history.c), no breach is known");
	}
}

/* Whatever a node missed, it gets. */
static void check_replicas(struct sim_world *w)
{
	char why[200] = "";

	for (int s = 0; s < ALIKE_SECONDS && !w->failure[0] && !sim_replicas_are_equal(w, why); s++)
		sim_run_until(w, w->now_us + SECOND);
	if (!w->failure[0] && !sim_replicas_are_equal(w, why))
		sim_fail(w, "%d s after the last write: %s", ALIKE_SECONDS, why);
}

void sim_verdict(struct sim_world *w)
{
	settle(w);
	for (uint32_t i = 0; i < w->cfg.nodes && !w->failure[0]; i++) {
		check_released(w, i, AGI_CF_ITEMS);
		check_released(w, i, AGI_CF_STRONG);
	}
	demand(w, sim_client_final_read, SIM_KEYS, "a read of key");
	demand(w, sim_client_final_write, SIM_KEYS, "a write of key");
	for (int round = 0; round < 4; round++)
		demand(w, sim_client_final_strong, SIM_REGISTERS, "an operation on register");
	check_histories(w);
	check_replicas(w);
}
