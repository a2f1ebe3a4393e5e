/* SPDX-License-Identifier: Apache-2.0 */
#include "store/scrub.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	SLICE_BYTES = 1 << 20,   /* read between two looks at the clock */
	STRIDE_BYTES = 64 << 20, /* read from one iterator: it keeps obsolete files from being deleted */
	FIRST_MAX_S = 600        /* a node that has never finished a pass begins its first within so long */
};
#define SCRUBBED_FILE "SCRUBBED" /* its time is that of the last pass */

struct agi_scrub {
	struct agi_scrub_cfg cfg;
	pthread_t thread;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t wake;
	bool is_closing, is_asked, is_fast;
	struct agi_scrub_stats stats;
};

struct pass {
	struct agi_scrub *s;
	struct agi_buf next;  /* the key to go on from */
	uint64_t slice, stride;
	bool has_more;
};

/* --- when --------------------------------------------------------------------------------------- */
static bool path_of(const struct agi_scrub *s, char out[PATH_MAX])
{
	return snprintf(out, PATH_MAX, "%s/" SCRUBBED_FILE, agi_db_path(s->cfg.db)) < PATH_MAX;
}

static uint64_t last_end(const struct agi_scrub *s)
{
	char path[PATH_MAX];
	struct stat st;

	return path_of(s, path) && stat(path, &st) == 0 ? (uint64_t)st.st_mtim.tv_sec : 0;
}

static void note_end(const struct agi_scrub *s)
{
	char path[PATH_MAX];
	int fd = path_of(s, path) ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return;
	(void)futimens(fd, NULL);
	close(fd);
}

/* Seconds until the next pass is due. */
static uint64_t due_in(const struct agi_scrub *s, uint64_t last)
{
	uint64_t now = (uint64_t)time(NULL), every = s->cfg.every_s;

	if (last == 0 || last > now) /* never, or the clock was wrong */
		return every < FIRST_MAX_S ? every : FIRST_MAX_S;
	return last + every > now ? last + every - now : 0;
}

/* The lock is held. False when it is time to end. */
static bool wait_until_due(struct agi_scrub *s)
{
	struct timespec t;
	bool is_time = false;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)due_in(s, s->stats.last_end);
	while (!s->is_closing && !s->is_asked && !is_time) {
		if (s->cfg.every_s)
			is_time = pthread_cond_timedwait(&s->wake, &s->lock, &t) == ETIMEDOUT;
		else
			pthread_cond_wait(&s->wake, &s->lock);
	}
	s->is_fast = s->is_fast && s->is_asked;
	s->is_asked = false;
	return !s->is_closing;
}

/* --- one pass ------------------------------------------------------------------------------------- */
/* Counts a slice and keeps to the rate; false when the pass is to end. */
static bool pause_after_slice(struct agi_scrub *s, uint64_t bytes)
{
	struct timespec t;
	uint64_t ns = s->cfg.bytes_s ? bytes * 1000000000 / s->cfg.bytes_s : 0;
	bool goes_on;

	pthread_mutex_lock(&s->lock);
	s->stats.bytes += bytes;
	if (!s->is_fast && ns) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_sec += (time_t)(ns / 1000000000);
		t.tv_nsec += (long)(ns % 1000000000);
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		while (!s->is_closing && !s->is_fast &&
		       pthread_cond_timedwait(&s->wake, &s->lock, &t) != ETIMEDOUT)
			;
	}
	goes_on = !s->is_closing;
	pthread_mutex_unlock(&s->lock);
	return goes_on;
}

static bool take(void *arg, struct agi_str key, struct agi_str value)
{
	struct pass *p = arg;

	p->slice += key.n + value.n;
	p->stride += key.n + value.n;
	if (p->slice < SLICE_BYTES)
		return true;
	p->has_more = pause_after_slice(p->s, p->slice);
	p->slice = 0;
	if (p->has_more && p->stride < STRIDE_BYTES)
		return true;
	agi_buf_reset(&p->next);
	agi_buf_put_str(&p->next, key);
	agi_buf_u8(&p->next, 0);
	p->has_more = p->has_more && !p->next.err;
	return false;
}

static enum agi_err scrub_cf(struct agi_scrub *s, enum agi_cf cf, struct agi_why *why)
{
	struct pass p = {.s = s};
	struct agi_buf begin; /* take writes the next one while this one is in use */
	enum agi_err e;

	agi_buf_init(&p.next, 0);
	agi_buf_init(&begin, 0);
	do {
		agi_buf_reset(&begin);
		agi_buf_put_str(&begin, agi_buf_str(&p.next));
		p.stride = 0;
		p.has_more = false;
		e = begin.err ? begin.err
		              : agi_db_scan(s->cfg.db, cf, agi_buf_str(&begin), (struct agi_str){NULL, 0}, take,
		                            &p, why);
	} while (!e && p.has_more);
	(void)pause_after_slice(s, p.slice);
	agi_buf_free(&begin);
	agi_buf_free(&p.next);
	return e;
}

static bool is_closing(struct agi_scrub *s)
{
	bool v;

	pthread_mutex_lock(&s->lock);
	v = s->is_closing;
	pthread_mutex_unlock(&s->lock);
	return v;
}

static void run_pass(struct agi_scrub *s)
{
	struct agi_why why;
	enum agi_err e = AGI_OK;

	for (int cf = 0; cf < AGI_CF_COUNT && !e && !is_closing(s); cf++)
		e = scrub_cf(s, (enum agi_cf)cf, &why);
	if (e == AGI_E_CORRUPT || e == AGI_E_IO)
		s->cfg.found(s->cfg.ctx, e, &why);
	if (!e && !is_closing(s))
		note_end(s);
}

static void *run_thread(void *arg)
{
	struct agi_scrub *s = arg;

	pthread_mutex_lock(&s->lock);
	while (wait_until_due(s)) {
		s->stats.is_running = true;
		pthread_mutex_unlock(&s->lock);
		run_pass(s);
		pthread_mutex_lock(&s->lock);
		s->stats.is_running = false;
		s->stats.passes++;
		s->stats.last_end = last_end(s);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- life ------------------------------------------------------------------------------------------- */
enum agi_err agi_scrub_start(const struct agi_scrub_cfg *cfg, struct agi_scrub **out, struct agi_why *why)
{
	struct agi_scrub *s = calloc(1, sizeof *s);
	pthread_condattr_t a;
	int err;

	if (!s)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	s->cfg = *cfg;
	s->stats.last_end = last_end(s);
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &a);
	pthread_condattr_destroy(&a);
	err = pthread_create(&s->thread, NULL, run_thread, s);
	if (!err) {
		*out = s;
		return AGI_OK;
	}
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return agi_fail(why, AGI_E_NOMEM, "cannot start the store's scrubbing thread: %s", strerror(err));
}

void agi_scrub_stop(struct agi_scrub *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->is_closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void agi_scrub_now(struct agi_scrub *s, bool is_fast)
{
	pthread_mutex_lock(&s->lock);
	s->is_asked = s->is_asked || !s->stats.is_running;
	s->is_fast = s->is_fast || is_fast;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void agi_scrub_stats(struct agi_scrub *s, struct agi_scrub_stats *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->stats;
	pthread_mutex_unlock(&s->lock);
}
