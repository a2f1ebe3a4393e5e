/* SPDX-License-Identifier: Apache-2.0
 * Decision proofs outlive the process: their chain goes on where the audit log says that it ended. What is read at the
 * start is followed from the newest segment that holds any; the whole log by `agihpc-ctl safety audit --verify`. */
#include "node/audit_file.h"
#include "node/safety_impl.h"

struct reader {
	const struct agi_safety_plane *plane;
	struct agi_proof_walk walk;
	struct agi_safety_proofs *found;
	struct agi_audit_chunk chunk;
};

static void follow(struct reader *r, const struct agi_audit_entry *e)
{
	struct agi_why why = {""};

	r->found->runs++;
	if (agi_proof_follow(&r->walk, e->body, &why) == AGI_OK)
		return;
	r->found->broken++;
	r->found->incarnation = e->incarnation;
	r->found->seq = e->seq;
	r->found->why = why;
}

static void follow_chunk(struct reader *r)
{
	struct agi_cur c = agi_cur_of(agi_buf_str(&r->chunk.records));
	struct agi_audit_entry e;
	const uint8_t *hash;
	struct agi_str bytes;

	while (agi_audit_next_record(&c, &bytes, &hash))
		if (agi_audit_decode(&e, bytes) == AGI_OK && e.kind == AGI_AUDIT_PROOFS &&
		    agi_id_eq(&e.node, &r->plane->self.id))
			follow(r, &e);
}

static enum agi_err read_segment(struct reader *r, const char *dir, uint64_t segment, struct agi_why *why)
{
	struct agi_audit_at at = {.has_segment = true, .number = segment};
	enum agi_err e;

	r->walk = (struct agi_proof_walk){.has_head = false};
	*r->found = (struct agi_safety_proofs){.runs = 0};
	do {
		e = agi_audit_read(dir, &at, 0, &r->chunk, why);
		if (!e)
			follow_chunk(r);
	} while (!e && r->chunk.has_more && at.number == segment);
	return e;
}

/* The newest segment that holds any. NOT_FOUND: none does. */
static enum agi_err read_newest(struct reader *r, const char *dir, struct agi_why *why)
{
	uint64_t segment;
	enum agi_err e = agi_audit_segment_before(dir, NULL, &segment);

	while (!e) {
		e = read_segment(r, dir, segment, why);
		if (e || r->found->runs)
			return e;
		e = agi_audit_segment_before(dir, &segment, &segment);
	}
	return e;
}

enum agi_err agi_safety_plane_continue_proofs(struct agi_safety_plane *s, const char *dir,
                                              struct agi_safety_proofs *found, struct agi_why *why)
{
	struct reader r = {.plane = s, .found = found};
	enum agi_err e;

	*found = (struct agi_safety_proofs){.runs = 0};
	if (!s->serves_erisml)
		return AGI_OK;
	agi_buf_init(&r.chunk.records, 0);
	e = read_newest(&r, dir, why);
	agi_buf_free(&r.chunk.records);
	if (e && e != AGI_E_NOT_FOUND)
		return e;
	memcpy(s->erisml.chain.head, r.walk.head, sizeof r.walk.head);
	return AGI_OK;
}
