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
/* Everything that was broken works again, and nothing new breaks. Nodes that are down are started. */
void sim_faults_end(struct sim_world *w);

#endif
