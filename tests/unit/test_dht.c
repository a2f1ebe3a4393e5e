/* SPDX-License-Identifier: Apache-2.0
 * The core's building blocks against slow, obvious twins. Whole nodes are tested by tests/sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/prng.h"
#include "dht/gather.h"
#include "dht/hlc.h"
#include "dht/wall.h"
#include "dht/msg.h"
#include "dht/provider.h"
#include "dht/records.h"
#include "dht/ring.h"
#include "dht/slot.h"
#include "dht/timers.h"

static void random_id(struct agi_prng *r, struct agi_id *id)
{
	for (int i = 0; i < AGI_ID_BYTES; i++)
		id->b[i] = (uint8_t)agi_prng_u64(r);
}

/* --- timers ------------------------------------------------------------------------------------- */

enum { N_TIMERS = 200 };

static uint64_t earliest(const struct agi_timer *t)
{
	uint64_t best = AGI_NEVER;

	for (int i = 0; i < N_TIMERS; i++)
		if (t[i].is_set && t[i].due_us < best)
			best = t[i].due_us;
	return best;
}

static void timers_come_in_order_whatever_is_set_and_cleared(void **state)
{
	struct agi_timer t[N_TIMERS] = {{0}};
	struct agi_timers ts = {0};
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 7);
	for (int step = 0; step < 50000; step++) {
		struct agi_timer *x = &t[agi_prng_below(&r, N_TIMERS)];

		switch (agi_prng_below(&r, 4)) {
		case 0:
			agi_timer_clear(&ts, x);
			break;
		case 1: {
			uint64_t now = agi_prng_below(&r, 1000), first = earliest(t);
			struct agi_timer *due = agi_timers_take_due(&ts, now);

			if (first <= now) {
				assert_non_null(due);
				assert_true(due->due_us == first);
				assert_false(due->is_set);
			} else {
				assert_null(due);
			}
			break;
		}
		default:
			agi_timer_set(&ts, x, agi_prng_below(&r, 1000));
			break;
		}
		assert_true(agi_timers_next(&ts) == earliest(t));
	}
}

/* --- ring ------------------------------------------------------------------------------------------ */

enum { N_HOSTS = 30, VNODES = 16 };

/* Distance of a host by looking at each of its virtual nodes. */
static void nearest_vnode(const struct agi_contact *c, const struct agi_id *target, struct agi_id *best)
{
	memset(best, 0xff, sizeof *best);
	for (uint32_t i = 0; i < agi_ring_vnodes(VNODES, c->weight_milli); i++) {
		struct agi_id v, dist;

		agi_id_of_vnode(&v, &c->id, i);
		agi_id_xor(&dist, &v, target);
		if (agi_id_cmp(&dist, best) < 0)
			*best = dist;
	}
}

static void check_nearest(const struct agi_ring *ring, const struct agi_contact *hosts, const bool *in,
                          const struct agi_id *target)
{
	const struct agi_contact *got[N_HOSTS];
	size_t n = agi_ring_nearest(ring, target, got, N_HOSTS), expected = 0;

	for (int i = 0; i < N_HOSTS; i++)
		expected += in[i];
	assert_int_equal(n, expected);
	for (size_t i = 0; i + 1 < n; i++) {
		struct agi_id a, b;

		nearest_vnode(got[i], target, &a);
		nearest_vnode(got[i + 1], target, &b);
		assert_true(agi_id_cmp(&a, &b) < 0);
		assert_true(in[got[i] - hosts]);
	}
}

static void ring_gives_hosts_in_order_of_their_nearest_virtual_node(void **state)
{
	struct agi_contact hosts[N_HOSTS] = {{{{0}}}};
	bool in[N_HOSTS] = {false};
	struct agi_ring ring = {0};
	struct agi_prng r;
	struct agi_id target;

	(void)state;
	agi_prng_seed(&r, 3);
	for (int i = 0; i < N_HOSTS; i++) {
		random_id(&r, &hosts[i].id);
		hosts[i].weight_milli = (uint32_t)(250 + 250 * agi_prng_below(&r, 8));
	}
	for (int step = 0; step < 300; step++) {
		uint64_t i = agi_prng_below(&r, N_HOSTS);

		if (in[i])
			agi_ring_remove(&ring, &hosts[i]);
		else
			assert_int_equal(agi_ring_add(&ring, &hosts[i], VNODES), AGI_OK);
		in[i] = !in[i];
		random_id(&r, &target);
		check_nearest(&ring, hosts, in, &target);
	}
	agi_ring_free(&ring);
}

static void two_nodes_with_the_same_hosts_choose_the_same_replicas(void **state)
{
	struct agi_contact hosts[N_HOSTS] = {{{{0}}}};
	struct agi_ring forward = {0}, backward = {0};
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 5);
	for (int i = 0; i < N_HOSTS; i++) {
		random_id(&r, &hosts[i].id);
		hosts[i].weight_milli = 1000;
		hosts[i].zone[0] = (char)('a' + i % 4);
	}
	for (int i = 0; i < N_HOSTS; i++) {
		assert_int_equal(agi_ring_add(&forward, &hosts[i], VNODES), AGI_OK);
		assert_int_equal(agi_ring_add(&backward, &hosts[N_HOSTS - 1 - i], VNODES), AGI_OK);
	}
	for (uint32_t slot = 0; slot < 1024; slot++) {
		const struct agi_contact *a[AGI_REPLICAS_MAX], *b[AGI_REPLICAS_MAX];

		assert_int_equal(agi_slot_ideal(&forward, slot, 10, 3, a), 3);
		assert_int_equal(agi_slot_ideal(&backward, slot, 10, 3, b), 3);
		for (int i = 0; i < 3; i++)
			assert_ptr_equal(a[i], b[i]);
		/* four zones, three replicas: never two in one zone */
		assert_true(a[0]->zone[0] != a[1]->zone[0] && a[0]->zone[0] != a[2]->zone[0] &&
		            a[1]->zone[0] != a[2]->zone[0]);
	}
	agi_ring_free(&forward);
	agi_ring_free(&backward);
}

static void a_leaving_host_moves_only_its_own_share(void **state)
{
	struct agi_contact hosts[N_HOSTS] = {{{{0}}}};
	struct agi_ring before = {0}, after = {0};
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 6);
	for (int i = 0; i < N_HOSTS; i++) {
		random_id(&r, &hosts[i].id);
		hosts[i].weight_milli = 1000;
		assert_int_equal(agi_ring_add(&before, &hosts[i], VNODES), AGI_OK);
		if (i > 0)
			assert_int_equal(agi_ring_add(&after, &hosts[i], VNODES), AGI_OK);
	}
	for (uint32_t slot = 0; slot < 1024; slot++) {
		const struct agi_contact *a[AGI_REPLICAS_MAX], *b[AGI_REPLICAS_MAX];
		size_t k = 0;

		agi_slot_ideal(&before, slot, 10, 3, a);
		agi_slot_ideal(&after, slot, 10, 3, b);
		for (int i = 0; i < 3; i++) { /* those that stay keep their order */
			if (a[i] == &hosts[0])
				continue;
			assert_ptr_equal(a[i], b[k]);
			k++;
		}
	}
	agi_ring_free(&before);
	agi_ring_free(&after);
}

static void slots_cover_the_id_space_and_midpoints_lie_in_them(void **state)
{
	(void)state;
	for (uint32_t bits = 1; bits <= AGI_SLOT_BITS_MAX; bits++) {
		for (uint32_t k = 0; k < 64; k++) {
			uint32_t slot = (uint32_t)(((1ull << bits) - 1) * k / 63);
			struct agi_id mid;

			agi_slot_midpoint(&mid, slot, bits);
			assert_int_equal(agi_slot_of_hash(&mid, bits), slot);
		}
	}
}

/* --- gather -------------------------------------------------------------------------------------------- */

static void gather_is_won_or_lost_exactly_when_nothing_can_change_it(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 5; n++) {
		for (uint32_t need = 1; need <= n; need++) {
			for (uint32_t word = 0; word < 1u << (2 * n); word++) { /* each peer: yes, no, silent, open */
				struct agi_gather g;
				uint32_t yes = 0, open = 0;

				agi_gather_init(&g, n, need);
				for (uint32_t i = 0; i < n; i++) {
					uint32_t says = word >> (2 * i) & 3;

					agi_gather_asked(&g, i, i + 1);
					yes += says == 0;
					open += says == 3;
					if (says < 3)
						agi_gather_answered(&g, i, (enum agi_gather_state)(AGI_GATHER_YES + says));
				}
				assert_int_equal(agi_gather_is_quiet(&g), open == 0);
				assert_int_equal(agi_gather_outcome(&g),
				                 yes >= need ? AGI_GATHER_WON
				                             : yes + open < need ? AGI_GATHER_LOST : AGI_GATHER_OPEN);
			}
		}
	}
}

/* --- clock, records, messages ----------------------------------------------------------------------------- */

static void hybrid_clock_never_goes_back(void **state)
{
	struct agi_hlc c = {0};
	uint64_t last = 0;
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 9);
	for (int i = 0; i < 10000; i++) {
		uint64_t next;

		if (agi_prng_below(&r, 4) == 0)
			agi_hlc_see(&c, agi_prng_below(&r, 2000) << 16);
		next = agi_hlc_next(&c, agi_prng_below(&r, 1000));
		assert_true(next > last);
		last = next;
	}
	assert_true(agi_hlc_is_ahead(6001ull << 16, 1000, 5000));
	assert_false(agi_hlc_is_ahead(6000ull << 16, 1000, 5000));
}

static void two_lives_of_a_node_never_make_the_same_stamp(void **state)
{
	struct agi_hlc a, b;

	(void)state;
	for (uint64_t r = 0; r < 5000; r++) { /* the other life's stamps are seen, its millisecond is the same */
		agi_hlc_init(&a, 7, r);
		agi_hlc_init(&b, 8, 3 * r);
		a.last = b.last = 1000ull << 16 | 12 * r;
		assert_true(agi_hlc_next(&a, 1000) != agi_hlc_next(&b, 1000));
		assert_true(agi_hlc_above(&a, r, 5) != agi_hlc_above(&b, r, 5));
	}
}

static void one_life_of_a_node_never_makes_the_same_stamp_twice(void **state)
{
	static uint64_t made[2000];
	struct agi_hlc a;

	(void)state;
	agi_hlc_init(&a, 7, 99);
	for (uint32_t n = 0; n < 2000; n++) { /* what is overruled goes up and down */
		uint64_t stamp = 5000ull * (n * 7919 % 13), last = 0;

		made[n] = agi_hlc_above(&a, stamp, UINT32_MAX - 1000 + n);
		assert_in_range(made[n], stamp + 1, stamp + AGI_HLC_ABOVE);
		for (uint32_t i = 0; i < n; i++)
			assert_true(made[i] != made[n]);
		for (uint32_t i = 0; i < 3; i++) {
			uint64_t next = agi_hlc_next(&a, 1000 + n);

			assert_true(next > last);
			last = next;
		}
	}
	for (uint32_t back = 0; back < 15; back++) { /* the same millisecond again and again */
		made[back] = agi_hlc_next(&a, 9000);
		agi_hlc_set_back(&a);
		for (uint32_t i = 0; i < back; i++)
			assert_true(made[i] != made[back]);
	}
}

static void signature_covers_every_field_of_a_provider(void **state)
{
	uint8_t seed[AGI_SEED_BYTES] = {1}, pub[AGI_PUBKEY_BYTES], sec[AGI_SECKEY_BYTES];
	struct agi_provider p = {.service = AGI_STR("safety-gateway"), .address = AGI_STR("10.0.0.5:50055"),
	                         .incarnation = 3, .seq = 9, .ttl_ms = 6000, .is_healthy = true, .zone = "r1"};
	struct agi_provider x;

	(void)state;
	agi_keypair_of_seed(seed, pub, sec);
	agi_provider_sign(&p, sec);
	assert_true(agi_provider_verify(&p));
#define CHANGED(change)                                                                            \
	do {                                                                                       \
		x = p;                                                                             \
		change;                                                                            \
		assert_false(agi_provider_verify(&x));                                             \
	} while (0)
	CHANGED(x.service = AGI_STR("safety-gatewax"));
	CHANGED(x.address = AGI_STR("10.0.0.5:50056"));
	CHANGED(x.node_addr.port = 1);
	CHANGED(x.node_addr.ip[0] = 1);
	CHANGED(x.incarnation++);
	CHANGED(x.seq++);
	CHANGED(x.ttl_ms++);
	CHANGED(x.load_milli++);
	CHANGED(x.is_healthy = false);
	CHANGED(x.is_withdrawn = true);
	CHANGED(x.zone[1] = '2');
	CHANGED(x.traits = AGI_PROVIDER_TLS);
	CHANGED(x.pubkey[0] ^= 1);
	CHANGED(x.sig[0] ^= 1);
	p.traits = AGI_PROVIDER_TLS | AGI_PROVIDER_TOKENS;
	agi_provider_sign(&p, sec);
	assert_true(agi_provider_verify(&p));
	CHANGED(x.traits = AGI_PROVIDER_TLS);
	CHANGED(x.traits = 0);
#undef CHANGED
}

/* As the first version signed it: put together here by hand. */
static void a_record_without_traits_is_signed_as_it_was_before_there_were_any(void **state)
{
	uint8_t seed[AGI_SEED_BYTES] = {7}, pub[AGI_PUBKEY_BYTES], sec[AGI_SECKEY_BYTES], sig[AGI_SIG_BYTES];
	struct agi_provider p = {.service = AGI_STR("erisml"), .address = AGI_STR("10.0.0.5:50060"),
	                         .incarnation = 1, .seq = 2, .ttl_ms = 3, .load_milli = 4, .is_healthy = true,
	                         .zone = "r1"};
	struct agi_buf b;

	(void)state;
	agi_keypair_of_seed(seed, pub, sec);
	agi_buf_init(&b, 0);
	agi_buf_put_str(&b, AGI_STR("agihpc-provider-1"));
	agi_buf_put(&b, "\0\0\0\6erisml\0\0\0\016" "10.0.0.5:50060", 4 + 6 + 4 + 14);
	agi_buf_put(&b, pub, sizeof pub);
	agi_buf_put(&b, p.node_addr.ip, 16);
	agi_buf_put(&b, "\0\0" "\0\0\0\0\0\0\0\1" "\0\0\0\0\0\0\0\2" "\0\0\0\3" "\0\0\0\4" "\1" "\0" "\0\0\0\2r1",
	            2 + 8 + 8 + 4 + 4 + 1 + 1 + 6);
	agi_sign(sig, sec, agi_buf_str(&b));
	agi_buf_free(&b);
	agi_provider_sign(&p, sec);
	assert_memory_equal(p.sig, sig, sizeof sig);
}

static void newer_records_replace_older_ones_and_never_the_other_way(void **state)
{
	struct agi_provider p = {.service = AGI_STR("a"), .address = AGI_STR("h:1"), .incarnation = 2, .seq = 5};
	struct agi_records rs = {0};

	(void)state;
	assert_non_null(agi_records_put(&rs, &p, 100, 2));
	p.seq = 4;
	assert_null(agi_records_put(&rs, &p, 200, 2));
	p.incarnation = 3;
	p.seq = 1;
	assert_non_null(agi_records_put(&rs, &p, 200, 2));
	p.incarnation = 2;
	p.seq = 99;
	assert_null(agi_records_put(&rs, &p, 300, 2));
	p.address = AGI_STR("h:2");
	assert_null(agi_records_put(&rs, &p, 300, 2)); /* of a life that has ended */
	p.incarnation = 3;
	assert_non_null(agi_records_put(&rs, &p, 300, 2));
	p.address = AGI_STR("h:3");
	assert_null(agi_records_put(&rs, &p, 300, 2)); /* full */
	assert_int_equal(rs.n, 2);
	agi_records_expire(&rs, 200);
	assert_int_equal(rs.n, 1);
	agi_records_free(&rs);
	assert_int_equal(rs.n, 0);
}

static void a_record_of_a_newer_start_makes_all_older_ones_of_its_host_ghosts(void **state)
{
	struct agi_provider p = {.service = AGI_STR("a"), .address = AGI_STR("h:1"), .incarnation = 2, .seq = 5};
	struct agi_provider other = p;
	struct agi_records rs = {0};
	struct agi_record *was, *elsewhere;

	(void)state;
	other.pubkey[0] = 1;
	was = agi_records_put(&rs, &p, 100, 9);
	elsewhere = agi_records_put(&rs, &other, 100, 9);
	assert_false(agi_record_is_ghost(was));
	p.address = AGI_STR("h:2");
	p.incarnation = 3;
	assert_false(agi_record_is_ghost(agi_records_put(&rs, &p, 100, 9)));
	assert_true(agi_record_is_ghost(was));
	assert_false(agi_record_is_ghost(elsewhere));
	agi_records_expire(&rs, 0);
	assert_int_equal(rs.n, 2);
	agi_records_expire(&rs, 100); /* with the last record of a host, what is known of its starts is gone */
	assert_null(rs.by_host);
	p.incarnation = 1;
	assert_non_null(agi_records_put(&rs, &p, 200, 9));
	agi_records_free(&rs);
}

static void service_names_are_dns_labels(void **state)
{
	static const char *const good[] = {"a", "lh-planner", "0x", "a--b"};
	static const char *const bad[] = {"", "-a", "a-", "A", "a.b", "a_b", "a b", "\xc3\xa9",
	                                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(agi_service_name_is_valid(agi_str_of(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(agi_service_name_is_valid(agi_str_of(bad[i])));
}

static void a_cloned_message_shares_nothing_with_the_original(void **state)
{
	char key[] = "key", value[] = "value", service[] = "svc";
	struct agi_item item = {.ns = AGI_STR("n"), .key = {key, 3}, .value = {value, 5}};
	struct agi_provider p = {.service = {service, 3}, .address = AGI_STR("h:1")};
	struct agi_contact c = {.zone = "z"};
	struct agi_msg m = {.kind = AGI_MSG_WRITE, .items = &item, .n_items = 1, .providers = &p,
	                    .n_providers = 1, .contacts = &c, .n_contacts = 1, .cursor = {key, 3}};
	struct agi_msg *copy = agi_msg_clone(&m);

	(void)state;
	assert_non_null(copy);
	memset(key, 'x', 3);
	memset(value, 'x', 5);
	memset(service, 'x', 3);
	memset(&c, 0, sizeof c);
	assert_true(agi_str_eq(copy->items[0].key, AGI_STR("key")));
	assert_true(agi_str_eq(copy->items[0].value, AGI_STR("value")));
	assert_true(agi_str_eq(copy->providers[0].service, AGI_STR("svc")));
	assert_true(agi_str_eq(copy->cursor, AGI_STR("key")));
	assert_string_equal(copy->contacts[0].zone, "z");
	free(copy);
}

/* --- the time ---------------------------------------------------------------------------------------- */

static struct agi_now at(uint64_t second, int64_t off_ms)
{
	return (struct agi_now){.mono_us = second * 1000000, .wall_ms = (uint64_t)(1000000 + (int64_t)second * 1000 + off_ms)};
}

/* Judges once a second for a while, with peers whose clocks are off by peer_ms; returns how far off we end. */
static int64_t judged(int64_t own_ms, const int64_t *peer_ms, size_t n, uint64_t seconds)
{
	struct agi_wall w = {0};
	int64_t base[AGI_WALL_SAMPLES + 4];

	(void)agi_wall_ms(&w, at(0, 0)); /* right at first; then our clock is set wrong */
	for (size_t i = 0; i < n; i++)
		base[i] = 1000000 + peer_ms[i];
	for (uint64_t s = 1; s <= seconds; s++)
		agi_wall_judge(&w, at(s, own_ms), base, n);
	return (int64_t)agi_wall_ms(&w, at(seconds, own_ms)) - (int64_t)at(seconds, 0).wall_ms;
}

static void the_time_is_the_median_clock_and_one_wrong_clock_does_not_matter(void **state)
{
	const int64_t right[4] = {0, 0, 0, 0}, one_wrong[4] = {0, 0, 300000, 0}, others[2] = {7000, 7000};
	const int64_t split[1] = {9000};

	(void)state;
	assert_int_equal(judged(300000, right, 4, 60), 0);
	assert_int_equal(judged(-300000, right, 2, 60), 0);
	assert_int_equal(judged(0, one_wrong, 4, 60), 0);
	assert_int_equal(judged(0, others, 2, 10), 7000); /* we are the wrong one */
	assert_int_equal(judged(0, split, 1, 60), 0);     /* two clocks: nobody can tell, so nothing moves */
	assert_int_equal(judged(60000, NULL, 0, 10), 60000); /* alone: somebody set the clock */
}

static void a_small_difference_is_followed_slowly_and_a_jump_only_when_it_lasts(void **state)
{
	struct agi_wall w = {0};
	const int64_t ahead[2] = {1000100, 1000100};
	const int64_t far[2] = {1020000, 1020000}, back[2] = {1000000, 1000000};

	(void)state;
	(void)agi_wall_ms(&w, at(0, 0));
	agi_wall_judge(&w, at(1, 0), ahead, 2);
	assert_int_equal(w.base_ms, 1000000 + AGI_WALL_SLEW_MS);
	for (int i = 0; i < AGI_WALL_STEP_AFTER - 1; i++)
		agi_wall_judge(&w, at(2, 0), far, 2);
	agi_wall_judge(&w, at(3, 0), back, 2);
	assert_true(llabs(w.base_ms - 1000000) <= AGI_WALL_SLEW_MS);
	for (int i = 0; i < AGI_WALL_STEP_AFTER; i++)
		agi_wall_judge(&w, at(4, 20000), far, 2);
	assert_true(llabs(w.base_ms - 1020000) <= AGI_WALL_SLEW_MS);
}

static void a_clock_never_compared_is_corrected_at_once(void **state)
{
	struct agi_wall w = {0};
	const int64_t year[2] = {1000000 + 31536000000, 1000000 + 31536000000};

	(void)state;
	(void)agi_wall_ms(&w, at(0, 0));
	agi_wall_judge(&w, at(1, 0), year, 2);
	assert_int_equal(w.base_ms, year[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(timers_come_in_order_whatever_is_set_and_cleared),
	    cmocka_unit_test(ring_gives_hosts_in_order_of_their_nearest_virtual_node),
	    cmocka_unit_test(two_nodes_with_the_same_hosts_choose_the_same_replicas),
	    cmocka_unit_test(a_leaving_host_moves_only_its_own_share),
	    cmocka_unit_test(slots_cover_the_id_space_and_midpoints_lie_in_them),
	    cmocka_unit_test(gather_is_won_or_lost_exactly_when_nothing_can_change_it),
	    cmocka_unit_test(hybrid_clock_never_goes_back),
	    cmocka_unit_test(two_lives_of_a_node_never_make_the_same_stamp),
	    cmocka_unit_test(one_life_of_a_node_never_makes_the_same_stamp_twice),
	    cmocka_unit_test(signature_covers_every_field_of_a_provider),
	    cmocka_unit_test(a_record_without_traits_is_signed_as_it_was_before_there_were_any),
	    cmocka_unit_test(newer_records_replace_older_ones_and_never_the_other_way),
	    cmocka_unit_test(a_record_of_a_newer_start_makes_all_older_ones_of_its_host_ghosts),
	    cmocka_unit_test(service_names_are_dns_labels),
	    cmocka_unit_test(a_cloned_message_shares_nothing_with_the_original),
	    cmocka_unit_test(the_time_is_the_median_clock_and_one_wrong_clock_does_not_matter),
	    cmocka_unit_test(a_small_difference_is_followed_slowly_and_a_jump_only_when_it_lasts),
	    cmocka_unit_test(a_clock_never_compared_is_corrected_at_once),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
