/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heads.h"

void agi_heads_init(struct agi_heads *h, const struct agi_storage_req *req)
{
	*h = (struct agi_heads){.req = req};
	agi_buf_init(&h->target, 0);
}

void agi_heads_free(struct agi_heads *h) { agi_buf_free(&h->target); }

static struct agi_str head_of(const struct agi_heads *h)
{
	return (struct agi_str){h->req->heads.p + h->i * AGI_HEAD_BYTES, AGI_HEAD_BYTES};
}

/* key against head ‖ rest */
static int compare(const struct agi_heads *h, struct agi_str key, struct agi_str rest)
{
	struct agi_str first = {key.p, key.n < AGI_HEAD_BYTES ? key.n : AGI_HEAD_BYTES};
	int c = agi_str_cmp(first, head_of(h));

	return c ? c : agi_str_cmp((struct agi_str){key.p + AGI_HEAD_BYTES, key.n - AGI_HEAD_BYTES}, rest);
}

static struct agi_str aim(struct agi_heads *h, struct agi_str rest, bool is_past)
{
	agi_buf_reset(&h->target);
	agi_buf_put_str(&h->target, head_of(h));
	agi_buf_put_str(&h->target, rest);
	if (is_past)
		agi_buf_u8(&h->target, 0); /* the least key above it */
	return agi_buf_str(&h->target);
}

static bool is_resumed(const struct agi_heads *h) { return h->i == 0 && h->req->after.n > 0; }

struct agi_str agi_heads_first(struct agi_heads *h)
{
	return is_resumed(h) ? aim(h, h->req->after, true) : aim(h, h->req->begin, false);
}

enum agi_heads_verdict agi_heads_judge(struct agi_heads *h, struct agi_str key, struct agi_str *target)
{
	while (h->i * AGI_HEAD_BYTES < h->req->heads.n && compare(h, key, h->req->end) >= 0)
		h->i++;
	if (h->i * AGI_HEAD_BYTES >= h->req->heads.n)
		return AGI_HEADS_END;
	if (is_resumed(h) ? compare(h, key, h->req->after) > 0 : compare(h, key, h->req->begin) >= 0)
		return AGI_HEADS_TAKE;
	*target = agi_heads_first(h);
	return h->target.err ? AGI_HEADS_END : AGI_HEADS_SEEK;
}
