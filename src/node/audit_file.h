/* SPDX-License-Identifier: Apache-2.0
 * The audit log on disk: DATA/audit/NUMBER.audit, segments of records (roles/audit/chain.h) that are only ever appended
 * to. Each life begins a new one. When all of them take more than bytes_max, the oldest go.
 *
 * What is appended is in the kernel's page cache when _append returns: it survives the process. It survives the host
 * after the next sync, which is made elsewhere (it blocks): _take_sync → agi_audit_sync_run on another thread → its
 * result to _synced. A failed sync is final: what the kernel had is lost, so nothing more is taken in this life.
 *
 * One thread at a time, except where it says otherwise. */
#ifndef AGI_NODE_AUDIT_FILE_H
#define AGI_NODE_AUDIT_FILE_H

#include "roles/audit/chain.h"

enum {
	AGI_AUDIT_SEGMENT_BYTES = 16 << 20,
	AGI_AUDIT_PATH_MAX = 4096,
	AGI_AUDIT_CHUNK_BYTES = 2 * AGI_AUDIT_ENTRY_MAX /* read at once: any record fits */
};

struct agi_audit_file;

struct agi_audit_file_cfg {
	const char *dir;        /* is made when it is not there */
	uint64_t bytes_max;     /* of all segments; the one that is written to is kept whatever it takes */
	uint32_t segment_bytes; /* 0 = AGI_AUDIT_SEGMENT_BYTES */
};
/* What was there. */
struct agi_audit_found {
	bool has_last;
	uint64_t incarnation, seq;
	uint8_t hash[AGI_AUDIT_HASH];
	uint64_t cut_bytes;  /* a record that was torn when the host went down: it was cut off */
	bool is_damaged;     /* what follows the last record is none, and no torn one: it was left as it is */
};
/* IO, NOMEM + why. */
AGI_MUST_USE enum agi_err agi_audit_file_open(const struct agi_audit_file_cfg *cfg, struct agi_audit_file **out,
                                              struct agi_audit_found *found, struct agi_why *why);
/* NULL is allowed. Does not sync. */
void agi_audit_file_free(struct agi_audit_file *f);
/* Appends all of it or, on error, nothing (DISK_FULL, READ_ONLY, IO + why). READ_ONLY after a failed sync. */
AGI_MUST_USE enum agi_err agi_audit_file_append(struct agi_audit_file *f, struct agi_str records, struct agi_why *why);

/* --- syncing -------------------------------------------------------------------------------------------------- */
enum { AGI_AUDIT_SYNC_FILES = 4 };
struct agi_audit_sync {
	char dir[AGI_AUDIT_PATH_MAX];
	uint64_t bytes_max;
	int fd[AGI_AUDIT_SYNC_FILES];
	uint8_t n;
	bool trims; /* a new segment was begun */
};
/* False: nothing was appended since the last one. Descriptors in *out are its own. */
bool agi_audit_file_take_sync(struct agi_audit_file *f, struct agi_audit_sync *out);
/* Any thread; blocks. Closes what it was given. IO + why. */
AGI_MUST_USE enum agi_err agi_audit_sync_run(struct agi_audit_sync *s, struct agi_why *why);
void agi_audit_file_synced(struct agi_audit_file *f, enum agi_err err);

/* --- reading: any thread, also while a node writes -------------------------------------------------------------- */
/* The last segment before *than; NULL: of all. out may be than. NOT_FOUND, IO. */
AGI_MUST_USE enum agi_err agi_audit_segment_before(const char *dir, const uint64_t *than, uint64_t *out);
struct agi_audit_at {
	bool has_segment;
	uint64_t number, offset;
};
struct agi_audit_chunk {
	struct agi_buf records; /* whole ones; of the time asked for and later */
	struct agi_why damage;  /* what cannot be read as records; "" = nothing */
	bool has_more;
};
/* Goes on at *at (zero: the oldest segment) with at most AGI_AUDIT_CHUNK_BYTES and moves it. chunk->records is emptied
 * first. since_ms: by the entries' own times. NOT_FOUND: there is no such directory. IO, NOMEM + why. */
AGI_MUST_USE enum agi_err agi_audit_read(const char *dir, struct agi_audit_at *at, uint64_t since_ms,
                                         struct agi_audit_chunk *chunk, struct agi_why *why);

#endif
