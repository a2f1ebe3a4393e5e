/* SPDX-License-Identifier: Apache-2.0
 * A list of names and values (HTTP headers) one after the other in a buffer. */
#ifndef AGI_NET_PAIRS_H
#define AGI_NET_PAIRS_H

#include "base/buf.h"

/* Copies both. Names up to 64 KiB, values up to 4 GiB. Errors are b's. */
void agi_pairs_put(struct agi_buf *b, struct agi_str name, struct agi_str value);
/* The pair at *at (0 at first) and moves on; false at the end. Borrowed from b. */
bool agi_pairs_next(const struct agi_buf *b, size_t *at, struct agi_str *name,
		    struct agi_str *value);

#endif
