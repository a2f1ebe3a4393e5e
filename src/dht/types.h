/* SPDX-License-Identifier: Apache-2.0
 * The overlay's nouns as plain values, shared by the core's modules, its messages and its callers. */
#ifndef AGI_DHT_TYPES_H
#define AGI_DHT_TYPES_H

#include "base/addr.h"
#include "base/id.h"
#include "base/limits.h"
#include "dht/coord.h"

/* A host as others know it. */
struct agi_contact {
	struct agi_id id;
	struct agi_addr addr;      /* advertised overlay address */
	uint64_t incarnation;      /* starts of this node identity; grows by one each start */
	uint32_t weight_milli;     /* 1000 = virtual_nodes virtual nodes; 0 = drains: holds no slots when it can be helped */
	bool may_shrink;           /* drains by force: its slots may go on with fewer replicas */
	char zone[AGI_ZONE_MAX + 1]; /* fault domain; "" = none given */
};

/* Order of eventual items: clock, then writer (lessons: last writer wins needs a total order). Its
 * stored form is be64 hlc ‖ node, so that memcmp orders it (AGI_VERSION_BYTES). */
struct agi_version {
	uint64_t hlc; /* hybrid logical clock: wall milliseconds << 16 | counter (Kulkarni et al. 2014) */
	struct agi_id node;
};

struct agi_item {
	struct agi_str ns, key, value;
	struct agi_version version;
	uint64_t expires_ms;  /* wall clock; 0 = never */
	uint64_t lease;       /* a register's: it goes when this lease does; 0 = none */
	bool is_tombstone;
};

/* Who holds a slot. epoch 0 = unknown. */
enum agi_view_phase {
	AGI_VIEW_NONE,     /* this node knows nothing of the slot */
	AGI_VIEW_ACTIVE,   /* a member that answers */
	AGI_VIEW_JOINING,  /* a member that still merges the old members' data; refuses with SEALED */
	AGI_VIEW_SEALED,   /* a member that accepted a proposal for the next epoch; refuses with SEALED */
	AGI_VIEW_LEAVING,  /* no longer a member; keeps its data until the new members are active */
	AGI_VIEW_FORWARD   /* no longer a member, data released; knows the newer view */
};
const char *agi_view_phase_name(enum agi_view_phase p);

struct agi_view {
	uint32_t slot;
	uint64_t epoch;
	uint8_t n_members;
	struct agi_id members[AGI_REPLICAS_MAX]; /* in order of preference (nearest to the slot first) */
};

/* STRONG: a register of its own (linearizable), kept apart from the eventual items. */
enum agi_level { AGI_LEVEL_ONE, AGI_LEVEL_QUORUM, AGI_LEVEL_ALL, AGI_LEVEL_STRONG };
const char *agi_level_name(enum agi_level l);
AGI_MUST_USE enum agi_err agi_level_parse(enum agi_level *out, struct agi_str s);

/* What callers of an instance have to know. Bits, on the wire and under the signature: only ever added. */
enum agi_provider_trait {
	AGI_PROVIDER_TLS = 1,   /* TLS is spoken there */
	AGI_PROVIDER_TOKENS = 2 /* a role of its host, which checks bearer tokens itself: they may be shown to it */
};

/* One advertised instance of a service, signed by its host's key (the signature covers every field
 * before it, in this order; see provider.h). */
struct agi_provider {
	struct agi_str service;   /* "safety-gateway" */
	struct agi_str address;   /* "10.0.0.5:50055": where clients connect */
	uint8_t pubkey[AGI_PUBKEY_BYTES]; /* of the host; node id = its hash */
	struct agi_addr node_addr;  /* the host's overlay address */
	uint64_t incarnation;     /* of the host; records of an older incarnation are ghosts */
	uint64_t seq;             /* grows with every change within one incarnation */
	uint32_t ttl_ms;          /* gone when not refreshed for so long */
	uint32_t load_milli;      /* 0 idle … 1000 full */
	bool is_healthy;
	bool is_withdrawn;        /* deregistered: supersedes older records until it expires */
	char zone[AGI_ZONE_MAX + 1];
	uint32_t traits;          /* of agi_provider_trait; those of later versions are kept */
	uint8_t sig[AGI_SIG_BYTES];
	/* A hint for those who do not know the host, not signed: an older node could not verify a signature over it, and
	 * who would change it could as well leave the record out. */
	bool has_coord;
	struct agi_coord coord;
};

#endif
