/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/coord.h"

#include <math.h>

static const double error_share = 0.25; /* c_e of the paper: how fast the error follows a sample */
static const double step_share = 0.25;  /* c_c: how far a sample moves the host */
static const double peer_error_min = 0.05; /* who claims to be surer than this is not believed */
static const double error_min = 0.001;
static const double gravity_ms = 2000;  /* at this distance from the origin a sample pulls back by 1 ms */

void agi_coord_init(struct agi_coord_self *s, uint64_t seed)
{
	*s = (struct agi_coord_self){.c = {.height = AGI_COORD_HEIGHT_MIN, .error = AGI_COORD_ERROR_MAX}};
	agi_prng_seed(&s->rng, seed);
}

static bool is_within(float v, float min, float max)
{
	return v >= min && v <= max; /* false for what is not a number */
}

bool agi_coord_is_sane(const struct agi_coord *c)
{
	for (int i = 0; i < AGI_COORD_DIMENSIONS; i++)
		if (!is_within(c->vec[i], -AGI_COORD_FAR_MS, AGI_COORD_FAR_MS))
			return false;
	return is_within(c->height, AGI_COORD_HEIGHT_MIN, AGI_COORD_FAR_MS) &&
	       is_within(c->adjustment, -AGI_COORD_FAR_MS, AGI_COORD_FAR_MS) &&
	       is_within(c->error, 0, AGI_COORD_ERROR_MAX);
}

static double span(const struct agi_coord *a, const struct agi_coord *b)
{
	double sum = 0;

	for (int i = 0; i < AGI_COORD_DIMENSIONS; i++) {
		double x = (double)a->vec[i] - b->vec[i];

		sum += x * x;
	}
	return sqrt(sum);
}

static double without_adjustment(const struct agi_coord *a, const struct agi_coord *b)
{
	return span(a, b) + a->height + b->height;
}

double agi_coord_estimate_ms(const struct agi_coord *a, const struct agi_coord *b)
{
	double bare = without_adjustment(a, b), adjusted = bare + a->adjustment + b->adjustment;

	return adjusted > 0 ? adjusted : bare;
}

static double clamp(double v, double min, double max)
{
	return v < min ? min : v > max ? max : v;
}

/* Any direction, of length 1: for two hosts that are at one point. */
static void any_direction(double unit[AGI_COORD_DIMENSIONS], struct agi_prng *rng)
{
	double sum = 0;

	do {
		sum = 0;
		for (int i = 0; i < AGI_COORD_DIMENSIONS; i++) {
			unit[i] = agi_prng_unit(rng) - 0.5;
			sum += unit[i] * unit[i];
		}
	} while (sum < 1e-6);
	for (int i = 0; i < AGI_COORD_DIMENSIONS; i++)
		unit[i] /= sqrt(sum);
}

/* Moves c by force (ms; negative: towards peer) along the line between both, the heights being a direction of
 * their own whose parts add up (the paper's 5.4). */
static void push(struct agi_coord *c, const struct agi_coord *peer, double force, struct agi_prng *rng)
{
	double unit[AGI_COORD_DIMENSIONS], apart = span(c, peer);
	double whole = without_adjustment(c, peer), along = force * apart / whole;
	double height = c->height + force * ((double)c->height + peer->height) / whole;

	if (apart > 1e-6) {
		for (int i = 0; i < AGI_COORD_DIMENSIONS; i++)
			unit[i] = ((double)c->vec[i] - peer->vec[i]) / apart;
	} else {
		any_direction(unit, rng);
		along = force > 0 ? force : 0; /* they cannot come nearer */
	}
	for (int i = 0; i < AGI_COORD_DIMENSIONS; i++)
		c->vec[i] = (float)clamp(c->vec[i] + unit[i] * along, -AGI_COORD_FAR_MS, AGI_COORD_FAR_MS);
	c->height = (float)clamp(height, AGI_COORD_HEIGHT_MIN, AGI_COORD_FAR_MS);
}

/* The cloud of all hosts stays around the origin instead of drifting away. */
static void pull_to_origin(struct agi_coord *c)
{
	static const struct agi_coord origin;
	double away = span(c, &origin), keep;

	keep = 1 - clamp(away / (gravity_ms * gravity_ms), 0, 1);
	for (int i = 0; i < AGI_COORD_DIMENSIONS; i++)
		c->vec[i] = (float)(c->vec[i] * keep);
}

static void adjust(struct agi_coord_self *s, const struct agi_coord *peer, double rtt_ms)
{
	double sum = 0;

	s->window[s->n % AGI_COORD_WINDOW] =
	    (float)clamp(rtt_ms - without_adjustment(&s->c, peer), -AGI_COORD_STEP_MS, AGI_COORD_STEP_MS);
	s->n++;
	for (int i = 0; i < AGI_COORD_WINDOW; i++)
		sum += s->window[i];
	s->c.adjustment = (float)(sum / (2.0 * AGI_COORD_WINDOW));
}

bool agi_coord_update(struct agi_coord_self *s, const struct agi_coord *peer, double rtt_ms)
{
	double estimate, wrong, weight, peer_error, force;

	if (!agi_coord_is_sane(peer) || !(rtt_ms > 0 && rtt_ms <= AGI_COORD_FAR_MS))
		return false;
	estimate = agi_coord_estimate_ms(&s->c, peer);
	wrong = clamp(fabs(estimate - rtt_ms) / rtt_ms, 0, AGI_COORD_ERROR_MAX);
	peer_error = peer->error > peer_error_min ? peer->error : peer_error_min;
	weight = s->c.error / (s->c.error + peer_error);
	s->c.error = (float)clamp(s->c.error + error_share * weight * (wrong - s->c.error), error_min,
	                          AGI_COORD_ERROR_MAX);
	force = clamp(step_share * weight * (rtt_ms - estimate), -AGI_COORD_STEP_MS, AGI_COORD_STEP_MS);
	push(&s->c, peer, force, &s->rng);
	adjust(s, peer, rtt_ms);
	pull_to_origin(&s->c);
	return true;
}

void agi_coord_put(struct agi_buf *b, const struct agi_coord *c)
{
	for (int i = 0; i < AGI_COORD_DIMENSIONS; i++)
		agi_buf_f32(b, c->vec[i]);
	agi_buf_f32(b, c->height);
	agi_buf_f32(b, c->adjustment);
	agi_buf_f32(b, c->error);
}

bool agi_coord_take(struct agi_coord *out, struct agi_str bytes)
{
	struct agi_cur cur = agi_cur_of(bytes);
	struct agi_coord c;

	for (int i = 0; i < AGI_COORD_DIMENSIONS; i++)
		c.vec[i] = agi_cur_f32(&cur);
	c.height = agi_cur_f32(&cur);
	c.adjustment = agi_cur_f32(&cur);
	c.error = agi_cur_f32(&cur);
	if (cur.bad || cur.n || !agi_coord_is_sane(&c))
		return false;
	*out = c;
	return true;
}
