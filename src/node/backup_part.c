/* SPDX-License-Identifier: Apache-2.0 */
#include "node/backup_part.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dht/dht.h"
#include "node/backup_dir.h"

enum { CHUNK = 1 << 20 };

struct agi_backup_maker {
	struct agi_backup_maker_cfg cfg;
	pthread_t thread;
	bool has_thread;              /* to be joined */
	struct agi_backup_part part;  /* the thread's while one runs */
	char dir[PATH_MAX];           /* of this part */

	pthread_mutex_t lock;         /* the rest */
	struct agi_part_status status;
	struct agi_part_counts counts;
	bool is_closing;
};

const char *agi_part_state_name(enum agi_part_state s)
{
	static const char *const names[] = {"none", "copying", "copied", "summing", "done", "failed", "dropping"};

	return names[s];
}

/* --- state -------------------------------------------------------------------------------------- */
static void set_state(struct agi_backup_maker *m, enum agi_part_state state, const struct agi_why *why)
{
	pthread_mutex_lock(&m->lock);
	m->status.state = state;
	if (why)
		m->status.why = *why;
	m->counts.failed += state == AGI_PART_FAILED;
	m->counts.done += state == AGI_PART_DONE;
	if (state == AGI_PART_DONE)
		m->counts.last_done = time(NULL);
	pthread_mutex_unlock(&m->lock);
}

void agi_part_counts(struct agi_backup_maker *m, struct agi_part_counts *out)
{
	pthread_mutex_lock(&m->lock);
	*out = m->counts;
	pthread_mutex_unlock(&m->lock);
}

void agi_part_look(struct agi_backup_maker *m, struct agi_part_status *out)
{
	pthread_mutex_lock(&m->lock);
	*out = m->status;
	pthread_mutex_unlock(&m->lock);
}

static bool is_closing(struct agi_backup_maker *m)
{
	bool v;

	pthread_mutex_lock(&m->lock);
	v = m->is_closing;
	pthread_mutex_unlock(&m->lock);
	return v;
}

const struct agi_backup_part *agi_part_held(struct agi_backup_maker *m)
{
	struct agi_part_status st;

	agi_part_look(m, &st);
	return st.state == AGI_PART_COPIED || st.state == AGI_PART_DONE ? &m->part : NULL;
}

/* --- files -------------------------------------------------------------------------------------- */
static enum agi_err path_of(const struct agi_backup_maker *m, const char *name, char out[PATH_MAX],
                            struct agi_why *why)
{
	if (snprintf(out, PATH_MAX, "%s/%s", m->dir, name) < PATH_MAX)
		return AGI_OK;
	return agi_fail(why, AGI_E_INVALID, "node.backup_dir: the path is too long");
}

/* --- copying -------------------------------------------------------------------------------------- */
static bool phase_of(enum agi_view_phase phase, enum agi_backup_phase *out)
{
	switch (phase) {
	case AGI_VIEW_ACTIVE:
		*out = AGI_BACKUP_ACTIVE;
		return true;
	case AGI_VIEW_SEALED:
		*out = AGI_BACKUP_SEALED;
		return true;
	case AGI_VIEW_JOINING:
		*out = AGI_BACKUP_JOINING;
		return true;
	case AGI_VIEW_LEAVING:
		*out = AGI_BACKUP_LEAVING;
		return true;
	default:
		return false; /* nothing is held here */
	}
}

static enum agi_err note_view(struct agi_backup_part *p, struct agi_str key, struct agi_str value)
{
	enum agi_view_phase phase;
	struct agi_backup_slot s;
	struct agi_view v;
	enum agi_err e = agi_dht_read_view(key, value, &v, &phase);

	if (e)
		return e;
	s = (struct agi_backup_slot){.slot = v.slot, .epoch = v.epoch, .n_members = v.n_members};
	if (!phase_of(phase, &s.phase))
		return AGI_OK;
	for (uint8_t i = 0; i < v.n_members && !e; i++)
		e = agi_backup_host(p, &v.members[i], &s.members[i]);
	return e ? e : agi_backup_add_slot(p, &s);
}

static enum agi_err note_views(struct agi_backup_part *p, struct agi_archive *a, struct agi_why *why)
{
	struct agi_archive_cursor *c = agi_archive_walk(a, AGI_CF_VIEWS, (struct agi_str){NULL, 0});
	struct agi_str key, value;
	enum agi_err e = c ? AGI_OK : agi_fail(why, AGI_E_NOMEM, "out of memory");

	for (; !e; agi_archive_next(c)) {
		e = agi_archive_here(c, &key, &value, why);
		if (!e && (e = note_view(p, key, value)))
			agi_fail(why, e, "the copy's views do not decode");
	}
	agi_archive_cursor_free(c);
	return e == AGI_E_NOT_FOUND ? AGI_OK : e;
}

static enum agi_err note_cluster(struct agi_backup_part *p, struct agi_archive *a, struct agi_why *why)
{
	struct agi_archive_cursor *c = agi_archive_walk(a, AGI_CF_META, AGI_STR("cluster"));
	struct agi_str key, value;
	enum agi_err e = c ? agi_archive_here(c, &key, &value, why) : agi_fail(why, AGI_E_NOMEM, "out of memory");

	if (!e && agi_str_eq(key, AGI_STR("cluster")) && value.n == AGI_ID_BYTES)
		memcpy(p->cluster.b, value.p, AGI_ID_BYTES);
	else if (!e || e == AGI_E_NOT_FOUND)
		e = agi_fail(why, AGI_E_NOT_READY, "this node belongs to no cluster");
	agi_archive_cursor_free(c);
	return e;
}

static enum agi_err copy(struct agi_backup_maker *m, struct agi_why *why)
{
	struct agi_archive *a = NULL;
	char store[PATH_MAX];
	uint32_t self;
	enum agi_err e = agi_backup_make_dirs(m->dir, why);

	if (!e)
		e = path_of(m, AGI_BACKUP_STORE, store, why);
	if (!e)
		e = agi_store_copy(m->cfg.store, store, why);
	if (!e)
		e = agi_archive_open(store, &a, why);
	if (!e)
		e = note_cluster(&m->part, a, why);
	if (!e)
		e = note_views(&m->part, a, why);
	agi_archive_close(a);
	if (!e && agi_backup_host(&m->part, &m->cfg.node, &self))
		e = agi_fail(why, AGI_E_NOMEM, "out of memory");
	return e;
}

/* What failed is of no use to anybody, and may hold the disk's last space. */
static void remove_failed(struct agi_backup_maker *m)
{
	struct agi_why ignored; /* the failure is told; the next backup of this name removes what stays */

	(void)!agi_backup_remove(m->dir, &ignored);
}

static void *run_copy(void *arg)
{
	struct agi_backup_maker *m = arg;
	struct agi_why why = {""};
	enum agi_err e = copy(m, &why);

	if (e)
		remove_failed(m);
	set_state(m, e ? AGI_PART_FAILED : AGI_PART_COPIED, &why);
	return NULL;
}

/* --- checksums -------------------------------------------------------------------------------------- */
static enum agi_err sum_file(struct agi_backup_maker *m, const char *path, uint8_t hash[32], uint64_t *bytes,
                             struct agi_why *why)
{
	crypto_generichash_state st;
	uint8_t *buf = malloc(CHUNK);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	*bytes = 0;
	crypto_generichash_init(&st, NULL, 0, 32);
	while (buf && fd >= 0 && (n = read(fd, buf, CHUNK)) > 0 && !is_closing(m)) {
		crypto_generichash_update(&st, buf, (unsigned long long)n);
		*bytes += (uint64_t)n;
		pthread_mutex_lock(&m->lock);
		m->status.bytes += (uint64_t)n;
		pthread_mutex_unlock(&m->lock);
	}
	crypto_generichash_final(&st, hash, 32);
	if (fd >= 0)
		close(fd);
	free(buf);
	if (n > 0)
		return agi_fail(why, AGI_E_CLOSED, "the node stopped");
	return n < 0 ? agi_backup_fail_io(why, "read", path) : AGI_OK;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int is_file(const struct dirent *d) { return d->d_name[0] != '.'; }

static enum agi_err sum_all(struct agi_backup_maker *m, const char *store, struct agi_why *why)
{
	struct dirent **list = NULL;
	int n = scandir(store, &list, is_file, by_name);
	enum agi_err e = n < 0 ? agi_backup_fail_io(why, "list", store) : AGI_OK;

	for (int i = 0; i < n; i++) {
		char path[PATH_MAX + 256];
		uint8_t hash[32];
		uint64_t bytes;

		snprintf(path, sizeof path, "%s/%s", store, list[i]->d_name);
		if (!e)
			e = sum_file(m, path, hash, &bytes, why);
		if (!e && agi_backup_add_file(&m->part, agi_str_of(list[i]->d_name), bytes, hash))
			e = agi_fail(why, AGI_E_NOMEM, "out of memory");
		free(list[i]);
	}
	free(list);
	pthread_mutex_lock(&m->lock);
	m->status.files = (uint32_t)m->part.n_files;
	pthread_mutex_unlock(&m->lock);
	return e;
}

/* Its appearance makes the part a finished one. */
static enum agi_err write_manifest(struct agi_backup_maker *m, struct agi_why *why)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	struct agi_buf text;
	enum agi_err e = path_of(m, AGI_BACKUP_MANIFEST, path, why);

	if (!e)
		e = path_of(m, AGI_BACKUP_MANIFEST ".new", tmp, why);
	agi_buf_init(&text, AGI_BACKUP_MANIFEST_MAX);
	m->part.ended_ms = (uint64_t)time(NULL) * 1000;
	agi_backup_write(&m->part, &text);
	if (!e && text.err)
		e = agi_fail(why, text.err, "the manifest: %s", agi_err_text(text.err));
	if (!e)
		e = agi_backup_put_file(tmp, agi_buf_str(&text), why);
	if (!e && rename(tmp, path))
		e = agi_backup_fail_io(why, "make", path);
	agi_buf_free(&text);
	return e ? e : agi_backup_sync_dir(m->dir, why);
}

static void *run_sum(void *arg)
{
	struct agi_backup_maker *m = arg;
	struct agi_why why = {""};
	char store[PATH_MAX];
	enum agi_err e = path_of(m, AGI_BACKUP_STORE, store, &why);

	if (!e)
		e = sum_all(m, store, &why);
	if (!e)
		e = write_manifest(m, &why);
	if (e)
		remove_failed(m);
	set_state(m, e ? AGI_PART_FAILED : AGI_PART_DONE, &why);
	return NULL;
}

/* --- steps ---------------------------------------------------------------------------------------------- */
static void join(struct agi_backup_maker *m)
{
	if (m->has_thread)
		pthread_join(m->thread, NULL);
	m->has_thread = false;
}

static enum agi_err start(struct agi_backup_maker *m, void *(*run)(void *), struct agi_why *why)
{
	sigset_t all, old;
	int err;

	join(m);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	err = pthread_create(&m->thread, NULL, run, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	m->has_thread = err == 0;
	return err ? agi_fail(why, AGI_E_NOMEM, "cannot start a thread: %s", strerror(err)) : AGI_OK;
}

static bool is_busy(const struct agi_part_status *st)
{
	return st->state == AGI_PART_COPYING || st->state == AGI_PART_SUMMING || st->state == AGI_PART_DROPPING;
}

static bool is_of(const struct agi_part_status *st, struct agi_str name, uint32_t attempt)
{
	return st->state != AGI_PART_NONE && st->attempt == attempt && agi_str_eq(name, agi_str_of(st->name));
}

/* The directory of a new part; EXISTS when a finished one is there: m->dir still is what may be dropped. */
static enum agi_err choose_dir(struct agi_backup_maker *m, struct agi_str name, struct agi_why *why)
{
	char hex[AGI_ID_HEX], dir[PATH_MAX], manifest[PATH_MAX];
	int n;

	agi_id_hex(hex, &m->cfg.node);
	n = snprintf(dir, sizeof dir, "%s/%.*s/%.*s", m->cfg.dir, AGI_STR_ARG(name), AGI_BACKUP_DIR_HEX, hex);
	if (n >= (int)sizeof dir ||
	    snprintf(manifest, sizeof manifest, "%s/" AGI_BACKUP_MANIFEST, dir) >= (int)sizeof manifest)
		return agi_fail(why, AGI_E_INVALID, "node.backup_dir: the path is too long");
	if (access(manifest, F_OK) == 0)
		return agi_fail(why, AGI_E_EXISTS, "the backup \"%.*s\" is there already", AGI_STR_ARG(name));
	memcpy(m->dir, dir, sizeof dir);
	return AGI_OK;
}

static void fill_part(struct agi_backup_maker *m, struct agi_str name, uint64_t began_ms)
{
	agi_backup_part_free(&m->part);
	m->part.node = m->cfg.node;
	m->part.slot_bits = m->cfg.slot_bits;
	m->part.began_ms = began_ms;
	snprintf(m->part.name, sizeof m->part.name, "%.*s", AGI_STR_ARG(name));
	snprintf(m->part.address, sizeof m->part.address, "%s", m->cfg.address);
}

enum agi_err agi_part_begin(struct agi_backup_maker *m, struct agi_str name, uint32_t attempt, uint64_t began_ms,
                            struct agi_why *why)
{
	struct agi_part_status st;
	enum agi_err e = AGI_OK;

	agi_part_look(m, &st);
	if (!m->cfg.dir[0])
		return agi_fail(why, AGI_E_UNSUPPORTED, "no directory for backups is configured (node.backup_dir)");
	if (!agi_backup_name_is_valid(name))
		return agi_fail(why, AGI_E_INVALID,
		                "the name of a backup: 1 to %d letters, digits, \".\", \"_\" or \"-\", the first a "
		                "letter or digit", AGI_BACKUP_NAME_MAX);
	if (is_of(&st, name, attempt))
		return AGI_OK;
	if (is_busy(&st))
		return agi_fail(why, AGI_E_FULL, "the backup \"%s\" is being made", st.name);
	join(m);
	e = choose_dir(m, name, why);
	if (e)
		return e;
	fill_part(m, name, began_ms);
	pthread_mutex_lock(&m->lock);
	m->status = (struct agi_part_status){.state = AGI_PART_COPYING, .attempt = attempt};
	snprintf(m->status.name, sizeof m->status.name, "%.*s", AGI_STR_ARG(name));
	pthread_mutex_unlock(&m->lock);
	e = start(m, run_copy, why);
	if (e)
		set_state(m, AGI_PART_FAILED, why);
	return e;
}

enum agi_err agi_part_finish(struct agi_backup_maker *m, struct agi_str name, uint32_t attempt,
                             const struct agi_id *hosts, size_t n)
{
	struct agi_part_status st;
	char store[PATH_MAX];
	enum agi_err e = AGI_OK;
	uint32_t i;

	agi_part_look(m, &st);
	if (is_of(&st, name, attempt) && (st.state == AGI_PART_SUMMING || st.state == AGI_PART_DONE))
		return AGI_OK;
	if (!is_of(&st, name, attempt) || st.state != AGI_PART_COPIED)
		return AGI_E_CONDITION;
	join(m);
	for (size_t k = 0; k < n && !e; k++) {
		e = agi_backup_host(&m->part, &hosts[k], &i);
		if (!e)
			m->part.took_part[i] = true;
	}
	if (!e)
		e = path_of(m, AGI_BACKUP_STORE, store, &st.why);
	if (e)
		return e;
	pthread_mutex_lock(&m->lock);
	m->status.state = AGI_PART_SUMMING;
	m->status.bytes_total = agi_backup_bytes(store);
	pthread_mutex_unlock(&m->lock);
	e = start(m, run_sum, &st.why);
	if (e)
		set_state(m, AGI_PART_FAILED, &st.why);
	return e;
}

static void *run_drop(void *arg)
{
	struct agi_backup_maker *m = arg;
	struct agi_why why = {""};

	set_state(m, agi_backup_remove(m->dir, &why) ? AGI_PART_FAILED : AGI_PART_NONE, &why);
	return NULL;
}

void agi_part_drop(struct agi_backup_maker *m, struct agi_str name, uint32_t attempt)
{
	struct agi_part_status st;
	struct agi_why why;

	agi_part_look(m, &st);
	if (!is_of(&st, name, attempt) || (st.state != AGI_PART_COPIED && st.state != AGI_PART_FAILED))
		return;
	set_state(m, AGI_PART_DROPPING, NULL);
	if (start(m, run_drop, &why))
		set_state(m, AGI_PART_NONE, NULL); /* the next backup of this name removes it */
}

/* --- life --------------------------------------------------------------------------------------------- */
enum agi_err agi_backup_maker_new(const struct agi_backup_maker_cfg *cfg, struct agi_backup_maker **out)
{
	struct agi_backup_maker *m = calloc(1, sizeof *m);

	if (!m)
		return AGI_E_NOMEM;
	m->cfg = *cfg;
	if (cfg->dir[0])
		m->counts.last_done = agi_backup_newest(cfg->dir, &cfg->node);
	pthread_mutex_init(&m->lock, NULL);
	*out = m;
	return AGI_OK;
}

void agi_backup_maker_free(struct agi_backup_maker *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->is_closing = true;
	pthread_mutex_unlock(&m->lock);
	join(m);
	agi_backup_part_free(&m->part);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
