/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/churn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/events.h"

enum { SESSIONS_MAX = 10000000, LINE_BYTES = 256 };

static enum agi_err read_line(struct agi_sim_churn *c, char *line, size_t number, struct agi_why *why)
{
	char *end;
	double v;

	line[strcspn(line, "#\n")] = '\0';
	if (line[strspn(line, " \t\r")] == '\0')
		return AGI_OK;
	v = strtod(line, &end);
	if (end == line || end[strspn(end, " \t\r")] || !(v > 0 && v < 1e9))
		return agi_fail(why, AGI_E_INVALID, "%s:%zu: '%s' is not one session time in seconds, above 0", c->cfg.file,
		                number, line);
	if (c->n_sessions == SESSIONS_MAX)
		return agi_fail(why, AGI_E_INVALID, "%s: more than %d session times", c->cfg.file, SESSIONS_MAX);
	if ((c->n_sessions & (c->n_sessions - 1)) == 0)
		c->session_s = agi_sim_grow(c->session_s, c->n_sessions ? 2 * c->n_sessions : 1, sizeof *c->session_s);
	c->session_s[c->n_sessions++] = v;
	return AGI_OK;
}

static enum agi_err read_sessions(struct agi_sim_churn *c, struct agi_why *why)
{
	FILE *f = fopen(c->cfg.file, "re");
	enum agi_err err = AGI_OK;
	char line[LINE_BYTES];

	if (!f)
		return agi_fail(why, AGI_E_IO, "cannot open %s", c->cfg.file);
	for (size_t number = 1; err == AGI_OK && fgets(line, sizeof line, f); number++)
		err = read_line(c, line, number, why);
	fclose(f);
	if (err == AGI_OK && c->n_sessions == 0)
		err = agi_fail(why, AGI_E_INVALID, "%s: holds no session time", c->cfg.file);
	return err;
}

enum agi_err agi_sim_churn_init(struct agi_sim_churn *c, const struct agi_sim_churn_cfg *cfg, uint64_t seed,
                                struct agi_why *why)
{
	enum agi_err err = AGI_OK;

	*c = (struct agi_sim_churn){.cfg = *cfg};
	agi_prng_seed(&c->prng, seed);
	if (cfg->kind == AGI_SIM_SESSIONS)
		err = read_sessions(c, why);
	if (err != AGI_OK)
		agi_sim_churn_free(c);
	return err;
}

void agi_sim_churn_free(struct agi_sim_churn *c)
{
	free(c->session_s);
	c->session_s = NULL;
	c->n_sessions = 0;
}

static double exponential(struct agi_sim_churn *c) { return -log(1 - agi_prng_unit(&c->prng)); }

uint64_t agi_sim_churn_session_us(struct agi_sim_churn *c)
{
	double s;

	if (c->cfg.kind == AGI_SIM_SESSIONS)
		s = c->session_s[agi_prng_below(&c->prng, c->n_sessions)];
	else if (c->cfg.kind == AGI_SIM_WEIBULL)
		s = c->cfg.median_s * pow(exponential(c) / M_LN2, 1 / c->cfg.shape);
	else
		s = c->cfg.median_s * exponential(c) / M_LN2;
	return s < 1e9 ? (uint64_t)(s * 1e6) : (uint64_t)1e15;
}

uint64_t agi_sim_churn_away_us(struct agi_sim_churn *c)
{
	return (uint64_t)(exponential(c) * c->cfg.away_s * 1e6);
}
