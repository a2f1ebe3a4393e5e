/* SPDX-License-Identifier: Apache-2.0
 * A simulated cluster: the shipped core (src/dht) of many nodes in one process under a virtual clock. All
 * that is random comes from one seed; the same seed gives the same trace.
 *
 *   world.c     nodes, their clocks, disks and links      clients.c   what clients ask and were told
 *   queue.c     events in order of time                   history.c   linearizability
 *   disk.c      base/storage.h in memory                  faults.c, rivals.c  what goes wrong
 *   verdict.c   what must hold when all is well again     campaign.c  what a seed stands for; a whole run
 *   replicas.c  what disks have in common */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "base/buf.h"
#include "base/prng.h"
#include "dht/dht.h"
#include "disk.h"
#include "history.h"
#include "queue.h"

enum {
	SIM_NODES_MAX = 64,
	SIM_KEYS = 40,
	SIM_REGISTERS = 8,
	SIM_SLOTS_MAX = 64,
	SIM_GRACE_MS = 16000,    /* long enough for a host that was away to hand over what it alone has */
	SIM_EPOCHS_MAX = 512
};

/* What can go wrong; a seed chooses some of it (campaign.c), faults.c does it. */
#define SIM_FAULTS(X)                                                                                \
	X(DROP, "messages are lost")                                                                 \
	X(DELAY, "messages are late and overtake each other")                                        \
	X(DUPLICATE, "messages arrive twice")                                                        \
	X(REFUSE, "messages cannot be queued")                                                       \
	X(PARTITION, "the network is cut")                                                           \
	X(ONE_WAY, "the network is cut in one direction")                                            \
	X(PAIRS, "some pairs of nodes cannot talk")                                                  \
	X(CRASH, "nodes lose power, unsynced writes are lost")                                       \
	X(STORE_CRASH, "nodes lose power between a write and its completion, or right after an answer") \
	X(POWER, "all nodes lose power at once")                                                     \
	X(WIPE, "disks are lost, nodes come back as new ones")                                       \
	X(BAD_DISK, "disks fail, nodes turn read-only")                                              \
	X(BAD_READ, "reads from disk fail")                                                          \
	X(SLOW_DISK, "disks take long")                                                              \
	X(CLOCK_JUMP, "wall clocks jump")                                                            \
	X(CLOCK_RATE, "clocks run fast and slow")                                                    \
	X(PAUSE, "nodes stand still for seconds")                                                    \
	X(RIVALS, "members lead and propose against each other")                                     \
	X(PLACE, "weights and zones change")                                                         \
	X(DRAIN, "nodes are drained and take part again")                                            \
	X(LEAVE, "nodes leave for good, new ones come in their place")                               \
	X(EARLY, "all of it from the first moment on")
enum sim_fault {
#define SIM_FAULT_ENUM(name, text) SIM_##name,
	SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
	SIM_FAULT_COUNT
};

struct sim_cfg {
	uint64_t seed;
	uint32_t nodes;          /* at the end; some join later */
	uint32_t slot_bits;
	uint32_t fault_seconds;  /* virtual time with faults and load */
	uint32_t faults;         /* bit i: enum sim_fault i may happen */
	uint32_t down_after_ms;  /* 0 = 20 s */
	uint32_t repair_ms;      /* replicas are compared so often; 0 = 4 s */
	uint32_t stable_ms;      /* 0 = 800 */
	uint32_t near_hosts;     /* 0 = 64, which is all */
	uint32_t grace_ms;       /* tombstones are collected after this; 0 = SIM_GRACE_MS */
	uint32_t n_keys, n_registers; /* in use; 0 = all */
	uint32_t strong_percent; /* of the operations */
	uint32_t load_us;        /* greatest pause between two operations; 0 = 40 ms */
	uint32_t fault_us;       /* greatest pause between two faults; 0 = 2 s */
	bool is_verbose;
};

/* A node's monotonic clock: mono0 at world time world0, running at rate_ppm millionths of the world's. */
struct sim_clock {
	uint64_t world0, mono0, rate_ppm;
};

struct sim_node {
	struct sim_world *w;
	uint32_t index;
	struct agi_dht *dht;     /* NULL = not running */
	struct sim_disk disk;
	struct agi_addr addr;
	uint8_t seckey[AGI_SECKEY_BYTES];
	struct agi_id id;
	uint64_t incarnation;
	uint64_t life;           /* grows with every start and crash: events of an earlier life are dropped */
	uint64_t identity;       /* grows when the disk is lost, and with it the node's key */
	struct sim_clock clock;
	int64_t skew_ms;         /* of its wall clock */
	uint32_t weight_milli;   /* 0 = 1000 */
	const char *zone;
	uint64_t paused_until;
	uint64_t disk_slow_us;   /* added to the time its disk takes, at most */
	bool has_spoken;         /* it answered something in this event */
	bool has_disk_event;
	uint64_t timer_at;       /* earliest timer event queued */
	uint64_t changed_slots;  /* bit: its view has to be looked at */
};

struct sim_write {
	struct agi_version version; /* hlc 0 = none */
	uint64_t value;
	bool is_delete;
	uint64_t expires_ms;
	uint64_t begun_us;
};

/* What clients know about one key. */
struct sim_key {
	struct sim_write safe; /* newest acknowledged at quorum or all */
	struct sim_write any;  /* newest acknowledged at any level */
	uint64_t dying_until_us; /* a deletion, or a put with a time to live, begun so far has a stamp of before then */
};

/* A strong register: its history, and the last versions it was seen with. The last one is a counter. */
struct sim_register {
	struct lin_history history;
	struct {
		uint64_t version, token;
	} seen[4];
	size_t n_seen;           /* ever */
	uint32_t n_adds;         /* the i-th adds 2^i */
};

/* Which value each version named, of items and registers. */
struct sim_names {
	struct {
		uint64_t name, value;
	} *slot;
	size_t n, cap;
};

#define SIM_STATS(X)                                                                                 \
	X(events) X(messages) X(dropped) X(duplicated) X(refused) X(crashes) X(store_crashes) X(partitions) \
	X(wipes) X(bad_disks) X(bad_reads) X(clock_jumps) X(pauses) X(places) X(orders) X(left)      \
	X(views) X(pages) X(seals) X(rival_views) X(rival_leads)                                     \
	X(puts) X(gets) X(deletes) X(acked) X(failed) X(hang_ups)                                    \
	X(strong) X(strong_unknown) X(strong_failed) X(strong_condition) X(leads) \
	X(drops) X(strong_drops)
struct sim_stats {
#define SIM_STAT_FIELD(name) uint64_t name;
	SIM_STATS(SIM_STAT_FIELD)
#undef SIM_STAT_FIELD
};

enum { SIM_CALL_BUCKETS = 64, SIM_PEERS = 256, SIM_REQUESTS = 4096, SIM_PROPOSALS = 4, SIM_REG_WRITES = 256 };

/* Of what an answer cannot be understood without (vows.c). */
struct sim_request {
	struct agi_id asker;
	uint64_t rpc_id;
	enum agi_msg_kind kind;
	uint32_t slot;
	uint64_t epoch;
	struct agi_ballot ballot;
	uint64_t key, seq;       /* of a register write */
};

/* A leader's last write of a key: who was asked, and who said what, as bits. */
struct sim_reg_write {
	uint64_t key, seq, epoch, asked, done, refused;
	struct agi_ballot ballot;
};

/* A view that was proposed: who said that it accepted it, as bits. */
struct sim_proposal {
	uint64_t epoch, hash, who;
	struct agi_ballot ballot;
};

/* The highest ballots a node has answered in this epoch of a slot. */
struct sim_vow {
	uint64_t epoch, identity;
	struct agi_ballot view, lead;
};

struct sim_world {
	struct sim_cfg cfg;
	struct agi_prng prng;
	uint64_t now_us;
	struct sim_queue queue;
	struct sim_node node[SIM_NODES_MAX];
	uint8_t peers[SIM_PEERS]; /* 1 + index of a node, by its id */
	bool is_cut[SIM_NODES_MAX][SIM_NODES_MAX]; /* from → to */
	double drop, duplicate, refuse_sends, store_crash;
	uint64_t slow_us;        /* added to a message's delay at most */
	uint64_t end_us;         /* no load and no faults from then on */
	struct sim_key key[SIM_KEYS];
	struct sim_register reg[SIM_REGISTERS];
	struct sim_names names;
	uint64_t next_value, next_call, next_order;
	uint64_t trace;          /* hash of everything that happened */
	uint64_t seen[SIM_SLOTS_MAX][SIM_EPOCHS_MAX]; /* hash of the one view of each epoch */
	struct sim_proposal proposed[SIM_SLOTS_MAX][SIM_PROPOSALS]; /* of late, the newest first */
	struct sim_proposal chosen[SIM_SLOTS_MAX];                  /* by a majority, whoever knows it; the newest epoch */
	struct sim_request request[SIM_REQUESTS]; /* of late */
	struct sim_reg_write reg_write[SIM_REG_WRITES]; /* of late, by key */
	struct sim_vow vow[SIM_NODES_MAX][SIM_SLOTS_MAX];
	struct sim_stats stats;
	struct sim_call *calls[SIM_CALL_BUCKETS];
	int outcome[SIM_KEYS + SIM_REGISTERS]; /* of checks after healing */
	void (*on_reply)(struct sim_node *n, uint64_t call_id, const struct agi_result *res);
	bool (*on_event)(struct sim_node *n, uint64_t call_id, const struct agi_event *ev); /* of watches; NULL = taken */
	void *user;
	enum agi_msg_kind held_kind; /* messages of this kind take held_us longer */
	uint64_t held_us;
	uint32_t held_to;        /* … to the node of this index + 1; 0 = to all */
	bool is_edited;          /* a test changed disks behind the nodes' backs: trees are not what is there */
	bool is_undecided;       /* the failure is no breach: a history was too hard to judge */
	char failure[400];
};

/* --- pieces for scenarios ------------------------------------------------------------------------ */
void sim_set_up(struct sim_world *w, const struct sim_cfg *cfg);
void sim_tear_down(struct sim_world *w);
void sim_start_node(struct sim_world *w, uint32_t i);
void sim_crash_node(struct sim_world *w, uint32_t i);
/* The node stops, its disk is empty, and whoever starts here next is a new node at the same address. */
void sim_wipe_node(struct sim_world *w, uint32_t i);
/* The node does nothing until then; what happens to it meanwhile happens to it then. */
void sim_pause_node(struct sim_world *w, uint32_t i, uint64_t until_us);
void sim_set_clock_rate(struct sim_node *n, uint64_t rate_ppm);
void sim_run_until(struct sim_world *w, uint64_t until_us);
bool sim_is_settled(struct sim_world *w);
uint32_t sim_n_running(const struct sim_world *w);
struct agi_now sim_now(const struct sim_node *n);
/* Takes note of new deadlines after the core was called from outside. */
void sim_rearm(struct sim_node *n);
/* Calls with this id or above are given to on_reply instead of being checked by the world. */
enum { SIM_OWN_CALL = 1 << 30 };
/* An operator's order to a node (drain, leave, …); nobody waits for the answer. */
void sim_order(struct sim_node *n, enum agi_call_kind kind);
void sim_set_place(struct sim_node *n, uint32_t weight_milli, const char *zone);

uint64_t sim_view_hash(const struct agi_view *v);

/* --- for the parts of the simulator ------------------------------------------------------------------ */
void sim_fail(struct sim_world *w, const char *fmt, ...) AGI_PRINTF(2, 3); /* the first reason stays */
void sim_say(const struct sim_world *w, const char *fmt, ...) AGI_PRINTF(2, 3); /* when is_verbose */
bool sim_chance(struct sim_world *w, double p);
uint64_t sim_between(struct sim_world *w, uint64_t lo, uint64_t hi);
struct sim_event *sim_push(struct sim_world *w, uint64_t at_us, enum sim_event_kind kind, uint32_t node);
/* Notes that a version named a value; fails when it named another one before. */
void sim_names_learn(struct sim_world *w, const char *what, uint32_t key, const struct agi_version *v,
                     uint64_t value);

/* --- a whole run (campaign.c) --------------------------------------------------------------------------- */
/* What a seed stands for: size, load and what goes wrong; anything, or what one part of the protocol has to
 * fear most. */
enum sim_focus { SIM_FOCUS_NONE, SIM_FOCUS_STRONG, SIM_FOCUS_VIEWS, SIM_FOCUS_ITEMS, SIM_FOCUS_FOUNDING, SIM_FOCUS_DEAD,
                 SIM_FOCUS_ANY };
void sim_cfg_of_seed(struct sim_cfg *cfg, uint64_t seed, enum sim_focus focus);
/* Runs one seed; 0 = every invariant held. The reason and statistics are in w. */
int sim_run(struct sim_world *w, const struct sim_cfg *cfg);

#endif
