/* SPDX-License-Identifier: Apache-2.0
 * Reading a backup for a restore: a thread checks every part, counts the slots, and then gives out, slot by slot, the
 * newest record of every key: of items by version, of registers by the order of their writes.
 *
 * What it gives out waits in a bounded queue; descriptor _fd is readable when something waits. */
#ifndef AGI_NODE_RESTORE_READ_H
#define AGI_NODE_RESTORE_READ_H

#include "base/backup.h"
#include "dht/types.h"

struct agi_restore_reader;
struct agi_restore_reader_cfg {
	const char *dir;       /* of the backup: holds the nodes' parts */
	bool is_partial;       /* slots that are not whole are restored as far as they go */
	uint32_t from_slot;    /* go on here, if the backup is the same as `mark` says */
	uint8_t mark[32];
	uint64_t now_ms;       /* items that have expired by then are left out */
};

enum agi_restore_step { AGI_RESTORE_CHECKING, AGI_RESTORE_READING, AGI_RESTORE_READ, AGI_RESTORE_UNREADABLE };
struct agi_restore_read_stats {
	enum agi_restore_step step;
	uint64_t bytes, bytes_total;     /* checked */
	uint32_t slots, whole;           /* of the backup's cluster */
	uint32_t first;                  /* the slot it began at; once READING */
	uint32_t parts, missing;         /* nodes' parts; those named by others that are not here */
	uint64_t expired, leased;        /* left out: expired; leases, and registers with one */
	uint8_t mark[32];                /* names this set of parts; once READING */
	struct agi_why why;              /* UNREADABLE; else what should be known, or empty */
};

/* One record to be written. */
struct agi_restore_record {
	struct agi_restore_record *next; /* the owner's */
	uint32_t slot;                   /* of the backup's cluster */
	bool is_register;
	uint64_t floor;                  /* registers: the highest version any had in the slot */
	struct agi_item item;            /* strings in the same allocation */
	size_t bytes;
	char data[];
};

AGI_MUST_USE enum agi_err agi_restore_reader_new(const struct agi_restore_reader_cfg *cfg,
                                                 struct agi_restore_reader **out, struct agi_why *why);
/* Ends the thread. NULL is allowed. */
void agi_restore_reader_free(struct agi_restore_reader *r);
int agi_restore_reader_fd(const struct agi_restore_reader *r);
/* Before taking what waits: the descriptor is readable again only for what comes after. */
void agi_restore_reader_heard(struct agi_restore_reader *r);
/* The next record, freed by the caller with free(); NULL when none waits. */
struct agi_restore_record *agi_restore_take(struct agi_restore_reader *r);
void agi_restore_read_stats(struct agi_restore_reader *r, struct agi_restore_read_stats *out);

#endif
