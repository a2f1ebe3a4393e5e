/* SPDX-License-Identifier: Apache-2.0 */
#include "store/wal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 32 << 10, HEADER = 7, LOGS_MAX = 1024 };
enum fragment { ZERO, FULL, FIRST, MIDDLE, LAST }; /* types on disk; higher ones are not written here */

/* --- CRC-32C ---------------------------------------------------------------------------------- */
uint32_t agi_crc32c(const uint8_t *p, size_t n)
{
	static const uint32_t by_nibble[16] = {
	    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ by_nibble[crc & 15];
		crc = crc >> 4 ^ by_nibble[crc & 15];
	}
	return ~crc;
}

/* A checksum is stored masked, because logs may hold logs. */
static uint32_t mask(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8u; }

/* --- one file --------------------------------------------------------------------------------- */
struct log {
	const uint8_t *p;
	size_t n;
};
struct head {
	uint32_t crc, length;
	uint8_t type;
};

static struct head head_at(const struct log *l, size_t at)
{
	const uint8_t *p = l->p + at;

	return (struct head){(uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24,
	                     (uint32_t)p[4] | (uint32_t)p[5] << 8, p[6]};
}

static size_t block_end(size_t at) { return (at / BLOCK + 1) * BLOCK; }

/* A whole fragment with a good checksum begins here. */
static bool is_good(const struct log *l, size_t at)
{
	struct head h;

	if (at + HEADER > l->n || at + HEADER > block_end(at))
		return false;
	h = head_at(l, at);
	if (h.type < FULL || h.type > LAST || at + HEADER + h.length > l->n ||
	    at + HEADER + h.length > block_end(at))
		return false;
	return mask(agi_crc32c(l->p + at + HEADER - 1, h.length + 1)) == h.crc;
}

static bool begins_record(const struct log *l, size_t at)
{
	return is_good(l, at) && (head_at(l, at).type == FULL || head_at(l, at).type == FIRST);
}

enum step { GOOD, PADDING, END, BAD };

/* What stands at this byte, and where the next thing begins (after damage: the next block). */
static enum step step_at(const struct log *l, size_t at, size_t *next)
{
	struct head h;

	*next = block_end(at);
	if (at >= l->n || (at + HEADER > l->n && l->n < *next))
		return END;
	if (*next - at < HEADER)
		return PADDING;
	h = head_at(l, at);
	if (h.type == ZERO && h.length == 0)
		return PADDING;
	if (at + HEADER + h.length > l->n && at + HEADER + h.length <= *next)
		return END;
	if (!is_good(l, at))
		return BAD;
	*next = at + HEADER + h.length;
	return GOOD;
}

/* Does a record begin at or after this byte? Where damage leaves no way to tell fragments apart, every byte of
 * its block may be one's first; a block's first byte always is. */
static bool has_record_from(const struct log *l, size_t from)
{
	size_t at = from, next;

	for (; at < block_end(from) && at < l->n; at++)
		if (begins_record(l, at))
			return true;
	for (; at < l->n; at = next) {
		if (begins_record(l, at))
			return true;
		if (step_at(l, at, &next) == END)
			next = block_end(at);
	}
	return false;
}

/* Walks the fragments; false at damage: *record is where the damaged record began, *bad the first byte that
 * may be another's. */
static bool walk(const struct log *l, size_t *bad, size_t *record)
{
	bool is_inside = false;
	size_t next;

	*record = 0;
	for (size_t at = 0;; at = next) {
		enum step s = step_at(l, at, &next);
		uint8_t type = s == GOOD ? head_at(l, at).type : ZERO;
		bool begins = type == FULL || type == FIRST;

		if (s == END)
			return true;
		if (s == PADDING && (!is_inside || next - at < HEADER))
			continue;
		if (!is_inside)
			*record = at;
		*bad = s == GOOD ? at : at + 1;
		if (s != GOOD || begins == is_inside)
			return false;
		is_inside = type == FIRST || type == MIDDLE;
	}
}

/* Read, not mapped: a bad sector must be an error, no signal. */
static bool load(const char *path, struct log *l)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && fstat(fd, &st) == 0;
	uint8_t *p = ok ? malloc((size_t)st.st_size + 1) : NULL;
	size_t n = 0;
	ssize_t got;

	*l = (struct log){p, 0};
	ok = p != NULL;
	while (ok && n < (size_t)st.st_size && (got = read(fd, p + n, (size_t)st.st_size - n)) != 0) {
		if (got > 0)
			n += (size_t)got;
		else
			ok = errno == EINTR;
	}
	l->n = n;
	if (fd >= 0)
		close(fd);
	if (!ok) {
		free(p);
		*l = (struct log){NULL, 0};
	}
	return ok;
}

static void unload(struct log *l) { free((void *)(uintptr_t)l->p); }

/* --- all of them ------------------------------------------------------------------------------ */
struct names {
	char name[LOGS_MAX][24];
	size_t n;
};

static int by_number(const void *a, const void *b)
{
	unsigned long long x = strtoull(a, NULL, 10), y = strtoull(b, NULL, 10);

	return (x > y) - (x < y);
}

static bool is_log(const char *name)
{
	size_t digits = strspn(name, "0123456789");

	return digits > 0 && digits < 20 && strcmp(name + digits, ".log") == 0;
}

static enum agi_err list(const char *dir, struct names *out, struct agi_why *why)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	out->n = 0;
	if (!d)
		return agi_fail(why, AGI_E_IO, "cannot list %s: %s", dir, strerror(errno));
	while ((e = readdir(d)) != NULL)
		if (is_log(e->d_name) && out->n < LOGS_MAX)
			snprintf(out->name[out->n++], sizeof out->name[0], "%.23s", e->d_name);
	closedir(d);
	qsort(out->name, out->n, sizeof out->name[0], by_number);
	return AGI_OK;
}

static enum agi_err load_at(const char *dir, const char *name, struct log *l, struct agi_why *why)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && load(path, l))
		return AGI_OK;
	return agi_fail(why, AGI_E_IO, "cannot read %s/%s: %s", dir, name, strerror(errno));
}

static enum agi_err look(const char *dir, const struct names *logs, struct agi_wal_look *out,
                         struct agi_why *why)
{
	*out = (struct agi_wal_look){.end = AGI_WAL_WHOLE};
	for (size_t i = 0; i < logs->n && out->end != AGI_WAL_DAMAGED; i++) {
		size_t bad = 0, record = 0;
		struct log l;
		enum agi_err e = load_at(dir, logs->name[i], &l, why);

		if (e)
			return e;
		if (out->end == AGI_WAL_TORN) { /* and a write after it? */
			if (has_record_from(&l, 0))
				out->end = AGI_WAL_DAMAGED;
		} else if (!walk(&l, &bad, &record)) {
			out->end = has_record_from(&l, bad) ? AGI_WAL_DAMAGED : AGI_WAL_TORN;
			out->offset = record;
			snprintf(out->file, sizeof out->file, "%s", logs->name[i]);
		}
		unload(&l);
	}
	return AGI_OK;
}

enum agi_err agi_wal_look(const char *dir, struct agi_wal_look *out, struct agi_why *why)
{
	struct names *logs = malloc(sizeof *logs);
	enum agi_err e;

	if (!logs)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	e = list(dir, logs, why);
	if (!e)
		e = look(dir, logs, out, why);
	free(logs);
	return e;
}

/* --- cutting ---------------------------------------------------------------------------------- */
static bool write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		p += put;
		n -= (size_t)put;
	}
	return fsync(fd) == 0;
}

static bool keep(const char *path, const struct log *l, uint64_t offset)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write_all(fd, l->p + offset, l->n - offset);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool shorten(const char *path, uint64_t offset)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && ftruncate(fd, (off_t)offset) == 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

enum agi_err agi_wal_cut(const char *dir, const struct agi_wal_look *at, struct agi_why *why)
{
	char path[PATH_MAX], copy[PATH_MAX + 8];
	struct log l;
	enum agi_err e = load_at(dir, at->file, &l, why);
	bool ok;

	if (e)
		return e;
	snprintf(path, sizeof path, "%s/%s", dir, at->file);
	snprintf(copy, sizeof copy, "%s.cut", path);
	ok = at->offset <= l.n && keep(copy, &l, at->offset);
	unload(&l);
	if (!ok || !shorten(path, at->offset))
		return agi_fail(why, AGI_E_IO, "cannot cut the end off %s: %s", path, strerror(errno));
	return AGI_OK;
}
