/* SPDX-License-Identifier: Apache-2.0
 * Judges RocksDB's write-ahead log when RocksDB will not open over it: is the damage at its very end, in a
 * write that was being made when the power went, or in one that was acknowledged?
 *
 * This node's writes go to the log one after another, each synced before the next begins. So whatever stands
 * before a later write had been synced; only the last one may be torn. A record after which no other record
 * begins, in its file or a later one, is called torn; SYNCED (mark.h) then has the last word.
 *
 * The format: https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format (blocks of 32 KiB;
 * fragments with masked CRC32C, length and type). Private to src/store. */
#ifndef AGI_STORE_WAL_H
#define AGI_STORE_WAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum agi_wal_end {
	AGI_WAL_WHOLE,  /* every record is good, or cut short where its file ends (RocksDB drops that one) */
	AGI_WAL_TORN,   /* the last record is damaged */
	AGI_WAL_DAMAGED /* one before it */
};
struct agi_wal_look {
	enum agi_wal_end end;
	char file[64];   /* where, within the directory */
	uint64_t offset; /* of the damaged record's first byte */
};

/* Reads every log of the directory. IO, NOMEM. */
AGI_MUST_USE enum agi_err agi_wal_look(const char *dir, struct agi_wal_look *out, struct agi_why *why);
/* Ends a torn log before its damaged record; what is cut off is kept beside it as FILE.cut. Durable. IO. */
AGI_MUST_USE enum agi_err agi_wal_cut(const char *dir, const struct agi_wal_look *look, struct agi_why *why);

/* CRC-32C (RFC 3720 appendix B.4). */
uint32_t agi_crc32c(const uint8_t *p, size_t n);

#endif
