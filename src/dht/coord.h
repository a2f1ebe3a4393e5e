/* SPDX-License-Identifier: Apache-2.0
 * Network coordinates: every host has a place in a space whose distances are round trips, so that a round trip
 * nobody has measured can be estimated.
 *
 * Vivaldi with height (Dabek, Cox, Kaashoek, Morris: Vivaldi, a decentralized network coordinate system, SIGCOMM
 * 2004, 3.3, 3.5 and 5.4); the adjustment is that of Lee, Zhang, Sahu, Saha, Srinivasan (On suitability of Euclidean
 * embedding of Internet hosts, 2006), and 8 dimensions, the sizes of the windows and the pull to the origin are
 * what Consul documents of its own coordinates (developer.hashicorp.com, "Network coordinates"), the pull after
 * Ledlie, Gardner, Seltzer (Network coordinates in the wild, NSDI 2007).
 *
 * Peers may lie. A coordinate that is not sane is refused; a sane lie moves this host by at most
 * AGI_COORD_STEP_MS a sample, so a minority is outweighed by the others, and no lie makes anything but an estimate
 * wrong: what matters is measured (nearest.h). Values only: no I/O. All times are milliseconds. */
#ifndef AGI_DHT_COORD_H
#define AGI_DHT_COORD_H

#include "base/buf.h"
#include "base/prng.h"

enum {
	AGI_COORD_DIMENSIONS = 8,
	AGI_COORD_BYTES = 4 * (AGI_COORD_DIMENSIONS + 3),
	AGI_COORD_WINDOW = 20, /* samples that the adjustment is the mean of */
	AGI_COORD_STEP_MS = 20,   /* no single sample moves a host further */
	AGI_COORD_FAR_MS = 10000  /* no sane number is greater: ten times the longest that a probe waits */
};
#define AGI_COORD_ERROR_MAX 1.5f    /* of a host that knows nothing yet */
#define AGI_COORD_HEIGHT_MIN 0.005f /* 5 us each: a round trip through one kernel */

struct agi_coord {
	float vec[AGI_COORD_DIMENSIONS]; /* ms */
	float height;     /* ms; what every path to and from this host costs, at least AGI_COORD_HEIGHT_MIN */
	float adjustment; /* ms, may be negative: what its measured round trips differ by from the estimates, halved */
	float error;      /* relative, of its own estimates as it sees them; above 0, up to AGI_COORD_ERROR_MAX */
};

/* This host's own. */
struct agi_coord_self {
	struct agi_coord c;
	float window[AGI_COORD_WINDOW];
	uint32_t n; /* samples taken */
	struct agi_prng rng; /* the direction in which two hosts at one point part; its own, so that nothing else of
	                      * the node's random choices changes with its samples */
};

void agi_coord_init(struct agi_coord_self *s, uint64_t seed);
/* Are all numbers finite and in their ranges? Anything else must not be kept. */
bool agi_coord_is_sane(const struct agi_coord *c);
/* The round trip between two sane coordinates, above 0. */
double agi_coord_estimate_ms(const struct agi_coord *a, const struct agi_coord *b);
/* One measured round trip to a peer that gave this coordinate: moves our own. False, and nothing has changed, when
 * the peer's is not sane or the round trip is not above 0 and at most AGI_COORD_FAR_MS. */
bool agi_coord_update(struct agi_coord_self *s, const struct agi_coord *peer, double rtt_ms);

/* AGI_COORD_BYTES: vec, height, adjustment, error as IEEE 754 single precision, big endian. */
void agi_coord_put(struct agi_buf *b, const struct agi_coord *c);
/* False, and *out unchanged, when these bytes are not exactly one sane coordinate. */
bool agi_coord_take(struct agi_coord *out, struct agi_str bytes);

#endif
