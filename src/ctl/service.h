/* SPDX-License-Identifier: Apache-2.0
 * Services and their instances, for the commands about them (cmd_registry.c). */
#ifndef AGI_CTL_SERVICE_H
#define AGI_CTL_SERVICE_H

#include <jansson.h>

#include "agihpc.pb-c.h"
#include "ctl/ctl.h"

/* Borrows name. CTL_USAGE, printed: it is no service name. */
enum ctl_exit ctl_take_service(struct ctl *c, const char *name, ProtobufCBinaryData *out);
/* As discover prints it. */
json_t *ctl_instance_json(const Agihpc__V1__Instance *one);

#endif
