/* SPDX-License-Identifier: Apache-2.0
 * Watches of this node's clients (watch.c). Private to src/dht. */
#ifndef AGI_DHT_WATCH_H
#define AGI_DHT_WATCH_H

#include "dht/state.h"

void agi_watch_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_watch_on_changed(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_watches_free(struct agi_dht *d);

#endif
