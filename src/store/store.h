/* SPDX-License-Identifier: Apache-2.0
 * Durable storage over RocksDB (C API): executes base/storage.h on a thread of its own.
 *
 * One writer thread takes every queued request, joins neighbouring writes into one RocksDB write batch,
 * syncs once (group commit) and reports all of them; reads run in submission order on the same thread,
 * so that a read sees every write submitted before it. Completions come back through a mailbox whose
 * file descriptor the owner's event loop watches. Single owner thread; not thread-safe beyond that.
 *
 * Not here: what keys and values mean (src/dht), replication. */
#ifndef AGI_STORE_STORE_H
#define AGI_STORE_STORE_H

#include "base/buf.h"
#include "base/storage.h"

struct agi_store;

struct agi_store_cfg {
	const char *path;      /* directory; created (0700) when missing */
	uint64_t cache_bytes;  /* block cache; 0 = 8 MiB */
	uint64_t memtable_bytes; /* total over all column families; 0 = 16 MiB */
	/* Everything stored is read and its checksums compared, from the end of one pass to the next so many
	 * seconds (0 = only by agi_store_scrub), at most so many bytes a second (0 = no limit). */
	uint32_t scrub_every_s;
	uint64_t scrub_bytes_s;
};

/* Why a store takes no writes any more. Only reopening changes it; DAMAGED not even that. */
enum agi_store_trouble {
	AGI_STORE_SOUND,
	AGI_STORE_NO_SPACE, /* the disk is full */
	AGI_STORE_IO,       /* a write, sync or read failed */
	AGI_STORE_DAMAGED   /* a checksum is wrong, a file or acknowledged writes are missing */
};
/* "sound", "no_space", "io", "damaged" */
const char *agi_store_trouble_name(enum agi_store_trouble t);

struct agi_store_stats {
	uint64_t writes, reads, scans;   /* requests completed */
	uint64_t commits;                /* synced batches; writes / commits = group size */
	uint64_t queued, queued_bytes;   /* on their way now: submitted, completion not taken */
	uint64_t disk_bytes;             /* live SST bytes, as of the last second with a write */
	uint64_t expired_bytes;          /* of items that had expired: not written again, since opening */
	uint64_t commit_us;              /* how long the commit (or read) that runs now has taken; 0 = none */
	uint64_t commit_max_us;          /* longest commit */
	bool is_read_only;               /* trouble is not SOUND */
	enum agi_store_trouble trouble;
	struct agi_why read_only_why;
	struct agi_why notice;           /* what was put right while opening; empty = nothing */
	uint64_t scrub_bytes, scrub_passes; /* since opening */
	uint64_t scrub_last_end;         /* Unix time of the last pass that found nothing; 0 = never */
	bool is_scrubbing;
};

/* Opens or creates. Takes an exclusive lock on the directory: a second process gets EXISTS and is told
 * who holds it. A log cut short or torn in its last write (kill -9, power cut) opens without that write; other
 * damage, and a store that has forgotten acknowledged writes, is CORRUPT, as is one that found damage before it
 * was closed: its node must not go on from it (docs/decisions). UNSUPPORTED when a newer version wrote it, INVALID for an impossible path, NOMEM, IO otherwise. *out is written on
 * success only. */
AGI_MUST_USE enum agi_err agi_store_open(const struct agi_store_cfg *cfg, struct agi_store **out,
                                         struct agi_why *why);
/* Moves a store that is not open, damaged or not, to another path of the same file system. No store there is OK.
 * EXISTS + why when another process has it open (never for one that this process has open); IO. */
AGI_MUST_USE enum agi_err agi_store_set_aside(const char *path, const char *to, struct agi_why *why);
/* Completes everything queued, syncs, closes; completions not taken by then are dropped. NULL is allowed. */
void agi_store_close(struct agi_store *s);

/* Queues a request; all of its bytes are copied before return. job_id comes back with the completion and is
 * the caller's own. Nothing is queued on error: FULL when AGI_STORE_QUEUE_MAX requests or
 * AGI_STORE_QUEUE_BYTES are on their way (until their completions are taken), TOO_LARGE when one request
 * alone exceeds that, INVALID for a PUT_NEWER or DELETE_IF without a version, NOMEM.
 * A SCAN with an empty end runs to the last key; max_items and max_bytes 0 mean no limit but 64 MiB. */
AGI_MUST_USE enum agi_err agi_store_submit(struct agi_store *s, uint64_t job_id,
                                           const struct agi_storage_req *req);

/* The same in two steps, for whoever has many: what is queued is not begun before the next _kick. */
AGI_MUST_USE enum agi_err agi_store_queue(struct agi_store *s, uint64_t job_id,
                                          const struct agi_storage_req *req);
void agi_store_kick(struct agi_store *s);
/* Answers a GET that may lag at once, when that takes no disk: value is appended to out. OK, NOT_FOUND; anything
 * else: it must be submitted. */
AGI_MUST_USE enum agi_err agi_store_peek(struct agi_store *s, const struct agi_storage_req *req,
                                         struct agi_buf *out);

/* Readable when completions wait. */
int agi_store_fd(const struct agi_store *s);
typedef void agi_store_done_fn(void *arg, uint64_t job_id, const struct agi_storage_done *done);
/* Delivers the completions that wait, in submission order, on the caller's thread. */
void agi_store_poll(struct agi_store *s, agi_store_done_fn *fn, void *arg);

/* Start-up only (nothing queued): the same requests, run at once on the caller's thread. fn is called once,
 * unless the request cannot be taken (INVALID, TOO_LARGE, NOMEM). Returns what the completion says. */
AGI_MUST_USE enum agi_err agi_store_run(struct agi_store *s, const struct agi_storage_req *req,
                                        agi_store_done_fn *fn, void *arg);

/* Begins to read everything now, at full speed when is_fast. What it finds makes the store read-only. */
void agi_store_scrub(struct agi_store *s, bool is_fast);
/* Items that expired before this Unix time, in ms, need their bytes no longer: they go when their table is rewritten.
 * What is left reads as a deleted item of the same version. 0: none. */
void agi_store_expire(struct agi_store *s, uint64_t before_ms);
/* Write stalls as RocksDB tells them: stopped, or slowed down to so many bytes a second (0 = neither). */
void agi_store_stall(const struct agi_store *s, bool *is_stopped, uint64_t *slowed_to);
/* Any number of times a second; copies under a lock. */
void agi_store_stats(const struct agi_store *s, struct agi_store_stats *out);

#endif
