/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/latency.h"

#include "dht/state.h"

static void take_coord(struct agi_latency *l, const struct agi_msg *m)
{
	if (!m->has_coord || !agi_coord_is_sane(&m->coord))
		return;
	l->coord = m->coord;
	l->has_coord = true;
}

static void take_sample(struct agi_latency *l, uint32_t rtt_us)
{
	l->recent_us[l->n % AGI_LATENCY_SAMPLES] = rtt_us;
	if (++l->n == 2 * AGI_LATENCY_SAMPLES)
		l->n = AGI_LATENCY_SAMPLES;
}

/* The first sample may hold the making of the link: it moves nothing. */
void agi_latency_measured(struct agi_dht *d, struct agi_host *h, const struct agi_msg *pong, uint32_t rtt_us)
{
	struct agi_latency *l = &h->latency;

	take_sample(l, rtt_us);
	take_coord(l, pong);
	l->measured_us = d->now.mono_us;
	if (l->has_coord && l->n > 1)
		(void)agi_coord_update(&d->coord, &l->coord, agi_latency_measured_us(l) / 1000.0);
}

void agi_latency_told(struct agi_dht *d, const struct agi_id *from, const struct agi_msg *ping)
{
	struct agi_host *h = agi_hosts_find(d, from);

	if (h)
		take_coord(&h->latency, ping);
}

uint32_t agi_latency_measured_us(const struct agi_latency *l)
{
	const uint32_t *r = l->recent_us;
	uint32_t low = r[0] < r[1] ? r[0] : r[1], high = r[0] < r[1] ? r[1] : r[0];

	if (l->n == 0)
		return UINT32_MAX;
	if (l->n == 1)
		return r[0];
	if (l->n == 2)
		return low;
	return r[2] < low ? low : r[2] > high ? high : r[2];
}

bool agi_latency_is_fresh(const struct agi_dht *d, const struct agi_latency *l)
{
	return l->n > 0 && d->now.mono_us - l->measured_us <= (uint64_t)AGI_LATENCY_FRESH_MS * 1000;
}

uint32_t agi_latency_estimate_us(const struct agi_dht *d, const struct agi_coord *coord)
{
	return coord ? (uint32_t)(agi_coord_estimate_ms(&d->coord.c, coord) * 1000) : UINT32_MAX;
}
