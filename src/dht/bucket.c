/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/bucket.h"

#include <string.h>

enum {
	SAVED_MS = 100,         /* a pause saves up at most so much */
	STEP_US = 60000000      /* longer pauses count as this: products stay within 64 bits up to 2^37 bytes/s */
};

static void refill(struct agi_bucket *b, uint64_t now_us)
{
	uint64_t us = now_us > b->at_us ? now_us - b->at_us : 0, max = b->per_s / 1000 * SAVED_MS;
	uint64_t gain = b->per_s / 1000 * (us < STEP_US ? us : STEP_US) / 1000;

	if (gain == 0 && b->per_s)
		return; /* the time is kept until it is worth a byte */
	b->at_us = now_us;
	b->level += (int64_t)gain;
	if (b->level > (int64_t)max)
		b->level = (int64_t)max;
}

void agi_bucket_set(struct agi_bucket *b, uint64_t per_s, uint64_t now_us)
{
	refill(b, now_us);
	b->at_us = now_us;
	b->per_s = per_s;
	if (per_s == 0)
		b->level = 0;
}

void agi_bucket_take(struct agi_bucket *b, uint64_t bytes, uint64_t now_us)
{
	if (b->per_s == 0)
		return;
	refill(b, now_us);
	b->level -= (int64_t)bytes;
}

uint64_t agi_bucket_wait_us(struct agi_bucket *b, uint64_t now_us)
{
	if (b->per_s == 0)
		return 0;
	refill(b, now_us);
	if (b->level >= 0)
		return 0;
	return (uint64_t)-b->level * 1000 / (b->per_s / 1000 ? b->per_s / 1000 : 1) + 1;
}

void agi_rate_add(struct agi_rate *r, uint64_t n, uint64_t now_us)
{
	uint64_t second = now_us / 1000000;

	if (r->first_us == 0 || second > r->second + AGI_RATE_SECONDS) {
		memset(r->sum, 0, sizeof r->sum);
		r->second = second;
	}
	if (r->first_us == 0)
		r->first_us = now_us;
	while (r->second < second)
		r->sum[++r->second % (AGI_RATE_SECONDS + 1)] = 0;
	r->sum[second % (AGI_RATE_SECONDS + 1)] += n;
}

double agi_rate_per_s(const struct agi_rate *r, uint64_t now_us)
{
	uint64_t second = now_us / 1000000, sum = 0;
	uint64_t since_s = r->first_us ? second - r->first_us / 1000000 : 0;
	uint64_t span = since_s < AGI_RATE_SECONDS ? since_s : AGI_RATE_SECONDS;

	for (uint64_t s = second - span; s < second; s++)
		if (s <= r->second && s + AGI_RATE_SECONDS >= r->second)
			sum += r->sum[s % (AGI_RATE_SECONDS + 1)];
	return span ? (double)sum / (double)span : 0;
}
