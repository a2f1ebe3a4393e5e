/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.LeaseService. Keeping a lease alive and waiting for a lock go past admission: the one must not come too late, the
 * other costs little. */
#include <stdlib.h>

#include "dht/lease_record.h"
#include "node/svc_kv.h"

/* --- Grant, KeepAlive, Revoke --------------------------------------------------------------------- */
static void granted(struct agi_svc *s, struct agi_grpc_call *call, const void *req, const struct agi_result *res)
{
	Agihpc__V1__GrantResponse r = AGIHPC__V1__GRANT_RESPONSE__INIT;
	(void)s;
	(void)req;

	r.lease_id = res->lease;
	r.ttl_ms = res->ttl_ms;
	agi_grpc_reply(call, &r.base);
}

static void grant(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__GrantRequest *p = (const Agihpc__V1__GrantRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_GRANT, .ns = AGI_LEASE_NS, .ttl_ms = p->ttl_ms,
	                      .value = agi_svc_str(p->holder)};

	agi_svc_start(ctx, call, p, &op, granted);
}

static void kept_alive(struct agi_svc *s, struct agi_grpc_call *call, const void *req, const struct agi_result *res)
{
	Agihpc__V1__KeepAliveResponse r = AGIHPC__V1__KEEP_ALIVE_RESPONSE__INIT;
	(void)s;
	(void)req;

	r.ttl_ms = res->ttl_ms;
	agi_grpc_reply(call, &r.base);
}

static void keep_alive(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__KeepAliveRequest *p = (const Agihpc__V1__KeepAliveRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_RENEW, .lease = p->lease_id};

	agi_svc_start(ctx, call, p, &op, kept_alive);
}

static void revoked(struct agi_svc *s, struct agi_grpc_call *call, const void *req, const struct agi_result *res)
{
	Agihpc__V1__RevokeResponse r = AGIHPC__V1__REVOKE_RESPONSE__INIT;
	(void)s;
	(void)req;
	(void)res;

	agi_grpc_reply(call, &r.base);
}

static void revoke(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__RevokeRequest *p = (const Agihpc__V1__RevokeRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_REVOKE, .ns = AGI_LEASE_NS, .lease = p->lease_id};

	agi_svc_start(ctx, call, p, &op, revoked);
}

/* --- GetLease, ListLeases --------------------------------------------------------------------------- */
/* False when the record makes no sense. The text of r is the record's. */
static bool fill(Agihpc__V1__Lease *r, struct agi_str key, struct agi_str value)
{
	uint64_t now = agi_clock_now().wall_ms;
	struct agi_lease lease;

	agihpc__v1__lease__init(r);
	if (agi_lease_decode(&lease, key, value) != AGI_OK)
		return false;
	r->lease_id = lease.id;
	r->ttl_ms = lease.ttl_ms;
	r->holder = agi_svc_data(lease.holder);
	r->age_ms = now > lease.renewed_ms ? now - lease.renewed_ms : 0;
	return true;
}

static void got(struct agi_svc *s, struct agi_grpc_call *call, const void *req, const struct agi_result *res)
{
	uint8_t key[8];
	Agihpc__V1__Lease r;
	(void)s;
	(void)req;

	agi_lease_key(key, res->lease);
	if (fill(&r, (struct agi_str){(const char *)key, sizeof key}, res->value))
		agi_grpc_reply(call, &r.base);
	else
		agi_grpc_fail_err(call, AGI_E_CORRUPT, NULL);
}

static void get_lease(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__GetLeaseRequest *p = (const Agihpc__V1__GetLeaseRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_LEASE, .ns = AGI_LEASE_NS, .lease = p->lease_id};

	agi_svc_start(ctx, call, p, &op, got);
}

static void listed(struct agi_svc *s, struct agi_grpc_call *call, const void *req, const struct agi_result *res)
{
	Agihpc__V1__ListLeasesResponse r = AGIHPC__V1__LIST_LEASES_RESPONSE__INIT;
	Agihpc__V1__Lease *rows = calloc(res->n_items + 1, sizeof *rows);
	Agihpc__V1__Lease **list = calloc(res->n_items + 1, sizeof(void *));
	(void)s;
	(void)req;

	for (size_t i = 0; rows && list && i < res->n_items; i++)
		if (fill(&rows[i], res->items[i].key, res->items[i].value))
			list[r.n_leases++] = &rows[i];
	r.leases = list;
	r.next_page_token = agi_svc_data(res->cursor);
	if (rows && list)
		agi_grpc_reply(call, &r.base);
	else
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
	free(rows);
	free(list);
}

static void list_leases(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__ListLeasesRequest *p = (const Agihpc__V1__ListLeasesRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_SCAN, .ns = AGI_LEASE_NS, .level = AGI_LEVEL_STRONG, .limit = p->limit,
	                      .cursor = agi_svc_str(p->page_token)};
	struct agi_why why;

	if (op.limit > AGI_SCAN_ITEMS_MAX) {
		agi_fail(&why, AGI_E_INVALID, "limit: %u, expected at most %d", op.limit, AGI_SCAN_ITEMS_MAX);
		agi_grpc_fail_err(call, AGI_E_INVALID, &why);
		return;
	}
	agi_svc_start(ctx, call, p, &op, listed);
}

/* --- Lock ------------------------------------------------------------------------------------------------ */
static void locked(struct agi_svc *s, struct agi_grpc_call *call, const void *req, const struct agi_result *res)
{
	Agihpc__V1__LockResponse r = AGIHPC__V1__LOCK_RESPONSE__INIT;
	(void)s;
	(void)req;

	r.acquired = res->err == AGI_OK;
	r.token = res->version.hlc;
	r.lease_id = res->lease;
	agi_grpc_reply(call, &r.base);
}

static void lock(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__LockRequest *p = (const Agihpc__V1__LockRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_LOCK, .lease = p->lease_id, .is_waiting = p->wait};
	struct agi_why why;
	enum agi_err e =
	    agi_svc_kv_common(ctx, &op, p->namespace_, p->key, AGIHPC__V1__LEVEL__LEVEL_STRONG, &why);

	if (!e)
		e = agi_svc_value(&op.value, p->value, &why);
	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, locked);
}

enum agi_err agi_svc_lease_add(struct agi_grpc_server *server, struct agi_svc *s)
{
	static const struct agi_grpc_method methods[] = {
	    {"Grant", grant, AGI_GRPC_UNARY, NULL},
	    {"KeepAlive", keep_alive, AGI_GRPC_UNARY, NULL},
	    {"Revoke", revoke, AGI_GRPC_UNARY, NULL},
	    {"GetLease", get_lease, AGI_GRPC_UNARY, NULL},
	    {"ListLeases", list_leases, AGI_GRPC_UNARY, NULL},
	    {"Lock", lock, AGI_GRPC_UNARY, NULL},
	};

	return agi_grpc_server_add(server, &agihpc__v1__lease_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, s);
}
