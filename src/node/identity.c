/* SPDX-License-Identifier: Apache-2.0 */
#include "node/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

static enum agi_err fail_io(struct agi_why *why, const char *what, const char *path)
{
	return agi_fail(why, AGI_E_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

enum agi_err agi_data_dir_open(const char *dir, struct agi_why *why)
{
	struct stat st;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return fail_io(why, "create the data directory", dir);
	if (stat(dir, &st))
		return fail_io(why, "look at the data directory", dir);
	if (!S_ISDIR(st.st_mode))
		return agi_fail(why, AGI_E_INVALID, "data directory %s: it is not a directory", dir);
	if (access(dir, R_OK | W_OK | X_OK))
		return fail_io(why, "write to the data directory", dir);
	return AGI_OK;
}

static enum agi_err path_of(char out[PATH_MAX], const char *dir, const char *name,
                            struct agi_why *why)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	if (n < 0 || n >= PATH_MAX)
		return agi_fail(why, AGI_E_INVALID, "data directory: the path is longer than %d bytes",
		                PATH_MAX);
	return AGI_OK;
}

/* --- small files ----------------------------------------------------------------------------------- */
enum { PUBLIC = 0, OWNER_ONLY = 077, NOT_OTHERS = 027 };

/* At most max bytes of path; *n = how many there are (max + 1 when there are more). None of the mode bits
 * in forbidden may be set. */
static enum agi_err read_file(const char *path, mode_t forbidden, uint8_t *buf, size_t max, size_t *n,
                              struct agi_why *why)
{
	struct stat st;
	ssize_t got;
	enum agi_err e = AGI_OK;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? agi_fail(why, AGI_E_NOT_FOUND, "%s does not exist", path)
		                       : fail_io(why, "open", path);
	*n = 0;
	if (fstat(fd, &st))
		e = fail_io(why, "look at", path);
	else if (!S_ISREG(st.st_mode))
		e = agi_fail(why, AGI_E_INVALID, "%s is not a regular file", path);
	else if (st.st_mode & forbidden)
		e = agi_fail(why, AGI_E_DENIED,
		             "%s is open to others (mode %04o): chmod %s it, and make a new key if others "
		             "may have read it",
		             path, (unsigned)(st.st_mode & 07777), forbidden == OWNER_ONLY ? "600" : "640");
	while (!e && *n <= max && (got = read(fd, buf + *n, max + 1 - *n)) != 0) {
		if (got > 0)
			*n += (size_t)got;
		else if (errno != EINTR)
			e = fail_io(why, "read", path);
	}
	close(fd);
	return e;
}

static enum agi_err sync_dir(const char *dir, struct agi_why *why)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum agi_err e = AGI_OK;

	if (fd < 0)
		return fail_io(why, "open", dir);
	if (fsync(fd))
		e = fail_io(why, "sync", dir);
	close(fd);
	return e;
}

static enum agi_err write_all(int fd, const uint8_t *p, size_t n, const char *path,
                              struct agi_why *why)
{
	while (n) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return fail_io(why, "write", path);
		p += put;
		n -= (size_t)put;
	}
	return fsync(fd) ? fail_io(why, "sync", path) : AGI_OK;
}

/* Durable and all or nothing. */
static enum agi_err replace_file(const char *dir, const char *path, const uint8_t *p, size_t n,
                                 struct agi_why *why)
{
	char tmp[PATH_MAX];
	enum agi_err e;
	int fd;

	if (snprintf(tmp, sizeof tmp, "%s.tmp", path) >= (int)sizeof tmp)
		return agi_fail(why, AGI_E_INVALID, "%s: the path is too long", path);
	unlink(tmp); /* left by a crash */
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_io(why, "create", tmp);
	e = write_all(fd, p, n, tmp, why);
	if (close(fd) && !e)
		e = fail_io(why, "close", tmp);
	if (!e && rename(tmp, path))
		e = fail_io(why, "replace", path);
	if (e)
		unlink(tmp);
	return e ? e : sync_dir(dir, why);
}

/* --- key -------------------------------------------------------------------------------------------- */
static enum agi_err make_seed(uint8_t seed[AGI_SEED_BYTES], const char *dir, const char *path,
                              struct agi_why *why)
{
	randombytes_buf(seed, AGI_SEED_BYTES);
	return replace_file(dir, path, seed, AGI_SEED_BYTES, why);
}

static enum agi_err load_key(struct agi_identity *id, const char *dir, struct agi_why *why)
{
	char path[PATH_MAX];
	uint8_t seed[AGI_SEED_BYTES + 1];
	size_t n;
	enum agi_err e = path_of(path, dir, "node.key", why);

	if (e)
		return e;
	e = read_file(path, OWNER_ONLY, seed, AGI_SEED_BYTES, &n, why);
	if (e == AGI_E_NOT_FOUND) {
		e = make_seed(seed, dir, path, why);
		id->is_new = true;
	} else if (!e && n != AGI_SEED_BYTES) {
		e = agi_fail(why, AGI_E_CORRUPT,
		             "%s is not a node key: it must be exactly %d bytes",
		             path, AGI_SEED_BYTES);
	}
	if (!e) {
		agi_keypair_of_seed(seed, id->pubkey, id->seckey);
		agi_id_of_pubkey(&id->id, id->pubkey);
	}
	sodium_memzero(seed, sizeof seed);
	return e;
}

/* --- incarnation ------------------------------------------------------------------------------------ */
static bool parse_count(const uint8_t *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;

	if (n && p[n - 1] == '\n')
		n--;
	if (n == 0 || n > 18) /* 18 digits never overflow */
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(p[i] - '0');
	}
	*out = v;
	return true;
}

static enum agi_err count_start(struct agi_identity *id, const char *dir, struct agi_why *why)
{
	enum { TEXT_MAX = 24 };
	char path[PATH_MAX], text[TEXT_MAX];
	uint8_t buf[TEXT_MAX + 1];
	uint64_t last = 0;
	size_t n;
	int len;
	enum agi_err e = path_of(path, dir, "incarnation", why);

	if (e)
		return e;
	e = read_file(path, PUBLIC, buf, TEXT_MAX, &n, why);
	if (e == AGI_E_NOT_FOUND)
		last = id->is_new ? 0 : (uint64_t)time(NULL);
	else if (e)
		return e;
	else if (!parse_count(buf, n, &last))
		return agi_fail(why, AGI_E_INVALID,
		                "%s does not hold a number. Remove it: the node then counts on from the "
		                "clock",
		                path);
	len = snprintf(text, sizeof text, "%" PRIu64 "\n", last + 1);
	e = replace_file(dir, path, (const uint8_t *)text, (size_t)len, why);
	if (!e)
		id->incarnation = last + 1;
	return e;
}

enum agi_err agi_identity_load(struct agi_identity *out, const char *dir, struct agi_why *why)
{
	enum agi_err e;

	*out = (struct agi_identity){.seckey = sodium_malloc(AGI_SECKEY_BYTES)};
	if (!out->seckey)
		return agi_fail(why, AGI_E_NOMEM, "no guarded memory for the node key (see ulimit -l)");
	e = load_key(out, dir, why);
	if (!e)
		e = count_start(out, dir, why);
	if (e)
		agi_identity_wipe(out);
	return e;
}

void agi_identity_wipe(struct agi_identity *id)
{
	sodium_free(id->seckey); /* wipes; NULL is allowed */
	*id = (struct agi_identity){0};
}

/* --- cluster key ------------------------------------------------------------------------------------ */
static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

enum agi_err agi_cluster_key_read(uint8_t key[AGI_CLUSTER_KEY_BYTES], const char *path,
                                  struct agi_why *why)
{
	enum { FILE_MAX = 256 };
	uint8_t buf[FILE_MAX + 1];
	size_t n, begin = 0;
	enum agi_err e = read_file(path, NOT_OTHERS, buf, FILE_MAX, &n, why);

	if (e == AGI_E_NOT_FOUND)
		return agi_fail(why, e, "cluster key %s does not exist: make one with \"agihpc-ctl keygen\" "
		                        "and give the same file to every node", path);
	if (e)
		return e;
	while (n && is_space(buf[n - 1]))
		n--;
	while (begin < n && is_space(buf[begin]))
		begin++;
	e = agi_unhex(key, AGI_CLUSTER_KEY_BYTES, (struct agi_str){(char *)buf + begin, n - begin});
	sodium_memzero(buf, sizeof buf);
	if (e)
		return agi_fail(why, AGI_E_INVALID,
		                "cluster key %s: expected 64 hex digits, as \"agihpc-ctl keygen\" makes",
		                path);
	return AGI_OK;
}
