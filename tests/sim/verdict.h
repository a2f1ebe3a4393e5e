/* SPDX-License-Identifier: Apache-2.0
 * What must hold when nothing goes wrong any more. */
#ifndef SIM_VERDICT_H
#define SIM_VERDICT_H

#include "world.h"

/* Lets the cluster come to rest and checks everything that was promised; the first breach is in w->failure. */
void sim_verdict(struct sim_world *w);

#endif
