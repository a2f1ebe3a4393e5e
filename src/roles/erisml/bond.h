/* SPDX-License-Identifier: Apache-2.0
 * Hohfeldian positions and the Bond Index: the share of relations in which what one party owes or may do
 * does not match what the other may claim. (W. N. Hohfeld, 1913: Obligation and Claim are correlatives,
 * so are Liberty and No-claim; O and L, C and N are opposites.) */
#ifndef AGI_ROLES_ERISML_BOND_H
#define AGI_ROLES_ERISML_BOND_H

#include "roles/erisml/evaluate.h"
#include "roles/pool.h"

enum agi_hohfeld { AGI_HOHFELD_INVALID, AGI_HOHFELD_O, AGI_HOHFELD_C, AGI_HOHFELD_L, AGI_HOHFELD_N };
/* Exactly "O", "C", "L" or "N"; else INVALID. */
enum agi_hohfeld agi_hohfeld_parse(struct agi_str s);
char agi_hohfeld_letter(enum agi_hohfeld h);
/* O↔C, L↔N (INVALID stays) */
enum agi_hohfeld agi_hohfeld_correlative(enum agi_hohfeld h);
/* O↔L, C↔N */
enum agi_hohfeld agi_hohfeld_opposite(enum agi_hohfeld h);

struct agi_hohfeld_verdict {
	struct agi_str party_name, state;
	float confidence;
};

struct agi_bond {
	double index;        /* 0 … 1; 1 also when it could not be computed */
	bool is_within;      /* index < AGI_BOND_LIMIT */
	struct agi_strs violations;
	/* strict mode; 0 in reference mode */
	double correlative_rate; /* share of pairs that are correlatives; 1 when there are no pairs */
	double negation_rate;    /* share of pairs in which the second is the opposite of the first */
};
#define AGI_BOND_BASELINE 0.155 /* the index that the reference reports as usual */
#define AGI_BOND_LIMIT    0.30  /* "within threshold" means below this, as the reference has it */

/* Measured pair by pair; needs no memory but for the violations. */
struct agi_bond_count {
	size_t pairs, defects, opposites;
};
void agi_bond_add(struct agi_bond_count *c, enum agi_hohfeld agent, enum agi_hohfeld affected);
void agi_bond_finish(struct agi_bond *out, const struct agi_bond_count *c, enum agi_eval_mode mode);
/* Index 1.0 with this violation (copied reference, not text). */
void agi_bond_uncomputable(struct agi_bond *out, struct agi_pool *pool, struct agi_str violation);

/* ComputeBondIndex: pairs a[i] with b[i]; the longer list's tail is not looked at. The first state that is
 * none of the four, a before b, ends it with INVALID and why naming it. In strict mode a confidence outside
 * [0, 1] makes the index uncomputable. */
AGI_MUST_USE enum agi_err agi_bond_compute(struct agi_bond *out, enum agi_eval_mode mode,
                                           const struct agi_hohfeld_verdict *a, size_t n_a,
                                           const struct agi_hohfeld_verdict *b, size_t n_b,
                                           struct agi_pool *pool, struct agi_why *why);

struct agi_symmetry {
	double rate; /* 0 … 1 */
	struct agi_strs violations; /* none = consistent */
};
/* VerifyHohfeldian: are there as many obligations as claims, as many liberties as no-claims? */
void agi_hohfeld_verify(struct agi_symmetry *out, const struct agi_hohfeld_verdict *v, size_t n,
                        struct agi_pool *pool);

#endif
