/* SPDX-License-Identifier: Apache-2.0
 * A scan of many ranges (struct agi_storage_req with heads): where an executor that walks keys in order is to look
 * next. One seek finds the next range that holds anything, so empty ranges cost nothing. */
#ifndef AGI_BASE_HEADS_H
#define AGI_BASE_HEADS_H

#include "base/buf.h"
#include "base/storage.h"

struct agi_heads {
	const struct agi_storage_req *req; /* borrowed */
	size_t i;                          /* the range looked at; those before are done */
	struct agi_buf target;
};

void agi_heads_init(struct agi_heads *h, const struct agi_storage_req *req);
void agi_heads_free(struct agi_heads *h);
/* Where to begin; valid until the next call. Empty when out of memory. */
struct agi_str agi_heads_first(struct agi_heads *h);

enum agi_heads_verdict {
	AGI_HEADS_TAKE, /* key lies in a range */
	AGI_HEADS_SEEK, /* nothing before *target does */
	AGI_HEADS_END   /* nothing from here on does; or out of memory: h->target.err */
};
/* key: the next one that is there; never below an earlier one. */
enum agi_heads_verdict agi_heads_judge(struct agi_heads *h, struct agi_str key, struct agi_str *target);

#endif
