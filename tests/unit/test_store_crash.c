/* SPDX-License-Identifier: Apache-2.0
 * A writer is killed with -9 at random moments: what it had acknowledged must be there, and every request
 * must be there whole or not at all. */
#include "store_util.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/prng.h"

enum { ROUNDS = 12, IN_FLIGHT = 32, PADDING_MAX = 6000 };

/* Request i: "i" in two column families and, newer each time, "last". Padding makes memtables turn over. */
static void submit_pair(struct agi_store *s, uint32_t i, struct agi_prng *r)
{
	static const char padding[PADDING_MAX];
	char key[16], last[64];
	struct agi_str k = {key, 0};
	struct agi_storage_op ops[] = {
	    {AGI_PUT, AGI_CF_ITEMS, k, {padding, agi_prng_below(r, PADDING_MAX)}},
	    {AGI_PUT_NEWER, AGI_CF_META, AGI_STR("last"), {last, AGI_VERSION_BYTES}},
	    {AGI_PUT, AGI_CF_HINTS, k, AGI_STR("x")}};
	struct agi_storage_req w = write_of(ops, 3);

	ops[0].key.n = ops[2].key.n = (size_t)snprintf(key, sizeof key, "%08u", i);
	snprintf(last, sizeof last, "%040u", i);
	if (agi_store_submit(s, i, &w))
		_exit(3);
}

struct writer {
	struct agi_store *store;
	struct agi_prng prng;
	uint32_t next;
};

static void report_and_go_on(void *arg, uint64_t id, const struct agi_storage_done *d)
{
	struct writer *w = arg;
	uint32_t i = (uint32_t)id;

	if (d->err || write(STDOUT_FILENO, &i, sizeof i) != sizeof i)
		_exit(4);
	submit_pair(w->store, w->next++, &w->prng);
}

/* Writes from number first on until it is killed; each completed number goes to standard output. */
static int child_writes(const char *dir, uint32_t first)
{
	struct agi_store_cfg cfg = {.path = dir, .memtable_bytes = 256 << 10};
	struct writer w = {.next = first};
	struct agi_why why;

	agi_prng_seed(&w.prng, first);
	if (agi_store_open(&cfg, &w.store, &why))
		return 2;
	for (int i = 0; i < IN_FLIGHT; i++)
		submit_pair(w.store, w.next++, &w.prng);
	for (;;) {
		wait_store(w.store);
		agi_store_poll(w.store, report_and_go_on, &w);
	}
}

static pid_t start_writer(const char *dir, uint32_t first, int *out)
{
	int p[2];
	char number[16];
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	snprintf(number, sizeof number, "%u", first);
	pid = fork();
	if (pid == 0) {
		dup2(p[1], STDOUT_FILENO);
		close(p[0]);
		close(p[1]);
		execl("/proc/self/exe", "test_store_crash", "write", dir, number, (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	close(p[1]);
	*out = p[0];
	return pid;
}

/* Kills the writer after about n completions; the number after the last acknowledged one. */
static uint32_t kill_after(pid_t pid, int fd, unsigned n)
{
	uint32_t i, next = 0;
	unsigned seen = 0;
	ssize_t got;
	int status;

	while ((got = read(fd, &i, sizeof i)) == sizeof i || (got < 0 && errno == EINTR)) {
		if (got < 0)
			continue;
		next = i + 1;
		if (++seen == n)
			assert_int_equal(kill(pid, SIGKILL), 0);
	}
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status)); /* it did not give up by itself */
	assert_true(seen >= n);
	return next;
}

static bool has(struct fixture *f, enum agi_cf cf, uint32_t i)
{
	char key[16];
	struct agi_storage_req r = {.kind = AGI_STORAGE_GET, .cf = cf, .begin = {key, 0}};
	struct answer a;

	r.begin.n = (size_t)snprintf(key, sizeof key, "%08u", i);
	a = ask(f, &r);
	assert_true(a.err == AGI_OK || a.err == AGI_E_NOT_FOUND);
	return a.err == AGI_OK;
}

/* Everything below next is there; what lies beyond is whole or absent, without gaps. The next free number. */
static uint32_t check_writes(struct fixture *f, uint32_t first, uint32_t next)
{
	struct agi_storage_req r = {.kind = AGI_STORAGE_GET, .cf = AGI_CF_META, .begin = AGI_STR("last")};
	char want[64];
	struct answer a;
	uint32_t i;

	for (i = first;; i++) {
		bool is_there = has(f, AGI_CF_ITEMS, i);

		assert_int_equal(has(f, AGI_CF_HINTS, i), is_there);
		if (!is_there)
			break;
	}
	assert_true(i >= next);
	for (uint32_t k = i; k < i + 2 * IN_FLIGHT; k++) {
		assert_false(has(f, AGI_CF_ITEMS, k));
		assert_false(has(f, AGI_CF_HINTS, k));
	}
	a = ask(f, &r);
	snprintf(want, sizeof want, "last=%040u", i - 1);
	assert_string_equal(a.text, want);
	return i;
}

static void acknowledged_writes_survive_kill_9(void **state)
{
	struct fixture *f = *state;
	struct agi_prng r;
	uint32_t first = 0;

	agi_prng_seed(&r, 20261123);
	for (int round = 0; round < ROUNDS; round++) {
		int fd;
		pid_t pid;
		uint32_t next;

		agi_store_close(f->store);
		f->store = NULL;
		pid = start_writer(f->dir, first, &fd);
		next = kill_after(pid, fd, 1 + (unsigned)agi_prng_below(&r, 400));
		open_store(f);
		first = check_writes(f, first, next);
	}
	assert_false(has(f, AGI_CF_ITEMS, first));
	for (uint32_t i = 0; i < first; i++)
		assert_true(has(f, AGI_CF_ITEMS, i)); /* through all rounds */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(acknowledged_writes_survive_kill_9, setup, teardown),
	};

	if (argc == 4 && strcmp(argv[1], "write") == 0)
		return child_writes(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
	return cmocka_run_group_tests_name("store crash", tests, NULL, NULL);
}
