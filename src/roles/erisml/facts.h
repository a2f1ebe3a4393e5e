/* SPDX-License-Identifier: Apache-2.0
 * The ethically relevant facts of one step (agi.erisml.v1.EthicalFactsProto) and their canonical bytes.
 *
 * Canonical form: known fields by number; a scalar equal to its default is left out, but -0.0 is written;
 * a negative int32 takes ten bytes; a map entry always has key and value, entries in bytewise order of
 * their keys; fields of unknown number follow in the order they arrived. Two messages that mean the same
 * have the same canonical bytes, so their hash names the facts. */
#ifndef AGI_ROLES_ERISML_FACTS_H
#define AGI_ROLES_ERISML_FACTS_H

#include "base/buf.h"
#include "base/hash.h"

struct agi_extension {
	struct agi_str key;
	float value;
};

struct agi_facts {
	struct agi_str option_id;
	float expected_benefit, expected_harm, urgency;
	int32_t affected_count;
	bool violates_rights, has_valid_consent, violates_explicit_rule;
	bool discriminates_on_protected_attr, exploits_vulnerable_population;
	float physical_harm_risk, collision_probability;
	float uncertainty_level, evidence_quality;
	bool novel_situation;
	/* In bytewise order of their keys; equal keys (reference mode only) in order of arrival. */
	const struct agi_extension *extensions;
	size_t n_extensions;
	struct agi_str maxim_action_kind, maxim_polarity;
	struct agi_str unknown; /* encoded fields of unknown number, as they arrived */
};

void agi_facts_encode(struct agi_buf *out, const struct agi_facts *f);

enum { AGI_HASH_TEXT = 2 * AGI_SHA256_BYTES + 1 };
/* SHA-256 of the canonical bytes, 64 hex digits, terminated. NOMEM, TOO_LARGE. */
AGI_MUST_USE enum agi_err agi_facts_hash(char out[AGI_HASH_TEXT], const struct agi_facts *f);

#endif
