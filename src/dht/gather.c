/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/gather.h"

#include <assert.h>

void agi_gather_init(struct agi_gather *g, uint32_t n, uint32_t need)
{
	assert(n <= AGI_REPLICAS_MAX);
	*g = (struct agi_gather){.n = n, .need = need};
}

void agi_gather_asked(struct agi_gather *g, uint32_t i, uint64_t rpc)
{
	assert(i < g->n && g->state[i] == AGI_GATHER_IDLE);
	g->state[i] = AGI_GATHER_ASKED;
	g->rpc[i] = rpc;
	g->asked++;
}

void agi_gather_answered(struct agi_gather *g, uint32_t i, enum agi_gather_state s)
{
	assert(i < g->n && (g->state[i] == AGI_GATHER_IDLE || g->state[i] == AGI_GATHER_ASKED));
	if (g->state[i] == AGI_GATHER_ASKED)
		g->asked--;
	g->state[i] = (uint8_t)s;
	g->rpc[i] = 0;
	switch (s) {
	case AGI_GATHER_YES:
		g->yes++;
		break;
	case AGI_GATHER_NO:
		g->no++;
		break;
	case AGI_GATHER_SILENT:
		g->silent++;
		break;
	default:
		assert(!"an answer is yes, no or silence");
	}
}

enum agi_gather_outcome agi_gather_outcome(const struct agi_gather *g)
{
	if (g->yes >= g->need)
		return AGI_GATHER_WON;
	return g->n - g->no - g->silent < g->need ? AGI_GATHER_LOST : AGI_GATHER_OPEN;
}

bool agi_gather_is_quiet(const struct agi_gather *g) { return g->asked == 0; }
