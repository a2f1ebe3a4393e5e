/* SPDX-License-Identifier: Apache-2.0
 * What members promise each other must outlive whatever happens to them: the answers that leave a
 * node are compared with what it answered before. A promise told is never followed by an answer
 * that it forbids, whether or not somebody is hurt by it this time. Decision 0003 and 0006 say what
 * is promised. */
#ifndef SIM_VOWS_H
#define SIM_VOWS_H

#include "world.h"

/* A message is sent; breaches go to sim_fail. */
void sim_vows_look(struct sim_node *from, const struct sim_node *to, const struct agi_msg *m);

#endif
