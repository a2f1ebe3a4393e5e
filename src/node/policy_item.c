/* SPDX-License-Identifier: Apache-2.0 */
#include "node/policy_item.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <sodium.h>

#include "node/strong_item.h"

/* The margin is for clocks that do not run alike, and for timers, which count from their turn's beginning. */
enum { OPS_MAX = 32, SETTLE_MS = AGI_POLICY_VALID_MS + 50 };

struct op {
	struct agi_policy_item *item;
	bool has_epoch;          /* get: of an older version */
	uint64_t epoch;          /* get: this one; set: the one that it is made for */
	bool may_loosen, is_set;
	struct agi_policy *wish; /* set; NULL: get */
	struct agi_policy *base; /* what was read */
	struct agi_pool pool;
	struct agi_strs looser;
	struct event *settled;   /* once chosen */
	agi_policy_fn *fn;
	void *arg;
	LIST_ENTRY(op) link;
};

struct agi_policy_item {
	struct agi_policy_item_cfg cfg;
	struct agi_policy_view view;
	struct agi_strong_item *strong;
	LIST_HEAD(, op) ops;
	uint32_t n_ops;
};

/* --- reading --------------------------------------------------------------------------------------------- */
static void on_read(void *ctx, struct agi_str record, uint64_t began_us)
{
	struct agi_policy_item *it = ctx;

	(void)agi_policy_view_read(&it->view, record, began_us);
	it->cfg.on_read(it->cfg.ctx, record, began_us);
}

static enum agi_err decode(const struct op *op, struct agi_str found, struct agi_policy **out, struct agi_why *why)
{
	const struct agi_policy_view *v = &op->item->view;
	enum agi_err e;

	if (!found.p) {
		*out = agi_policy_hold(v->configured);
		return AGI_OK;
	}
	e = agi_policy_decode(found, &v->configured->rules, out);
	return e == AGI_E_MALFORMED
	           ? agi_fail(why, e, "the policy's record cannot be read: %zu bytes, or made by a newer release", found.n)
	           : e;
}

/* --- asking ---------------------------------------------------------------------------------------------- */
static void op_free(struct op *op)
{
	LIST_REMOVE(op, link);
	op->item->n_ops--;
	if (op->settled)
		event_free(op->settled);
	agi_policy_drop(op->wish);
	agi_policy_drop(op->base);
	agi_pool_free(&op->pool);
	free(op);
}

static void end(struct op *op, enum agi_err err, const struct agi_why *why)
{
	struct agi_policy_found found = {op->wish ? op->wish : op->base, op->is_set, &op->looser};
	struct agi_why none = {""};

	if (err)
		found.policy = NULL;
	op->fn(op->arg, err, &found, why ? why : &none);
	op_free(op);
}

static struct op *op_new(struct agi_policy_item *it, agi_policy_fn *fn, void *arg)
{
	struct op *op = calloc(1, sizeof *op);

	if (!op)
		return NULL;
	*op = (struct op){.item = it, .fn = fn, .arg = arg};
	agi_pool_init(&op->pool, 0);
	LIST_INSERT_HEAD(&it->ops, op, link);
	it->n_ops++;
	return op;
}

static const char *kept_key(char key[AGI_STRONG_KEY_MAX + 1], uint64_t epoch)
{
	snprintf(key, AGI_STRONG_KEY_MAX + 1, AGI_POLICY_KEY ".%u", (unsigned)(epoch % AGI_POLICY_KEPT));
	return key;
}

static enum agi_err look_current(void *arg, struct agi_str found, struct agi_buf *value, enum agi_strong_next *next,
                                 struct agi_why *why)
{
	struct op *op = arg;
	(void)value;

	*next = AGI_STRONG_DONE;
	agi_policy_drop(op->base);
	op->base = NULL;
	return decode(op, found, &op->base, why);
}

/* --- get ------------------------------------------------------------------------------------------------- */
static enum agi_err look_kept(void *arg, struct agi_str found, struct agi_buf *value, enum agi_strong_next *next,
                              struct agi_why *why)
{
	struct op *op = arg;
	struct agi_policy *p = NULL;
	enum agi_err e = found.p ? decode(op, found, &p, why) : AGI_OK;
	(void)value;

	*next = AGI_STRONG_DONE;
	if (!e && (!p || p->epoch != op->epoch))
		e = agi_fail(why, AGI_E_NOT_FOUND, "policy epoch %" PRIu64 " is not kept: the last %d are", op->epoch,
		             AGI_POLICY_KEPT);
	if (e) {
		agi_policy_drop(p);
		return e;
	}
	agi_policy_drop(op->base);
	op->base = p;
	return AGI_OK;
}

static void got_kept(void *arg, enum agi_err err, const struct agi_why *why) { end(arg, err, why); }

static void got(void *arg, enum agi_err err, const struct agi_why *why)
{
	struct op *op = arg;
	char key[AGI_STRONG_KEY_MAX + 1];
	struct agi_why mine;

	if (err || !op->has_epoch || op->base->epoch == op->epoch) {
		end(op, err, why);
		return;
	}
	if (op->epoch > op->base->epoch) {
		err = agi_fail(&mine, AGI_E_NOT_FOUND, "policy epoch %" PRIu64 ": the newest is %" PRIu64, op->epoch,
		               op->base->epoch);
		end(op, err, &mine);
		return;
	}
	err = agi_strong_item_ask(op->item->strong, kept_key(key, op->epoch),
	                          &(struct agi_strong_ask){look_kept, got_kept, op});
	if (err)
		end(op, err, NULL);
}

enum agi_err agi_policy_item_get(struct agi_policy_item *it, const uint64_t *epoch, agi_policy_fn *fn, void *arg)
{
	struct op *op = it->n_ops < OPS_MAX ? op_new(it, fn, arg) : NULL;
	enum agi_err e;

	if (!op)
		return it->n_ops < OPS_MAX ? AGI_E_NOMEM : AGI_E_FULL;
	op->has_epoch = epoch != NULL;
	op->epoch = epoch ? *epoch : 0;
	e = agi_strong_item_ask(it->strong, NULL, &(struct agi_strong_ask){look_current, got, op});
	if (e)
		op_free(op);
	return e;
}

/* --- set ------------------------------------------------------------------------------------------------- */
static bool is_same_version(const struct agi_policy *a, const struct agi_policy *b)
{
	return a->epoch == b->epoch && memcmp(a->id, b->id, sizeof a->id) == 0;
}

static enum agi_err changed(struct agi_why *why, uint64_t now, uint64_t base)
{
	return agi_fail(why, AGI_E_CONDITION,
	                "the policy in force has epoch %" PRIu64 ", this change was made for epoch %" PRIu64, now, base);
}

/* No host holds the one before for valid any more, so none answers by it. */
static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct op *op = arg;
	(void)fd, (void)what;

	op->is_set = true;
	end(op, AGI_OK, NULL);
}

static void chosen(void *arg, enum agi_err err, const struct agi_why *why)
{
	struct op *op = arg;
	struct agi_policy_item *it = op->item;

	if (err) {
		end(op, err, why);
		return;
	}
	event_add(op->settled, &(struct timeval){.tv_usec = SETTLE_MS * 1000});
	if (it->cfg.on_chosen)
		it->cfg.on_chosen(it->cfg.ctx, op->wish);
	agi_policy_item_doubt(it);
}

static enum agi_err look_to_replace(void *arg, struct agi_str found, struct agi_buf *value, enum agi_strong_next *next,
                                    struct agi_why *why)
{
	struct op *op = arg;
	struct agi_policy *p = NULL;
	enum agi_err e = decode(op, found, &p, why);

	if (e)
		return e;
	*next = AGI_STRONG_DONE; /* it was chosen although that was not told */
	if (!is_same_version(p, op->wish)) {
		*next = AGI_STRONG_WRITE;
		if (is_same_version(p, op->base))
			agi_policy_encode(value, op->wish);
		else
			e = changed(why, p->epoch, op->base->epoch);
	}
	agi_policy_drop(p);
	return e;
}

static void kept(void *arg, enum agi_err err, const struct agi_why *why)
{
	struct op *op = arg;

	if (!err)
		err = agi_strong_item_ask(op->item->strong, NULL,
		                          &(struct agi_strong_ask){look_to_replace, chosen, op});
	/* of the version before nothing has changed: whether it was kept does not matter then */
	if (err)
		end(op, err == AGI_E_UNKNOWN_OUTCOME ? AGI_E_TIMEOUT : err, why);
}

static enum agi_err look_to_keep(void *arg, struct agi_str found, struct agi_buf *value, enum agi_strong_next *next,
                                 struct agi_why *why)
{
	struct op *op = arg;
	struct agi_policy *p = NULL;
	bool is_kept;
	(void)why;

	is_kept = found.p && agi_policy_decode(found, &op->base->rules, &p) == AGI_OK &&
	          is_same_version(p, op->base);
	*next = is_kept ? AGI_STRONG_DONE : AGI_STRONG_WRITE;
	if (!is_kept)
		agi_policy_encode(value, op->base);
	agi_policy_drop(p);
	return AGI_OK;
}

/* The wish as the version after base. */
static enum agi_err number(struct op *op)
{
	struct agi_policy draft = *op->wish, *p;
	enum agi_err e;

	draft.epoch = op->base->epoch + 1;
	draft.at_ms = agi_clock_now().wall_ms;
	draft.node = agi_str_of(op->item->cfg.node);
	draft.is_looser = op->looser.n > 0;
	randombytes_buf(draft.id, sizeof draft.id);
	e = agi_policy_new(&draft, &p);
	if (e)
		return e;
	agi_policy_drop(op->wish);
	op->wish = p;
	return AGI_OK;
}

static void found_base(void *arg, enum agi_err err, const struct agi_why *why)
{
	struct op *op = arg;
	char key[AGI_STRONG_KEY_MAX + 1];
	struct agi_why mine = {""};

	if (err) {
		end(op, err == AGI_E_UNKNOWN_OUTCOME ? AGI_E_TIMEOUT : err, why);
		return;
	}
	agi_policy_looser(&op->looser, &op->pool, op->base, op->wish);
	err = op->pool.err;
	if (!err && op->base->epoch != op->epoch)
		err = changed(&mine, op->base->epoch, op->epoch);
	if (!err)
		err = number(op);
	if (!err && op->looser.n && !op->may_loosen) {
		end(op, AGI_OK, NULL);
		return;
	}
	if (!err)
		err = agi_strong_item_ask(op->item->strong, kept_key(key, op->base->epoch),
		                          &(struct agi_strong_ask){look_to_keep, kept, op});
	if (err)
		end(op, err, &mine);
}

enum agi_err agi_policy_item_set(struct agi_policy_item *it, const struct agi_policy *wish, uint64_t base_epoch,
                                 bool may_loosen, agi_policy_fn *fn, void *arg, struct agi_why *why)
{
	const struct agi_eval_policy *host = &it->view.configured->rules.eval;
	enum agi_err e = agi_policy_check(wish, why);
	struct op *op;

	if (!e && host->mode == AGI_EVAL_STRICT)
		e = agi_profiles_check(host->profiles, wish->rules.eval.profile_name, why);
	if (e)
		return e;
	op = it->n_ops < OPS_MAX ? op_new(it, fn, arg) : NULL;
	if (!op)
		return it->n_ops < OPS_MAX ? AGI_E_NOMEM : AGI_E_FULL;
	op->epoch = base_epoch;
	op->may_loosen = may_loosen;
	op->settled = evtimer_new(it->cfg.base, on_settled, op);
	e = op->settled ? agi_policy_new(wish, &op->wish) : AGI_E_NOMEM;
	if (!e) {
		op->wish->rules.eval.mode = host->mode;
		op->wish->rules.eval.profiles = host->profiles;
		op->wish->rules.rule_set = it->view.configured->rules.rule_set;
		e = agi_strong_item_ask(it->strong, NULL, &(struct agi_strong_ask){look_current, found_base, op});
	}
	if (e)
		op_free(op);
	return e;
}

/* --- life ------------------------------------------------------------------------------------------------- */
enum agi_err agi_policy_item_new(const struct agi_policy_item_cfg *cfg, struct agi_policy_item **out)
{
	struct agi_policy_item *it = calloc(1, sizeof *it);
	const struct agi_strong_item_cfg reg = {.base = cfg->base, .host = cfg->host, .key = AGI_POLICY_KEY,
	                                        .refresh_ms = AGI_POLICY_REFRESH_MS, .read_ms = AGI_POLICY_VALID_MS,
	                                        .on_read = on_read, .ctx = it};
	enum agi_err e;

	if (!it)
		return AGI_E_NOMEM;
	it->cfg = *cfg;
	it->cfg.configured = NULL; /* the view has a copy */
	LIST_INIT(&it->ops);
	e = agi_policy_view_init(&it->view, cfg->configured);
	if (!e)
		e = agi_strong_item_new(&reg, &it->strong);
	if (e)
		agi_policy_item_free(it);
	else
		*out = it;
	return e;
}

void agi_policy_item_free(struct agi_policy_item *it)
{
	struct op *op;

	if (!it)
		return;
	agi_strong_item_free(it->strong); /* most of what is open ends here */
	it->strong = NULL;
	while ((op = LIST_FIRST(&it->ops))) /* chosen, not settled */
		end(op, AGI_E_UNKNOWN_OUTCOME, NULL);
	agi_policy_view_clear(&it->view);
	free(it);
}

void agi_policy_item_start(struct agi_policy_item *it) { agi_strong_item_start(it->strong); }

const struct agi_policy_view *agi_policy_item_view(const struct agi_policy_item *it) { return &it->view; }

void agi_policy_item_doubt(struct agi_policy_item *it)
{
	agi_policy_view_doubt(&it->view, agi_clock_now().mono_us);
	agi_strong_item_read_now(it->strong);
}

void agi_policy_item_read_now(struct agi_policy_item *it) { agi_strong_item_read_now(it->strong); }
