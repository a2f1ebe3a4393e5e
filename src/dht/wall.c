/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/wall.h"

#include <stdlib.h>

int64_t agi_wall_base(struct agi_now now) { return (int64_t)now.wall_ms - (int64_t)(now.mono_us / 1000); }

uint64_t agi_wall_ms(struct agi_wall *w, struct agi_now now)
{
	int64_t t;

	if (!w->is_set) {
		w->is_set = true;
		w->base_ms = agi_wall_base(now);
	}
	t = (int64_t)(now.mono_us / 1000) + w->base_ms;
	return t > 0 ? (uint64_t)t : 0;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* The median relative to what is believed now; between two middle ones the nearer. */
static int64_t median(const struct agi_wall *w, int64_t own, const int64_t *peer, size_t n)
{
	int64_t v[AGI_WALL_SAMPLES + 1];
	size_t count = 0;

	v[count++] = own - w->base_ms;
	for (size_t i = 0; i < n && i < AGI_WALL_SAMPLES; i++)
		v[count++] = peer[i] - w->base_ms;
	qsort(v, count, sizeof *v, compare);
	if (count % 2)
		return v[count / 2];
	return llabs(v[count / 2 - 1]) < llabs(v[count / 2]) ? v[count / 2 - 1] : v[count / 2];
}

static int64_t at_most(int64_t v, int64_t most) { return v > most ? most : v < -most ? -most : v; }

void agi_wall_judge(struct agi_wall *w, struct agi_now now, const int64_t *peer_base, size_t n)
{
	int64_t off;

	(void)agi_wall_ms(w, now);
	off = median(w, agi_wall_base(now), peer_base, n);
	if (llabs(off) <= AGI_WALL_STEP_MS) {
		w->base_ms += at_most(off, AGI_WALL_SLEW_MS);
		w->is_confirmed = w->is_confirmed || n > 0;
		w->n_far = 0;
		return;
	}
	w->n_far = llabs(off - w->far_ms) <= AGI_WALL_STEP_MS ? w->n_far + 1 : 1;
	w->far_ms = off;
	if (w->n_far < AGI_WALL_STEP_AFTER && (w->is_confirmed || n < 2))
		return;
	w->base_ms += off;
	w->is_confirmed = true;
	w->n_far = 0;
}
