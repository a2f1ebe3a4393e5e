/* SPDX-License-Identifier: Apache-2.0
 * What the status of a gRPC call means for the person who asked. */
#ifndef AGI_CTL_STATUS_H
#define AGI_CTL_STATUS_H

#include "ctl/ctl.h"

/* NOT_FOUND is 3; what may succeed later, or may have, is 4; every other failure is 1. */
enum ctl_exit ctl_exit_of_status(enum agi_grpc_status s);
/* What an operator can do about it; NULL when nothing general can be said. message: the node's
 * text. */
const char *ctl_advice(enum agi_grpc_status s, const char *message);

#endif
