/* SPDX-License-Identifier: Apache-2.0
 * ErisML's answer about one step or a whole plan: what agi.erisml.v1.EvaluatePlanResponse says, as values.
 * Made here by a local evaluation, or read from the wire by whoever asked another node. */
#ifndef AGI_ROLES_ERISML_PLAN_EVAL_H
#define AGI_ROLES_ERISML_PLAN_EVAL_H

#include "roles/erisml/proof.h"

struct agi_step_result {
	enum agi_verdict verdict;
	double moral[AGI_MORAL_DIMS];
	bool is_vetoed;
	struct agi_str veto_reason;
	struct agi_strs flags, reasons;
	const struct agi_proof *proof; /* NULL = none */
};

/* Dimensions × steps, row by row: data[dimension * steps + step] (strict mode). */
struct agi_moral_tensor {
	size_t n_steps;
	const double *data;
	struct agi_strs flags, reasons; /* of all steps, each once */
};

struct agi_plan_eval {
	const struct agi_step_result *steps;
	size_t n_steps;
	bool is_approved;
	struct agi_strs blocked;             /* option ids of the vetoed steps, repeats kept */
	const struct agi_bond *bond;         /* NULL = absent (never made so here) */
	const struct agi_proof *proof;       /* NULL = none */
	const struct agi_moral_tensor *tensor; /* NULL = none */
};

/* EvaluateStep. facts may be NULL. A proof is always made. NOMEM, TOO_LARGE (the pool's). */
AGI_MUST_USE enum agi_err agi_erisml_step(struct agi_step_result *out, const struct agi_proof_ctx *ctx,
                                          const struct agi_facts *facts);
/* EvaluatePlan. No steps: approved. TOO_LARGE + why above AGI_PLAN_STEPS_MAX steps. */
AGI_MUST_USE enum agi_err agi_erisml_plan(struct agi_plan_eval *out, const struct agi_proof_ctx *ctx,
                                          const struct agi_facts *facts, size_t n, bool want_proofs,
                                          struct agi_why *why);

/* Where a step stands towards those it affects, when it does not say: bound by an obligation when it harms
 * or disregards rights, else at liberty. */
enum agi_hohfeld agi_position_of_step(const struct agi_step_result *s);

#endif
