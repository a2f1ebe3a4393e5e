/* SPDX-License-Identifier: Apache-2.0
 * Several writes in one call (batch.c). Private to src/dht. */
#ifndef AGI_DHT_BATCH_H
#define AGI_DHT_BATCH_H

#include "dht/state.h"

void agi_batch_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_batches_init(struct agi_dht *d);
void agi_batches_free(struct agi_dht *d);

#endif
