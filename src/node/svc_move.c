/* SPDX-License-Identifier: Apache-2.0 */
#include "node/svc_move.h"

#include "agihpc.pb-c.h"
#include "node/log.h"
#include "node/svc.h"

/* --- progress ------------------------------------------------------------------------------------------ */

static uint32_t held(const struct agi_dht_status *d)
{
	return d->slots_active + d->slots_joining + d->slots_sealed + d->slots_leaving;
}

static void fill_work(Agihpc__V1__RebalanceResponse *r, const struct agi_dht_moves *m)
{
	r->settled = m->is_settled;
	r->slots_to_move = m->wanted;
	r->preparing = m->preparing;
	r->proposing = m->proposing;
	r->copying = m->copying;
	r->copies = m->copies;
	r->joining = m->joining;
	r->handing_over = m->leaving;
	r->bytes_in_per_s = m->bytes_in_per_s;
	r->changes_per_s = m->slots_per_s;
	r->limit_bytes_per_s = m->bytes_per_s_limit;
	r->limit_slots = m->slots_limit;
}

static void fill_stats(Agihpc__V1__RebalanceResponse *r, const struct agi_move_stats *s)
{
	r->bytes_in = s->bytes_in;
	r->bytes_out = s->bytes_out;
	r->records_in = s->records_in;
	r->bytes_in_after_seal = s->bytes_sealed;
	r->slots_in = s->slots_in;
	r->slots_out = s->slots_out;
	r->changes_led = s->slots_led;
	r->throttled = s->throttled;
	r->pauses = s->sealed;
	r->pause_mean_ms = s->sealed ? (double)s->sealed_us / (double)s->sealed / 1000 : 0;
	r->pause_max_ms = (double)s->sealed_max_us / 1000;
	r->bytes_per_slot = s->slots_in ? s->bytes_in / s->slots_in : 0;
}

void agi_svc_rebalance(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_svc *s = ctx;
	const struct agi_dht *d = agi_dht_host_core(s->host);
	Agihpc__V1__RebalanceResponse r = AGIHPC__V1__REBALANCE_RESPONSE__INIT;
	char id[AGI_ID_HEX], addr[AGI_ADDR_TEXT];
	struct agi_store_stats store;
	struct agi_dht_status st;
	struct agi_dht_moves m;
	(void)req;

	agi_dht_status(d, &st);
	agi_dht_moves(d, &m);
	agi_store_stats(s->store, &store);
	agi_id_hex(id, &s->self);
	agi_addr_format(addr, &s->advertise);
	r.node_id = agi_svc_text(id);
	r.address = agi_svc_text(addr);
	r.draining = st.is_drained;
	r.leaving = st.is_leaving;
	r.slots_held = held(&st);
	r.store_bytes = store.disk_bytes;
	fill_work(&r, &m);
	fill_stats(&r, &m.stats);
	agi_grpc_reply(call, &r.base);
}

/* --- orders -------------------------------------------------------------------------------------------- */

static void log_order(struct agi_svc *s, const char *what, bool is_forced)
{
	AGI_LOG(s->log, AGI_LOG_WARN, "operator_order", agi_kv_z("order", what), agi_kv_b("force", is_forced));
}

static uint32_t held_now(struct agi_svc *s)
{
	struct agi_dht_status st;

	agi_dht_status(agi_dht_host_core(s->host), &st);
	return held(&st);
}

static void drained(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                    const struct agi_result *res)
{
	Agihpc__V1__DrainResponse r = AGIHPC__V1__DRAIN_RESPONSE__INIT;
	(void)req, (void)res;

	r.slots = held_now(s);
	agi_grpc_reply(call, &r.base);
}

void agi_svc_drain(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__DrainRequest *p = (const Agihpc__V1__DrainRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_DRAIN, .is_forced = p->force};

	log_order(ctx, "drain", p->force);
	agi_svc_start(ctx, call, p, &op, drained);
}

static void undrained(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                      const struct agi_result *res)
{
	Agihpc__V1__UndrainResponse r = AGIHPC__V1__UNDRAIN_RESPONSE__INIT;
	(void)s, (void)req, (void)res;

	agi_grpc_reply(call, &r.base);
}

void agi_svc_undrain(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_call op = {.kind = AGI_CALL_UNDRAIN};

	log_order(ctx, "undrain", false);
	agi_svc_start(ctx, call, req, &op, undrained);
}

static void left(struct agi_svc *s, struct agi_grpc_call *call, const void *req, const struct agi_result *res)
{
	Agihpc__V1__LeaveResponse r = AGIHPC__V1__LEAVE_RESPONSE__INIT;
	(void)req, (void)res;

	r.slots = held_now(s);
	agi_grpc_reply(call, &r.base);
}

void agi_svc_leave(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__LeaveRequest *p = (const Agihpc__V1__LeaveRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_LEAVE, .is_forced = p->force};

	log_order(ctx, "leave", p->force);
	agi_svc_start(ctx, call, p, &op, left);
}

/* --- lost majorities ------------------------------------------------------------------------------------ */

static void recovered(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                      const struct agi_result *res)
{
	Agihpc__V1__RecoverUnsafeResponse r = AGIHPC__V1__RECOVER_UNSAFE_RESPONSE__INIT;
	(void)s, (void)req;

	r.recovered = res->recovered.recovered;
	r.healthy = res->recovered.healthy;
	r.elsewhere = res->recovered.elsewhere;
	r.failed = res->recovered.failed;
	r.first_failure = agi_svc_text(res->why.text);
	agi_grpc_reply(call, &r.base);
}

void agi_svc_recover_unsafe(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__RecoverUnsafeRequest *p = (const Agihpc__V1__RecoverUnsafeRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_RECOVER, .slot = p->slot, .is_all = p->all_lost};
	struct agi_svc *s = ctx;

	AGI_LOG(s->log, AGI_LOG_ERROR, "operator_order", agi_kv_z("order", "recover slots, unsafe"),
	        agi_kv_b("all_lost", p->all_lost), agi_kv_u("slot", p->slot));
	agi_svc_start(s, call, p, &op, recovered);
}
