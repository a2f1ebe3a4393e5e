/* SPDX-License-Identifier: Apache-2.0
 * A set of provider records, one per instance (service, host, address), newest kept. Private to src/dht. */
#ifndef AGI_DHT_RECORDS_H
#define AGI_DHT_RECORDS_H

#include "base/map.h"
#include "dht/types.h"

struct agi_record_host {       /* of which there are records */
	struct agi_id id;
	uint64_t incarnation;      /* the newest that a record has named */
	uint32_t n;
	UT_hash_handle hh;
};
struct agi_record {
	struct agi_provider p;     /* strings point into bytes */
	struct agi_record_host *host;
	struct agi_id node;        /* hash of p.pubkey */
	uint64_t expires_us;       /* monotonic; ttl after it was last confirmed */
	char *bytes;               /* owned: identity key ‖ service ‖ address */
	size_t key_bytes;
	UT_hash_handle hh;
};
struct agi_records {
	struct agi_record *by_key;
	struct agi_record_host *by_host;
	uint32_t n;
};

/* Is this record's own content acceptable (names, sizes)? */
bool agi_record_is_sane(const struct agi_provider *p);
struct agi_record *agi_records_find(const struct agi_records *rs, const struct agi_provider *p);
/* a supersedes b: later incarnation, or later sequence within it */
bool agi_record_is_newer(const struct agi_provider *a, const struct agi_provider *b);
/* Of a life of its host that has ended: another record of the host says so. */
bool agi_record_is_ghost(const struct agi_record *r);
/* Inserts or replaces when newer; confirms (new expiry) when it is the same record. Returns the record, or
 * NULL when out of memory, full, older than what is there, or a ghost. */
struct agi_record *agi_records_put(struct agi_records *rs, const struct agi_provider *p, uint64_t expires_us,
                                   uint32_t max);
void agi_records_remove(struct agi_records *rs, struct agi_record *r);
void agi_records_free(struct agi_records *rs);
/* Removes what expired before now, and ghosts. */
void agi_records_expire(struct agi_records *rs, uint64_t now_us);

#endif
