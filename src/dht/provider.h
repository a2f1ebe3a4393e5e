/* SPDX-License-Identifier: Apache-2.0
 * Provider records: what the signature covers, and which names services may have. */
#ifndef AGI_DHT_PROVIDER_H
#define AGI_DHT_PROVIDER_H

#include "dht/types.h"

/* Fills pubkey and sig (zeros when out of memory: such a record is refused by everybody). */
void agi_provider_sign(struct agi_provider *p, const uint8_t seckey[AGI_SECKEY_BYTES]);
/* Is sig pubkey's signature over all other fields? */
bool agi_provider_verify(const struct agi_provider *p);
/* A DNS label in lower case (RFC 1035 2.3.1; digits may lead, RFC 1123 2.1). */
bool agi_service_name_is_valid(struct agi_str s);

#endif
