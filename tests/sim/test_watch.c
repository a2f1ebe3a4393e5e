/* SPDX-License-Identifier: Apache-2.0
 * What watches promise: no acknowledged change is missed, whatever happens to nodes, links and views, and across
 * interruptions that are resumed by a token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "world.h"

enum { SECOND = 1000000, KEYS = 2000, WATCHES = 4, TOKEN_MAX = 4096, GRACE_MS = 600000 };
enum { SEEDS_DEFAULT = 20, SEEDS_SANITIZED = 5 };

/* A client that watches. */
static struct client {
	uint64_t call;             /* 0 = not watching */
	uint32_t node;
	bool is_strong, is_slow;   /* slow: takes an event now and then only */
	bool is_caught_up, was_caught_up;
	enum agi_err ended;
	char why[sizeof ((struct agi_why *)0)->text];
	size_t n_events, n_deletes, n_refused;
	uint32_t n_uncovered;
	struct agi_version has[KEYS];
	bool is_deleted[KEYS];
	char token[TOKEN_MAX];
	size_t token_bytes;
} client[WATCHES];

static uint64_t next_call;

/* The last reply to another call. */
static struct {
	bool is_there;
	enum agi_err err;
	struct agi_version version;
} got;

/* Writes under way in the long test. */
enum { OPEN_MAX = 4096 };
static struct {
	uint64_t call;
	uint32_t key;
	bool is_strong, is_delete;
} open_writes[OPEN_MAX];

static struct {
	struct agi_version version;
	uint64_t acked_us;
	bool is_delete;
} acked[2][KEYS]; /* the newest, by kind */

static int version_cmp(const struct agi_version *a, const struct agi_version *b)
{
	return a->hlc != b->hlc ? (a->hlc < b->hlc ? -1 : 1) : agi_id_cmp(&a->node, &b->node);
}

static struct client *client_of(uint64_t call)
{
	for (int i = 0; i < WATCHES; i++)
		if (client[i].call == call)
			return &client[i];
	return NULL;
}

static unsigned key_number(struct agi_str key)
{
	char text[24];
	unsigned n;

	assert_true(key.n < sizeof text); /* no string: what follows it in memory may be digits */
	memcpy(text, key.p, key.n);
	text[key.n] = '\0';
	assert_int_equal(sscanf(text, "key-%u", &n), 1);
	assert_true(n < KEYS);
	return n;
}

static bool on_event(struct sim_node *n, uint64_t call, const struct agi_event *ev)
{
	struct client *c = client_of(call);
	unsigned key;

	assert_non_null(c);
	if (c->is_slow && agi_prng_below(&n->w->prng, 3)) {
		c->n_refused++;
		return false;
	}
	c->is_caught_up |= ev->is_caught_up;
	c->was_caught_up |= ev->is_caught_up;
	if (!ev->has_item)
		c->n_uncovered = ev->n_uncovered;
	if (ev->token.n) {
		assert_true(ev->token.n <= TOKEN_MAX);
		memcpy(c->token, ev->token.p, ev->token.n);
		c->token_bytes = ev->token.n;
	}
	if (!ev->has_item)
		return true;
	key = key_number(ev->item.key);
	c->n_events++;
	c->n_deletes += ev->item.is_tombstone;
	if (version_cmp(&ev->item.version, &c->has[key]) >= 0) {
		c->has[key] = ev->item.version;
		c->is_deleted[key] = ev->item.is_tombstone;
	}
	return true;
}

static void take_write(struct sim_world *w, size_t i, const struct agi_result *res)
{
	uint32_t key = open_writes[i].key;
	int kind = open_writes[i].is_strong;

	open_writes[i].call = 0;
	if (res->err != AGI_OK || version_cmp(&res->version, &acked[kind][key].version) < 0)
		return;
	acked[kind][key].version = res->version;
	acked[kind][key].acked_us = w->now_us;
	acked[kind][key].is_delete = open_writes[i].is_delete;
}

static void on_reply(struct sim_node *n, uint64_t call, const struct agi_result *res)
{
	struct client *c = client_of(call);

	if (c) {
		c->ended = res->err;
		c->call = 0;
		snprintf(c->why, sizeof c->why, "%s", res->why.text);
		return;
	}
	for (size_t i = 0; i < OPEN_MAX; i++)
		if (open_writes[i].call == call) {
			take_write(n->w, i, res);
			return;
		}
	got.is_there = true;
	got.err = res->err;
	got.version = res->version;
}

static void run_ms(struct sim_world *w, uint64_t ms) { sim_run_until(w, w->now_us + ms * 1000); }

static struct sim_world *cluster(uint64_t seed, uint32_t nodes, uint32_t running, uint32_t slot_bits)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = seed, .nodes = nodes, .slot_bits = slot_bits, .grace_ms = GRACE_MS,
	                      .is_verbose = getenv("VERBOSE") != NULL};

	assert_non_null(w);
	memset(client, 0, sizeof client);
	memset(acked, 0, sizeof acked);
	memset(open_writes, 0, sizeof open_writes);
	next_call = SIM_OWN_CALL;
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	w->on_event = on_event;
	for (uint32_t i = 0; i < running; i++)
		sim_start_node(w, i);
	run_ms(w, 12000);
	return w;
}

static void end(struct sim_world *w)
{
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

static void call_at(struct sim_world *w, uint32_t node, uint64_t id, const struct agi_call *call)
{
	agi_dht_call(w->node[node].dht, sim_now(&w->node[node]), id, call);
	sim_rearm(&w->node[node]);
}

static void key_text(char out[24], unsigned key) { snprintf(out, 24, "key-%u", key); }

static struct agi_version write_key(struct sim_world *w, uint32_t node, unsigned key, bool is_strong, bool is_delete)
{
	char text[24];
	struct agi_call c = {.kind = is_delete ? AGI_CALL_DELETE : AGI_CALL_PUT, .ns = AGI_STR("n"), .value = AGI_STR("v"),
	                     .level = is_strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM};

	key_text(text, key);
	c.key = agi_str_of(text);
	got.is_there = false;
	call_at(w, node, next_call++, &c);
	for (int i = 0; i < 2000 && !got.is_there; i++)
		run_ms(w, 5);
	assert_true(got.is_there);
	assert_int_equal(got.err, AGI_OK);
	return got.version;
}

/* Everything that begins with "key-", or key; begins with what is there, from the client's token, or now. */
static void watch(struct sim_world *w, struct client *c, uint32_t node, const char *key, bool is_initial)
{
	struct agi_call call = {.kind = AGI_CALL_WATCH, .ns = AGI_STR("n"), .key = agi_str_of(key ? key : "key-"),
	                        .is_prefix = key == NULL, .is_initial = is_initial,
	                        .level = c->is_strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM};
	static char token[TOKEN_MAX];

	memcpy(token, c->token, c->token_bytes);
	call.cursor = (struct agi_str){token, c->token_bytes};
	c->call = next_call++;
	c->node = node;
	c->ended = AGI_OK;
	c->is_caught_up = false;
	call_at(w, node, c->call, &call);
}

static void wait_caught_up(struct sim_world *w, struct client *c)
{
	for (int i = 0; i < 2000 && !c->is_caught_up; i++)
		run_ms(w, 5);
	assert_true(c->is_caught_up);
}

static void stop(struct sim_world *w, struct client *c)
{
	agi_dht_cancel(w->node[c->node].dht, c->call);
	c->call = 0;
}

/* --- one promise each ------------------------------------------------------------------------------------------ */
static void for_both_kinds(void (*test)(bool is_strong))
{
	test(false);
	test(true);
}

static void changes_arrive(bool is_strong)
{
	struct sim_world *w = cluster(1, 4, 4, 3);
	struct client *c = &client[0];
	struct agi_version v;

	write_key(w, 0, 7, is_strong, false);
	c->is_strong = is_strong;
	watch(w, c, 3, NULL, false);
	wait_caught_up(w, c);
	assert_int_equal(c->n_events, 0); /* what was there before is no change */
	for (unsigned i = 0; i < 50; i++) {
		v = write_key(w, i % 4, i, is_strong, false);
		run_ms(w, 50);
		assert_int_equal(version_cmp(&c->has[i], &v), 0);
	}
	v = write_key(w, 1, 3, is_strong, true);
	run_ms(w, 50);
	assert_int_equal(version_cmp(&c->has[3], &v), 0);
	assert_true(c->is_deleted[3]);
	assert_int_equal(c->n_events, 51); /* once each */
	write_key(w, 1, 3, !is_strong, false); /* of the other kind */
	run_ms(w, 500);
	assert_int_equal(c->n_events, 51);
	stop(w, c);
	write_key(w, 1, 3, is_strong, false);
	run_ms(w, 500);
	end(w);
}

static void every_change_arrives_once_when_nothing_is_wrong(void **state)
{
	(void)state;
	for_both_kinds(changes_arrive);
}

static void one_key(bool is_strong)
{
	struct sim_world *w = cluster(2, 4, 4, 3);
	struct client *c = &client[0], *from = &client[1];
	struct agi_version v;

	c->is_strong = from->is_strong = is_strong;
	watch(w, c, 2, "key-5", false);
	wait_caught_up(w, c);
	for (unsigned i = 0; i < 20; i++)
		write_key(w, 0, i, is_strong, false);
	write_key(w, 0, 55, is_strong, false);
	v = write_key(w, 0, 5, is_strong, true);
	run_ms(w, 100);
	assert_int_equal(c->n_events, 2);
	assert_int_equal(version_cmp(&c->has[5], &v), 0);
	end(w);
}

static void a_watch_of_one_key_hears_of_no_other(void **state)
{
	(void)state;
	for_both_kinds(one_key);
}

static void initial(bool is_strong)
{
	struct sim_world *w = cluster(3, 4, 4, 3);
	struct client *c = &client[0];

	for (unsigned i = 0; i < 40; i++)
		write_key(w, i % 4, i, is_strong, false);
	for (unsigned i = 0; i < 40; i += 4)
		write_key(w, i % 4, i, is_strong, true);
	c->is_strong = is_strong;
	watch(w, c, 1, NULL, true);
	wait_caught_up(w, c);
	assert_int_equal(c->n_events, 30);
	assert_int_equal(c->n_deletes, 0);
	for (unsigned i = 0; i < 40; i++)
		assert_true((c->has[i].hlc > 0) == (i % 4 > 0));
	end(w);
}

static void a_watch_may_begin_with_what_is_there(void **state)
{
	(void)state;
	for_both_kinds(initial);
}

static void from_a_version(bool is_strong)
{
	struct sim_world *w = cluster(4, 3, 3, 3);
	struct agi_version first = write_key(w, 0, 5, is_strong, false), second = write_key(w, 0, 5, is_strong, true);
	struct agi_call call = {.kind = AGI_CALL_WATCH, .ns = AGI_STR("n"), .key = AGI_STR("key-5"),
	                        .level = is_strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM};

	for (int i = 0; i < 2; i++) {
		client[i].call = next_call++;
		call.expected = i ? second.hlc : first.hlc;
		call_at(w, 1, client[i].call, &call);
		wait_caught_up(w, &client[i]);
	}
	assert_int_equal(client[0].n_events, 1); /* it was deleted since */
	assert_true(client[0].is_deleted[5]);
	assert_int_equal(client[1].n_events, 0); /* nothing happened since */
	end(w);
}

static void a_key_is_watched_from_a_version_on(void **state)
{
	(void)state;
	for_both_kinds(from_a_version);
}

static void resumed(bool is_strong)
{
	struct sim_world *w = cluster(5, 4, 4, 3);
	struct client *c = &client[0];
	struct agi_version v[60];
	size_t before;

	for (unsigned i = 0; i < 100; i++) /* long before */
		write_key(w, i % 4, 100 + i, is_strong, false);
	run_ms(w, 60000);
	c->is_strong = is_strong;
	watch(w, c, 1, NULL, false);
	wait_caught_up(w, c);
	for (unsigned i = 0; i < 20; i++)
		v[i] = write_key(w, i % 4, i, is_strong, false);
	run_ms(w, 60000);
	assert_int_equal(c->n_events, 20);
	stop(w, c);
	for (unsigned i = 20; i < 40; i++)
		v[i] = write_key(w, i % 4, i, is_strong, false);
	v[3] = write_key(w, 2, 3, is_strong, true);
	before = c->n_events;
	watch(w, c, 3, NULL, false);
	wait_caught_up(w, c);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(version_cmp(&c->has[i], &v[i]), 0);
	assert_true(c->is_deleted[3]);
	assert_int_equal(c->n_events - before, 21); /* and nothing old: that was a minute ago */
	c->is_strong = !is_strong;
	watch(w, c, 3, NULL, false);
	assert_int_equal(c->ended, AGI_E_INVALID);
	assert_non_null(strstr(c->why, "another namespace, key or level"));
	end(w);
}

static void an_interrupted_watch_goes_on_at_another_node(void **state)
{
	(void)state;
	for_both_kinds(resumed);
}

/* Deletions in between may be forgotten. */
static void outlived(bool is_strong)
{
	struct sim_world *w = cluster(9, 3, 3, 2);
	struct client *c = &client[0];

	c->is_strong = is_strong;
	watch(w, c, 1, NULL, false);
	wait_caught_up(w, c);
	write_key(w, 0, 1, is_strong, false);
	run_ms(w, 60000);
	stop(w, c);
	run_ms(w, GRACE_MS / 2);
	watch(w, c, 2, NULL, false);
	wait_caught_up(w, c);
	stop(w, c);
	run_ms(w, GRACE_MS);
	watch(w, c, 2, NULL, false);
	assert_int_equal(c->ended, AGI_E_TOO_OLD);
	assert_non_null(strstr(c->why, "too old, deletions since then may be forgotten"));
	end(w);
}

static void a_watch_interrupted_for_longer_than_deletions_are_known_begins_anew(void **state)
{
	(void)state;
	for_both_kinds(outlived);
}

static void slow(bool is_strong)
{
	struct sim_world *w = cluster(6, 4, 4, 3);
	struct client *c = &client[0];

	c->is_strong = is_strong;
	watch(w, c, 1, NULL, false);
	wait_caught_up(w, c);
	c->is_slow = true;
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 1500; i += 30) /* many more than wait at once */
			for (unsigned k = i; k < i + 30; k++) {
				struct agi_call call = {.kind = AGI_CALL_PUT, .ns = AGI_STR("n"), .value = AGI_STR("v"),
				                        .level = is_strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM};
				char text[24];

				key_text(text, k);
				call.key = agi_str_of(text);
				open_writes[k].call = next_call;
				open_writes[k].key = k;
				open_writes[k].is_strong = is_strong;
				call_at(w, k % 4, next_call++, &call);
				if (k == i)
					run_ms(w, 20);
			}
		run_ms(w, 3000);
	}
	for (int i = 0; i < 20000; i++) {
		agi_dht_watch_resume(w->node[1].dht, sim_now(&w->node[1]), c->call);
		sim_rearm(&w->node[1]);
		run_ms(w, 5);
	}
	assert_true(c->n_refused > 0);
	for (unsigned i = 0; i < 1500; i++) {
		assert_true(acked[is_strong][i].acked_us > 0);
		assert_int_equal(version_cmp(&c->has[i], &acked[is_strong][i].version), 0);
	}
	end(w);
}

static void a_slow_client_sees_the_newest_state_of_every_key(void **state)
{
	(void)state;
	for_both_kinds(slow);
}

static void cut_off(bool is_strong)
{
	struct sim_world *w = cluster(7, 3, 3, 3);
	struct client *c = &client[0];
	struct agi_version v;

	c->is_strong = is_strong;
	watch(w, c, 0, NULL, false);
	wait_caught_up(w, c);
	for (uint32_t i = 1; i < 3; i++)
		w->is_cut[0][i] = w->is_cut[i][0] = true;
	run_ms(w, 8000);
	assert_int_equal(c->n_uncovered, 8); /* it says that it hears nothing */
	v = write_key(w, 1, 5, is_strong, false);
	run_ms(w, 8000);
	assert_int_equal(c->n_events, 0);
	memset(w->is_cut, 0, sizeof w->is_cut);
	run_ms(w, 8000);
	assert_int_equal(version_cmp(&c->has[5], &v), 0);
	assert_int_equal(c->n_uncovered, 0);
	end(w);
}

static void a_watch_that_was_cut_off_says_so_and_catches_up(void **state)
{
	(void)state;
	for_both_kinds(cut_off);
}

static void what_cannot_be_watched_is_refused(void **state)
{
	struct sim_world *w = cluster(8, 3, 3, 3);
	struct agi_call c = {.kind = AGI_CALL_WATCH, .ns = AGI_STR("n")};

	(void)state;
	client[0].call = next_call;
	call_at(w, 0, next_call++, &c);
	assert_int_equal(client[0].ended, AGI_E_INVALID);
	c.is_prefix = true;
	c.cursor = AGI_STR("nonsense");
	client[0].call = next_call;
	call_at(w, 0, next_call++, &c);
	assert_int_equal(client[0].ended, AGI_E_INVALID);
	assert_non_null(strstr(client[0].why, "not one that a watch"));
	c.cursor.n = 0;
	c.expected = 5;
	client[0].call = next_call;
	call_at(w, 0, next_call++, &c);
	assert_int_equal(client[0].ended, AGI_E_INVALID);
	end(w);
}

/* --- everything at once ------------------------------------------------------------------------------------------ */
static void start_write(struct sim_world *w, unsigned key)
{
	uint32_t node = (uint32_t)agi_prng_below(&w->prng, w->cfg.nodes);
	bool is_strong = agi_prng_below(&w->prng, 2);
	char text[24];
	struct agi_call c = {.ns = AGI_STR("n"), .value = AGI_STR("v"), .timeout_ms = 3000,
	                     .kind = agi_prng_below(&w->prng, 4) ? AGI_CALL_PUT : AGI_CALL_DELETE,
	                     .level = is_strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM};

	if (!w->node[node].dht)
		return;
	key_text(text, key);
	c.key = agi_str_of(text);
	for (size_t i = 0; i < OPEN_MAX; i++) {
		if (open_writes[i].call)
			continue;
		open_writes[i].call = next_call;
		open_writes[i].key = key;
		open_writes[i].is_strong = is_strong;
		open_writes[i].is_delete = c.kind == AGI_CALL_DELETE;
		break;
	}
	call_at(w, node, next_call++, &c);
}

static void trouble(struct sim_world *w)
{
	uint32_t i = (uint32_t)agi_prng_below(&w->prng, w->cfg.nodes), j = (uint32_t)agi_prng_below(&w->prng, w->cfg.nodes);

	switch (agi_prng_below(&w->prng, 6)) {
	case 0:
		if (w->node[i].dht) {
			sim_crash_node(w, i);
			for (int c = 0; c < WATCHES; c++)
				if (client[c].node == i)
					client[c].call = 0;
		}
		break;
	case 1:
	case 2:
		if (!w->node[i].dht)
			sim_start_node(w, i);
		break;
	case 3:
		w->is_cut[i][j] = i != j;
		w->is_cut[j][i] = i != j && agi_prng_below(&w->prng, 2);
		break;
	case 4:
		memset(w->is_cut, 0, sizeof w->is_cut);
		break;
	default:
		w->drop = agi_prng_below(&w->prng, 2) ? 0.05 : 0;
		w->slow_us = agi_prng_below(&w->prng, 2) ? 300000 : 0;
		break;
	}
}

/* A client whose watch ended goes on elsewhere, where its token says; without one it begins with what is there. */
static void keep_watching(struct sim_world *w, struct client *c)
{
	uint32_t node = (uint32_t)agi_prng_below(&w->prng, w->cfg.nodes);

	if (c->call && agi_prng_below(&w->prng, 60) == 0)
		stop(w, c); /* on a whim */
	if (!c->call && w->node[node].dht)
		watch(w, c, node, NULL, c->token_bytes == 0);
	if (c->call && c->is_slow) {
		agi_dht_watch_resume(w->node[c->node].dht, sim_now(&w->node[c->node]), c->call);
		sim_rearm(&w->node[c->node]);
	}
}

static void heal(struct sim_world *w)
{
	memset(w->is_cut, 0, sizeof w->is_cut);
	w->drop = 0;
	w->duplicate = 0;
	w->slow_us = 0;
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (!w->node[i].dht)
			sim_start_node(w, i);
	for (int i = 0; i < 1200; i++) {
		for (int c = 0; c < WATCHES; c++) {
			if (!client[c].call)
				watch(w, &client[c], (uint32_t)c % w->cfg.nodes, NULL, client[c].token_bytes == 0);
			agi_dht_watch_resume(w->node[client[c].node].dht, sim_now(&w->node[client[c].node]), client[c].call);
			sim_rearm(&w->node[client[c].node]);
		}
		run_ms(w, 50);
	}
}

static void one_seed(uint64_t seed)
{
	struct sim_world *w = cluster(seed, 6, 4, 3);

	w->duplicate = 0.01;
	for (int c = 0; c < WATCHES; c++) {
		client[c].is_strong = c % 2;
		client[c].is_slow = c / 2;
	}
	for (unsigned key = 0, step = 0; step < 2400; step++) {
		if (agi_prng_below(&w->prng, 3) == 0 && key < KEYS)
			start_write(w, agi_prng_below(&w->prng, 4) ? key++ : (unsigned)agi_prng_below(&w->prng, key + 1));
		if (agi_prng_below(&w->prng, 40) == 0)
			trouble(w);
		for (int c = 0; c < WATCHES; c++)
			keep_watching(w, &client[c]);
		run_ms(w, 20);
	}
	heal(w);
	for (int c = 0; c < WATCHES; c++) {
		const struct client *cl = &client[c];

		assert_true(cl->is_caught_up);
		for (unsigned key = 0; key < KEYS; key++) {
			int kind = cl->is_strong;

			if (acked[kind][key].is_delete && (cl->has[key].hlc == 0 || cl->is_deleted[key]))
				continue; /* a key it never saw, or saw deleted, whose tombstone may be collected by now */
			if (acked[kind][key].acked_us && version_cmp(&cl->has[key], &acked[kind][key].version) < 0)
				fail_msg("seed %llu: client %d missed key %u, acknowledged at %.3f s with %llx, it has %llx",
				         (unsigned long long)seed, c, key, (double)acked[kind][key].acked_us / 1e6,
				         (unsigned long long)acked[kind][key].version.hlc, (unsigned long long)cl->has[key].hlc);
			if (acked[kind][key].acked_us && version_cmp(&cl->has[key], &acked[kind][key].version) == 0)
				assert_int_equal(cl->is_deleted[key], acked[kind][key].is_delete);
		}
	}
	end(w);
}

static void no_acknowledged_change_is_missed_whatever_happens(void **state)
{
	const char *seeds = getenv("SEEDS"), *one = getenv("SEED"), *san = getenv("AGI_SANITIZERS");
	uint64_t n = seeds ? strtoull(seeds, NULL, 10) : san && *san ? SEEDS_SANITIZED : SEEDS_DEFAULT;

	(void)state;
	if (one)
		one_seed(strtoull(one, NULL, 10));
	else
		for (uint64_t s = 1; s <= n; s++)
			one_seed(1000 + s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_change_arrives_once_when_nothing_is_wrong),
	    cmocka_unit_test(a_watch_of_one_key_hears_of_no_other),
	    cmocka_unit_test(a_watch_may_begin_with_what_is_there),
	    cmocka_unit_test(a_key_is_watched_from_a_version_on),
	    cmocka_unit_test(an_interrupted_watch_goes_on_at_another_node),
	    cmocka_unit_test(a_watch_interrupted_for_longer_than_deletions_are_known_begins_anew),
	    cmocka_unit_test(a_slow_client_sees_the_newest_state_of_every_key),
	    cmocka_unit_test(a_watch_that_was_cut_off_says_so_and_catches_up),
	    cmocka_unit_test(what_cannot_be_watched_is_refused),
	    cmocka_unit_test(no_acknowledged_change_is_missed_whatever_happens),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
