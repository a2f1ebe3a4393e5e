/* SPDX-License-Identifier: Apache-2.0 */
#include "store/archive.h"

#include <limits.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	FAMILIES_MAX = AGI_CF_COUNT + 1,
	INFO_LOG_FATAL = 4, /* as db.c: nothing is logged once it is open */
};

struct agi_archive {
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_readoptions_t *read_options;
	size_t n;
	rocksdb_column_family_handle_t *handles[FAMILIES_MAX];
	rocksdb_column_family_handle_t *cf[AGI_CF_COUNT]; /* NULL: the copy is older than this family */
	char path[PATH_MAX];
};
struct agi_archive_cursor {
	struct agi_archive *a;
	rocksdb_iterator_t *it; /* NULL: nothing is there */
};

/* Frees status. */
static enum agi_err fail_take(struct agi_why *why, const char *path, char *status)
{
	enum agi_err e = strncmp(status, "Corruption", 10) == 0 ? AGI_E_CORRUPT : AGI_E_IO;

	(void)agi_fail(why, e, "cannot read %s: %s", path, status);
	rocksdb_free(status);
	return e;
}

static bool is_known(const char *name)
{
	for (int i = 0; i < AGI_CF_COUNT; i++)
		if (strcmp(name, agi_cf_name((enum agi_cf)i)) == 0)
			return true;
	return strcmp(name, "default") == 0;
}

static enum agi_err open_families(struct agi_archive *a, char **names, size_t n, struct agi_why *why)
{
	const rocksdb_options_t *options[FAMILIES_MAX];
	char *err = NULL;

	for (size_t i = 0; i < n; i++) {
		if (i == FAMILIES_MAX || !is_known(names[i]))
			return agi_fail(why, AGI_E_UNSUPPORTED, "%s: written by a newer version of this program",
			                a->path);
		options[i] = a->options;
	}
	a->db = rocksdb_open_for_read_only_column_families(a->options, a->path, (int)n, (const char *const *)names,
	                                                   options, a->handles, 0, &err);
	if (err) {
		a->db = NULL;
		return fail_take(why, a->path, err);
	}
	a->n = n;
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < AGI_CF_COUNT; k++)
			if (strcmp(names[i], agi_cf_name((enum agi_cf)k)) == 0)
				a->cf[k] = a->handles[i];
	return AGI_OK;
}

static enum agi_err open_all(struct agi_archive *a, struct agi_why *why)
{
	char *err = NULL, **names;
	enum agi_err e;
	size_t n;

	names = rocksdb_list_column_families(a->options, a->path, &n, &err);
	e = err ? fail_take(why, a->path, err) : open_families(a, names, n, why);
	rocksdb_list_column_families_destroy(names, n);
	return e;
}

enum agi_err agi_archive_open(const char *dir, struct agi_archive **out, struct agi_why *why)
{
	struct agi_archive *a = calloc(1, sizeof *a);
	enum agi_err e;

	if (!a)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	if (snprintf(a->path, sizeof a->path, "%s", dir) >= (int)sizeof a->path) {
		free(a);
		return agi_fail(why, AGI_E_INVALID, "the path of the copy is too long");
	}
	a->options = rocksdb_options_create();
	rocksdb_options_set_paranoid_checks(a->options, 1);
	rocksdb_options_set_max_open_files(a->options, 64);
	rocksdb_options_set_info_log_level(a->options, INFO_LOG_FATAL);
	a->read_options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(a->read_options, 1);
	rocksdb_readoptions_set_fill_cache(a->read_options, 0);
	e = open_all(a, why);
	if (e) {
		agi_archive_close(a);
		return e;
	}
	*out = a;
	return AGI_OK;
}

void agi_archive_close(struct agi_archive *a)
{
	char log[PATH_MAX + 8];

	if (!a)
		return;
	for (size_t i = 0; i < a->n; i++)
		rocksdb_column_family_handle_destroy(a->handles[i]);
	if (a->db)
		rocksdb_close(a->db);
	rocksdb_readoptions_destroy(a->read_options);
	rocksdb_options_destroy(a->options);
	snprintf(log, sizeof log, "%s/LOG", a->path);
	(void)unlink(log); /* RocksDB's own, of this reading: no part of the copy */
	free(a);
}

/* --- walking ------------------------------------------------------------------------------------ */
struct agi_archive_cursor *agi_archive_walk(struct agi_archive *a, enum agi_cf cf, struct agi_str begin)
{
	struct agi_archive_cursor *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->a = a;
	if (a->cf[cf]) {
		c->it = rocksdb_create_iterator_cf(a->db, a->read_options, a->cf[cf]);
		rocksdb_iter_seek(c->it, begin.p ? begin.p : "", begin.n);
	}
	return c;
}

enum agi_err agi_archive_here(const struct agi_archive_cursor *c, struct agi_str *key, struct agi_str *value,
                              struct agi_why *why)
{
	char *err = NULL;

	if (!c->it)
		return AGI_E_NOT_FOUND;
	if (!rocksdb_iter_valid(c->it)) {
		rocksdb_iter_get_error(c->it, &err);
		return err ? fail_take(why, c->a->path, err) : AGI_E_NOT_FOUND;
	}
	key->p = rocksdb_iter_key(c->it, &key->n);
	value->p = rocksdb_iter_value(c->it, &value->n);
	return AGI_OK;
}

void agi_archive_next(struct agi_archive_cursor *c)
{
	if (c->it && rocksdb_iter_valid(c->it))
		rocksdb_iter_next(c->it);
}

void agi_archive_cursor_free(struct agi_archive_cursor *c)
{
	if (!c)
		return;
	if (c->it)
		rocksdb_iter_destroy(c->it);
	free(c);
}
