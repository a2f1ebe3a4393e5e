/* SPDX-License-Identifier: Apache-2.0
 * The node's own gRPC services (proto/agihpc.proto, proto/health.proto) on top of the core. A call that
 * needs the overlay becomes one agi_dht_host_call: the client's deadline goes along, a cancelled call is
 * cancelled in the core, an error becomes the status of err.def. */
#ifndef AGI_NODE_SVC_H
#define AGI_NODE_SVC_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "agihpc.pb-c.h"
#include "config/config.h"
#include "net/grpc.h"
#include "node/admit.h"
#include "node/dht_host.h"
#include "node/disk.h"
#include "node/health_check.h"

enum { AGI_TTL_MS_MAX_YEARS = 100 };

struct agi_activate;
struct agi_security;
struct agi_service_watches;

/* What the services stand on; filled by the node before they are added, alive longer than the servers. */
struct agi_svc {
	struct agi_dht_host *host;
	struct agi_links *links; /* control and bulk */
	const struct agi_links_stats *safety_links; /* NULL = none */
	struct agi_store *store;
	const struct agi_disk_watch *disk;
	const struct agi_care *care;
	struct agi_health_checks *checks;
	const struct agi_activate *activate; /* NULL: there are no policies */
	struct agi_log *log;
	const struct agi_config *config;
	struct agi_security *security;
	struct agi_id self;
	struct agi_addr advertise;
	uint64_t started_us; /* monotonic */
	struct agi_service_watches *service_watches; /* of agi_service_watches_new */
	struct agi_admit *admit; /* of agi_svc_admission_open */
	struct event *admit_go, *admit_tick;
	bool is_stopping;
	/* A role that runs on this node: whether it is serving. NOT_FOUND for other names. */
	enum agi_err (*role_is_serving)(void *ctx, struct agi_str role, bool *out);
	/* NULL: no gateway runs here, or it is well; else why it is not offered. May be NULL. */
	const char *(*gateway_illness)(void *ctx);
	void *ctx;
};

/* Of all channels. */
void agi_svc_links_stats(const struct agi_svc *s, struct agi_links_stats *out);
/* Joined, and everything this node should know is served; else why not, for people. */
bool agi_svc_is_ready(const struct agi_svc *s, char why[128]);

AGI_MUST_USE enum agi_err agi_svc_kv_add(struct agi_grpc_server *server, struct agi_svc *s);
AGI_MUST_USE enum agi_err agi_svc_lease_add(struct agi_grpc_server *server, struct agi_svc *s);
AGI_MUST_USE enum agi_err agi_svc_registry_add(struct agi_grpc_server *server, struct agi_svc *s);
AGI_MUST_USE enum agi_err agi_svc_node_add(struct agi_grpc_server *server, struct agi_svc *s);

/* Health of one server: "" and every name listed answer by is_serving, others by state_of; a name that is unknown
 * there too is NOT_FOUND. Borrowed for the server's life. */
enum agi_svc_state { AGI_SVC_UNKNOWN, AGI_SVC_NOT_SERVING, AGI_SVC_SERVING };
typedef void agi_svc_found_out_fn(void *arg);
struct agi_svc_health {
	const char *const *names;
	size_t n;
	bool (*is_serving)(void *ctx);
	void *ctx;
	struct event_base *base;
	/* As far as is known now; NULL: no other names are known. */
	enum agi_svc_state (*state_of)(void *ctx, struct agi_str service);
	/* Asks whoever may know of a service that does not serve as far as is known; fn runs once, before or after
	 * return, within some seconds. NULL with state_of. */
	void (*find_out)(void *ctx, struct agi_str service, agi_svc_found_out_fn *fn, void *arg);
	void *others_ctx; /* of these two */
	/* Private to svc_health.c. */
	LIST_HEAD(, agi_svc_watcher) watchers;
	struct event look; /* pending while there are watchers */
};
AGI_MUST_USE enum agi_err agi_svc_health_add(struct agi_grpc_server *server,
                                             struct agi_svc_health *h);

/* Bounds what agi_svc_start lets into the core at a time (admit.h); before the services are used, and after the
 * servers are gone. */
AGI_MUST_USE enum agi_err agi_svc_admission_open(struct agi_svc *s, struct event_base *base);
void agi_svc_admission_close(struct agi_svc *s);

/* --- shared by the services ------------------------------------------------------------------------- */
/* Answers call (reply or fail); res is borrowed. Runs only when res->err is OK, or
 * CONDITION (which only AGI_CALL_CAS and _LOCK end with). */
typedef void agi_svc_answer_fn(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                               const struct agi_result *res);
/* Starts the operation for a gRPC call, when its namespace's turn comes, and ends that call with fn, or with
 * res->err. req is handed to fn. The strings of operations on keys are the request's own: they may wait. */
void agi_svc_start(struct agi_svc *s, struct agi_grpc_call *call, const void *req, struct agi_call *op,
                   agi_svc_answer_fn *fn);

static inline struct agi_str agi_svc_str(ProtobufCBinaryData d)
{
	return (struct agi_str){(const char *)d.data, d.len};
}
/* Borrowed; protobuf-c's structs are not const, what is packed is not written to. */
static inline ProtobufCBinaryData agi_svc_data(struct agi_str s)
{
	return (ProtobufCBinaryData){s.n, (uint8_t *)(uintptr_t)s.p};
}
static inline ProtobufCBinaryData agi_svc_text(const char *z) { return agi_svc_data(agi_str_of(z)); }
/* UINT32_MAX = not measured = negative */
static inline double agi_svc_rtt_ms(uint32_t us) { return us == UINT32_MAX ? -1.0 : us / 1000.0; }

/* "" becomes "default". INVALID + why for more than 63 bytes or control characters. */
AGI_MUST_USE enum agi_err agi_svc_namespace(struct agi_str *out, ProtobufCBinaryData in,
                                            struct agi_why *why);
AGI_MUST_USE enum agi_err agi_svc_key(struct agi_str *out, ProtobufCBinaryData in, struct agi_why *why);
/* A DNS label: a-z, 0-9 and '-' (not first or last), 1..63 bytes. */
AGI_MUST_USE enum agi_err agi_svc_service_name(struct agi_str *out, ProtobufCBinaryData in,
                                               struct agi_why *why);
/* host:port where others can connect: not a wildcard, the port 1..65535. */
AGI_MUST_USE enum agi_err agi_svc_address(struct agi_str *out, ProtobufCBinaryData in,
                                          struct agi_why *why);

/* --- svc_registry.c: instances as DiscoverResponse has them --------------------------------------------- */
struct agi_svc_instances {
	Agihpc__V1__DiscoverResponse res;
	struct agi_svc_instance_row *rows;
};
/* Borrows instances. NOMEM: nothing was made. */
AGI_MUST_USE enum agi_err agi_svc_instances_make(struct agi_svc_instances *out,
                                                 const struct agi_instance *instances, size_t n);
void agi_svc_instances_free(struct agi_svc_instances *list);

#endif
