/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "loop.h"
#include "net/loop_thread.h"

enum { MANY = 20000, SENDERS = 4, BOX = 256 };

static struct agi_loop *loop_of(struct event_base *base, uint32_t max)
{
	struct agi_loop *l;

	assert_int_equal(
	    agi_loop_new(&(struct agi_loop_cfg){.name = "test", .mailbox_max = max, .base = base}, &l),
	    AGI_OK);
	return l;
}

struct tally {
	_Atomic int ran, dropped;
	pthread_t by;
	int last[SENDERS];
	bool is_ordered;
};
struct note {
	struct tally *tally;
	int sender, i;
};

static void note_run(void *arg)
{
	struct note *n = arg;
	struct tally *t = n->tally;

	t->by = pthread_self();
	t->is_ordered &= t->last[n->sender] < n->i;
	t->last[n->sender] = n->i;
	t->ran++;
	free(n);
}

static void note_drop(void *arg)
{
	struct note *n = arg;

	n->tally->dropped++;
	free(n);
}

static struct note *note_new(struct tally *t, int sender, int i)
{
	struct note *n = malloc(sizeof *n);

	*n = (struct note){t, sender, i};
	return n;
}

struct sender {
	struct agi_loop *to;
	struct tally *tally;
	int which;
};

static void *send_many(void *arg)
{
	struct sender *s = arg;

	for (int i = 1; i <= MANY; i++) {
		struct note *n = note_new(s->tally, s->which, i);

		while (agi_loop_post(s->to, note_run, note_drop, n) == AGI_E_FULL)
			sched_yield();
	}
	return NULL;
}

static bool all_ran(void *arg) { return ((struct tally *)arg)->ran == MANY * SENDERS; }

static void from_many_threads(struct agi_loop *l, struct event_base *base, struct tally *t)
{
	struct sender s[SENDERS];
	pthread_t threads[SENDERS];

	t->is_ordered = true;
	assert_int_equal(agi_loop_start(l), AGI_OK);
	for (int i = 0; i < SENDERS; i++) {
		s[i] = (struct sender){l, t, i};
		assert_int_equal(pthread_create(&threads[i], NULL, send_many, &s[i]), 0);
	}
	if (base)
		assert_true(loop_until(base, all_ran, t));
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
}

static void each_message_runs_once_in_its_senders_order_on_the_loops_thread(void **state)
{
	struct agi_loop *l = loop_of(NULL, BOX);
	struct tally t = {0};
	(void)state;

	from_many_threads(l, NULL, &t);
	agi_loop_stop(l);
	assert_int_equal(t.ran + t.dropped, MANY * SENDERS);
	assert_true(t.dropped <= BOX);
	assert_true(t.is_ordered);
	assert_false(pthread_equal(t.by, pthread_self()));
	agi_loop_free(l);
}

static void a_given_base_runs_messages_on_its_own_thread(void **state)
{
	struct event_base *base = event_base_new();
	struct agi_loop *l = loop_of(base, BOX);
	struct tally t = {0};
	(void)state;

	from_many_threads(l, base, &t);
	assert_int_equal(t.ran, MANY * SENDERS);
	assert_true(t.is_ordered && pthread_equal(t.by, pthread_self()));
	agi_loop_free(l);
	event_base_free(base);
}

static void a_full_mailbox_refuses_and_a_stopped_one_drops_what_waits(void **state)
{
	struct agi_loop *l = loop_of(NULL, 4);
	struct tally t = {0};
	struct note *extra = note_new(&t, 0, 5);
	(void)state;

	for (int i = 0; i < 4; i++)
		assert_int_equal(agi_loop_post(l, note_run, note_drop, note_new(&t, 0, i)), AGI_OK);
	assert_int_equal(agi_loop_post(l, note_run, note_drop, extra), AGI_E_FULL);
	assert_int_equal(agi_loop_refused(l), 1);
	agi_loop_stop(l);
	assert_int_equal(t.dropped, 4);
	assert_int_equal(agi_loop_post(l, note_run, note_drop, extra), AGI_E_CLOSED);
	free(extra);
	agi_loop_free(l);
}

/* --- messages that are kept ---------------------------------------------------------------------------------- */
static void count(void *arg) { ++*(int *)arg; }

static void a_kept_message_is_never_refused_and_waits_once(void **state)
{
	struct event_base *base = event_base_new();
	struct agi_loop *l = loop_of(base, 2);
	int ran = 0, dropped = 0, ordinary = 0;
	struct agi_loop_message m = {.fn = count, .drop = NULL, .arg = &ran};
	(void)state;

	assert_int_equal(agi_loop_post(l, count, NULL, &ordinary), AGI_OK);
	assert_int_equal(agi_loop_post(l, count, NULL, &ordinary), AGI_OK);
	assert_int_equal(agi_loop_post(l, count, NULL, &ordinary), AGI_E_FULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(agi_loop_post_kept(l, &m), AGI_OK);
	event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(ordinary, 2);
	assert_int_equal(ran, 1);
	assert_int_equal(agi_loop_post_kept(l, &m), AGI_OK); /* it ran, and may go again */
	event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(ran, 2);
	m.drop = count;
	m.arg = &dropped;
	assert_int_equal(agi_loop_post_kept(l, &m), AGI_OK);
	agi_loop_stop(l);
	assert_int_equal(dropped, 1);
	assert_int_equal(agi_loop_post_kept(l, &m), AGI_E_CLOSED);
	agi_loop_free(l);
	event_base_free(base);
}

static void post_again(void *arg)
{
	struct sender *s = arg;

	s->which++;
	assert_int_equal(agi_loop_post(s->to, post_again, NULL, s), AGI_OK);
}

static void other_event(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

static bool is_set(void *arg) { return *(bool *)arg; }

static void compute(void *arg)
{
	for (atomic_int *n = arg; *n > 0; --*n)
		;
}

static void what_its_thread_computes_is_counted(void **state)
{
	struct agi_loop *l = loop_of(NULL, BOX);
	atomic_int left = 3000000;
	uint64_t before;

	(void)state;
	assert_true(agi_loop_cpu_us(l) == 0);
	assert_int_equal(agi_loop_start(l), AGI_OK);
	before = agi_loop_cpu_us(l);
	assert_int_equal(agi_loop_post(l, compute, NULL, &left), AGI_OK);
	while (left > 0)
		sched_yield();
	assert_true(agi_loop_cpu_us(l) > before);
	agi_loop_free(l);
}

static void messages_without_end_leave_other_events_their_turn(void **state)
{
	struct event_base *base = event_base_new();
	struct agi_loop *l = loop_of(base, 8);
	struct sender s = {.to = l};
	bool happened = false;
	struct event *e = event_new(base, -1, 0, other_event, &happened);
	(void)state;

	assert_int_equal(agi_loop_post(l, post_again, NULL, &s), AGI_OK);
	event_add(e, &(struct timeval){.tv_usec = 1000});
	assert_true(loop_until(base, is_set, &happened));
	assert_true(s.which > 0);
	event_free(e);
	agi_loop_free(l);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_message_runs_once_in_its_senders_order_on_the_loops_thread),
	    cmocka_unit_test(a_given_base_runs_messages_on_its_own_thread),
	    cmocka_unit_test(a_full_mailbox_refuses_and_a_stopped_one_drops_what_waits),
	    cmocka_unit_test(a_kept_message_is_never_refused_and_waits_once),
	    cmocka_unit_test(what_its_thread_computes_is_counted),
	    cmocka_unit_test(messages_without_end_leave_other_events_their_turn),
	};

	return cmocka_run_group_tests_name("loop_thread", tests, NULL, NULL);
}
