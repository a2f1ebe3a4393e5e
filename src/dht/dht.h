/* SPDX-License-Identifier: Apache-2.0
 * One node of the overlay as a state machine without sockets, threads, clock, randomness or disk.
 *
 *   events in:   agi_dht_start, _on_message, _on_unreachable, _on_stored, _tick, _call, _cancel
 *   effects out: struct agi_dht_effects (the core calls them; they must not call the core back: whoever
 *                implements them queues what follows and delivers it as a later event)
 *
 * The daemon (src/node) drives it with links and RocksDB, the simulator (tests/sim) drives thousands under
 * a virtual clock. All arguments are borrowed until the call returns, in both directions.
 *
 * Life: agi_dht_new → agi_dht_load for every stored META, VIEWS, REGISTRY and HINTS record →
 *       agi_dht_start → events … → agi_dht_stop → agi_dht_free. */
#ifndef AGI_DHT_DHT_H
#define AGI_DHT_DHT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/storage.h"
#include "dht/msg.h"

struct agi_dht;

/* --- configuration ---------------------------------------------------------------------------- */
struct agi_dht_cfg {
	uint8_t seckey[AGI_SECKEY_BYTES];
	uint64_t seed;                  /* of the core's random choices */
	struct agi_contact self;        /* id and incarnation are set by agi_dht_new/_load */
	struct agi_addr bootstrap[AGI_BOOTSTRAP_MAX];
	size_t n_bootstrap;
	bool is_first_listed;           /* self is the first bootstrap address: may create the cluster */
	bool force_init;                /* --init: create a cluster now */
	/* 0 = the default in limits.h */
	uint32_t slot_bits, replicas, virtual_nodes;
	uint32_t down_after_ms, stable_ms, genesis_wait_ms, ping_interval_ms, max_skew_ms;
	uint32_t near_hosts;            /* so many are probed at the full interval (near.c) */
	/* An operator's task for this node, told by another one; called with the effects' ctx. Answers at once, and
	 * must not call the core. NULL: this node has no operators. */
	enum agi_err (*operate)(void *ctx, struct agi_str task, struct agi_buf *answer);
	uint32_t lookup_paths;          /* disjoint ones of a lookup; 1 = one that trusts whom it asks; at most AGI_LOOKUP_PATHS_MAX */
	uint32_t repair_bytes;          /* a second: read and sent in the background */
	uint32_t rebalance_slots;       /* copied at once, and led through it at once */
	uint64_t rebalance_bytes_per_s; /* in each direction; 0 = as fast as it goes */
	uint32_t repair_interval_ms;    /* members of a slot compare what they hold */
	uint32_t hint_ttl_ms;           /* a write owed to a host is not delivered later than this … */
	uint32_t tombstone_grace_ms;    /* … and what was deleted is collected after this, which is longer */
};

/* --- effects ---------------------------------------------------------------------------------- */
/* Where a message goes: a zero id means "whoever answers at addr"; a zero addr "over a link we have". */
struct agi_peer {
	struct agi_id id;
	struct agi_addr addr;
};
enum agi_traffic { AGI_TRAFFIC_CONTROL, AGI_TRAFFIC_BULK };

enum agi_note_kind {
	AGI_NOTE_MEMBER_UP,      /* contact */
	AGI_NOTE_MEMBER_DOWN,    /* contact */
	AGI_NOTE_CLUSTER_CREATED,
	AGI_NOTE_CLUSTER_JOINED,
	AGI_NOTE_WRONG_CLUSTER,  /* peer refused: another cluster id */
	AGI_NOTE_VIEW_CHANGED,   /* slot, epoch, phase */
	AGI_NOTE_STORE_FAILED,
	AGI_NOTE_DROPPED,        /* text: input that made no sense, and why */
	AGI_NOTE_DRAIN,          /* text: what this node does now: drains, leaves, serves */
	AGI_NOTE_LEFT,           /* everything is handed over, the identity is retired: stop this node */
	AGI_NOTE_RECOVERED       /* slot, epoch, text: an operator gave up its lost members and what only they had */
};
struct agi_note {
	enum agi_note_kind kind;
	const struct agi_contact *contact;
	uint32_t slot;
	uint64_t epoch;
	enum agi_view_phase phase;
	enum agi_err err;
	const char *text;
};

struct agi_result;
struct agi_event;
struct agi_dht_effects {
	/* An error when the message cannot even be queued (FULL, UNREACHABLE, TOO_LARGE, NOMEM): then this
	 * one request fails, and others to the same peer are not disturbed. */
	enum agi_err (*send)(void *ctx, const struct agi_peer *to, enum agi_traffic traffic,
	                     const struct agi_msg *msg);
	/* The completion comes back as agi_dht_on_stored with the same job id. */
	void (*store)(void *ctx, uint64_t job_id, const struct agi_storage_req *req);
	/* Ends a client call; exactly once per agi_dht_call that was not cancelled. */
	void (*reply)(void *ctx, uint64_t call_id, const struct agi_result *res);
	void (*note)(void *ctx, const struct agi_note *note);
	/* Of a WATCH. False: not taken, as the client reads too slowly; agi_dht_watch_resume says when it goes on, and what
	 * happened meanwhile comes then, each key in its newest state. */
	bool (*event)(void *ctx, uint64_t call_id, const struct agi_event *event);
};

/* --- client calls ----------------------------------------------------------------------------- */
enum agi_call_kind {
	AGI_CALL_PUT,        /* ns, key, value, level, ttl_ms */
	AGI_CALL_GET,        /* ns, key, level */
	AGI_CALL_DELETE,     /* ns, key, level */
	AGI_CALL_OWNERS,     /* ns, key: the slot's view */
	AGI_CALL_LOOKUP,     /* target: the k nearest hosts and the hops taken */
	AGI_CALL_REGISTER,   /* service, address: advertise on this host (again = update) */
	AGI_CALL_DEREGISTER, /* service, address */
	AGI_CALL_DISCOVER,   /* service: healthy instances, nearest first */
	AGI_CALL_CAS,        /* ns, key, value, expected, is_delete: a strong put or delete under a condition */
	AGI_CALL_ADD,        /* ns, key, delta: a strong fetch-and-add on a decimal number */
	AGI_CALL_DRAIN,      /* is_forced: this node gives its slots to others; durable until UNDRAIN */
	AGI_CALL_UNDRAIN,    /* takes its share again */
	AGI_CALL_LEAVE,      /* is_forced: DRAIN, then this identity is retired for good */
	AGI_CALL_SCAN,       /* ns, key (the prefix), level, limit, cursor, is_keys_only, is_count */
	AGI_CALL_BATCH,      /* ns, level, items: puts and deletes, each by itself */
	AGI_CALL_OPERATE,    /* target, value: an operator's task for that node's shell; answer in value */
	AGI_CALL_RESTORE,    /* items: one, written as it is, its version included */
	AGI_CALL_DIGEST,     /* slot: what its members hold, compared */
	AGI_CALL_RECOVER,    /* slot or is_all: a majority of its members is gone for good, says the operator */
	/* ns, key, is_prefix, level, is_initial, cursor (a token), expected (a version of the key): changes come as events;
	 * the reply is its end, always an error. */
	AGI_CALL_WATCH,
	AGI_CALL_GRANT,      /* ttl_ms, value (text of the holder): a lease */
	AGI_CALL_RENEW,      /* lease */
	AGI_CALL_REVOKE,     /* lease */
	AGI_CALL_LEASE,      /* lease: its record (lease_record.h) in value */
	AGI_CALL_LOCK,       /* ns, key, value, lease, is_waiting: makes the key, with the lease, where there is none */
	AGI_CALL_NEAREST     /* service: the instance that is nearest by measurement (nearest.h) */
};
enum { AGI_CALL_KINDS = AGI_CALL_NEAREST + 1 };
struct agi_call {
	enum agi_call_kind kind;
	uint32_t timeout_ms; /* 0 = AGI_CALL_TIMEOUT_MS */
	struct agi_str ns, key, value;
	enum agi_level level;
	uint64_t ttl_ms;     /* 0 = never expires */
	uint64_t expected;   /* CAS: version the item must have; 0 = must be absent */
	bool is_delete;      /* CAS: remove the item instead of writing value */
	uint64_t floor;      /* CAS: the version that is given to it is higher than this */
	uint32_t slot;       /* DIGEST, RECOVER */
	int64_t delta;       /* ADD */
	/* BATCH: AGI_BATCH_ITEMS at most, keys all different; key, value, is_tombstone, and in expires_ms the time to
	 * live. Inside the core also PUT, not strong: items of key's slot that are written as one. */
	const struct agi_item *items;
	size_t n_items;
	uint32_t limit;      /* SCAN: items in one page at most; 0 = AGI_SCAN_ITEMS_DEFAULT */
	struct agi_str cursor; /* SCAN: what the page before ended with; empty = from the beginning */
	uint64_t lease;      /* PUT (strong), CAS: what is written goes when this lease does; 0 = stays */
	bool is_waiting;     /* LOCK: until it is free, or the time is over */
	bool is_attached;    /* inside the core: PUT, CAS: that the lease is there has been looked at */
	bool is_raw;         /* inside the core: strong: whether the lease of the item that is met holds does not matter */
	bool is_prefix;      /* WATCH: all keys that begin with key */
	bool is_initial;     /* WATCH: first what is there */
	bool is_keys_only;   /* SCAN: items without their values */
	bool is_count;       /* SCAN: only how many there are */
	struct agi_id target;
	struct agi_str service, address;
	struct agi_str config;  /* REGISTER: opaque, kept with the registration (health check) */
	uint32_t traits;     /* REGISTER: of agi_provider_trait, until it is registered anew; not kept on disk */
	bool is_ephemeral;   /* REGISTER: a role or a configured service, not written to the registry */
	bool is_forced;      /* DRAIN, LEAVE: even when too few hosts remain for the replicas wanted */
	bool is_all;         /* RECOVER: every slot held here */
};

enum agi_link_state { AGI_MEMBER_UP, AGI_MEMBER_SUSPECT, AGI_MEMBER_DOWN, AGI_MEMBER_SELF };
const char *agi_link_state_name(enum agi_link_state s);

struct agi_instance {
	const struct agi_provider *provider;
	struct agi_id node;
	uint32_t rtt_us;     /* smoothed round trip to the host; UINT32_MAX = not measured; 0 = this host */
	bool is_stale;       /* last known good: the registry could not be asked */
};
/* What NEAREST says of an instance. */
enum agi_choice {
	AGI_CHOICE_CHOSEN,
	AGI_CHOICE_FARTHER,      /* it answered */
	AGI_CHOICE_BUSIER,       /* it answered from as near */
	AGI_CHOICE_SLOWER,       /* it had not answered when the chosen one had */
	AGI_CHOICE_NOT_MEASURED, /* it was not asked: others should be nearer */
	AGI_CHOICE_SILENT,       /* it was asked and cannot be reached, or is late */
	AGI_CHOICE_DOWN,         /* its host is known to be down */
	AGI_CHOICE_UNHEALTHY,
	AGI_CHOICE_GHOST,        /* advertised by a life of its host that has ended */
	AGI_CHOICE_EXPIRED,
	AGI_CHOICES
};
const char *agi_choice_text(enum agi_choice v); /* for people */
struct agi_candidate {
	struct agi_instance instance; /* rtt_us: measured, and not long ago */
	uint32_t estimate_us;         /* by coordinates; UINT32_MAX = none is known */
	enum agi_choice verdict;
	bool is_probed;               /* rtt_us was measured for this answer */
};
struct agi_hop {
	struct agi_contact contact;
	uint32_t rtt_us;     /* UINT32_MAX: did not answer */
	uint32_t round;      /* 1 = asked from our own table */
};
/* What became of one item of a batch. */
struct agi_outcome {
	enum agi_err err;
	struct agi_why why;
	uint64_t version;
	uint32_t acks, slot;
};
/* What a member holds of a slot: items that live, then registers. */
struct agi_holding_part {
	uint64_t records, bytes;
	uint8_t hash[32];
};
struct agi_holding {
	struct agi_id node;
	enum agi_err err; /* OK, or why it could not be told */
	struct agi_holding_part part[2];
};
/* Slots by what a recovery found. */
struct agi_recovered {
	uint32_t recovered;
	uint32_t healthy;    /* enough members answer */
	uint32_t elsewhere;  /* not held here, or another survivor comes first */
	uint32_t failed;
};
struct agi_result {
	enum agi_call_kind kind;
	enum agi_err err;
	struct agi_why why;
	bool found;                   /* GET, CAS; DELETE: a live value was there on a replica that answered */
	struct agi_str value;
	struct agi_version version;   /* GET, PUT, DELETE, CAS, ADD; with CONDITION the present one, 0 = absent */
	uint32_t acks, needed;        /* PUT, GET, DELETE: replicas that answered / had to */
	uint32_t slot;                /* PUT, GET, DELETE, OWNERS */
	struct agi_view view;         /* OWNERS */
	const struct agi_contact *contacts; /* OWNERS: members; LOOKUP: nearest first */
	size_t n_contacts;
	const struct agi_hop *hops;   /* LOOKUP */
	size_t n_hops;
	const struct agi_instance *instances; /* DISCOVER; NEAREST: the one, or none */
	size_t n_instances;
	const struct agi_candidate *candidates; /* NEAREST: the chosen one first, then those that could be, nearest first */
	size_t n_candidates;
	uint64_t lease;               /* GET of a register: what it is attached to, 0 = nothing; of LOCK with CONDITION: who
	                               * holds it; GRANT, RENEW */
	uint64_t ttl_ms;              /* GRANT, RENEW */
	const struct agi_outcome *outcomes; /* BATCH: of each item, in their order */
	const struct agi_item *items; /* SCAN: in order of slot and key */
	size_t n_items;               /* SCAN, BATCH */
	uint64_t count;               /* SCAN: n_items, or what was counted */
	bool has_more;                /* SCAN: there may be more, from … */
	struct agi_str cursor;        /* … here on */
	const struct agi_holding *digests; /* DIGEST: of each member of view */
	size_t n_digests;
	struct agi_recovered recovered; /* RECOVER */
};

/* What a watch tells: a key's new state, or something about the watch itself. Borrowed. */
struct agi_event {
	bool has_item;
	struct agi_item item;     /* is_tombstone: deleted, or expired */
	bool is_caught_up;        /* from now on nothing is missed; comes once, after what was there or had changed */
	uint32_t n_uncovered;     /* without an item: slots that too few members look at, so that changes come later */
	struct agi_str token;     /* not empty: where to go on, should the watch be interrupted */
};

/* --- life and events -------------------------------------------------------------------------- */
AGI_MUST_USE enum agi_err agi_dht_new(const struct agi_dht_cfg *cfg, const struct agi_dht_effects *fx,
                                      void *ctx, struct agi_dht **out);
void agi_dht_free(struct agi_dht *d);
/* A stored record, before start. CORRUPT + why when it does not decode: the caller must not start. */
AGI_MUST_USE enum agi_err agi_dht_load(struct agi_dht *d, enum agi_cf cf, struct agi_str key,
                                       struct agi_str value, struct agi_why *why);
void agi_dht_start(struct agi_dht *d, struct agi_now now);
/* Says GOODBYE to the peers and stops proposing; calls end with CLOSED, writes with UNKNOWN_OUTCOME. */
void agi_dht_stop(struct agi_dht *d, struct agi_now now);

/* from: authenticated id and the address the message came from (for answers over the same link). */
void agi_dht_on_message(struct agi_dht *d, struct agi_now now, const struct agi_peer *from,
                        const struct agi_msg *msg);
/* A link to this peer could not be made or broke: requests of that traffic that await its answers fail at
 * once. */
void agi_dht_on_unreachable(struct agi_dht *d, struct agi_now now, const struct agi_peer *peer,
                            enum agi_traffic traffic, enum agi_err err);
void agi_dht_on_stored(struct agi_dht *d, struct agi_now now, uint64_t job_id,
                       const struct agi_storage_done *done);
/* Runs what is due. */
void agi_dht_tick(struct agi_dht *d, struct agi_now now);
/* mono_us of the next tick that is needed; AGI_NEVER when none. Ask again after every event. */
uint64_t agi_dht_next_deadline(const struct agi_dht *d);

/* call_id is the caller's own, below 2^63 and unique among its open calls. May reply before it returns. */
void agi_dht_call(struct agi_dht *d, struct agi_now now, uint64_t call_id, const struct agi_call *call);
/* A watch's client takes events again. */
void agi_dht_watch_resume(struct agi_dht *d, struct agi_now now, uint64_t call_id);
/* No reply will follow. Unknown ids are ignored. */
void agi_dht_cancel(struct agi_dht *d, uint64_t call_id);
/* Result of a local health check or a role's load (UINT32_MAX: as it was): re-advertises at once on a change. NOT_FOUND
 * when (service, address) is not registered on this host. */
AGI_MUST_USE enum agi_err agi_dht_set_health(struct agi_dht *d, struct agi_now now, struct agi_str service,
                                             struct agi_str address, bool is_healthy, uint32_t load_milli);
/* 0 idle … 1000 full; advertised with the next refresh. NOT_FOUND as above. */
AGI_MUST_USE enum agi_err agi_dht_set_load(struct agi_dht *d, struct agi_now now, struct agi_str service,
                                           struct agi_str address, uint32_t load_milli);
/* What callers of (service, address) have to know (agi_provider_trait), for registrations that were loaded:
 * their config is the caller's to read. NOT_FOUND as above. */
AGI_MUST_USE enum agi_err agi_dht_set_traits(struct agi_dht *d, struct agi_now now, struct agi_str service,
                                             struct agi_str address, uint32_t traits);
/* Keeps the instances of a service fresh in the cache (asked again every refresh), so that
 * agi_dht_known_instances answers without waiting. Idempotent. */
void agi_dht_follow_service(struct agi_dht *d, struct agi_now now, struct agi_str service);
/* The same for so long from now. INVALID: no name of a service; FULL: too many are followed. */
AGI_MUST_USE enum agi_err agi_dht_follow_for(struct agi_dht *d, struct agi_now now, struct agi_str service,
                                             uint32_t ms);

/* This host's share of the data and its fault domain, changed by its configuration: told to the others,
 * slots move. zone: at most AGI_ZONE_MAX bytes. */
void agi_dht_set_place(struct agi_dht *d, struct agi_now now, uint32_t weight_milli, const char *zone);
/* The disk is nearly full (or no longer so): new data is refused with DISK_FULL, deletions and the node's own
 * records are still written. Nothing has failed: it ends when the caller says so. */
void agi_dht_set_low(struct agi_dht *d, bool is_low);
/* The storage takes no writes any more (as after a completion that says so). */
void agi_dht_set_read_only(struct agi_dht *d, struct agi_now now);

/* How fast slots may move (struct agi_dht_cfg); holds for what already moves. */
void agi_dht_set_rebalance(struct agi_dht *d, struct agi_now now, uint64_t bytes_per_s, uint32_t slots);
/* The configuration's repair_interval_ms and repair_bytes are others from now on; 0 = as it is. */
void agi_dht_set_repair(struct agi_dht *d, struct agi_now now, uint32_t interval_ms, uint32_t bytes_per_s);

/* Names were resolved anew: other addresses to join by. Replaces the list given to agi_dht_new. */
void agi_dht_set_bootstrap(struct agi_dht *d, struct agi_now now, const struct agi_addr *addrs, size_t n,
                           bool is_first_listed);

/* --- queries: no effects, borrowed until the next event ------------------------------------------ */
struct agi_dht_status {
	struct agi_id self, cluster;
	bool is_joined;
	bool is_ready;                /* joined, has looked around, and can write: serves clients */
	char phase[64];               /* "joined", "waiting for 127.0.0.11:5000", … for people */
	uint64_t incarnation;
	uint32_t members_up, members_suspect, members_down; /* others */
	uint32_t slots_total, slots_active, slots_joining, slots_sealed, slots_leaving;
	uint32_t hints;               /* writes owed to unreachable replicas */
	uint32_t calls, rpcs, reconfigs; /* in flight */
	uint32_t providers;           /* records kept for others */
	bool is_read_only;            /* a write, sync or read failed */
	bool is_low;                  /* the disk is nearly full */
	int64_t clock_off_ms;         /* this host's wall clock minus the time taken from the cluster */
	bool is_drained;              /* gives its slots away, or has */
	bool is_leaving;              /* and goes for good when it has */
	bool is_left;                 /* has gone: this data is of a retired identity and must not start again */
};
void agi_dht_status(const struct agi_dht *d, struct agi_dht_status *out);

/* Slots on the move, as this node sees and does it. Counts are since its start. */
struct agi_move_stats {
	uint64_t bytes_in, bytes_out, records_in;  /* records of slots, keys and values */
	uint64_t throttled;        /* pages that had to wait for their share of the bandwidth */
	uint64_t slots_led;        /* changes this node led to their decision */
	uint64_t slots_in, slots_out;              /* became a member with all records; gave a slot away */
	uint64_t copies_failed, copies_dropped;
	uint64_t bytes_sealed;     /* of bytes_in: after the seal, when nobody could copy any more */
	uint64_t sealed, sealed_us, sealed_max_us; /* times a slot did not serve here during a change */
};
struct agi_dht_moves {
	struct agi_move_stats stats;
	uint32_t wanted;           /* slots led by this node that should have another view, those in work included */
	uint32_t preparing, proposing, joining, leaving, copying; /* in work here */
	uint32_t copies;           /* held as copies for views to come */
	bool is_settled;           /* every slot here is as it should be, for all this node knows */
	uint64_t bytes_per_s_limit;
	uint32_t slots_limit;
	double bytes_in_per_s, slots_per_s; /* over the last ten seconds */
};
void agi_dht_moves(const struct agi_dht *d, struct agi_dht_moves *out);
/* Counted since the start. */
struct agi_repair_stats {
	uint64_t compared, differed;      /* slots, once for each other member */
	uint64_t pulls, pulls_failed;     /* of slots that differed */
	uint64_t items, bytes;            /* pulled: they were missing or older here */
	uint64_t hash_bytes;              /* received and sent to find them */
	uint64_t registers;               /* made alike by their leaders at this node's request */
	uint64_t sweeps, tombstones;      /* slots searched for dead items as their first member, and those collected */
	uint64_t hints_expired, writes_below_floor; /* hints not delivered, items not taken: too old */
	/* now */
	uint32_t slots_known, slots_held; /* slots whose trees are known, of how many */
	uint64_t oldest_ms;               /* since the slot that waits longest was compared with all its members */
};
void agi_dht_repair_stats(const struct agi_dht *d, struct agi_repair_stats *out);

struct agi_member {
	struct agi_contact contact;
	enum agi_link_state state;
	uint32_t rtt_us;              /* smoothed (RFC 6298's alpha); UINT32_MAX = not measured */
	uint64_t state_since_us;      /* monotonic */
	uint32_t estimate_us;         /* round trip by coordinates; UINT32_MAX = none is known */
};
/* i-th member, self first; false past the end. */
bool agi_dht_member(const struct agi_dht *d, size_t i, struct agi_member *out);
/* What this node holds or knows of a slot; false when it knows nothing. */
bool agi_dht_slot(const struct agi_dht *d, uint32_t slot, struct agi_view *view,
                  enum agi_view_phase *phase);
uint32_t agi_dht_slot_of(const struct agi_dht *d, struct agi_str ns, struct agi_str key);
/* A stored VIEWS record, read without a core (of a copy of the store, say). CORRUPT. */
AGI_MUST_USE enum agi_err agi_dht_read_view(struct agi_str key, struct agi_str value, struct agi_view *view,
                                            enum agi_view_phase *phase);
/* A stored ITEMS record; borrowed. CORRUPT. */
AGI_MUST_USE enum agi_err agi_dht_read_item(struct agi_str key, struct agi_str value, struct agi_item *out);
/* A stored STRONG record: value, lease, is_tombstone, and the version a client sees in version.hlc; the record's
 * first AGI_VERSION_BYTES order it among others of its key. Borrowed. CORRUPT. */
AGI_MUST_USE enum agi_err agi_dht_read_register(struct agi_str key, struct agi_str value, struct agi_item *out);
/* The Merkle trees of what this node holds of a slot (NULL: nothing); false while they are not known. */
struct agi_merkle;
bool agi_dht_trees(const struct agi_dht *d, uint32_t slot, const struct agi_merkle **items,
                   const struct agi_merkle **strong);
/* Cached healthy instances of a followed service, nearest first, hosts known to be down left out;
 * returns how many were written. */
size_t agi_dht_known_instances(const struct agi_dht *d, struct agi_str service,
                               struct agi_instance *out, size_t max);
/* The same as DISCOVER would answer now: with those, marked stale, that this node does not see any more but keeps as it
 * may be cut off itself. */
size_t agi_dht_found_instances(const struct agi_dht *d, struct agi_str service,
                               struct agi_instance *out, size_t max);
/* False until the registry has been asked for the service once. is_stale: the last time it did not answer;
 * n_records: instances that are known, those included that agi_dht_known_instances leaves out. */
bool agi_dht_service_known(const struct agi_dht *d, struct agi_str service, bool *is_stale, size_t *n_records);
/* i-th registration on this host; false past the end. config as given to REGISTER. */
bool agi_dht_registration(const struct agi_dht *d, size_t i, struct agi_provider *out,
                          struct agi_str *config);
/* Walks every structure and asserts its invariants (after each simulated step). */
void agi_dht_check(const struct agi_dht *d);

#endif
