/* SPDX-License-Identifier: Apache-2.0
 * The leader of a slot's registers. Whoever is asked to do a strong operation and is an active member leads:
 *
 *   NONE ──LEAD to all──▶ ASKING ──majority promised──▶ LEADING ──a higher ballot seen──▶ NONE
 *                            └──────── refused: a higher round, after a pause ────────────┘
 *
 * A leader does the operations of one key one after another. An unconditional put or delete is one round
 * trip: the promise already rules out every older ballot. One that depends on the present value reads a
 * majority first; what it finds there half written is finished or replaced by its own write.
 *
 * A write that was sent and is neither confirmed by a majority nor refused by all has an unknown outcome, and is
 * reported so: trying it again could make it happen twice.
 *
 * Rounds are unique: a member only uses those whose remainder by AGI_REPLICAS_MAX + 1 is its place in the view, and
 * each is above every one a majority has promised; so a version (round << 32 | seq) is never given twice. */
#include <assert.h>
#include <stdlib.h>

#include "dht/state.h"

enum {
	OPS_MAX = 512,
	ROUND_STEP = AGI_REPLICAS_MAX + 1,
	NUMBER_MAX = 24,
	FLOOR_ROUND_MAX = 1 << 30 /* of four times as many rounds that a version has room for */
};
enum lead_state { LEAD_NONE, LEAD_ASKING, LEAD_LEADING };
enum op_step { OP_WAITING, OP_READING, OP_WRITING };

struct strong_op {
	struct agi_lead *lead;
	enum op_step step;
	enum agi_strong_op kind;
	struct agi_peer from;
	uint64_t rpc_id;
	struct agi_str ns, key, given; /* in bytes */
	struct agi_str value;     /* to be written or answered: given, or what was read or computed */
	char *bytes;
	uint64_t expected, version;
	uint64_t given_lease, lease; /* as given and value */
	int64_t delta;
	bool is_delete;           /* what was asked for: DELETE, or CAS without a value */
	bool is_tombstone;        /* of what is written */
	bool is_mismatch;         /* CAS: the write only confirms what was read */
	bool met_full_disk;       /* a member would not take the write */
	bool has_found;           /* of what was read */
	struct agi_gather g;
	struct agi_buf best;      /* the newest record read */
	uint8_t n_same;           /* how many of those read have exactly it */
	struct agi_timer deadline;
	char number[NUMBER_MAX];
	TAILQ_ENTRY(strong_op) entry;
};

struct agi_lead {
	struct agi_dht *d;
	struct agi_slot *s;
	enum lead_state state;
	struct agi_ballot ballot;
	uint64_t seq;
	struct agi_gather g;
	struct agi_timer retry;
	bool wants_round; /* a round above everything written so far, once nothing is on its way */
	uint32_t n_ops;
	TAILQ_HEAD(, strong_op) ops;
};

static void advance(struct agi_lead *l);
static void read_first(struct strong_op *op);
static void write_now(struct strong_op *op);

/* --- ends ------------------------------------------------------------------------------------------ */

static void cancel_asked(struct agi_dht *d, struct agi_gather *g)
{
	for (uint32_t i = 0; i < g->n; i++)
		agi_rpc_cancel(d, g->rpc[i]);
}

static void free_op(struct strong_op *op)
{
	struct agi_lead *l = op->lead;

	cancel_asked(l->d, &op->g);
	agi_timer_clear(&l->d->timers, &op->deadline);
	TAILQ_REMOVE(&l->ops, op, entry);
	l->n_ops--;
	agi_buf_free(&op->best);
	free(op->bytes);
	agi_pool_put(&l->d->pools.strong_op, op);
}

static void end_op(struct strong_op *op, enum agi_err status, bool has_found, struct agi_str value,
                   uint64_t version)
{
	struct agi_item item = {.value = value, .version = {.hlc = version}, .lease = has_found ? op->lease : 0};
	struct agi_msg out = {.kind = AGI_MSG_STRONG_DONE, .status = status, .has_item = has_found,
	                      .items = &item, .n_items = 1};
	struct agi_lead *l = op->lead;

	agi_answer_on(l->d, AGI_TRAFFIC_CONTROL, &op->from, op->rpc_id, &out);
	free_op(op);
}

static void fail_op(struct strong_op *op, enum agi_err status)
{
	end_op(op, status, false, (struct agi_str){"", 0}, 0);
}

static bool is_change(const struct strong_op *op)
{
	return op->kind != AGI_STRONG_GET && op->kind != AGI_STRONG_REPAIR;
}

/* Whatever was being written may or may not have been chosen. */
static void give_up(struct strong_op *op, enum agi_err status)
{
	fail_op(op, op->step == OP_WRITING && !op->is_mismatch && is_change(op)
	                ? AGI_E_UNKNOWN_OUTCOME
	                : status);
}

void agi_lead_abort(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_lead *l = s->lead;

	if (!l)
		return;
	while (!TAILQ_EMPTY(&l->ops))
		give_up(TAILQ_FIRST(&l->ops), AGI_E_SEALED);
	cancel_asked(d, &l->g);
	agi_timer_clear(&d->timers, &l->retry);
	free(l);
	s->lead = NULL;
}

/* Somebody else leads now: what has not been written starts anew when we have won the promise back. */
static void step_down(struct agi_lead *l)
{
	struct agi_dht *d = l->d;
	struct strong_op *op, *next;

	if (l->state == LEAD_NONE)
		return;
	l->state = LEAD_NONE;
	l->wants_round = false;
	cancel_asked(d, &l->g);
	for (op = TAILQ_FIRST(&l->ops); op; op = next) {
		next = TAILQ_NEXT(op, entry);
		if (op->step == OP_READING) {
			cancel_asked(d, &op->g);
			agi_gather_init(&op->g, 0, 0);
			op->step = OP_WAITING;
		}
	}
	agi_timer_set(&d->timers, &l->retry, agi_after_ms(d, 2) + agi_prng_below(&d->prng, 20000));
}

static void on_retry(struct agi_dht *d, void *arg)
{
	(void)d;
	advance(arg);
}

/* --- becoming leader ----------------------------------------------------------------------------------- */

static uint32_t ask_members(struct agi_lead *l, struct agi_gather *g, struct agi_msg *m, agi_rpc_fn *fn,
                            void *arg)
{
	const struct agi_view *v = &l->s->view;

	m->slot = v->slot;
	m->epoch = v->epoch;
	agi_gather_init(g, v->n_members, agi_majority(v->n_members));
	for (uint32_t i = 0; i < v->n_members; i++) {
		struct agi_peer to = agi_hosts_peer(l->d, &v->members[i]);
		uint64_t rpc = agi_rpc_ask(l->d, &to, AGI_TRAFFIC_CONTROL, m, AGI_RPC_TIMEOUT_MS, fn, arg, i);

		if (rpc)
			agi_gather_asked(g, i, rpc);
		else
			agi_gather_answered(g, i, AGI_GATHER_SILENT);
	}
	return g->asked;
}

/* A promise of the epoch before, that only a minority made and a new member brought along, may have our very round and
 * another node: its member would refuse us for ever. */
static void saw_ballot(struct agi_lead *l, const struct agi_msg *m)
{
	if (!m || m->status != AGI_E_EXISTS)
		return;
	if (m->ballot.round > l->s->round)
		l->s->round = m->ballot.round;
	else if (m->ballot.round == l->ballot.round && agi_ballot_cmp(&m->ballot, &l->ballot) > 0)
		l->s->round = l->ballot.round + 1;
}

static void on_led(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                   const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_lead *l = arg;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_LED && m->status == AGI_OK;

	(void)d, (void)from;
	saw_ballot(l, m);
	agi_gather_answered(&l->g, which, is_yes ? AGI_GATHER_YES : m ? AGI_GATHER_NO : AGI_GATHER_SILENT);
	if (l->state != LEAD_ASKING)
		return;
	if (agi_gather_outcome(&l->g) == AGI_GATHER_WON) {
		l->state = LEAD_LEADING;
		l->seq = 0;
		l->wants_round = false;
		advance(l);
	} else if (agi_gather_outcome(&l->g) == AGI_GATHER_LOST) {
		step_down(l);
	}
}

static uint64_t next_round(const struct agi_lead *l)
{
	uint64_t seen = l->s->round, round;
	uint32_t place = 0;

	if (l->s->strong_promised.round > seen)
		seen = l->s->strong_promised.round;
	while (place < l->s->view.n_members && !agi_id_eq(&l->s->view.members[place], &l->d->self.id))
		place++;
	round = (seen / ROUND_STEP + !AGI_MUTANT(ROUND_REUSED)) * ROUND_STEP + place;
	return round;
}

static void ask_to_lead(struct agi_lead *l)
{
	struct agi_msg m = {.kind = AGI_MSG_LEAD};

	cancel_asked(l->d, &l->g);
	l->state = LEAD_ASKING;
	l->ballot = (struct agi_ballot){next_round(l), l->d->self.id};
	l->s->round = l->ballot.round;
	m.ballot = l->ballot;
	if (!ask_members(l, &l->g, &m, on_led, l))
		step_down(l);
}

/* --- reading and writing ----------------------------------------------------------------------------------- */

/* As it was asked for: an attempt that came to nothing leaves no trace in the next one. */
static void take_back(struct strong_op *op)
{
	op->value = op->given;
	op->is_mismatch = false;
	op->is_tombstone = op->is_delete;
	op->lease = op->is_delete ? 0 : op->given_lease;
}

static void lost_majority(struct strong_op *op)
{
	struct agi_lead *l = op->lead;

	/* refused by all and reached none: it did not happen */
	if (op->step == OP_WRITING && op->g.yes == 0 && op->g.silent == 0 && op->g.asked == 0) {
		agi_gather_init(&op->g, 0, 0);
		op->step = OP_WAITING;
		take_back(op);
		if (op->met_full_disk)
			fail_op(op, AGI_E_DISK_FULL);
		else
			step_down(l);
		return;
	}
	if (op->step == OP_WRITING && op->g.asked)
		return; /* an answer may still settle whether it happened */
	give_up(op, AGI_E_NO_QUORUM);
	step_down(l);
}

static void finish_op(struct strong_op *op)
{
	if (op->is_mismatch)
		end_op(op, AGI_E_CONDITION, op->has_found, op->value, op->has_found ? op->version : 0);
	else if (op->kind == AGI_STRONG_GET)
		end_op(op, AGI_OK, op->has_found, op->value, op->version);
	else if (op->kind == AGI_STRONG_REPAIR)
		fail_op(op, AGI_OK); /* nobody wants to know the value */
	else /* whoever put a value knows it */
		end_op(op, AGI_OK, op->kind == AGI_STRONG_DELETE ? op->has_found : true,
		       op->kind == AGI_STRONG_ADD ? op->value : (struct agi_str){"", 0}, op->version);
}

/* Refused before the acceptor's disk was asked. After a failed write or sync nobody knows what a restart finds. */
static bool is_untouched(enum agi_err status)
{
	return status == AGI_E_EXISTS || status == AGI_E_STALE_EPOCH || status == AGI_E_NOT_MEMBER ||
	       status == AGI_E_SEALED || status == AGI_E_INVALID || status == AGI_E_TOO_LARGE ||
	       status == AGI_E_DISK_FULL;
}

static void on_written(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                       const struct agi_peer *from, const struct agi_msg *m)
{
	struct strong_op *op = arg;
	struct agi_lead *l = op->lead;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_REG_ACK && m->status == AGI_OK;

	(void)d, (void)from;
	saw_ballot(l, m);
	op->met_full_disk = op->met_full_disk || (m && m->status == AGI_E_DISK_FULL);
	agi_gather_answered(&op->g, which,
	                    is_yes ? AGI_GATHER_YES
	                    : m && is_untouched(m->status) ? AGI_GATHER_NO : AGI_GATHER_SILENT);
	if (agi_gather_outcome(&op->g) == AGI_GATHER_WON) {
		finish_op(op);
		advance(l);
	} else if (agi_gather_outcome(&op->g) == AGI_GATHER_LOST) {
		lost_majority(op);
	}
}

static void write_now(struct strong_op *op)
{
	struct agi_lead *l = op->lead;
	bool is_confirming = op->is_mismatch || !is_change(op);
	struct agi_item item = {.ns = op->ns, .key = op->key, .value = op->value, .lease = op->lease};
	struct agi_msg m = {.kind = AGI_MSG_REG_WRITE, .ballot = l->ballot, .seq = ++l->seq, .items = &item,
	                    .n_items = 1};

	if (!is_confirming)
		op->version = l->ballot.round << 32 | (uint32_t)l->seq;
	item.version.hlc = op->version;
	item.is_tombstone = op->is_tombstone;
	op->step = OP_WRITING;
	if (!ask_members(l, &op->g, &m, on_written, op))
		give_up(op, AGI_E_NO_QUORUM);
}

static bool parse_number(int64_t *out, struct agi_str s)
{
	bool is_negative = s.n > 0 && s.p[0] == '-';
	int64_t v = 0;

	if (s.n == (size_t)is_negative)
		return false;
	for (size_t i = is_negative; i < s.n; i++) {
		int digit = s.p[i] - '0';

		if (digit < 0 || digit > 9 || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_sub_overflow(v, digit, &v)) /* downwards: INT64_MIN has no positive */
			return false;
	}
	if (!is_negative && v == INT64_MIN)
		return false;
	*out = is_negative ? v : -v;
	return true;
}

static struct agi_str print_number(char out[NUMBER_MAX], int64_t v)
{
	size_t at = NUMBER_MAX;
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do
		out[--at] = (char)('0' + u % 10);
	while (u /= 10);
	if (v < 0)
		out[--at] = '-';
	return (struct agi_str){out + at, NUMBER_MAX - at};
}

/* Applies ADD to what was read; an error ends the operation without a write. */
static enum agi_err add_number(struct strong_op *op, const struct agi_reg *reg)
{
	int64_t v = 0;

	if (op->has_found && !parse_number(&v, reg->value))
		return AGI_E_NOT_NUMBER;
	if (__builtin_add_overflow(v, op->delta, &v))
		return AGI_E_NOT_NUMBER;
	op->value = print_number(op->number, v);
	op->is_tombstone = false;
	op->lease = reg->lease; /* a counter stays with its lease */
	return AGI_OK;
}

/* A majority has been read: decide what, if anything, is to be written. */
static void decide(struct strong_op *op)
{
	struct agi_lead *l = op->lead;
	struct agi_reg reg = {.is_tombstone = true, .value = {"", 0}};
	bool is_settled = op->best.n == 0 || op->n_same >= op->g.need || AGI_MUTANT(SAME_ONE);
	enum agi_err e = AGI_OK;

	if (op->best.n)
		e = agi_reg_decode(&reg, agi_buf_str(&op->best));
	op->has_found = !reg.is_tombstone;
	if (e == AGI_OK && op->kind == AGI_STRONG_ADD)
		e = add_number(op, &reg);
	if (e != AGI_OK) {
		fail_op(op, e);
		advance(l);
		return;
	}
	op->is_mismatch = op->kind == AGI_STRONG_CAS && op->expected != (op->has_found ? reg.version : 0);
	if (op->is_mismatch || !is_change(op)) {
		op->value = reg.value;
		op->version = reg.version;
		op->is_tombstone = reg.is_tombstone;
		op->lease = reg.lease;
		if (is_settled) { /* what we saw is chosen: nothing to finish */
			finish_op(op);
			advance(l);
			return;
		}
	}
	write_now(op);
}

static void take_record(struct strong_op *op, const struct agi_msg *m)
{
	struct agi_str record = m->has_item && m->n_items == 1 ? m->items[0].value : (struct agi_str){"", 0};
	int c = agi_str_cmp((struct agi_str){record.p, record.n < AGI_VERSION_BYTES ? 0 : AGI_VERSION_BYTES},
	                    (struct agi_str){(const char *)op->best.p,
	                                     op->best.n < AGI_VERSION_BYTES ? 0 : AGI_VERSION_BYTES});

	if (c > 0) {
		agi_buf_reset(&op->best);
		agi_buf_put_str(&op->best, record);
		op->n_same = 0;
	}
	op->n_same += c >= 0;
}

static void end_repair(struct strong_op *op)
{
	struct agi_lead *l = op->lead;

	fail_op(op, AGI_E_NO_QUORUM);
	advance(l);
}

static void on_state(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct strong_op *op = arg;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_REG_STATE && m->status == AGI_OK;

	(void)from;
	saw_ballot(op->lead, m);
	if (is_yes)
		take_record(op, m);
	agi_gather_answered(&op->g, which, is_yes ? AGI_GATHER_YES : m ? AGI_GATHER_NO : AGI_GATHER_SILENT);
	if (op->best.err) {
		fail_op(op, op->best.err);
	} else if (agi_gather_outcome(&op->g) == AGI_GATHER_WON) {
		cancel_asked(d, &op->g);
		decide(op);
	} else if (agi_gather_outcome(&op->g) == AGI_GATHER_LOST) {
		if (op->lead->s->round > op->lead->ballot.round)
			step_down(op->lead); /* and reads again when it leads again */
		else if (op->kind == AGI_STRONG_REPAIR)
			end_repair(op); /* no sign that the leader lost its majority */
		else
			lost_majority(op);
	}
}

static void read_first(struct strong_op *op)
{
	struct agi_msg m = {.kind = AGI_MSG_REG_READ, .ballot = op->lead->ballot, .ns = op->ns, .key = op->key};

	op->step = OP_READING;
	op->n_same = 0;
	agi_buf_reset(&op->best);
	if (!ask_members(op->lead, &op->g, &m, on_state, op))
		fail_op(op, AGI_E_NO_QUORUM);
	else if (op->kind == AGI_STRONG_REPAIR)
		op->g.need = op->g.n; /* a majority alike is not enough */
}

/* --- the queue ------------------------------------------------------------------------------------------------ */

static bool is_key_busy(const struct strong_op *op)
{
	struct strong_op *x;

	TAILQ_FOREACH(x, &op->lead->ops, entry) {
		if (x == op)
			return false;
		if (agi_str_eq(x->key, op->key) && agi_str_eq(x->ns, op->ns))
			return true; /* an earlier one of the same key comes first */
	}
	return false;
}

static bool is_at_work(const struct agi_lead *l)
{
	const struct strong_op *op;

	TAILQ_FOREACH(op, &l->ops, entry)
		if (op->step != OP_WAITING)
			return true;
	return false;
}

static void advance(struct agi_lead *l)
{
	struct strong_op *op, *next;

	if ((TAILQ_EMPTY(&l->ops) && !l->wants_round) || l->state == LEAD_ASKING)
		return;
	if (l->state == LEAD_LEADING && l->seq > UINT32_MAX / 2)
		l->state = LEAD_NONE; /* a fresh round before the versions of this one are used up */
	if (l->state == LEAD_LEADING && l->wants_round) {
		if (is_at_work(l))
			return; /* its end comes by here */
		l->state = LEAD_NONE;
	}
	if (l->state == LEAD_NONE) {
		ask_to_lead(l);
		return;
	}
	for (op = TAILQ_FIRST(&l->ops); op && l->state == LEAD_LEADING; op = next) {
		next = TAILQ_NEXT(op, entry);
		if (op->step != OP_WAITING || is_key_busy(op))
			continue;
		if (op->kind == AGI_STRONG_PUT)
			write_now(op);
		else
			read_first(op);
	}
}

static void on_deadline(struct agi_dht *d, void *arg)
{
	struct strong_op *op = arg;
	struct agi_lead *l = op->lead;
	bool was_writing = op->step == OP_WRITING && !AGI_MUTANT(LEAD_ON);

	(void)d;
	give_up(op, AGI_E_TIMEOUT);
	if (was_writing)
		step_down(l); /* the write may still arrive: what comes next must rule it out before it reads */
	if (!l->retry.is_set)
		advance(l);
}

static struct agi_lead *lead_of(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_lead *l = s->lead;

	if (l)
		return l;
	l = calloc(1, sizeof *l);
	if (!l)
		return NULL;
	l->d = d;
	l->s = s;
	l->retry = (struct agi_timer){.fn = on_retry, .arg = l};
	TAILQ_INIT(&l->ops);
	s->lead = l;
	return l;
}

bool agi_lead_renew(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_lead *l = lead_of(d, s);

	if (!l)
		return false;
	l->wants_round = true;
	if (!l->retry.is_set)
		advance(l);
	return true;
}

bool agi_lead_is_promised_by_all(const struct agi_slot *s, struct agi_ballot *ballot)
{
	const struct agi_lead *l = s->lead;

	if (!l || l->state != LEAD_LEADING || l->wants_round || l->g.yes < l->g.n)
		return false;
	*ballot = l->ballot;
	return true;
}

/* Links deliver once, but nothing here may depend on it: adding twice is wrong for ever, and so is adding what its
 * sender was told did not happen. So those that were refused are remembered too. */
static bool is_repeated(struct agi_dht *d, const struct agi_peer *from, uint64_t rpc_id)
{
	if (agi_strong_seen_has(&d->strong_seen, &from->id, rpc_id) && !AGI_MUTANT(DO_TWICE))
		return true;
	agi_strong_seen_add(&d->strong_seen, &from->id, rpc_id);
	return false;
}

static struct strong_op *new_op(struct agi_lead *l, const struct agi_peer *from, const struct agi_msg *m)
{
	const struct agi_item *it = m->items;
	struct strong_op *op = agi_pool_get(&l->d->pools.strong_op, sizeof *op);
	char *p = malloc(it->ns.n + it->key.n + it->value.n + 1);

	if (!op || !p) {
		agi_pool_put(&l->d->pools.strong_op, op);
		free(p);
		return NULL;
	}
	op->lead = l;
	op->kind = m->op;
	op->from = *from;
	op->rpc_id = m->rpc_id;
	op->expected = m->expected;
	op->given_lease = it->lease;
	op->delta = m->delta;
	op->is_delete = m->op == AGI_STRONG_DELETE || (m->op == AGI_STRONG_CAS && it->is_tombstone);
	op->bytes = p;
	op->ns = (struct agi_str){memcpy(p, it->ns.n ? it->ns.p : "", it->ns.n), it->ns.n};
	op->key = (struct agi_str){memcpy(p + it->ns.n, it->key.p, it->key.n), it->key.n};
	op->given = (struct agi_str){memcpy(p + it->ns.n + it->key.n, it->value.n ? it->value.p : "", it->value.n),
	                             it->value.n};
	take_back(op);
	agi_buf_init(&op->best, 0);
	op->deadline = (struct agi_timer){.fn = on_deadline, .arg = op};
	TAILQ_INSERT_TAIL(&l->ops, op, entry);
	l->n_ops++;
	agi_timer_set(&l->d->timers, &op->deadline, agi_after_ms(l->d, 2 * AGI_RPC_TIMEOUT_MS));
	return op;
}

static enum agi_err check(struct agi_dht *d, const struct agi_msg *m)
{
	const struct agi_item *it = m->items;

	if (m->n_items != 1 || it->key.n == 0 || (unsigned)m->op > AGI_STRONG_REPAIR)
		return AGI_E_INVALID;
	if (it->ns.n > AGI_NAMESPACE_MAX || it->key.n > AGI_KEY_MAX || it->value.n > AGI_VALUE_MAX)
		return AGI_E_TOO_LARGE;
	return agi_dht_slot_of(d, it->ns, it->key) == m->slot ? AGI_OK : AGI_E_INVALID;
}

/* Versions are made of rounds: what is written from now on has a higher one than this. */
static void raise_round(struct agi_lead *l, uint64_t version)
{
	uint64_t round = version >> 32;

	if (round > FLOOR_ROUND_MAX)
		return; /* it would leave no rounds; a restored item is then as any new one */
	if (round > l->s->round)
		l->s->round = round;
	if (l->state == LEAD_LEADING && l->ballot.round <= round)
		step_down(l);
}

void agi_lead_on_do(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_STRONG_DONE, .slot = m->slot};
	struct agi_slot *s = agi_slot_find(d, m->slot);
	struct agi_lead *l = NULL;

	if (is_repeated(d, from, m->rpc_id))
		return; /* its answer is on the way, or was sent */
	out.status = agi_view_admit(d, from, m->slot, m->epoch, &out);
	if (out.status == AGI_OK && d->is_read_only)
		out.status = AGI_E_READ_ONLY;
	if (out.status == AGI_OK)
		out.status = check(d, m);
	if (out.status == AGI_OK && m->op != AGI_STRONG_GET && m->op != AGI_STRONG_DELETE)
		out.status = agi_store_admit(d, m->items, 1);
	if (out.status == AGI_OK) {
		l = lead_of(d, s);
		if (l && m->floor)
			raise_round(l, m->floor);
		if (!l)
			out.status = AGI_E_NOMEM;
		else if (l->n_ops >= OPS_MAX)
			out.status = AGI_E_FULL;
		else if (!new_op(l, from, m))
			out.status = AGI_E_NOMEM;
	}
	if (out.status != AGI_OK)
		agi_answer(d, from, m, &out);
	else if (!l->retry.is_set)
		advance(l);
}
