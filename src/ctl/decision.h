/* SPDX-License-Identifier: Apache-2.0
 * What an answer to CheckPlan permits. Only an answer that says ALLOW in every place where it says
 * anything is ALLOW; whatever is missing, unknown or contradicts itself is BLOCK. */
#ifndef AGI_CTL_DECISION_H
#define AGI_CTL_DECISION_H

#include "ctl/ctl.h"
#include "safety.pb-c.h"

/* CTL_OK (ALLOW), CTL_BLOCK, CTL_REVISE or CTL_DEFER. *doubt is set to what is wrong with the
 * answer when that is why it counts as BLOCK, else to NULL. */
enum ctl_exit ctl_decide(const Agi__Safety__V1__CheckPlanResponse *res, const char **doubt);
/* "ALLOW", "BLOCK", "REVISE", "DEFER" */
const char *ctl_decision_name(enum ctl_exit decision);

#endif
