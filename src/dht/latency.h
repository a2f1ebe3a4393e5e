/* SPDX-License-Identifier: Apache-2.0
 * How far a host is: round trips measured by probes, and where none is fresh, what the coordinates of both sides
 * say. Kept in each agi_host; this host's own coordinate lies in agi_dht. Private to src/dht. */
#ifndef AGI_DHT_LATENCY_H
#define AGI_DHT_LATENCY_H

#include "dht/coord.h"
#include "dht/msg.h"

struct agi_dht;
struct agi_host;

enum {
	AGI_LATENCY_SAMPLES = 3,      /* the middle one counts: Consul's filter against single late answers */
	AGI_LATENCY_FRESH_MS = 30000  /* a measured round trip that is older only supports the estimate */
};

/* Of one host; all zero: nothing is known. */
struct agi_latency {
	struct agi_coord coord;  /* as it told last */
	bool has_coord;
	uint8_t n;               /* of recent_us, and where the next goes: n % AGI_LATENCY_SAMPLES; stays below 2 of them */
	uint32_t recent_us[AGI_LATENCY_SAMPLES];
	uint64_t measured_us;    /* when; meaningful when n > 0 */
};

/* A probe of h was answered after rtt_us. */
void agi_latency_measured(struct agi_dht *d, struct agi_host *h, const struct agi_msg *pong, uint32_t rtt_us);
/* A peer tells its coordinate without being asked (in a PING); ignored when the host is not known. */
void agi_latency_told(struct agi_dht *d, const struct agi_id *from, const struct agi_msg *ping);
/* Microseconds; UINT32_MAX = never measured. Single late answers are left out. */
uint32_t agi_latency_measured_us(const struct agi_latency *l);
bool agi_latency_is_fresh(const struct agi_dht *d, const struct agi_latency *l);
/* What the coordinates say; UINT32_MAX when there is none (then give coord as NULL). */
uint32_t agi_latency_estimate_us(const struct agi_dht *d, const struct agi_coord *coord);

#endif
