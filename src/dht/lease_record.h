/* SPDX-License-Identifier: Apache-2.0
 * A lease as it is kept: the value of a register of its own, in a namespace that clients cannot name. */
#ifndef AGI_DHT_LEASE_RECORD_H
#define AGI_DHT_LEASE_RECORD_H

#include "base/buf.h"
#include "dht/types.h"

#define AGI_LEASE_NS AGI_STR("\x01lease")

/* Strings are borrowed from what was decoded. */
struct agi_lease {
	uint64_t id;           /* never 0, below 2^63 */
	uint64_t ttl_ms;
	uint64_t renewed_ms;   /* by the wall clock of who renewed it; for people */
	struct agi_str holder; /* text of who asked for it */
};

/* The register's key: be64 id. */
void agi_lease_key(uint8_t out[8], uint64_t id);
/* CORRUPT when the key or value make no sense. */
AGI_MUST_USE enum agi_err agi_lease_decode(struct agi_lease *out, struct agi_str key, struct agi_str value);
void agi_lease_encode(struct agi_buf *b, const struct agi_lease *l);

#endif
