/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.KvService: replicated memory. */
#include "node/svc_kv.h"

static const uint64_t ttl_ms_max = (uint64_t)AGI_TTL_MS_MAX_YEARS * 366 * 86400 * 1000;

/* --- arguments ---------------------------------------------------------------------------------------- */
static enum agi_level level_of_namespace(const struct agi_svc *s, struct agi_str ns)
{
	const struct agi_config_choices *list = &s->config->dht.namespaces;

	for (size_t i = 0; i < list->n; i++)
		if (agi_str_eq(agi_str_of(list->v[i].name), ns))
			return (enum agi_level)list->v[i].choice;
	return s->config->dht.consistency == AGI_CONSISTENCY_STRONG ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM;
}

enum agi_err agi_svc_level(const struct agi_svc *s, struct agi_str ns, Agihpc__V1__Level in,
                           enum agi_level *out, struct agi_why *why)
{
	switch (in) {
	case AGIHPC__V1__LEVEL__LEVEL_DEFAULT:
		*out = level_of_namespace(s, ns);
		return AGI_OK;
	case AGIHPC__V1__LEVEL__LEVEL_QUORUM:
		*out = AGI_LEVEL_QUORUM;
		return AGI_OK;
	case AGIHPC__V1__LEVEL__LEVEL_ONE:
		*out = AGI_LEVEL_ONE;
		return AGI_OK;
	case AGIHPC__V1__LEVEL__LEVEL_ALL:
		*out = AGI_LEVEL_ALL;
		return AGI_OK;
	case AGIHPC__V1__LEVEL__LEVEL_STRONG:
		*out = AGI_LEVEL_STRONG;
		return AGI_OK;
	default:
		return agi_fail(why, AGI_E_INVALID,
		                "level: %d, expected 0 (default), 1 (one), 2 (quorum), 3 (all) or 4 (strong)",
		                (int)in);
	}
}

enum agi_err agi_svc_kv_common(const struct agi_svc *s, struct agi_call *op, ProtobufCBinaryData ns,
                               ProtobufCBinaryData key, Agihpc__V1__Level level, struct agi_why *why)
{
	enum agi_err e = agi_svc_namespace(&op->ns, ns, why);

	if (!e)
		e = agi_svc_key(&op->key, key, why);
	if (!e)
		e = agi_svc_level(s, op->ns, level, &op->level, why);
	return e;
}

enum agi_err agi_svc_value(struct agi_str *out, ProtobufCBinaryData in, struct agi_why *why)
{
	if (in.len > AGI_VALUE_MAX)
		return agi_fail(why, AGI_E_TOO_LARGE, "value: %zu bytes, expected at most %d", in.len,
		                AGI_VALUE_MAX);
	*out = agi_svc_str(in);
	return AGI_OK;
}

enum agi_err agi_svc_ttl(uint64_t *out, uint64_t ttl_ms, struct agi_why *why)
{
	if (ttl_ms > ttl_ms_max)
		return agi_fail(why, AGI_E_INVALID, "ttl_ms: expected at most %llu (%d years), 0 = never expires",
		                (unsigned long long)ttl_ms_max, AGI_TTL_MS_MAX_YEARS);
	*out = ttl_ms;
	return AGI_OK;
}

/* --- Put -------------------------------------------------------------------------------------------- */
static void put_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                       const struct agi_result *res)
{
	Agihpc__V1__PutResponse r = AGIHPC__V1__PUT_RESPONSE__INIT;
	(void)s;
	(void)req;

	r.version = res->version.hlc;
	r.acks = res->acks;
	r.slot = res->slot;
	agi_grpc_reply(call, &r.base);
}

static void put(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__PutRequest *p = (const Agihpc__V1__PutRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_PUT};
	struct agi_why why;
	enum agi_err e = agi_svc_kv_common(ctx, &op, p->namespace_, p->key, p->level, &why);

	if (!e)
		e = agi_svc_value(&op.value, p->value, &why);
	if (!e)
		e = agi_svc_ttl(&op.ttl_ms, p->ttl_ms, &why);
	op.lease = p->lease_id;
	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, put_answer);
}

/* --- Get -------------------------------------------------------------------------------------------- */
static void get_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                       const struct agi_result *res)
{
	Agihpc__V1__GetResponse r = AGIHPC__V1__GET_RESPONSE__INIT;
	(void)s;
	(void)req;

	r.value = agi_svc_data(res->value);
	r.version = res->version.hlc;
	r.acks = res->acks;
	r.slot = res->slot;
	r.lease_id = res->lease;
	agi_grpc_reply(call, &r.base);
}

static void get(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__GetRequest *p = (const Agihpc__V1__GetRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_GET};
	struct agi_why why;
	enum agi_err e = agi_svc_kv_common(ctx, &op, p->namespace_, p->key, p->level, &why);

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, get_answer);
}

/* --- Delete ------------------------------------------------------------------------------------------ */
static void delete_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                          const struct agi_result *res)
{
	Agihpc__V1__DeleteResponse r = AGIHPC__V1__DELETE_RESPONSE__INIT;
	(void)s;
	(void)req;

	r.version = res->version.hlc;
	r.acks = res->acks;
	r.slot = res->slot;
	agi_grpc_reply(call, &r.base);
}

static void delete (struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__DeleteRequest *p = (const Agihpc__V1__DeleteRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_DELETE};
	struct agi_why why;
	enum agi_err e = agi_svc_kv_common(ctx, &op, p->namespace_, p->key, p->level, &why);

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, delete_answer);
}

/* --- Owners ------------------------------------------------------------------------------------------ */
struct owner_row {
	Agihpc__V1__Owner o;
	char id[AGI_ID_HEX], addr[AGI_ADDR_TEXT];
};

static const char *state_of(const struct agi_dht *d, const struct agi_id *id)
{
	struct agi_member m;

	for (size_t i = 0; agi_dht_member(d, i, &m); i++)
		if (agi_id_eq(&m.contact.id, id))
			return agi_link_state_name(m.state);
	return "unknown";
}

static void fill_owner(struct owner_row *row, const struct agi_dht *d, const struct agi_id *id,
                       const struct agi_result *res)
{
	agihpc__v1__owner__init(&row->o);
	agi_id_hex(row->id, id);
	row->o.node_id = agi_svc_text(row->id);
	row->o.state = agi_svc_text(state_of(d, id));
	for (size_t i = 0; i < res->n_contacts; i++) {
		if (!agi_id_eq(&res->contacts[i].id, id))
			continue;
		agi_addr_format(row->addr, &res->contacts[i].addr);
		row->o.address = agi_svc_text(row->addr);
		row->o.zone = agi_svc_text(res->contacts[i].zone);
	}
}

static void owners_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                          const struct agi_result *res)
{
	const Agihpc__V1__OwnersRequest *p = req;
	Agihpc__V1__OwnersResponse r = AGIHPC__V1__OWNERS_RESPONSE__INIT;
	struct owner_row rows[AGI_REPLICAS_MAX];
	Agihpc__V1__Owner *list[AGI_REPLICAS_MAX];
	char hash[AGI_ID_HEX];
	struct agi_id id;
	struct agi_str ns;

	if (agi_svc_namespace(&ns, p->namespace_, NULL)) {
		agi_grpc_fail_err(call, AGI_E_INVALID, NULL);
		return;
	}
	for (uint8_t i = 0; i < res->view.n_members; i++) {
		fill_owner(&rows[i], agi_dht_host_core(s->host), &res->view.members[i], res);
		list[i] = &rows[i].o;
	}
	agi_id_of_key(&id, ns, agi_svc_str(p->key));
	agi_id_hex(hash, &id);
	r.slot = res->view.slot;
	r.epoch = res->view.epoch;
	r.owners = list;
	r.n_owners = res->view.n_members;
	r.key_hash = agi_svc_text(hash);
	agi_grpc_reply(call, &r.base);
}

static void owners(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__OwnersRequest *p = (const Agihpc__V1__OwnersRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_OWNERS};
	struct agi_why why;
	enum agi_err e = agi_svc_kv_common(ctx, &op, p->namespace_, p->key, AGIHPC__V1__LEVEL__LEVEL_DEFAULT, &why);

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, owners_answer);
}

enum agi_err agi_svc_kv_add(struct agi_grpc_server *server, struct agi_svc *s)
{
	static const struct agi_grpc_method methods[] = {
	    {"Put", put},
	    {"Get", get},
	    {"Delete", delete},
	    {"Owners", owners},
	    {"CompareAndSet", agi_svc_compare_and_set},
	    {"Add", agi_svc_add},
	    {"Scan", agi_svc_scan},
	    {"Batch", agi_svc_batch},
	    {"Watch", agi_svc_watch, AGI_GRPC_SERVER_STREAM, NULL},
	};

	return agi_grpc_server_add(server, &agihpc__v1__kv_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, s);
}
