/* SPDX-License-Identifier: Apache-2.0
 * An operator empties this host, for a while or for good.
 *
 *            DRAIN                        LEAVE
 *   SERVES ────────▶ DRAINED ───────────────────▶ LEAVING ──nothing is held here, all agree (farewell.c)──▶ LEFT
 *      ▲  ◀────────     │    ◀───────────────────    │
 *      └─── UNDRAIN ────┴────────── UNDRAIN ─────────┘
 *
 * A drained host advertises weight 0: no view that can do without it has it as a member, so its slots move to
 * others like after any change of weights (reconf.c), and it serves each of them until it has moved. The state is
 * durable before it is told to anybody. LEFT is too, and it is the end of this identity: what the disk holds is
 * older than what the others have, so it must never speak for a slot again.
 *
 * A host whose disk takes no writes is drained by itself after down_after, as one that is down is replaced: its
 * slots would else stay with one replica less. That lasts until it starts again.
 *
 *   META  "drain"  u8 flags          "left"  be64 wall clock in ms */
#include <stdlib.h>

#include "dht/state.h"

enum { LOOK_MS = 250 };
static const char drain_key[] = "drain", left_key[] = "left";

struct drain_call {
	uint64_t call_id;
	enum agi_call_kind kind;
	uint8_t flags;
	bool is_cancelled;
};

enum agi_err agi_drain_load(struct agi_dht *d, struct agi_str key, struct agi_str value, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(value);

	if (agi_str_eq(key, agi_str_of(drain_key)))
		d->drain.flags = agi_cur_u8(&c);
	else if (agi_str_eq(key, agi_str_of(left_key)))
		d->drain.left_ms = agi_cur_u64(&c);
	else
		return AGI_OK;
	return c.bad || c.n ? agi_fail(why, AGI_E_CORRUPT, "meta/%.*s does not decode", (int)key.n, key.p) : AGI_OK;
}

static void store(struct agi_dht *d, const char *key, const void *value, size_t n, agi_job_fn *fn, void *arg,
                  bool *is_submitted)
{
	struct agi_storage_op op = {AGI_PUT, AGI_CF_META, agi_str_of(key), {value, n}};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};

	*is_submitted = agi_job_submit(d, &req, fn, arg) != 0;
}

/* --- what the others are told --------------------------------------------------------------------------- */

static void advertise(struct agi_dht *d)
{
	struct agi_contact self = d->self;
	bool is_drained = d->drain.flags & AGI_DRAINED;

	self.weight_milli = is_drained || d->drain.is_unfit ? 0 : d->cfg.self.weight_milli;
	self.may_shrink = is_drained && d->drain.flags & AGI_DRAIN_FORCED;
	memcpy(self.zone, d->cfg.self.zone, sizeof self.zone);
	agi_hosts_set_self(d, &self);
}

void agi_dht_set_place(struct agi_dht *d, struct agi_now now, uint32_t weight_milli, const char *zone)
{
	struct agi_str z = agi_str_of(zone);

	agi_clock_enter(d, now);
	if (weight_milli == d->cfg.self.weight_milli && strcmp(zone, d->cfg.self.zone) == 0)
		return;
	if (weight_milli)
		d->cfg.self.weight_milli = weight_milli;
	if (z.n <= AGI_ZONE_MAX)
		memcpy(d->cfg.self.zone, z.p, z.n + 1);
	advertise(d);
}

static void on_unfit(struct agi_dht *d, void *arg)
{
	(void)arg;
	d->drain.is_unfit = true;
	advertise(d);
}

void agi_drain_disk_failed(struct agi_dht *d)
{
	if (d->is_read_only)
		return;
	d->is_read_only = true;
	agi_timer_set(&d->timers, &d->drain.unfit, agi_after_ms(d, d->cfg.down_after_ms));
}

void agi_dht_set_read_only(struct agi_dht *d, struct agi_now now)
{
	agi_clock_enter(d, now);
	agi_drain_disk_failed(d);
}

/* --- leaving ---------------------------------------------------------------------------------------------- */

static bool holds_something(const struct agi_dht *d)
{
	const uint32_t *n = d->slots.in_phase;

	return n[AGI_VIEW_ACTIVE] || n[AGI_VIEW_JOINING] || n[AGI_VIEW_SEALED] || n[AGI_VIEW_LEAVING] ||
	       (d->hints.n && !(d->drain.flags & AGI_DRAIN_FORCED));
}

static void on_left(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	(void)arg;
	d->drain.is_retiring = false;
	if (done->err != AGI_OK) {
		d->drain.left_ms = 0; /* read-only: it stays a member, though an idle one */
		return;
	}
	d->fx.note(d->ctx, &(struct agi_note){.kind = AGI_NOTE_LEFT});
	agi_dht_stop(d, d->host_now);
}

static void retire(struct agi_dht *d)
{
	uint8_t now[8];

	d->drain.left_ms = d->now.wall_ms ? d->now.wall_ms : 1;
	for (int i = 0; i < 8; i++)
		now[i] = (uint8_t)(d->drain.left_ms >> (56 - 8 * i));
	store(d, left_key, now, sizeof now, on_left, NULL, &d->drain.is_retiring);
}

/* Nothing must have come in for a while, and the others must agree: a view that was decided, or proposed, before they
 * heard of the weight 0 may still be on its way. */
static void look(struct agi_dht *d, void *arg)
{
	struct agi_drain *dr = &d->drain;

	(void)arg;
	if (!(dr->flags & AGI_DRAIN_LEAVES) || d->is_stopped || d->is_read_only)
		return;
	agi_timer_set(&d->timers, &dr->look, agi_after_ms(d, LOOK_MS));
	if (dr->is_retiring)
		return;
	if (!d->member.is_joined || holds_something(d)) {
		dr->empty_since_us = 0;
		agi_farewell_reset(d);
	} else if (!dr->empty_since_us) {
		dr->empty_since_us = d->now.mono_us;
	} else if (d->now.mono_us - dr->empty_since_us >= (uint64_t)d->cfg.stable_ms * 1000 &&
	           agi_farewell_is_permitted(d)) {
		retire(d);
	}
}

/* --- calls -------------------------------------------------------------------------------------------------- */

/* Hosts beside this one that can take slots. */
static uint32_t n_others(struct agi_dht *d)
{
	struct agi_host *h, *tmp;
	uint32_t n = 0;

	HASH_ITER(hh, d->hosts.by_id, h, tmp)
		n += h->is_in_ring && h->state != AGI_MEMBER_DOWN && h->c.weight_milli > 0;
	return n;
}

static enum agi_err check(struct agi_dht *d, const struct agi_call *call, struct agi_why *why)
{
	uint32_t n = n_others(d);

	if (d->is_read_only)
		return agi_fail(why, AGI_E_READ_ONLY, "the store is read-only after a disk error");
	if (!d->member.is_joined)
		return agi_fail(why, AGI_E_NOT_READY, "%s", d->member.waits_for);
	if (call->kind == AGI_CALL_UNDRAIN)
		return AGI_OK;
	if (n == 0)
		return agi_fail(why, AGI_E_TOO_FEW_HOSTS, "no other host is up that could take this one's data");
	if (n < d->cfg.replicas && !call->is_forced)
		return agi_fail(why, AGI_E_TOO_FEW_HOSTS,
		                "%u hosts would remain for %u replicas: add a host first, or force it and have fewer "
		                "replicas",
		                n, d->cfg.replicas);
	return AGI_OK;
}

static uint8_t flags_of(const struct agi_dht *d, const struct agi_call *call)
{
	if (call->kind == AGI_CALL_UNDRAIN)
		return 0;
	return (uint8_t)(d->drain.flags | AGI_DRAINED | (call->is_forced ? AGI_DRAIN_FORCED : 0) |
	                 (call->kind == AGI_CALL_LEAVE ? AGI_DRAIN_LEAVES : 0));
}

static void apply(struct agi_dht *d, uint8_t flags)
{
	struct agi_note n = {.kind = AGI_NOTE_DRAIN};

	n.text = flags & AGI_DRAIN_LEAVES ? "leaves" : flags ? "drains" : "serves";
	if (flags != d->drain.flags)
		d->fx.note(d->ctx, &n);
	d->drain.flags = flags;
	d->drain.empty_since_us = 0;
	agi_farewell_reset(d);
	advertise(d);
	agi_drain_start(d);
}

static void on_stored(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct drain_call *c = arg;
	struct agi_result res = {.kind = c->kind, .err = done->err, .why = done->why};

	if (done->err == AGI_OK && !d->is_stopped)
		apply(d, c->flags);
	if (!c->is_cancelled)
		agi_call_reply(d, c->call_id, &res);
	free(c);
}

static void cancel(struct agi_dht *d, void *op)
{
	(void)d;
	((struct drain_call *)op)->is_cancelled = true;
}

void agi_drain_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	struct agi_why why;
	enum agi_err e = check(d, call, &why);
	struct drain_call *c;
	bool is_submitted;

	if (e != AGI_OK || d->drain.left_ms) {
		agi_call_fail(d, call_id, call->kind, e ? e : AGI_E_CLOSED, e ? why.text : "this node has left");
		return;
	}
	c = calloc(1, sizeof *c);
	if (!c) {
		agi_call_fail(d, call_id, call->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, call->kind, c, cancel) != AGI_OK) {
		free(c);
		return;
	}
	*c = (struct drain_call){.call_id = call_id, .kind = call->kind, .flags = flags_of(d, call)};
	store(d, drain_key, &c->flags, 1, on_stored, c, &is_submitted);
	if (!is_submitted) {
		agi_call_fail(d, call_id, call->kind, AGI_E_NOMEM, "");
		free(c);
	}
}

/* --- life ------------------------------------------------------------------------------------------------------ */

void agi_drain_init(struct agi_dht *d)
{
	d->drain.look.fn = look;
	d->drain.unfit.fn = on_unfit;
}

void agi_drain_start(struct agi_dht *d)
{
	if (d->drain.flags && d->self.weight_milli)
		advertise(d);
	if (d->drain.flags & AGI_DRAIN_LEAVES)
		agi_timer_set(&d->timers, &d->drain.look, agi_after_ms(d, LOOK_MS));
}
