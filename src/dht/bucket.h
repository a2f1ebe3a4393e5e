/* SPDX-License-Identifier: Apache-2.0
 * A token bucket in virtual time: how many bytes may move per second. It lends: what is taken beyond its content
 * is a debt, and nobody is let in before it is paid, so the average holds whatever the size of a page. */
#ifndef AGI_DHT_BUCKET_H
#define AGI_DHT_BUCKET_H

#include <stdint.h>

struct agi_bucket {
	uint64_t per_s;  /* bytes; 0 = no limit */
	int64_t level;   /* bytes; negative = debt */
	uint64_t at_us;  /* when level was true */
};

/* Another rate, from now on. A debt stays. */
void agi_bucket_set(struct agi_bucket *b, uint64_t per_s, uint64_t now_us);
void agi_bucket_take(struct agi_bucket *b, uint64_t bytes, uint64_t now_us);
/* Microseconds until there is no debt; 0 = go on. */
uint64_t agi_bucket_wait_us(struct agi_bucket *b, uint64_t now_us);

/* How much of something happened in the last seconds. */
enum { AGI_RATE_SECONDS = 10 };
struct agi_rate {
	uint64_t second;                   /* the newest one counted */
	uint64_t first_us;                 /* when anything was counted first; 0 = nothing yet */
	uint64_t sum[AGI_RATE_SECONDS + 1]; /* by second modulo its size */
};
void agi_rate_add(struct agi_rate *r, uint64_t n, uint64_t now_us);
/* Per second, over the last AGI_RATE_SECONDS whole ones. */
double agi_rate_per_s(const struct agi_rate *r, uint64_t now_us);

#endif
