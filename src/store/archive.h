/* SPDX-License-Identifier: Apache-2.0
 * Copies of stores: made beside a store that runs (agi_store_copy), and read without being changed. */
#ifndef AGI_STORE_ARCHIVE_H
#define AGI_STORE_ARCHIVE_H

#include "store/store.h"

/* Makes dir a copy of what the store held at some moment during the call: everything whose completion was
 * delivered before, and each write whole. Files are hard links where dir is on the store's file system, else
 * copies. dir must not exist, its parent must. From any thread; takes as long as flushing memory to disk does, and
 * copying. EXISTS, IO (nothing is left behind), CORRUPT. */
AGI_MUST_USE enum agi_err agi_store_copy(struct agi_store *s, const char *dir, struct agi_why *why);

struct agi_archive;
/* UNSUPPORTED: of a later version. CORRUPT, IO, NOMEM. */
AGI_MUST_USE enum agi_err agi_archive_open(const char *dir, struct agi_archive **out, struct agi_why *why);
/* Its cursors are closed before. NULL is allowed. */
void agi_archive_close(struct agi_archive *a);

/* Walks one column family in order of keys. */
struct agi_archive_cursor;
/* From begin (inclusive) on. NULL when out of memory. */
struct agi_archive_cursor *agi_archive_walk(struct agi_archive *a, enum agi_cf cf, struct agi_str begin);
/* NOT_FOUND past the last one; CORRUPT, IO + why. Key and value are good until the cursor moves. */
AGI_MUST_USE enum agi_err agi_archive_here(const struct agi_archive_cursor *c, struct agi_str *key,
                                           struct agi_str *value, struct agi_why *why);
void agi_archive_next(struct agi_archive_cursor *c);
void agi_archive_cursor_free(struct agi_archive_cursor *c);

#endif
