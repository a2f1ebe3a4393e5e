/* SPDX-License-Identifier: Apache-2.0
 * Stamps of eventual writes, and the clocks behind them. */
#include "dht/state.h"

enum { JUDGE_MS = 1000, FRESH_MS = 15000 };
#define WALL_MAX_MS (UINT64_C(1) << 47) /* beyond what a stamp can carry */

uint64_t agi_stamp_next(struct agi_dht *d)
{
	if (agi_hlc_is_ahead(d->hlc.last, d->now.wall_ms, d->cfg.max_skew_ms))
		agi_hlc_set_back(&d->hlc); /* others would refuse what follows the old time */
	return agi_hlc_next(&d->hlc, d->now.wall_ms);
}

uint64_t agi_stamp_above(struct agi_dht *d, uint64_t stamp)
{
	uint64_t next = agi_stamp_next(d);

	if (next <= stamp) {
		next = AGI_MUTANT(STAMP_TWICE) ? stamp + 1 : agi_hlc_above(&d->hlc, stamp, d->n_above++);
		agi_stamp_see(d, next); /* nor is it made in the ordinary way later */
	}
	return next;
}

bool agi_stamp_is_refused(const struct agi_dht *d, uint64_t stamp, uint64_t above)
{
	return agi_hlc_is_ahead(stamp, d->now.wall_ms, d->cfg.max_skew_ms) &&
	       !(above && stamp > above && stamp - above <= AGI_HLC_ABOVE);
}

void agi_stamp_see(struct agi_dht *d, uint64_t stamp)
{
	if (!agi_hlc_is_ahead(stamp, d->now.wall_ms, d->cfg.max_skew_ms))
		agi_hlc_see(&d->hlc, stamp);
}

static void judge(struct agi_dht *d)
{
	int64_t base[AGI_WALL_SAMPLES];
	struct agi_host *h, *tmp;
	size_t n = 0;

	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		if (n == AGI_WALL_SAMPLES)
			break;
		if (h->clock_us && d->now.mono_us - h->clock_us <= FRESH_MS * 1000)
			base[n++] = h->clock_base_ms;
	}
	if (n == 0 && HASH_COUNT(d->hosts.by_id) > 0)
		return; /* cut off: nobody to compare with */
	d->clock_judged_us = d->now.mono_us;
	agi_wall_judge(&d->wall, d->host_now, base, n);
}

void agi_clock_told(struct agi_dht *d, struct agi_host *h, uint64_t wall_ms, uint64_t rtt_us)
{
	if (wall_ms == 0 || wall_ms > WALL_MAX_MS)
		return;
	/* it read its clock about half a round trip ago */
	h->clock_base_ms = (int64_t)wall_ms - (int64_t)((d->now.mono_us - rtt_us / 2) / 1000);
	h->clock_us = d->now.mono_us;
	if (!d->wall.is_confirmed || d->now.mono_us - d->clock_judged_us >= JUDGE_MS * 1000)
		judge(d);
}

void agi_clock_alone(struct agi_dht *d)
{
	if (HASH_COUNT(d->hosts.by_id) == 0)
		judge(d);
}

void agi_clock_enter(struct agi_dht *d, struct agi_now now)
{
	d->host_now = d->now = now;
	d->now.wall_ms = agi_wall_ms(&d->wall, now);
	agi_health_look(d);
}
