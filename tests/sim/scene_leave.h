/* SPDX-License-Identifier: Apache-2.0
 * A host leaves while a proposal names it: a test of its own (test_reconf.c), and what a deliberate error has to fear that random
 * faults hardly meet (test_mutants.c). Include it after cmocka. */
#ifndef SIM_SCENE_LEAVE_H
#define SIM_SCENE_LEAVE_H

#include "dht/reconf.h"
#include "dht/state.h"
#include "scene.h"

/* This node's own idea of the slot's next view, past the plan. */
static inline void propose(struct sim_world *w, uint32_t node, uint32_t slot, const uint32_t *members, uint8_t n)
{
	struct sim_node *by = &w->node[node];
	struct agi_slot *s = agi_slot_find(by->dht, slot);
	struct agi_view next = {.slot = slot, .epoch = s->view.epoch + 1, .n_members = n};

	for (uint8_t i = 0; i < n; i++)
		next.members[i] = w->node[members[i]].id;
	agi_clock_enter(by->dht, sim_now(by));
	agi_reconf_abort(by->dht, s);
	agi_reconf_propose(by->dht, s, &next);
	sim_rearm(by);
}

static inline enum agi_view_phase phase_of(struct sim_world *w, uint32_t node, uint32_t slot)
{
	struct agi_view v;
	enum agi_view_phase p = AGI_VIEW_NONE;

	(void)agi_dht_slot(w->node[node].dht, slot, &v, &p);
	return p;
}

static inline void seal_by(struct sim_world *w, uint32_t node, uint32_t slot, const uint32_t *members, uint8_t n)
{
	propose(w, node, slot, members, n);
	for (int i = 0; i < 1000 && phase_of(w, node, slot) != AGI_VIEW_SEALED; i++)
		run_ms(w, 1);
	assert_int_equal(phase_of(w, node, slot), AGI_VIEW_SEALED);
	run_ms(w, 50); /* it is on the disk */
}

/* A view of two of which one has left for good would never have a majority again. Here the only one that knows of the
 * proposal stands still. */
static inline void scene_of_a_leave(void)
{
	static const uint32_t members[] = {0, 2};
	struct sim_world *w = cluster_of(3, 2, 1, 12);

	fill(w, 0, "kept");
	sim_start_node(w, 2);
	for (int i = 0; i < 200 && !(status(w, 2).is_ready && status(w, 2).members_up == 2 && do_all_know(w, 3)); i++)
		run_ms(w, 5);
	w->held_kind = AGI_MSG_VIEW_ACCEPT;
	w->held_to = 1 + 1;
	w->held_us = (uint64_t)10000 * SECOND;
	seal_by(w, 0, 0, members, 2);
	sim_crash_node(w, 0);
	assert_int_equal(order(w, 2, AGI_CALL_LEAVE, true), AGI_OK);
	run_ms(w, 15000); /* down_after is 20 s */
	assert_false(status(w, 2).is_left);
	assert_string_equal(status(w, 2).phase, "leaves, 10.0.0.1:5000 does not answer");
	w->held_us = 0;
	sim_start_node(w, 0);
	for (int s = 0; s < 240 && !status(w, 2).is_left; s++)
		run_ms(w, 500);
	assert_true(status(w, 2).is_left);
	settle(w, 2);
	check_filled(w, 1, "kept");
	end(w);
}

#endif
