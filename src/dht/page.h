/* SPDX-License-Identifier: Apache-2.0
 * A page of many slots' records, as one member holds them: the messages SCAN and SCANNED. Private to src/dht.
 *
 * What a member answers is its storage at one moment. What it means (which of several members' records counts) is
 * the asker's business. */
#ifndef AGI_DHT_PAGE_H
#define AGI_DHT_PAGE_H

#include "dht/state.h"

enum {
	AGI_PAGE_INLINE = 16 << 10, /* bytes of a record that travels in a page; of a longer one only the head does */
	AGI_PAGE_KEYS = 4096        /* records looked at for one page of heads */
};

enum agi_page_what {
	AGI_PAGE_RECORDS, /* whole records */
	AGI_PAGE_HEADS,   /* keys and the records' heads: version, flags, not the value */
	AGI_PAGE_LAST     /* of each slot only where it has got to: its highest position, without a key */
};

struct agi_page_slot {
	uint32_t slot;
	uint64_t epoch;
	uint64_t since; /* only records of a higher position; 0 = all */
};

/* What is asked: the keys of namespace ns that begin with prefix (is_exact: that are prefix), in slots ascending. */
struct agi_page_ask {
	enum agi_page_what what;
	bool is_exact;
	struct agi_str ns, prefix;
	struct agi_str after; /* in the first slot only what follows this key; empty = all */
	uint32_t max_items, max_bytes;
	const struct agi_page_slot *slots;
	uint32_t n_slots;
};
/* The blob of a SCAN. */
void agi_page_ask_put(struct agi_buf *b, const struct agi_page_ask *ask);

struct agi_page_record {
	uint32_t slot;
	struct agi_str key;
	struct agi_str record; /* as stored, or its head */
	bool is_cut;           /* only the head */
	uint32_t bytes;        /* of the whole record, where it is known (RECORDS) */
};

/* What was answered. */
struct agi_page {
	struct agi_cur refused; /* slots that are not in the page, with the reason */
	bool has_more;          /* what follows last_key in last_slot is not in it either */
	uint32_t last_slot;
	struct agi_str last_key;
	struct agi_cur records;
};
/* MALFORMED when it makes no sense. Borrowed from m. */
AGI_MUST_USE enum agi_err agi_page_open(struct agi_page *p, const struct agi_msg *m);
bool agi_page_next_refused(struct agi_page *p, uint32_t *slot, enum agi_err *why);
/* In order of slot and key; false at the end, or when the rest makes no sense. */
bool agi_page_next(struct agi_page *p, struct agi_page_record *out);

/* How far the slot's writes had got when this record was written: an item's stamp; of a register, round and count
 * of the accepted write. It grows with every write of one key, and, for registers, with every write of the slot
 * that begins after another was acknowledged. */
uint64_t agi_page_position(bool is_strong, struct agi_str record);

void agi_page_on_scan(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);

#endif
