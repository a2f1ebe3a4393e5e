/* SPDX-License-Identifier: Apache-2.0
 * What the disks of a simulated cluster must have in common. */
#ifndef SIM_REPLICAS_H
#define SIM_REPLICAS_H

#include "world.h"

/* Every tree the node believes to know is that of what its disk holds; else why says what is not. */
bool sim_trees_are_right(const struct sim_node *n, char why[200]);
/* The active members of every slot hold the same records: every byte of those that live, and the versions of those
 * that died (a value may be dropped before its record is); else why says where not. All nodes must run. */
bool sim_replicas_are_equal(struct sim_world *w, char why[200]);
/* Records of a column family on all disks. */
size_t sim_records(const struct sim_world *w, enum agi_cf cf);

#endif
