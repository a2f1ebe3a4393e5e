/* SPDX-License-Identifier: Apache-2.0 */
#include "config/schema.h"

#include <assert.h>
#include <stdio.h>

#define AT(member) offsetof(struct agi_config, member)
#define IN(member) offsetof(struct agi_config_service, member)

enum { MINUTE_MS = 60000, HOUR_MS = 3600000, DAY_MS = 86400000 };

/* In the order of the enums of config.h. */
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"logfmt", "json", NULL};
static const char *const consistencies[] = {"eventual", "strong", NULL};
static const char *const levels[] = {"one", "quorum", "all", "strong", NULL};
static const char *const evaluations[] = {"strict", "reference", NULL};
static const char *const fail_actions[] = {"BLOCK", NULL};
static const char *const quorum_rules[] = {"majority", "unanimous", "byzantine", NULL};
static const char *const bond_actions[] = {"BLOCK", "REVISE", NULL};
static const char *const io_loops[] = {"auto", "0", "1", "2", "3", "4", "5", "6", "7", "8", NULL};
static const char *const switches[] = {"false", "true", NULL};
static const char *const plaintexts[] = {"allow", "loopback", "refuse", NULL};
static const char *const compressions[] = {"asked", "accepted", "never", NULL};
static const char *const check_kinds[] = {"tcp", "grpc", "http", "none", NULL};

static const char only_block[] = "a failure never becomes a permission";

/* --- refusals --------------------------------------------------------------------------------- */
static const char *refuse_role(const char *text)
{
	static const char *const now[] = {"erisml", "safety-gateway", "in-action", "post-action"};
	static const char *const later[] = {"episodic-memory", "semantic-memory", "procedural-memory", "lh-planner",
	                                    "rh-world-model",  "metacognition",   "event-fabric",      "metrics"};

	for (size_t i = 0; i < sizeof now / sizeof *now; i++)
		if (strcmp(text, now[i]) == 0)
			return NULL;
	for (size_t i = 0; i < sizeof later / sizeof *later; i++)
		if (strcmp(text, later[i]) == 0)
			return "this role is not in this version, expected erisml, safety-gateway, in-action or post-action";
	return "no such role, expected erisml, safety-gateway, in-action or post-action";
}

static const char *refuse_label(const char *text)
{
	size_t n = strlen(text);

	if (n == 0 || n > AGI_SERVICE_NAME_MAX || text[0] == '-' || text[n - 1] == '-' ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
		return "expected a name of a-z, 0-9 and '-' inside, at most 63 bytes";
	return NULL;
}

static const char *refuse_service(const char *text)
{
	static const char *const own[] = {"erisml-capable", "safety-gateway-capable", "in-action-capable",
	                                  "post-action-capable"};

	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (strcmp(text, own[i]) == 0)
			return "nodes advertise this themselves, expected another name";
	return refuse_label(text);
}

static const char *refuse_zone(const char *text)
{
	if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
	    strlen(text))
		return "expected letters, digits, '-', '_' and '.' only";
	return NULL;
}

static const char *refuse_host(const char *text)
{
	if (*text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") !=
	                 strlen(text))
		return "expected a host name or an ip address";
	return NULL;
}

static const char *refuse_domain(const char *text)
{
	size_t n;

	for (const char *p = text;; p += n + 1) {
		n = strcspn(p, ".");
		if (n == 0 || n > 63 || strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789-_") < n)
			return "expected labels of a-z, 0-9, '-' and '_', at most 63 bytes each, with dots between";
		if (!p[n])
			return NULL;
	}
}

static const char *refuse_relative(const char *text)
{
	return *text && *text != '/' ? "expected an absolute path" : NULL;
}

/* The keys of one role. */
#define ROLE_KEYS(name, member, target) \
	{"roles." name ".min_active", AGI_V_WHOLE, AT(roles.member.min_active), 0, AGI_CONFIG_ACTIVE_MAX, .preset = "0", \
	 .help = "Hosts that serve " name " at least, of those that could; 0: as many as max_active."},                  \
	    {"roles." name ".max_active", AGI_V_WHOLE, AT(roles.member.max_active), 0, AGI_CONFIG_ACTIVE_MAX,            \
	     .preset = "0", .help = "Hosts that serve " name " at most; 0: no limit."},                                  \
	    {"roles." name ".target_load", AGI_V_REAL, AT(roles.member.target_load), 0.01, 1, .preset = target,          \
	     .help = "Mean load of the hosts that serve " name " above which more of them do."},                         \
	{                                                                                                                \
		"roles." name ".scale_down_after", AGI_V_DURATION, AT(roles.member.scale_down_after_ms), 0, DAY_MS,          \
		    .preset = "5m", .help = "So long fewer must have been enough before hosts stop serving " name "."       \
	}

/* --- the table -------------------------------------------------------------------------------- */
const struct agi_key_spec agi_config_spec[] = {
    {"node.listen", AGI_V_ADDR, AT(node.listen), .min = 5000, .preset = "0.0.0.0:5000",
     .help = "Address and port of the overlay: node links, gRPC and HTTP."},
    {"node.advertise", AGI_V_ADDR, AT(node.advertise), .min = 5000, .preset = "",
     .help = "Address that other nodes are told to use, when it is not the one of listen."},
    {"node.unix_socket", AGI_V_TEXT, AT(node.unix_socket), 0, 107, .preset = "", .refuse = refuse_relative,
     .help = "Path of a Unix socket that serves the same as listen; its calls may everything."},
    {"node.data_dir", AGI_V_TEXT, AT(node.data_dir), 1, 900, .preset = "/var/lib/agihpc",
     .help = "Directory of the node's key and of everything it remembers."},
    {"node.backup_dir", AGI_V_TEXT, AT(node.backup_dir), 0, 900, .preset = "", .refuse = refuse_relative,
     .help = "Directory that backups are written to and restored from."},
    {"node.zone", AGI_V_TEXT, AT(node.zone), 0, AGI_ZONE_MAX, .preset = "", .refuse = refuse_zone,
     .help = "Fault domain (rack, room): replicas and safety panels spread over zones."},
    {"node.weight", AGI_V_REAL, AT(node.weight), 0.125, 8, .preset = "1",
     .help = "Share of the data this host takes, relative to a host of weight 1."},
    {"node.roles", AGI_V_TEXTS, AT(node.roles), .max = AGI_SERVICE_NAME_MAX, .preset = "",
     .refuse = refuse_role, .help = "Roles this host serves."},
    {"node.exec_checks", AGI_V_TEXTS, AT(node.exec_checks), .max = 255, .preset = "", .refuse = refuse_relative,
     .help = "Programs, or directories of them, that health checks of kind exec may run."},
    {"node.forward", AGI_V_CHOICE, AT(node.forward), .choices = switches, .preset = "true",
     .help = "Hand calls of roles that run on other hosts on to the nearest one."},
    {"node.io_loops", AGI_V_CHOICE, AT(node.io_loops), .choices = io_loops, .preset = "auto",
     .help = "Threads for the clients' gRPC connections; 0: the main thread has them."},
    {"node.role_address", AGI_V_IP, AT(node.role_address), .preset = "",
     .help = "Address the ports of roles listen on, when it is not the one of listen."},
    {"node.cluster_key_file", AGI_V_TEXT, AT(node.cluster_key_file), 1, 900,
     .preset = "/etc/agihpc/cluster.key", .help = "File with the key that all nodes share."},
    {"node.cluster_key_file_old", AGI_V_TEXT, AT(node.cluster_key_file_old), 0, 900, .preset = "",
     .help = "File with the previous cluster key, accepted too while keys are changed."},
    {"node.log_level", AGI_V_CHOICE, AT(node.log_level), .choices = log_levels, .preset = "info",
     .help = "Least important kind of message that is logged."},
    {"node.log_format", AGI_V_CHOICE, AT(node.log_format), .choices = log_formats, .preset = "logfmt",
     .help = "Form of a log line."},
    {"node.slot_bits", AGI_V_WHOLE, AT(node.slot_bits), 4, AGI_SLOT_BITS_MAX, .preset = "12",
     .help = "The data is cut into 2^slot_bits slots; the same on every node of a cluster."},
    {"node.down_after", AGI_V_DURATION, AT(node.down_after_ms), 100, DAY_MS, .preset = "5m",
     .help = "A host that is down for so long is replaced where it held data."},
    {"node.stable_after", AGI_V_DURATION, AT(node.stable_after_ms), 50, HOUR_MS, .preset = "1500ms",
     .help = "Membership must be unchanged for so long before data moves."},
    {"node.genesis_wait", AGI_V_DURATION, AT(node.genesis_wait_ms), 0, 10 * MINUTE_MS, .preset = "3s",
     .help = "How long the first bootstrap node waits for an existing cluster before it makes one."},
    {"node.store.cache_size", AGI_V_SIZE, AT(node.store.cache_bytes), 1 << 20, 1ull << 36,
     .preset = "8MiB", .help = "Memory for blocks read from disk."},
    {"node.store.memtable_size", AGI_V_SIZE, AT(node.store.memtable_bytes), 1 << 20, 1ull << 36,
     .preset = "16MiB", .help = "Memory for writes that are in the log but not yet in table files."},
    {"node.store.reserve", AGI_V_SIZE, AT(node.store.reserve_bytes), 0, 1ull << 50, .preset = "256MiB",
     .help = "Free disk space below which no new data is taken; at most a twentieth of the disk."},
    {"node.store.scrub_interval", AGI_V_DURATION, AT(node.store.scrub_interval_ms), 0, 40.0 * DAY_MS,
     .preset = "7d", .help = "Everything stored is read and its checksums compared so often; 0ms: never."},
    {"node.store.scrub_rate", AGI_V_SIZE, AT(node.store.scrub_rate_bytes), 1 << 16, 1ull << 36,
     .preset = "8MiB", .help = "Bytes read in a second at most while doing so."},
    {"node.admission.running", AGI_V_WHOLE, AT(node.admission.running_max), 1, AGI_CALLS_MAX - 96,
     .preset = "512", .help = "Operations on keys that run at a time; others wait, each namespace in its turn."},
    {"node.admission.running_memory", AGI_V_SIZE, AT(node.admission.running_bytes_max), 1 << 20, 1ull << 36,
     .preset = "32MiB", .help = "Keys and values that they may hold together."},
    {"node.admission.queued", AGI_V_WHOLE, AT(node.admission.queued_max), 1, 1 << 20, .preset = "4096",
     .help = "Operations that wait; further ones are told when to come again."},
    {"node.admission.queued_memory", AGI_V_SIZE, AT(node.admission.queued_bytes_max), 1 << 20, 1ull << 36,
     .preset = "64MiB", .help = "Keys and values of those that wait."},
    {"node.grpc.max_receive_message_size", AGI_V_SIZE, AT(node.grpc.recv_max_bytes), 1 << 16, 100 << 20,
     .preset = "4MiB", .help = "Longest gRPC message that is received; a longer one ends its call."},
    {"node.grpc.max_connection_memory", AGI_V_SIZE, AT(node.grpc.conn_max_bytes), 1 << 20, 1ull << 32,
     .preset = "64MiB", .help = "Requests and answers held for one connection; twice the longest message at least."},
    {"node.grpc.max_connections", AGI_V_WHOLE, AT(node.grpc.connections_max), 1, 65536, .preset = "4096",
     .help = "Connections of clients to one port; further ones are closed."},
    {"node.grpc.max_concurrent_streams", AGI_V_WHOLE, AT(node.grpc.streams_max), 1, 10000, .preset = "1000",
     .help = "Calls that one connection may have open; further ones wait in the client."},
    {"node.grpc.max_header_list_size", AGI_V_SIZE, AT(node.grpc.header_max_bytes), 1 << 10, 60 << 10,
     .preset = "16KiB", .help = "Headers of one call, as HTTP/2 counts them."},
    {"node.grpc.keepalive_time", AGI_V_DURATION, AT(node.grpc.keepalive_ms), 1000, HOUR_MS, .preset = "1m",
     .help = "A connection with open calls that is silent for so long is asked whether it lives."},
    {"node.grpc.keepalive_timeout", AGI_V_DURATION, AT(node.grpc.keepalive_timeout_ms), 100, HOUR_MS,
     .preset = "20s", .help = "It is closed when it has not answered after so long."},
    {"node.grpc.max_connection_age", AGI_V_DURATION, AT(node.grpc.age_max_ms), 0, DAY_MS, .preset = "0ms",
     .help = "A connection this old is told to go, so that clients spread anew; 0ms: never."},
    {"node.grpc.max_connection_age_grace", AGI_V_DURATION, AT(node.grpc.age_grace_ms), 0, DAY_MS,
     .preset = "0ms", .help = "Time its calls then have to end; 0ms: as long as they take."},
    {"node.grpc.compression", AGI_V_CHOICE, AT(node.grpc.compression), .choices = compressions,
     .preset = "asked", .help = "Which answers are compressed: of compressed requests, all that a client accepts, none."},

    {"tls.cert_file", AGI_V_TEXT, AT(tls.cert_file), 0, 900, .preset = "",
     .help = "Certificate of this host and what it was signed with, PEM; turns TLS on."},
    {"tls.key_file", AGI_V_TEXT, AT(tls.key_file), 0, 900, .preset = "", .help = "Its key, PEM."},
    {"tls.client_ca_file", AGI_V_TEXT, AT(tls.client_ca_file), 0, 900, .preset = "",
     .help = "Certificates of who signs clients' certificates, PEM; clients are then asked for one."},
    {"tls.ca_file", AGI_V_TEXT, AT(tls.ca_file), 0, 900, .preset = "",
     .help = "Certificates of who signs other nodes' and services' certificates, PEM; default: the system's."},
    {"tls.server_name", AGI_V_TEXT, AT(tls.server_name), 0, 255, .preset = "", .refuse = refuse_host,
     .help = "Name that those certificates carry, when it is not the address that is called."},
    {"tls.require_client_cert", AGI_V_CHOICE, AT(tls.require_client_cert), .choices = switches,
     .preset = "false", .help = "Refuse TLS clients without a certificate."},
    {"tls.admin_names", AGI_V_TEXTS, AT(tls.admin_names), .max = 255, .preset = "",
     .help = "Names in client certificates (CN, DNS, mail, URI) that may do what operators do."},
    {"tls.plaintext", AGI_V_CHOICE, AT(tls.plaintext), .choices = plaintexts, .preset = "loopback",
     .help = "Where gRPC and HTTP without TLS may come from, when there is TLS."},

    {"auth.tokens_file", AGI_V_TEXT, AT(auth.tokens_file), 0, 900, .preset = "",
     .help = "File of tokens and what they permit; when given, calls need one."},

    {"dns.listen", AGI_V_ADDR, AT(dns.listen), .min = 53, .preset = "",
     .help = "Address and port where services are found by DNS, over UDP."},
    {"dns.domain", AGI_V_TEXT, AT(dns.domain), 1, 120, .preset = "agihpc", .refuse = refuse_domain,
     .help = "Domain their names end with."},
    {"dns.ttl", AGI_V_DURATION, AT(dns.ttl_ms), 0, HOUR_MS, .preset = "1s",
     .help = "How long an answer may be remembered; whole seconds count."},

    {"dht.bootstrap_nodes", AGI_V_ENDPOINTS, AT(dht.bootstrap_nodes), .min = 5000,
     .max = AGI_BOOTSTRAP_MAX, .preset = "",
     .help = "Nodes asked for the way in; the same list on every host, the first may make the cluster."},
    {"dht.replication_factor", AGI_V_WHOLE, AT(dht.replication_factor), 1, AGI_REPLICAS_MAX,
     .preset = "3", .help = "Copies of every item, each on another host."},
    {"dht.virtual_nodes", AGI_V_WHOLE, AT(dht.virtual_nodes), 1, AGI_VIRTUAL_NODES_MAX, .preset = "128",
     .help = "Places on the ring of a host of weight 1."},
    {"dht.rebalance_bytes_per_s", AGI_V_SIZE, AT(dht.rebalance_bytes_per_s), 0, 1ull << 36,
     .preset = "64MiB", .help = "Bytes a second this host moves when slots change hosts, each way; 0B: no limit."},
    {"dht.rebalance_slots", AGI_V_WHOLE, AT(dht.rebalance_slots), 1, 1024, .preset = "32",
     .help = "Slots this host copies at once, and whose change it leads at once."},
    {"dht.repair_interval", AGI_V_DURATION, AT(dht.repair_interval_ms), 1000, DAY_MS, .preset = "10m",
     .help = "How often the members of a slot compare what they hold."},
    {"dht.repair_bytes_per_s", AGI_V_SIZE, AT(dht.repair_bytes_per_s), 1 << 20, 1 << 30, .preset = "16MiB",
     .help = "Bytes a second this host reads and sends to compare and repair."},
    {"dht.hint_ttl", AGI_V_DURATION, AT(dht.hint_ttl_ms), 1000, 30.0 * DAY_MS, .preset = "3h",
     .help = "How long a write is kept for a host that cannot be reached; shorter than tombstone_grace."},
    {"dht.tombstone_grace", AGI_V_DURATION, AT(dht.tombstone_grace_ms), 2000, 40.0 * DAY_MS, .preset = "24h",
     .help = "How long what was deleted or has expired is remembered at least."},
    {"dht.lookup_paths", AGI_V_WHOLE, AT(dht.lookup_paths), 1, AGI_LOOKUP_PATHS_MAX, .preset = "8",
     .help = "Disjoint paths of a lookup: hostile hosts mislead only those they are on."},
    {"dht.consistency", AGI_V_CHOICE, AT(dht.consistency), .choices = consistencies,
     .preset = "eventual",
     .help = "Level of operations that name none: eventual is quorum. The same on every node."},
    {"dht.namespaces", AGI_V_CHOICES, AT(dht.namespaces), .min = 1, .max = AGI_NAMESPACE_MAX, .preset = "",
     .choices = levels, .help = "The same for single namespaces, NAME: LEVEL each. The same on every node."},
    {"dht.services", AGI_V_SERVICES, AT(dht.services), .max = AGI_CONFIG_SERVICES_MAX, .preset = "",
     .help = "Processes on this host that the node checks and advertises."},

    {"gateway.port", AGI_V_PORT, AT(gateway.port), .preset = "50055",
     .help = "Port of the safety-gateway role."},
    {"gateway.erisml_address", AGI_V_ENDPOINT, AT(gateway.erisml_address), .min = 50060, .preset = "",
     .help = "ErisML service the gateway asks; not given: its own or the one the overlay finds."},
    {"gateway.erisml_tls", AGI_V_CHOICE, AT(gateway.erisml_tls), .choices = switches, .preset = "false",
     .help = "TLS is spoken at erisml_address; its certificate is one of tls.ca_file."},
    {"gateway.erisml_token_file", AGI_V_TEXT, AT(gateway.erisml_token_file), 0, 900, .preset = "",
     .help = "File with the bearer token that the gateway shows at erisml_address."},

    {"thresholds.bond_index_warn", AGI_V_REAL, AT(thresholds.bond_index_warn), 0, 1, .preset = "0.25",
     .help = "Bond Index from which on a warning is logged and counted."},
    {"thresholds.bond_index_block", AGI_V_REAL, AT(thresholds.bond_index_block), 0, 1, .preset = "0.3",
     .help = "Bond Index from which on bond_index_action is taken."},
    {"thresholds.physical_harm_threshold", AGI_V_REAL, AT(thresholds.physical_harm_threshold), 0, 1,
     .preset = "0.9", .help = "Physical harm from which on a step is blocked."},

    {"failsafe.erisml_unavailable_action", AGI_V_CHOICE, AT(failsafe.erisml_unavailable_action),
     .choices = fail_actions, .preset = "BLOCK", .note = only_block,
     .help = "Decision when ErisML does not answer."},
    {"failsafe.bond_index_fallback", AGI_V_REAL, AT(failsafe.bond_index_fallback), 0, 1, .preset = "1",
     .help = "Bond Index assumed when it cannot be computed; never below bond_index_block."},
    {"failsafe.safety_check_timeout_ms", AGI_V_WHOLE, AT(failsafe.safety_check_timeout_ms), 1, 10000,
     .preset = "100", .help = "Milliseconds within which a safety check is decided."},
    {"failsafe.timeout_action", AGI_V_CHOICE, AT(failsafe.timeout_action), .choices = fail_actions,
     .preset = "BLOCK", .note = only_block, .help = "Decision when that time is over."},

    {"service.host", AGI_V_TEXT, AT(service.host), 0, 255, .preset = "0.0.0.0", .refuse = refuse_host,
     .is_for_later = true, .help = "Address the lh-planner role listens on."},
    {"service.port", AGI_V_PORT, AT(service.port), .preset = "50051", .is_for_later = true,
     .help = "Port of the lh-planner role."},

    {"safety.gateway_address", AGI_V_ENDPOINT, AT(safety.gateway_address), .min = 50055, .preset = "",
     .is_for_later = true, .help = "Safety gateway the lh-planner role asks."},
    {"safety.bond_index_threshold", AGI_V_REAL, AT(safety.bond_index_threshold), 0, 1, .preset = "",
     .help = "A second bound beside thresholds.bond_index_block: the lower of the two counts."},
    {"safety.quorum", AGI_V_WHOLE, AT(safety.quorum), 1, AGI_PANEL_MAX, .preset = "3",
     .help = "Gateways asked for each decision; as many as quorum_rule says must agree to allow."},
    {"safety.quorum_rule", AGI_V_CHOICE, AT(safety.quorum_rule), .choices = quorum_rules, .preset = "majority",
     .help = "How many of them: more than half, all, or for f = byzantine_faults liars 2f + 1 of at least 3f + 1."},
    {"safety.byzantine_faults", AGI_V_WHOLE, AT(safety.byzantine_faults), 1, (AGI_PANEL_MAX - 1) / 3, .preset = "1",
     .help = "Gateways that may lie without deciding anything, under quorum_rule byzantine."},
    {"safety.evaluation", AGI_V_CHOICE, AT(safety.evaluation), .choices = evaluations,
     .preset = "strict", .help = "Rules of evaluation: strict, or exactly the reference's."},
    {"safety.banned_tools", AGI_V_TEXTS, AT(safety.banned_tools), .max = 255,
     .preset = "override_safety,bypass_auth,disable_monitoring,root_access,kernel_exploit",
     .help = "Tools whose use in a plan is blocked."},
    {"safety.rule_file", AGI_V_TEXT, AT(safety.rule_file), 0, 900, .preset = "",
     .help = "Rules that plans and actions must keep: a file as in agihpc-rules(5)."},
    {"safety.bond_index_action", AGI_V_CHOICE, AT(safety.bond_index_action), .choices = bond_actions,
     .preset = "BLOCK", .help = "Decision on a Bond Index at or above bond_index_block."},
    {"safety.profile", AGI_V_TEXT, AT(safety.profile), 1, 255, .preset = "agi_hpc_safety_v1",
     .help = "Name of the safety profile."},
    {"safety.profile_dir", AGI_V_TEXT, AT(safety.profile_dir), 0, 900, .preset = "",
     .help = "Directory of profiles: NAME.json as in agihpc-profiles(5)."},
    {"safety.audit_bytes", AGI_V_SIZE, AT(safety.audit_bytes), 64 << 20, 1ull << 44, .preset = "1GiB",
     .help = "Bytes of the audit log this host keeps; beyond it the oldest entries go."},

    ROLE_KEYS("erisml", erisml, "0.7"),
    ROLE_KEYS("safety-gateway", safety_gateway, "0.5"),
    ROLE_KEYS("in-action", in_action, "0.5"),
    ROLE_KEYS("post-action", post_action, "0.7"),

    {"llm.provider", AGI_V_TEXT, AT(llm.provider), 0, 255, .preset = "", .is_for_later = true,
     .help = "Language model provider of the lh-planner role."},
    {"llm.model", AGI_V_TEXT, AT(llm.model), 0, 255, .preset = "", .is_for_later = true,
     .help = "Language model of the lh-planner role."},
    {.path = NULL}};

static_assert(sizeof agi_config_spec / sizeof *agi_config_spec <= AGI_CONFIG_KEYS_MAX, "raise KEYS_MAX");

const struct agi_key_spec agi_service_spec[] = {
    {"name", AGI_V_TEXT, IN(name), 1, AGI_SERVICE_NAME_MAX, .preset = "", .refuse = refuse_service,
     .help = "Name it is found by; required."},
    {"port", AGI_V_PORT, IN(port), .preset = "", .help = "Port it listens on; required."},
    {"address", AGI_V_TEXT, IN(address), 0, 255, .preset = "", .refuse = refuse_host,
     .help = "Host clients are told to use, when it is not the address this node advertises."},
    {"tls", AGI_V_CHOICE, IN(tls), .choices = switches, .preset = "false",
     .help = "It speaks TLS: clients are told, checks of kind grpc and http use it."},
    {"health_check_interval", AGI_V_DURATION, IN(check_interval_ms), 100, HOUR_MS, .preset = "5s",
     .help = "Time between two health checks."},
    {"health_check.kind", AGI_V_CHOICE, IN(check), .choices = check_kinds, .preset = "tcp",
     .help = "How it is checked: a connection, grpc.health.v1, an HTTP GET, or not at all."},
    {"health_check.path", AGI_V_TEXT, IN(check_path), 0, 255, .preset = "",
     .help = "http: the request path (default /); grpc: the service name (default the server as a whole)."},
    {"health_check.timeout", AGI_V_DURATION, IN(check_timeout_ms), 10, MINUTE_MS, .preset = "1s",
     .help = "A check that takes longer has failed; at most the interval."},
    {.path = NULL}};

const struct agi_key_spec *agi_spec_find(const struct agi_key_spec *table, const char *path)
{
	for (; table->path; table++)
		if (strcmp(table->path, path) == 0)
			return table;
	return NULL;
}

/* --- what was expected ------------------------------------------------------------------------ */
static void expected_choice(const struct agi_key_spec *s, char *out, size_t n)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; s->choices[i] && at < n; i++)
		at += (size_t)snprintf(out + at, n - at, "%s%s", i == 0 ? "" : s->choices[i + 1] ? ", " : " or ",
		                       s->choices[i]);
}

static void format_ms(char out[32], double ms)
{
	if (ms >= HOUR_MS)
		snprintf(out, 32, "%gh", ms / HOUR_MS);
	else if (ms >= 1000)
		snprintf(out, 32, "%gs", ms / 1000);
	else
		snprintf(out, 32, "%gms", ms);
}

void agi_spec_expected(const struct agi_key_spec *s, char *out, size_t n)
{
	char a[32], b[32], choices[64];

	switch (s->type) {
	case AGI_V_TEXT:
		snprintf(out, n, "a text of %g..%g bytes", s->min, s->max);
		return;
	case AGI_V_WHOLE:
		snprintf(out, n, "a whole number, %g..%g", s->min, s->max);
		return;
	case AGI_V_PORT:
		snprintf(out, n, "a port, 1..65535");
		return;
	case AGI_V_REAL:
		snprintf(out, n, "a number, %g..%g", s->min, s->max);
		return;
	case AGI_V_DURATION:
		format_ms(a, s->min);
		format_ms(b, s->max);
		snprintf(out, n, "a duration such as 500ms, 5s, 1m or 2h, %s..%s", a, b);
		return;
	case AGI_V_SIZE:
		snprintf(out, n, "a size such as 512KiB, 64MiB or 1GiB, %gMiB..%gGiB", s->min / (1 << 20),
		         s->max / (1 << 30));
		return;
	case AGI_V_ADDR:
		snprintf(out, n, "ip:port such as 10.0.0.5:%g or [fd00::5]:%g", s->min, s->min);
		return;
	case AGI_V_IP:
		snprintf(out, n, "an ip address");
		return;
	case AGI_V_ENDPOINT:
		snprintf(out, n, "host:port such as node1.cluster:%g", s->min);
		return;
	case AGI_V_CHOICE:
		expected_choice(s, out, n);
		return;
	case AGI_V_TEXTS:
		snprintf(out, n, "a list of texts of 1..%g bytes", s->max);
		return;
	case AGI_V_ENDPOINTS:
		snprintf(out, n, "a list of at most %g host:port such as node1.cluster:%g", s->max, s->min);
		return;
	case AGI_V_CHOICES:
		expected_choice(s, choices, sizeof choices);
		snprintf(out, n, "a section of NAME: %s lines", choices);
		return;
	case AGI_V_SERVICES:
		snprintf(out, n, "a list of at most %g sections with name and port", s->max);
		return;
	}
}
