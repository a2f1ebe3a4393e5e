/* SPDX-License-Identifier: Apache-2.0
 * A simulated cluster: the shipped core (src/dht) of many nodes in one process under a virtual clock. All
 * that is random comes from one seed; the same seed gives the same trace. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "base/prng.h"
#include "dht/dht.h"
#include "disk.h"
#include "history.h"

enum { SIM_NODES_MAX = 64, SIM_KEYS = 40, SIM_REGISTERS = 8, SIM_VERSIONS_MAX = 1024, SIM_SLOTS_MAX = 64, SIM_EPOCHS_MAX = 512 };

struct sim_cfg {
	uint64_t seed;
	uint32_t nodes;          /* at the end; some join later */
	uint32_t slot_bits;
	uint32_t fault_seconds;  /* virtual time with faults and load */
	bool is_verbose;
};

struct sim_node {
	struct sim_world *w;
	uint32_t index;
	struct agi_dht *dht;     /* NULL = not running */
	struct sim_disk disk;
	struct agi_addr addr;
	uint8_t seckey[AGI_SECKEY_BYTES];
	struct agi_id id;
	uint64_t incarnation, life; /* life: events of an earlier one are dropped */
	int64_t skew_ms;
	bool has_disk_event;
	uint64_t timer_at;       /* earliest timer event queued */
};

/* What clients know about one key. */
struct sim_key {
	struct agi_version acked; /* newest acknowledged write or delete */
	bool is_acked_delete;
	uint64_t acked_value;
};

/* A strong register: its history, and which token each version named. The last one is a counter. */
struct sim_register {
	struct lin_history history;
	struct {
		uint64_t version, token;
	} seen[SIM_VERSIONS_MAX];
	size_t n_seen;
};

struct sim_stats {
	uint64_t events, messages, dropped, puts, gets, deletes, acked, failed, crashes, partitions,
	    views, transfers, hints, repairs, lookups,
	    strong, strong_unknown, strong_failed;
};

struct sim_event;
struct sim_world {
	struct sim_cfg cfg;
	struct agi_prng prng;
	uint64_t now_us, next_seq;
	struct sim_event **heap;
	size_t n_heap, cap_heap;
	struct sim_node node[SIM_NODES_MAX];
	bool is_cut[SIM_NODES_MAX][SIM_NODES_MAX]; /* from → to */
	double drop, duplicate, refuse_sends;
	uint64_t slow_us;        /* added to a message's delay at most */
	struct sim_key key[SIM_KEYS];
	struct sim_register reg[SIM_REGISTERS];
	uint64_t next_value, next_call;
	uint64_t trace;          /* hash of everything that happened */
	struct agi_view seen[SIM_SLOTS_MAX][SIM_EPOCHS_MAX]; /* the one view of each epoch */
	struct sim_stats stats;
	struct sim_call *calls;
	void (*on_reply)(struct sim_node *n, uint64_t call_id, const struct agi_result *res);
	void *user;
	char failure[400];
};

/* --- pieces for scenarios ------------------------------------------------------------------------ */
void sim_set_up(struct sim_world *w, const struct sim_cfg *cfg);
void sim_tear_down(struct sim_world *w);
void sim_start_node(struct sim_world *w, uint32_t i);
void sim_crash_node(struct sim_world *w, uint32_t i);
void sim_run_until(struct sim_world *w, uint64_t until_us);
bool sim_is_settled(struct sim_world *w);
struct agi_now sim_now(const struct sim_node *n);
/* Takes note of new deadlines after the core was called from outside. */
void sim_rearm(struct sim_node *n);
/* Calls with this id or above are given to on_reply instead of being checked by the world. */
enum { SIM_OWN_CALL = 1 << 30 };

/* Runs one seed; 0 = every invariant held. The reason and statistics are in w. */
int sim_run(struct sim_world *w, const struct sim_cfg *cfg);

#endif
