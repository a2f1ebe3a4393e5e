/* SPDX-License-Identifier: Apache-2.0
 * The clients of a simulated cluster: what they ask, what they were told, and whether what they are told now
 * agrees with it.
 *
 * Eventual items: a read at quorum or all that began after a write was acknowledged at quorum or all returns
 * that write or a newer one, and a later write has a newer version; a version names one value. Strong registers: every operation goes into a
 * history (history.h) that is checked at the end; a version names one value there too. */
#ifndef SIM_CLIENTS_H
#define SIM_CLIENTS_H

#include "history.h"
#include "world.h"

/* One operation of a client, open or being judged. */
struct sim_call {
	struct sim_call *next;
	uint64_t id, value, begun_us;
	uint32_t node, key;
	enum agi_call_kind kind;
	enum agi_level level;
	bool is_strong;
	int op;                  /* strong: index in its register's history */
	uint64_t expires_ms;     /* put with a time to live: when it ends, by its coordinator's clock; 0 = never */
	struct sim_write floor;  /* nothing older may be read, nothing newer may have been written before */
	int *outcome;            /* of a check after healing: set to 1 when it was answered well */
};

/* A client's next operation, at a node of its choice; nothing when that node is not running. */
void sim_client_step(struct sim_world *w);
/* The client of this call hangs up. */
void sim_client_hang_up(struct sim_world *w, uint64_t call_id);
void sim_client_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res);
/* The clients of a node that crashed never learn how their calls ended. */
void sim_clients_forget(struct sim_world *w, uint32_t node);
void sim_clients_free(struct sim_world *w);

/* Checks after healing; *outcome becomes 1 when the call was answered well. */
void sim_client_final_read(struct sim_world *w, uint32_t key, uint32_t node, int *outcome);
void sim_client_final_write(struct sim_world *w, uint32_t key, uint32_t node, int *outcome);
void sim_client_final_strong(struct sim_world *w, uint32_t reg, uint32_t node, int *outcome);

/* The key as stored (slot, namespace, key); out must be initialised. */
void sim_item_key(const struct sim_world *w, uint32_t key, struct agi_buf *out);

#endif
