/* SPDX-License-Identifier: Apache-2.0 */
#include "node/restore_read.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backup/set.h"
#include "dht/dht.h"
#include "dht/lease_record.h"
#include "store/archive.h"

enum {
	QUEUE_RECORDS = 512,
	QUEUE_BYTES = 8 << 20,
	OPEN_MAX = 32 /* copies open at once; each has some files open */
};

/* The copy of a part. */
struct opened {
	struct agi_archive *archive; /* NULL = not open */
	uint64_t used;       /* when it was last needed: the longest unused is closed */
};

struct agi_restore_reader {
	struct agi_restore_reader_cfg cfg;
	char dir[PATH_MAX];
	pthread_t thread;
	int fd;
	struct agi_backup_set set;   /* the thread's */
	struct opened *opened;       /* as set.parts */
	size_t n_open;
	uint64_t clock;

	pthread_mutex_t lock;        /* the rest */
	pthread_cond_t room;
	struct agi_restore_record *first, **last;
	size_t queued, queued_bytes;
	bool is_closing;
	struct agi_restore_read_stats stats;
};

/* --- queue ----------------------------------------------------------------------------------------- */
static void signal_owner(struct agi_restore_reader *r)
{
	uint64_t one = 1;
	ssize_t n = write(r->fd, &one, sizeof one);

	(void)n; /* full: it is readable anyway */
}

/* Takes the record; false when the reader is being closed. */
static bool give(struct agi_restore_reader *r, struct agi_restore_record *rec)
{
	bool goes_on;

	pthread_mutex_lock(&r->lock);
	while (!r->is_closing && (r->queued >= QUEUE_RECORDS || (r->queued && r->queued_bytes > QUEUE_BYTES)))
		pthread_cond_wait(&r->room, &r->lock);
	goes_on = !r->is_closing;
	if (goes_on) {
		*r->last = rec;
		r->last = &rec->next;
		r->queued++;
		r->queued_bytes += rec->bytes;
	}
	pthread_mutex_unlock(&r->lock);
	if (goes_on)
		signal_owner(r);
	else
		free(rec);
	return goes_on;
}

struct agi_restore_record *agi_restore_take(struct agi_restore_reader *r)
{
	struct agi_restore_record *rec;

	pthread_mutex_lock(&r->lock);
	rec = r->first;
	if (rec) {
		r->first = rec->next;
		if (!r->first)
			r->last = &r->first;
		r->queued--;
		r->queued_bytes -= rec->bytes;
		pthread_cond_signal(&r->room);
	}
	pthread_mutex_unlock(&r->lock);
	return rec;
}

void agi_restore_reader_heard(struct agi_restore_reader *r)
{
	uint64_t count;
	ssize_t n = read(r->fd, &count, sizeof count);

	(void)n; /* nothing there: as good */
}

void agi_restore_read_stats(struct agi_restore_reader *r, struct agi_restore_read_stats *out)
{
	pthread_mutex_lock(&r->lock);
	*out = r->stats;
	pthread_mutex_unlock(&r->lock);
}

/* --- checking --------------------------------------------------------------------------------------- */
static bool count_bytes(void *ctx, uint64_t n)
{
	struct agi_restore_reader *r = ctx;
	bool goes_on;

	pthread_mutex_lock(&r->lock);
	r->stats.bytes += n;
	goes_on = !r->is_closing;
	pthread_mutex_unlock(&r->lock);
	return goes_on;
}

static enum agi_err check_files(struct agi_restore_reader *r, struct agi_why *why)
{
	enum agi_err e = AGI_OK;

	for (size_t i = 0; i < r->set.n && !e; i++) {
		const struct agi_backup_set_part *p = &r->set.parts[i];

		for (size_t k = 0; k < p->p.n_files && !e; k++)
			e = agi_backup_check_file(p, &p->p.files[k], count_bytes, r, why);
	}
	if (e == AGI_E_CORRUPT) {
		struct agi_why file = *why;

		agi_fail(why, e, "%.180s. Fetch this node's part again, or remove its directory to restore without it",
		         file.text);
	}
	return e;
}

static enum agi_err check_slots(struct agi_restore_reader *r, struct agi_why *why)
{
	const struct agi_backup_cover *c = &r->set.cover;

	pthread_mutex_lock(&r->lock);
	r->stats.slots = c->n_slots;
	r->stats.whole = c->whole;
	r->stats.bytes_total = r->set.bytes;
	r->stats.parts = (uint32_t)r->set.n;
	r->stats.missing = r->set.missing;
	memcpy(r->stats.mark, r->set.mark, sizeof r->stats.mark);
	pthread_mutex_unlock(&r->lock);
	if (c->whole == c->n_slots || r->cfg.is_partial)
		return AGI_OK;
	return agi_fail(why, AGI_E_NO_QUORUM,
	                "%u of %u slots are not whole (slot %u is one): parts of nodes are missing here. What there is "
	                "can be restored as partial",
	                c->n_slots - c->whole, c->n_slots, c->first_incomplete);
}

/* --- merging ------------------------------------------------------------------------------------------------ */
static void close_longest_unused(struct agi_restore_reader *r)
{
	struct opened *old = NULL;

	for (size_t i = 0; i < r->set.n; i++)
		if (r->opened[i].archive && (!old || r->opened[i].used < old->used))
			old = &r->opened[i];
	if (!old)
		return;
	agi_archive_close(old->archive);
	old->archive = NULL;
	r->n_open--;
}

static enum agi_err open_part(struct agi_restore_reader *r, size_t i, struct agi_why *why)
{
	struct opened *o = &r->opened[i];
	enum agi_err e;

	o->used = ++r->clock;
	if (o->archive)
		return AGI_OK;
	if (r->n_open >= OPEN_MAX)
		close_longest_unused(r);
	e = agi_archive_open(r->set.parts[i].store, &o->archive, why);
	r->n_open += !e;
	return e;
}

/* The copies that count for a slot, one cursor each. A slot has few: those beyond would all show the same. */
enum { SOURCES_MAX = 2 * AGI_REPLICAS_MAX };
struct merge {
	struct agi_restore_reader *r;
	uint32_t slot;
	enum agi_cf cf;
	struct agi_archive_cursor *cursor[SOURCES_MAX];
	size_t n;
};

static void slot_key(char key[4], uint32_t slot)
{
	for (int i = 0; i < 4; i++)
		key[i] = (char)(slot >> (24 - 8 * i));
}

static void merge_end(struct merge *m)
{
	for (size_t i = 0; i < m->n; i++)
		agi_archive_cursor_free(m->cursor[i]);
	m->n = 0;
}

static enum agi_err merge_begin(struct merge *m, struct agi_why *why)
{
	enum agi_err e = AGI_OK;
	char key[4];

	slot_key(key, m->slot);
	m->n = 0;
	for (size_t i = 0; i < m->r->set.n && m->n < SOURCES_MAX && !e; i++) {
		if (!agi_backup_counts(&m->r->set.cover, &m->r->set.parts[i].p, m->slot))
			continue;
		e = open_part(m->r, i, why);
		if (e)
			break;
		m->cursor[m->n] = agi_archive_walk(m->r->opened[i].archive, m->cf, (struct agi_str){key, 4});
		if (m->cursor[m->n])
			m->n++;
		else
			e = agi_fail(why, AGI_E_NOMEM, "out of memory");
	}
	if (e)
		merge_end(m);
	return e;
}

/* What a cursor stands at, within the slot; NOT_FOUND past it. */
static enum agi_err here(const struct merge *m, size_t i, struct agi_str *key, struct agi_str *value,
                         struct agi_why *why)
{
	char begin[4];
	enum agi_err e = agi_archive_here(m->cursor[i], key, value, why);

	slot_key(begin, m->slot);
	return !e && !agi_str_has_prefix(*key, (struct agi_str){begin, 4}) ? AGI_E_NOT_FOUND : e;
}

static struct agi_str order_of(struct agi_str record)
{
	return (struct agi_str){record.p, record.n < AGI_VERSION_BYTES ? record.n : AGI_VERSION_BYTES};
}

typedef enum agi_err take_fn(struct merge *m, struct agi_str key, struct agi_str record, void *arg,
                             struct agi_why *why);

/* The lowest key that any cursor stands at, with its newest record; all cursors move on behind it. */
static enum agi_err merge_step(struct merge *m, take_fn *take, void *arg, struct agi_why *why)
{
	struct agi_str key = {NULL, 0}, record = {NULL, 0}, k, v;
	bool is_at[SOURCES_MAX] = {false};
	enum agi_err e;

	for (size_t i = 0; i < m->n; i++) {
		int c;

		e = here(m, i, &k, &v, why);
		if (e == AGI_E_NOT_FOUND)
			continue;
		if (e)
			return e;
		c = key.p ? agi_str_cmp(k, key) : -1;
		if (c < 0)
			memset(is_at, 0, sizeof is_at);
		if (c < 0 || (c == 0 && agi_str_cmp(order_of(v), order_of(record)) > 0)) {
			key = k;
			record = v;
		}
		is_at[i] = c <= 0;
	}
	if (!key.p)
		return AGI_E_NOT_FOUND;
	e = take(m, key, record, arg, why);
	for (size_t i = 0; i < m->n; i++)
		if (is_at[i])
			agi_archive_next(m->cursor[i]);
	return e;
}

static enum agi_err merge_slot(struct agi_restore_reader *r, uint32_t slot, enum agi_cf cf, take_fn *take,
                               void *arg, struct agi_why *why)
{
	struct merge m = {.r = r, .slot = slot, .cf = cf};
	enum agi_err e = merge_begin(&m, why);

	while (!e)
		e = merge_step(&m, take, arg, why);
	merge_end(&m);
	return e == AGI_E_NOT_FOUND ? AGI_OK : e;
}

/* --- records ------------------------------------------------------------------------------------------------- */
static struct agi_restore_record *make(const struct merge *m, const struct agi_item *item, uint64_t floor)
{
	size_t bytes = item->ns.n + item->key.n + item->value.n;
	struct agi_restore_record *rec = malloc(sizeof *rec + bytes + 1);
	char *p;

	if (!rec)
		return NULL;
	*rec = (struct agi_restore_record){.slot = m->slot, .is_register = m->cf == AGI_CF_STRONG, .floor = floor,
	                                   .item = *item, .bytes = bytes + sizeof *rec};
	p = rec->data;
	rec->item.ns = (struct agi_str){memcpy(p, item->ns.n ? item->ns.p : "", item->ns.n), item->ns.n};
	p += item->ns.n;
	rec->item.key = (struct agi_str){memcpy(p, item->key.n ? item->key.p : "", item->key.n), item->key.n};
	p += item->key.n;
	rec->item.value = (struct agi_str){memcpy(p, item->value.n ? item->value.p : "", item->value.n), item->value.n};
	return rec;
}

static enum agi_err give_item(struct merge *m, const struct agi_item *item, uint64_t floor, struct agi_why *why)
{
	struct agi_restore_record *rec = make(m, item, floor);

	if (!rec)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	return give(m->r, rec) ? AGI_OK : AGI_E_CLOSED;
}

static void count_left_out(struct agi_restore_reader *r, uint64_t *counter)
{
	pthread_mutex_lock(&r->lock);
	++*counter;
	pthread_mutex_unlock(&r->lock);
}

static enum agi_err take_item(struct merge *m, struct agi_str key, struct agi_str record, void *arg,
                              struct agi_why *why)
{
	struct agi_item item;
	enum agi_err e = agi_dht_read_item(key, record, &item);

	(void)arg;
	if (e)
		return agi_fail(why, e, "slot %u: an item of the backup does not decode", m->slot);
	if (!item.is_tombstone && item.expires_ms && item.expires_ms <= m->r->cfg.now_ms) {
		count_left_out(m->r, &m->r->stats.expired);
		return AGI_OK;
	}
	return give_item(m, &item, 0, why);
}

static enum agi_err take_version(struct merge *m, struct agi_str key, struct agi_str record, void *arg,
                                 struct agi_why *why)
{
	uint64_t *floor = arg;
	struct agi_item item;
	enum agi_err e = agi_dht_read_register(key, record, &item);

	if (e)
		return agi_fail(why, e, "slot %u: a register of the backup does not decode", m->slot);
	if (item.version.hlc > *floor)
		*floor = item.version.hlc;
	return AGI_OK;
}

static enum agi_err take_register(struct merge *m, struct agi_str key, struct agi_str record, void *arg,
                                  struct agi_why *why)
{
	struct agi_item item;
	enum agi_err e = agi_dht_read_register(key, record, &item);

	if (e || item.is_tombstone)
		return e;
	if (item.lease || agi_str_eq(item.ns, AGI_LEASE_NS)) { /* a lease that has ended never comes back */
		count_left_out(m->r, &m->r->stats.leased);
		return AGI_OK;
	}
	return give_item(m, &item, *(uint64_t *)arg, why);
}

static enum agi_err read_slot(struct agi_restore_reader *r, uint32_t slot, struct agi_why *why)
{
	uint64_t floor = 0;
	enum agi_err e = merge_slot(r, slot, AGI_CF_ITEMS, take_item, NULL, why);

	if (!e)
		e = merge_slot(r, slot, AGI_CF_STRONG, take_version, &floor, why);
	return e ? e : merge_slot(r, slot, AGI_CF_STRONG, take_register, &floor, why);
}

/* --- the thread ------------------------------------------------------------------------------------------------ */
static void set_step(struct agi_restore_reader *r, enum agi_restore_step step, const struct agi_why *why)
{
	pthread_mutex_lock(&r->lock);
	r->stats.step = step;
	if (why)
		r->stats.why = *why;
	pthread_mutex_unlock(&r->lock);
	signal_owner(r);
}

static enum agi_err prepare(struct agi_restore_reader *r, struct agi_why *why)
{
	enum agi_err e = agi_backup_set_open(&r->set, r->dir, why);

	if (e)
		return e;
	r->opened = calloc(r->set.n, sizeof *r->opened);
	if (!r->opened)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	e = check_slots(r, why);
	if (!e)
		e = check_files(r, why);
	pthread_mutex_lock(&r->lock);
	if (memcmp(r->set.mark, r->cfg.mark, sizeof r->cfg.mark) == 0 && r->cfg.from_slot <= r->set.cover.n_slots)
		r->stats.first = r->cfg.from_slot;
	pthread_mutex_unlock(&r->lock);
	return e;
}

static void *run_thread(void *arg)
{
	struct agi_restore_reader *r = arg;
	struct agi_why why = {""};
	enum agi_err e = prepare(r, &why);
	uint32_t slot = r->stats.first;

	if (!e)
		set_step(r, AGI_RESTORE_READING, NULL);
	for (; !e && slot < r->set.cover.n_slots; slot++)
		e = read_slot(r, slot, &why);
	set_step(r, e ? AGI_RESTORE_UNREADABLE : AGI_RESTORE_READ, e ? &why : NULL);
	return NULL;
}

/* --- life --------------------------------------------------------------------------------------------------------- */
static void free_all(struct agi_restore_reader *r)
{
	for (size_t i = 0; r->opened && i < r->set.n; i++)
		agi_archive_close(r->opened[i].archive);
	while (r->first) {
		struct agi_restore_record *rec = r->first;

		r->first = rec->next;
		free(rec);
	}
	free(r->opened);
	agi_backup_set_free(&r->set);
	if (r->fd >= 0)
		close(r->fd);
	pthread_cond_destroy(&r->room);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

enum agi_err agi_restore_reader_new(const struct agi_restore_reader_cfg *cfg, struct agi_restore_reader **out,
                                    struct agi_why *why)
{
	struct agi_restore_reader *r = calloc(1, sizeof *r);
	sigset_t all, old;
	int err;

	if (!r)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	r->cfg = *cfg;
	snprintf(r->dir, sizeof r->dir, "%s", cfg->dir);
	r->cfg.dir = r->dir;
	r->last = &r->first;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->room, NULL);
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	err = r->fd < 0 ? errno : pthread_create(&r->thread, NULL, run_thread, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		free_all(r);
		return agi_fail(why, AGI_E_NOMEM, "cannot start a thread: %s", strerror(err));
	}
	*out = r;
	return AGI_OK;
}

void agi_restore_reader_free(struct agi_restore_reader *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->is_closing = true;
	pthread_cond_signal(&r->room);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	free_all(r);
}

int agi_restore_reader_fd(const struct agi_restore_reader *r) { return r->fd; }
