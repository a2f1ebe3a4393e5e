/* SPDX-License-Identifier: Apache-2.0
 * The daemon's configuration: YAML files, environment and command line laid over the defaults, into one
 * struct, checked on the way in. agihpc.yaml(5) is the page for operators.
 *
 * One table (config_schema.c) names every key with type, bounds, default and one line of help; loading,
 * error texts, dumping and the man page's test all come from it. A later source wins over an earlier one;
 * lists are replaced, not joined.
 *
 * Not here: resolving names, opening sockets, reading key files, reloading. Used by the daemon and by
 * agihpc-ctl config check. No globals; one config may be filled by one thread at a time.
 *
 * Life: agi_config_defaults → agi_config_load_file … → agi_config_env → agi_config_set … →
 *       agi_config_check → use → agi_config_free. */
#ifndef AGI_CONFIG_CONFIG_H
#define AGI_CONFIG_CONFIG_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/limits.h"

enum {
	AGI_CONFIG_FILE_BYTES_MAX = 1 << 20, /* a configuration is written by people */
	AGI_CONFIG_DEPTH_MAX = 8,            /* the deepest key needs 5 (dht.services[].health_check.kind) */
	AGI_CONFIG_NODES_MAX = 16384,        /* scalars, lists and sections of one file */
	AGI_CONFIG_FILES_MAX = 16,           /* --config may be given so often */
	AGI_CONFIG_LIST_MAX = 1024,          /* items of one list */
	AGI_CONFIG_SERVICES_MAX = 256,       /* dht.services on one host */
	AGI_CONFIG_TEXT_MAX = 1024,          /* bytes of one string */
	AGI_CONFIG_ACTIVE_MAX = 256,         /* of roles.*.max_active: instances of a service that a node knows */
	AGI_CONFIG_KEYS_MAX = 192            /* rows of the schema (asserted) */
};

enum agi_log_level { AGI_LOG_ERROR, AGI_LOG_WARN, AGI_LOG_INFO, AGI_LOG_DEBUG };
enum agi_log_format { AGI_LOG_LOGFMT, AGI_LOG_JSON };
enum agi_consistency { AGI_CONSISTENCY_EVENTUAL, AGI_CONSISTENCY_STRONG };
enum agi_config_level { AGI_CONFIG_ONE, AGI_CONFIG_QUORUM, AGI_CONFIG_ALL, AGI_CONFIG_STRONG };
enum agi_evaluation { AGI_EVALUATION_STRICT, AGI_EVALUATION_REFERENCE };
enum agi_fail_action { AGI_FAIL_BLOCK }; /* a failure never becomes a permission: there is no other */
/* In the order of roles/safety_gateway/vote.h agi_quorum_rule. */
enum agi_config_quorum { AGI_CONFIG_MAJORITY, AGI_CONFIG_UNANIMOUS, AGI_CONFIG_BYZANTINE };
enum agi_bond_action { AGI_BOND_BLOCK, AGI_BOND_REVISE };
/* By the machine, or so many; node/io_host.h agi_io_loops. */
enum agi_io_loops { AGI_IO_LOOPS_AUTO, AGI_IO_LOOPS_0, AGI_IO_LOOPS_8 = AGI_IO_LOOPS_0 + 8 };
enum agi_switch { AGI_SWITCH_OFF, AGI_SWITCH_ON }; /* "false", "true" */
/* gRPC and HTTP without TLS, where there is TLS: from everywhere, from this host, not at all. */
enum agi_config_plaintext {
	AGI_CONFIG_PLAINTEXT_ALLOW,
	AGI_CONFIG_PLAINTEXT_LOOPBACK,
	AGI_CONFIG_PLAINTEXT_REFUSE
};
enum agi_grpc_compression { AGI_COMPRESSION_ASKED, AGI_COMPRESSION_ACCEPTED, AGI_COMPRESSION_NEVER };
enum agi_check_kind { AGI_CHECK_TCP, AGI_CHECK_GRPC, AGI_CHECK_HTTP, AGI_CHECK_NONE };

/* Strings are owned by the config, terminated, never NULL; "" means not given. */
struct agi_config_list {
	char **v;
	size_t n;
};

/* A section of names, each with one of the schema's choices (as in its enum). */
struct agi_config_choice {
	char *name;
	int choice;
};
struct agi_config_choices {
	struct agi_config_choice *v;
	size_t n;
};

/* A name or address that the shell resolves. */
struct agi_endpoint {
	char *host;    /* "" = not given */
	uint16_t port;
};
struct agi_endpoints {
	struct agi_endpoint *v;
	size_t n;
};

/* dht.services[i]: a process on this host that the node checks and advertises. A name that is also one
 * of this node's roles only sets how that role is checked: it does not advertise it a second time. */
struct agi_config_service {
	char *name;                 /* a DNS label */
	uint16_t port;
	char *address;              /* host to advertise, without port; "" = the node's advertised ip */
	enum agi_switch tls;        /* default false; true: it speaks TLS */
	uint32_t check_interval_ms; /* default 5000 */
	enum agi_check_kind check;  /* default tcp */
	char *check_path;           /* http: request path; grpc: service name; "" = "/" or overall */
	uint32_t check_timeout_ms;  /* default 1000 or the interval if that is shorter */
	unsigned line;              /* where it begins, in the file that dht.services came from */
};
struct agi_config_services {
	struct agi_config_service *v;
	size_t n;
};

/* Where a value comes from: a file and line, or line 0 and "default", "environment NAME", "command line". */
struct agi_config_source {
	const char *name; /* owned by the config */
	unsigned line;
};

/* How many of the hosts that could serve a role do (roles/activation.h); min_active and max_active 0: all. */
struct agi_config_role {
	uint32_t min_active;          /* 0: max_active */
	uint32_t max_active;          /* 0: no limit; after _check else at least min_active */
	double target_load;           /* above 0, up to 1 */
	uint32_t scale_down_after_ms; /* 5 min */
};

struct agi_config {
	struct { /* node: */
		struct agi_addr listen;    /* 0.0.0.0:5000 */
		struct agi_addr advertise; /* port 0 = not given: take listen (the shell picks when it is 0.0.0.0) */
		char *unix_socket;         /* "" = none */
		char *data_dir;            /* /var/lib/agihpc */
		char *backup_dir;          /* "" = no backups */
		char *zone;                /* "" = none */
		double weight;             /* 1.0 */
		struct agi_config_list roles;  /* "erisml", "safety-gateway", "in-action", "post-action" */
		enum agi_io_loops io_loops;    /* threads that have the overlay port's gRPC connections */
		enum agi_switch forward;       /* true: calls of roles that run elsewhere are handed on */
		struct agi_config_list exec_checks; /* absolute paths of what checks of kind exec may run, directories too */
		struct agi_addr role_address;  /* port 0 always; after _check the ip of listen when not given */
		char *cluster_key_file;
		char *cluster_key_file_old;    /* "" = no rotation going on */
		enum agi_log_level log_level;  /* info */
		enum agi_log_format log_format; /* logfmt */
		uint32_t slot_bits;
		uint32_t down_after_ms, stable_after_ms, genesis_wait_ms;
		struct { /* node.store: */
			uint64_t cache_bytes, memtable_bytes; /* as struct agi_store_cfg */
			uint64_t reserve_bytes;     /* 256 MiB; free space below which no new data is taken */
			uint32_t scrub_interval_ms; /* 7 days; 0 = never */
			uint64_t scrub_rate_bytes;  /* 8 MiB a second */
		} store;
		struct { /* node.admission: as struct agi_admit_cfg */
			uint32_t running_max, queued_max;
			uint64_t running_bytes_max, queued_bytes_max;
		} admission;
		struct { /* node.grpc: as struct agi_grpc_server_cfg, for every gRPC server of the node */
			uint64_t recv_max_bytes, conn_max_bytes, header_max_bytes;
			uint32_t connections_max, streams_max;
			uint32_t keepalive_ms, keepalive_timeout_ms;
			uint32_t age_max_ms, age_grace_ms; /* 0 = never, as long as it takes */
			enum agi_grpc_compression compression;
		} grpc;
	} node;
	struct { /* tls: after _check cert_file and key_file are both given or neither */
		char *cert_file, *key_file; /* "" = no TLS */
		char *client_ca_file;       /* "" = clients' certificates are not asked for */
		char *ca_file;              /* of whom this node calls; "" = the system's */
		char *server_name;          /* of whom this node calls; "" = as dialled */
		enum agi_switch require_client_cert;
		struct agi_config_list admin_names;  /* of client certificates */
		enum agi_config_plaintext plaintext; /* loopback; without TLS it means nothing */
	} tls;
	struct { /* auth: */
		char *tokens_file; /* "" = no tokens: everybody may read, write and check */
	} auth;
	struct { /* dns: */
		struct agi_addr listen; /* port 0 = no DNS */
		char *domain;           /* "agihpc"; in lower case, without a dot at its end */
		uint32_t ttl_ms;        /* 1000; whole seconds count */
	} dns;
	struct { /* dht: */
		struct agi_endpoints bootstrap_nodes; /* at most AGI_BOOTSTRAP_MAX, port default 5000 */
		uint32_t replication_factor, virtual_nodes;
		uint64_t rebalance_bytes_per_s; /* 0 = no limit; after _check at least AGI_REBALANCE_BYTES_MIN */
		uint32_t rebalance_slots;
		uint32_t repair_interval_ms;
		uint64_t repair_bytes_per_s;
		uint32_t hint_ttl_ms, tombstone_grace_ms; /* after _check the first is the shorter one */
		uint32_t lookup_paths;
		enum agi_consistency consistency; /* eventual */
		struct agi_config_choices namespaces; /* enum agi_config_level; names as clients give them */
		struct agi_config_services services;
	} dht;
	struct { /* gateway: */
		uint16_t port;                     /* of the safety-gateway role, 50055 */
		struct agi_endpoint erisml_address; /* "" = erisml as the overlay finds it */
		enum agi_switch erisml_tls;         /* this and the next: after _check only with erisml_address */
		char *erisml_token_file;            /* "" = none is shown */
	} gateway;
	struct { /* thresholds:, each 0..1 */
		double bond_index_warn, bond_index_block; /* 0.25, 0.30; after _check warn <= block */
		double physical_harm_threshold;           /* 0.9 */
	} thresholds;
	struct { /* failsafe: */
		enum agi_fail_action erisml_unavailable_action, timeout_action;
		double bond_index_fallback;       /* 1.0; after _check >= bond_index_block */
		uint32_t safety_check_timeout_ms; /* 100 */
	} failsafe;
	struct { /* service: accepted, lh-planner's */
		char *host;
		uint16_t port;
	} service;
	struct { /* safety: */
		struct agi_endpoint gateway_address; /* accepted, lh-planner's */
		double bond_index_threshold; /* after _check: bond_index_block when not given, and bond_index_block
		                              * itself is lowered to this when this is lower: the stricter counts */
		uint32_t quorum;                     /* panel size, 3 */
		enum agi_config_quorum quorum_rule;  /* majority */
		uint32_t byzantine_faults;           /* 1; after _check quorum >= 3 * this + 1 under byzantine */
		enum agi_evaluation evaluation;      /* strict */
		struct agi_config_list banned_tools;
		char *rule_file;                     /* "" = none; after _check only with evaluation strict */
		enum agi_bond_action bond_index_action; /* block */
		char *profile;
		char *profile_dir;                   /* "" = none */
		uint64_t audit_bytes;                /* 1 GiB */
	} safety;
	struct { /* roles:, one for each role */
		struct agi_config_role erisml, safety_gateway, in_action, post_action;
	} roles;
	struct { /* llm: accepted, lh-planner's */
		char *provider, *model;
	} llm;

	/* Private to src/config. */
	struct agi_config_source sources[AGI_CONFIG_KEYS_MAX]; /* by row of the schema */
	struct agi_config_list names;                          /* what sources point to */
};

/* Every key at its default. NOMEM: *c is empty and may be freed. */
AGI_MUST_USE enum agi_err agi_config_defaults(struct agi_config *c, struct agi_why *why);
void agi_config_free(struct agi_config *c);
/* NULL: no role of this version. */
const struct agi_config_role *agi_config_role(const struct agi_config *c, const char *role);

/* Lays one file over c. On error why begins "FILE:LINE: " and names what was wrong and what would be right;
 * c may hold part of the file then: do not use it. IO when the file cannot be read, TOO_LARGE, INVALID,
 * UNSUPPORTED (a value of a later version), NOMEM, FULL (too many files). */
AGI_MUST_USE enum agi_err agi_config_load_file(struct agi_config *c, const char *path,
                                               struct agi_why *why);
/* The bytes of a regular file of at most AGI_CONFIG_FILE_BYTES_MAX (a little more is left to the reader to refuse). out is
 * initialised here and freed by the caller, on error too. IO, TOO_LARGE, NOMEM + why. */
AGI_MUST_USE enum agi_err agi_config_read_file(const char *path, struct agi_buf *out, struct agi_why *why);
/* The same from memory; name stands for the file in errors and sources. */
AGI_MUST_USE enum agi_err agi_config_load_text(struct agi_config *c, const char *name,
                                               struct agi_str text, struct agi_why *why);
/* Lays the guide's variables over c: BOND_INDEX_THRESHOLD, ERISML_ADDRESS, SAFETY_GATEWAY_ADDRESS,
 * PROFILE_NAME. get is getenv outside tests. Unset and empty variables change nothing. */
AGI_MUST_USE enum agi_err agi_config_env(struct agi_config *c, char *(*get)(const char *name),
                                         struct agi_why *why);
/* One key from the command line: path "node.listen", "dht.bootstrap_nodes" (lists: comma-separated).
 * dht.namespaces: NAME=LEVEL, comma-separated. dht.services cannot be given this way. */
AGI_MUST_USE enum agi_err agi_config_set(struct agi_config *c, const char *path, const char *value,
                                         struct agi_why *why);
/* What only all keys together can tell; fills in the values that depend on others (see the fields).
 * INVALID, or UNSUPPORTED with the reason. Run once, last. */
AGI_MUST_USE enum agi_err agi_config_check(struct agi_config *c, struct agi_why *why);

/* The effective configuration as YAML, each value with its source as a comment. What is dumped loads. */
void agi_config_dump(const struct agi_config *c, struct agi_buf *out);

/* --- queries ------------------------------------------------------------------------------------ */
/* One row of the schema, for messages, completion and tests. */
struct agi_config_key {
	char path[64];      /* "dht.replication_factor" */
	char type[160];     /* "a whole number, 1..7" */
	const char *preset; /* the default as it would be written; "" = not given */
	const char *help;   /* one line */
	bool is_for_later;  /* accepted, not used by this version */
};
/* i-th key, in the order of the page; false past the end. Includes dht.services[].… */
bool agi_config_key_at(size_t i, struct agi_config_key *out);
/* i-th key that was given (not by default) and is not used by this version; false past the end. */
bool agi_config_unused(const struct agi_config *c, size_t i, const char **path,
                       struct agi_config_source *source);

#endif
