/* SPDX-License-Identifier: Apache-2.0 */
#include "net/loop_thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <event2/event.h>

/* Only pages that were used count; callbacks keep tables of a few hundred rows on it. */
enum { STACK_BYTES = 1 << 20, SLICE_NS = 100000 };

struct agi_loop {
	struct agi_loop_cfg cfg;
	struct event_base *base;
	struct event *wake;
	int fd;
	char name[16];
	pthread_t thread;
	bool is_running; /* the owner's */

	pthread_mutex_t lock; /* guards what follows; held for a few instructions */
	struct agi_loop_message *slots, *free; /* mailbox_max of them, for agi_loop_post */
	uint32_t n_slots; /* that were ever used: the others' pages were never touched */
	struct agi_loop_message *first, *last; /* what waits */
	uint64_t refused;
	bool is_woken; /* the eventfd is set, or the reader has not looked yet */
	bool is_closed;
};

/* --- the mailbox -------------------------------------------------------------------------------------------- */
static void wake(struct agi_loop *l)
{
	uint64_t one = 1;

	while (write(l->fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

/* Whether the reader must be woken. The lock is held. */
static bool append(struct agi_loop *l, struct agi_loop_message *m)
{
	bool was_woken = l->is_woken;

	m->next = NULL;
	m->waits = true;
	if (l->first)
		l->last->next = m;
	else
		l->first = m;
	l->last = m;
	l->is_woken = true;
	return !was_woken;
}

static struct agi_loop_message *free_slot(struct agi_loop *l)
{
	if (l->free)
		return l->free;
	return l->n_slots < l->cfg.mailbox_max ? &l->slots[l->n_slots] : NULL;
}

enum agi_err agi_loop_post(struct agi_loop *l, agi_loop_fn *fn, agi_loop_fn *drop, void *arg)
{
	struct agi_loop_message *m;
	enum agi_err e = AGI_OK;
	bool must_wake = false;

	pthread_mutex_lock(&l->lock);
	m = free_slot(l);
	if (l->is_closed) {
		e = AGI_E_CLOSED;
	} else if (!m) {
		e = AGI_E_FULL;
		l->refused++;
	} else {
		if (m == l->free)
			l->free = m->next;
		else
			l->n_slots++;
		*m = (struct agi_loop_message){.fn = fn, .drop = drop, .arg = arg};
		must_wake = append(l, m);
	}
	pthread_mutex_unlock(&l->lock);
	if (must_wake)
		wake(l);
	return e;
}

enum agi_err agi_loop_post_kept(struct agi_loop *l, struct agi_loop_message *m)
{
	enum agi_err e = AGI_OK;
	bool must_wake = false;

	pthread_mutex_lock(&l->lock);
	if (l->is_closed)
		e = AGI_E_CLOSED;
	else if (!m->waits)
		must_wake = append(l, m);
	pthread_mutex_unlock(&l->lock);
	if (must_wake)
		wake(l);
	return e;
}

static bool is_slot(const struct agi_loop *l, const struct agi_loop_message *m)
{
	return m >= l->slots && m < l->slots + l->cfg.mailbox_max;
}

static size_t take(struct agi_loop *l, struct agi_loop_message *out, size_t max)
{
	struct agi_loop_message *m;
	size_t n;

	for (n = 0; n < max && (m = l->first) != NULL; n++) {
		l->first = m->next;
		out[n] = *m;
		m->waits = false;
		if (is_slot(l, m)) {
			m->next = l->free;
			l->free = m;
		}
	}
	return n;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct agi_loop *l = arg;
	struct agi_loop_message batch[AGI_LOOP_BATCH];
	bool has_more, is_closed;
	uint64_t times;
	size_t n = 0;
	(void)what;

	if (read(fd, &times, sizeof times) < 0)
		return; /* it tells again when there is something */
	pthread_mutex_lock(&l->lock);
	is_closed = l->is_closed;
	if (!is_closed)
		n = take(l, batch, AGI_LOOP_BATCH);
	has_more = l->is_woken = l->first != NULL;
	pthread_mutex_unlock(&l->lock);
	if (is_closed) {
		if (!l->cfg.base)
			event_base_loopbreak(l->base);
		return;
	}
	if (has_more)
		wake(l);
	for (size_t i = 0; i < n; i++)
		batch[i].fn(batch[i].arg);
}

static void drop_all(struct agi_loop *l)
{
	struct agi_loop_message batch[AGI_LOOP_BATCH];
	size_t n;

	do {
		pthread_mutex_lock(&l->lock);
		n = take(l, batch, AGI_LOOP_BATCH);
		pthread_mutex_unlock(&l->lock);
		for (size_t i = 0; i < n; i++)
			if (batch[i].drop)
				batch[i].drop(batch[i].arg);
	} while (n);
}

/* --- the thread --------------------------------------------------------------------------------------------- */
/* sched_setattr(2); the C library here has no name for it. */
struct sched_attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns, deadline_ns, period_ns;
};

/* Shares of the processor this short are what lets a thread run at once when it wakes (Linux 6.12; older kernels know
 * the niceness only). Without the privilege its niceness is that of the others. */
static void be_prompt(int nice)
{
	struct sched_attributes a = {.size = sizeof a, .nice = nice, .runtime_ns = SLICE_NS};

	if (!nice || syscall(SYS_sched_setattr, 0, &a, 0) == 0)
		return;
	a.nice = getpriority(PRIO_PROCESS, 0);
	(void)syscall(SYS_sched_setattr, 0, &a, 0);
}

static void *run(void *arg)
{
	struct agi_loop *l = arg;

	be_prompt(l->cfg.nice);
	event_base_dispatch(l->base);
	return NULL;
}

static int create(struct agi_loop *l)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int error;

	if (pthread_attr_init(&attr))
		return ENOMEM;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* inherited: signals are the main thread's */
	error = pthread_create(&l->thread, &attr, run, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!error)
		(void)pthread_setname_np(l->thread, l->name);
	return error;
}

enum agi_err agi_loop_start(struct agi_loop *l)
{
	if (l->cfg.base || l->is_running)
		return AGI_OK;
	if (create(l))
		return AGI_E_NOMEM;
	l->is_running = true;
	return AGI_OK;
}

/* What waits is not run any more: take() finds the mailbox closed. */
uint64_t agi_loop_cpu_us(const struct agi_loop *l)
{
	struct timespec t;
	clockid_t clock;

	if (!l->is_running || pthread_getcpuclockid(l->thread, &clock) || clock_gettime(clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void agi_loop_stop(struct agi_loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->is_closed = true;
	pthread_mutex_unlock(&l->lock);
	if (l->is_running) {
		wake(l);
		pthread_join(l->thread, NULL);
		l->is_running = false;
	}
	drop_all(l);
}

/* --- life --------------------------------------------------------------------------------------------------- */
static struct event_base *new_base(void)
{
	struct event_config *c = event_config_new();
	struct event_base *base = NULL;

	if (c && event_config_set_flag(c, EVENT_BASE_FLAG_NOLOCK) == 0) /* one thread */
		base = event_base_new_with_config(c);
	if (c)
		event_config_free(c);
	if (base && event_base_priority_init(base, AGI_LOOP_PRIORITIES)) {
		event_base_free(base);
		base = NULL;
	}
	return base;
}

enum agi_err agi_loop_new(const struct agi_loop_cfg *cfg, struct agi_loop **out)
{
	struct agi_loop *l = calloc(1, sizeof *l);
	enum agi_err e;

	if (!l)
		return AGI_E_NOMEM;
	pthread_mutex_init(&l->lock, NULL);
	l->cfg = *cfg;
	snprintf(l->name, sizeof l->name, "%s", cfg->name);
	l->slots = calloc(cfg->mailbox_max, sizeof *l->slots);
	l->base = cfg->base ? cfg->base : new_base();
	l->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->base && l->fd >= 0)
		l->wake = event_new(l->base, l->fd, EV_READ | EV_PERSIST, on_wake, l);
	if (l->slots && l->wake && event_add(l->wake, NULL) == 0) {
		*out = l;
		return AGI_OK;
	}
	e = l->fd < 0 ? AGI_E_IO : AGI_E_NOMEM;
	agi_loop_free(l);
	return e;
}

void agi_loop_free(struct agi_loop *l)
{
	if (!l)
		return;
	agi_loop_stop(l);
	if (l->wake)
		event_free(l->wake);
	if (l->fd >= 0)
		close(l->fd);
	if (l->base && !l->cfg.base)
		event_base_free(l->base);
	pthread_mutex_destroy(&l->lock);
	free(l->slots);
	free(l);
}

struct event_base *agi_loop_base(const struct agi_loop *l) { return l->base; }

uint64_t agi_loop_refused(struct agi_loop *l)
{
	uint64_t n;

	pthread_mutex_lock(&l->lock);
	n = l->refused;
	pthread_mutex_unlock(&l->lock);
	return n;
}
