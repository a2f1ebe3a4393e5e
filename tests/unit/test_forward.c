/* SPDX-License-Identifier: Apache-2.0
 * Calls handed on by a front server to a back server, over loopback in one loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "erisml.pb-c.h"
#include "memory.pb-c.h"
#include "net/channel_pool.h"
#include "net/grpc_meta.h"
#include "net/sock.h"
#include "node/svc_forward.h"
#include "plan.pb-c.h"
#include "rh.pb-c.h"
#include "safety.pb-c.h"

enum { PATIENCE_MS = 10000, BACKS = 3 };
#define PLAN "/agi.plan.v1.PlanService/Plan"

struct server {
	struct agi_grpc_server *grpc;
	struct event *accept;
	int fd;
	struct agi_addr addr;
	char target[AGI_ADDR_TEXT];
};

struct world {
	struct event_base *base;
	struct server front, back;
	struct agi_forward *forward;
	struct agi_grpc_channel *client;
	/* what find answers */
	char addresses[BACKS][AGI_ADDR_TEXT];
	size_t n_addresses;
	uint32_t traits;
	bool finds_never; /* find keeps the question */
	agi_forward_found_fn *found;
	void *found_arg;
	const char *own_role;
	/* what the back saw */
	int n_seen, n_cancelled;
	uint8_t request[256];
	size_t request_bytes;
	char header[64], authorization[64];
	uint32_t left_ms;
	struct agi_grpc_call *held;
	enum agi_grpc_status fail_with;
	bool holds;
	/* what came back */
	int n_done;
	enum agi_grpc_status status;
	char message[600];
	uint8_t answer[256];
	size_t answer_bytes;
	char back_header[64], back_trailer[64], details[64];
};

/* --- servers --------------------------------------------------------------------------------------------- */
static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct server *s = arg;
	int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (got >= 0)
		agi_grpc_server_accept(s->grpc, got, &s->addr);
}

static void serve(struct world *w, struct server *s)
{
	static const struct agi_grpc_server_cfg cfg;
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof sa;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&sa, n), 0);
	assert_int_equal(listen(s->fd, 16), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&sa, &n), 0);
	assert_int_equal(agi_addr_of_sock(&s->addr, (struct sockaddr *)&sa), AGI_OK);
	agi_addr_format(s->target, &s->addr);
	assert_int_equal(agi_grpc_server_new(w->base, &cfg, &s->grpc), AGI_OK);
	s->accept = event_new(w->base, s->fd, EV_READ | EV_PERSIST, on_accept, s);
	event_add(s->accept, NULL);
}

static void stop_server(struct server *s)
{
	agi_grpc_server_free(s->grpc);
	event_free(s->accept);
	close(s->fd);
}

static void copy_text(char *to, size_t room, struct agi_str s)
{
	snprintf(to, room, "%.*s", AGI_STR_ARG(s));
}

static void on_back_cancel(void *arg)
{
	struct world *w = arg;
	struct agi_grpc_call *call = w->held;

	w->n_cancelled++;
	w->held = NULL;
	agi_grpc_fail(call, AGI_GRPC_CANCELLED, "gone");
}

static void back_plan(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct world *w = ctx;
	struct agi_str bytes = agi_grpc_call_bytes(call);
	Agi__Plan__V1__PlanResponse res = AGI__PLAN__V1__PLAN_RESPONSE__INIT;
	(void)req;

	w->n_seen++;
	memcpy(w->request, bytes.p, bytes.n);
	w->request_bytes = bytes.n;
	w->left_ms = agi_grpc_call_left_ms(call);
	copy_text(w->header, sizeof w->header, agi_grpc_call_metadata(call, "x-trace-bin"));
	copy_text(w->authorization, sizeof w->authorization,
	          agi_grpc_call_metadata(call, "authorization"));
	assert_true(agi_str_eq(agi_grpc_call_metadata(call, AGI_FORWARD_HEADER), AGI_STR("1")));
	if (w->holds) {
		w->held = call;
		agi_grpc_call_on_cancel(call, on_back_cancel, w);
		return;
	}
	agi_grpc_call_add_header(call, "x-from", AGI_STR("back"));
	agi_grpc_call_add_trailer(call, "x-cost-bin", AGI_STR("seven"));
	agi_grpc_call_add_trailer(call, "grpc-status-details-bin", AGI_STR("details"));
	if (w->fail_with) {
		agi_grpc_fail(call, w->fail_with, "50%% of \xc3\xbc");
		return;
	}
	res.plan_id = (ProtobufCBinaryData){6, (uint8_t *)"plan-7"};
	agi_grpc_reply(call, &res.base);
}

static void find(void *ctx, struct agi_str role, uint32_t timeout_ms, agi_forward_found_fn *fn,
                 void *arg)
{
	struct world *w = ctx;
	struct agi_provider providers[BACKS] = {{.is_healthy = true}};
	struct agi_instance found[BACKS] = {{.provider = NULL}};

	assert_true(agi_forward_role_at(0) && role.n > 0 && timeout_ms > 0);
	if (w->finds_never) {
		w->found = fn;
		w->found_arg = arg;
		return;
	}
	for (size_t i = 0; i < w->n_addresses; i++) {
		providers[i].address = agi_str_of(w->addresses[i]);
		providers[i].traits = w->traits;
		found[i].provider = &providers[i];
	}
	fn(arg, found, w->n_addresses);
}

static bool runs_here(void *ctx, const char *role)
{
	const char *own = ((struct world *)ctx)->own_role;

	return own && strcmp(own, role) == 0;
}

static void start_with(struct world *w, const struct agi_forward_cfg *how)
{
	static const struct agi_grpc_method methods[] = {{.name = "Plan", .handler = back_plan}};
	struct agi_forward_cfg cfg = *how;

	w->base = event_base_new();
	serve(w, &w->front);
	serve(w, &w->back);
	assert_int_equal(agi_grpc_server_add(w->back.grpc, &agi__plan__v1__plan_service__descriptor,
	                                     methods, 1, w),
	                 AGI_OK);
	cfg.base = w->base;
	cfg.answer_bytes_max = 1 << 20;
	cfg.find = find;
	cfg.runs_here = runs_here;
	cfg.ctx = w;
	assert_int_equal(agi_forward_new(&cfg, &w->forward), AGI_OK);
	assert_int_equal(agi_forward_serve(w->forward, w->front.grpc), AGI_OK);
	assert_int_equal(agi_grpc_channel_new(w->base, w->front.target, &w->client, NULL), AGI_OK);
	w->n_addresses = 1;
	memcpy(w->addresses[0], w->back.target, AGI_ADDR_TEXT);
}

static void start(struct world *w)
{
	*w = (struct world){.n_done = 0};
	start_with(w, &(struct agi_forward_cfg){.is_on = true});
}

static void stop(struct world *w)
{
	agi_grpc_channel_free(w->client);
	stop_server(&w->front);
	stop_server(&w->back);
	agi_forward_free(w->forward);
	event_base_free(w->base);
}

/* --- the client -------------------------------------------------------------------------------------------- */
static void take_pair(struct world *w, struct agi_str name, struct agi_str value, bool is_trailer)
{
	if (agi_str_eq(name, AGI_STR("x-from")) && !is_trailer)
		copy_text(w->back_header, sizeof w->back_header, value);
	if (agi_str_eq(name, AGI_STR("x-cost-bin")) && is_trailer)
		copy_text(w->back_trailer, sizeof w->back_trailer, value);
	if (agi_str_eq(name, AGI_STR("grpc-status-details-bin")) && is_trailer)
		copy_text(w->details, sizeof w->details, value);
}

static void on_done(void *arg, const struct agi_grpc_raw_result *r)
{
	struct world *w = arg;
	struct agi_str name, value;
	size_t at = 0, began = 0;

	w->n_done++;
	w->status = r->status;
	copy_text(w->message, sizeof w->message, r->message);
	if (r->res.n)
		memcpy(w->answer, r->res.p, r->res.n);
	w->answer_bytes = r->res.n;
	for (; agi_pairs_next(r->metadata, &at, &name, &value); began = at)
		take_pair(w, name, value, began >= r->trailers_at);
}

static void give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

static void run_until(struct world *w, const int *counter, int n)
{
	const struct timeval patience = {PATIENCE_MS / 1000, 0};
	bool is_late = false;
	struct event *late = event_new(w->base, -1, 0, give_up, &is_late);

	event_add(late, &patience);
	while (*counter < n && !is_late)
		event_base_loop(w->base, EVLOOP_ONCE);
	event_free(late);
	assert_int_equal(*counter, n);
}

/* An empty text written out, which nobody's encoder does, and an unknown field 99. */
#define REQUEST AGI_STR("\x0a\x02\x0a\x00\x98\x06\x05")

static struct agi_grpc_client_call *send_to(struct world *w, const char *path, struct agi_str req,
                                            const char *header, const char *value,
                                            uint32_t timeout_ms)
{
	struct agi_grpc_client_call *call;
	struct agi_buf metadata;

	agi_buf_init(&metadata, 0);
	if (header)
		assert_int_equal(agi_meta_give(&metadata, agi_str_of(header), agi_str_of(value)),
		                 AGI_OK);
	assert_int_equal(agi_grpc_unary_raw(w->client, path, req, &metadata, timeout_ms, on_done, w,
	                                    &call),
	                 AGI_OK);
	agi_buf_free(&metadata);
	return call;
}

static void call_plan(struct world *w)
{
	send_to(w, PLAN, REQUEST, NULL, NULL, 5000);
	run_until(w, &w->n_done, w->n_done + 1);
}

static void assert_answer(const struct world *w, enum agi_grpc_status status, const char *message)
{
	assert_string_equal(w->message, message);
	assert_int_equal(w->status, status);
}

/* --- promises ------------------------------------------------------------------------------------------------ */
static void request_and_answer_pass_unchanged(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	send_to(&w, PLAN, REQUEST, "x-trace-bin", "\x01trace", 5000);
	run_until(&w, &w.n_done, 1);
	assert_answer(&w, AGI_GRPC_OK, "");
	assert_int_equal(w.request_bytes, REQUEST.n);
	assert_memory_equal(w.request, REQUEST.p, REQUEST.n);
	assert_string_equal(w.header, "\x01trace");
	assert_in_range(w.left_ms, 1, 5000);
	assert_int_equal(w.answer_bytes, 8);
	assert_memory_equal(w.answer, "\x0a\x06plan-7", 8);
	assert_string_equal(w.back_header, "back");
	assert_string_equal(w.back_trailer, "seven");
	assert_int_equal(agi_forward_count(w.forward), 0);
	stop(&w);
}

static void a_request_that_does_not_decode_is_for_the_instance_to_judge(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	send_to(&w, PLAN, AGI_STR("\x0a\x7f"), NULL, NULL, 5000);
	run_until(&w, &w.n_done, 1);
	assert_answer(&w, AGI_GRPC_INTERNAL, "Exception deserializing request!");
	stop(&w);
}

static void an_error_of_the_instance_comes_back_whole(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	for (int status = 1; status <= 16; status++) {
		w.fail_with = (enum agi_grpc_status)status;
		call_plan(&w);
		assert_answer(&w, (enum agi_grpc_status)status, "50% of \xc3\xbc");
		assert_string_equal(w.back_trailer, "seven");
		assert_string_equal(w.details, "details");
	}
	assert_int_equal(w.n_seen, 16); /* UNAVAILABLE from an instance is not tried elsewhere */
	stop(&w);
}

static void a_role_nobody_runs_is_unavailable_by_name(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	w.n_addresses = 0;
	call_plan(&w);
	assert_answer(&w, AGI_GRPC_UNAVAILABLE,
	              "role lh-planner does not run on this node; no instance of role lh-planner is known");
	send_to(&w, "/agi.safety.v1.InActionSafetyService/ReflexCheck", AGI_STR(""), NULL, NULL, 5000);
	run_until(&w, &w.n_done, 2);
	assert_answer(&w, AGI_GRPC_UNAVAILABLE,
	              "role in-action does not run on this node; no instance of role in-action is known");
	assert_int_equal(w.answer_bytes, 0);
	stop(&w);
}

static void without_forwarding_the_nearest_is_named(void **state)
{
	struct world w = {.n_done = 0};
	char expected[200];
	(void)state;

	start_with(&w, &(struct agi_forward_cfg){.is_on = false});
	call_plan(&w);
	snprintf(expected, sizeof expected, "role lh-planner does not run on this node; nearest: %s",
	         w.back.target);
	assert_answer(&w, AGI_GRPC_UNAVAILABLE, expected);
	assert_int_equal(w.n_seen, 0);
	stop(&w);
}

static void a_call_is_handed_on_once(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	send_to(&w, PLAN, REQUEST, AGI_FORWARD_HEADER, "1", 5000);
	run_until(&w, &w.n_done, 1);
	assert_answer(&w, AGI_GRPC_UNAVAILABLE,
	              "role lh-planner does not run on this node; the call was forwarded here and goes no "
	              "further");
	memcpy(w.addresses[0], w.front.target, AGI_ADDR_TEXT); /* registered by mistake */
	call_plan(&w);
	assert_int_equal(w.status, AGI_GRPC_UNAVAILABLE);
	assert_non_null(strstr(w.message, "goes no further"));
	stop(&w);
}

/* A port that was just closed. */
static void dead_target(char out[AGI_ADDR_TEXT])
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, n), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	close(fd);
	snprintf(out, AGI_ADDR_TEXT, "127.0.0.1:%u", ntohs(sa.sin_port));
}

static void an_instance_that_cannot_be_reached_is_passed_over(void **state)
{
	struct world w;
	char expected[160];
	(void)state;

	start(&w);
	memcpy(w.addresses[1], w.addresses[0], AGI_ADDR_TEXT);
	dead_target(w.addresses[0]);
	w.n_addresses = 2;
	call_plan(&w);
	assert_answer(&w, AGI_GRPC_OK, "");
	w.n_addresses = 1;
	call_plan(&w);
	assert_int_equal(w.status, AGI_GRPC_UNAVAILABLE);
	snprintf(expected, sizeof expected, "role lh-planner does not run on this node; nearest: %s: ",
	         w.addresses[0]);
	assert_non_null(strstr(w.message, expected));
	stop(&w);
}

static void a_cancelled_call_is_cancelled_where_it_runs(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	w.holds = true;
	struct agi_grpc_client_call *call = send_to(&w, PLAN, REQUEST, NULL, NULL, 0);
	run_until(&w, &w.n_seen, 1);
	assert_in_range(w.left_ms, AGI_FORWARD_MAX_MS - 60000, AGI_FORWARD_MAX_MS);
	agi_grpc_unary_cancel(call);
	run_until(&w, &w.n_cancelled, 1);
	assert_int_equal(w.status, AGI_GRPC_CANCELLED);
	send_to(&w, PLAN, REQUEST, NULL, NULL, 100);
	run_until(&w, &w.n_cancelled, 2);
	run_until(&w, &w.n_done, 2);
	assert_answer(&w, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
	stop(&w);
}

static void a_client_may_go_while_instances_are_looked_for(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	w.finds_never = true;
	send_to(&w, PLAN, REQUEST, NULL, NULL, 50);
	run_until(&w, &w.n_done, 1);
	assert_int_equal(w.status, AGI_GRPC_DEADLINE_EXCEEDED);
	assert_non_null(w.found);
	while (agi_forward_count(w.forward) && w.found) {
		agi_forward_found_fn *fn = w.found;

		w.found = NULL;
		event_base_loop(w.base, EVLOOP_NONBLOCK);
		fn(w.found_arg, NULL, 0);
	}
	assert_int_equal(agi_forward_count(w.forward), 0);
	w.finds_never = true;
	send_to(&w, PLAN, REQUEST, NULL, NULL, 50);
	run_until(&w, &w.n_done, 2);
	stop(&w); /* frees what still looks */
}

static void calls_in_progress_are_bounded(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	w.finds_never = true;
	for (int i = 0; i <= AGI_FORWARD_CALLS_MAX; i++)
		send_to(&w, PLAN, REQUEST, NULL, NULL, 5000);
	run_until(&w, &w.n_done, 1);
	assert_int_equal(w.status, AGI_GRPC_RESOURCE_EXHAUSTED);
	assert_int_equal(agi_forward_count(w.forward), AGI_FORWARD_CALLS_MAX);
	stop(&w);
}

/* What the instance is shown of a token, and what the client hears. address: NULL = an IP address of this
 * host. */
static void expect_token(const struct agi_forward_cfg *how, uint32_t traits, const char *address,
                         const char *shown, const char *message)
{
	struct world w = {.fail_with = AGI_GRPC_UNAUTHENTICATED, .traits = traits};

	start_with(&w, how);
	if (address)
		snprintf(w.addresses[0], sizeof w.addresses[0], "%s:%u", address, w.back.addr.port);
	send_to(&w, PLAN, REQUEST, "authorization", "Bearer secret", 5000);
	run_until(&w, &w.n_done, 1);
	assert_answer(&w, AGI_GRPC_UNAUTHENTICATED, message);
	assert_string_equal(w.authorization, shown);
	stop(&w);
}

static void a_token_is_shown_to_who_checks_tokens_and_never_in_clear(void **state)
{
	static const struct agi_forward_cfg checks = {.is_on = true, .checks_tokens = true};
	static const struct agi_forward_cfg in_clear = {
	    .is_on = true, .checks_tokens = true, .takes_clear_tokens = true};
	static const struct agi_forward_cfg none = {.is_on = true};
	static const char said[] = "50% of \xc3\xbc", clear[] =
	    "50% of \xc3\xbc (this node did not hand the call's token on: the instance does not speak TLS)";
	(void)state;

	expect_token(&checks, 0, NULL, "",
	             "50% of \xc3\xbc (this node did not hand the call's token on: the instance is not a role "
	             "of a node that checks tokens)");
	expect_token(&checks, AGI_PROVIDER_TOKENS, NULL, "Bearer secret", said);
	expect_token(&checks, AGI_PROVIDER_TOKENS, "localhost", "", clear); /* only an address is sure to be here */
	expect_token(&in_clear, AGI_PROVIDER_TOKENS, "localhost", "Bearer secret", said);
	expect_token(&none, 0, NULL, "Bearer secret", said);
	expect_token(&none, 0, "localhost", "", clear);
}

static void an_instance_that_speaks_tls_is_never_called_without(void **state)
{
	struct world w;
	(void)state;

	start(&w);
	w.traits = AGI_PROVIDER_TLS;
	call_plan(&w);
	assert_int_equal(w.status, AGI_GRPC_UNAVAILABLE);
	assert_non_null(strstr(w.message, "TLS handshake: "));
	assert_int_equal(w.n_seen, 0);
	stop(&w);
}

static void every_method_of_agi_hpc_is_there(void **state)
{
	static const ProtobufCServiceDescriptor *const all[] = {
	    &agi__plan__v1__plan_service__descriptor,
	    &agi__plan__v1__simulation_service__descriptor,
	    &agi__erisml__v1__eris_mlservice__descriptor,
	    &agi__safety__v1__in_action_safety_service__descriptor,
	    &agi__safety__v1__post_action_safety_service__descriptor,
	    &agi__memory__v1__semantic_memory_service__descriptor,
	    &agi__memory__v1__episodic_memory_service__descriptor,
	    &agi__memory__v1__procedural_memory_service__descriptor,
	    &agi__memory__v1__unified_memory_service__descriptor,
	    &agi__rh__v1__perception_service__descriptor,
	    &agi__rh__v1__world_model_service__descriptor,
	    &agi__rh__v1__control_execution_service__descriptor,
	    &agi__rh__v1__rhhealth_service__descriptor};
	struct world w;
	char path[200], expected[120];
	int n = 0;
	(void)state;

	start(&w);
	w.n_addresses = 0;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		for (unsigned k = 0; k < all[i]->n_methods; k++) {
			snprintf(path, sizeof path, "/%s/%s", all[i]->name, all[i]->methods[k].name);
			send_to(&w, path, AGI_STR(""), NULL, NULL, 5000);
			run_until(&w, &w.n_done, ++n);
			assert_int_equal(w.status, AGI_GRPC_UNAVAILABLE);
			snprintf(expected, sizeof expected, "role %s does not run on this node",
			         agi_forward_role_of(all[i]->name));
			assert_non_null(strstr(w.message, expected));
		}
	assert_null(agi_forward_role_of("agi.safety.v1.PreActionSafetyService"));
	stop(&w);
}

static void a_role_that_runs_here_is_left_to_its_server(void **state)
{
	struct world w = {.own_role = "lh-planner"};
	(void)state;

	start_with(&w, &(struct agi_forward_cfg){.is_on = true});
	call_plan(&w);
	assert_answer(&w, AGI_GRPC_UNIMPLEMENTED, "Method not found!");
	stop(&w);
}

/* --- the pool ------------------------------------------------------------------------------------------------- */
static void targets_are_bounded_and_the_idle_ones_make_room(void **state)
{
	struct event_base *base = event_base_new();
	struct agi_pooled *held[AGI_POOL_CHANNELS_MAX], *one;
	struct agi_channel_pool *pool;
	struct agi_why why;
	char target[32];
	(void)state;

	assert_int_equal(agi_channel_pool_new(base, &pool), AGI_OK);
	for (int i = 0; i < AGI_POOL_CHANNELS_MAX; i++) {
		snprintf(target, sizeof target, "127.0.0.1:%d", 1000 + i);
		assert_int_equal(agi_channel_pool_get(pool, agi_str_of(target), &held[i], &why),
		                 AGI_OK);
	}
	assert_int_equal(agi_channel_pool_get(pool, AGI_STR("127.0.0.1:1000"), &one, &why), AGI_OK);
	assert_ptr_equal(one, held[0]);
	agi_channel_pool_put(pool, one);
	assert_int_equal(agi_channel_pool_get(pool, AGI_STR("127.0.0.1:1"), &one, &why), AGI_E_FULL);
	agi_channel_pool_put(pool, held[7]);
	assert_int_equal(agi_channel_pool_get(pool, AGI_STR("127.0.0.1:1"), &one, &why), AGI_OK);
	assert_int_equal(agi_channel_pool_count(pool), AGI_POOL_CHANNELS_MAX);
	assert_int_equal(agi_channel_pool_get(pool, AGI_STR("nowhere"), &one, &why), AGI_E_FULL);
	agi_channel_pool_put(pool, held[8]);
	assert_int_equal(agi_channel_pool_get(pool, AGI_STR("nowhere"), &one, &why), AGI_E_INVALID);
	agi_channel_pool_free(pool);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(request_and_answer_pass_unchanged),
	    cmocka_unit_test(a_request_that_does_not_decode_is_for_the_instance_to_judge),
	    cmocka_unit_test(an_error_of_the_instance_comes_back_whole),
	    cmocka_unit_test(a_role_nobody_runs_is_unavailable_by_name),
	    cmocka_unit_test(without_forwarding_the_nearest_is_named),
	    cmocka_unit_test(a_call_is_handed_on_once),
	    cmocka_unit_test(an_instance_that_cannot_be_reached_is_passed_over),
	    cmocka_unit_test(a_cancelled_call_is_cancelled_where_it_runs),
	    cmocka_unit_test(a_client_may_go_while_instances_are_looked_for),
	    cmocka_unit_test(calls_in_progress_are_bounded),
	    cmocka_unit_test(a_token_is_shown_to_who_checks_tokens_and_never_in_clear),
	    cmocka_unit_test(an_instance_that_speaks_tls_is_never_called_without),
	    cmocka_unit_test(every_method_of_agi_hpc_is_there),
	    cmocka_unit_test(a_role_that_runs_here_is_left_to_its_server),
	    cmocka_unit_test(targets_are_bounded_and_the_idle_ones_make_room),
	};

	return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
