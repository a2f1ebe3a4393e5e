/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

/* --- reading --------------------------------------------------------------------------------------- */
static enum agi_err read_text(const char *path, struct agi_buf *out, struct agi_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	uint8_t *p;

	while (fd >= 0 && (p = agi_buf_reserve(out, CHUNK)) != NULL && (n = read(fd, p, CHUNK)) > 0)
		out->n += (size_t)n;
	if (fd >= 0)
		close(fd);
	if (fd < 0 || n < 0)
		return agi_fail(why, AGI_E_IO, "cannot read %s: %s", path, strerror(errno));
	return out->err ? agi_fail(why, out->err, "%s: %s", path, agi_err_text(out->err)) : AGI_OK;
}

static char *join(const char *dir, const char *name, const char *below)
{
	size_t n = strlen(dir) + strlen(name) + strlen(below) + 3;
	char *path = malloc(n);

	if (path)
		snprintf(path, n, "%s/%s/%s", dir, name, below);
	return path;
}

static enum agi_err read_part(struct agi_backup_set_part *p, const char *path, struct agi_why *why)
{
	struct agi_why inner = {""};
	struct agi_buf text;
	enum agi_err e;

	agi_buf_init(&text, AGI_BACKUP_MANIFEST_MAX);
	e = read_text(path, &text, why);
	if (!e) {
		e = agi_backup_read(&p->p, agi_buf_str(&text), &inner);
		if (e)
			agi_fail(why, e, "%s: %s", path, inner.text[0] ? inner.text : agi_err_text(e));
	}
	agi_buf_free(&text);
	return e;
}

static enum agi_err add_part(struct agi_backup_set *s, const char *dir, const char *name, struct agi_why *why)
{
	struct agi_backup_set_part *p = &s->parts[s->n];
	char *manifest = join(dir, name, AGI_BACKUP_MANIFEST);
	enum agi_err e = AGI_OK;

	p->store = join(dir, name, AGI_BACKUP_STORE);
	if (!manifest || !p->store)
		e = agi_fail(why, AGI_E_NOMEM, "out of memory");
	else if (access(manifest, F_OK))
		e = AGI_E_NOT_FOUND; /* of a node that did not finish, or no part at all */
	else
		e = read_part(p, manifest, why);
	free(manifest);
	if (!e) {
		s->n++;
		return AGI_OK;
	}
	free(p->store);
	*p = (struct agi_backup_set_part){.store = NULL};
	return e == AGI_E_NOT_FOUND ? AGI_OK : e;
}

static int is_name(const struct dirent *d) { return agi_backup_name_is_valid(agi_str_of(d->d_name)); }
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static enum agi_err find_parts(struct agi_backup_set *s, const char *dir, struct agi_why *why)
{
	struct dirent **list = NULL;
	int n = scandir(dir, &list, is_name, by_name);
	enum agi_err e = AGI_OK;

	if (n < 0)
		return agi_fail(why, AGI_E_NOT_FOUND, "there is no backup in %s: %s", dir, strerror(errno));
	s->parts = calloc((size_t)n + 1, sizeof *s->parts);
	if (!s->parts)
		e = agi_fail(why, AGI_E_NOMEM, "out of memory");
	for (int i = 0; i < n; i++) {
		if (!e && s->n < AGI_BACKUP_PARTS_MAX)
			e = add_part(s, dir, list[i]->d_name, why);
		free(list[i]);
	}
	free(list);
	if (!e && !s->n)
		e = agi_fail(why, AGI_E_NOT_FOUND, "%s holds no finished part of a backup", dir);
	return e;
}

/* --- the set ------------------------------------------------------------------------------------------ */
static enum agi_err check_twice(const struct agi_backup_set *s, size_t i, struct agi_why *why)
{
	for (size_t k = 0; k < i; k++)
		if (agi_id_eq(&s->parts[i].p.node, &s->parts[k].p.node))
			return agi_fail(why, AGI_E_INVALID, "%s and %s are the same node's: keep one", s->parts[k].store,
			                s->parts[i].store);
	return AGI_OK;
}

static enum agi_err check_same(const struct agi_backup_set *s, struct agi_why *why)
{
	const struct agi_backup_part *first = &s->parts[0].p;
	enum agi_err e = AGI_OK;

	for (size_t i = 1; i < s->n && !e; i++) {
		const struct agi_backup_part *p = &s->parts[i].p;

		if (!agi_id_eq(&p->cluster, &first->cluster) || p->slot_bits != first->slot_bits ||
		    strcmp(p->name, first->name) != 0 || p->began_ms != first->began_ms)
			return agi_fail(why, AGI_E_INVALID, "%s and %s belong to different backups", s->parts[i].store,
			                s->parts[0].store);
		e = check_twice(s, i, why);
	}
	return e;
}

static uint32_t count_missing(const struct agi_backup_set *s)
{
	const struct agi_backup_part *p = &s->parts[0].p;
	uint32_t n = 0;

	for (size_t i = 0; i < p->n_hosts; i++) {
		bool is_here = !p->took_part[i];

		for (size_t k = 0; k < s->n && !is_here; k++)
			is_here = agi_id_eq(&s->parts[k].p.node, &p->hosts[i]);
		n += !is_here;
	}
	return n;
}

static void sum_up(struct agi_backup_set *s)
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, NULL, 0, 32);
	for (size_t i = 0; i < s->n; i++) {
		crypto_generichash_update(&st, s->parts[i].p.end, sizeof s->parts[i].p.end);
		for (size_t k = 0; k < s->parts[i].p.n_files; k++)
			s->bytes += s->parts[i].p.files[k].bytes;
	}
	crypto_generichash_final(&st, s->mark, 32);
	s->missing = count_missing(s);
}

static enum agi_err count_slots(struct agi_backup_set *s, struct agi_why *why)
{
	const struct agi_backup_part **list = calloc(s->n, sizeof *list);
	enum agi_err e = list ? AGI_OK : AGI_E_NOMEM;

	for (size_t i = 0; list && i < s->n; i++)
		list[i] = &s->parts[i].p;
	if (!e)
		e = agi_backup_cover(list, s->n, &s->cover);
	free(list);
	return e ? agi_fail(why, e, "out of memory") : AGI_OK;
}

enum agi_err agi_backup_set_open(struct agi_backup_set *s, const char *dir, struct agi_why *why)
{
	enum agi_err e;

	*s = (struct agi_backup_set){.n = 0};
	e = find_parts(s, dir, why);
	if (!e)
		e = check_same(s, why);
	if (!e)
		e = count_slots(s, why);
	if (e)
		agi_backup_set_free(s);
	else
		sum_up(s);
	return e;
}

void agi_backup_set_free(struct agi_backup_set *s)
{
	for (size_t i = 0; i < s->n; i++) {
		agi_backup_part_free(&s->parts[i].p);
		free(s->parts[i].store);
	}
	free(s->parts);
	agi_backup_cover_free(&s->cover);
	*s = (struct agi_backup_set){.n = 0};
}

/* --- checksums ------------------------------------------------------------------------------------------ */
static enum agi_err sum_file(int fd, uint8_t *buf, agi_backup_read_fn *fn, void *ctx, uint64_t *bytes,
                             uint8_t hash[32])
{
	crypto_generichash_state st;
	bool goes_on = true;
	ssize_t n = 0;

	*bytes = 0;
	crypto_generichash_init(&st, NULL, 0, 32);
	while (goes_on && (n = read(fd, buf, CHUNK)) > 0) {
		crypto_generichash_update(&st, buf, (unsigned long long)n);
		*bytes += (uint64_t)n;
		goes_on = fn(ctx, (uint64_t)n);
	}
	crypto_generichash_final(&st, hash, 32);
	return !goes_on ? AGI_E_CLOSED : n < 0 ? AGI_E_IO : AGI_OK;
}

enum agi_err agi_backup_check_file(const struct agi_backup_set_part *p, const struct agi_backup_file *f,
                                   agi_backup_read_fn *fn, void *ctx, struct agi_why *why)
{
	char path[PATH_MAX];
	uint8_t hash[32], *buf;
	uint64_t bytes;
	enum agi_err e;
	int fd;

	if (snprintf(path, sizeof path, "%s/%s", p->store, f->name) >= (int)sizeof path)
		return agi_fail(why, AGI_E_INVALID, "the backup's path is too long");
	buf = malloc(CHUNK);
	if (!buf)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	e = fd < 0 ? AGI_E_IO : sum_file(fd, buf, fn, ctx, &bytes, hash);
	if (e == AGI_E_IO)
		agi_fail(why, e, "cannot read %s: %s", path, strerror(errno));
	else if (!e && (bytes != f->bytes || memcmp(hash, f->hash, sizeof hash) != 0))
		e = agi_fail(why, AGI_E_CORRUPT, "%s is damaged", path);
	if (fd >= 0)
		close(fd);
	free(buf);
	return e;
}
