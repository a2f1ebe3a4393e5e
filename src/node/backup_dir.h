/* SPDX-License-Identifier: Apache-2.0
 * Directories and files of backups: made, removed, found. All block.
 *
 * Private to the backup. */
#ifndef AGI_NODE_BACKUP_DIR_H
#define AGI_NODE_BACKUP_DIR_H

#include <stdint.h>

#include "base/err.h"
#include "base/id.h"
#include "base/str.h"

/* IO + why: "cannot WHAT PATH: " and errno. */
enum agi_err agi_backup_fail_io(struct agi_why *why, const char *what, const char *path);
/* A directory with all that is in it, two levels deep; links are removed, not followed. OK when there is none. */
AGI_MUST_USE enum agi_err agi_backup_remove(const char *path, struct agi_why *why);
/* path is an absolute DIR/NAME/NODE: NAME and NODE are made, and on disk. A NODE that is there is removed before. */
AGI_MUST_USE enum agi_err agi_backup_make_dirs(const char *path, struct agi_why *why);
AGI_MUST_USE enum agi_err agi_backup_sync_dir(const char *path, struct agi_why *why);
/* A new file with this text, on disk. */
AGI_MUST_USE enum agi_err agi_backup_put_file(const char *path, struct agi_str text, struct agi_why *why);
/* Of the files in a directory; 0 when there is none. */
uint64_t agi_backup_bytes(const char *dir);
/* Unix time of the newest finished part of this node below dir; 0: there is none. */
int64_t agi_backup_newest(const char *dir, const struct agi_id *node);

#endif
