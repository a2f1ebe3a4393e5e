/* SPDX-License-Identifier: Apache-2.0
 * What a store keeps about itself beside RocksDB's files, in two small files of its directory:
 *
 *  SYNCED   the sequence number up to which writes were reported durable. Written about once a second
 *           and when the store falls quiet: it may lag behind by a second, it never leads. A store that
 *           opens with less than it says has forgotten acknowledged writes.
 *  DAMAGED  one line: why this store must not be used any more. Its node would act on less than it has
 *           promised to others.
 *
 * Private to src/store; one thread at a time. */
#ifndef AGI_STORE_MARK_H
#define AGI_STORE_MARK_H

#include <stdint.h>

#include "base/err.h"

#define AGI_SYNCED_FILE "SYNCED"
#define AGI_DAMAGED_FILE "DAMAGED"

struct agi_synced {
	int fd;        /* -1 = not open */
	uint64_t seq;  /* as last written or read */
	uint64_t turn; /* counts writes: the two copies are written in turns */
};

/* Opens or makes the file. One that cannot be understood counts as 0: it guards the data, it is none. IO. */
AGI_MUST_USE enum agi_err agi_synced_open(struct agi_synced *m, const char *dir, struct agi_why *why);
/* Durable on return. IO. */
AGI_MUST_USE enum agi_err agi_synced_write(struct agi_synced *m, uint64_t seq, struct agi_why *why);
void agi_synced_close(struct agi_synced *m);

/* CORRUPT + the line when the store is marked, OK when it is not. A mark that cannot be read is a mark. */
AGI_MUST_USE enum agi_err agi_damaged_read(const char *dir, struct agi_why *why);
/* Marks the store; a mark that is there stays. Best effort: a disk that fails may not take it. */
void agi_damaged_write(const char *dir, const char *text);

#endif
