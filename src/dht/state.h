/* SPDX-License-Identifier: Apache-2.0
 * struct agi_dht: what the modules of src/dht share. Private to src/dht.
 *
 *   dht.c        public functions, dispatch of messages        rpc.c       requests to peers, storage jobs
 *   call.c       client calls open at this node             stamp.c     time and stamps of writes
 *   latency.c    round trips, measured and estimated        coord.c     network coordinates
 *   nearest.c    the nearest instance of a service
 *   hosts.c      hosts known, probes, round trips, ring         member.c    join, genesis, persisted contacts
 *   suspect.c    others are asked, own health                 near.c      hosts that are probed at the full interval
 *   lookup.c     iterative lookup                               view.c      slot views: records, learning
 *   acceptor.c   a member's part in a view change
 *   view_fetch.c who holds a slot?                              reconf.c    what each slot's phase calls for
 *   prepare.c propose.c join.c leave.c  the work of a view change
 *   copy.c       a slot is copied beforehand                    transfer.c pull.c  records of a slot, both sides
 *   tree.c       Merkle trees of the slots held
 *   kv.c         put/get/delete coordinator                    inner.c     calls of the core to itself
 *   page.c       many records of many slots, at a member        scan.c      scans by prefix
 *   repair.c repair_*.c  keeping replicas alike (repair.h)      sweep.c sweep_serve.c  dead items go for good
 *   feed.c       a member tells of changes                     watch*.c    watches of clients
 *   batch.c      several writes in one call                     lease*.c    leases and locks
 *   replica.c    serving writes and reads                       hint.c      writes owed to absent replicas
 *   provider.c   what a record's signature covers               records.c   sets of records
 *   registry.c   advertise, keep for others                     discover.c  find, follow, cache
 *   drain.c farewell.c  this host is emptied, leaves            plan.c      which view a slot should have
 *   recover.c    a slot whose majority is gone for good */
#ifndef AGI_DHT_STATE_H
#define AGI_DHT_STATE_H

#include "base/buf.h"
#include "base/map.h"
#include "base/pool.h"
#include "base/prng.h"
#include "dht/bucket.h"
#include "dht/dht.h"
#include "dht/gather.h"
#include "dht/hlc.h"
#include "dht/latency.h"
#include "dht/mutant.h"
#include "dht/provider.h"
#include "dht/records.h"
#include "dht/ring.h"
#include "dht/slot.h"
#include "dht/timers.h"
#include "dht/tree.h"
#include "dht/wall.h"

struct agi_slot;

/* --- requests to peers (rpc.c) ------------------------------------------------------------------ */
/* err OK: answer is set (possibly with a status of its own); else UNREACHABLE, TIMEOUT, FULL, NOMEM,
 * CLOSED or what a REFUSED said. */
typedef void agi_rpc_fn(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                        const struct agi_peer *from, const struct agi_msg *answer);
struct agi_rpc {
	uint64_t id;
	struct agi_peer to;
	enum agi_traffic traffic;
	agi_rpc_fn *fn;
	void *arg;
	uint32_t which;
	struct agi_timer timeout;
	enum agi_err fail_with; /* what the timer will report */
	UT_hash_handle hh;
};
struct agi_rpcs {
	struct agi_rpc *by_id;
	uint64_t next_id;
	uint32_t n;
};
/* Sends m (its rpc_id is set here) and calls fn once, never before return, unless cancelled. Returns the
 * request's id. A failure to send is reported through fn like any other; 0 only when out of memory. */
uint64_t agi_rpc_ask(struct agi_dht *d, const struct agi_peer *to, enum agi_traffic traffic,
                     struct agi_msg *m, uint32_t timeout_ms, agi_rpc_fn *fn, void *arg, uint32_t which);
void agi_rpc_cancel(struct agi_dht *d, uint64_t id);
/* Delivers an answer; false when nobody waits for it. */
bool agi_rpc_answer(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_rpc_unreachable(struct agi_dht *d, const struct agi_peer *peer, enum agi_traffic traffic,
                         enum agi_err err);
void agi_rpcs_free(struct agi_dht *d);
/* Answers a request over the link it came by. */
void agi_answer(struct agi_dht *d, const struct agi_peer *to, const struct agi_msg *request,
                struct agi_msg *answer);
void agi_answer_on(struct agi_dht *d, enum agi_traffic traffic, const struct agi_peer *to,
                   uint64_t rpc_id, struct agi_msg *answer);

/* --- storage jobs (rpc.c) ------------------------------------------------------------------------ */
typedef void agi_job_fn(struct agi_dht *d, void *arg, const struct agi_storage_done *done);
struct agi_job {
	uint64_t id;
	agi_job_fn *fn; /* NULL: nobody waits, only failures are noted */
	void *arg;
	bool saves_slot; /* it writes the record of … */
	uint32_t slot;   /* … this slot, with this promise for registers in it (round 0 = none) */
	struct agi_ballot promise;
	struct agi_tree_note *note; /* what its completion changes in the slots' trees */
	struct agi_feed_note *feed_note; /* and what it has to tell to watches */
	struct agi_lease_note *lease_note; /* and leases in it */
	UT_hash_handle hh;
};
struct agi_jobs {
	struct agi_job *by_id;
	uint64_t next_id;
};
/* Returns the job's id (0 when out of memory: nothing was submitted). */
uint64_t agi_job_submit(struct agi_dht *d, const struct agi_storage_req *req, agi_job_fn *fn, void *arg);
/* It writes the slot's record as it is now. */
void agi_job_saves(struct agi_dht *d, uint64_t id, const struct agi_slot *s);
/* The job goes on, but fn will not be called. */
void agi_job_forget(struct agi_dht *d, uint64_t id);
void agi_dht_jobs_free(struct agi_dht *d);

/* --- hosts (hosts.c) ------------------------------------------------------------------------------ */
/* Whether others reach a host that did not answer us. */
enum agi_vouch { AGI_VOUCH_UNKNOWN, AGI_VOUCH_YES, AGI_VOUCH_NO };
struct agi_inquiry;
struct agi_host {
	struct agi_contact c;
	struct agi_dht *d;
	enum agi_link_state state;
	bool is_in_ring;
	bool is_cut;             /* SUSPECT: out of this node's reach, but not known to be dead */
	uint8_t lost;            /* probes lost in a row */
	uint8_t excused;         /* … and those that our own stalls excuse */
	enum agi_vouch vouch;    /* of the last inquiry since it was UP */
	struct agi_inquiry *inquiry; /* others are being asked; NULL = they are not */
	uint32_t srtt_us;        /* UINT32_MAX = not measured */
	uint64_t since_us;       /* of state */
	uint64_t used_us;        /* when its services were last handed out; 0 = never */
	bool is_near;            /* it matters: probed at the full interval (near.c) */
	uint64_t asked_us;       /* when the probe in flight was sent */
	uint64_t probe_rpc;      /* 0 = none in flight */
	uint32_t copies;         /* slots being copied from it */
	uint64_t refuses_until_us; /* it said that its disk takes no writes: others are asked first */
	struct agi_timer probe;
	int64_t clock_base_ms;   /* its wall clock minus our monotonic one … */
	uint64_t clock_us;       /* … as told then; 0 = never */
	struct agi_latency latency;
	UT_hash_handle hh;       /* by c.id */
};
struct agi_near {
	struct agi_timer look;
	uint64_t generation, chosen_us; /* hosts.generation and time of the last choice */
};
struct agi_hosts {
	struct agi_host *by_id;
	uint32_t up, suspect, down;
	struct agi_ring ring;    /* self and every host not down for longer than down_after */
	uint64_t changed_us;     /* when the ring or a host's state last changed */
	uint64_t generation;     /* grows with every such change; starts at 1 */
	struct agi_near near;
	uint32_t n_near;         /* hosts that are; none is before there are more than cfg.near_hosts */
	uint32_t verifying;      /* contacts being verified */
	uint8_t health;          /* 0 = well … AGI_HEALTH_MAX: probes wait longer (suspect.c) */
	uint64_t stalled_us;     /* when this node was last found to have stood still; 0 = never */
	uint64_t stall_due_us;   /* the deadline that told so: counted once */
	LIST_HEAD(, agi_relay) relays; /* probes for others */
	uint32_t n_relays;
	bool is_self_in_ring;
};
void agi_hosts_free(struct agi_dht *d);
/* From now on the hosts that were loaded are waited for. */
void agi_hosts_start(struct agi_dht *d);
struct agi_host *agi_hosts_find(struct agi_dht *d, const struct agi_id *id);
/* How to reach a node; addr is zero when we do not know. */
struct agi_peer agi_hosts_peer(struct agi_dht *d, const struct agi_id *id);
/* Within this node's reach, as far as it knows. Self counts as up. */
bool agi_hosts_is_up(const struct agi_dht *d, const struct agi_id *id);
/* Somebody says this host exists: it is probed at its address and enters the table when it answers. */
void agi_hosts_heard_of(struct agi_dht *d, const struct agi_contact *c);
/* A verified host: inserts or refreshes. */
void agi_hosts_verified(struct agi_dht *d, const struct agi_contact *c, uint32_t rtt_us);
/* A host we knew before a restart: probed, in the ring, down until it answers. */
void agi_hosts_remembered(struct agi_dht *d, const struct agi_contact *c);
/* Any authenticated message is a sign of life. */
void agi_hosts_alive(struct agi_dht *d, const struct agi_id *id);
/* It is said to miss us: it is shown at once that we live. */
void agi_hosts_show(struct agi_dht *d, const struct agi_id *id);
/* An inquiry has ended: h->vouch says how. */
void agi_hosts_inquired(struct agi_host *h);
/* It said goodbye: down at once. */
void agi_hosts_gone(struct agi_dht *d, const struct agi_id *id);
/* It has left for good: forgotten, here and on disk. */
void agi_hosts_left(struct agi_dht *d, const struct agi_id *id);
/* This host's own place on the ring and what others are told of it. */
void agi_hosts_set_self(struct agi_dht *d, const struct agi_contact *self);
uint32_t agi_hosts_rtt(const struct agi_dht *d, const struct agi_id *id);
/* It answered READ_ONLY or DISK_FULL; for a second it counts as refusing. Self counts by its own disk. */
void agi_hosts_refused(struct agi_dht *d, const struct agi_id *id);
bool agi_hosts_is_refusing(const struct agi_dht *d, const struct agi_id *id);
/* The hosts nearest to target as contacts (self included), nearest first. */
size_t agi_hosts_nearest(const struct agi_dht *d, const struct agi_id *target,
                         const struct agi_contact **out, size_t max);
void agi_hosts_check(const struct agi_dht *d);

/* It is near now: probed soon. */
void agi_hosts_is_near(struct agi_host *h);
/* Something asked of it failed: a host that is probed rarely is probed at once. */
void agi_hosts_failed(struct agi_dht *d, const struct agi_id *id);

/* --- hosts that matter (near.c) ---------------------------------------------------------------------------- */
void agi_near_start(struct agi_dht *d);
/* There are so few that all are near. */
bool agi_near_is_all(const struct agi_dht *d);
/* Something of it was handed out to clients, or to this node's own roles. */
void agi_near_used(struct agi_dht *d, const struct agi_id *id);
uint64_t agi_near_interval_us(const struct agi_host *h);

/* --- suspicion (suspect.c) ------------------------------------------------------------------------------ */
/* Asks up to AGI_INDIRECT others whether they reach this host, unless they are being asked; agi_hosts_inquired then, not
 * before return. With nobody to ask h->vouch is NO at once. */
void agi_suspect_ask(struct agi_host *h);
void agi_suspect_cancel(struct agi_host *h);
void agi_suspect_on_ping_req(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_suspects_free(struct agi_dht *d);
/* Every event begins with it: are timers late? */
void agi_health_look(struct agi_dht *d);
/* A probe was answered, or not in time. */
void agi_health_answered(struct agi_dht *d);
void agi_health_missed(struct agi_dht *d);
/* It stood still itself while it waited for this host: what it did not hear says nothing. At most AGI_STALLS_EXCUSED times
 * in a row. */
bool agi_health_excuses(struct agi_host *h);
/* Most of the hosts that were up do not answer: more likely it is us. */
bool agi_health_is_doubtful(const struct agi_dht *d);
uint32_t agi_health_timeout_ms(const struct agi_dht *d, uint32_t ms);

/* --- membership (member.c) -------------------------------------------------------------------------- */
struct agi_membership {
	struct agi_id cluster;  /* zero = none */
	bool is_founding;       /* a cluster that is not on disk yet */
	bool is_joined;         /* a member that has spoken to another one, or the only one */
	bool is_self_looked_up; /* the lookup of our own id has finished since we joined */
	uint64_t started_us;
	struct agi_timer retry, refresh;
	uint32_t known_before;  /* hosts known at the last refresh */
	bool has_answered[AGI_BOOTSTRAP_MAX]; /* bootstrap peers that said "no cluster" */
	uint64_t rpc[AGI_BOOTSTRAP_MAX];
	char waits_for[64];
};
enum agi_err agi_member_load(struct agi_dht *d, struct agi_str key, struct agi_str value,
                             struct agi_why *why);
void agi_member_start(struct agi_dht *d);
void agi_member_set_bootstrap(struct agi_dht *d, const struct agi_addr *addrs, size_t n,
                              bool is_first_listed);
void agi_member_on_ping(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
/* A PONG or PING told its sender's cluster. Returns false when it is another than ours. */
bool agi_member_saw_cluster(struct agi_dht *d, const struct agi_id *peer, const struct agi_id *cluster);
void agi_member_fill_ping(struct agi_dht *d, struct agi_msg *m);
/* Stores a verified contact for the next start. */
void agi_member_remember(struct agi_dht *d, const struct agi_contact *c);
void agi_member_forget(struct agi_dht *d, const struct agi_id *id);

/* --- drain and leave (drain.c) ----------------------------------------------------------------------- */
enum { AGI_DRAINED = 1, AGI_DRAIN_FORCED = 2, AGI_DRAIN_LEAVES = 4 }; /* on disk: never change */
struct agi_drain {
	uint8_t flags;           /* durable */
	uint64_t left_ms;        /* wall clock; 0 = has not left; durable once it was told */
	bool is_retiring;        /* left_ms is on its way to the disk */
	uint64_t empty_since_us; /* nothing is held here; 0 = something is */
	struct agi_timer look;
	struct agi_farewell {        /* farewell.c: what the others say */
		uint32_t round, waiting; /* answers to come in this one */
		bool is_refused;
		uint8_t n_clean;         /* rounds in a row in which all agreed */
		char waits_for[64];      /* for people; "" = nothing */
	} farewell;
	bool is_unfit;           /* the disk has taken no writes for down_after */
	struct agi_timer unfit;
};
/* The disk takes no writes any more. Idempotent. */
void agi_drain_disk_failed(struct agi_dht *d);
enum agi_err agi_drain_load(struct agi_dht *d, struct agi_str key, struct agi_str value, struct agi_why *why);
void agi_drain_init(struct agi_dht *d);
/* Takes up what was asked for before a restart. */
void agi_drain_start(struct agi_dht *d);
void agi_drain_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
/* Does no slot count on this host, which leaves and holds none? Asks the others; called again until true. */
bool agi_farewell_is_permitted(struct agi_dht *d);
/* Something is held again: what they said is void. */
void agi_farewell_reset(struct agi_dht *d);
void agi_farewell_on_ask(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
/* May a new proposal follow this view? Not when it takes in a host that is drained, leaves, or is not known (any
 * more). What somebody has accepted already is not new. */
bool agi_farewell_permits(struct agi_dht *d, const struct agi_view *present, const struct agi_view *next);

/* --- lookup (lookup.c) -------------------------------------------------------------------------------- */
typedef void agi_lookup_fn(struct agi_dht *d, void *arg, const struct agi_contact *nearest, size_t n,
                           const struct agi_hop *hops, size_t n_hops);
struct agi_lookup;
/* Iterative lookup of the k hosts nearest to target over disjoint paths; fn is called once, never before return, unless
 * cancelled. NULL when out of memory. */
struct agi_lookup *agi_lookup_start(struct agi_dht *d, const struct agi_id *target, agi_lookup_fn *fn,
                                    void *arg);
/* The same by one path that believes whom it asks: cheaper, for looking around. */
struct agi_lookup *agi_lookup_start_plain(struct agi_dht *d, const struct agi_id *target, agi_lookup_fn *fn,
                                          void *arg);
void agi_lookup_cancel(struct agi_lookup *l);
void agi_lookup_on_find_node(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_lookups_free(struct agi_dht *d);

/* --- slot views (view.c) -------------------------------------------------------------------------------- */
struct agi_reconf;
struct agi_slot {
	struct agi_view view;
	enum agi_view_phase phase;
	struct agi_ballot promised, accepted; /* for epoch view.epoch + 1 */
	struct agi_view proposal;             /* what was accepted; meaningful when accepted.round > 0 */
	uint8_t n_prev;
	struct agi_id prev[AGI_REPLICAS_MAX]; /* members of view.epoch - 1 */
	struct agi_reconf *reconf;            /* the change this node works on, or NULL */
	uint64_t retry_us;                    /* not before */
	uint64_t settled;                     /* hosts.generation at which it needed no change; 0 = look */
	uint64_t round;                       /* highest ballot round seen */
	struct agi_ballot strong_promised;    /* whose register writes this member accepts */
	struct agi_ballot strong_saved;       /* the highest of these known to be on the disk */
	struct agi_lead *lead;                /* our own leadership of the slot's registers, or NULL */
	uint32_t installing;                  /* newer views on their way to the disk */
	struct agi_tree tree;
	bool is_copy;                         /* durable: what is stored of it was only copied (copy.c) */
	uint64_t ahead_job;                   /* a save on its way that is ahead of what stands here (agi_slot_save); 0 = none */
	uint64_t ahead_epoch;                 /* of it; another than the view's: the slot is being taken over */
	enum agi_view_phase ahead_phase;      /* what it writes, as must every save behind it */
	bool ahead_is_copy, ahead_is_stale;
	uint32_t copy_tries;
	uint64_t copy_until_us;               /* is_copy, no member: dropped then; 0 = not asked since the start */
	uint64_t copied_us;                   /* when it was last brought up to date; 0 = never */
	uint64_t copy_progress;               /* changes while records are on their way */
	uint64_t planned;                     /* hosts.generation for which is_wanted holds; 0 = look */
	bool is_wanted;                       /* this node leads the slot and wants another view of it */
	uint64_t unserved_us;                 /* an active member that was sealed then; 0 = it serves */
	uint64_t floor;                       /* durable: stamp up to which dead items were collected (sweep.h) */
	uint64_t sweep_us, sweep_strong_us;   /* items, registers: not swept again before */
	struct {                              /* registers written before at_us (0 = none) are below this ballot */
		uint64_t epoch, at_us;
		struct agi_ballot ballot;
	} sweep_mark;
	bool is_stale;                        /* durable: a member of old, not yet made to fit (join.c) */
	uint32_t same_s[AGI_REPLICAS_MAX];    /* when it was last found, or made, like that member's; 0 = not yet */
	uint64_t active_us;                   /* since when it is active in this view, or this node runs */
	uint32_t sweeps;                      /* how often tombstones were dropped here since the start */
};
struct agi_vfetch;
/* What a node may be doing for a slot; one thing at a time. */
enum agi_work {
	AGI_WORK_VERIFY,  /* reconf.c: is the view still the newest? */
	AGI_WORK_PREPARE, /* prepare.c */
	AGI_WORK_PROPOSE, /* propose.c */
	AGI_WORK_JOIN,    /* join.c */
	AGI_WORK_LEAVE,   /* leave.c */
	AGI_WORK_COPY,    /* copy.c */
	AGI_WORK_DROP,    /* copy.c */
	AGI_WORK_RECOVER, /* recover.c */
	AGI_WORKS
};
struct agi_slots {
	struct agi_slot **by_number; /* 2^slot_bits, NULL = nothing known */
	uint32_t n;
	uint32_t in_phase[AGI_VIEW_FORWARD + 1];
	struct agi_vfetch *fetches;  /* by slot */
	uint32_t n_works[AGI_WORKS], n_wanted, n_copies;
	struct agi_timer scan;
	uint32_t scan_next;
	uint64_t scan_due_us;        /* this pass: when the first unsettled slot wants to be looked at again */
	bool scan_found_work;        /* this pass: more than copies that are kept a while */
	uint64_t idle_until_us;      /* the next pass is due then, and only to drop such copies; 0 = else */
};
enum agi_err agi_views_init(struct agi_dht *d);
void agi_views_free(struct agi_dht *d);
enum agi_err agi_view_load(struct agi_dht *d, struct agi_str key, struct agi_str value,
                           struct agi_why *why);
/* This node becomes the only member of every slot at epoch 1: all records and extra in one atomic write. */
void agi_views_genesis(struct agi_dht *d, const struct agi_storage_op *extra, agi_job_fn *fn);
struct agi_slot *agi_slot_find(const struct agi_dht *d, uint32_t slot);
/* A record with a view of another epoch is on its way: what would change the present one comes too late. */
bool agi_slot_is_taken_over(const struct agi_slot *s);
bool agi_slot_is_held(const struct agi_slot *s); /* data is here: active, joining, sealed, leaving */
void agi_slot_set_phase(struct agi_dht *d, struct agi_slot *s, enum agi_view_phase p);
void agi_slot_set_copy(struct agi_dht *d, struct agi_slot *s, bool is_copy);
void agi_slot_set_wanted(struct agi_dht *d, struct agi_slot *s, bool is_wanted);
/* Writes the record; up to two extra operations go into the same atomic write. s may be a changed copy of the slot: its
 * phase, is_copy and is_stale are to become the slot's own when they are on the disk. Until then every other save of
 * the slot writes them too, or it would undo them. A copy with another view takes the slot over: until it is on the
 * disk, nothing but a newer view may be saved. */
uint64_t agi_slot_save(struct agi_dht *d, const struct agi_slot *s, const struct agi_storage_op *extra,
                       size_t n_extra, agi_job_fn *fn, void *arg);
/* Somebody's view of a slot, and the members of the epoch before it. Installed when newer. */
void agi_view_learn(struct agi_dht *d, const struct agi_view *v, const struct agi_id *prev,
                    uint8_t n_prev);
/* The status a replica answers a request of this epoch with; OK only for an active member. When the
 * requester is behind, fills the answer's view. */
enum agi_err agi_view_admit(struct agi_dht *d, const struct agi_peer *from, uint32_t slot, uint64_t epoch,
                            struct agi_msg *answer);
/* Puts the view, its phase here and the members before it into an answer; _fill adds their contacts. A view
 * never travels without the members before it: a new member could not tell whom to learn from. */
void agi_view_tell(const struct agi_slot *s, struct agi_msg *answer);
void agi_view_fill(struct agi_dht *d, const struct agi_slot *s, struct agi_msg *answer,
                   struct agi_contact contacts[AGI_REPLICAS_MAX]);
/* Learns from an answer that carries a view (VIEW_INFO, WRITE_ACK, ...). */
void agi_view_learn_from(struct agi_dht *d, const struct agi_msg *answer);
/* The same as an agi_rpc_fn without an argument. */
void agi_view_on_told(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                      const struct agi_msg *m);
/* Recovery: what s becomes when this node, alone, goes on in another epoch; first on paper, to be saved, … */
void agi_slot_alone(struct agi_slot *s, const struct agi_view *v, uint64_t round_jump);
/* … then, when that is on the disk, here. */
void agi_view_take_over(struct agi_dht *d, struct agi_slot *s, const struct agi_view *v, uint64_t round_jump);

typedef void agi_vfetch_fn(struct agi_dht *d, void *arg, enum agi_err err);
struct agi_vwait {
	agi_vfetch_fn *fn;
	void *arg;
	bool is_waiting;
	TAILQ_ENTRY(agi_vwait) entry;
	struct agi_vfetch *fetch;
};
/* Finds who holds the slot; fn once, never before return: OK means agi_slot_find has a view. The wait
 * struct is the caller's and must live until then or until cancelled. */
void agi_vfetch_wait(struct agi_dht *d, uint32_t slot, struct agi_vwait *w);
void agi_vfetch_cancel(struct agi_dht *d, struct agi_vwait *w);
void agi_vfetches_free(struct agi_dht *d);

/* Could this be a view of our cluster? (slot, epoch, number and distinctness of members) */
bool agi_view_is_sane(const struct agi_dht *d, const struct agi_view *v);
/* Somebody used an epoch newer than ours: asks it for its view. */
void agi_view_fetch_from(struct agi_dht *d, const struct agi_peer *from, uint32_t slot);
void agi_view_on_get(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_view_on_prepare(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_view_on_accept(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_view_on_decided(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_transfer_on_pull(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_transfer_on_compare(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
int agi_ballot_cmp(const struct agi_ballot *a, const struct agi_ballot *b);

/* --- how much moves (dht.c) ------------------------------------------------------------------------------------ */
struct agi_move {
	struct agi_bucket in, out;      /* background transfers, each direction */
	struct agi_rate rate_in, rate_slots;
	struct agi_move_stats stats;
};
/* --- lost majorities (recover.c) ----------------------------------------------------------------------------- */
struct agi_recovery;
void agi_recover_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_recover_free(struct agi_dht *d);
void agi_copy_on_ask(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);

/* --- who should hold a slot (plan.c) ------------------------------------------------------------------------ */
/* The view this slot should have next; false when it should stay, or cannot change now. */
bool agi_plan_next(const struct agi_dht *d, const struct agi_slot *s, struct agi_view *next);

/* --- reconfiguration (reconf.c) ---------------------------------------------------------------------------- */
void agi_reconf_init(struct agi_dht *d);
/* Something changed: look at every slot soon. */
void agi_reconf_wake(struct agi_dht *d, uint64_t due_us);
bool agi_reconf_is_idle(const struct agi_dht *d); /* nothing is to be looked at, but copies to be dropped later */
void agi_reconf_abort(struct agi_dht *d, struct agi_slot *s);
/* s->reconf is there. */
enum agi_work agi_reconf_kind(const struct agi_slot *s);

/* --- items (replica.c) --------------------------------------------------------------------------------------- */
void agi_item_key(struct agi_buf *b, uint32_t slot, struct agi_str ns, struct agi_str key);
void agi_item_value(struct agi_buf *b, const struct agi_item *item);
/* Both decode into borrowed strings; CORRUPT when the bytes make no sense. */
enum agi_err agi_item_decode(struct agi_item *out, struct agi_str key, struct agi_str value);
/* The value alone; leaves ns and key. */
enum agi_err agi_item_decode_record(struct agi_item *out, struct agi_str value);
void agi_version_encode(uint8_t out[AGI_VERSION_BYTES], const struct agi_version *v);
int agi_version_cmp(const struct agi_version *a, const struct agi_version *b);
/* When it was deleted or expires, in wall milliseconds; AGI_NEVER when neither. */
uint64_t agi_item_dead_ms(const struct agi_item *item);
void agi_replica_on_write(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_replica_on_read(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
/* Writes items of one slot; PUT_NEWER makes it a merge. 0 when out of memory. */
uint64_t agi_items_write(struct agi_dht *d, uint32_t slot, const struct agi_item *items, size_t n,
                         agi_job_fn *fn, void *arg);
/* Key range [begin, end) of one slot's items. */
void agi_slot_range(uint32_t slot, uint8_t begin[4], uint8_t end[4]);

/* --- strong registers (reg.c, lead.c, strong.c) --------------------------------------------------------------- */
/* A register as stored (CF strong, keys as items'). The first 40 bytes order writes: be64 epoch ‖ be64 round ‖
 * first 16 bytes of the leader's id ‖ be64 seq; then flags, be64 version, be64 lease if flagged, value. */
struct agi_reg {
	uint8_t order[AGI_VERSION_BYTES];
	bool is_tombstone;
	uint64_t version; /* round << 32 | seq of the write that set the value: grows with every write of a key */
	uint64_t lease;   /* it goes when this lease does; 0 = none */
	struct agi_str value;
};
enum agi_err agi_reg_decode(struct agi_reg *out, struct agi_str record);
/* Was it written under a lower ballot than this one of that epoch? */
bool agi_reg_is_below(const struct agi_reg *reg, uint64_t epoch, const struct agi_ballot *ballot);
void agi_reg_on_lead(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_reg_on_write(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_reg_on_read(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_lead_on_do(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
/* This node leads the slot, under a ballot higher than any it has used: begins to ask for it as soon as none of its
 * operations is on its way; those that come wait for it. False when out of memory. */
bool agi_lead_renew(struct agi_dht *d, struct agi_slot *s);
/* Led by this node, and every member has promised this ballot, durably. */
bool agi_lead_is_promised_by_all(const struct agi_slot *s, struct agi_ballot *ballot);
/* The slot's view changed or this node stops: what was not finished is answered as unknown or retryable. */
void agi_lead_abort(struct agi_dht *d, struct agi_slot *s);
/* The last requests for strong operations, and the last writes of registers accepted: one that comes twice is done once,
 * and answered once. */
enum { AGI_STRONG_SEEN = 512 };
struct agi_strong_seen {
	uint64_t rpc_id[AGI_STRONG_SEEN];
	struct agi_id from[AGI_STRONG_SEEN];
	uint32_t next;
};
bool agi_strong_seen_has(const struct agi_strong_seen *seen, const struct agi_id *from, uint64_t rpc_id);
void agi_strong_seen_add(struct agi_strong_seen *seen, const struct agi_id *from, uint64_t rpc_id);
struct agi_strong_call;
void agi_strong_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_strong_free_all(struct agi_dht *d);
/* Size limits of a key and its value; fills why. */
enum agi_err agi_kv_check_call(const struct agi_dht *d, const struct agi_call *c, struct agi_why *why);

/* --- coordinator (kv.c) ----------------------------------------------------------------------------------------- */
struct agi_kvop;
void agi_kv_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
/* Hint replay: writes an item that already has its version to target, or, when target is no longer a
 * member of the item's slot, to a majority of those who are. Restoring: target nobody (zero); an item that is older than what was
 * collected in its slot then gets a version just above that. fn once, never before return. */
typedef void agi_kv_done_fn(struct agi_dht *d, void *arg, enum agi_err err);
enum agi_err agi_kv_rewrite(struct agi_dht *d, const struct agi_item *item, const struct agi_id *target,
                            agi_kv_done_fn *fn, void *arg);
void agi_kv_free_all(struct agi_dht *d);

/* --- repair (repair.c, repair_*.c) -------------------------------------------------------------------------------- */
struct agi_repair_peer;
struct agi_repair_reg;
struct agi_repair_serve;
struct agi_repair {
	struct agi_timer tick;
	struct agi_repair_peer *peers;            /* members of our slots, by id */
	TAILQ_HEAD(, agi_repair_reg) regs;        /* registers given to their leaders */
	TAILQ_HEAD(, agi_repair_serve) serves;    /* answers being put together */
	uint32_t n_pulls, n_regs, n_regs_asked, n_serves;
	uint64_t busy_until_us;                   /* what was read and sent so far takes until then */
	struct agi_repair_stats stats;
};
void agi_repair_init(struct agi_dht *d);
void agi_repair_free(struct agi_dht *d);
void agi_repair_wake(struct agi_dht *d, uint64_t due_us);
/* A member came up, or a slot has new members. */
void agi_repair_soon(struct agi_dht *d);
/* Serves what belongs to repair; false when the message does not. */
bool agi_repair_on_message(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);

/* --- collection of dead items (sweep.c) ----------------------------------------------------------------------------- */
struct agi_sweeper;
struct agi_sweep_serve;
struct agi_sweeps {
	struct agi_timer look;
	uint32_t next;                            /* slot to look at first */
	struct agi_sweeper *run;                  /* NULL = none */
	TAILQ_HEAD(, agi_sweep_serve) serves;
	uint32_t n_serves;
};
void agi_sweeps_init(struct agi_dht *d);
void agi_sweeps_start(struct agi_dht *d);
void agi_sweeps_free(struct agi_dht *d);
void agi_sweep_on_sweep(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);

/* --- hints (hint.c) ------------------------------------------------------------------------------------------------ */
struct agi_hint_target;
struct agi_hints {
	uint32_t n;      /* of all targets */
	uint64_t next_seq;
	struct agi_hint_target *by_target;
	struct agi_timer replay;
};
void agi_hints_free(struct agi_dht *d);
enum agi_err agi_hint_load(struct agi_dht *d, struct agi_str key, struct agi_str value,
                           struct agi_why *why);
void agi_hint_init(struct agi_dht *d);
void agi_hint_add(struct agi_dht *d, const struct agi_id *target, const struct agi_item *item);
void agi_hint_wake(struct agi_dht *d);

/* --- registry (registry.c, provider.c) ------------------------------------------------------------------------------ */
struct agi_registration {      /* a service of this host */
	struct agi_provider p;     /* strings point into the arrays below */
	char service[AGI_SERVICE_NAME_MAX + 1], address[AGI_ADDRESS_MAX + 1];
	char *config;              /* owned */
	size_t config_bytes;
	bool is_ephemeral;
	uint64_t withdrawn_us;     /* 0 = live; else told to others until it would have expired */
	struct agi_timer refresh;
	struct agi_dht *d;
	TAILQ_ENTRY(agi_registration) entry;
};
struct agi_known;              /* instances of a service this node asked for (discover.c) */
struct agi_registry {
	struct agi_records records; /* kept for others */
	struct agi_timer expiry;
	TAILQ_HEAD(, agi_registration) local;
	uint32_t n_local;
	struct agi_known *known;
	uint32_t n_known;
};
enum { AGI_PROVIDER_HOLDERS = 5 }; /* hosts nearest to the service's id keep its records */
/* The living hosts that keep records of this service, nearest first. */
/* The host has started anew since: the table of hosts says so. */
bool agi_registry_is_ghost(const struct agi_dht *d, const struct agi_id *node, uint64_t incarnation);
/* Of the hosts it knew, itself included, this one has lost sight of half or more within AGI_PROVIDER_KEEP_MS, or they are
 * just coming back, one after the other: it may be cut off itself, and what it does not hear of any more is kept as last
 * known good. */
bool agi_registry_is_in_doubt(const struct agi_dht *d);
bool agi_registry_is_recent(const struct agi_dht *d, uint64_t since_us, uint32_t ms);
size_t agi_registry_holders(struct agi_dht *d, struct agi_str service,
                            struct agi_peer out[AGI_PROVIDER_HOLDERS]);
enum agi_err agi_registry_load(struct agi_dht *d, struct agi_str key, struct agi_str value,
                               struct agi_why *why);
void agi_registry_start(struct agi_dht *d);
void agi_registry_free(struct agi_dht *d);
void agi_registry_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_registry_on_put(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_registry_on_get(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
void agi_discover_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
void agi_discover_free(struct agi_dht *d);
/* The records last found of a service, expired and unhealthy ones too; NULL: none was asked for. */
const struct agi_records *agi_discover_records(const struct agi_dht *d, struct agi_str service, bool *is_stale);
/* NOT_MEASURED: it may be used; else why not. is_stale: nobody can say whether it has expired. */
enum agi_choice agi_discover_judge(const struct agi_dht *d, const struct agi_record *r, bool is_stale);

/* --- stamps and clocks (stamp.c) ------------------------------------------------------------------------------------------ */
/* A stamp greater than every one made or seen, unless the time was set back by more than max_skew. */
uint64_t agi_stamp_next(struct agi_dht *d);
/* One above another stamp, even when that is too far ahead for our clock to follow. Two writes that overrule the
 * same get different ones. */
uint64_t agi_stamp_above(struct agi_dht *d, uint64_t stamp);
/* A write stamped too far ahead of our clock is refused, but not one that is just above what it has to overrule
 * (above, 0 = nothing): else an item with a stamp of a wrong clock could not be written until that time has come. */
bool agi_stamp_is_refused(const struct agi_dht *d, uint64_t stamp, uint64_t above);
/* Takes note of another node's stamp; one that is too far ahead is not followed: it would have ours refused. */
void agi_stamp_see(struct agi_dht *d, uint64_t stamp);
/* Every event begins with this. */
void agi_clock_enter(struct agi_dht *d, struct agi_now now);
/* A host told its wall clock in an answer that took rtt_us. */
void agi_clock_told(struct agi_dht *d, struct agi_host *h, uint64_t wall_ms, uint64_t rtt_us);
/* Now and then: a node that knows no other host follows its own clock. */
void agi_clock_alone(struct agi_dht *d);

/* --- client calls (call.c) ---------------------------------------------------------------------------------------------- */
struct agi_open_call {
	uint64_t id;
	enum agi_call_kind kind;
	void *op;                               /* whoever works on it */
	void (*cancel)(struct agi_dht *d, void *op);
	UT_hash_handle hh;
};
struct agi_inner;
#define AGI_INNER_CALLS (UINT64_C(1) << 63) /* bit of the ids of calls the core makes to itself (inner.h) */
struct agi_inners {
	struct agi_inner *by_id;
	uint64_t last;
};
/* Starts the work of a call, a client's or an inner one. */
void agi_call_run(struct agi_dht *d, uint64_t call_id, const struct agi_call *call);
/* Registers an open call; FULL or NOMEM (then the caller of agi_dht_call has been answered). */
enum agi_err agi_call_open(struct agi_dht *d, uint64_t call_id, enum agi_call_kind kind, void *op,
                           void (*cancel)(struct agi_dht *d, void *op));
/* Replies and forgets the call. */
void agi_call_reply(struct agi_dht *d, uint64_t call_id, struct agi_result *res);
void agi_call_fail(struct agi_dht *d, uint64_t call_id, enum agi_call_kind kind, enum agi_err err,
                   const char *why);

/* Leases, and items that have one, in the slots that this node holds (lease_sweep.c). */
struct agi_lease_seen;
struct agi_lease_sweep {
	struct agi_lease_seen *by_key;
	size_t bytes;
	uint32_t n_busy;         /* looked at now */
	bool has_overflown;      /* there are more than AGI_LEASES_MAX: look again when there is room */
	struct agi_timer scan;   /* reading what was there at the start, page by page */
	uint32_t scan_slot;
	struct agi_buf scan_after;
	uint64_t scan_job;
};

struct agi_dht {
	struct agi_dht_cfg cfg; /* defaults filled in */
	struct agi_dht_effects fx;
	void *ctx;
	struct agi_now now;      /* of this event; wall_ms is the cluster's time (wall.h) … */
	struct agi_now host_now; /* … and this is the host's own */
	struct agi_wall wall;
	uint64_t clock_judged_us;
	struct agi_prng prng;
	struct agi_coord_self coord;
	struct agi_hlc hlc;
	struct agi_strong_seen strong_seen, reg_seen;
	uint32_t n_above;       /* stamps made by agi_stamp_above */
	struct agi_contact self;
	uint8_t pubkey[AGI_PUBKEY_BYTES];
	struct agi_timers timers;
	struct agi_rpcs rpcs;
	struct agi_jobs jobs;
	struct agi_hosts hosts;
	struct agi_membership member;
	struct agi_drain drain;
	struct agi_slots slots;
	struct agi_trees trees;
	struct agi_move move;
	struct agi_repair repair;
	struct agi_recovery *recovery; /* NULL = none is going on */
	struct agi_sweeps sweeps;
	struct agi_hints hints;
	struct agi_registry registry;
	struct agi_open_call *calls;
	struct agi_inners inners;
	TAILQ_HEAD(, agi_lease_op) lease_ops;
	uint32_t n_lock_waits;
	struct agi_lease_sweep leases;
	TAILQ_HEAD(, agi_batch) batches;
	struct {
		struct agi_watch *by_id;
		size_t bytes;
	} watches;
	struct {
		TAILQ_HEAD(, agi_feed) all;
		uint32_t n;
		uint16_t *per_slot; /* feeds that look at it */
		size_t bytes;       /* of keys that wait to be told */
	} feeds;
	struct {
		TAILQ_HEAD(, agi_scan) open;
		uint32_t n;
	} scans;
	uint32_t n_calls;
	TAILQ_HEAD(, agi_kvop) kvops;
	TAILQ_HEAD(, agi_strong_call) strong_calls;
	TAILQ_HEAD(, agi_lookup) lookups;
	struct {
		TAILQ_HEAD(, agi_nearest) open;
		uint32_t n;
	} nearests;
	uint32_t n_kvops;
	struct agi_buf scratch;   /* agi_scratch's */
	struct { /* of the objects that every operation needs */
		struct agi_pool rpc, job, open_call, kvop, strong_call, strong_op, reg_waiting;
	} pools;
	uint32_t n_digests;     /* slots being read for others to compare */
	bool is_started, is_stopped, is_read_only;
	bool is_low;            /* the disk is nearly full: only what frees, decides or refuses is written */
};

uint64_t agi_after_ms(const struct agi_dht *d, uint64_t ms);
/* An empty buffer for the bytes of one storage request, until it is submitted. */
struct agi_buf *agi_scratch(struct agi_dht *d);
/* Whether storage takes these bytes of a client's or a peer's now: OK, READ_ONLY or DISK_FULL. Deletions and a
 * node's own records are let through when the disk is only nearly full. */
enum agi_err agi_store_admit(const struct agi_dht *d, const struct agi_item *items, size_t n);
void agi_note_dropped(struct agi_dht *d, const struct agi_contact *who, enum agi_err err, const char *text);

#endif
