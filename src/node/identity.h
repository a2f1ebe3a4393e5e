/* SPDX-License-Identifier: Apache-2.0
 * Who this node is, on disk: DATA/node.key (the Ed25519 seed, 32 bytes, mode 0600) and DATA/incarnation
 * (decimal, how often this identity has started). Both are replaced by writing a temporary file, fsync,
 * rename, fsync of the directory, so that a crash leaves the old or the new one.
 *
 * The incarnation lies in a file of its own, beside the store and not in it: it must be durable before the
 * first message goes out, and it is not what is lost with the store. A key whose store is gone is not used again:
 * disk.h. When node.key is there and the counter is not, it goes on from the Unix
 * time in seconds, which no count of starts reaches.
 *
 * The caller holds the data directory's lock (the store's) before agi_identity_load. */
#ifndef AGI_NODE_IDENTITY_H
#define AGI_NODE_IDENTITY_H

#include "base/id.h"

enum { AGI_CLUSTER_KEY_BYTES = 32 };

/* Zero it before load; wipe it after use. */
struct agi_identity {
	uint8_t *seckey; /* AGI_SECKEY_BYTES in guarded memory (libsodium) */
	uint8_t pubkey[AGI_PUBKEY_BYTES];
	struct agi_id id;
	uint64_t incarnation; /* of this start; on disk already */
	bool is_new;          /* the key was made by this call */
};

/* The directory, created with mode 0700 (its parent must exist). INVALID when the path is something else,
 * IO when it cannot be made or is not ours to write. */
AGI_MUST_USE enum agi_err agi_data_dir_open(const char *dir, struct agi_why *why);
/* Reads or makes the key, counts the start. DENIED when the key file is readable by group or others, CORRUPT
 * when the key has the wrong size, INVALID when the counter holds no number, IO. Nothing is written on error but a key that was missing. */
AGI_MUST_USE enum agi_err agi_identity_load(struct agi_identity *out, const char *dir,
                                            struct agi_why *why);
void agi_identity_wipe(struct agi_identity *id);

/* The overlay's pre-shared key: 64 hex digits, white space around them allowed. INVALID with what to do
 * (agihpc-ctl keygen), DENIED when others may read it or the group may write it (root:agihpc 0640 is how a
 * service user gets it), NOT_FOUND, IO. */
AGI_MUST_USE enum agi_err agi_cluster_key_read(uint8_t key[AGI_CLUSTER_KEY_BYTES], const char *path,
                                               struct agi_why *why);

#endif
