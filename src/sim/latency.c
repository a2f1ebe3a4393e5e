/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/latency.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/events.h"

enum { SITES_MAX = 20000, OWN_US = 30, SAME_SITE_US = 250 };

/* Where hosts are: latitude, longitude in degrees. */
static const struct {
	float latitude, longitude;
} cities[] = {
    {40.7f, -74.0f}, {39.0f, -77.5f}, {41.9f, -87.6f}, {32.8f, -96.8f},  {37.4f, -122.1f}, {45.6f, -121.2f},
    {43.7f, -79.4f}, {-23.5f, -46.6f}, {51.5f, -0.1f}, {50.1f, 8.7f},    {48.9f, 2.4f},    {59.3f, 18.1f},
    {52.2f, 21.0f},  {25.2f, 55.3f},  {19.1f, 72.9f},  {1.35f, 103.8f},  {22.3f, 114.2f},  {35.7f, 139.7f},
    {37.6f, 127.0f}, {-33.9f, 151.2f}, {-26.2f, 28.0f},
};
enum { CITIES = sizeof cities / sizeof *cities };

static double exponential(struct agi_prng *r, double mean) { return -mean * log(1 - agi_prng_unit(r)); }

static void place_host(struct agi_sim_place *p, struct agi_prng *r)
{
	size_t city = agi_prng_below(r, CITIES);
	/* some 150 km around the city, in degrees */
	double lat = (cities[city].latitude + 2.7 * (agi_prng_unit(r) - 0.5)) * M_PI / 180;
	double lon = (cities[city].longitude + 2.7 * (agi_prng_unit(r) - 0.5)) * M_PI / 180;

	p->x = (float)(cos(lat) * cos(lon));
	p->y = (float)(cos(lat) * sin(lon));
	p->z = (float)sin(lat);
	p->access_us = (float)(100 + exponential(r, 700));
}

static uint32_t geo_us(const struct agi_sim_place *a, const struct agi_sim_place *b)
{
	/* 6371 km earth, 200 km per millisecond in glass, and routes half as long again as the great circle */
	double chord = sqrt(pow(a->x - b->x, 2) + pow(a->y - b->y, 2) + pow(a->z - b->z, 2));
	double km = 2 * 6371 * asin(chord < 2 ? chord / 2 : 1);

	return (uint32_t)(km * 1.5 / 200 * 1000 + a->access_us + b->access_us);
}

/* The same for both orders, and nothing to be kept: hashed from the pair. */
static uint32_t uniform_us(const struct agi_sim_latency *l, uint32_t a, uint32_t b)
{
	uint64_t lo = a < b ? a : b, hi = a < b ? b : a, span = (uint64_t)l->cfg.max_us - l->cfg.min_us + 1;
	struct agi_prng r;

	agi_prng_seed(&r, l->seed ^ (lo << 32 | hi));
	return l->cfg.min_us + (uint32_t)agi_prng_below(&r, span);
}

static uint32_t matrix_us(const struct agi_sim_latency *l, uint32_t a, uint32_t b)
{
	uint32_t i = a % l->n_sites, j = b % l->n_sites;

	return i == j ? SAME_SITE_US / 2 : (uint32_t)(l->rtt_us[(size_t)i * l->n_sites + j] / 2);
}

uint32_t agi_sim_latency_us(const struct agi_sim_latency *l, uint32_t from, uint32_t to)
{
	if (from == to)
		return OWN_US;
	if (l->cfg.kind == AGI_SIM_UNIFORM)
		return uniform_us(l, from, to);
	if (l->cfg.kind == AGI_SIM_MATRIX)
		return matrix_us(l, from, to);
	return geo_us(&l->place[from], &l->place[to]);
}

uint32_t agi_sim_latency_rtt_us(const struct agi_sim_latency *l, uint32_t a, uint32_t b)
{
	return agi_sim_latency_us(l, a, b) + agi_sim_latency_us(l, b, a);
}

/* The next number; false at the end of the file or at what is none. */
static bool next_number(FILE *f, double *out)
{
	int c;

	while ((c = getc(f)) != EOF && (isspace(c) || c == ',' || c == '#'))
		while (c == '#' && (c = getc(f)) != EOF && c != '\n')
			c = '#';
	if (c == EOF)
		return false;
	ungetc(c, f);
	return fscanf(f, "%lf", out) == 1;
}

static enum agi_err read_matrix(struct agi_sim_latency *l, FILE *f, struct agi_why *why)
{
	const char *name = l->cfg.file;
	double v;

	if (!next_number(f, &v) || v < 2 || v > SITES_MAX || v != floor(v))
		return agi_fail(why, AGI_E_INVALID, "%s: begins with no number of sites from 2 to %d", name, SITES_MAX);
	l->n_sites = (uint32_t)v;
	l->rtt_us = agi_sim_alloc((size_t)l->n_sites * l->n_sites, sizeof *l->rtt_us);
	for (size_t i = 0; i < (size_t)l->n_sites * l->n_sites; i++) {
		size_t row = i / l->n_sites, column = i % l->n_sites;

		if (!next_number(f, &v))
			return agi_fail(why, AGI_E_INVALID, "%s: no number in row %zu, column %zu of %u x %u", name, row + 1,
			                column + 1, l->n_sites, l->n_sites);
		if (!(v > 0 || (v == 0 && row == column)) || v > 60000)
			return agi_fail(why, AGI_E_INVALID,
			                "%s: row %zu, column %zu is %g; a round trip in milliseconds is above 0 and at most 60000",
			                name, row + 1, column + 1, v);
		l->rtt_us[i] = (float)(v * 1000);
	}
	if (next_number(f, &v) || !feof(f))
		return agi_fail(why, AGI_E_INVALID, "%s: there is more after %u rows of %u", name, l->n_sites, l->n_sites);
	return AGI_OK;
}

static enum agi_err load_matrix(struct agi_sim_latency *l, struct agi_why *why)
{
	FILE *f = fopen(l->cfg.file, "re");
	enum agi_err err;

	if (!f)
		return agi_fail(why, AGI_E_IO, "cannot open %s", l->cfg.file);
	err = read_matrix(l, f, why);
	fclose(f);
	return err;
}

enum agi_err agi_sim_latency_init(struct agi_sim_latency *l, const struct agi_sim_latency_cfg *cfg, uint32_t n_nodes,
                                  uint64_t seed, struct agi_why *why)
{
	struct agi_prng r;
	enum agi_err err = AGI_OK;

	*l = (struct agi_sim_latency){.cfg = *cfg, .seed = seed, .n_nodes = n_nodes};
	if (cfg->kind == AGI_SIM_MATRIX) {
		err = load_matrix(l, why);
	} else if (cfg->kind == AGI_SIM_GEO) {
		agi_prng_seed(&r, seed);
		l->place = agi_sim_alloc(n_nodes, sizeof *l->place);
		for (uint32_t i = 0; i < n_nodes; i++)
			place_host(&l->place[i], &r);
	}
	if (err != AGI_OK)
		agi_sim_latency_free(l);
	return err;
}

void agi_sim_latency_free(struct agi_sim_latency *l)
{
	free(l->place);
	free(l->rtt_us);
	l->place = NULL;
	l->rtt_us = NULL;
}
