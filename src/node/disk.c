/* SPDX-License-Identifier: Apache-2.0 */
#include "node/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "node/log.h"

enum {
	RESERVE_PART = 20, /* the reserve is at most this part of the file system */
	ROOMY_S = 5,       /* room for so long before a new start: whoever made it may still be at work */
	START_PART = 10    /* a new start needs at most this part of the file system */
};
static const char node_key[] = "node", cluster_key[] = "cluster"; /* META */

/* --- whose store ------------------------------------------------------------------------------- */
struct got {
	bool is_there;
	struct agi_id id; /* when it has the length of one */
	size_t n;
};

static void take(void *arg, uint64_t job_id, const struct agi_storage_done *done)
{
	struct got *g = arg;
	(void)job_id;

	g->is_there = done->err == AGI_OK;
	if (!g->is_there)
		return;
	g->n = done->kv[0].value.n;
	if (g->n == AGI_ID_BYTES)
		memcpy(g->id.b, done->kv[0].value.p, AGI_ID_BYTES);
}

static enum agi_err get(struct agi_store *s, const char *key, struct got *out)
{
	struct agi_storage_req req = {
	    .kind = AGI_STORAGE_GET, .cf = AGI_CF_META, .begin = agi_str_of(key)};
	enum agi_err e;

	*out = (struct got){.is_there = false};
	e = agi_store_run(s, &req, take, out);
	return e == AGI_E_NOT_FOUND ? AGI_OK : e;
}

static enum agi_err claim(struct agi_store *s, const struct agi_id *id)
{
	struct agi_storage_op op = {
	    AGI_PUT, AGI_CF_META, agi_str_of(node_key), {(const char *)id->b, AGI_ID_BYTES}};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};

	return agi_store_run(s, &req, NULL, NULL);
}

/* A store without a name is new, or older than this record: then it has a cluster. */
static enum agi_err check_owner(struct agi_store *s, const struct agi_identity *id, const char *dir,
                                struct agi_why *why)
{
	struct got owner, cluster;
	enum agi_err e = get(s, node_key, &owner);
	char text[AGI_ID_HEX];

	if (!e)
		e = get(s, cluster_key, &cluster);
	if (e)
		return agi_fail(why, e, "%s/store: the record of its owner cannot be read", dir);
	if (owner.is_there && owner.n == AGI_ID_BYTES && agi_id_eq(&owner.id, &id->id))
		return AGI_OK;
	agi_id_hex(text, &owner.id);
	if (owner.is_there)
		return agi_fail(why, AGI_E_CORRUPT, "%s/store belongs to another node (%.16s…) than %s/node.key",
		                dir, text, dir);
	if (!cluster.is_there && !id->is_new)
		return agi_fail(why, AGI_E_CORRUPT,
		                "%s/store is empty, but %s/node.key has been used before: what this node has "
		                "promised to others is lost",
		                dir, dir);
	e = claim(s, &id->id);
	return e ? agi_fail(why, e, "%s/store: %s", dir, agi_err_text(e)) : AGI_OK;
}

/* --- opening -------------------------------------------------------------------------------------- */
static enum agi_err open_store(const struct agi_disk_cfg *cfg, struct agi_store **out, struct agi_why *why)
{
	const struct agi_config *c = cfg->config;
	struct agi_store_cfg store = {.cache_bytes = c->node.store.cache_bytes,
	                              .memtable_bytes = c->node.store.memtable_bytes,
	                              .scrub_every_s = (c->node.store.scrub_interval_ms + 999) / 1000,
	                              .scrub_bytes_s = c->node.store.scrub_rate_bytes};
	char path[PATH_MAX];
	enum agi_err e;

	if (snprintf(path, sizeof path, "%s/store", c->node.data_dir) >= (int)sizeof path)
		return agi_fail(why, AGI_E_INVALID, "node.data_dir: the path is too long");
	store.path = path;
	e = agi_store_open(&store, out, why);
	return e == AGI_E_EXISTS ? AGI_E_DENIED : e; /* EXISTS is kept for addresses */
}

static enum agi_err open_all(const struct agi_disk_cfg *cfg, struct agi_store **store,
                             struct agi_identity *identity, struct agi_why *why)
{
	const char *dir = cfg->config->node.data_dir;
	enum agi_err e = agi_data_dir_open(dir, why);

	if (!e)
		e = open_store(cfg, store, why);
	if (e)
		return e;
	e = agi_identity_load(identity, dir, why);
	if (!e)
		e = check_owner(*store, identity, dir, why);
	if (!e)
		return AGI_OK;
	agi_identity_wipe(identity);
	agi_store_close(*store);
	*store = NULL;
	return e;
}

/* --- setting aside ---------------------------------------------------------------------------------- */
static enum agi_err move(const char *dir, const char *name, const char *aside, struct agi_why *why)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (snprintf(from, sizeof from, "%s/%s", dir, name) >= (int)sizeof from ||
	    snprintf(to, sizeof to, "%s/%s", aside, name) >= (int)sizeof to)
		return agi_fail(why, AGI_E_INVALID, "node.data_dir: the path is too long");
	if (strcmp(name, "store") == 0)
		return agi_store_set_aside(from, to, why);
	if (rename(from, to) == 0 || errno == ENOENT)
		return AGI_OK;
	return agi_fail(why, AGI_E_IO, "cannot move %s to %s: %s", from, to, strerror(errno));
}

static void sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

/* The store first: a crash in between leaves a key without a store, which is refused and set aside too. */
static enum agi_err set_aside(const char *dir, char aside[PATH_MAX], struct agi_why *why)
{
	static const char *const names[] = {"store", "node.key", "incarnation"};
	time_t now = time(NULL);
	struct tm tm;
	char stamp[32];
	enum agi_err e = AGI_OK;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
	if (snprintf(aside, PATH_MAX, "%s/set-aside-%s", dir, stamp) >= PATH_MAX)
		return agi_fail(why, AGI_E_INVALID, "node.data_dir: the path is too long");
	if (mkdir(aside, 0700) && errno != EEXIST)
		return agi_fail(why, AGI_E_IO, "cannot make %s: %s", aside, strerror(errno));
	for (size_t i = 0; i < sizeof names / sizeof *names && !e; i++)
		e = move(dir, names[i], aside, why);
	sync_path(aside);
	sync_path(dir);
	return e;
}

static enum agi_err advise(struct agi_why *why)
{
	struct agi_why cause = *why;

	return agi_fail(why, AGI_E_CORRUPT,
	                "%.200s. Start once with --rejoin to set it aside and come back as a new node "
	                "(agihpc-node(8), DISK TROUBLE)",
	                cause.text);
}

enum agi_err agi_disk_open(const struct agi_disk_cfg *cfg, struct agi_store **store,
                           struct agi_identity *identity, bool *has_rejoined, struct agi_why *why)
{
	struct agi_why cause;
	char aside[PATH_MAX];
	enum agi_err e = open_all(cfg, store, identity, why);

	if (e == AGI_OK && cfg->is_rejoin)
		AGI_LOG(cfg->log, AGI_LOG_INFO, "rejoin_not_needed");
	if (e != AGI_E_CORRUPT)
		return e;
	if (!cfg->is_rejoin)
		return advise(why);
	*has_rejoined = true;
	cause = *why;
	e = set_aside(cfg->config->node.data_dir, aside, why);
	if (e)
		return e == AGI_E_EXISTS ? AGI_E_DENIED : e;
	AGI_LOG(cfg->log, AGI_LOG_WARN, "store_set_aside", agi_kv_z("path", aside), agi_kv_z("why", cause.text));
	return open_all(cfg, store, identity, why);
}

/* --- watching --------------------------------------------------------------------------------------- */
static void look(struct agi_disk_watch *w)
{
	struct statvfs v;

	if (statvfs(w->config->node.data_dir, &v))
		return; /* as it was: a store on a disk that cannot be asked fails by itself */
	w->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	w->total_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	w->reserve_bytes = w->config->node.store.reserve_bytes;
	if (w->total_bytes && w->reserve_bytes > w->total_bytes / RESERVE_PART)
		w->reserve_bytes = w->total_bytes / RESERVE_PART;
}

/* A quarter more than the reserve before it is enough again: no flapping. */
static bool has_room(const struct agi_disk_watch *w)
{
	return w->free_bytes >= w->reserve_bytes + (w->is_low ? w->reserve_bytes / 4 : 0);
}

static void judge_room(struct agi_disk_watch *w)
{
	bool is_low = !has_room(w);

	if (is_low == w->is_low)
		return;
	w->is_low = is_low;
	agi_dht_host_set_low(w->host, is_low);
	AGI_LOG(w->log, is_low ? AGI_LOG_ERROR : AGI_LOG_INFO, is_low ? "disk_nearly_full" : "disk_has_room",
	        agi_kv_z("path", w->config->node.data_dir), agi_kv_u("free_bytes", w->free_bytes),
	        agi_kv_u("reserve_bytes", w->reserve_bytes));
}

static void judge_store(struct agi_disk_watch *w)
{
	struct agi_store_stats st;

	agi_store_stats(w->store, &st);
	if (st.notice.text[0] && !w->has_told_notice)
		AGI_LOG(w->log, AGI_LOG_WARN, "store_mended", agi_kv_z("what", st.notice.text));
	w->has_told_notice = true;
	if (st.trouble == w->trouble)
		return;
	w->trouble = st.trouble;
	agi_dht_host_set_read_only(w->host);
	AGI_LOG(w->log, AGI_LOG_ERROR, "store_read_only", agi_kv_z("trouble", agi_store_trouble_name(st.trouble)),
	        agi_kv_z("why", st.read_only_why.text));
}

/* By the cluster's time, not this host's clock: with fewer than two other hosts nobody could outvote that one. */
static void forget_expired(struct agi_disk_watch *w)
{
	struct agi_dht_status st;
	uint64_t now_ms;

	agi_dht_status(agi_dht_host_core(w->host), &st);
	now_ms = agi_clock_now().wall_ms - (uint64_t)st.clock_off_ms;
	if (st.is_ready && st.members_up >= 2 && now_ms > AGI_EXPIRED_BYTES_MS)
		agi_store_expire(w->store, now_ms - AGI_EXPIRED_BYTES_MS);
}

void agi_disk_watch_init(struct agi_disk_watch *w, const struct agi_config *config, struct agi_store *store,
                         struct agi_dht_host *host, struct agi_log *log)
{
	*w = (struct agi_disk_watch){.config = config, .store = store, .host = host, .log = log};
	(void)agi_disk_watch_tick(w);
}

/* A store that begins writes what its log holds into tables, and sets a new log aside. With a reserve of nothing
 * every disk has room; beginning anew on a full one would only fail again. */
static bool has_room_to_begin(const struct agi_disk_watch *w)
{
	uint64_t need = 2 * w->config->node.store.memtable_bytes;

	if (need > w->total_bytes / START_PART)
		need = w->total_bytes / START_PART;
	return has_room(w) && w->free_bytes >= need;
}

bool agi_disk_watch_begins_anew(struct agi_disk_watch *w)
{
	w->roomy_s = w->trouble == AGI_STORE_NO_SPACE && has_room_to_begin(w) ? w->roomy_s + 1 : 0;
	return w->roomy_s >= ROOMY_S;
}

bool agi_disk_watch_tick(struct agi_disk_watch *w)
{
	look(w);
	judge_room(w);
	judge_store(w);
	forget_expired(w);
	return agi_disk_watch_begins_anew(w);
}
