/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.RegistryService: services registered on this host, and where services are. */
#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "node/activate.h"
#include "node/log.h"
#include "node/svc.h"
#include "node/svc_watch_service.h"

static enum agi_err names(struct agi_call *op, ProtobufCBinaryData service,
                          ProtobufCBinaryData address, struct agi_why *why)
{
	enum agi_err e = agi_svc_service_name(&op->service, service, why);

	return e ? e : agi_svc_address(&op->address, address, why);
}

/* --- Register, Deregister ------------------------------------------------------------------------------ */
/* The check as the core keeps it. Bounded: a path longer than this is refused by agi_health_config_check. */
struct check_bytes {
	uint8_t b[2048];
	size_t n;
};

static enum agi_err encode_check(struct check_bytes *out, const Agihpc__V1__HealthCheck *c,
                                 struct agi_why *why)
{
	static const Agihpc__V1__HealthCheck defaults = AGIHPC__V1__HEALTH_CHECK__INIT;

	if (!c)
		c = &defaults;
	if (agihpc__v1__health_check__get_packed_size(c) > sizeof out->b)
		return agi_fail(why, AGI_E_TOO_LARGE, "health_check: longer than %zu bytes",
		                sizeof out->b);
	out->n = agihpc__v1__health_check__pack(c, out->b);
	return agi_health_config_check((struct agi_str){(char *)out->b, out->n}, why);
}

static void register_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                            const struct agi_result *res)
{
	const Agihpc__V1__RegisterRequest *p = req;
	Agihpc__V1__RegisterResponse r = AGIHPC__V1__REGISTER_RESPONSE__INIT;
	struct check_bytes check = {.n = 0};
	struct agi_why why;
	char id[AGI_ID_HEX];
	enum agi_err e = encode_check(&check, p->health_check, &why);
	(void)res;

	if (!e)
		e = agi_health_checks_set(s->checks, agi_svc_str(p->service), agi_svc_str(p->address),
		                          (struct agi_str){(char *)check.b, check.n}, &why);
	if (e) { /* it stays registered and unhealthy until it is registered again */
		agi_grpc_fail_err(call, e, &why);
		return;
	}
	AGI_LOG(s->log, AGI_LOG_INFO, "service_registered",
	        agi_kv_str("service", agi_svc_str(p->service)),
	        agi_kv_str("address", agi_svc_str(p->address)));
	agi_id_hex(id, &s->self);
	r.node_id = agi_svc_text(id);
	agi_grpc_reply(call, &r.base);
}

static void register_service(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__RegisterRequest *p = (const Agihpc__V1__RegisterRequest *)req;
	struct agi_svc *s = ctx;
	struct agi_call op = {.kind = AGI_CALL_REGISTER};
	struct check_bytes check = {.n = 0};
	struct agi_why why;
	bool is_serving;
	enum agi_err e = names(&op, p->service, p->address, &why);

	if (!e)
		e = encode_check(&check, p->health_check, &why);
	if (!e)
		e = agi_health_checks_accept(s->checks, (struct agi_str){(char *)check.b, check.n}, &why);
	if (!e && agi_activate_is_reserved(op.service))
		e = agi_fail(&why, AGI_E_INVALID, "service: \"%.*s\" is advertised by nodes themselves, expected another name",
		             AGI_STR_ARG(op.service));
	if (!e && !s->role_is_serving(s->ctx, op.service, &is_serving))
		e = agi_fail(&why, AGI_E_EXISTS,
		             "service: this node runs the role \"%.*s\" itself and advertises it",
		             AGI_STR_ARG(op.service));
	if (e) {
		agi_grpc_fail_err(call, e, &why);
		return;
	}
	op.config = (struct agi_str){(char *)check.b, check.n};
	op.traits = agi_health_config_traits(op.config);
	agi_svc_start(s, call, p, &op, register_answer);
}

static void deregister_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                              const struct agi_result *res)
{
	const Agihpc__V1__DeregisterRequest *p = req;
	Agihpc__V1__DeregisterResponse r = AGIHPC__V1__DEREGISTER_RESPONSE__INIT;
	(void)res;

	agi_health_checks_remove(s->checks, agi_svc_str(p->service), agi_svc_str(p->address));
	AGI_LOG(s->log, AGI_LOG_INFO, "service_deregistered",
	        agi_kv_str("service", agi_svc_str(p->service)),
	        agi_kv_str("address", agi_svc_str(p->address)));
	agi_grpc_reply(call, &r.base);
}

static void deregister(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__DeregisterRequest *p = (const Agihpc__V1__DeregisterRequest *)req;
	struct agi_svc *s = ctx;
	struct agi_call op = {.kind = AGI_CALL_DEREGISTER};
	struct agi_why why;
	bool is_serving;
	enum agi_err e = names(&op, p->service, p->address, &why);

	if (!e && agi_activate_is_reserved(op.service))
		e = agi_fail(&why, AGI_E_DENIED, "service: \"%.*s\" is advertised by nodes themselves",
		             AGI_STR_ARG(op.service));
	if (!e && !s->role_is_serving(s->ctx, op.service, &is_serving))
		e = agi_fail(&why, AGI_E_DENIED,
		             "service: \"%.*s\" is a role of this node: take it out of node.roles",
		             AGI_STR_ARG(op.service));
	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(s, call, p, &op, deregister_answer);
}

static enum agi_err beat(struct agi_svc *s, const Agihpc__V1__HeartbeatRequest *p, struct agi_why *why)
{
	struct agi_call pair;
	enum agi_err e = names(&pair, p->service, p->address, why);

	if (!e && !(p->load >= 0 && p->load <= 1))
		e = agi_fail(why, AGI_E_INVALID, "load: expected 0 to 1");
	if (!e)
		e = agi_health_checks_heartbeat(s->checks, pair.service, pair.address, !p->unwell, agi_svc_str(p->why), why);
	if (!e)
		agi_dht_host_set_load(s->host, pair.service, pair.address, (uint32_t)(p->load * 1000 + 0.5));
	return e;
}

static void heartbeat(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	Agihpc__V1__HeartbeatResponse r = AGIHPC__V1__HEARTBEAT_RESPONSE__INIT;
	struct agi_why why = {""};
	enum agi_err e = beat(ctx, (const Agihpc__V1__HeartbeatRequest *)req, &why);

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_grpc_reply(call, &r.base);
}

/* --- Discover, Nearest ----------------------------------------------------------------------------------- */
struct agi_svc_instance_row {
	Agihpc__V1__Instance i;
	char id[AGI_ID_HEX];
};

static void fill_instance(struct agi_svc_instance_row *row, const struct agi_instance *in)
{
	agihpc__v1__instance__init(&row->i);
	agi_id_hex(row->id, &in->node);
	row->i.address = agi_svc_data(in->provider->address);
	row->i.node_id = agi_svc_text(row->id);
	row->i.zone = agi_svc_text(in->provider->zone);
	row->i.rtt_ms = agi_svc_rtt_ms(in->rtt_us);
	row->i.load = in->provider->load_milli / 1000.0;
	row->i.stale = in->is_stale;
	row->i.tls = in->provider->traits & AGI_PROVIDER_TLS;
}

enum agi_err agi_svc_instances_make(struct agi_svc_instances *out, const struct agi_instance *instances,
                                    size_t n)
{
	struct agi_svc_instance_row *rows = calloc(n + 1, sizeof *rows);
	Agihpc__V1__Instance **list = calloc(n + 1, sizeof *list);

	if (!rows || !list) {
		free(rows);
		free(list);
		return AGI_E_NOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		fill_instance(&rows[i], &instances[i]);
		list[i] = &rows[i].i;
	}
	agihpc__v1__discover_response__init(&out->res);
	out->res.instances = list;
	out->res.n_instances = n;
	out->rows = rows;
	return AGI_OK;
}

void agi_svc_instances_free(struct agi_svc_instances *list)
{
	free(list->res.instances);
	free(list->rows);
}

/* Lower is offered earlier. */
static unsigned class_of(const struct agi_svc *s, Agihpc__V1__Prefer prefer, const struct agi_instance *i)
{
	const char *zone = s->config->node.zone;
	unsigned stale = i->is_stale ? 8 : 0;

	if (prefer == AGIHPC__V1__PREFER__PREFER_ZONE)
		return stale + (!zone[0] || strcmp(i->provider->zone, zone) != 0);
	return stale + (prefer == AGIHPC__V1__PREFER__PREFER_IDLE ? i->provider->load_milli / 250 : 0);
}

/* By class; within each as they are, nearest first. */
static void put_in_order(const struct agi_svc *s, Agihpc__V1__Prefer prefer, const struct agi_instance *from, size_t n,
                         struct agi_instance *out)
{
	size_t at = 0;

	for (unsigned class = 0; class < 16 && at < n; class++)
		for (size_t i = 0; i < n; i++)
			if (class_of(s, prefer, &from[i]) == class)
				out[at++] = from[i];
}

static void discover_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                            const struct agi_result *res)
{
	const Agihpc__V1__DiscoverRequest *p = req;
	size_t n = p->limit && p->limit < res->n_instances ? p->limit : res->n_instances;
	struct agi_instance *sorted = calloc(res->n_instances + 1, sizeof *sorted);
	struct agi_svc_instances list;

	if (sorted)
		put_in_order(s, p->prefer, res->instances, res->n_instances, sorted);
	if (!sorted || agi_svc_instances_make(&list, sorted, n)) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
	} else {
		agi_grpc_reply(call, &list.res.base);
		agi_svc_instances_free(&list);
	}
	free(sorted);
}

struct candidate_row {
	Agihpc__V1__Candidate c;
	struct agi_svc_instance_row row;
};

static void fill_candidate(struct candidate_row *row, const struct agi_candidate *in)
{
	agihpc__v1__candidate__init(&row->c);
	fill_instance(&row->row, &in->instance);
	row->c.instance = &row->row.i;
	row->c.estimate_ms = agi_svc_rtt_ms(in->estimate_us);
	row->c.measured_now = in->is_probed;
	row->c.verdict = agi_svc_text(agi_choice_text(in->verdict));
}

static void explain(struct agi_grpc_call *call, Agihpc__V1__NearestResponse *r, const struct agi_result *res)
{
	struct candidate_row *rows = calloc(res->n_candidates + 1, sizeof *rows);
	Agihpc__V1__Candidate **list = calloc(res->n_candidates + 1, sizeof *list);

	for (size_t i = 0; rows && list && i < res->n_candidates; i++) {
		fill_candidate(&rows[i], &res->candidates[i]);
		list[i] = &rows[i].c;
	}
	r->candidates = list;
	r->n_candidates = res->n_candidates;
	if (rows && list)
		agi_grpc_reply(call, &r->base);
	else
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
	free(rows);
	free(list);
}

static void nearest_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                           const struct agi_result *res)
{
	const Agihpc__V1__NearestRequest *p = req;
	Agihpc__V1__NearestResponse r = AGIHPC__V1__NEAREST_RESPONSE__INIT;
	struct agi_svc_instance_row row;
	(void)s;

	if (res->n_instances == 0 && !p->explain) {
		agi_grpc_fail(call, AGI_GRPC_NOT_FOUND, "no healthy instance of \"%.*s\" %s",
		              AGI_STR_ARG(agi_svc_str(p->service)), res->n_candidates ? "answers" : "is known");
		return;
	}
	if (res->n_instances) {
		fill_instance(&row, &res->instances[0]);
		r.instance = &row.i;
	}
	if (p->explain)
		explain(call, &r, res);
	else
		agi_grpc_reply(call, &r.base);
}

static void find(struct agi_svc *s, struct agi_grpc_call *call, const ProtobufCMessage *req,
                 enum agi_call_kind kind, ProtobufCBinaryData service, agi_svc_answer_fn *fn)
{
	struct agi_call op = {.kind = kind};
	struct agi_why why;
	enum agi_err e = agi_svc_service_name(&op.service, service, &why);

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(s, call, req, &op, fn);
}

static void discover(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__DiscoverRequest *p = (const Agihpc__V1__DiscoverRequest *)req;

	if ((unsigned)p->prefer > AGIHPC__V1__PREFER__PREFER_IDLE) {
		agi_grpc_fail(call, AGI_GRPC_INVALID_ARGUMENT, "prefer: expected PREFER_NEAREST, PREFER_ZONE or PREFER_IDLE");
		return;
	}
	find(ctx, call, req, AGI_CALL_DISCOVER, p->service, discover_answer);
}

static void nearest(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__NearestRequest *p = (const Agihpc__V1__NearestRequest *)req;

	find(ctx, call, req, AGI_CALL_NEAREST, p->service, nearest_answer);
}

enum agi_err agi_svc_registry_add(struct agi_grpc_server *server, struct agi_svc *s)
{
	static const struct agi_grpc_method methods[] = {
	    {"RegisterService", register_service, AGI_GRPC_UNARY, NULL},
	    {"DeregisterService", deregister, AGI_GRPC_UNARY, NULL},
	    {"Discover", discover, AGI_GRPC_UNARY, NULL},
	    {"Nearest", nearest, AGI_GRPC_UNARY, NULL},
	    {"Heartbeat", heartbeat, AGI_GRPC_UNARY, NULL},
	    {"WatchService", agi_svc_watch_service, AGI_GRPC_SERVER_STREAM, NULL},
	};

	return agi_grpc_server_add(server, &agihpc__v1__registry_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, s);
}
