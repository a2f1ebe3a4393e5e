/* SPDX-License-Identifier: Apache-2.0
 * What operators do to a whole cluster: comparing what members hold, writing back what a backup holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "replicas.h"
#include "world.h"

enum { SECOND = 1000000 };

static struct answer {
	bool is_there;
	enum agi_err err;
	char value[64];
	uint64_t version;
	uint32_t slot;
	size_t n;
	struct agi_holding holding[AGI_REPLICAS_MAX];
} got;

static void on_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	(void)n, (void)call_id;
	got = (struct answer){.is_there = true, .err = res->err, .version = res->version.hlc, .slot = res->slot,
	                      .n = res->n_digests};
	snprintf(got.value, sizeof got.value, "%.*s", AGI_STR_ARG(res->value));
	for (size_t i = 0; i < res->n_digests; i++)
		got.holding[i] = res->digests[i];
}

static struct sim_world *cluster_with_grace(uint32_t nodes, uint32_t grace_ms)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = 7, .nodes = nodes, .slot_bits = 1, .grace_ms = grace_ms,
	                      .is_verbose = getenv("VERBOSE") != NULL};

	assert_non_null(w);
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	for (uint32_t i = 0; i < nodes; i++)
		sim_start_node(w, i);
	for (int s = 0; s < 120 && !sim_is_settled(w); s++)
		sim_run_until(w, w->now_us + SECOND);
	assert_true(sim_is_settled(w));
	return w;
}

static struct sim_world *cluster(uint32_t nodes) { return cluster_with_grace(nodes, 0); }

static void end(struct sim_world *w)
{
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

static enum agi_err ask(struct sim_world *w, uint32_t node, const struct agi_call *call)
{
	static uint64_t next = SIM_OWN_CALL;
	struct sim_node *n = &w->node[node];

	got = (struct answer){0};
	agi_dht_call(n->dht, sim_now(n), next++, call);
	sim_rearm(n);
	for (int i = 0; i < 4000 && !got.is_there; i++)
		sim_run_until(w, w->now_us + 5000);
	assert_true(got.is_there);
	return got.err;
}

static enum agi_err put(struct sim_world *w, const char *key, const char *value, enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_PUT, .ns = AGI_STR("n"), .key = agi_str_of(key),
	                     .value = agi_str_of(value), .level = level, .timeout_ms = 2000};

	return ask(w, 0, &c);
}

static enum agi_err get(struct sim_world *w, const char *key, enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_GET, .ns = AGI_STR("n"), .key = agi_str_of(key), .level = level,
	                     .timeout_ms = 2000};

	return ask(w, 1, &c);
}

/* --- comparing ------------------------------------------------------------------------------------ */
static enum agi_err digest(struct sim_world *w, uint32_t slot)
{
	struct agi_call c = {.kind = AGI_CALL_DIGEST, .slot = slot, .timeout_ms = 2000};

	return ask(w, 2, &c);
}

static bool all_same(void)
{
	for (size_t i = 0; i < got.n; i++)
		if (got.holding[i].err ||
		    memcmp(got.holding[i].part, got.holding[0].part, sizeof got.holding[0].part) != 0)
			return false;
	return got.n > 0;
}

static void members_that_hold_the_same_show_the_same(void **state)
{
	struct sim_world *w = cluster(4);
	uint64_t items = 0, registers = 0;
	char key[16];
	(void)state;

	for (int i = 0; i < 40; i++) {
		snprintf(key, sizeof key, "k%d", i);
		assert_int_equal(put(w, key, "v", i % 2 ? AGI_LEVEL_ALL : AGI_LEVEL_STRONG), AGI_OK);
	}
	sim_run_until(w, w->now_us + 5 * SECOND);
	for (uint32_t slot = 0; slot < 2; slot++) {
		assert_int_equal(digest(w, slot), AGI_OK);
		assert_int_equal(got.n, 3);
		assert_true(all_same());
		items += got.holding[0].part[0].records;
		registers += got.holding[0].part[1].records;
	}
	assert_int_equal(items, 20);
	assert_int_equal(registers, 20);
	assert_int_equal(digest(w, 2), AGI_E_INVALID);
	end(w);
}

static void a_member_that_lacks_or_changed_a_record_shows(void **state)
{
	struct sim_world *w = cluster(3);
	struct sim_table *t = &w->node[1].disk.cf[AGI_CF_ITEMS];
	(void)state;

	assert_int_equal(put(w, "k", "value", AGI_LEVEL_ALL), AGI_OK);
	assert_int_equal(t->n, 1);
	((char *)(uintptr_t)t->e[0].value.p)[t->e[0].value.n - 1] ^= 1; /* bit rot that no checksum has seen */
	assert_int_equal(digest(w, agi_dht_slot_of(w->node[0].dht, AGI_STR("n"), AGI_STR("k"))), AGI_OK);
	assert_false(all_same());
	assert_int_equal(got.holding[0].part[0].records, 1);
	end(w);
}

static void a_member_that_is_down_is_told(void **state)
{
	struct sim_world *w = cluster(3);
	int down = 0;
	(void)state;

	sim_crash_node(w, 1);
	sim_run_until(w, w->now_us + 10 * SECOND);
	assert_int_equal(digest(w, 0), AGI_OK);
	assert_int_equal(got.n, 3);
	for (size_t i = 0; i < 3; i++)
		down += got.holding[i].err != AGI_OK;
	assert_int_equal(down, 1);
	end(w);
}

static void deleted_and_expired_items_do_not_count(void **state)
{
	struct sim_world *w = cluster(3);
	struct agi_call gone = {.kind = AGI_CALL_DELETE, .ns = AGI_STR("n"), .key = AGI_STR("k"),
	                        .level = AGI_LEVEL_ALL, .timeout_ms = 2000};
	struct agi_call brief = {.kind = AGI_CALL_PUT, .ns = AGI_STR("n"), .key = AGI_STR("k2"), .value = AGI_STR("v"),
	                         .level = AGI_LEVEL_ALL, .ttl_ms = 1, .timeout_ms = 2000};
	(void)state;

	assert_int_equal(put(w, "k", "v", AGI_LEVEL_ALL), AGI_OK);
	assert_int_equal(ask(w, 0, &gone), AGI_OK);
	assert_int_equal(ask(w, 0, &brief), AGI_OK);
	for (uint32_t slot = 0; slot < 2; slot++) {
		assert_int_equal(digest(w, slot), AGI_OK);
		assert_true(all_same());
		assert_int_equal(got.holding[0].part[0].records, 0);
	}
	end(w);
}

/* --- restoring --------------------------------------------------------------------------------------- */
static enum agi_err restore(struct sim_world *w, const char *key, const char *value, uint64_t hlc)
{
	struct agi_item it = {.ns = AGI_STR("n"), .key = agi_str_of(key), .value = agi_str_of(value),
	                      .version = {.hlc = hlc}, .is_tombstone = !*value};
	struct agi_call c = {.kind = AGI_CALL_RESTORE, .items = &it, .n_items = 1};

	return ask(w, 0, &c);
}

static void a_restored_item_keeps_its_version_and_newer_ones_stay(void **state)
{
	struct sim_world *w = cluster(3);
	(void)state;

	assert_int_equal(restore(w, "k", "old", 1000), AGI_OK);
	assert_int_equal(get(w, "k", AGI_LEVEL_ALL), AGI_OK);
	assert_string_equal(got.value, "old");
	assert_int_equal(got.version, 1000);
	assert_int_equal(restore(w, "k", "newer", 2000), AGI_OK);
	assert_int_equal(restore(w, "k", "older", 500), AGI_OK);
	assert_int_equal(restore(w, "k", "newer", 2000), AGI_OK); /* twice changes nothing */
	assert_int_equal(get(w, "k", AGI_LEVEL_ALL), AGI_OK);
	assert_string_equal(got.value, "newer");
	assert_int_equal(put(w, "k", "today", AGI_LEVEL_QUORUM), AGI_OK);
	assert_int_equal(restore(w, "k", "newer", 2000), AGI_OK);
	assert_int_equal(get(w, "k", AGI_LEVEL_ALL), AGI_OK);
	assert_string_equal(got.value, "today");
	assert_int_equal(restore(w, "d", "x", 1000), AGI_OK);
	assert_int_equal(restore(w, "d", "", 1500), AGI_OK); /* a deletion that the backup holds */
	assert_int_equal(get(w, "d", AGI_LEVEL_ALL), AGI_E_NOT_FOUND);
	end(w);
}

static void what_was_deleted_and_collected_comes_back_and_newer_items_stay(void **state)
{
	struct sim_world *w = cluster_with_grace(3, 1000);
	struct agi_call gone = {.kind = AGI_CALL_DELETE, .ns = AGI_STR("n"), .key = AGI_STR("k"), .level = AGI_LEVEL_ALL};
	uint64_t floor;
	(void)state;

	assert_int_equal(put(w, "k", "v", AGI_LEVEL_ALL), AGI_OK);
	assert_int_equal(ask(w, 0, &gone), AGI_OK);
	for (int s = 0; s < 300 && sim_records(w, AGI_CF_ITEMS); s++)
		sim_run_until(w, w->now_us + SECOND);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 0); /* and the slot's floor is above it */
	assert_int_equal(restore(w, "k", "v", 1000), AGI_OK);
	assert_int_equal(get(w, "k", AGI_LEVEL_ALL), AGI_OK);
	assert_string_equal(got.value, "v");
	floor = got.version;
	assert_true(floor > 1000);
	assert_int_equal(put(w, "k", "today", AGI_LEVEL_ALL), AGI_OK);
	assert_int_equal(restore(w, "k", "v", 1000), AGI_OK); /* again */
	assert_int_equal(get(w, "k", AGI_LEVEL_ALL), AGI_OK);
	assert_string_equal(got.value, "today");
	assert_true(got.version > floor);
	end(w);
}

static enum agi_err restore_register(struct sim_world *w, const char *key, const char *value, uint64_t floor)
{
	struct agi_call c = {.kind = AGI_CALL_CAS, .ns = AGI_STR("n"), .key = agi_str_of(key),
	                     .value = agi_str_of(value), .expected = 0, .floor = floor, .timeout_ms = 2000};

	return ask(w, 0, &c);
}

/* A version that a client remembers from before must never be given to another value. */
static void versions_of_restored_registers_go_on_from_the_old_ones(void **state)
{
	struct sim_world *w = cluster(3);
	uint64_t old = 5000ull << 32 | 77, restored;
	(void)state;

	assert_int_equal(put(w, "other", "v", AGI_LEVEL_STRONG), AGI_OK); /* leads already, at a low round */
	assert_int_equal(restore_register(w, "k", "from the backup", old), AGI_OK);
	restored = got.version;
	assert_true(restored > old);
	assert_int_equal(get(w, "k", AGI_LEVEL_STRONG), AGI_OK);
	assert_string_equal(got.value, "from the backup");
	assert_int_equal(restore_register(w, "k", "again", old), AGI_E_CONDITION); /* what is there stays */
	assert_int_equal(put(w, "k", "new", AGI_LEVEL_STRONG), AGI_OK);
	assert_int_equal(get(w, "k", AGI_LEVEL_STRONG), AGI_OK);
	assert_true(got.version > restored);
	assert_int_equal(restore_register(w, "k2", "v", UINT64_MAX), AGI_OK); /* nonsense uses no rounds up */
	assert_true(got.version >> 32 < 1 << 30);
	end(w);
}

/* --- what a restart finds -------------------------------------------------------------------------- */
static void what_serves_is_on_the_disk_as_such(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		struct sim_world *w = malloc(sizeof *w);
		struct sim_cfg cfg = {.seed = 100 + (uint64_t)round, .nodes = 5, .slot_bits = 5};

		assert_non_null(w);
		sim_set_up(w, &cfg);
		for (uint32_t i = 0; i < cfg.nodes; i++)
			sim_start_node(w, i);
		for (int s = 0; s < 120 && !sim_is_settled(w); s++)
			sim_run_until(w, w->now_us + SECOND);
		sim_run_until(w, w->now_us + SECOND);
		for (uint32_t i = 0; i < cfg.nodes; i++) {
			struct sim_table *t = &w->node[i].disk.cf[AGI_CF_VIEWS];

			for (size_t k = 0; k < t->n; k++) {
				enum agi_view_phase stored, phase;
				struct agi_view v, now;

				assert_int_equal(agi_dht_read_view(t->e[k].key, t->e[k].value, &v, &stored), AGI_OK);
				assert_true(agi_dht_slot(w->node[i].dht, v.slot, &now, &phase));
				if (phase == AGI_VIEW_ACTIVE && (stored != phase || v.epoch != now.epoch))
					fail_msg("slot %u is active in epoch %lu, on the disk %s in %lu", v.slot,
					         (unsigned long)now.epoch, agi_view_phase_name(stored),
					         (unsigned long)v.epoch);
			}
		}
		end(w);
	}
}

/* --- tasks -------------------------------------------------------------------------------------------- */
static void a_task_for_a_node_without_operators_is_refused(void **state)
{
	struct sim_world *w = cluster(3);
	struct agi_call c = {.kind = AGI_CALL_OPERATE, .target = w->node[2].id, .value = AGI_STR("x")};
	(void)state;

	assert_int_equal(ask(w, 0, &c), AGI_E_UNSUPPORTED);
	memset(&c.target, 9, sizeof c.target);
	assert_int_equal(ask(w, 0, &c), AGI_E_UNREACHABLE);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(members_that_hold_the_same_show_the_same),
	    cmocka_unit_test(a_member_that_lacks_or_changed_a_record_shows),
	    cmocka_unit_test(a_member_that_is_down_is_told),
	    cmocka_unit_test(deleted_and_expired_items_do_not_count),
	    cmocka_unit_test(a_restored_item_keeps_its_version_and_newer_ones_stay),
	    cmocka_unit_test(what_was_deleted_and_collected_comes_back_and_newer_items_stay),
	    cmocka_unit_test(versions_of_restored_registers_go_on_from_the_old_ones),
	    cmocka_unit_test(what_serves_is_on_the_disk_as_such),
	    cmocka_unit_test(a_task_for_a_node_without_operators_is_refused),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests_name("care for a cluster", tests, NULL, NULL);
}
