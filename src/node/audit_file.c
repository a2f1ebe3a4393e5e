/* SPDX-License-Identifier: Apache-2.0 */
#include "node/audit_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_FORMAT "%020" PRIu64 ".audit"
enum { NAME_BYTES = 20 + 6 + 1, PATH_BYTES = AGI_AUDIT_PATH_MAX + NAME_BYTES + 1 };

struct agi_audit_file {
	char dir[AGI_AUDIT_PATH_MAX];
	uint64_t number; /* of the segment that is written to */
	int fd;
	uint64_t n;        /* bytes in it */
	uint64_t bytes_max;
	uint32_t segment_bytes;
	int old[AGI_AUDIT_SYNC_FILES - 1]; /* written to the end, to be synced */
	uint8_t n_old;
	bool is_dirty, has_begun; /* since the last sync: appended; begun a segment */
	bool is_lost;             /* a sync failed */
};

static enum agi_err fail_io(struct agi_why *why, const char *what, const char *path)
{
	int e = errno;
	enum agi_err err = e == ENOSPC || e == EDQUOT ? AGI_E_DISK_FULL : e == EROFS ? AGI_E_READ_ONLY : AGI_E_IO;

	return agi_fail(why, err, "cannot %s %.200s: %s", what, path, strerror(e));
}

/* --- segments ------------------------------------------------------------------------------------------------ */
static void path_of(char out[PATH_BYTES], const char *dir, uint64_t number)
{
	snprintf(out, PATH_BYTES, "%s/" NAME_FORMAT, dir, number);
}

static bool parse_name(uint64_t *out, const char *name)
{
	char again[NAME_BYTES];

	if (strlen(name) != NAME_BYTES - 1)
		return false;
	*out = strtoull(name, NULL, 10);
	snprintf(again, sizeof again, NAME_FORMAT, *out);
	return strcmp(name, again) == 0;
}

static int compare(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

/* The first segment after *than, or, backwards, the last before it; NULL: of all. out may be than. NOT_FOUND. */
static enum agi_err next_segment(const char *dir, const uint64_t *than, bool backwards, uint64_t *out)
{
	const uint64_t from = than ? *than : 0;
	DIR *d = opendir(dir);
	const struct dirent *e;
	uint64_t s;
	bool has = false;
	int sign = backwards ? -1 : 1;

	if (!d)
		return errno == ENOENT ? AGI_E_NOT_FOUND : AGI_E_IO;
	while ((e = readdir(d))) {
		if (!parse_name(&s, e->d_name) || (than && sign * compare(s, from) <= 0) ||
		    (has && sign * compare(s, *out) >= 0))
			continue;
		*out = s;
		has = true;
	}
	closedir(d);
	return has ? AGI_OK : AGI_E_NOT_FOUND;
}

/* Reads until n bytes are here or the file ends. */
static ssize_t read_at(int fd, uint8_t *to, size_t n, uint64_t offset)
{
	size_t got = 0;

	while (got < n) {
		ssize_t k = pread(fd, to + got, n - got, (off_t)(offset + got));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		if (k == 0)
			break;
		got += (size_t)k;
	}
	return (ssize_t)got;
}

/* --- what was there -------------------------------------------------------------------------------------------- */
static void take_last(struct agi_audit_found *found, struct agi_str entry, const uint8_t *hash)
{
	struct agi_audit_entry e;

	if (agi_audit_decode(&e, entry))
		return;
	found->has_last = true;
	found->incarnation = e.incarnation;
	found->seq = e.seq;
	memcpy(found->hash, hash, AGI_AUDIT_HASH);
}

/* A write that the host's end cut short leaves the beginning of a record, or, where the file's size was written before
 * its blocks, zeros. */
static bool is_torn(struct agi_str rest)
{
	struct agi_cur c = agi_cur_of(rest);
	uint32_t n = agi_cur_u32(&c);
	size_t i = 0;

	while (i < rest.n && rest.p[i] == 0)
		i++;
	if (c.bad || i == rest.n)
		return true;
	return n >= AGI_AUDIT_HEADER && n <= AGI_AUDIT_ENTRY_MAX && rest.n < (size_t)n + AGI_AUDIT_RECORD_EXTRA;
}

static enum agi_err judge_end(int fd, const char *path, uint8_t *bytes, struct agi_audit_found *found, struct agi_why *why)
{
	uint64_t offset = 0;
	ssize_t got;

	while ((got = read_at(fd, bytes, AGI_AUDIT_CHUNK_BYTES, offset)) > 0) {
		struct agi_cur c = agi_cur_of((struct agi_str){(char *)bytes, (size_t)got}), before = c;
		const uint8_t *hash;
		struct agi_str entry;

		while (agi_audit_next_record(&c, &entry, &hash)) {
			take_last(found, entry, hash);
			before = c;
		}
		if (before.p != bytes || !c.bad) {
			offset += (uint64_t)(before.p - bytes);
			continue;
		}
		found->is_damaged = !is_torn((struct agi_str){(char *)bytes, (size_t)got});
		if (found->is_damaged)
			return AGI_OK;
		found->cut_bytes = (uint64_t)got;
		return ftruncate(fd, (off_t)offset) || fdatasync(fd) ? fail_io(why, "cut the torn end off", path) : AGI_OK;
	}
	return got < 0 ? fail_io(why, "read", path) : AGI_OK;
}

static enum agi_err look_at(const char *dir, uint64_t s, struct agi_audit_found *found, struct agi_why *why)
{
	uint8_t *bytes = malloc(AGI_AUDIT_CHUNK_BYTES);
	char path[PATH_BYTES];
	enum agi_err e = AGI_E_NOMEM;
	int fd;

	path_of(path, dir, s);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		e = fail_io(why, "open", path);
	else if (bytes)
		e = judge_end(fd, path, bytes, found, why);
	if (fd >= 0)
		close(fd);
	free(bytes);
	return e;
}

/* Backwards, until there is an entry: a segment may have been begun and not written to. */
static enum agi_err find_last(const char *dir, uint64_t *newest, struct agi_audit_found *found, struct agi_why *why)
{
	uint64_t s = 0;
	enum agi_err e = next_segment(dir, NULL, true, &s);

	*newest = s;
	*found = (struct agi_audit_found){.has_last = false};
	while (!e && !found->has_last) {
		e = look_at(dir, s, found, why);
		if (!e && !found->has_last)
			e = next_segment(dir, &s, true, &s);
	}
	return e == AGI_E_NOT_FOUND ? AGI_OK : e;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */
static enum agi_err begin_segment(struct agi_audit_file *f, uint64_t number, struct agi_why *why)
{
	char path[PATH_BYTES];
	int fd;

	path_of(path, f->dir, number);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_io(why, "make", path);
	if (f->fd >= 0 && f->n_old == AGI_AUDIT_SYNC_FILES - 1) { /* nobody syncs: then here, rather than never */
		f->is_lost = f->is_lost || fdatasync(f->fd);
		close(f->fd);
	} else if (f->fd >= 0) {
		f->old[f->n_old++] = f->fd;
	}
	f->fd = fd;
	f->number = number;
	f->n = 0;
	f->has_begun = true;
	return AGI_OK;
}

enum agi_err agi_audit_file_open(const struct agi_audit_file_cfg *cfg, struct agi_audit_file **out,
                                 struct agi_audit_found *found, struct agi_why *why)
{
	struct agi_audit_file *f = calloc(1, sizeof *f);
	uint64_t newest = 0;
	enum agi_err e;

	if (!f)
		return agi_fail(why, AGI_E_NOMEM, "audit log: out of memory");
	f->fd = -1;
	f->bytes_max = cfg->bytes_max;
	f->segment_bytes = cfg->segment_bytes ? cfg->segment_bytes : AGI_AUDIT_SEGMENT_BYTES;
	if (snprintf(f->dir, sizeof f->dir, "%s", cfg->dir) >= (int)sizeof f->dir)
		e = agi_fail(why, AGI_E_INVALID, "audit log: the directory's name is too long");
	else if (mkdir(f->dir, 0700) && errno != EEXIST)
		e = fail_io(why, "make the directory", f->dir);
	else
		e = find_last(f->dir, &newest, found, why);
	if (!e)
		e = begin_segment(f, newest + 1, why);
	if (e)
		agi_audit_file_free(f);
	else
		*out = f;
	return e;
}

void agi_audit_file_free(struct agi_audit_file *f)
{
	if (!f)
		return;
	for (uint8_t i = 0; i < f->n_old; i++)
		close(f->old[i]);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static enum agi_err put(struct agi_audit_file *f, struct agi_str records, struct agi_why *why)
{
	size_t done = 0;

	while (done < records.n) {
		ssize_t n = write(f->fd, records.p + done, records.n - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			enum agi_err e = fail_io(why, "append to the audit log in", f->dir);

			/* a half-written record would make the next ones unreadable */
			f->is_lost = f->is_lost || ftruncate(f->fd, (off_t)f->n);
			return e;
		}
		done += (size_t)n;
	}
	f->n += records.n;
	f->is_dirty = true;
	return AGI_OK;
}

enum agi_err agi_audit_file_append(struct agi_audit_file *f, struct agi_str records, struct agi_why *why)
{
	enum agi_err e = AGI_OK;

	if (f->is_lost)
		return agi_fail(why, AGI_E_READ_ONLY, "the audit log in %.200s failed before; it begins anew at the next start",
		                f->dir);
	if (f->n && f->n + records.n > f->segment_bytes)
		e = begin_segment(f, f->number + 1, why);
	return e ? e : put(f, records, why);
}

/* --- syncing ------------------------------------------------------------------------------------------------------ */
bool agi_audit_file_take_sync(struct agi_audit_file *f, struct agi_audit_sync *out)
{
	int fd;

	if (!f->is_dirty && !f->has_begun)
		return false;
	fd = dup(f->fd);
	if (fd < 0)
		return false; /* tried again soon */
	memcpy(out->dir, f->dir, sizeof out->dir);
	out->bytes_max = f->bytes_max;
	out->n = 0;
	for (uint8_t i = 0; i < f->n_old; i++)
		out->fd[out->n++] = f->old[i];
	out->fd[out->n++] = fd;
	out->trims = f->has_begun;
	f->n_old = 0;
	f->is_dirty = f->has_begun = false;
	return true;
}

static uint64_t bytes_of(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	uint64_t s;
	struct stat st;
	uint64_t n = 0;

	while (d && (e = readdir(d)))
		if (parse_name(&s, e->d_name) && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			n += (uint64_t)st.st_size;
	if (d)
		closedir(d);
	return n;
}

static void trim(const char *dir, uint64_t bytes_max)
{
	uint64_t first, newest;
	char path[PATH_BYTES];

	while (bytes_of(dir) > bytes_max && next_segment(dir, NULL, false, &first) == AGI_OK &&
	       next_segment(dir, NULL, true, &newest) == AGI_OK && compare(first, newest) != 0) {
		path_of(path, dir, first);
		if (unlink(path))
			return; /* tried again with the next segment */
	}
}

/* A new file's name is in its directory. */
static bool sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_synced = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return is_synced;
}

enum agi_err agi_audit_sync_run(struct agi_audit_sync *s, struct agi_why *why)
{
	enum agi_err e = AGI_OK;

	for (uint8_t i = 0; i < s->n; i++) {
		if (fdatasync(s->fd[i]) && !e)
			e = fail_io(why, "sync the audit log in", s->dir);
		close(s->fd[i]);
	}
	if (s->trims && !sync_dir(s->dir) && !e)
		e = fail_io(why, "sync the directory", s->dir);
	if (s->trims)
		trim(s->dir, s->bytes_max);
	s->n = 0;
	return e;
}

void agi_audit_file_synced(struct agi_audit_file *f, enum agi_err err) { f->is_lost = f->is_lost || err; }

/* --- reading -------------------------------------------------------------------------------------------------------- */
enum agi_err agi_audit_segment_before(const char *dir, const uint64_t *than, uint64_t *out)
{
	return next_segment(dir, than, true, out);
}

static int open_segment(const char *dir, uint64_t s)
{
	char path[PATH_BYTES];

	path_of(path, dir, s);
	return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

/* When a segment's first entry was made; 0: it has none. */
static uint64_t first_ms(const char *dir, uint64_t s)
{
	uint8_t bytes[4 + AGI_AUDIT_HEADER];
	struct agi_audit_entry e = {.at_ms = 0};
	int fd = open_segment(dir, s);

	if (fd < 0)
		return 0;
	if (read_at(fd, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes ||
	    agi_audit_decode(&e, (struct agi_str){(char *)bytes + 4, AGI_AUDIT_HEADER}))
		e.at_ms = 0;
	close(fd);
	return e.at_ms;
}

/* Moves *at to the next segment; those that ended before since_ms are passed over. False: there is none. */
static bool move_on(const char *dir, struct agi_audit_at *at, uint64_t since_ms)
{
	uint64_t s = at->number, after, begun;

	if (next_segment(dir, at->has_segment ? &s : NULL, false, &s))
		return false;
	while (since_ms && next_segment(dir, &s, false, &after) == AGI_OK) {
		begun = first_ms(dir, after);
		if (!begun || begun >= since_ms)
			break;
		s = after;
	}
	*at = (struct agi_audit_at){.has_segment = true, .number = s};
	return true;
}

/* Copies the whole records at the front; returns their bytes. *is_bad: what follows is none. */
static size_t copy_records(struct agi_str bytes, uint64_t since_ms, struct agi_buf *out, bool *is_bad)
{
	struct agi_cur c = agi_cur_of(bytes), before = c;
	struct agi_audit_entry e;
	const uint8_t *hash;
	struct agi_str entry;

	while (agi_audit_next_record(&c, &entry, &hash)) {
		if (agi_audit_decode(&e, entry) || e.at_ms >= since_ms) /* one that cannot be read is shown, too */
			agi_buf_put(out, before.p, (size_t)(c.p - before.p));
		before = c;
	}
	*is_bad = c.bad;
	return (size_t)(before.p - (const uint8_t *)bytes.p);
}

/* Nothing whole is at *at any more. The end of the newest segment may just be written. */
static void leave_segment(const char *dir, struct agi_audit_at *at, uint64_t since_ms, struct agi_str rest,
                          struct agi_audit_chunk *chunk)
{
	uint64_t s = at->number, offset = at->offset;
	bool moved = move_on(dir, at, since_ms);

	if (rest.n && (moved || !is_torn(rest)))
		(void)agi_fail(&chunk->damage, AGI_E_CORRUPT,
		               "segment " NAME_FORMAT ": no record at byte %" PRIu64 ", the rest of it cannot be read",
		               s, offset);
	chunk->has_more = moved;
}

static enum agi_err read_segment(int fd, const char *dir, struct agi_audit_at *at, uint64_t since_ms,
                                 struct agi_audit_chunk *chunk, struct agi_why *why)
{
	uint8_t *bytes = malloc(AGI_AUDIT_CHUNK_BYTES);
	bool is_bad;
	ssize_t got;
	size_t used;

	if (!bytes)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	got = read_at(fd, bytes, AGI_AUDIT_CHUNK_BYTES, at->offset);
	if (got < 0) {
		free(bytes);
		return fail_io(why, "read the audit log in", dir);
	}
	used = copy_records((struct agi_str){(char *)bytes, (size_t)got}, since_ms, &chunk->records, &is_bad);
	at->offset += used;
	chunk->has_more = true;
	if (used == 0)
		leave_segment(dir, at, since_ms, (struct agi_str){(char *)bytes, (size_t)got}, chunk);
	free(bytes);
	return chunk->records.err ? agi_fail(why, chunk->records.err, "out of memory") : AGI_OK;
}

enum agi_err agi_audit_read(const char *dir, struct agi_audit_at *at, uint64_t since_ms,
                            struct agi_audit_chunk *chunk, struct agi_why *why)
{
	enum agi_err e;
	int fd;

	agi_buf_reset(&chunk->records);
	chunk->damage = (struct agi_why){""};
	chunk->has_more = false;
	if (!at->has_segment && !move_on(dir, at, since_ms))
		return agi_fail(why, AGI_E_NOT_FOUND, "there is no audit log in %.200s", dir);
	fd = open_segment(dir, at->number);
	if (fd < 0 && errno == ENOENT) { /* it was the oldest, and went */
		chunk->has_more = move_on(dir, at, since_ms);
		return AGI_OK;
	}
	if (fd < 0)
		return fail_io(why, "open the audit log in", dir);
	e = read_segment(fd, dir, at, since_ms, chunk, why);
	close(fd);
	return e;
}
