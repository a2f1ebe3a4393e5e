/* SPDX-License-Identifier: Apache-2.0
 * What a backup says about itself, and when it is whole.
 *
 * A backup is a directory with one directory for each node that took part, its name the first 16 digits of the
 * node's id:  manifest (text, below) and store/ (a RocksDB of its own).
 *
 *   agihpc-backup 1            the format
 *   name nightly-3
 *   cluster HEX
 *   node HEX                   whose part this is
 *   address 10.0.0.1:5000
 *   slot_bits 12
 *   began 1764000000000        Unix time in ms: when the backup was asked for
 *   ended 1764000004711        when this part was finished
 *   host HEX                   any number; the i-th is meant by i below
 *   part 0                     took part
 *   slot 17 5 active 0 2 3     slot, epoch, this node's phase, the view's members
 *   file 000012.sst 4711 HEX   in store/: name, bytes, BLAKE2b-256
 *   end HEX                    BLAKE2b-256 of everything before this line
 *
 * A slot is whole in a set of parts when, for some epoch, a majority of the view's members took their copy while
 * they were active in it: every write that was acknowledged before the backup began then is in one of them, because
 * it reached a majority of that view, or was handed on to all of its members; and no later view can have
 * acknowledged any, because its majority would have left this epoch first. Of such a slot the parts of that epoch or
 * a later one count, and others do not: a former member may hold what has been deleted since.
 *
 * Values and text only. */
#ifndef AGI_BASE_BACKUP_H
#define AGI_BASE_BACKUP_H

#include "base/buf.h"
#include "base/id.h"
#include "base/limits.h"

enum {
	AGI_BACKUP_NAME_MAX = 64,
	AGI_BACKUP_DIR_HEX = 16, /* digits of a node's directory */
	AGI_BACKUP_PARTS_MAX = 1024,
	AGI_BACKUP_MANIFEST_MAX = 64 << 20
};
#define AGI_BACKUP_MANIFEST "manifest"
#define AGI_BACKUP_STORE "store"

enum agi_backup_phase { AGI_BACKUP_ACTIVE, AGI_BACKUP_SEALED, AGI_BACKUP_JOINING, AGI_BACKUP_LEAVING };

struct agi_backup_slot {
	uint32_t slot;
	uint64_t epoch;
	enum agi_backup_phase phase;
	uint8_t n_members;
	uint32_t members[AGI_REPLICAS_MAX]; /* of hosts */
};
struct agi_backup_file {
	char *name; /* owned */
	uint64_t bytes;
	uint8_t hash[32];
};
struct agi_backup_part {
	char name[AGI_BACKUP_NAME_MAX + 1];
	struct agi_id cluster, node;
	char address[AGI_ADDRESS_MAX + 1];
	uint32_t slot_bits;
	uint64_t began_ms, ended_ms;
	struct agi_id *hosts;
	bool *took_part; /* by host */
	size_t n_hosts, cap_hosts;
	struct agi_backup_slot *slots; /* by number */
	size_t n_slots, cap_slots;
	struct agi_backup_file *files;
	size_t n_files, cap_files;
	uint8_t end[32]; /* of a manifest that was read or written: names it */
};

/* 1 to 64 of a-z A-Z 0-9 . _ -, the first a letter or digit: safe as the name of a directory. */
bool agi_backup_name_is_valid(struct agi_str name);

/* Zeroed before; freed by _free, after which it is zeroed again. */
void agi_backup_part_free(struct agi_backup_part *p);
/* The host's index; it is added when it is new. NOMEM, FULL. */
AGI_MUST_USE enum agi_err agi_backup_host(struct agi_backup_part *p, const struct agi_id *id, uint32_t *out);
/* Slots come in order. */
AGI_MUST_USE enum agi_err agi_backup_add_slot(struct agi_backup_part *p, const struct agi_backup_slot *s);
AGI_MUST_USE enum agi_err agi_backup_add_file(struct agi_backup_part *p, struct agi_str name, uint64_t bytes,
                                              const uint8_t hash[32]);
/* The manifest's text; sets p->end. Errors are the buffer's. */
void agi_backup_write(struct agi_backup_part *p, struct agi_buf *out);
/* CORRUPT + why (the line) for what is no manifest, cut short or changed; UNSUPPORTED for a later format; NOMEM. */
AGI_MUST_USE enum agi_err agi_backup_read(struct agi_backup_part *p, struct agi_str text, struct agi_why *why);

/* --- a set of parts ---------------------------------------------------------------------------------- */
struct agi_backup_cover {
	uint32_t n_slots;          /* of the cluster: 2^slot_bits */
	uint32_t whole;            /* of them */
	uint32_t first_incomplete; /* when whole < n_slots */
	uint64_t *epoch;           /* by slot: of which it is whole; 0 = of none. Owned */
};
/* Parts of one cluster (same slot_bits). NOMEM. */
AGI_MUST_USE enum agi_err agi_backup_cover(const struct agi_backup_part *const *parts, size_t n,
                                           struct agi_backup_cover *out);
void agi_backup_cover_free(struct agi_backup_cover *c);
/* Whether what this part has of a slot counts: see above. Of a slot that is not whole everything does. */
bool agi_backup_counts(const struct agi_backup_cover *c, const struct agi_backup_part *p, uint32_t slot);

#endif
