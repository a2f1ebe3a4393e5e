/* SPDX-License-Identifier: Apache-2.0
 * What operators do to the whole cluster: tasks for other nodes (operate.c), writing back what a backup holds
 * (restore.c), comparing what a slot's members hold (digest.c). Private to src/dht. */
#ifndef AGI_DHT_CARE_H
#define AGI_DHT_CARE_H

#include "dht/state.h"

void agi_operate_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_operate_on(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_restore_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_digest_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_digest_on(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);

#endif
