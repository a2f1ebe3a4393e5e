/* SPDX-License-Identifier: Apache-2.0
 * What the core promises, one promise a test, on a simulated cluster without random faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dht/ring.h"
#include "dht/slot.h"
#include "world.h"

enum { SECOND = 1000000 };

/* The last reply, flattened. */
static struct answer {
	bool is_there;
	enum agi_err err;
	char why[200];
	bool found;
	char value[64];
	uint32_t acks, needed, n_instances, n_hops;
	bool is_stale;
	char address[4][64];
	uint32_t traits[4];
	size_t n_contacts;
	struct agi_contact contacts[AGI_K];
	struct agi_view view;
} got;

static void copy_text(char *to, size_t size, struct agi_str s)
{
	size_t n = s.n < size - 1 ? s.n : size - 1;

	if (n)
		memcpy(to, s.p, n);
	to[n] = '\0';
}

static void on_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	(void)n;
	(void)call_id;
	got = (struct answer){.is_there = true, .err = res->err, .found = res->found, .acks = res->acks,
	                      .needed = res->needed, .n_instances = (uint32_t)res->n_instances,
	                      .n_hops = (uint32_t)res->n_hops, .view = res->view};
	copy_text(got.why, sizeof got.why, agi_str_of(res->why.text));
	copy_text(got.value, sizeof got.value, res->value);
	for (size_t i = 0; i < res->n_instances && i < 4; i++) {
		copy_text(got.address[i], 64, res->instances[i].provider->address);
		got.traits[i] = res->instances[i].provider->traits;
		got.is_stale |= res->instances[i].is_stale;
	}
	got.n_contacts = res->n_contacts < AGI_K ? res->n_contacts : AGI_K;
	for (size_t i = 0; i < got.n_contacts; i++)
		got.contacts[i] = res->contacts[i];
}

static struct sim_world *cluster(uint32_t nodes, uint32_t slot_bits)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = 42, .nodes = nodes, .slot_bits = slot_bits,
	                      .is_verbose = getenv("VERBOSE") != NULL};

	assert_non_null(w);
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	for (uint32_t i = 0; i < nodes; i++)
		sim_start_node(w, i);
	for (int s = 0; s < 120 && !sim_is_settled(w); s++)
		sim_run_until(w, w->now_us + SECOND);
	assert_true(sim_is_settled(w));
	assert_string_equal(w->failure, "");
	return w;
}

static void end(struct sim_world *w)
{
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

static void run_ms(struct sim_world *w, uint64_t ms) { sim_run_until(w, w->now_us + ms * 1000); }

/* Runs a call at a node until it is answered. */
static void ask(struct sim_world *w, uint32_t node, const struct agi_call *call)
{
	static uint64_t next = SIM_OWN_CALL;
	struct sim_node *n = &w->node[node];

	got = (struct answer){0};
	agi_dht_call(n->dht, sim_now(n), next++, call);
	sim_rearm(n);
	for (int i = 0; i < 2000 && !got.is_there; i++)
		run_ms(w, 5);
	assert_true(got.is_there);
}

static void put(struct sim_world *w, uint32_t node, const char *key, const char *value, enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_PUT, .key = agi_str_of(key), .value = agi_str_of(value),
	                     .level = level, .timeout_ms = 2000};

	ask(w, node, &c);
}

static void get(struct sim_world *w, uint32_t node, const char *key, enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_GET, .key = agi_str_of(key), .level = level, .timeout_ms = 2000};

	ask(w, node, &c);
}

static uint32_t index_of(struct sim_world *w, const struct agi_id *id)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (agi_id_eq(&w->node[i].id, id))
			return i;
	fail_msg("an unknown node holds a slot");
	return 0;
}

/* Indices of the key's three owners. */
static void owners(struct sim_world *w, uint32_t node, const char *key, uint32_t out[3])
{
	struct agi_call c = {.kind = AGI_CALL_OWNERS, .key = agi_str_of(key)};

	ask(w, node, &c);
	assert_int_equal(got.err, AGI_OK);
	assert_int_equal(got.view.n_members, 3);
	for (int i = 0; i < 3; i++)
		out[i] = index_of(w, &got.view.members[i]);
}

/* A node that is none of the three. */
static uint32_t outsider(const uint32_t own[3])
{
	for (uint32_t i = 0;; i++)
		if (i != own[0] && i != own[1] && i != own[2])
			return i;
}

static void five_nodes_give_every_slot_three_active_replicas(void **state)
{
	struct sim_world *w = cluster(5, 6);
	struct agi_dht_status st;
	uint32_t active = 0;

	(void)state;
	for (uint32_t i = 0; i < 5; i++) {
		agi_dht_status(w->node[i].dht, &st);
		assert_true(st.is_ready);
		assert_int_equal(st.members_up, 4);
		active += st.slots_active;
	}
	assert_int_equal(active, 3 * 64);
	end(w);
}

static void a_write_at_quorum_survives_the_loss_of_an_owner_and_reaches_it_later(void **state)
{
	struct sim_world *w = cluster(5, 4);
	struct agi_dht_status st;
	uint32_t own[3], other;

	(void)state;
	owners(w, 0, "k", own);
	other = outsider(own);
	put(w, other, "k", "first", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_OK);
	sim_crash_node(w, own[0]);
	put(w, other, "k", "second", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_OK);
	get(w, other, "k", AGI_LEVEL_QUORUM);
	assert_string_equal(got.value, "second");
	put(w, other, "k", "third", AGI_LEVEL_ALL);
	assert_int_equal(got.err, AGI_E_NO_QUORUM);
	sim_start_node(w, own[0]);
	run_ms(w, 8000);
	for (uint32_t i = 0; i < 5; i++) {
		agi_dht_status(w->node[i].dht, &st);
		assert_int_equal(st.hints, 0);
	}
	/* the others gone, what the restarted owner has is all there is */
	sim_crash_node(w, own[1]);
	sim_crash_node(w, own[2]);
	get(w, own[0], "k", AGI_LEVEL_ONE);
	assert_int_equal(got.err, AGI_OK);
	assert_true(strcmp(got.value, "second") == 0 || strcmp(got.value, "third") == 0);
	end(w);
}

static void two_of_three_owners_gone_means_no_quorum_and_not_not_found(void **state)
{
	struct sim_world *w = cluster(5, 4);
	uint32_t own[3], other;

	(void)state;
	owners(w, 0, "k", own);
	other = outsider(own);
	put(w, other, "k", "v", AGI_LEVEL_ALL);
	assert_int_equal(got.acks, 3);
	sim_crash_node(w, own[0]);
	sim_crash_node(w, own[1]);
	run_ms(w, 3000);
	get(w, other, "k", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_E_NO_QUORUM);
	put(w, other, "k", "w", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_E_NO_QUORUM);
	get(w, other, "k", AGI_LEVEL_ONE);
	assert_int_equal(got.err, AGI_OK);
	end(w);
}

static void a_delete_is_seen_everywhere_and_survives_power_loss(void **state)
{
	struct sim_world *w = cluster(5, 4);
	struct agi_call del = {.kind = AGI_CALL_DELETE, .key = AGI_STR("k"), .level = AGI_LEVEL_QUORUM};

	(void)state;
	put(w, 0, "k", "v", AGI_LEVEL_ALL);
	ask(w, 1, &del);
	assert_int_equal(got.err, AGI_OK);
	assert_true(got.found);
	ask(w, 1, &del);
	assert_false(got.found);
	for (uint32_t i = 0; i < 5; i++)
		sim_crash_node(w, i);
	for (uint32_t i = 0; i < 5; i++)
		sim_start_node(w, i);
	run_ms(w, 5000);
	get(w, 4, "k", AGI_LEVEL_ALL);
	assert_int_equal(got.err, AGI_E_NOT_FOUND);
	end(w);
}

static void an_item_with_a_time_to_live_is_absent_after_it(void **state)
{
	struct sim_world *w = cluster(3, 4);
	struct agi_call c = {.kind = AGI_CALL_PUT, .key = AGI_STR("k"), .value = AGI_STR("v"),
	                     .level = AGI_LEVEL_QUORUM, .ttl_ms = 1500};

	(void)state;
	ask(w, 0, &c);
	assert_int_equal(got.err, AGI_OK);
	get(w, 1, "k", AGI_LEVEL_QUORUM);
	assert_string_equal(got.value, "v");
	run_ms(w, 2000);
	get(w, 1, "k", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_E_NOT_FOUND);
	end(w);
}

/* Its writes are stamped with the cluster's time, and nobody's clock follows what it would have been. */
static void a_host_whose_clock_jumps_an_hour_neither_fails_nor_overrules_later_writes(void **state)
{
	struct sim_world *w = cluster(5, 4);

	(void)state;
	run_ms(w, 3000);
	w->node[1].skew_ms = 3600000;
	put(w, 1, "k", "by the skewed one", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_OK);
	run_ms(w, 20000);
	put(w, 1, "k", "again", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_OK);
	w->node[1].skew_ms = 0;
	run_ms(w, 2000);
	put(w, 0, "k", "later", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_OK);
	for (uint32_t i = 0; i < 5; i++) {
		get(w, i, "k", AGI_LEVEL_QUORUM);
		assert_string_equal(got.value, "later");
	}
	end(w);
}

/* Clocks that differ by little are brought together slowly. A write by the slow one comes after an acknowledged write of
 * the fast one, of which it has heard nothing. */
static void a_later_write_wins_over_an_earlier_one_of_a_faster_clock(void **state)
{
	struct sim_world *w = cluster(5, 4);
	uint32_t unseen = 0;
	char key[8] = "k0";

	(void)state;
	w->node[0].skew_ms = 450;
	sim_crash_node(w, 0);
	sim_start_node(w, 0); /* believes its clock from here on */
	run_ms(w, 5000);
	for (key[1] = '0'; key[1] <= 'z'; key[1]++) {
		struct agi_call owners = {.kind = AGI_CALL_OWNERS, .key = agi_str_of(key)};

		ask(w, 0, &owners);
		if (agi_view_has(&got.view, &w->node[1].id))
			continue;
		unseen++;
		put(w, 0, key, "first", AGI_LEVEL_QUORUM);
		assert_int_equal(got.err, AGI_OK);
		put(w, 1, key, "second", AGI_LEVEL_QUORUM);
		assert_int_equal(got.err, AGI_OK);
		get(w, 2, key, AGI_LEVEL_QUORUM);
		assert_string_equal(got.value, "second");
		sim_crash_node(w, 1); /* forgets the stamps it has seen */
		sim_start_node(w, 1);
		run_ms(w, 1500);
	}
	assert_true(unseen > 5);
	end(w);
}

static void bad_keys_and_values_are_refused_by_name(void **state)
{
	struct sim_world *w = cluster(3, 4);
	struct agi_call c = {.kind = AGI_CALL_PUT, .value = AGI_STR("v")};
	char *big = calloc(1, AGI_VALUE_MAX + 1);

	(void)state;
	ask(w, 0, &c);
	assert_int_equal(got.err, AGI_E_INVALID);
	assert_non_null(strstr(got.why, "key"));
	c.key = (struct agi_str){big, AGI_KEY_MAX + 1};
	ask(w, 0, &c);
	assert_int_equal(got.err, AGI_E_INVALID);
	c.key = AGI_STR("k");
	c.value = (struct agi_str){big, AGI_VALUE_MAX + 1};
	ask(w, 0, &c);
	assert_int_equal(got.err, AGI_E_TOO_LARGE);
	c.value = (struct agi_str){big, AGI_VALUE_MAX};
	ask(w, 0, &c);
	assert_int_equal(got.err, AGI_OK);
	free(big);
	end(w);
}

/* --- registry ----------------------------------------------------------------------------------------- */

static void discover(struct sim_world *w, uint32_t node, const char *service)
{
	struct agi_call c = {.kind = AGI_CALL_DISCOVER, .service = agi_str_of(service)};

	ask(w, node, &c);
}

static void set_health(struct sim_world *w, uint32_t node, const char *address, bool is_healthy)
{
	struct sim_node *n = &w->node[node];

	assert_int_equal(agi_dht_set_health(n->dht, sim_now(n), AGI_STR("planner"), agi_str_of(address),
	                                    is_healthy, 100),
	                 AGI_OK);
	sim_rearm(n);
}

static void advertise_with(struct sim_world *w, uint32_t node, const char *address, uint32_t traits)
{
	struct agi_call c = {.kind = AGI_CALL_REGISTER, .service = AGI_STR("planner"), .traits = traits,
	                     .address = agi_str_of(address), .config = AGI_STR("check")};

	ask(w, node, &c);
	assert_int_equal(got.err, AGI_OK);
}

static void advertise(struct sim_world *w, uint32_t node, const char *address)
{
	advertise_with(w, node, address, 0);
}

static void a_service_is_found_only_while_its_check_passes(void **state)
{
	struct sim_world *w = cluster(5, 4);

	(void)state;
	advertise(w, 1, "10.0.0.2:50051");
	discover(w, 4, "planner");
	assert_int_equal(got.n_instances, 0); /* never checked: not healthy */
	set_health(w, 1, "10.0.0.2:50051", true);
	run_ms(w, 100);
	discover(w, 4, "planner");
	assert_int_equal(got.n_instances, 1);
	assert_string_equal(got.address[0], "10.0.0.2:50051");
	set_health(w, 1, "10.0.0.2:50051", false);
	run_ms(w, 100);
	discover(w, 4, "planner");
	assert_int_equal(got.n_instances, 0);
	end(w);
}

static void set_traits(struct sim_world *w, uint32_t node, const char *address, uint32_t traits)
{
	struct sim_node *n = &w->node[node];

	assert_int_equal(agi_dht_set_traits(n->dht, sim_now(n), AGI_STR("planner"), agi_str_of(address), traits),
	                 AGI_OK);
	sim_rearm(n);
}

static void what_callers_have_to_know_of_a_service_is_found_with_it_at_once(void **state)
{
	struct sim_world *w = cluster(5, 4);

	(void)state;
	advertise_with(w, 1, "10.0.0.2:50051", AGI_PROVIDER_TLS);
	set_health(w, 1, "10.0.0.2:50051", true);
	run_ms(w, 100);
	discover(w, 4, "planner");
	assert_int_equal(got.n_instances, 1);
	assert_int_equal(got.traits[0], AGI_PROVIDER_TLS);
	advertise(w, 1, "10.0.0.2:50051"); /* anew, without */
	run_ms(w, 100);
	discover(w, 4, "planner");
	assert_int_equal(got.traits[0], 0);
	set_traits(w, 1, "10.0.0.2:50051", AGI_PROVIDER_TOKENS);
	run_ms(w, 100);
	discover(w, 4, "planner");
	assert_int_equal(got.traits[0], AGI_PROVIDER_TOKENS);
	end(w);
}

static void a_dead_host_disappears_within_three_probes_and_returns_without_ghosts(void **state)
{
	struct sim_world *w = cluster(5, 4);
	struct agi_provider p;
	struct agi_str config;

	(void)state;
	advertise(w, 1, "10.0.0.2:50051");
	set_health(w, 1, "10.0.0.2:50051", true);
	run_ms(w, 100);
	sim_crash_node(w, 1);
	run_ms(w, 3 * AGI_PING_INTERVAL_MS);
	discover(w, 4, "planner");
	assert_int_equal(got.n_instances, 0);
	/* the registration is remembered, but not advertised before its check passes again */
	sim_start_node(w, 1);
	run_ms(w, 4000);
	discover(w, 4, "planner");
	assert_int_equal(got.n_instances, 0);
	assert_true(agi_dht_registration(w->node[1].dht, 0, &p, &config));
	assert_true(agi_str_eq(config, AGI_STR("check")));
	set_health(w, 1, "10.0.0.2:50051", true);
	run_ms(w, 100);
	discover(w, 4, "planner");
	assert_int_equal(got.n_instances, 1);
	end(w);
}

static void a_deregistered_service_is_gone_and_stays_gone_after_a_restart(void **state)
{
	struct sim_world *w = cluster(5, 4);
	struct agi_call c = {.kind = AGI_CALL_DEREGISTER, .service = AGI_STR("planner"),
	                     .address = AGI_STR("10.0.0.2:50051")};
	struct agi_provider p;
	struct agi_str config;

	(void)state;
	advertise(w, 1, "10.0.0.2:50051");
	set_health(w, 1, "10.0.0.2:50051", true);
	run_ms(w, 100);
	ask(w, 1, &c);
	assert_int_equal(got.err, AGI_OK);
	run_ms(w, 100);
	discover(w, 3, "planner");
	assert_int_equal(got.n_instances, 0);
	ask(w, 1, &c);
	assert_int_equal(got.err, AGI_E_NOT_FOUND);
	sim_crash_node(w, 1);
	sim_start_node(w, 1);
	run_ms(w, 2000);
	assert_false(agi_dht_registration(w->node[1].dht, 0, &p, &config));
	end(w);
}

static void instances_come_nearest_first(void **state)
{
	struct sim_world *w = cluster(5, 4);
	struct agi_instance one;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		char address[32];

		snprintf(address, sizeof address, "10.0.0.%u:1", i);
		advertise(w, i, address);
		set_health(w, i, address, true);
	}
	run_ms(w, 100);
	discover(w, 2, "planner");
	assert_int_equal(got.n_instances, 3);
	assert_string_equal(got.address[0], "10.0.0.2:1"); /* one's own host is nearest */
	assert_int_equal(agi_dht_known_instances(w->node[2].dht, AGI_STR("planner"), &one, 1), 1);
	assert_true(agi_id_eq(&one.node, &w->node[2].id)); /* where there is room for one, it is that one */
	assert_int_equal(agi_dht_known_instances(w->node[2].dht, AGI_STR("planner"), &one, 0), 0);
	end(w);
}

static void without_the_registry_the_last_known_answer_is_given_and_marked_stale(void **state)
{
	struct sim_world *w = cluster(3, 4);
	struct sim_node *n = &w->node[2];
	struct agi_instance inst[4];

	(void)state;
	advertise(w, 2, "10.0.0.3:1");
	set_health(w, 2, "10.0.0.3:1", true);
	agi_dht_follow_service(n->dht, sim_now(n), AGI_STR("planner"));
	sim_rearm(n);
	run_ms(w, 2500);
	assert_int_equal(agi_dht_known_instances(n->dht, AGI_STR("planner"), inst, 4), 1);
	assert_false(inst[0].is_stale);
	/* every message is lost, also those of a node to itself stay: its own record is still there */
	w->drop = 1.0;
	run_ms(w, 20000);
	assert_int_equal(agi_dht_known_instances(n->dht, AGI_STR("planner"), inst, 4), 1);
	end(w);
}

static size_t found(struct sim_world *w, uint32_t node, size_t *n_stale)
{
	struct agi_instance inst[8];
	size_t n = agi_dht_found_instances(w->node[node].dht, AGI_STR("planner"), inst, 8);

	*n_stale = 0;
	for (size_t i = 0; i < n; i++)
		*n_stale += inst[i].is_stale;
	return n;
}

static void advertise_each(struct sim_world *w, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++) {
		char address[32];

		snprintf(address, sizeof address, "10.0.0.%u:1", i);
		advertise(w, i, address);
		set_health(w, i, address, true);
	}
}

/* For how long the instances of others are known at node 0 while it is cut off; and that none is missing, not even for
 * one look, until everybody is heard again. */
static void a_host_that_is_cut_off_keeps_what_it_knew_for_some_minutes_marked_stale(void **state)
{
	struct sim_world *w = cluster(5, 4);
	struct sim_node *n = &w->node[0];
	size_t n_stale, strict;
	struct agi_instance inst[8];

	(void)state;
	advertise_each(w, 0, 3);
	agi_dht_follow_service(n->dht, sim_now(n), AGI_STR("planner"));
	sim_rearm(n);
	run_ms(w, 2500);
	assert_int_equal(found(w, 0, &n_stale), 4);
	assert_int_equal(n_stale, 0);
	for (int i = 1; i < 5; i++)
		w->is_cut[0][i] = w->is_cut[i][0] = true;
	run_ms(w, 20000);
	assert_int_equal(found(w, 0, &n_stale), 4);
	assert_int_equal(n_stale, 3);
	discover(w, 0, "planner");
	assert_true(got.n_instances == 4 && got.is_stale);
	assert_string_equal(got.address[0], "10.0.0.0:1"); /* what is sure comes first */
	strict = agi_dht_known_instances(n->dht, AGI_STR("planner"), inst, 8);
	assert_int_equal(strict, 1); /* the safety plane is told of none it cannot reach */
	discover(w, 4, "planner"); /* the others are four of five, and do not doubt */
	assert_true(got.n_instances == 3 && !got.is_stale);
	for (int i = 1; i < 5; i++)
		w->is_cut[0][i] = w->is_cut[i][0] = false;
	for (int i = 0; i < 150; i++) {
		run_ms(w, 200);
		assert_int_equal(found(w, 0, &n_stale), 4);
	}
	assert_int_equal(n_stale, 0);
	for (int i = 1; i < 5; i++)
		w->is_cut[0][i] = w->is_cut[i][0] = true;
	run_ms(w, AGI_PROVIDER_KEEP_MS - 5000);
	assert_int_equal(found(w, 0, &n_stale), 4);
	run_ms(w, 10000 + AGI_PROVIDER_TTL_MS);
	assert_int_equal(found(w, 0, &n_stale), 1); /* bounded */
	end(w);
}

static void both_halves_of_a_cluster_keep_what_they_knew_of_the_other(void **state)
{
	struct sim_world *w = cluster(6, 4);
	size_t n_stale;

	(void)state;
	advertise_each(w, 0, 5);
	for (uint32_t i = 0; i < 6; i++) {
		agi_dht_follow_service(w->node[i].dht, sim_now(&w->node[i]), AGI_STR("planner"));
		sim_rearm(&w->node[i]);
	}
	run_ms(w, 2500);
	for (int i = 0; i < 36; i++)
		w->is_cut[i / 6][i % 6] = (i / 6 < 3) != (i % 6 < 3);
	run_ms(w, 20000);
	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(found(w, i, &n_stale), 6);
		assert_int_equal(n_stale, 3);
	}
	memset(w->is_cut, 0, sizeof w->is_cut);
	for (int k = 0; k < 150; k++) {
		run_ms(w, 200);
		for (uint32_t i = 0; i < 6; i++)
			assert_int_equal(found(w, i, &n_stale), 6);
	}
	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(found(w, i, &n_stale), 6);
		assert_int_equal(n_stale, 0);
	}
	end(w);
}

/* Faster than anybody notices: only the number of its start tells that what it advertised is over. */
static void what_a_host_advertised_before_a_restart_is_gone_with_its_first_word_after_it(void **state)
{
	struct sim_world *w = cluster(5, 4);
	struct sim_node *n = &w->node[4];
	size_t n_stale;

	(void)state;
	advertise_each(w, 1, 1);
	agi_dht_follow_service(n->dht, sim_now(n), AGI_STR("planner"));
	sim_rearm(n);
	run_ms(w, 2500);
	assert_int_equal(found(w, 4, &n_stale), 1);
	sim_crash_node(w, 1);
	sim_start_node(w, 1);
	for (int i = 0; i < 100 && found(w, 4, &n_stale); i++)
		run_ms(w, 50);
	run_ms(w, 1);
	for (int i = 0; i < 100; i++) { /* never again, although holders have its record for seconds */
		assert_int_equal(found(w, 4, &n_stale), 0);
		run_ms(w, 100);
	}
	set_health(w, 1, "10.0.0.1:1", true);
	run_ms(w, 2500);
	assert_int_equal(found(w, 4, &n_stale), 1);
	end(w);
}

/* --- overlay ---------------------------------------------------------------------------------------------- */

static void a_lookup_finds_the_hosts_that_really_are_nearest(void **state)
{
	struct sim_world *w = cluster(40, 4);
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 11);
	for (int round = 0; round < 20; round++) {
		struct agi_call c = {.kind = AGI_CALL_LOOKUP};
		uint64_t last = 0;
		size_t n_nearer = 0;

		for (int i = 0; i < AGI_ID_BYTES; i++)
			c.target.b[i] = (uint8_t)agi_prng_u64(&r);
		ask(w, (uint32_t)agi_prng_below(&r, 40), &c);
		assert_int_equal(got.n_contacts, AGI_K);
		for (size_t i = 0; i < got.n_contacts; i++) {
			uint64_t dist = agi_ring_distance(&c.target, &got.contacts[i].id, 32);

			assert_true(dist >= last);
			last = dist;
		}
		for (uint32_t i = 0; i < 40; i++)
			n_nearer += agi_ring_distance(&c.target, &w->node[i].id, 32) < last;
		assert_int_equal(n_nearer, AGI_K - 1);
	}
	end(w);
}

static void a_minority_side_serves_no_quorum_and_the_majority_goes_on(void **state)
{
	struct sim_world *w = cluster(3, 2);

	(void)state;
	put(w, 0, "k", "before", AGI_LEVEL_ALL);
	for (int i = 1; i < 3; i++)
		w->is_cut[0][i] = w->is_cut[i][0] = true;
	run_ms(w, 5000);
	put(w, 0, "k", "minority", AGI_LEVEL_QUORUM);
	assert_true(got.err == AGI_E_NO_QUORUM || got.err == AGI_E_TIMEOUT);
	put(w, 1, "k", "majority", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_OK);
	memset(w->is_cut, 0, sizeof w->is_cut);
	run_ms(w, 8000);
	get(w, 0, "k", AGI_LEVEL_ALL);
	assert_int_equal(got.err, AGI_OK);
	end(w);
}

/* Messages that did not come from any node of ours. */
static void hostile_messages_change_nothing(void **state)
{
	struct sim_world *w = cluster(3, 4);
	struct sim_node *n = &w->node[0];
	struct agi_peer from = {w->node[1].id, w->node[1].addr};
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 13);
	put(w, 0, "k", "v", AGI_LEVEL_ALL);
	for (int i = 0; i < 20000; i++) {
		struct agi_item item = {.ns = AGI_STR("x"), .key = AGI_STR("y"), .value = AGI_STR("z"),
		                        .version = {agi_prng_u64(&r), from.id}};
		struct agi_msg m = {.kind = (enum agi_msg_kind)(agi_prng_below(&r, 25)),
		                    .rpc_id = agi_prng_below(&r, 3) ? agi_prng_u64(&r) : 1,
		                    .slot = (uint32_t)agi_prng_below(&r, 40), .epoch = agi_prng_below(&r, 4),
		                    .items = &item, .n_items = agi_prng_below(&r, 2)};

		m.view.slot = (uint32_t)agi_prng_below(&r, 20);
		m.view.n_members = (uint8_t)agi_prng_below(&r, 12);
		m.ballot.round = agi_prng_below(&r, 3);
		if (m.kind == AGI_MSG_GOODBYE || m.kind == AGI_MSG_VIEW_DECIDED || m.kind == AGI_MSG_VIEW_INFO)
			continue; /* a member is believed to say the truth about these (crash faults) */
		if (m.kind == AGI_MSG_VIEW_PREPARE || m.kind == AGI_MSG_VIEW_ACCEPT)
			m.epoch = 0;
		agi_dht_on_message(n->dht, sim_now(n), &from, &m);
		agi_dht_check(n->dht);
		sim_rearm(n);
	}
	run_ms(w, 3000);
	get(w, 2, "k", AGI_LEVEL_ALL);
	assert_string_equal(got.value, "v");
	end(w);
}

/* Records of registers on a node's disk. */
static size_t registers_at(struct sim_world *w, uint32_t node) { return w->node[node].disk.cf[AGI_CF_STRONG].n; }

static void tell(struct sim_world *w, uint32_t to, uint32_t as, const struct agi_msg *m)
{
	struct agi_peer from = {w->node[as].id, w->node[as].addr};

	agi_dht_on_message(w->node[to].dht, sim_now(&w->node[to]), &from, m);
	sim_rearm(&w->node[to]);
	run_ms(w, 100);
}

/* Else a compare-and-set could read "absent" here while an older leader's write, accepted elsewhere before the
 * promise, still finds its majority here. */
static void a_member_that_answered_a_leaders_read_refuses_older_leaders(void **state)
{
	struct sim_world *w = cluster(3, 1);
	struct agi_item item = {.ns = AGI_STR("n"), .key = AGI_STR("k"), .value = AGI_STR("old leader's")};
	struct agi_view view;
	enum agi_view_phase phase;
	struct agi_msg write = {.kind = AGI_MSG_REG_WRITE, .rpc_id = 1, .seq = 1, .items = &item, .n_items = 1};
	struct agi_msg read = {.kind = AGI_MSG_REG_READ, .rpc_id = 2, .ns = item.ns, .key = item.key};

	(void)state;
	write.slot = read.slot = agi_dht_slot_of(w->node[2].dht, item.ns, item.key);
	assert_true(agi_dht_slot(w->node[2].dht, write.slot, &view, &phase));
	write.epoch = read.epoch = view.epoch;
	write.ballot = (struct agi_ballot){10, w->node[0].id};
	read.ballot = (struct agi_ballot){21, w->node[1].id};
	tell(w, 2, 1, &read);
	tell(w, 2, 0, &write);
	assert_int_equal(registers_at(w, 2), 0);
	sim_crash_node(w, 2); /* nor after it lost power */
	sim_start_node(w, 2);
	run_ms(w, 5000);
	tell(w, 2, 0, &write);
	assert_int_equal(registers_at(w, 2), 0);
	write.ballot = read.ballot;
	tell(w, 2, 1, &write);
	assert_int_equal(registers_at(w, 2), 1);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(five_nodes_give_every_slot_three_active_replicas),
	    cmocka_unit_test(a_write_at_quorum_survives_the_loss_of_an_owner_and_reaches_it_later),
	    cmocka_unit_test(two_of_three_owners_gone_means_no_quorum_and_not_not_found),
	    cmocka_unit_test(a_delete_is_seen_everywhere_and_survives_power_loss),
	    cmocka_unit_test(an_item_with_a_time_to_live_is_absent_after_it),
	    cmocka_unit_test(a_host_whose_clock_jumps_an_hour_neither_fails_nor_overrules_later_writes),
	    cmocka_unit_test(a_later_write_wins_over_an_earlier_one_of_a_faster_clock),
	    cmocka_unit_test(bad_keys_and_values_are_refused_by_name),
	    cmocka_unit_test(a_service_is_found_only_while_its_check_passes),
	    cmocka_unit_test(what_callers_have_to_know_of_a_service_is_found_with_it_at_once),
	    cmocka_unit_test(a_dead_host_disappears_within_three_probes_and_returns_without_ghosts),
	    cmocka_unit_test(a_deregistered_service_is_gone_and_stays_gone_after_a_restart),
	    cmocka_unit_test(instances_come_nearest_first),
	    cmocka_unit_test(a_host_that_is_cut_off_keeps_what_it_knew_for_some_minutes_marked_stale),
	    cmocka_unit_test(both_halves_of_a_cluster_keep_what_they_knew_of_the_other),
	    cmocka_unit_test(what_a_host_advertised_before_a_restart_is_gone_with_its_first_word_after_it),
	    cmocka_unit_test(without_the_registry_the_last_known_answer_is_given_and_marked_stale),
	    cmocka_unit_test(a_lookup_finds_the_hosts_that_really_are_nearest),
	    cmocka_unit_test(a_minority_side_serves_no_quorum_and_the_majority_goes_on),
	    cmocka_unit_test(hostile_messages_change_nothing),
	    cmocka_unit_test(a_member_that_answered_a_leaders_read_refuses_older_leaders),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
