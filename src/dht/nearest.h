/* SPDX-License-Identifier: Apache-2.0
 * The nearest instance of a service, found by asking: the few that should be nearest by what is known (a fresh
 * measured round trip, else the coordinates) are probed at once, and the first to answer wins unless one as near
 * has clearly less load. Who does not answer is not chosen. Private to src/dht.
 *
 *   discover ──▶ judge and sort ──▶ probe the next few ──answers──▶ decide ──▶ reply
 *                                     ▲        │ nobody in time
 *                                     └────────┘ while there are more, and time */
#ifndef AGI_DHT_NEAREST_H
#define AGI_DHT_NEAREST_H

#include "dht/dht.h"

enum {
	AGI_NEAREST_SHORTLIST = 5,     /* probed at once */
	AGI_NEAREST_PROBE_MS = 500,    /* who has not answered by then is silent: above any round trip on earth */
	AGI_NEAREST_TOTAL_MS = 1500,   /* no further probes after this */
	AGI_NEAREST_CANDIDATES = 64,   /* of one answer: the best of all that are known */
	AGI_NEAREST_OPEN_MAX = 256,    /* searches at once: 16 MiB of candidates */
	AGI_NEAREST_SLACK_US = 100,    /* round trips that differ by less, or by a tenth, are the same */
	AGI_NEAREST_BUSY_MILLI = 500   /* a service of this host with less load than this needs no comparison */
};

/* AGI_CALL_NEAREST. */
void agi_nearest_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c);
void agi_nearest_free(struct agi_dht *d);

#endif
