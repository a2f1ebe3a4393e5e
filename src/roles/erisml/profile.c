/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/erisml/profile.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "roles/pool.h"

enum { CONTENT_VERSION = 1 };

struct agi_profiles {
	struct agi_pool pool; /* of the names */
	struct agi_profile p[AGI_PROFILES_MAX];
	size_t n;
};

const struct agi_profile agi_profile_builtin = {
    .name = {AGI_PROFILE_BUILTIN, sizeof AGI_PROFILE_BUILTIN - 1},
    .weights = {[AGI_MORAL_PHYSICAL_HARM] = 2,
                [AGI_MORAL_RIGHTS_RESPECT] = 2,
                [AGI_MORAL_FAIRNESS_EQUITY] = 1,
                [AGI_MORAL_AUTONOMY_RESPECT] = 1,
                [AGI_MORAL_PRIVACY_PROTECTION] = 1,
                [AGI_MORAL_SOCIETAL_ENVIRONMENTAL] = 1,
                [AGI_MORAL_VIRTUE_CARE] = 1,
                [AGI_MORAL_LEGITIMACY_TRUST] = 1},
    .weight_sum = 10};

static const struct agi_profile unknown = {
    .weights = {[AGI_MORAL_PHYSICAL_HARM] = 1}, .weight_sum = 1, .is_unknown = true};

const char *agi_moral_dim_name(enum agi_moral_dim d)
{
	static const char *const names[AGI_MORAL_DIMS] = {
	    "physical_harm",      "rights_respect",         "fairness_equity",
	    "autonomy_respect",   "privacy_protection",     "societal_environmental",
	    "virtue_care",        "legitimacy_trust",       "epistemic_quality"};

	return (unsigned)d < AGI_MORAL_DIMS ? names[d] : "unknown";
}

void agi_profile_init(struct agi_profile *p, struct agi_str name)
{
	*p = agi_profile_builtin;
	p->name = name;
}

/* --- what is allowed ------------------------------------------------------------------------------------------- */
static enum agi_err check_numbers(const struct agi_profile *p, struct agi_why *why)
{
	for (unsigned d = 0; d < AGI_MORAL_DIMS; d++) {
		const char *name = agi_moral_dim_name((enum agi_moral_dim)d);
		bool is_limited = p->limited & 1u << d;

		if (!(p->weights[d] >= 0 && p->weights[d] <= AGI_PROFILE_WEIGHT_MAX))
			return agi_fail(why, AGI_E_INVALID, "moral_dimension_weights: %s: %g, expected 0..%d", name,
			                p->weights[d], AGI_PROFILE_WEIGHT_MAX);
		if (is_limited && !(p->limits[d] >= 0 && p->limits[d] <= 1))
			return agi_fail(why, AGI_E_INVALID, "moral_dimension_limits: %s: %g, expected 0..1", name,
			                p->limits[d]);
	}
	for (unsigned d = AGI_MORAL_PHYSICAL_HARM; d <= AGI_MORAL_RIGHTS_RESPECT; d++)
		if (p->weights[d] <= 0)
			return agi_fail(why, AGI_E_INVALID, "moral_dimension_weights: %s: 0, expected more: harm and rights "
			                "always count", agi_moral_dim_name((enum agi_moral_dim)d));
	return AGI_OK;
}

static bool is_builtin(const struct agi_profile *p)
{
	return !p->limited && memcmp(p->weights, agi_profile_builtin.weights, sizeof p->weights) == 0;
}

static enum agi_err check(const struct agi_profiles *s, const struct agi_profile *p, struct agi_why *why)
{
	if (p->name.n < 1 || p->name.n > AGI_PROFILE_NAME_MAX || !agi_utf8_is_valid(p->name))
		return agi_fail(why, AGI_E_INVALID, "name: %zu bytes, expected 1..%d of UTF-8 text", p->name.n,
		                AGI_PROFILE_NAME_MAX);
	if (agi_str_eq(p->name, agi_profile_builtin.name) && !is_builtin(p))
		return agi_fail(why, AGI_E_INVALID, "name: " AGI_PROFILE_BUILTIN " is built in and cannot say anything else: "
		                "give yours another name");
	for (size_t i = 0; i < s->n; i++)
		if (agi_str_eq(s->p[i].name, p->name))
			return agi_fail(why, AGI_E_INVALID, "name: \"%.*s\" is there already", AGI_STR_ARG(p->name));
	return check_numbers(p, why);
}

/* --- sets ---------------------------------------------------------------------------------------------------------- */
enum agi_err agi_profiles_new(struct agi_profiles **out)
{
	struct agi_profiles *s = calloc(1, sizeof *s);

	if (!s)
		return AGI_E_NOMEM;
	agi_pool_init(&s->pool, 0);
	*out = s;
	return AGI_OK;
}

void agi_profiles_free(struct agi_profiles *s)
{
	if (!s)
		return;
	agi_pool_free(&s->pool);
	free(s);
}

static void take_sum(struct agi_profile *p)
{
	p->weight_sum = 0;
	for (unsigned d = 0; d < AGI_MORAL_DIMS; d++)
		p->weight_sum += p->weights[d];
}

static enum agi_err take_hash(struct agi_profile *p)
{
	struct agi_buf b;
	enum agi_err e;

	agi_buf_init(&b, 0);
	agi_buf_u8(&b, CONTENT_VERSION);
	agi_buf_u32(&b, p->limited);
	for (unsigned d = 0; d < AGI_MORAL_DIMS; d++) {
		agi_buf_f64(&b, p->weights[d]);
		agi_buf_f64(&b, p->limited & 1u << d ? p->limits[d] : 0);
	}
	e = b.err;
	if (!e)
		agi_blake2b_256(p->hash, &(struct agi_str){(char *)b.p, b.n}, 1);
	agi_buf_free(&b);
	return e;
}

enum agi_err agi_profiles_add(struct agi_profiles *s, const struct agi_profile *p, struct agi_why *why)
{
	enum agi_err e = check(s, p, why);
	struct agi_profile *to = &s->p[s->n];

	if (e)
		return e;
	if (s->n == AGI_PROFILES_MAX)
		return agi_fail(why, AGI_E_FULL, "more than %d profiles", AGI_PROFILES_MAX);
	*to = *p;
	to->is_unknown = false;
	to->name = agi_pool_copy(&s->pool, p->name);
	take_sum(to);
	e = s->pool.err ? s->pool.err : take_hash(to);
	if (e)
		return agi_fail(why, e, "%s", agi_err_text(e));
	s->n++;
	return AGI_OK;
}

const struct agi_profile *agi_profiles_find(const struct agi_profiles *s, struct agi_str name)
{
	if (agi_str_eq(name, agi_profile_builtin.name))
		return &agi_profile_builtin;
	for (size_t i = 0; s && i < s->n; i++)
		if (agi_str_eq(s->p[i].name, name))
			return &s->p[i];
	return &unknown;
}

enum agi_err agi_profiles_check(const struct agi_profiles *s, struct agi_str name, struct agi_why *why)
{
	enum agi_err e;
	struct agi_buf b;

	if (!agi_profiles_find(s, name)->is_unknown)
		return AGI_OK;
	agi_buf_init(&b, 0);
	agi_buf_printf(&b, "%s", AGI_PROFILE_BUILTIN);
	for (size_t i = 0; s && i < s->n && b.n < 200; i++)
		if (!agi_str_eq(s->p[i].name, agi_profile_builtin.name)) {
			agi_buf_printf(&b, ", ");
			agi_buf_put_str(&b, s->p[i].name);
		}
	e = agi_fail(why, AGI_E_INVALID, "no profile \"%.*s\" is known here; known are %.*s", AGI_STR_ARG(name), (int)b.n,
	             b.p ? (const char *)b.p : "");
	agi_buf_free(&b);
	return e;
}

size_t agi_profiles_count(const struct agi_profiles *s)
{
	return s ? s->n : 0;
}
