/* SPDX-License-Identifier: Apache-2.0
 * Lists of gateways to trust. */
#ifndef AGI_CTL_KEYS_H
#define AGI_CTL_KEYS_H

#include "base/id.h"
#include "ctl/ctl.h"

/* Lines of 64 hexadecimal digits, perhaps with a remark after white space; '#' begins a remark. At most max; at least
 * one. Reports its own errors. */
enum ctl_exit ctl_read_ids(struct ctl *c, const char *path, struct agi_id *ids, size_t max, size_t *n);

#endif
