/* SPDX-License-Identifier: Apache-2.0
 * The queue in front of the group, its thread, and the way back. */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/archive.h"
#include "store/group.h"
#include "store/rows.h"
#include "store/mend.h"
#include "store/scrub.h"

enum {
	DONE_BYTES_MAX = 64 << 20, /* answers that wait to be taken; the thread pauses above */
	ROWS_BYTES = 4 << 20,      /* of values read lately */
	CARE_EVERY_US = 1000000    /* how often the thread looks after the store itself */
};

struct agi_store {
	struct agi_db *db;
	struct agi_group group; /* the thread's; the caller's while nothing is queued */
	uint64_t care_at_us;    /* as group */
	size_t n_last;          /* as group: requests of the last round */
	pthread_t thread;
	struct agi_scrub *scrub;
	int fd;
	struct agi_jobs fresh; /* queued, and the thread not told yet */
	uint64_t queued, queued_bytes, peeks;
	struct agi_rows rows; /* of peeks; the owner's */

	/* lock: everything below */
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	struct agi_jobs queue, done;
	size_t done_bytes; /* of answers in done */
	bool is_closing;
	bool is_busy; /* the thread is using the group */
	bool is_lent; /* the owner's thread is (agi_store_run): hands off */
	uint64_t commit_since_us; /* 0 = none is running */
	enum agi_err found;       /* by the scrub, for the thread to act on */
	struct agi_why found_why;
	struct agi_store_stats stats;
};

/* --- the thread ------------------------------------------------------------------------------- */
static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void signal_owner(struct agi_store *s)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(s->fd, &one, sizeof one);
	while (n < 0 && errno == EINTR);
	/* EAGAIN: 2^64-2 signals not read, so it is readable anyway. */
}

static void count(struct agi_store_stats *st, const struct agi_job *j)
{
	st->writes += j->req.kind == AGI_STORAGE_WRITE;
	st->reads += j->req.kind == AGI_STORAGE_GET;
	st->scans += j->req.kind == AGI_STORAGE_SCAN;
}

/* The lock is held. */
static void copy_stats(struct agi_store *s)
{
	s->stats.commits = s->group.commits;
	s->stats.is_read_only = s->group.is_read_only;
	if (s->stats.trouble == s->group.trouble)
		return;
	s->stats.trouble = s->group.trouble;
	s->stats.read_only_why = s->group.read_only_why;
}

/* Too much waits to be taken. */
static void pause_until_taken(struct agi_store *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->done_bytes > DONE_BYTES_MAX && !s->is_closing)
		pthread_cond_wait(&s->wake, &s->lock);
	if (s->is_closing) { /* nobody takes answers any more */
		agi_jobs_free(&s->done);
		s->done_bytes = 0;
	}
	pthread_mutex_unlock(&s->lock);
}

/* Hands what the group has completed to the owner; waits when too much lies there already. */
static void deliver(struct agi_store *s)
{
	struct agi_group *g = &s->group;
	bool is_told, is_too_much;

	if (!g->done.first)
		return;
	pthread_mutex_lock(&s->lock);
	for (struct agi_job *j = g->done.first; j; j = j->next) {
		count(&s->stats, j);
		s->done_bytes += j->result.n;
	}
	is_told = s->done.first != NULL; /* and has not come yet */
	agi_jobs_join(&s->done, &g->done);
	copy_stats(s);
	is_too_much = s->done_bytes > DONE_BYTES_MAX;
	pthread_mutex_unlock(&s->lock);
	if (!is_told) /* without the lock: who wakes wants it */
		signal_owner(s);
	if (is_too_much)
		pause_until_taken(s);
}

static void on_found(void *ctx, enum agi_err err, const struct agi_why *why)
{
	struct agi_store *s = ctx;

	pthread_mutex_lock(&s->lock);
	s->found = err;
	s->found_why = *why;
	pthread_mutex_unlock(&s->lock);
}

static enum agi_err take_found(struct agi_store *s, struct agi_why *why)
{
	enum agi_err e;

	pthread_mutex_lock(&s->lock);
	e = s->found;
	*why = s->found_why;
	s->found = AGI_OK;
	pthread_mutex_unlock(&s->lock);
	return e;
}

/* Once a second, and last of all: notes how far writes are durable, and asks how RocksDB's own work goes. */
static void look_after(struct agi_store *s, bool is_last)
{
	struct agi_group *g = &s->group;
	uint64_t seq = agi_db_sequence(s->db), disk_bytes;
	struct agi_why why;
	enum agi_err e = AGI_OK;

	if (now_us() < s->care_at_us && !is_last)
		return;
	s->care_at_us = now_us() + CARE_EVERY_US;
	if (seq != agi_db_synced(s->db) && !g->is_read_only)
		e = agi_db_note_synced(s->db, seq, &why);
	if (!e)
		e = agi_db_background(s->db, &why);
	if (!e)
		e = take_found(s, &why);
	if (e)
		agi_group_latch(g, e, &why);
	disk_bytes = agi_db_disk_bytes(s->db);
	pthread_mutex_lock(&s->lock);
	copy_stats(s);
	s->stats.disk_bytes = disk_bytes;
	pthread_mutex_unlock(&s->lock);
}

/* The lock is held. Until there is work, the store is closed, or it is to be looked after. */
static void wait_for_work(struct agi_store *s)
{
	struct timespec t = {(time_t)(s->care_at_us / 1000000), (long)(s->care_at_us % 1000000) * 1000};
	bool is_time = false;

	while (s->is_lent || (!s->is_closing && !s->queue.first && !is_time)) {
		if (s->is_lent)
			pthread_cond_wait(&s->wake, &s->lock);
		else
			is_time = pthread_cond_timedwait(&s->wake, &s->lock, &t) == ETIMEDOUT;
	}
}

/* Several requests came together the last time: whoever is about to make more may run first, so that one sync serves
 * all of them. Where nobody waits for a processor this returns at once, and one request alone never waits. */
static void let_others_join(struct agi_store *s)
{
	if (s->n_last <= 1)
		return;
	pthread_mutex_unlock(&s->lock);
	sched_yield();
	pthread_mutex_lock(&s->lock);
}

/* False when there is no work and will be none. */
static bool take_queue(struct agi_store *s, struct agi_jobs *out)
{
	uint64_t took;
	bool goes_on;

	pthread_mutex_lock(&s->lock);
	took = s->commit_since_us ? now_us() - s->commit_since_us : 0;
	if (took > s->stats.commit_max_us)
		s->stats.commit_max_us = took;
	s->commit_since_us = 0;
	s->is_busy = false;
	pthread_cond_signal(&s->idle);
	wait_for_work(s);
	let_others_join(s);
	agi_jobs_join(out, &s->queue);
	s->is_busy = true;
	s->commit_since_us = now_us();
	goes_on = out->first || !s->is_closing;
	pthread_mutex_unlock(&s->lock);
	return goes_on;
}

static void *run_thread(void *arg)
{
	struct agi_store *s = arg;
	struct agi_jobs jobs;
	struct agi_job *j;

	(void)prctl(PR_SET_NAME, "store");
	agi_jobs_init(&jobs);
	while (take_queue(s, &jobs)) {
		s->n_last = 0;
		while ((j = agi_jobs_take_first(&jobs)) != NULL) {
			s->n_last++;
			agi_group_run_take(&s->group, &j);
			deliver(s);
		}
		agi_group_commit(&s->group);
		deliver(s);
		look_after(s, false);
	}
	look_after(s, true);
	return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */
/* Signals are the event loop's: neither this thread nor those that RocksDB starts may take them. */
static enum agi_err start_threads(struct agi_store *s, const struct agi_store_cfg *cfg, struct agi_why *why)
{
	const struct agi_scrub_cfg scrub = {.db = s->db,
	                                    .every_s = cfg->scrub_every_s,
	                                    .bytes_s = cfg->scrub_bytes_s,
	                                    .found = on_found,
	                                    .ctx = s};
	enum agi_err e = agi_scrub_start(&scrub, &s->scrub, why);
	int err = e ? 0 : pthread_create(&s->thread, NULL, run_thread, s);

	if (!err)
		return e;
	agi_scrub_stop(s->scrub);
	return agi_fail(why, AGI_E_NOMEM, "cannot start the store's thread: %s", strerror(err));
}

static enum agi_err open_quietly(struct agi_store *s, const struct agi_store_cfg *cfg,
                                 struct agi_why *why)
{
	sigset_t all, old;
	enum agi_err e;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	e = agi_db_open(cfg, &s->db, &s->stats.notice, why);
	if (e == AGI_OK) {
		agi_group_init(&s->group, s->db);
		s->stats.disk_bytes = agi_db_disk_bytes(s->db);
		e = start_threads(s, cfg, why);
		if (e) {
			agi_group_free(&s->group);
			agi_db_close(s->db);
		}
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return e;
}

static void init_monotonic(pthread_cond_t *c)
{
	pthread_condattr_t a;

	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(c, &a);
	pthread_condattr_destroy(&a);
}

enum agi_err agi_store_open(const struct agi_store_cfg *cfg, struct agi_store **out,
                            struct agi_why *why)
{
	struct agi_store *s = calloc(1, sizeof *s);
	uint8_t key[AGI_SIP_KEY_BYTES];
	enum agi_err e;

	if (!s)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	randombytes_buf(key, sizeof key);
	agi_rows_init(&s->rows, ROWS_BYTES, key);
	agi_jobs_init(&s->fresh);
	agi_jobs_init(&s->queue);
	agi_jobs_init(&s->done);
	pthread_mutex_init(&s->lock, NULL);
	init_monotonic(&s->wake);
	pthread_cond_init(&s->idle, NULL);
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->fd < 0)
		e = agi_fail(why, AGI_E_IO, "eventfd: %s", strerror(errno));
	else
		e = open_quietly(s, cfg, why);
	if (e) {
		if (s->fd >= 0)
			close(s->fd);
		pthread_cond_destroy(&s->wake);
		pthread_cond_destroy(&s->idle);
		pthread_mutex_destroy(&s->lock);
		free(s);
		return e;
	}
	*out = s;
	return AGI_OK;
}

void agi_store_close(struct agi_store *s)
{
	if (!s)
		return;
	agi_store_kick(s);
	agi_scrub_stop(s->scrub);
	pthread_mutex_lock(&s->lock);
	s->is_closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	agi_group_free(&s->group);
	agi_jobs_free(&s->done);
	agi_rows_free(&s->rows);
	agi_db_close(s->db);
	close(s->fd);
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- in and out ------------------------------------------------------------------------------- */
/* Before anybody hears of the write, done or failed. */
static void forget_rows(struct agi_store *s, const struct agi_job *j)
{
	if (j->req.kind == AGI_STORAGE_WRITE)
		for (size_t i = 0; i < j->req.n_ops; i++)
			agi_rows_drop(&s->rows, &j->req.ops[i]);
}

enum agi_err agi_store_queue(struct agi_store *s, uint64_t job_id, const struct agi_storage_req *req)
{
	struct agi_job *j;
	enum agi_err e = agi_job_new(job_id, req, AGI_STORE_QUEUE_BYTES, &j);

	if (e)
		return e;
	if (s->queued >= AGI_STORE_QUEUE_MAX || s->queued_bytes + j->bytes > AGI_STORE_QUEUE_BYTES) {
		agi_job_free(j);
		return AGI_E_FULL;
	}
	s->queued++;
	s->queued_bytes += j->bytes;
	agi_jobs_add(&s->fresh, j);
	return AGI_OK;
}

void agi_store_kick(struct agi_store *s)
{
	if (!s->fresh.first)
		return;
	pthread_mutex_lock(&s->lock);
	agi_jobs_join(&s->queue, &s->fresh);
	pthread_mutex_unlock(&s->lock);
	pthread_cond_signal(&s->wake); /* without the lock: who wakes wants it */
}

enum agi_err agi_store_submit(struct agi_store *s, uint64_t job_id, const struct agi_storage_req *req)
{
	enum agi_err e = agi_store_queue(s, job_id, req);

	agi_store_kick(s);
	return e;
}

enum agi_err agi_store_peek(struct agi_store *s, const struct agi_storage_req *req, struct agi_buf *out)
{
	size_t before = out->n;
	enum agi_err e = AGI_OK;

	if (!agi_rows_find(&s->rows, req->cf, req->begin, out)) {
		e = out->err ? out->err : agi_db_peek(s->db, req->cf, req->begin, out);
		if (e == AGI_OK)
			agi_rows_fill(&s->rows, req->cf, req->begin,
			              (struct agi_str){(const char *)out->p + before, out->n - before});
	}
	s->peeks += e == AGI_OK || e == AGI_E_NOT_FOUND;
	return e;
}

int agi_store_fd(const struct agi_store *s) { return s->fd; }

void agi_store_poll(struct agi_store *s, agi_store_done_fn *fn, void *arg)
{
	struct agi_jobs done;
	struct agi_job *j;
	uint64_t signals;

	agi_jobs_init(&done);
	while (read(s->fd, &signals, sizeof signals) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&s->lock);
	agi_jobs_join(&done, &s->done);
	if (s->done_bytes > DONE_BYTES_MAX)
		pthread_cond_signal(&s->wake);
	s->done_bytes = 0;
	pthread_mutex_unlock(&s->lock);
	for (j = done.first; j; j = j->next) {
		s->queued--;
		s->queued_bytes -= j->bytes;
		forget_rows(s, j);
	}
	while ((j = agi_jobs_take_first(&done)) != NULL) {
		fn(arg, j->id, &j->done);
		agi_job_free(j);
	}
}

enum agi_err agi_store_run(struct agi_store *s, const struct agi_storage_req *req,
                           agi_store_done_fn *fn, void *arg)
{
	struct agi_job *j;
	enum agi_err e = agi_job_new(0, req, AGI_STORE_QUEUE_BYTES, &j);

	if (e)
		return e;
	pthread_mutex_lock(&s->lock);
	assert(s->queued == 0);
	while (s->is_busy) /* about to see that nothing is left */
		pthread_cond_wait(&s->idle, &s->lock);
	s->is_lent = true;
	pthread_mutex_unlock(&s->lock);
	agi_group_run_take(&s->group, &j);
	agi_group_commit(&s->group);
	j = agi_jobs_take_first(&s->group.done);
	pthread_mutex_lock(&s->lock);
	count(&s->stats, j);
	copy_stats(s);
	s->is_lent = false;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	e = j->done.err;
	forget_rows(s, j);
	if (fn)
		fn(arg, 0, &j->done);
	agi_job_free(j);
	return e;
}

void agi_store_stats(const struct agi_store *s, struct agi_store_stats *out)
{
	struct agi_store *m = (struct agi_store *)s; /* the lock is no part of the value */
	struct agi_scrub_stats scrub;

	pthread_mutex_lock(&m->lock);
	*out = s->stats;
	if (s->commit_since_us)
		out->commit_us = now_us() - s->commit_since_us;
	pthread_mutex_unlock(&m->lock);
	out->queued = s->queued;
	out->queued_bytes = s->queued_bytes;
	out->reads += s->peeks;
	agi_scrub_stats(s->scrub, &scrub);
	out->expired_bytes = agi_db_expired_bytes(s->db);
	out->scrub_bytes = scrub.bytes;
	out->scrub_passes = scrub.passes;
	out->scrub_last_end = scrub.last_end;
	out->is_scrubbing = scrub.is_running;
}

void agi_store_scrub(struct agi_store *s, bool is_fast) { agi_scrub_now(s->scrub, is_fast); }

void agi_store_expire(struct agi_store *s, uint64_t before_ms) { agi_db_expire(s->db, before_ms); }

void agi_store_stall(const struct agi_store *s, bool *is_stopped, uint64_t *slowed_to)
{
	agi_db_stall(s->db, is_stopped, slowed_to);
}

const char *agi_store_trouble_name(enum agi_store_trouble t)
{
	static const char *const names[] = {[AGI_STORE_SOUND] = "sound",
	                                    [AGI_STORE_NO_SPACE] = "no_space",
	                                    [AGI_STORE_IO] = "io",
	                                    [AGI_STORE_DAMAGED] = "damaged"};

	return names[t];
}

enum agi_err agi_store_set_aside(const char *path, const char *to, struct agi_why *why)
{
	return agi_mend_set_aside(path, to, why);
}

enum agi_err agi_store_copy(struct agi_store *s, const char *dir, struct agi_why *why)
{
	return agi_db_copy(s->db, dir, why);
}
