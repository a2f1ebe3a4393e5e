/* SPDX-License-Identifier: Apache-2.0
 * The policy on the safety plane: what reads of its register found, and telling the gateways that there is a newer one.
 *
 *   the host that set it ─ POLICY_NOTICE: this version ─► every gateway known: reads the register now
 *                        ◄─ POLICY_ACK: the version in force here ─┘            (again each AGAIN_MS until it is that one)
 *
 * A notice makes nobody judge by anything: it says when to read. What the gateways answer is for the operator to see; when
 * the change is complete is told by the clock (policy_item.h). */
#include <stdlib.h>

#include "node/safety_impl.h"
#include "node/safety_policy.h"

enum {
	AGAIN_MS = 100,
	ROUND_US = 2000000,  /* more than setting takes after it was chosen */
	READ_EVERY_US = 20000 /* on notices: a peer that repeats itself does not keep the register busy */
};

/* Telling of one version. */
struct policy_round {
	LIST_ENTRY(policy_round) link;
	struct agi_safety_plane *plane;
	struct agi_policy_told told;
	struct agi_addr addrs[AGI_POLICY_TOLD_MAX];
	uint64_t ends_us;
	struct event *again;
};

/* --- reads ------------------------------------------------------------------------------------------------- */
bool agi_safety_plane_policy_read(struct agi_safety_plane *s, struct agi_str record, uint64_t began_us)
{
	bool is_news = agi_policy_view_read(&s->policy, record, began_us);

	s->erisml.policy = s->policy.known->rules.eval;
	audit_policy(s);
	return is_news;
}

const struct agi_policy_view *agi_safety_plane_policy(const struct agi_safety_plane *s) { return &s->policy; }

/* --- versions on the wire -------------------------------------------------------------------------------------- */
static void put_version(struct agi_buf *b, const struct agi_policy_version *v)
{
	agi_buf_u64(b, v->epoch);
	agi_buf_put(b, v->hash, sizeof v->hash);
}

static bool take_version(struct agi_str bytes, struct agi_policy_version *v)
{
	struct agi_cur c = agi_cur_of(bytes);

	v->epoch = agi_cur_u64(&c);
	agi_cur_copy(&c, v->hash, sizeof v->hash);
	return !c.bad && c.n == 0;
}

/* v NULL: none. */
static enum agi_err send_version(struct agi_safety_plane *s, const struct agi_peer *to, enum agi_envelope_body kind,
                                 uint64_t rpc_id, const struct agi_policy_version *v)
{
	struct agi_safety_msg m = {.kind = kind, .rpc_id = rpc_id};
	struct agi_buf b;
	enum agi_err e;

	agi_buf_init(&b, 0);
	if (v)
		put_version(&b, v);
	m.request = agi_buf_str(&b);
	e = b.err ? b.err : safety_send(s, to, &m);
	agi_buf_free(&b);
	return e;
}

/* --- a gateway is told --------------------------------------------------------------------------------------------- */
void policy_on_notice(struct agi_safety_plane *s, const struct agi_peer *from, const struct agi_safety_msg *m)
{
	uint64_t now = safety_mono_us();
	const struct agi_policy *p = agi_policy_in_force(&s->policy, now);
	struct agi_policy_version said, here = {.epoch = p ? p->epoch : 0};

	if (!take_version(m->request, &said))
		return;
	if (p)
		memcpy(here.hash, p->hash, sizeof here.hash);
	if (said.epoch > s->policy.known->epoch && now - s->policy_noticed_us >= READ_EVERY_US &&
	    s->hooks.policy_noticed) {
		s->policy_noticed_us = now;
		s->hooks.policy_noticed(s->ctx);
	}
	(void)!send_version(s, from, AGI_BODY_POLICY_ACK, m->rpc_id, p ? &here : NULL); /* it will ask again */
}

/* --- telling ---------------------------------------------------------------------------------------------------------- */
static void round_free(struct policy_round *r)
{
	LIST_REMOVE(r, link);
	if (r->again)
		event_free(r->again);
	free(r);
}

static void ask(struct policy_round *r)
{
	for (size_t i = 0; i < r->told.n; i++) {
		struct agi_peer to = {r->told.gateways[i].id, r->addrs[i]};

		if (!agi_policy_is_confirmed(&r->told, i) &&
		    send_version(r->plane, &to, AGI_BODY_POLICY_NOTICE, r->told.version.epoch, &r->told.version))
			continue; /* asked again later */
	}
	event_add(r->again, &(struct timeval){.tv_usec = AGAIN_MS * 1000});
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct policy_round *r = arg;
	(void)fd, (void)what;

	if (safety_mono_us() >= r->ends_us)
		round_free(r);
	else
		ask(r);
}

/* Distinct hosts. */
static void find_gateways(struct policy_round *r)
{
	struct agi_instance found[AGI_POLICY_TOLD_MAX];
	size_t n = r->plane->hooks.instances(r->plane->ctx, AGI_STR("safety-gateway"), found, AGI_POLICY_TOLD_MAX);

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < r->told.n && !agi_id_eq(&r->told.gateways[k].id, &found[i].node))
			k++;
		if (k < r->told.n)
			continue;
		r->told.gateways[k].id = found[i].node;
		r->addrs[k] = found[i].provider->node_addr;
		r->told.n++;
	}
}

static void say(struct policy_round *r)
{
	if (r->plane->hooks.policy_told)
		r->plane->hooks.policy_told(r->plane->ctx, &r->told);
}

void agi_safety_plane_policy_tell(struct agi_safety_plane *s, const struct agi_policy_version *v)
{
	struct policy_round *r = calloc(1, sizeof *r);

	if (!r)
		return; /* they read it within AGI_POLICY_REFRESH_MS */
	r->plane = s;
	r->told.version = *v;
	r->ends_us = safety_mono_us() + ROUND_US;
	LIST_INSERT_HEAD(&s->policy_rounds, r, link);
	r->again = evtimer_new(s->base, on_again, r);
	if (!r->again) {
		round_free(r);
		return;
	}
	find_gateways(r);
	say(r);
	ask(r);
}

bool agi_policy_is_confirmed(const struct agi_policy_told *t, size_t i)
{
	const struct agi_policy_version *v = &t->gateways[i].version;

	return v->epoch > t->version.epoch ||
	       (v->epoch == t->version.epoch && memcmp(v->hash, t->version.hash, sizeof v->hash) == 0);
}

static void take_ack(struct policy_round *r, const struct agi_id *from, struct agi_str version)
{
	for (size_t i = 0; i < r->told.n; i++) {
		struct agi_policy_gateway *g = &r->told.gateways[i];

		if (!agi_id_eq(&g->id, from))
			continue;
		g->has_answered = true;
		g->is_sure = version.n && take_version(version, &g->version);
		say(r);
		return;
	}
}

void policy_on_ack(struct agi_safety_plane *s, const struct agi_id *from, const struct agi_safety_msg *m)
{
	struct policy_round *r;

	LIST_FOREACH(r, &s->policy_rounds, link)
		if (r->told.version.epoch == m->rpc_id) {
			take_ack(r, from, m->request);
			return;
		}
}

void policy_free(struct agi_safety_plane *s)
{
	struct policy_round *r;

	while ((r = LIST_FIRST(&s->policy_rounds)))
		round_free(r);
	agi_policy_view_clear(&s->policy);
}
