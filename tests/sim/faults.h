/* SPDX-License-Identifier: Apache-2.0
 * What goes wrong in a simulated cluster: cfg.faults says which kinds, chance when. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "world.h"

/* Faults that last the whole run. */
void sim_faults_begin(struct sim_world *w);
/* One thing goes wrong or is mended; queues the next. */
void sim_faults_step(struct sim_world *w);
/* The node loses power in the middle of its disk's work, and comes back later. */
void sim_faults_store_crash(struct sim_world *w, uint32_t node);
/* Sees to nodes that have left or are still drained. */
void sim_faults_restaff(struct sim_world *w);
/* Everything that was broken works again, and nothing new breaks. Nodes that are down are started. */
void sim_faults_end(struct sim_world *w);

/* --- rivals (rivals.c): nothing depends on there being one leader or one proposer --- */
/* Members of some slot propose next views at once, each one of its own. */
void sim_rivals_propose(struct sim_world *w);
void sim_rivals_late(struct sim_world *w, uint32_t node, uint32_t slot);
/* This node will not ask a certain member to lead the key's slot, for a moment. */
void sim_rivals_lead(struct sim_node *n, struct agi_str ns, struct agi_str key);

#endif
