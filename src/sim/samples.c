/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/samples.h"

#include <math.h>
#include <stdlib.h>

#include "sim/events.h"

void agi_sim_samples_free(struct agi_sim_samples *s)
{
	free(s->v);
	*s = (struct agi_sim_samples){0};
}

void agi_sim_samples_add(struct agi_sim_samples *s, double v)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->v = agi_sim_grow(s->v, s->cap, sizeof *s->v);
	}
	s->v[s->n++] = v;
	s->is_sorted = false;
}

double agi_sim_samples_mean(const struct agi_sim_samples *s)
{
	double sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += s->v[i];
	return s->n ? sum / (double)s->n : 0;
}

static int cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double agi_sim_samples_quantile(struct agi_sim_samples *s, double share)
{
	double rank = ceil(share * (double)s->n);

	if (s->n == 0)
		return 0;
	if (!s->is_sorted)
		qsort(s->v, s->n, sizeof *s->v, cmp);
	s->is_sorted = true;
	return s->v[rank < 1 ? 0 : (size_t)rank - 1];
}
