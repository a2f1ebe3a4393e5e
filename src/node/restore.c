/* SPDX-License-Identifier: Apache-2.0 */
#include "node/restore.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "node/log.h"

enum {
	WRITES_MAX = 128,      /* at a time */
	WRITES_BYTES = 16 << 20,
	WRITE_MS = 10000,      /* of one */
	PAUSE_MS = 200,        /* before a record is tried again */
	TRIES_MAX = 300,       /* a minute or more: a slot may be changing its members */
	NOTE_EVERY_MS = 1000   /* slots done are noted on disk */
};

struct writing {
	struct agi_restore *r;
	struct agi_restore_record *rec; /* NULL = free */
	uint64_t call;
	uint32_t tries;
	struct event *again;
};

struct agi_restore {
	struct agi_restore_cfg cfg;
	struct agi_restore_reader *reader;
	struct event *readable, *note;
	struct agi_restore_status st;
	struct writing writing[WRITES_MAX];
	uint32_t n_writing;
	uint64_t writing_bytes;
	uint64_t all_items, all_registers; /* of all restores */
	char progress[PATH_MAX];
};

static void take_more(struct agi_restore *r);

/* --- progress: "HEX slot CLUSTER" ------------------------------------------------------------------ */
/* Another cluster, made since then, holds nothing of it. */
static void cluster_text(const struct agi_restore *r, char out[AGI_ID_HEX])
{
	struct agi_dht_status st;

	agi_dht_status(agi_dht_host_core(r->cfg.host), &st);
	agi_id_hex(out, &st.cluster);
}

static bool read_progress(struct agi_restore *r, uint8_t mark[32], uint32_t *slot)
{
	char text[160], cluster[AGI_ID_HEX];
	int fd = open(r->progress, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	unsigned long v;
	char *end;

	if (fd >= 0)
		close(fd);
	if (n < 66)
		return false;
	text[n] = '\0';
	if (text[64] != ' ' || agi_unhex(mark, 32, (struct agi_str){text, 64}))
		return false;
	v = strtoul(text + 65, &end, 10);
	cluster_text(r, cluster);
	if (end == text + 65 || v > UINT32_MAX || *end != ' ' || strncmp(end + 1, cluster, strlen(cluster)) != 0)
		return false;
	*slot = (uint32_t)v;
	return true;
}

/* Not synced: what is noted too little is only done twice. */
static void write_progress(struct agi_restore *r)
{
	char tmp[PATH_MAX + 8], text[160], hex[65], cluster[AGI_ID_HEX];
	int n, fd;

	agi_hex(hex, r->st.read.mark, 32);
	cluster_text(r, cluster);
	n = snprintf(text, sizeof text, "%s %" PRIu32 " %s\n", hex, r->st.slots_done, cluster);
	snprintf(tmp, sizeof tmp, "%s.new", r->progress);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, text, (size_t)n) == n)
		(void)rename(tmp, r->progress);
	close(fd);
}

/* --- ends -------------------------------------------------------------------------------------------- */
static void stop(struct agi_restore *r)
{
	for (int i = 0; i < WRITES_MAX; i++) {
		struct writing *w = &r->writing[i];

		if (w->call)
			agi_dht_host_cancel(r->cfg.host, w->call);
		evtimer_del(w->again);
		free(w->rec);
		w->rec = NULL;
		w->call = 0;
	}
	r->n_writing = 0;
	r->writing_bytes = 0;
	if (r->readable)
		event_free(r->readable);
	r->readable = NULL;
	evtimer_del(r->note);
	agi_restore_reader_free(r->reader);
	r->reader = NULL;
}

static void end(struct agi_restore *r, enum agi_restore_state state)
{
	if (state == AGI_RESTORE_DONE)
		(void)unlink(r->progress);
	else if (r->st.state == AGI_RESTORE_WRITES && r->st.slots_done)
		write_progress(r);
	r->st.state = state;
	stop(r);
	AGI_LOG(r->cfg.log, state == AGI_RESTORE_DONE ? AGI_LOG_INFO : AGI_LOG_ERROR,
	        state == AGI_RESTORE_DONE ? "restore_done" : "restore_failed", agi_kv_z("name", r->st.name),
	        agi_kv_u("items", r->st.items), agi_kv_u("registers", r->st.registers),
	        agi_kv_u("kept", r->st.kept), agi_kv_z("why", r->st.why.text));
}

/* Records come slot by slot: every slot below that of the oldest that is being written is done. */
static void count_done(struct agi_restore *r)
{
	struct agi_restore_record *oldest = NULL;

	for (int i = 0; i < WRITES_MAX; i++)
		if (r->writing[i].rec && (!oldest || r->writing[i].rec->slot < oldest->slot))
			oldest = r->writing[i].rec;
	if (oldest && oldest->slot > r->st.slots_done)
		r->st.slots_done = oldest->slot;
}

/* --- writing ------------------------------------------------------------------------------------------- */
static void on_written(void *arg, const struct agi_result *res);

static void write_now(struct writing *w)
{
	struct agi_restore_record *rec = w->rec;
	struct agi_call call = {.timeout_ms = WRITE_MS};

	if (rec->is_register) {
		call.kind = AGI_CALL_CAS;
		call.ns = rec->item.ns;
		call.key = rec->item.key;
		call.value = rec->item.value;
		call.floor = rec->floor;
	} else {
		call.kind = AGI_CALL_RESTORE;
		call.items = &rec->item;
		call.n_items = 1;
	}
	w->tries++;
	w->call = agi_dht_host_call(w->r->cfg.host, &call, on_written, w);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	write_now(arg);
}

static void finish_record(struct writing *w, enum agi_err err)
{
	struct agi_restore *r = w->r;

	if (w->rec->is_register && err == AGI_E_CONDITION) {
		r->st.kept++;
	} else if (w->rec->is_register) {
		r->st.registers++;
		r->all_registers++;
	} else {
		r->st.items++;
		r->all_items++;
	}
	r->writing_bytes -= w->rec->bytes;
	free(w->rec);
	w->rec = NULL;
	r->n_writing--;
	event_active(r->readable, EV_READ, 0); /* room for the next: outside of this callback */
}

/* A compare-and-set whose outcome is unknown is tried again like the others: if it happened, it finds itself. */
static void on_written(void *arg, const struct agi_result *res)
{
	struct writing *w = arg;
	struct agi_restore *r = w->r;
	const struct timeval pause = {0, PAUSE_MS * 1000};

	w->call = 0;
	if (res->err == AGI_OK || res->err == AGI_E_CONDITION) {
		finish_record(w, res->err);
	} else if ((agi_err_is_retryable(res->err) || res->err == AGI_E_UNKNOWN_OUTCOME) && w->tries < TRIES_MAX) {
		evtimer_add(w->again, &pause);
	} else if (!r->st.why.text[0]) {
		agi_fail(&r->st.why, res->err, "slot %u of the backup cannot be written: %s", w->rec->slot,
		         res->why.text[0] ? res->why.text : agi_err_text(res->err));
		event_active(r->readable, EV_READ, 0);
	}
}

static struct writing *free_place(struct agi_restore *r)
{
	for (int i = 0; i < WRITES_MAX && r->writing_bytes < WRITES_BYTES; i++)
		if (!r->writing[i].rec)
			return &r->writing[i];
	return NULL;
}

static void take_more(struct agi_restore *r)
{
	struct writing *w;

	while ((w = free_place(r)) != NULL) {
		struct agi_restore_record *rec = agi_restore_take(r->reader);

		if (!rec)
			return;
		w->rec = rec;
		w->tries = 0;
		r->n_writing++;
		r->writing_bytes += rec->bytes;
		write_now(w);
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct agi_restore *r = arg;
	(void)fd;
	(void)what;

	agi_restore_reader_heard(r->reader);
	agi_restore_read_stats(r->reader, &r->st.read); /* before taking: after READ nothing more comes */
	if (r->st.read.step == AGI_RESTORE_UNREADABLE && !r->st.why.text[0])
		r->st.why = r->st.read.why;
	if (r->st.why.text[0]) {
		count_done(r);
		end(r, AGI_RESTORE_FAILED);
		return;
	}
	if (r->st.read.step >= AGI_RESTORE_READING && r->st.state == AGI_RESTORE_CHECKS) {
		r->st.state = AGI_RESTORE_WRITES;
		r->st.resumed_at = r->st.slots_done = r->st.read.first;
	}
	take_more(r);
	if (r->n_writing == 0 && r->st.read.step == AGI_RESTORE_READ) {
		r->st.slots_done = r->st.read.slots;
		end(r, AGI_RESTORE_DONE);
	}
}

static void on_note(evutil_socket_t fd, short what, void *arg)
{
	struct agi_restore *r = arg;
	const struct timeval next = {NOTE_EVERY_MS / 1000, 0};
	(void)fd;
	(void)what;

	count_done(r);
	if (r->st.state == AGI_RESTORE_WRITES && r->st.slots_done)
		write_progress(r);
	evtimer_add(r->note, &next);
}

/* --- begin ------------------------------------------------------------------------------------------------ */
static enum agi_err check(struct agi_restore *r, struct agi_str name, struct agi_why *why)
{
	struct agi_dht_status st;

	if (r->st.state == AGI_RESTORE_CHECKS || r->st.state == AGI_RESTORE_WRITES)
		return agi_fail(why, AGI_E_FULL, "the backup \"%s\" is being restored", r->st.name);
	if (!r->cfg.backup_dir[0])
		return agi_fail(why, AGI_E_UNSUPPORTED, "no directory for backups is configured (node.backup_dir)");
	if (!agi_backup_name_is_valid(name))
		return agi_fail(why, AGI_E_INVALID,
		                "the name of a backup: 1 to %d letters, digits, \".\", \"_\" or \"-\", the first a "
		                "letter or digit", AGI_BACKUP_NAME_MAX);
	agi_dht_status(agi_dht_host_core(r->cfg.host), &st);
	return st.is_joined ? AGI_OK : agi_fail(why, AGI_E_NOT_READY, "%s", st.phase);
}

static enum agi_err open_reader(struct agi_restore *r, bool is_partial, struct agi_why *why)
{
	struct agi_restore_reader_cfg cfg = {.is_partial = is_partial, .now_ms = agi_clock_now().wall_ms};
	char dir[PATH_MAX];
	enum agi_err e;

	if (snprintf(dir, sizeof dir, "%s/%s", r->cfg.backup_dir, r->st.name) >= (int)sizeof dir ||
	    snprintf(r->progress, sizeof r->progress, "%s/restore-%s", r->cfg.data_dir, r->st.name) >=
	        (int)sizeof r->progress)
		return agi_fail(why, AGI_E_INVALID, "node.backup_dir: the path is too long");
	cfg.dir = dir;
	if (!read_progress(r, cfg.mark, &cfg.from_slot))
		cfg.from_slot = 0;
	e = agi_restore_reader_new(&cfg, &r->reader, why);
	if (e)
		return e;
	r->readable = event_new(r->cfg.base, agi_restore_reader_fd(r->reader), EV_READ | EV_PERSIST, on_readable, r);
	if (r->readable && event_add(r->readable, NULL) == 0)
		return AGI_OK;
	stop(r);
	return agi_fail(why, AGI_E_NOMEM, "out of memory");
}

enum agi_err agi_restore_start(struct agi_restore *r, struct agi_str name, bool is_partial, struct agi_why *why)
{
	const struct timeval next = {NOTE_EVERY_MS / 1000, 0};
	enum agi_err e = check(r, name, why);

	if (e)
		return e;
	r->st = (struct agi_restore_status){.state = AGI_RESTORE_CHECKS};
	snprintf(r->st.name, sizeof r->st.name, "%.*s", AGI_STR_ARG(name));
	e = open_reader(r, is_partial, why);
	if (e) {
		r->st.state = AGI_RESTORE_NONE;
		return e;
	}
	evtimer_add(r->note, &next);
	AGI_LOG(r->cfg.log, AGI_LOG_WARN, "restore_began", agi_kv_z("name", r->st.name),
	        agi_kv_b("partial", is_partial));
	return AGI_OK;
}

void agi_restore_look(struct agi_restore *r, struct agi_restore_status *out)
{
	if (r->reader)
		agi_restore_read_stats(r->reader, &r->st.read);
	*out = r->st;
}

void agi_restore_counts(const struct agi_restore *r, bool *is_running, uint64_t *items, uint64_t *registers)
{
	*is_running = r->st.state == AGI_RESTORE_CHECKS || r->st.state == AGI_RESTORE_WRITES;
	*items = r->all_items;
	*registers = r->all_registers;
}

/* --- life --------------------------------------------------------------------------------------------------- */
enum agi_err agi_restore_new(const struct agi_restore_cfg *cfg, struct agi_restore **out)
{
	struct agi_restore *r = calloc(1, sizeof *r);
	bool ok;

	if (!r)
		return AGI_E_NOMEM;
	r->cfg = *cfg;
	r->note = evtimer_new(cfg->base, on_note, r);
	ok = r->note != NULL;
	for (int i = 0; i < WRITES_MAX; i++) {
		r->writing[i].r = r;
		r->writing[i].again = evtimer_new(cfg->base, on_again, &r->writing[i]);
		ok = ok && r->writing[i].again;
	}
	if (!ok) {
		agi_restore_free(r);
		return AGI_E_NOMEM;
	}
	*out = r;
	return AGI_OK;
}

void agi_restore_free(struct agi_restore *r)
{
	if (!r)
		return;
	if (r->reader)
		stop(r);
	for (int i = 0; i < WRITES_MAX; i++)
		if (r->writing[i].again)
			event_free(r->writing[i].again);
	if (r->note)
		event_free(r->note);
	free(r);
}
