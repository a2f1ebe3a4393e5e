/* SPDX-License-Identifier: Apache-2.0 */
#include "node/safety_door.h"

#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "node/safety_impl.h"

/* What is asked for. */
enum kind { CHECK_PLAN, CHECK_STEP, ERISML, OUTCOME };
struct asked {
	enum kind kind;
	size_t method; /* ERISML: of eval_method_of */
};

/* One waiting call, on home. */
struct place {
	struct agi_safety_door *door;
	struct agi_grpc_call *call; /* NULL = free */
	uint64_t id;                /* generation * AGI_SAFETY_DOOR_CALLS + index */
	struct asked asked;
	uint64_t give_up_us;
	TAILQ_ENTRY(place) link; /* door->free, or door->waiting in order of give_up_us */
};
TAILQ_HEAD(places, place);

/* Home → safety; lives there until the check is over. */
struct question {
	struct agi_safety_door *door;
	uint64_t id;
	struct asked asked;
	uint64_t deadline_us; /* the client's; UINT64_MAX = none */
	LIST_ENTRY(question) link; /* door->asked, on the safety loop */
	struct safety_work work;   /* an evaluation that takes long */
	size_t n;
	char bytes[];
};

/* Safety → home. */
struct answer {
	struct agi_safety_door *door;
	uint64_t id;
	enum agi_err err; /* ERISML and OUTCOME only */
	struct agi_why why;
	size_t n;
	uint8_t bytes[]; /* the response */
};

struct agi_safety_door {
	struct agi_loop *home, *safety;
	struct agi_safety_plane *plane; /* the safety loop's */
	struct agi_grpc_method erisml[EVAL_METHODS];
	uint32_t timeout_ms;
	/* home's */
	struct place places[AGI_SAFETY_DOOR_CALLS];
	struct places free, waiting;
	uint32_t n_waiting;
	struct event *timer;
	/* the safety loop's */
	LIST_HEAD(, question) asked;
};

/* --- home: places ------------------------------------------------------------------------------------------ */
static void arm(struct agi_safety_door *d)
{
	struct place *first = TAILQ_FIRST(&d->waiting);

	if (first)
		safety_arm(d->timer, first->give_up_us, safety_mono_us());
	else
		event_del(d->timer);
}

static uint32_t patience_ms(const struct agi_safety_door *d, enum kind kind)
{
	return kind == OUTCOME ? AGI_SAFETY_OUTCOME_MS : d->timeout_ms;
}

/* Only outcomes, which are few, wait behind what comes after them. */
static void insert_waiting(struct agi_safety_door *d, struct place *p)
{
	struct place *before = TAILQ_LAST(&d->waiting, places);

	while (before && before->give_up_us > p->give_up_us)
		before = TAILQ_PREV(before, places, link);
	if (before)
		TAILQ_INSERT_AFTER(&d->waiting, before, p, link);
	else
		TAILQ_INSERT_HEAD(&d->waiting, p, link);
}

static struct place *place_take(struct agi_safety_door *d, struct agi_grpc_call *call, struct asked asked)
{
	struct place *p = TAILQ_FIRST(&d->free);

	if (!p)
		return NULL;
	TAILQ_REMOVE(&d->free, p, link);
	p->call = call;
	p->asked = asked;
	p->id += AGI_SAFETY_DOOR_CALLS;
	p->give_up_us = safety_mono_us() + (uint64_t)(patience_ms(d, asked.kind) + AGI_SAFETY_DOOR_LATE_MS) * 1000;
	insert_waiting(d, p);
	d->n_waiting++;
	if (TAILQ_FIRST(&d->waiting) == p)
		arm(d);
	return p;
}

/* The call to be ended now; nobody else finds it any more. */
static struct agi_grpc_call *place_give_back(struct place *p)
{
	struct agi_safety_door *d = p->door;
	struct agi_grpc_call *call = p->call;

	p->call = NULL;
	TAILQ_REMOVE(&d->waiting, p, link);
	TAILQ_INSERT_HEAD(&d->free, p, link);
	d->n_waiting--;
	return call;
}

static struct place *place_of(struct agi_safety_door *d, uint64_t id)
{
	struct place *p = &d->places[id % AGI_SAFETY_DOOR_CALLS];

	return p->call && p->id == id ? p : NULL;
}

/* --- home: answering ---------------------------------------------------------------------------------------- */
struct ending {
	struct agi_grpc_call *call;
	struct asked asked;
};

static void reply_blocked(void *arg, const Agi__Safety__V1__CheckPlanResponse *res)
{
	struct ending *e = arg;

	agi_grpc_reply(e->call, e->asked.kind == CHECK_STEP ? &res->result->base : &res->base);
}

static void refuse(struct agi_grpc_call *call, struct asked asked, enum agi_err err, const char *cause)
{
	if (asked.kind == ERISML || asked.kind == OUTCOME)
		agi_grpc_fail_err(call, err, NULL);
	else
		agi_safety_block(reply_blocked, &(struct ending){call, asked}, cause);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct agi_safety_door *d = arg;
	uint64_t now = safety_mono_us();
	struct place *p;
	(void)fd;
	(void)what;

	while ((p = TAILQ_FIRST(&d->waiting)) && p->give_up_us <= now)
		refuse(place_give_back(p), p->asked, AGI_E_TIMEOUT, agi_panel_cause_name(AGI_PANEL_TIMEOUT));
	arm(d);
}

static void on_cancel(void *arg)
{
	agi_grpc_fail(place_give_back(arg), AGI_GRPC_CANCELLED, "the client gave up");
}

static void on_answer(void *arg)
{
	struct answer *a = arg;
	struct place *p = place_of(a->door, a->id);

	if (p && a->err && p->asked.kind == OUTCOME)
		agi_grpc_fail_err(place_give_back(p), a->err, a->why.text[0] ? &a->why : NULL);
	else if (p && a->err)
		eval_fail(place_give_back(p), a->err, &a->why);
	else if (p)
		agi_grpc_relay(place_give_back(p), AGI_GRPC_OK, AGI_STR(""),
		               (struct agi_str){(char *)a->bytes, a->n});
	free(a);
}

/* --- the safety loop ---------------------------------------------------------------------------------------- */
/* An answer that cannot be made or sent is missed at home in time. Ends q. */
static void send_answer(struct question *q, const ProtobufCMessage *res, enum agi_err err,
                        const struct agi_why *why)
{
	size_t n = res ? protobuf_c_message_get_packed_size(res) : 0;
	struct answer *a = malloc(sizeof *a + n);

	if (a) {
		*a = (struct answer){.door = q->door, .id = q->id, .err = err, .n = n};
		if (why)
			a->why = *why;
		if (res)
			protobuf_c_message_pack(res, a->bytes);
		if (agi_loop_post(q->door->home, on_answer, free, a))
			free(a);
	}
	LIST_REMOVE(q, link);
	free(q);
}

static void on_decided(void *arg, const Agi__Safety__V1__CheckPlanResponse *res)
{
	struct question *q = arg;

	send_answer(q, q->asked.kind == CHECK_STEP ? &res->result->base : &res->base, AGI_OK, NULL);
}

static uint32_t left_of(const struct question *q)
{
	uint64_t now = safety_mono_us();

	if (q->deadline_us == UINT64_MAX)
		return 0;
	return q->deadline_us > now + 1000 ? (uint32_t)((q->deadline_us - now) / 1000) : 1;
}

static void check_step(struct question *q)
{
	Agi__Safety__V1__CheckActionRequest *m = (Agi__Safety__V1__CheckActionRequest *)agi_pb_unpack(
	    &agi__safety__v1__check_action_request__descriptor, (struct agi_str){q->bytes, q->n}, NULL);

	if (!m) {
		agi_safety_block(on_decided, q, agi_check_cause_name(AGI_CHECK_OUT_OF_MEMORY));
		return;
	}
	agi_safety_plane_check_step(q->door->plane, m, left_of(q), on_decided, q);
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void evaluate(struct question *q)
{
	struct agi_why why = {{0}};
	ProtobufCMessage *req =
	    agi_pb_unpack(eval_method_input(q->asked.method), (struct agi_str){q->bytes, q->n}, &why);
	const ProtobufCMessage *res = NULL;
	struct agi_pool pool;
	enum agi_err err;

	agi_pool_init(&pool, 0);
	err = req ? eval_method(q->door->plane, q->asked.method, req, &pool, &res, &why) : AGI_E_NOMEM;
	send_answer(q, err ? NULL : res, err, &why);
	agi_pool_free(&pool);
	if (req)
		protobuf_c_message_free_unpacked(req, NULL);
}

static void evaluate_now(struct safety_work *work)
{
	evaluate((struct question *)((char *)work - offsetof(struct question, work)));
}

/* The plane goes; the door frees its questions. */
static void forget(struct safety_work *work) { (void)work; }

static void evaluate_later(struct question *q)
{
	q->work = (struct safety_work){.run = evaluate_now, .drop = forget, .bytes = sizeof *q + q->n};
	if (safety_later_add(&q->door->plane->later, &q->work))
		send_answer(q, NULL, AGI_E_FULL, NULL);
}

static void on_logged(void *arg, enum agi_err err, const Agi__Safety__V1__ActionOutcomeAck *ack,
                      const struct agi_why *why)
{
	send_answer(arg, ack ? &ack->base : NULL, err, why);
}

static void report(struct question *q)
{
	const struct agi_str bytes = {q->bytes, q->n};
	struct agi_why why = {{0}};
	Agi__Safety__V1__ActionOutcomeReport *m = (Agi__Safety__V1__ActionOutcomeReport *)agi_pb_unpack(
	    &agi__safety__v1__action_outcome_report__descriptor, bytes, NULL);
	uint64_t id; /* a client that gives up changes nothing */
	enum agi_err e = m ? agi_safety_plane_report(q->door->plane, m, bytes, on_logged, q, &id, &why) : AGI_E_NOMEM;

	if (e)
		send_answer(q, NULL, e, &why);
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void on_question(void *arg)
{
	struct question *q = arg;

	LIST_INSERT_HEAD(&q->door->asked, q, link);
	if (q->asked.kind == ERISML && q->n > SAFETY_LONG_BYTES)
		evaluate_later(q);
	else if (q->asked.kind == ERISML)
		evaluate(q);
	else if (q->asked.kind == CHECK_STEP)
		check_step(q);
	else if (q->asked.kind == OUTCOME)
		report(q);
	else
		agi_safety_plane_check(q->door->plane, (struct agi_str){q->bytes, q->n}, left_of(q), on_decided, q);
}

/* --- home: asking ------------------------------------------------------------------------------------------- */
static bool send_question(struct place *p, struct agi_str bytes)
{
	struct question *q = malloc(sizeof *q + bytes.n);
	uint32_t left_ms = agi_grpc_call_left_ms(p->call);

	if (!q)
		return false;
	*q = (struct question){.door = p->door, .id = p->id, .asked = p->asked, .n = bytes.n};
	q->deadline_us = left_ms == UINT32_MAX ? UINT64_MAX : safety_mono_us() + (uint64_t)left_ms * 1000;
	if (bytes.n)
		memcpy(q->bytes, bytes.p, bytes.n);
	if (agi_loop_post(p->door->safety, on_question, free, q) == AGI_OK)
		return true;
	free(q);
	return false;
}

static void ask(struct agi_safety_door *d, struct agi_grpc_call *call, enum kind kind, size_t method)
{
	const struct asked asked = {kind, method};
	struct place *p = place_take(d, call, asked);

	if (p && send_question(p, agi_grpc_call_bytes(call))) {
		agi_grpc_call_on_cancel(call, on_cancel, p);
		return;
	}
	if (p)
		place_give_back(p);
	refuse(call, asked, AGI_E_FULL, agi_check_cause_name(AGI_CHECK_BUSY));
}

static void on_check_plan(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req;
	ask(ctx, call, CHECK_PLAN, 0);
}

static void on_check_step(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req;
	ask(ctx, call, CHECK_STEP, 0);
}

static void on_erisml(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req;
	ask(ctx, call, ERISML, eval_method_of(call));
}

static void on_report(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req;
	ask(ctx, call, OUTCOME, 0);
}

static const struct agi_grpc_method checks[] = {{.name = "CheckPlan", .handler = on_check_plan},
                                                {.name = "CheckStep", .handler = on_check_step}};

enum agi_err agi_safety_door_serve(struct agi_safety_door *d, struct agi_grpc_server *server)
{
	return agi_grpc_server_add(server, &agi__safety__v1__pre_action_safety_service__descriptor, checks,
	                           sizeof checks / sizeof *checks, d);
}

enum agi_err agi_safety_door_serve_erisml(struct agi_safety_door *d, struct agi_grpc_server *server)
{
	return eval_serve(server, d->erisml, on_erisml, d);
}

enum agi_err agi_safety_door_serve_outcomes(struct agi_safety_door *d, struct agi_grpc_server *server)
{
	static const struct agi_grpc_method outcomes[] = {{.name = "ReportOutcome", .handler = on_report}};

	return agi_grpc_server_add(server, &agi__safety__v1__post_action_safety_service__descriptor, outcomes,
	                           sizeof outcomes / sizeof *outcomes, d);
}

/* --- life --------------------------------------------------------------------------------------------------- */
enum agi_err agi_safety_door_new(struct agi_loop *home, struct agi_loop *safety,
                                 struct agi_safety_plane *plane, uint32_t timeout_ms,
                                 struct agi_safety_door **out)
{
	struct agi_safety_door *d = calloc(1, sizeof *d);

	if (!d)
		return AGI_E_NOMEM;
	d->home = home;
	d->safety = safety;
	d->plane = plane;
	d->timeout_ms = timeout_ms;
	TAILQ_INIT(&d->free);
	TAILQ_INIT(&d->waiting);
	LIST_INIT(&d->asked);
	for (size_t i = 0; i < AGI_SAFETY_DOOR_CALLS; i++) {
		d->places[i].door = d;
		d->places[i].id = i;
		TAILQ_INSERT_TAIL(&d->free, &d->places[i], link);
	}
	d->timer = evtimer_new(agi_loop_base(home), on_timer, d);
	if (!d->timer) {
		free(d);
		return AGI_E_NOMEM;
	}
	*out = d;
	return AGI_OK;
}

void agi_safety_door_free(struct agi_safety_door *d)
{
	struct question *q;

	if (!d)
		return;
	while ((q = LIST_FIRST(&d->asked))) {
		LIST_REMOVE(q, link);
		free(q);
	}
	event_free(d->timer);
	free(d);
}

uint32_t agi_safety_door_waiting(const struct agi_safety_door *d) { return d->n_waiting; }
