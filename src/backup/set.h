/* SPDX-License-Identifier: Apache-2.0
 * The parts of a backup as they lie in a directory (base/backup.h says what they are): found, read, and their files
 * held against their checksums. */
#ifndef AGI_BACKUP_SET_H
#define AGI_BACKUP_SET_H

#include "base/backup.h"

struct agi_backup_set_part {
	struct agi_backup_part p;
	char *store; /* path of its files; owned */
};
struct agi_backup_set {
	struct agi_backup_set_part *parts; /* by the names of their directories */
	size_t n;
	uint64_t bytes;    /* of all files */
	uint32_t missing;  /* nodes that took part, as the parts say, and whose part is not here */
	struct agi_backup_cover cover;
	uint8_t mark[32];  /* the same for the same parts */
};

/* Reads every manifest below dir; directories without one are no parts. NOT_FOUND: there is none; INVALID: parts of
 * different backups, or one twice; CORRUPT, UNSUPPORTED, IO, NOMEM. */
AGI_MUST_USE enum agi_err agi_backup_set_open(struct agi_backup_set *s, const char *dir, struct agi_why *why);
/* Of a zeroed one, too. */
void agi_backup_set_free(struct agi_backup_set *s);

/* Told as bytes are read; false ends the reading (CLOSED). */
typedef bool agi_backup_read_fn(void *ctx, uint64_t bytes);
/* Reads a file of a part. CORRUPT + why when it is not what the manifest says, IO, NOMEM. */
AGI_MUST_USE enum agi_err agi_backup_check_file(const struct agi_backup_set_part *p,
                                                const struct agi_backup_file *f, agi_backup_read_fn *fn,
                                                void *ctx, struct agi_why *why);

#endif
