/* SPDX-License-Identifier: Apache-2.0
 * The queue in front of the group, its thread, and the way back. */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/group.h"

enum {
	DONE_BYTES_MAX = 64 << 20, /* answers that wait to be taken; the thread pauses above */
	DISK_BYTES_EVERY_S = 1
};

struct agi_store {
	struct agi_db *db;
	struct agi_group group; /* the thread's; the caller's while nothing is queued */
	time_t disk_bytes_at;   /* as group */
	pthread_t thread;
	int fd;

	/* lock: everything below */
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	struct agi_jobs queue, done;
	size_t done_bytes; /* of answers in done */
	bool is_closing;
	bool is_busy; /* the thread is using the group */
	struct agi_store_stats stats;
};

/* --- the thread ------------------------------------------------------------------------------- */
static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
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

/* Hands what the group has completed to the owner; waits when too much lies there already. */
static void deliver(struct agi_store *s)
{
	struct agi_group *g = &s->group;
	bool has_disk_bytes = false;
	uint64_t disk_bytes = 0;

	if (!g->done.first)
		return;
	if (g->commits != s->stats.commits && now_s() - s->disk_bytes_at >= DISK_BYTES_EVERY_S) {
		disk_bytes = agi_db_disk_bytes(s->db);
		s->disk_bytes_at = now_s();
		has_disk_bytes = true;
	}
	pthread_mutex_lock(&s->lock);
	for (struct agi_job *j = g->done.first; j; j = j->next) {
		count(&s->stats, j);
		s->done_bytes += j->result.n;
	}
	agi_jobs_join(&s->done, &g->done);
	s->stats.commits = g->commits;
	if (has_disk_bytes)
		s->stats.disk_bytes = disk_bytes;
	if (g->is_read_only && !s->stats.is_read_only) {
		s->stats.is_read_only = true;
		s->stats.read_only_why = g->read_only_why;
	}
	signal_owner(s);
	while (s->done_bytes > DONE_BYTES_MAX && !s->is_closing)
		pthread_cond_wait(&s->wake, &s->lock);
	if (s->is_closing) { /* nobody takes answers any more */
		agi_jobs_free(&s->done);
		s->done_bytes = 0;
	}
	pthread_mutex_unlock(&s->lock);
}

/* Waits for work; false when there is none and will be none. */
static bool take_queue(struct agi_store *s, struct agi_jobs *out)
{
	pthread_mutex_lock(&s->lock);
	s->is_busy = false;
	pthread_cond_signal(&s->idle);
	while (!s->is_closing && !s->queue.first)
		pthread_cond_wait(&s->wake, &s->lock);
	agi_jobs_join(out, &s->queue);
	s->is_busy = true;
	pthread_mutex_unlock(&s->lock);
	return out->first != NULL;
}

static void *run_thread(void *arg)
{
	struct agi_store *s = arg;
	struct agi_jobs jobs;
	struct agi_job *j;

	agi_jobs_init(&jobs);
	while (take_queue(s, &jobs)) {
		while ((j = agi_jobs_take_first(&jobs)) != NULL) {
			agi_group_run_take(&s->group, &j);
			deliver(s);
		}
		agi_group_commit(&s->group);
		deliver(s);
	}
	return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */
/* Signals are the event loop's: neither this thread nor those that RocksDB starts may take them. */
static enum agi_err open_quietly(struct agi_store *s, const struct agi_store_cfg *cfg,
                                 struct agi_why *why)
{
	sigset_t all, old;
	enum agi_err e;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	e = agi_db_open(cfg, &s->db, why);
	if (e == AGI_OK) {
		agi_group_init(&s->group, s->db);
		s->stats.disk_bytes = agi_db_disk_bytes(s->db);
		err = pthread_create(&s->thread, NULL, run_thread, s);
		if (err) {
			e = agi_fail(why, AGI_E_NOMEM, "cannot start the store's thread: %s",
			             strerror(err));
			agi_group_free(&s->group);
			agi_db_close(s->db);
		}
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return e;
}

enum agi_err agi_store_open(const struct agi_store_cfg *cfg, struct agi_store **out,
                            struct agi_why *why)
{
	struct agi_store *s = calloc(1, sizeof *s);
	enum agi_err e;

	if (!s)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	agi_jobs_init(&s->queue);
	agi_jobs_init(&s->done);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
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
	pthread_mutex_lock(&s->lock);
	s->is_closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	agi_group_free(&s->group);
	agi_jobs_free(&s->done);
	agi_db_close(s->db);
	close(s->fd);
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- in and out ------------------------------------------------------------------------------- */
enum agi_err agi_store_submit(struct agi_store *s, uint64_t job_id, const struct agi_storage_req *req)
{
	struct agi_job *j;
	enum agi_err e = agi_job_new(job_id, req, AGI_STORE_QUEUE_BYTES, &j);

	if (e)
		return e;
	pthread_mutex_lock(&s->lock);
	if (s->stats.queued >= AGI_STORE_QUEUE_MAX ||
	    s->stats.queued_bytes + j->bytes > AGI_STORE_QUEUE_BYTES) {
		e = AGI_E_FULL;
	} else {
		s->stats.queued++;
		s->stats.queued_bytes += j->bytes;
		agi_jobs_add(&s->queue, j);
		pthread_cond_signal(&s->wake);
	}
	pthread_mutex_unlock(&s->lock);
	if (e)
		agi_job_free(j);
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
	for (j = done.first; j; j = j->next) {
		s->stats.queued--;
		s->stats.queued_bytes -= j->bytes;
	}
	s->done_bytes = 0;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
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
	assert(s->stats.queued == 0);
	while (s->is_busy) /* about to see that nothing is left */
		pthread_cond_wait(&s->idle, &s->lock);
	pthread_mutex_unlock(&s->lock);
	agi_group_run_take(&s->group, &j);
	agi_group_commit(&s->group);
	j = agi_jobs_take_first(&s->group.done);
	pthread_mutex_lock(&s->lock);
	count(&s->stats, j);
	s->stats.commits = s->group.commits;
	s->stats.is_read_only = s->group.is_read_only;
	s->stats.read_only_why = s->group.read_only_why;
	pthread_mutex_unlock(&s->lock);
	e = j->done.err;
	if (fn)
		fn(arg, 0, &j->done);
	agi_job_free(j);
	return e;
}

void agi_store_stats(const struct agi_store *s, struct agi_store_stats *out)
{
	struct agi_store *m = (struct agi_store *)s; /* the lock is no part of the value */

	pthread_mutex_lock(&m->lock);
	*out = s->stats;
	pthread_mutex_unlock(&m->lock);
}
