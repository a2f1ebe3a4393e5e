/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/erisml/bond.h"

enum agi_hohfeld agi_hohfeld_parse(struct agi_str s)
{
	static const char letters[] = "OCLN";
	const char *at = s.n == 1 && s.p[0] ? strchr(letters, s.p[0]) : NULL;

	return at ? (enum agi_hohfeld)(at - letters + AGI_HOHFELD_O) : AGI_HOHFELD_INVALID;
}

char agi_hohfeld_letter(enum agi_hohfeld h)
{
	return (unsigned)h <= AGI_HOHFELD_N ? "?OCLN"[h] : '?';
}

enum agi_hohfeld agi_hohfeld_correlative(enum agi_hohfeld h)
{
	static const enum agi_hohfeld of[] = {AGI_HOHFELD_INVALID, AGI_HOHFELD_C, AGI_HOHFELD_O,
	                                      AGI_HOHFELD_N, AGI_HOHFELD_L};

	return (unsigned)h <= AGI_HOHFELD_N ? of[h] : AGI_HOHFELD_INVALID;
}

enum agi_hohfeld agi_hohfeld_opposite(enum agi_hohfeld h)
{
	static const enum agi_hohfeld of[] = {AGI_HOHFELD_INVALID, AGI_HOHFELD_L, AGI_HOHFELD_N,
	                                      AGI_HOHFELD_O, AGI_HOHFELD_C};

	return (unsigned)h <= AGI_HOHFELD_N ? of[h] : AGI_HOHFELD_INVALID;
}

void agi_bond_add(struct agi_bond_count *c, enum agi_hohfeld agent, enum agi_hohfeld affected)
{
	c->pairs++;
	c->defects += affected != agi_hohfeld_correlative(agent);
	c->opposites += affected == agi_hohfeld_opposite(agent);
}

void agi_bond_finish(struct agi_bond *out, const struct agi_bond_count *c, enum agi_eval_mode mode)
{
	out->index = c->pairs ? (double)c->defects / (double)c->pairs : 0.0;
	out->is_within = out->index < AGI_BOND_LIMIT;
	if (mode == AGI_EVAL_REFERENCE)
		return;
	out->correlative_rate =
	    c->pairs ? (double)(c->pairs - c->defects) / (double)c->pairs : 1.0;
	out->negation_rate = c->pairs ? (double)c->opposites / (double)c->pairs : 0.0;
}

void agi_bond_uncomputable(struct agi_bond *out, struct agi_pool *pool, struct agi_str violation)
{
	out->index = 1.0;
	out->is_within = false;
	out->correlative_rate = out->negation_rate = 0.0;
	agi_strs_add(&out->violations, pool, violation);
}

/* Text for a person: control characters escaped, so that one look shows what was sent. */
static enum agi_err bad_state(struct agi_why *why, struct agi_str s)
{
	enum { SHOWN = 48 };
	char text[4 * SHOWN];
	size_t n = 0, shown = s.n < SHOWN ? s.n : SHOWN;

	while (shown < s.n && shown && ((unsigned char)s.p[shown] & 0xc0) == 0x80)
		shown--; /* not inside a character */
	for (size_t i = 0; i < shown; i++) {
		static const char hex[] = "0123456789abcdef";
		unsigned char c = (unsigned char)s.p[i];

		if (c >= 0x20 && c != 0x7f && c != '\\' && c != '\'') {
			text[n++] = (char)c;
			continue;
		}
		text[n++] = '\\';
		if (c == '\\' || c == '\'') {
			text[n++] = (char)c;
			continue;
		}
		text[n++] = 'x';
		text[n++] = hex[c >> 4];
		text[n++] = hex[c & 15];
	}
	return agi_fail(why, AGI_E_INVALID, "'%.*s%s' is not a valid HohfeldianState (O, C, L or N)",
	                (int)n, text, shown < s.n ? "…" : "");
}

static struct agi_str defect_text(struct agi_pool *pool, const struct agi_hohfeld_verdict *a,
                                  const struct agi_hohfeld_verdict *b, enum agi_hohfeld expected)
{
	char x = agi_hohfeld_letter(expected);
	const struct agi_str parts[] = {
	    a->party_name,         AGI_STR("("), a->state, AGI_STR(") <-> "), b->party_name,
	    AGI_STR("("), b->state, AGI_STR("): expected "), {&x, 1}};

	return agi_pool_concat(pool, parts, sizeof parts / sizeof *parts);
}

enum agi_err agi_bond_compute(struct agi_bond *out, enum agi_eval_mode mode,
                              const struct agi_hohfeld_verdict *a, size_t n_a,
                              const struct agi_hohfeld_verdict *b, size_t n_b,
                              struct agi_pool *pool, struct agi_why *why)
{
	struct agi_bond_count count = {0};
	bool is_computable = true;
	size_t n = n_a < n_b ? n_a : n_b;

	*out = (struct agi_bond){0};
	for (size_t i = 0; i < n; i++) {
		enum agi_hohfeld x = agi_hohfeld_parse(a[i].state);
		enum agi_hohfeld y = agi_hohfeld_parse(b[i].state);

		if (x == AGI_HOHFELD_INVALID)
			return bad_state(why, a[i].state);
		if (y == AGI_HOHFELD_INVALID)
			return bad_state(why, b[i].state);
		agi_bond_add(&count, x, y);
		if (y != agi_hohfeld_correlative(x))
			agi_strs_add(&out->violations, pool,
			             defect_text(pool, &a[i], &b[i], agi_hohfeld_correlative(x)));
		is_computable &= agi_is_share(a[i].confidence) && agi_is_share(b[i].confidence);
	}
	agi_bond_finish(out, &count, mode);
	if (mode == AGI_EVAL_STRICT && !is_computable)
		agi_bond_uncomputable(out, pool, AGI_STR("invalid_input:confidence"));
	return pool->err;
}

void agi_hohfeld_verify(struct agi_symmetry *out, const struct agi_hohfeld_verdict *v, size_t n,
                        struct agi_pool *pool)
{
	size_t count[AGI_HOHFELD_N + 1] = {0};
	size_t o, c, l, m, sum;

	*out = (struct agi_symmetry){.rate = 1.0};
	for (size_t i = 0; i < n; i++)
		count[agi_hohfeld_parse(v[i].state)]++;
	o = count[AGI_HOHFELD_O];
	c = count[AGI_HOHFELD_C];
	l = count[AGI_HOHFELD_L];
	m = count[AGI_HOHFELD_N];
	if (o != c)
		agi_strs_add(&out->violations, pool,
		             agi_pool_printf(pool, "O<->C asymmetry: %zu Obligations, %zu Claims",
		                             o, c));
	if (l != m)
		agi_strs_add(&out->violations, pool,
		             agi_pool_printf(pool, "L<->N asymmetry: %zu Liberties, %zu No-claims",
		                             l, m));
	sum = o + c + l + m;
	if (sum)
		out->rate = (double)(2 * (o < c ? o : c) + 2 * (l < m ? l : m)) / (double)sum;
}
