/* SPDX-License-Identifier: Apache-2.0 */
#include "store/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"

enum {
	COPIES = 2,
	COPY_AT = 4096, /* bytes between them: no sector holds both */
	HASH_BYTES = 8,
	COPY_BYTES = 24 + HASH_BYTES
};
static const char magic[8] = "AGISYNC1";

static enum agi_err fail(struct agi_why *why, const char *what, const char *dir, const char *file)
{
	return agi_fail(why, AGI_E_IO, "cannot %s %s/%s: %s", what, dir, file, strerror(errno));
}

static bool path_of(char out[PATH_MAX], const char *dir, const char *file)
{
	return snprintf(out, PATH_MAX, "%s/%s", dir, file) < PATH_MAX;
}

static void sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

/* --- SYNCED: magic ‖ be64 turn ‖ be64 sequence ‖ hash -------------------------------------------- */
static void hash_of(uint8_t out[HASH_BYTES], const uint8_t *p)
{
	struct agi_str s = {(const char *)p, COPY_BYTES - HASH_BYTES};
	uint8_t full[32];

	agi_blake2b_256(full, &s, 1);
	memcpy(out, full, HASH_BYTES);
}

static void take_copy(struct agi_synced *m, const uint8_t p[COPY_BYTES])
{
	struct agi_cur c = agi_cur_of((struct agi_str){(const char *)p, COPY_BYTES});
	struct agi_str head = agi_cur_take(&c, sizeof magic);
	uint64_t turn = agi_cur_u64(&c), seq = agi_cur_u64(&c);
	uint8_t hash[HASH_BYTES];

	hash_of(hash, p);
	if (memcmp(head.p, magic, sizeof magic) != 0 ||
	    memcmp(hash, p + COPY_BYTES - HASH_BYTES, HASH_BYTES) != 0 || turn < m->turn)
		return;
	m->turn = turn;
	m->seq = seq;
}

enum agi_err agi_synced_open(struct agi_synced *m, const char *dir, struct agi_why *why)
{
	static const uint8_t zeros[COPIES * COPY_AT];
	uint8_t copy[COPY_BYTES];
	char path[PATH_MAX];
	bool is_new;

	*m = (struct agi_synced){.fd = -1};
	if (!path_of(path, dir, AGI_SYNCED_FILE))
		return agi_fail(why, AGI_E_INVALID, "%s: the path is too long", dir);
	m->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->fd < 0)
		return fail(why, "open", dir, AGI_SYNCED_FILE);
	is_new = lseek(m->fd, 0, SEEK_END) < (off_t)sizeof zeros;
	/* its blocks are there from now on: later writes need no room */
	if (is_new && (pwrite(m->fd, zeros, sizeof zeros, 0) != sizeof zeros || fsync(m->fd) != 0)) {
		enum agi_err e = fail(why, "write", dir, AGI_SYNCED_FILE);

		agi_synced_close(m);
		return e;
	}
	if (is_new)
		sync_dir(dir);
	for (int i = 0; i < COPIES; i++)
		if (pread(m->fd, copy, sizeof copy, i * COPY_AT) == sizeof copy)
			take_copy(m, copy);
	return AGI_OK;
}

enum agi_err agi_synced_write(struct agi_synced *m, uint64_t seq, struct agi_why *why)
{
	struct agi_buf b;
	uint8_t hash[HASH_BYTES];
	enum agi_err e = AGI_OK;

	agi_buf_init(&b, COPY_BYTES);
	agi_buf_put(&b, magic, sizeof magic);
	agi_buf_u64(&b, m->turn + 1);
	agi_buf_u64(&b, seq);
	if (!b.err) {
		hash_of(hash, b.p);
		agi_buf_put(&b, hash, sizeof hash);
	}
	if (b.err)
		e = b.err;
	else if (pwrite(m->fd, b.p, b.n, (off_t)((m->turn + 1) % COPIES) * COPY_AT) != (ssize_t)b.n ||
	         fdatasync(m->fd) != 0)
		e = agi_fail(why, AGI_E_IO, "cannot write the store's file %s: %s", AGI_SYNCED_FILE,
		             strerror(errno));
	agi_buf_free(&b);
	if (e)
		return e;
	m->turn++;
	m->seq = seq;
	return AGI_OK;
}

void agi_synced_close(struct agi_synced *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

/* --- DAMAGED ------------------------------------------------------------------------------------------ */
enum agi_err agi_damaged_read(const char *dir, struct agi_why *why)
{
	char path[PATH_MAX], text[sizeof why->text];
	ssize_t n;
	int fd;

	if (!path_of(path, dir, AGI_DAMAGED_FILE))
		return AGI_OK; /* nothing can have been written there */
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return AGI_OK;
	n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return agi_fail(why, AGI_E_CORRUPT, "%s", text[0] ? text : path);
}

void agi_damaged_write(const char *dir, const char *text)
{
	char path[PATH_MAX];
	int fd;

	if (!path_of(path, dir, AGI_DAMAGED_FILE))
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) >= 0 && write(fd, "\n", 1) >= 0)
		(void)fsync(fd);
	close(fd);
	sync_dir(dir);
}
