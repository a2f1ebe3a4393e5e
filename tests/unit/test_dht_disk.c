/* SPDX-License-Identifier: Apache-2.0
 * One core on a disk that the test plays: what it refuses, and that it acts on nothing that is not on the disk.
 * It is alone in its cluster, so that it is its own leader, member and client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/hash.h"
#include "dht/dht.h"

enum { JOBS_MAX = 64 };

struct job {
	uint64_t id;
	enum agi_storage_kind kind;
	uint32_t n_in[AGI_CF_COUNT]; /* operations, by column family */
};

struct bench {
	struct agi_dht *d;
	struct agi_now now;
	struct agi_peer self;
	struct job jobs[JOBS_MAX]; /* submitted, not completed, in order */
	size_t n_jobs;
	struct agi_msg *sent;      /* the last answer */
	uint64_t reply_to;         /* the last call answered */
	enum agi_err reply_err;
};

/* --- effects --------------------------------------------------------------------------------------- */
static enum agi_err fx_send(void *ctx, const struct agi_peer *to, enum agi_traffic traffic,
                            const struct agi_msg *msg)
{
	struct bench *b = ctx;
	(void)to, (void)traffic;

	free(b->sent);
	b->sent = agi_msg_clone(msg);
	assert_non_null(b->sent);
	return AGI_OK;
}

static void fx_store(void *ctx, uint64_t job_id, const struct agi_storage_req *req)
{
	struct bench *b = ctx;
	struct job *j = &b->jobs[b->n_jobs++];

	assert_true(b->n_jobs <= JOBS_MAX);
	*j = (struct job){.id = job_id, .kind = req->kind};
	for (size_t i = 0; req->kind == AGI_STORAGE_WRITE && i < req->n_ops; i++)
		j->n_in[req->ops[i].cf]++;
}

static void fx_reply(void *ctx, uint64_t call_id, const struct agi_result *res)
{
	struct bench *b = ctx;

	b->reply_to = call_id;
	b->reply_err = res->err;
}

static void fx_note(void *ctx, const struct agi_note *note) { (void)ctx, (void)note; }

/* --- driving ---------------------------------------------------------------------------------------- */
/* Completes the oldest job; reads find nothing. */
static struct job complete(struct bench *b, enum agi_err err)
{
	struct job j = b->jobs[0];
	struct agi_storage_done done = {.err = err};

	assert_true(b->n_jobs > 0);
	if (!err && j.kind == AGI_STORAGE_GET)
		done.err = AGI_E_NOT_FOUND;
	b->n_jobs--;
	for (size_t i = 0; i < b->n_jobs; i++)
		b->jobs[i] = b->jobs[i + 1];
	agi_dht_on_stored(b->d, b->now, j.id, &done);
	return j;
}

static void complete_all(struct bench *b)
{
	while (b->n_jobs)
		complete(b, AGI_OK);
}

static void tick(struct bench *b, uint32_t ms)
{
	b->now.mono_us += (uint64_t)ms * 1000;
	b->now.wall_ms += ms;
	agi_dht_tick(b->d, b->now);
}

static int setup(void **state)
{
	static const struct agi_dht_effects fx = {.send = fx_send, .store = fx_store, .reply = fx_reply, .note = fx_note};
	struct bench *b = calloc(1, sizeof *b);
	struct agi_dht_cfg cfg = {.seed = 1, .force_init = true, .slot_bits = 4, .virtual_nodes = 4};
	uint8_t seed[AGI_SEED_BYTES] = {7}, pub[AGI_PUBKEY_BYTES];

	assert_non_null(b);
	agi_keypair_of_seed(seed, pub, cfg.seckey);
	agi_id_of_pubkey(&cfg.self.id, pub);
	assert_int_equal(agi_addr_parse(&cfg.self.addr, AGI_STR("127.0.0.1:5000"), 0, NULL), AGI_OK);
	cfg.self.weight_milli = 1000;
	cfg.self.incarnation = 1;
	b->now = (struct agi_now){1000000, 1700000000000};
	assert_int_equal(agi_dht_new(&cfg, &fx, b, &b->d), AGI_OK);
	agi_dht_start(b->d, b->now);
	complete_all(b);
	tick(b, 10);
	complete_all(b);
	b->self = (struct agi_peer){cfg.self.id, cfg.self.addr};
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	agi_dht_free(b->d);
	free(b->sent);
	free(b);
	return 0;
}

/* --- messages ------------------------------------------------------------------------------------------- */
static const struct agi_item item = {.ns = {"n", 1}, .key = {"k", 1}, .value = {"v", 1}};
static const struct agi_item tombstone = {.ns = {"n", 1}, .key = {"k", 1}, .value = {"", 0}, .is_tombstone = true};

static struct agi_msg message(struct bench *b, enum agi_msg_kind kind, uint64_t round,
                              const struct agi_item *it)
{
	struct agi_msg m = {.kind = kind, .rpc_id = 99, .slot = agi_dht_slot_of(b->d, item.ns, item.key), .epoch = 1,
	                    .ballot = {round, b->self.id}, .seq = 1, .items = it, .n_items = it != NULL,
	                    .ns = item.ns, .key = item.key, .op = AGI_STRONG_PUT};

	return m;
}

static void tell(struct bench *b, const struct agi_msg *m)
{
	free(b->sent);
	b->sent = NULL;
	agi_dht_on_message(b->d, b->now, &b->self, m);
}

static void expect_answer(struct bench *b, enum agi_msg_kind kind, enum agi_err status)
{
	assert_non_null(b->sent);
	assert_int_equal(b->sent->kind, kind);
	assert_int_equal(b->sent->status, status);
}

/* --- promises --------------------------------------------------------------------------------------------- */
/* The storage's queue was full, and later it is not: unlike a failed write, other writes go on. */
static void a_promise_that_could_not_be_written_is_written_with_the_first_accept(void **state)
{
	struct bench *b = *state;
	struct agi_msg lead = message(b, AGI_MSG_LEAD, 8, NULL), write = message(b, AGI_MSG_REG_WRITE, 8, &item);
	struct job j;

	tell(b, &lead);
	complete(b, AGI_E_FULL);
	expect_answer(b, AGI_MSG_LED, AGI_E_FULL);
	tell(b, &write);
	assert_int_equal(b->n_jobs, 1);
	j = complete(b, AGI_OK);
	assert_int_equal(j.n_in[AGI_CF_STRONG], 1);
	assert_int_equal(j.n_in[AGI_CF_VIEWS], 1); /* else a restart would forget the promise */
	expect_answer(b, AGI_MSG_REG_ACK, AGI_OK);
	tell(b, &write);
	assert_int_equal(complete(b, AGI_OK).n_in[AGI_CF_VIEWS], 0); /* now it is there */
}

static void a_leaders_read_is_not_answered_when_its_promise_was_not_written(void **state)
{
	struct bench *b = *state;
	struct agi_msg read = message(b, AGI_MSG_REG_READ, 16, NULL);

	tell(b, &read);
	assert_int_equal(b->n_jobs, 2); /* the promise, then the read */
	complete(b, AGI_E_FULL);
	complete(b, AGI_OK);
	expect_answer(b, AGI_MSG_REG_STATE, AGI_E_FULL);
	tell(b, &read);
	complete_all(b);
	expect_answer(b, AGI_MSG_REG_STATE, AGI_OK);
}

/* A refusal says to the leader that it did not happen; but it did, with the first of the two. */
static void a_write_accepted_and_then_outranked_is_not_refused_when_it_comes_again(void **state)
{
	struct bench *b = *state;
	struct agi_msg write = message(b, AGI_MSG_REG_WRITE, 8, &item), lead = message(b, AGI_MSG_LEAD, 16, NULL);

	tell(b, &write);
	lead.rpc_id = 100;
	tell(b, &lead);
	tell(b, &write);
	assert_null(b->sent);
	complete(b, AGI_OK);
	expect_answer(b, AGI_MSG_REG_ACK, AGI_OK);
	complete_all(b);
	write.rpc_id = 101;
	tell(b, &write);
	expect_answer(b, AGI_MSG_REG_ACK, AGI_E_EXISTS);
}

/* --- a failed disk ------------------------------------------------------------------------------------------ */
static void check_refuses(struct bench *b, enum agi_msg_kind kind, enum agi_msg_kind answer,
                          const struct agi_item *it, enum agi_err status)
{
	struct agi_msg m = message(b, kind, 32, it);

	tell(b, &m);
	assert_int_equal(b->n_jobs, 0);
	expect_answer(b, answer, status);
}

static void after_a_failed_write_nothing_is_promised_or_accepted(void **state)
{
	struct bench *b = *state;
	struct agi_msg write = message(b, AGI_MSG_WRITE, 0, &item);
	struct agi_dht_status st;

	tell(b, &write);
	complete(b, AGI_E_CORRUPT);
	expect_answer(b, AGI_MSG_WRITE_ACK, AGI_E_CORRUPT);
	agi_dht_status(b->d, &st);
	assert_true(st.is_read_only);
	assert_false(st.is_ready);
	check_refuses(b, AGI_MSG_WRITE, AGI_MSG_WRITE_ACK, &item, AGI_E_READ_ONLY);
	check_refuses(b, AGI_MSG_WRITE, AGI_MSG_WRITE_ACK, &tombstone, AGI_E_READ_ONLY);
	check_refuses(b, AGI_MSG_LEAD, AGI_MSG_LED, NULL, AGI_E_READ_ONLY);
	check_refuses(b, AGI_MSG_REG_WRITE, AGI_MSG_REG_ACK, &item, AGI_E_READ_ONLY);
	check_refuses(b, AGI_MSG_REG_READ, AGI_MSG_REG_STATE, NULL, AGI_E_READ_ONLY);
	check_refuses(b, AGI_MSG_STRONG_DO, AGI_MSG_STRONG_DONE, &item, AGI_E_READ_ONLY);
	check_refuses(b, AGI_MSG_VIEW_PREPARE, AGI_MSG_VIEW_PROMISE, NULL, AGI_E_READ_ONLY);
	check_refuses(b, AGI_MSG_VIEW_ACCEPT, AGI_MSG_VIEW_ACCEPTED, NULL, AGI_E_READ_ONLY);
}

/* --- a disk that is nearly full ---------------------------------------------------------------------------------- */
static void a_nearly_full_disk_takes_deletions_and_promises_but_no_data(void **state)
{
	struct bench *b = *state;
	struct agi_msg lead = message(b, AGI_MSG_LEAD, 8, NULL), put = message(b, AGI_MSG_WRITE, 0, &item);
	struct agi_msg gone = message(b, AGI_MSG_WRITE, 0, &tombstone);

	agi_dht_set_low(b->d, true);
	check_refuses(b, AGI_MSG_WRITE, AGI_MSG_WRITE_ACK, &item, AGI_E_DISK_FULL);
	check_refuses(b, AGI_MSG_REG_WRITE, AGI_MSG_REG_ACK, &item, AGI_E_DISK_FULL);
	check_refuses(b, AGI_MSG_STRONG_DO, AGI_MSG_STRONG_DONE, &item, AGI_E_DISK_FULL);
	tell(b, &gone);
	complete(b, AGI_OK);
	expect_answer(b, AGI_MSG_WRITE_ACK, AGI_OK);
	tell(b, &lead);
	complete(b, AGI_OK);
	expect_answer(b, AGI_MSG_LED, AGI_OK);
	agi_dht_set_low(b->d, false);
	tell(b, &put);
	complete(b, AGI_OK);
	expect_answer(b, AGI_MSG_WRITE_ACK, AGI_OK);
}

/* --- records ----------------------------------------------------------------------------------------------- */
/* Of slot 3, as src/dht/view.c writes it: of one member, with these ballots' rounds. */
static enum agi_err load_view(const struct bench *b, enum agi_view_phase phase, const struct agi_id *member,
                              uint64_t promised, uint64_t accepted, struct agi_why *why)
{
	static const struct agi_dht_effects fx = {.send = fx_send, .store = fx_store, .reply = fx_reply, .note = fx_note};
	struct agi_dht_cfg cfg = {.self = {.id = b->self.id, .weight_milli = 1000}, .slot_bits = 4};
	uint8_t seed[AGI_SEED_BYTES] = {7}, pub[AGI_PUBKEY_BYTES];
	struct agi_dht *d;
	struct agi_buf r;
	enum agi_err e;

	agi_keypair_of_seed(seed, pub, cfg.seckey);
	assert_int_equal(agi_dht_new(&cfg, &fx, NULL, &d), AGI_OK);
	agi_buf_init(&r, 0);
	agi_buf_u8(&r, 2);
	agi_buf_u8(&r, (uint8_t)phase);
	agi_buf_u64(&r, 5);
	agi_buf_u8(&r, 1);
	agi_buf_put(&r, member->b, AGI_ID_BYTES);
	agi_buf_u8(&r, 0);
	for (int i = 0; i < 3; i++) {
		agi_buf_u64(&r, i == 0 ? promised : i == 1 ? accepted : 0);
		agi_buf_put(&r, b->self.id.b, AGI_ID_BYTES);
	}
	if (accepted) {
		agi_buf_u8(&r, 1);
		agi_buf_put(&r, member->b, AGI_ID_BYTES);
	}
	e = agi_dht_load(d, AGI_CF_VIEWS, (struct agi_str){"\0\0\0\3", 4}, agi_buf_str(&r), why);
	if (!e)
		agi_dht_check(d);
	agi_buf_free(&r);
	agi_dht_free(d);
	return e;
}

static void a_record_that_this_node_cannot_have_written_is_refused(void **state)
{
	struct bench *b = *state;
	struct agi_id other = {{1, 2, 3}};
	struct agi_why why;

	assert_int_equal(load_view(b, AGI_VIEW_ACTIVE, &b->self.id, 0, 0, &why), AGI_OK);
	assert_int_equal(load_view(b, AGI_VIEW_SEALED, &b->self.id, 7, 7, &why), AGI_OK);
	assert_int_equal(load_view(b, AGI_VIEW_LEAVING, &other, 0, 0, &why), AGI_OK);
	assert_int_equal(load_view(b, AGI_VIEW_FORWARD, &other, 0, 0, &why), AGI_OK);
	for (enum agi_view_phase p = AGI_VIEW_ACTIVE; p <= AGI_VIEW_SEALED; p++) {
		assert_int_equal(load_view(b, p, &other, 7, 7, &why), AGI_E_CORRUPT);
		assert_non_null(strstr(why.text, "slot 3"));
		assert_non_null(strstr(why.text, "node.key"));
	}
	assert_int_equal(load_view(b, AGI_VIEW_SEALED, &b->self.id, 7, 0, &why), AGI_E_CORRUPT);
	assert_int_equal(load_view(b, AGI_VIEW_ACTIVE, &b->self.id, 6, 7, &why), AGI_E_CORRUPT);
	assert_non_null(strstr(why.text, "accepted more than it had promised"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_record_that_this_node_cannot_have_written_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(
	        a_promise_that_could_not_be_written_is_written_with_the_first_accept, setup, teardown),
	    cmocka_unit_test_setup_teardown(
	        a_leaders_read_is_not_answered_when_its_promise_was_not_written, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_write_accepted_and_then_outranked_is_not_refused_when_it_comes_again, setup,
	                                    teardown),
	    cmocka_unit_test_setup_teardown(after_a_failed_write_nothing_is_promised_or_accepted, setup,
	                                    teardown),
	    cmocka_unit_test_setup_teardown(a_nearly_full_disk_takes_deletions_and_promises_but_no_data, setup,
	                                    teardown),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests_name("a core on a troubled disk", tests, NULL, NULL);
}
