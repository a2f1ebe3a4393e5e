/* SPDX-License-Identifier: Apache-2.0
 * xoshiro256** (Blackman & Vigna, 2018), seeded by splitmix64. Deterministic: same seed, same run.
 * Never for keys or nonces: those come from libsodium in the shell. */
#ifndef AGI_BASE_PRNG_H
#define AGI_BASE_PRNG_H

#include <stdint.h>

struct agi_prng {
	uint64_t s[4];
};

void agi_prng_seed(struct agi_prng *r, uint64_t seed);
uint64_t agi_prng_u64(struct agi_prng *r);
/* uniform in [0, n); n > 0 */
uint64_t agi_prng_below(struct agi_prng *r, uint64_t n);
/* uniform in [0, 1) */
double agi_prng_unit(struct agi_prng *r);

#endif
