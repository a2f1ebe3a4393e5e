/* SPDX-License-Identifier: Apache-2.0
 * A set of provider records, one per instance (service, host, address), newest kept. Private to src/dht. */
#ifndef AGI_DHT_RECORDS_H
#define AGI_DHT_RECORDS_H

#include "base/map.h"
#include "dht/types.h"

struct agi_record {
	struct agi_provider p;     /* strings point into bytes */
	struct agi_id node;        /* hash of p.pubkey */
	uint64_t expires_us;       /* monotonic; ttl after it was last confirmed */
	char *bytes;               /* owned: identity key ‖ service ‖ address */
	size_t key_bytes;
	UT_hash_handle hh;
};
struct agi_records {
	struct agi_record *by_key;
	uint32_t n;
};

/* Is this record's own content acceptable (names, sizes)? */
bool agi_record_is_sane(const struct agi_provider *p);
struct agi_record *agi_records_find(const struct agi_records *rs, const struct agi_provider *p);
/* a supersedes b: later incarnation, or later sequence within it */
bool agi_record_is_newer(const struct agi_provider *a, const struct agi_provider *b);
/* Inserts or replaces when newer; confirms (new expiry) when it is the same record. Returns the record, or
 * NULL when out of memory, full or older than what is there. */
struct agi_record *agi_records_put(struct agi_records *rs, const struct agi_provider *p, uint64_t expires_us,
                                   uint32_t max);
void agi_records_remove(struct agi_records *rs, struct agi_record *r);
void agi_records_free(struct agi_records *rs);
/* Removes what expired before now. */
void agi_records_expire(struct agi_records *rs, uint64_t now_us);

#endif
