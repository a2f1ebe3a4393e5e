/* SPDX-License-Identifier: Apache-2.0
 * Lookups among hosts that each know only their buckets, some of them hostile: those answer at once and name only
 * each other, the nearest to the target that there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/prng.h"
#include "dht/ring.h"
#include "dht/state.h"
#include "toy_net.h"

enum { HOSTS = 1200, BUCKET = 6, TABLE_MAX = 400, LOOKUPS = 150 };

static struct toy net;
static struct toy_host hosts[HOSTS + 1];
static struct {
	uint64_t at; /* of its one virtual node */
	uint16_t table[TABLE_MAX];
	uint16_t n;
	bool is_hostile;
} peer[HOSTS + 1]; /* the last: the node that looks */
static struct agi_prng rng;

/* Of the last lookup. */
static struct {
	bool is_over;
	struct agi_id id[AGI_K];
	size_t n, n_asked;
} got;

static void on_lookup(struct agi_dht *d, void *arg, const struct agi_contact *nearest, size_t n,
                      const struct agi_hop *hops, size_t n_hops)
{
	(void)d, (void)arg, (void)hops;
	got.is_over = true;
	got.n = n;
	got.n_asked = n_hops;
	for (size_t i = 0; i < n; i++)
		got.id[i] = nearest[i].id;
}

static uint64_t place_of(const struct agi_id *id)
{
	struct agi_id zero = {{0}};

	return agi_ring_distance(&zero, id, 1);
}

static uint64_t prefix(const struct agi_id *id)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | id->b[i];
	return v;
}

/* Buckets by the length of the common prefix, each with some of those that belong there. */
static void fill_table(uint32_t i)
{
	uint16_t in_bucket[65] = {0};
	uint32_t from = (uint32_t)agi_prng_below(&rng, HOSTS), stride = 7;

	peer[i].n = 0;
	for (uint32_t k = 0; k < HOSTS; k++) {
		uint32_t j = (from + k * stride) % HOSTS;
		uint64_t x = peer[i].at ^ peer[j].at;
		int bucket = x ? __builtin_clzll(x) : 64;

		if (j == i || in_bucket[bucket] == BUCKET || peer[i].n == TABLE_MAX)
			continue;
		in_bucket[bucket]++;
		peer[i].table[peer[i].n++] = (uint16_t)j;
	}
}

/* Keeps the nearest to target in out, sorted. */
static void keep_nearest(struct agi_contact *out, uint64_t at[AGI_K], size_t *n, uint32_t j, uint64_t target)
{
	uint64_t x = peer[j].at ^ target;
	size_t i = *n;

	if (i == AGI_K && at[i - 1] <= x)
		return;
	if (i == AGI_K)
		i--;
	else
		++*n;
	for (; i > 0 && at[i - 1] > x; i--) {
		at[i] = at[i - 1];
		out[i] = out[i - 1];
	}
	at[i] = x;
	out[i] = hosts[j].c;
}

static bool serve(struct toy *t, uint32_t host, const struct agi_msg *m, struct agi_msg *out)
{
	static struct agi_contact contacts[AGI_K];
	uint64_t at[AGI_K], target = prefix(&m->target);
	size_t n = 0;
	(void)t;

	if (m->kind != AGI_MSG_FIND_NODE)
		return false;
	if (peer[host].is_hostile) {
		for (uint32_t j = 0; j < HOSTS; j++)
			if (peer[j].is_hostile)
				keep_nearest(contacts, at, &n, j, target);
	} else {
		for (uint32_t k = 0; k < peer[host].n; k++)
			keep_nearest(contacts, at, &n, peer[host].table[k], target);
	}
	*out = (struct agi_msg){.kind = AGI_MSG_NODES, .contacts = contacts, .n_contacts = n};
	return true;
}

static void begin(uint64_t seed, double hostile)
{
	agi_prng_seed(&rng, seed);
	toy_hosts(&net, hosts, HOSTS, seed);
	net.serve = serve;
	net.is_mute = true;
	for (uint32_t i = 0; i < HOSTS; i++) {
		peer[i].at = place_of(&hosts[i].c.id);
		peer[i].is_hostile = agi_prng_unit(&rng) < hostile;
	}
	for (uint32_t i = 0; i < HOSTS; i++)
		fill_table(i);
}

/* A lookup by a node that has just come, with a table of its own; paths as configured. */
static void look_up(const struct agi_id *target, uint32_t paths)
{
	struct agi_dht_cfg cfg = {.seed = agi_prng_u64(&rng), .virtual_nodes = 1, .slot_bits = 2,
	                          .lookup_paths = paths};
	struct agi_member self;

	toy_start(&net, &cfg);
	assert_true(agi_dht_member(net.d, 0, &self));
	peer[HOSTS].at = place_of(&self.contact.id);
	fill_table(HOSTS);
	for (uint32_t k = 0; k < peer[HOSTS].n; k++)
		agi_hosts_verified(net.d, &hosts[peer[HOSTS].table[k]].c, UINT32_MAX);
	got.is_over = false;
	assert_non_null(agi_lookup_start(net.d, target, on_lookup, NULL));
	while (!got.is_over)
		assert_true(toy_step(&net, AGI_NEVER - 1));
	agi_dht_check(net.d);
	toy_end(&net);
}

/* Is the honest host that is nearest to target among those found? */
static bool is_right(const struct agi_id *target)
{
	uint64_t best = UINT64_MAX;
	uint32_t which = 0;

	for (uint32_t i = 0; i < HOSTS; i++) {
		if (!peer[i].is_hostile && (peer[i].at ^ prefix(target)) < best) {
			best = peer[i].at ^ prefix(target);
			which = i;
		}
	}
	for (size_t i = 0; i < got.n; i++)
		if (agi_id_eq(&got.id[i], &hosts[which].c.id))
			return true;
	return false;
}

/* The share of lookups that were right. */
static double success(double hostile, uint32_t paths)
{
	uint32_t n_right = 0, n_asked = 0;

	begin(11, hostile);
	for (int i = 0; i < LOOKUPS; i++) {
		struct agi_id target;

		for (int k = 0; k < AGI_ID_BYTES; k++)
			target.b[k] = (uint8_t)agi_prng_u64(&rng);
		look_up(&target, paths);
		n_right += is_right(&target);
		n_asked += (uint32_t)got.n_asked;
	}
	print_message("# %d %% hostile, %d paths: %.1f %% right, %.0f hosts asked\n", (int)(100 * hostile),
	              (int)paths, 100.0 * n_right / LOOKUPS, (double)n_asked / LOOKUPS);
	return (double)n_right / LOOKUPS;
}

static void every_lookup_is_right_when_nobody_is_hostile(void **state)
{
	(void)state;
	assert_true(success(0, 1) == 1);
	assert_true(success(0, 8) == 1);
}

static void a_fifth_of_hostile_hosts_misleads_one_lookup_in_a_hundred_at_most(void **state)
{
	(void)state;
	success(0.2, 1);
	assert_true(success(0.2, 8) >= 0.99);
}

static void half_of_all_hosts_being_hostile_leaves_85_of_100_lookups_right(void **state)
{
	double one, eight;

	(void)state;
	one = success(0.5, 1);
	eight = success(0.5, 8);
	assert_true(eight >= 0.85);
	assert_true(eight > one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_lookup_is_right_when_nobody_is_hostile),
	    cmocka_unit_test(a_fifth_of_hostile_hosts_misleads_one_lookup_in_a_hundred_at_most),
	    cmocka_unit_test(half_of_all_hosts_being_hostile_leaves_85_of_100_lookups_right),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
