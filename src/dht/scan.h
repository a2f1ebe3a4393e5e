/* SPDX-License-Identifier: Apache-2.0
 * Scans of a namespace by prefix, page by page (scan.c). Private to src/dht. */
#ifndef AGI_DHT_SCAN_H
#define AGI_DHT_SCAN_H

#include "dht/state.h"

/* Where a page begins: in slot, behind the key after. It names no epoch: whoever holds the slot by then holds at
 * least what was acknowledged when the page before was read. */
struct agi_scan_place {
	uint32_t slot, window; /* window: slots worth asking about at once */
	struct agi_str after;  /* empty: from the slot's beginning */
};
/* As the cursor that goes to the client; opaque there. */
void agi_scan_place_put(struct agi_buf *b, const struct agi_scan_place *p, const struct agi_call *call);

void agi_scan_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_scans_init(struct agi_dht *d);
void agi_scans_free(struct agi_dht *d);

#endif
