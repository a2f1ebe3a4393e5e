/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/prng.h"
#include "net/link_record.h"

/* Both ends of a record stream, and the wire between them. */
struct pipe {
	struct agi_record_pool pool;
	struct agi_outbox out;
	struct agi_inbox in;
	struct agi_noise_cipher send, recv;
	struct agi_buf wire;
	struct agi_buf got; /* messages received, be32 length each */
	int n_messages, n_marks;
};

static void pipe_init(struct pipe *p)
{
	*p = (struct pipe){.send = {.key = {7}, .has_key = true}};
	p->recv = p->send;
	agi_inbox_init(&p->in);
	agi_buf_init(&p->wire, 0);
	agi_buf_init(&p->got, 0);
}

static void pipe_free(struct pipe *p)
{
	agi_outbox_free(&p->out, &p->pool);
	agi_record_pool_free(&p->pool);
	agi_inbox_free(&p->in);
	agi_buf_free(&p->wire);
	agi_buf_free(&p->got);
}

static bool got_message(void *ctx, struct agi_str m)
{
	struct pipe *p = ctx;

	agi_buf_blob(&p->got, m);
	p->n_messages++;
	return true;
}

static bool got_mark(void *ctx)
{
	((struct pipe *)ctx)->n_marks++;
	return true;
}

/* Moves at most max bytes from the outbox to the wire. */
static void drain(struct pipe *p, size_t max)
{
	struct iovec iov[4];
	size_t n = agi_outbox_gather(&p->out, &p->send, iov, 4), done = 0;

	for (size_t i = 0; i < n && max; i++) {
		size_t k = iov[i].iov_len < max ? iov[i].iov_len : max;

		agi_buf_put(&p->wire, iov[i].iov_base, k);
		done += k;
		max -= k;
	}
	agi_outbox_written(&p->out, &p->pool, done);
}

/* Feeds the first n bytes of the wire; what was not used stays. */
static enum agi_err feed(struct pipe *p, size_t n, struct agi_why *why)
{
	const struct agi_inbox_sink sink = {got_message, got_mark, p};
	uint8_t *copy = malloc(n + 1);
	size_t used;
	enum agi_err err;

	memcpy(copy, p->wire.p, n);
	err = agi_inbox_feed(&p->in, &p->recv, copy, n, &used, &sink, why);
	assert_true(used <= n);
	memmove(p->wire.p, p->wire.p + used, p->wire.n - used);
	p->wire.n -= used;
	free(copy);
	return err;
}

static void put(struct pipe *p, struct agi_str m)
{
	assert_int_equal(agi_outbox_put(&p->out, &p->pool, m), AGI_OK);
}

static void any_messages_cut_anywhere_arrive_whole_and_in_order(void **state)
{
	struct agi_prng rng;
	uint8_t *bytes = malloc(200000);

	(void)state;
	for (size_t i = 0; i < 200000; i++)
		bytes[i] = (uint8_t)(i * 31 + i / 251);
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct pipe p;
		struct agi_buf sent;

		pipe_init(&p);
		agi_buf_init(&sent, 0);
		agi_prng_seed(&rng, seed);
		for (int i = 0; i < 60; i++) {
			size_t max = agi_prng_below(&rng, 4) ? 300 : 150000,
			       n = agi_prng_below(&rng, max);
			struct agi_str m = {(char *)bytes + agi_prng_below(&rng, 1000), n};

			put(&p, m);
			agi_buf_blob(&sent, m);
			if (agi_prng_below(&rng, 2))
				drain(&p, agi_prng_below(&rng, 100000));
			if (p.wire.n && agi_prng_below(&rng, 2))
				assert_int_equal(feed(&p, agi_prng_below(&rng, p.wire.n) + 1, NULL),
						 AGI_OK);
		}
		while (!agi_outbox_is_empty(&p.out))
			drain(&p, SIZE_MAX);
		assert_int_equal(feed(&p, p.wire.n, NULL), AGI_OK);
		assert_int_equal(p.n_messages, 60);
		assert_int_equal(p.out.text_bytes, 0);
		assert_int_equal(p.got.n, sent.n);
		assert_memory_equal(p.got.p, sent.p, sent.n);
		agi_buf_free(&sent);
		pipe_free(&p);
	}
	free(bytes);
}

static void small_messages_share_a_record(void **state)
{
	struct pipe p;

	(void)state;
	pipe_init(&p);
	for (int i = 0; i < 100; i++)
		put(&p, AGI_STR("small"));
	drain(&p, SIZE_MAX);
	assert_int_equal(p.wire.n, 2 + 100 * (4 + 5) + 16);
	pipe_free(&p);
}

static void the_largest_message_passes_and_a_larger_one_is_refused(void **state)
{
	struct pipe p;
	char *m = calloc(1, AGI_LINK_FRAME_MAX + 1);

	(void)state;
	pipe_init(&p);
	put(&p, (struct agi_str){m, AGI_LINK_FRAME_MAX});
	assert_int_equal(
	    agi_outbox_put(&p.out, &p.pool, (struct agi_str){m, AGI_LINK_FRAME_MAX + 1}),
	    AGI_E_TOO_LARGE);
	while (!agi_outbox_is_empty(&p.out))
		drain(&p, SIZE_MAX);
	assert_int_equal(feed(&p, p.wire.n, NULL), AGI_OK);
	assert_int_equal(p.n_messages, 1);
	free(m);
	pipe_free(&p);
}

/* Seals text as the peer would. */
static void wire_record(struct pipe *p, struct agi_str text)
{
	uint8_t *to;

	agi_buf_u16(&p->wire, (uint16_t)(text.n + 16));
	to = agi_buf_reserve(&p->wire, text.n + 16);
	memcpy(to, text.p, text.n);
	assert_int_equal(agi_noise_seal(&p->send, AGI_STR(""), to, text.n), AGI_OK);
	p->wire.n += text.n + 16;
}

static void a_peer_that_announces_too_much_is_refused_by_size(void **state)
{
	static const struct agi_str texts[] = {
	    {"\xff\xff\xff\xff", 4},
	    {"\x00\x50\x00\x01", 4},
	    {"\x00\x00\x00\x01x\x00\x50\x00\x01", 9},
	};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct pipe p;
		struct agi_why why;

		pipe_init(&p);
		wire_record(&p, texts[i]);
		assert_int_equal(feed(&p, p.wire.n, &why), AGI_E_TOO_LARGE);
		assert_non_null(strstr(why.text, "5242880"));
		pipe_free(&p);
	}
}

static void an_announced_message_takes_memory_only_as_it_comes(void **state)
{
	struct pipe p;

	(void)state;
	pipe_init(&p);
	wire_record(&p, (struct agi_str){"\x00\x50\x00\x00only this", 13});
	assert_int_equal(feed(&p, p.wire.n, NULL), AGI_OK);
	assert_false(agi_inbox_is_between(&p.in));
	assert_true(p.in.part.cap < 1024);
	pipe_free(&p);
}

static void a_changed_or_repeated_or_short_record_is_refused(void **state)
{
	struct pipe p;
	struct agi_why why;

	(void)state;
	pipe_init(&p);
	wire_record(&p, (struct agi_str){"\x00\x00\x00\x01x", 5});
	p.wire.p[4] ^= 1;
	assert_int_equal(feed(&p, p.wire.n, &why), AGI_E_AUTH);
	pipe_free(&p);

	pipe_init(&p);
	wire_record(&p, (struct agi_str){"\x00\x00\x00\x01x", 5});
	agi_buf_put(&p.wire, p.wire.p, p.wire.n);
	assert_int_equal(feed(&p, p.wire.n, &why), AGI_E_AUTH);
	assert_int_equal(p.n_messages, 1);
	pipe_free(&p);

	pipe_init(&p);
	agi_buf_put(&p.wire,
		    "\x00\x0f"
		    "0123456789abcde",
		    17);
	assert_int_equal(feed(&p, p.wire.n, &why), AGI_E_MALFORMED);
	pipe_free(&p);
}

static void a_mark_stands_between_messages_only(void **state)
{
	struct pipe p;
	struct agi_why why;

	(void)state;
	pipe_init(&p);
	put(&p, AGI_STR("a"));
	assert_int_equal(agi_outbox_mark(&p.out, &p.pool), AGI_OK);
	put(&p, AGI_STR("b"));
	drain(&p, SIZE_MAX);
	assert_int_equal(feed(&p, p.wire.n, NULL), AGI_OK);
	assert_int_equal(p.n_marks, 1);
	assert_int_equal(p.n_messages, 2);
	wire_record(&p, (struct agi_str){"\x00\x00\x00\x09part", 8});
	wire_record(&p, AGI_STR(""));
	assert_int_equal(feed(&p, p.wire.n, &why), AGI_E_MALFORMED);
	pipe_free(&p);
}

static void keys_change_on_both_sides_at_the_same_record(void **state)
{
	struct pipe p;
	uint8_t first[32];

	(void)state;
	pipe_init(&p);
	memcpy(first, p.send.key, 32);
	p.send.nonce = p.recv.nonce = AGI_LINK_REKEY_RECORDS - 2;
	for (int i = 0; i < 5; i++) {
		put(&p, AGI_STR("over the edge"));
		drain(&p, SIZE_MAX);
		assert_int_equal(memcmp(p.send.key, first, 32) == 0, i < 2);
		assert_int_equal(feed(&p, p.wire.n, NULL), AGI_OK);
	}
	assert_int_equal(p.n_messages, 5);
	assert_memory_equal(p.send.key, p.recv.key, 32);
	pipe_free(&p);
}

static void raw_bytes_go_before_text_and_a_queue_can_move(void **state)
{
	struct pipe p;
	struct agi_outbox other = {0};
	struct iovec iov[4];

	(void)state;
	pipe_init(&p);
	put(&p, AGI_STR("one"));
	assert_int_equal(agi_outbox_raw(&p.out, &p.pool, AGI_STR("hello")), AGI_OK);
	assert_int_equal(agi_outbox_raw(&p.out, &p.pool, AGI_STR("again")), AGI_OK);
	assert_int_equal(agi_outbox_gather(&p.out, NULL, iov, 4), 2);
	assert_memory_equal(iov[0].iov_base, "hello", 5);
	assert_memory_equal(iov[1].iov_base, "again", 5);
	agi_outbox_written(&p.out, &p.pool, 7);
	agi_outbox_drop_raw(&p.out, &p.pool);
	assert_int_equal(agi_outbox_put(&other, &p.pool, AGI_STR("zero")), AGI_OK);
	agi_outbox_move(&other, &p.out);
	assert_true(agi_outbox_is_empty(&p.out));
	p.out = other;
	put(&p, AGI_STR("two"));
	drain(&p, SIZE_MAX);
	assert_int_equal(feed(&p, p.wire.n, NULL), AGI_OK);
	assert_memory_equal(p.got.p, "\0\0\0\4zero\0\0\0\3one\0\0\0\3two", 22);
	pipe_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(any_messages_cut_anywhere_arrive_whole_and_in_order),
	    cmocka_unit_test(small_messages_share_a_record),
	    cmocka_unit_test(the_largest_message_passes_and_a_larger_one_is_refused),
	    cmocka_unit_test(a_peer_that_announces_too_much_is_refused_by_size),
	    cmocka_unit_test(an_announced_message_takes_memory_only_as_it_comes),
	    cmocka_unit_test(a_changed_or_repeated_or_short_record_is_refused),
	    cmocka_unit_test(a_mark_stands_between_messages_only),
	    cmocka_unit_test(keys_change_on_both_sides_at_the_same_record),
	    cmocka_unit_test(raw_bytes_go_before_text_and_a_queue_can_move),
	};

	if (agi_crypto_init())
		return 1;
	return cmocka_run_group_tests_name("link_record", tests, NULL, NULL);
}
