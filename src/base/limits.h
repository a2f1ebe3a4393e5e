/* SPDX-License-Identifier: Apache-2.0
 * Every bound of the system, with unit and reason. A bound that an operator may change is a default
 * here and a key in agihpc.yaml(5). */
#ifndef AGI_BASE_LIMITS_H
#define AGI_BASE_LIMITS_H

enum {
	/* --- identity and names --- */
	AGI_ZONE_MAX = 31,           /* bytes of a zone name (fits a DNS label's usual length) */
	AGI_SERVICE_NAME_MAX = 63,   /* bytes; a DNS label (RFC 1035 2.3.4), as services are SRV names */
	AGI_ADDRESS_MAX = 261,       /* bytes of "host:port": 255 for a DNS name, ':' and five digits */
	AGI_NAMESPACE_MAX = 63,      /* bytes */
	AGI_LEASE_HOLDER_MAX = 255,  /* bytes; text for people */
	AGI_KEY_MAX = 1024,          /* bytes; keys are hashed and listed, not streamed */

	/* --- slots and replicas --- */
	AGI_SLOT_BITS_DEFAULT = 12,  /* 4096 slots: 1/4096 of the data is a convenient unit to move */
	AGI_SLOT_BITS_MAX = 16,      /* 65536 views fit in memory comfortably */
	AGI_REPLICAS_DEFAULT = 3,
	AGI_REPLICAS_MAX = 7,        /* majority of 7 tolerates 3; more costs latency without reason */
	AGI_VIRTUAL_NODES_DEFAULT = 128,
	AGI_VIRTUAL_NODES_MAX = 1024, /* weight 8.0 at 128 */

	/* --- routing (Kademlia) --- */
	AGI_K = 20,                  /* bucket size and size of a FIND_NODE answer (Kademlia 2.3) */
	AGI_ALPHA = 3,               /* parallel requests of one lookup (Kademlia 2.3) */
	AGI_LOOKUP_MAX = 64,         /* candidates kept by a lookup of one path, and hops told of any */
	AGI_LOOKUP_PATHS_DEFAULT = 8, /* disjoint; S/Kademlia: beyond 8 little is won, even with half of all hosts hostile */
	AGI_LOOKUP_PATHS_MAX = 16,
	AGI_LOOKUP_HOPS_MAX = 20,    /* rounds before a lookup gives up; log2(1e6) */
	AGI_CONTACTS_MAX = 16384,    /* hosts remembered; one-hop routing up to about 10,000 */
	AGI_BOOTSTRAP_MAX = 64,      /* addresses in a bootstrap list */

	/* --- messages --- */
	AGI_VALUE_MAX = 1 << 20,     /* bytes of one item's value */
	AGI_RECORD_HEAD_MAX = 64,    /* bytes a stored record adds to its value (57 for a register with a lease) */
	AGI_LINK_FRAME_MAX = 5 << 20,/* bytes of one link message: a 4 MiB gRPC body and its envelope */
	AGI_PAGE_BYTES = 256 << 10,  /* bytes of items in one transfer page (one item may exceed it) */
	AGI_PAGE_ITEMS = 512,        /* items in one transfer page */
	AGI_BATCH_ITEMS = 64,        /* items in one write message, and in one batch of a client */
	AGI_BATCH_BYTES = 4 << 20,   /* of their keys and values: they must fit one link message */
	AGI_HASHES_MAX = 16 << 10,   /* bytes of hashes in one message: 512 records of a slot, or its leaves */
	AGI_BLOB_MAX = 2 << 20,      /* bytes of other lists: every slot of 2^16 with what is asked of it, or a page of records */
	AGI_PROVIDERS_MSG_MAX = 256, /* provider records in one message */
	AGI_BUF_MAX = 128 << 20,     /* bytes of any one buffer: a 100 MiB gRPC message and its framing */
	AGI_GRPC_RECV_DEFAULT = 4 << 20, /* bytes; grpc's own default (4194304) */

	/* --- work in flight; full answers RESOURCE_EXHAUSTED, never waits --- */
	AGI_CALLS_MAX = 4096,        /* client operations open at one node's core */
	AGI_FEEDS_MAX = 4096,        /* watches a node looks at its slots for */
	AGI_FEED_KEYS = 1024,        /* changed keys one of them waits to be told; beyond, their slots are read anew */
	AGI_FEEDS_BYTES = 64 << 20,  /* of all such keys */
	AGI_WATCHES_MAX = 1024,      /* watches of a node's clients */
	AGI_WATCH_KEYS = 1024,       /* changed keys of one that wait to be read */
	AGI_WATCHES_BYTES = 128 << 20, /* of what all of them remember of slots */
	AGI_SERVICE_WATCHES_MAX = 1024, /* watches of services by a node's clients … */
	AGI_SERVICE_FEEDS_MAX = 64,  /* … and how many services they are of */
	AGI_SERVICE_CHANGES = 256,   /* changes of one that are kept for who reads slowly or comes back: 100 KiB */
	AGI_LEASES_MAX = 100000,     /* leases, and items that have one, that a node watches over … */
	AGI_LOCKS_WAITING = 1024,    /* of the calls that are open on a node: waiting for a lock that is held */
	AGI_LOCK_VALUE_MAX = 4096,   /* bytes, of a lock that is waited for: it is sent with every try */
	AGI_LEASES_BYTES = 32 << 20, /* … and what they may take */
	AGI_SCANS_MAX = 32,          /* scan pages being read by one node's core: about 3 MiB each */
	AGI_SCAN_ITEMS_DEFAULT = 1000, /* items of a page when the client does not say */
	AGI_SCAN_ITEMS_MAX = 10000,
	AGI_SCAN_PAGE_BYTES = 1 << 20, /* keys and values of a page; one item may exceed it */
	AGI_SCAN_COUNT_MAX = 1000000, /* items counted by one page */
	AGI_RPCS_MAX = 65536,        /* requests to peers awaiting their answers */
	AGI_STORE_QUEUE_MAX = 16384, /* storage jobs queued */
	AGI_STORE_QUEUE_BYTES = 64 << 20,
	AGI_HINTS_MAX = 100000,      /* hinted writes kept for unreachable replicas, per node */
	AGI_LINK_QUEUE_BYTES = 32 << 20, /* unsent bytes per link */
	AGI_REPAIR_BYTES = 16 << 20, /* a second, read and sent to keep replicas alike: 10 GiB in 11 minutes */
	AGI_RECONFIG_SLOTS = 32,     /* slots one node works on at once, of each kind of work */
	AGI_REBALANCE_BYTES_MIN = 64 << 10, /* a second: below it a page takes longer than anybody waits */
	AGI_COPIES_PER_PAIR = 32,    /* slots one node copies from one other at once */
	AGI_COMPARE_ITEMS = 1024,    /* keys and versions in one page that is compared */
	AGI_REPAIR_INTERVAL_MS = 600000, /* members of a slot compare: the roots of 4096 slots are 112 KiB */
	AGI_PROVIDERS_MAX = 16384,   /* provider records one node keeps for others */
	AGI_LOCAL_SERVICES_MAX = 1024,

	/* --- links and listeners --- */
	AGI_LINKS_MAX = 4096,        /* links of one node, in any state */
	AGI_LINK_TWINS_MAX = 4,      /* links to one peer on one channel: both sides dialled, and a spare */
	AGI_LINK_REKEY_RECORDS = 1 << 16, /* records under one key: at most 4 GiB is open to a stolen key */
	AGI_LINKS_QUEUE_BYTES = 256 << 20, /* unsent bytes of all links together */
	AGI_LINK_HANDSHAKE_MS = 2000, /* from connect to ready: dozens of round trips anywhere on earth */
	AGI_LINK_IDLE_MS = 300000,
	AGI_LINK_UNACKED_MS = 10000, /* a peer whose host acknowledges nothing for so long is gone */
	AGI_LISTEN_PENDING = 1024,   /* connections that have not said what they are */
	AGI_LISTEN_SNIFF_MS = 10000, /* how long they may take to say it */
	AGI_TLS_PENDING = 256,       /* of them within a TLS handshake: about 50 KiB each */
	AGI_LISTEN_PAUSE_MS = 100,   /* no accept for so long when descriptors run out */

	/* --- times --- */
	AGI_PING_INTERVAL_MS = 1000, /* probe of a contact that matters */
	AGI_PING_TIMEOUT_MS = 1000,
	AGI_PINGS_LOST_DOWN = 3,     /* "dead within three of its own probes" */
	AGI_REPROBE_MS = 250,        /* after a lost probe: confirm or refute soon */
	AGI_NEAR_HOSTS = 64,         /* probed at the full interval; among more, those that matter */
	AGI_PROBES_PER_S = 64,       /* of those near: the cost per node does not grow with the cluster */
	AGI_FAR_PROBES_PER_S = 8,    /* of all others together: 10,000 in 21 minutes */
	AGI_NEAR_LOOK_MS = 2000,     /* after a change of hosts or slots: who matters now? */
	AGI_NEAR_ANEW_MS = 30000,    /* and without one */
	AGI_NEAR_USED_MS = 60000,    /* a host whose service was handed out matters for so long */
	AGI_NEAR_USED_MAX = 16,      /* instances of a service that do, the nearest ones */
	AGI_INDIRECT = 3,            /* others who are asked to reach a host that did not answer (SWIM's k) */
	AGI_INDIRECT_TIMEOUT_MS = 1500, /* their own probe, and the way there and back */
	AGI_INDIRECT_MAX = 256,      /* probes for others at a time */
	AGI_STALL_MS = 250,          /* a timer so late: this node stood still, not the others */
	AGI_STALLS_EXCUSED = 3,      /* lost probes in a row that our own stalls excuse */
	AGI_HEALTH_MAX = 3,          /* probes wait up to 1 + this times as long on a node in trouble */
	AGI_RPC_TIMEOUT_MS = 1000,   /* one request to one peer */
	AGI_CALL_TIMEOUT_MS = 5000,  /* a client operation without a deadline of its own */
	AGI_JOIN_RETRY_MS = 500,
	AGI_GENESIS_WAIT_MS = 3000,  /* first listed node: how long silent others are waited for */
	AGI_REFRESH_MS = 30000,      /* bucket refresh: a lookup of a random id */
	AGI_STABLE_MS = 1500,        /* membership unchanged for so long before slots move */
	AGI_DOWN_AFTER_MS = 300000,  /* a host down for so long is replaced in its slots (5 min) */
	AGI_LEASE_TTL_MIN_MS = 1000, /* shorter ones would end with a host's hiccup */
	AGI_LEASE_TTL_MAX_MS = 86400000,
	AGI_FEED_IDLE_MS = 10000,    /* a watch that is not asked for again by then is over */
	AGI_PROVIDER_TTL_MS = 6000,  /* a provider record not refreshed for so long is gone */
	AGI_PROVIDER_KEEP_MS = 300000, /* … but by a host that may be cut off itself: five minutes, most partitions are shorter */
	AGI_PROVIDER_BACK_MS = 3000, /* … for the hosts of a partition that is over to come back, one after the other */
	AGI_PROVIDER_REFRESH_MS = 2000, /* a third of the TTL: two refreshes may be lost */
	AGI_MAX_SKEW_MS = 5000,      /* a version stamped further ahead than this is refused */
	AGI_HINT_TTL_MS = 10800000,  /* three hours: then the comparison of replicas is cheaper than many hints */
	AGI_EXPIRED_BYTES_MS = 3600000, /* an hour: by then an item's time is over by every clock, however wrong */
	AGI_TOMBSTONE_GRACE_MS = 86400000, /* a day: how long a host may be away and still hand over what it alone has */

	/* --- safety (deployment guide, "failsafe") --- */
	AGI_SAFETY_KNOWN_MS = 3000,  /* what the safety loop was told of gateways is good for so long */
	AGI_SAFETY_TIMEOUT_MS = 100,
	AGI_VOTE_SKEW_MS = 60000,    /* a vote signed further from the router's time proves nothing of when it was made */
	AGI_PANEL_DEFAULT = 3,
	AGI_PANEL_MAX = 7,
	AGI_PLAN_STEPS_MAX = 10000
};

#endif
