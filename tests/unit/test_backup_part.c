/* SPDX-License-Identifier: Apache-2.0
 * One node's part of a backup, made as others ask for it in bytes; and read back for a restore. */
#include "store_util.h"

#include <time.h>

#include "base/prng.h"
#include "dht/lease_record.h"
#include "dht/state.h"
#include "node/backup.h"
#include "node/backup_task.h"
#include "node/restore_read.h"

enum { SLOT_BITS = 3, SLOTS = 1 << SLOT_BITS, WAIT_S = 120 };

struct desk {
	struct fixture *f;
	struct agi_backup_maker *maker;
	char dir[300];          /* node.backup_dir */
	struct agi_id node;
};

/* --- a store of a cluster of one ------------------------------------------------------------------- */
static void write_op(struct fixture *f, enum agi_cf cf, struct agi_str key, struct agi_str value)
{
	struct agi_storage_op op = {AGI_PUT, cf, key, value};
	struct agi_storage_req r = write_of(&op, 1);

	assert_int_equal(ask(f, &r).err, AGI_OK);
}

/* The oldest format of a record of a view: active, epoch 4, this node alone. */
static void put_view(struct desk *d, uint32_t slot)
{
	static const struct agi_id nobody;
	struct agi_buf key, value;

	agi_buf_init(&key, 0);
	agi_buf_init(&value, 0);
	agi_buf_u32(&key, slot);
	agi_buf_u8(&value, 1);
	agi_buf_u8(&value, AGI_VIEW_ACTIVE);
	agi_buf_u64(&value, 4);
	agi_buf_u8(&value, 1);
	agi_buf_put(&value, d->node.b, AGI_ID_BYTES);
	agi_buf_u8(&value, 0);
	for (int i = 0; i < 2; i++) {
		agi_buf_u64(&value, 0);
		agi_buf_put(&value, nobody.b, AGI_ID_BYTES);
	}
	write_op(d->f, AGI_CF_VIEWS, agi_buf_str(&key), agi_buf_str(&value));
	agi_buf_free(&key);
	agi_buf_free(&value);
}

static void put_item(struct desk *d, uint32_t slot, const char *name)
{
	const struct agi_item item = {.key = agi_str_of(name), .value = AGI_STR("v"), .version = {.hlc = 77}};
	struct agi_buf key, value;

	agi_buf_init(&key, 0);
	agi_buf_init(&value, 0);
	agi_item_key(&key, slot, item.ns, item.key);
	agi_item_value(&value, &item);
	write_op(d->f, AGI_CF_ITEMS, agi_buf_str(&key), agi_buf_str(&value));
	agi_buf_free(&key);
	agi_buf_free(&value);
}

static void put_register(struct desk *d, struct agi_str ns, const char *name, uint64_t lease)
{
	static const uint8_t order[AGI_VERSION_BYTES];
	struct agi_buf key, value;

	agi_buf_init(&key, 0);
	agi_buf_init(&value, 0);
	agi_item_key(&key, 0, ns, agi_str_of(name));
	agi_buf_put(&value, order, sizeof order);
	agi_buf_u8(&value, lease ? 2 : 0);
	agi_buf_u64(&value, 88);
	if (lease)
		agi_buf_u64(&value, lease);
	agi_buf_put_str(&value, AGI_STR("v"));
	write_op(d->f, AGI_CF_STRONG, agi_buf_str(&key), agi_buf_str(&value));
	agi_buf_free(&key);
	agi_buf_free(&value);
}

static void make_maker(struct desk *d)
{
	struct agi_backup_maker_cfg cfg = {.store = d->f->store, .dir = d->dir, .node = d->node,
	                                   .slot_bits = SLOT_BITS, .address = "127.0.0.1:5000"};

	assert_int_equal(agi_backup_maker_new(&cfg, &d->maker), AGI_OK);
}

static int desk_setup(void **state)
{
	struct desk *d = calloc(1, sizeof *d);
	void *f = NULL;

	assert_non_null(d);
	setup(&f);
	d->f = f;
	d->node = (struct agi_id){{0xab, 0xcd}};
	snprintf(d->dir, sizeof d->dir, "%s/backups", d->f->dir);
	assert_int_equal(mkdir(d->dir, 0700), 0);
	write_op(d->f, AGI_CF_META, AGI_STR("cluster"), (struct agi_str){(const char *)d->node.b, AGI_ID_BYTES});
	for (uint32_t s = 0; s < SLOTS; s++) {
		char name[16];

		snprintf(name, sizeof name, "k%u", s);
		put_view(d, s);
		put_item(d, s, name);
	}
	make_maker(d);
	*state = d;
	return 0;
}

static int desk_teardown(void **state)
{
	struct desk *d = *state;
	void *f = d->f;

	agi_backup_maker_free(d->maker);
	teardown(&f);
	free(d);
	return 0;
}

/* --- asking, as the leader does ----------------------------------------------------------------------- */
struct told {
	struct agi_buf bytes;
	struct agi_task_answer a;
};

static void tell(struct desk *d, const struct agi_task *t, struct told *out)
{
	struct agi_buf task;

	agi_buf_init(&task, 0);
	agi_buf_init(&out->bytes, 0);
	agi_task_put(&task, t);
	assert_int_equal(agi_backup_on_task(d->maker, agi_buf_str(&task), &out->bytes), AGI_OK);
	assert_int_equal(agi_task_take_answer(&out->a, agi_buf_str(&out->bytes)), AGI_OK);
	agi_buf_free(&task);
}

/* The task's outcome, and the part's state after it. */
static enum agi_err say(struct desk *d, const struct agi_task *t, struct agi_part_status *st)
{
	struct told told;
	enum agi_err e;

	tell(d, t, &told);
	e = told.a.err;
	if (st)
		*st = told.a.part;
	agi_buf_free(&told.bytes);
	return e;
}

static struct agi_task task_of(enum agi_task_kind kind, const char *name, uint32_t attempt)
{
	return (struct agi_task){.kind = kind, .name = agi_str_of(name), .attempt = attempt,
	                         .began_ms = 1764000000000};
}

static void wait_for(struct desk *d, const char *name, uint32_t attempt, enum agi_part_state want,
                     struct agi_part_status *st)
{
	const struct timespec ms = {0, 1000000};
	const struct agi_task look = task_of(AGI_TASK_LOOK, name, attempt);

	for (int i = 0; i < WAIT_S * 1000; i++) {
		assert_int_equal(say(d, &look, st), AGI_OK);
		if (st->state == want)
			return;
		nanosleep(&ms, NULL);
	}
	fail_msg("it is still %s: %s", agi_part_state_name(st->state), st->why.text);
}

static void copy_it(struct desk *d, const char *name, uint32_t attempt)
{
	const struct agi_task t = task_of(AGI_TASK_BEGIN, name, attempt);
	struct agi_part_status st;

	assert_int_equal(say(d, &t, NULL), AGI_OK);
	wait_for(d, name, attempt, AGI_PART_COPIED, &st);
}

static void finish_it(struct desk *d, const char *name, uint32_t attempt, enum agi_part_state want,
                      struct agi_part_status *st)
{
	struct agi_task t = task_of(AGI_TASK_FINISH, name, attempt);

	t.hosts = &d->node;
	t.n_hosts = 1;
	assert_int_equal(say(d, &t, NULL), AGI_OK);
	wait_for(d, name, attempt, want, st);
}

static void path_of(const struct desk *d, const char *name, const char *below, char out[512])
{
	char hex[AGI_ID_HEX];

	agi_id_hex(hex, &d->node);
	snprintf(out, 512, "%s/%s/%.*s%s%s", d->dir, name, AGI_BACKUP_DIR_HEX, hex, *below ? "/" : "", below);
}

static bool is_there(const struct desk *d, const char *name, const char *below)
{
	char path[512];

	path_of(d, name, below, path);
	return access(path, F_OK) == 0;
}

/* --- making ----------------------------------------------------------------------------------------------- */
static void a_part_is_complete_with_its_manifest_and_never_overwritten(void **state)
{
	struct desk *d = *state;
	const struct agi_task again = task_of(AGI_TASK_BEGIN, "nightly", 6);
	struct agi_part_status st;
	struct agi_part_counts n;

	copy_it(d, "nightly", 5);
	assert_false(is_there(d, "nightly", AGI_BACKUP_MANIFEST));
	finish_it(d, "nightly", 5, AGI_PART_DONE, &st);
	assert_true(is_there(d, "nightly", AGI_BACKUP_MANIFEST));
	assert_true(st.files > 0 && st.bytes == st.bytes_total);
	assert_int_equal(say(d, &again, &st), AGI_E_EXISTS);
	assert_non_null(strstr(st.why.text, "already"));
	agi_backup_maker_free(d->maker);
	make_maker(d); /* a new start knows of it */
	agi_part_counts(d->maker, &n);
	assert_true(n.last_done > 0);
	assert_int_equal(say(d, &again, &st), AGI_E_EXISTS);
}

static void another_attempt_begins_anew(void **state)
{
	struct desk *d = *state;
	struct agi_task old = task_of(AGI_TASK_FINISH, "nightly", 5);
	struct agi_part_status st;

	copy_it(d, "nightly", 5);
	copy_it(d, "nightly", 6);
	assert_int_equal(say(d, &old, &st), AGI_E_CONDITION);
	assert_non_null(strstr(st.why.text, "another"));
	finish_it(d, "nightly", 6, AGI_PART_DONE, &st);
}

static void a_copy_that_is_not_wanted_goes(void **state)
{
	struct desk *d = *state;
	const struct agi_task other = task_of(AGI_TASK_DROP, "nightly", 4), drop = task_of(AGI_TASK_DROP, "nightly", 5);
	struct agi_part_status st;

	copy_it(d, "nightly", 5);
	assert_int_equal(say(d, &other, NULL), AGI_E_CONDITION);
	assert_true(is_there(d, "nightly", AGI_BACKUP_STORE));
	assert_int_equal(say(d, &drop, NULL), AGI_OK);
	wait_for(d, "nightly", 5, AGI_PART_NONE, &st);
	assert_false(is_there(d, "nightly", ""));
}

/* The leader of "weekly" is told that it exists, and the drop of an older backup comes late. */
static void a_late_drop_takes_no_finished_part(void **state)
{
	struct desk *d = *state;
	const struct agi_task begin = task_of(AGI_TASK_BEGIN, "weekly", 7), late = task_of(AGI_TASK_DROP, "nightly", 6);
	struct agi_part_status st;

	copy_it(d, "weekly", 5);
	finish_it(d, "weekly", 5, AGI_PART_DONE, &st);
	copy_it(d, "nightly", 6);
	assert_int_equal(say(d, &begin, NULL), AGI_E_EXISTS);
	assert_int_equal(say(d, &late, NULL), AGI_OK);
	wait_for(d, "nightly", 6, AGI_PART_NONE, &st);
	assert_false(is_there(d, "nightly", ""));
	assert_true(is_there(d, "weekly", AGI_BACKUP_MANIFEST));
}

static void a_full_disk_is_told_and_leaves_nothing(void **state)
{
	struct desk *d = *state;
	struct agi_part_status st;
	struct agi_part_counts n;
	char path[512];

	if (access("/dev/full", W_OK))
		skip();
	copy_it(d, "nightly", 5);
	path_of(d, "nightly", AGI_BACKUP_MANIFEST ".new", path);
	assert_int_equal(symlink("/dev/full", path), 0);
	finish_it(d, "nightly", 5, AGI_PART_FAILED, &st);
	if (!strstr(st.why.text, "No space left on device"))
		fail_msg("%s", st.why.text);
	assert_false(is_there(d, "nightly", ""));
	agi_part_counts(d->maker, &n);
	assert_true(n.failed == 1 && n.done == 0);
	copy_it(d, "nightly", 6); /* once there is room again */
	finish_it(d, "nightly", 6, AGI_PART_DONE, &st);
}

static void what_cannot_be_made_is_explained(void **state)
{
	struct desk *d = *state;
	struct agi_task t = task_of(AGI_TASK_BEGIN, "../nightly", 5);
	struct agi_part_status st;

	assert_int_equal(say(d, &t, &st), AGI_E_INVALID);
	t.name = AGI_STR("nightly");
	assert_int_equal(rmdir(d->dir), 0); /* the operator forgot to make it */
	assert_int_equal(say(d, &t, &st), AGI_OK);
	wait_for(d, "nightly", 5, AGI_PART_FAILED, &st);
	assert_non_null(strstr(st.why.text, d->dir));
	agi_backup_maker_free(d->maker);
	d->dir[0] = '\0';
	make_maker(d);
	assert_int_equal(say(d, &t, &st), AGI_E_UNSUPPORTED);
	assert_non_null(strstr(st.why.text, "node.backup_dir"));
}

/* --- bytes of others ------------------------------------------------------------------------------------------ */
static void the_slots_of_a_copy_are_listed(void **state)
{
	struct desk *d = *state;
	struct agi_task t = task_of(AGI_TASK_LIST, "nightly", 5);
	struct agi_backup_part held = {.slot_bits = SLOT_BITS};
	struct told told;
	uint32_t next = 0;

	assert_int_equal(say(d, &t, NULL), AGI_E_CONDITION);
	copy_it(d, "nightly", 5);
	t.from = 3;
	tell(d, &t, &told);
	assert_int_equal(told.a.err, AGI_OK);
	assert_int_equal(agi_task_take_list(&told.a, &held, &next), AGI_OK);
	assert_int_equal(next, UINT32_MAX);
	assert_int_equal(held.n_slots, SLOTS - 3);
	assert_int_equal(held.slots[0].slot, 3);
	assert_int_equal(held.slots[0].epoch, 4);
	assert_int_equal(held.slots[0].phase, AGI_BACKUP_ACTIVE);
	assert_true(agi_id_eq(&held.hosts[held.slots[0].members[0]], &d->node));
	agi_backup_part_free(&held);
	agi_buf_free(&told.bytes);
}

/* Cut off anywhere, or with a byte exchanged: refused, or understood, and nothing worse. */
static void answers_of_strangers_do_no_harm(void **state)
{
	struct desk *d = *state;
	struct agi_task t = task_of(AGI_TASK_LIST, "nightly", 5);
	struct agi_prng rng;
	struct told told;

	copy_it(d, "nightly", 5);
	tell(d, &t, &told);
	agi_prng_seed(&rng, 11);
	for (size_t i = 0; i < 4000; i++) {
		struct agi_backup_part p = {.slot_bits = SLOT_BITS};
		struct agi_task_answer a;
		uint32_t next;
		struct agi_str s = agi_buf_str(&told.bytes);
		char *copy = malloc(s.n + 1);

		assert_non_null(copy);
		memcpy(copy, s.p, s.n);
		if (i < s.n)
			s.n = i;
		else
			copy[agi_prng_below(&rng, s.n)] = (char)agi_prng_u64(&rng);
		s.p = copy;
		if (agi_task_take_answer(&a, s) == AGI_OK && agi_task_take_list(&a, &p, &next) == AGI_OK)
			assert_true(i >= agi_buf_str(&told.bytes).n); /* nothing that is cut off passes */
		agi_backup_part_free(&p);
		free(copy);
	}
	agi_buf_free(&told.bytes);
}

static void tasks_of_strangers_do_no_harm(void **state)
{
	struct desk *d = *state;
	struct agi_task t = task_of(AGI_TASK_FINISH, "nightly", 5);
	struct agi_buf task, answer;
	struct agi_part_status st;
	struct agi_str s;

	copy_it(d, "nightly", 5);
	t.hosts = &d->node;
	t.n_hosts = 1;
	agi_buf_init(&task, 0);
	agi_task_put(&task, &t);
	s = agi_buf_str(&task);
	for (size_t n = 0; n < s.n; n++) {
		struct agi_task_answer a;

		agi_buf_init(&answer, 0);
		if (agi_backup_on_task(d->maker, (struct agi_str){s.p, n}, &answer) == AGI_OK) {
			assert_int_equal(agi_task_take_answer(&a, agi_buf_str(&answer)), AGI_OK);
			assert_int_equal(a.err, AGI_E_MALFORMED);
		}
		agi_buf_free(&answer);
	}
	agi_buf_init(&answer, 0);
	assert_int_equal(agi_backup_on_task(d->maker, AGI_STR("\x09"), &answer), AGI_E_MALFORMED);
	agi_buf_free(&answer);
	agi_buf_free(&task);
	finish_it(d, "nightly", 5, AGI_PART_DONE, &st); /* none of it was taken for the task */
}

/* --- reading -------------------------------------------------------------------------------------------------- */
static void read_all(struct agi_restore_reader *r, char out[256], struct agi_restore_read_stats *st)
{
	struct agi_restore_record *rec;
	size_t n = 0;

	out[0] = '\0';
	for (;;) {
		struct pollfd p = {.fd = agi_restore_reader_fd(r), .events = POLLIN};

		assert_int_equal(poll(&p, 1, WAIT_S * 1000), 1);
		agi_restore_reader_heard(r);
		agi_restore_read_stats(r, st);
		while ((rec = agi_restore_take(r)) != NULL) {
			n += (size_t)snprintf(out + n, 256 - n, "%s%.*s", n ? " " : "", AGI_STR_ARG(rec->item.key));
			free(rec);
		}
		if (st->step >= AGI_RESTORE_READ)
			return;
	}
}

/* All of it, by a reader of its own. */
static void read_backup(const struct agi_restore_reader_cfg *cfg, char out[256], struct agi_restore_read_stats *st)
{
	struct agi_restore_reader *r;
	struct agi_why why;

	assert_int_equal(agi_restore_reader_new(cfg, &r, &why), AGI_OK);
	read_all(r, out, st);
	agi_restore_reader_free(r);
}

/* Returns where it is. */
static const char *make_backup(struct desk *d, char dir[512])
{
	struct agi_part_status part;

	copy_it(d, "nightly", 5);
	finish_it(d, "nightly", 5, AGI_PART_DONE, &part);
	snprintf(dir, 512, "%s/nightly", d->dir);
	return dir;
}

/* Where it began stays what it is while the reader runs ahead: a restore that stopped early must not skip slots that
 * were only read. */
static void a_restore_goes_on_at_the_slot_it_noted(void **state)
{
	struct desk *d = *state;
	struct agi_restore_reader_cfg cfg = {.now_ms = 1};
	struct agi_restore_read_stats st;
	char dir[512], got[256];

	cfg.dir = make_backup(d, dir);
	read_backup(&cfg, got, &st);
	assert_string_equal(got, "k0 k1 k2 k3 k4 k5 k6 k7");
	assert_int_equal(st.first, 0);
	assert_int_equal(st.whole, SLOTS);
	cfg.from_slot = 5;
	memcpy(cfg.mark, st.mark, sizeof cfg.mark);
	read_backup(&cfg, got, &st);
	assert_string_equal(got, "k5 k6 k7");
	assert_int_equal(st.first, 5);
	cfg.mark[0] ^= 1; /* a note of another set of parts */
	read_backup(&cfg, got, &st);
	assert_int_equal(st.first, 0);
}

/* Its id would be given again, and what has it would count. */
static void no_lease_and_nothing_that_has_one_is_restored(void **state)
{
	struct desk *d = *state;
	struct agi_restore_reader_cfg cfg = {.now_ms = 1};
	struct agi_restore_read_stats st;
	char dir[512], got[256];

	put_register(d, AGI_STR(""), "plain", 0);
	put_register(d, AGI_STR(""), "lock", 12);
	put_register(d, AGI_LEASE_NS, "12345678", 0);
	cfg.dir = make_backup(d, dir);
	read_backup(&cfg, got, &st);
	assert_string_equal(got, "k0 plain k1 k2 k3 k4 k5 k6 k7");
	assert_int_equal(st.leased, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_setup, desk_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_part_is_complete_with_its_manifest_and_never_overwritten),
	    TEST(another_attempt_begins_anew),
	    TEST(a_copy_that_is_not_wanted_goes),
	    TEST(a_late_drop_takes_no_finished_part),
	    TEST(a_full_disk_is_told_and_leaves_nothing),
	    TEST(what_cannot_be_made_is_explained),
	    TEST(the_slots_of_a_copy_are_listed),
	    TEST(answers_of_strangers_do_no_harm),
	    TEST(tasks_of_strangers_do_no_harm),
	    TEST(a_restore_goes_on_at_the_slot_it_noted),
	    TEST(no_lease_and_nothing_that_has_one_is_restored),
	};

	return cmocka_run_group_tests_name("parts of backups", tests, NULL, NULL);
}
