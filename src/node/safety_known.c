/* SPDX-License-Identifier: Apache-2.0 */
#include "node/safety_known.h"

#include "base/limits.h"

static const char *const services[AGI_SAFETY_KNOWN_SERVICES] = {"safety-gateway", "erisml", "in-action"};

void agi_safety_known_fill(struct agi_safety_known *k, const struct agi_dht *d, uint64_t now_us)
{
	struct agi_instance found[AGI_SAFETY_KNOWN_MAX];

	k->at_us = now_us;
	for (size_t s = 0; s < AGI_SAFETY_KNOWN_SERVICES; s++) {
		k->n[s] = agi_dht_known_instances(d, agi_str_of(services[s]), found, AGI_SAFETY_KNOWN_MAX);
		for (size_t i = 0; i < k->n[s]; i++)
			k->rows[s][i] = (struct agi_safety_known_row){
			    found[i].node, found[i].provider->node_addr, found[i].rtt_us};
	}
}

bool agi_safety_known_eq(const struct agi_safety_known *a, const struct agi_safety_known *b)
{
	for (size_t s = 0; s < AGI_SAFETY_KNOWN_SERVICES; s++) {
		if (a->n[s] != b->n[s])
			return false;
		for (size_t i = 0; i < a->n[s]; i++)
			if (!agi_id_eq(&a->rows[s][i].node, &b->rows[s][i].node) ||
			    !agi_addr_eq(&a->rows[s][i].addr, &b->rows[s][i].addr))
				return false;
	}
	return true;
}

static size_t give(struct agi_safety_known *k, size_t s, struct agi_instance *out, size_t max)
{
	size_t n = k->n[s] < max ? k->n[s] : max;

	for (size_t i = 0; i < n; i++) {
		k->providers[i].service = agi_str_of(services[s]);
		k->providers[i].node_addr = k->rows[s][i].addr;
		out[i] = (struct agi_instance){.provider = &k->providers[i],
		                               .node = k->rows[s][i].node,
		                               .rtt_us = k->rows[s][i].rtt_us};
	}
	return n;
}

size_t agi_safety_known_find(struct agi_safety_known *k, uint64_t now_us, struct agi_str service,
                             struct agi_instance *out, size_t max)
{
	if (!k->at_us || now_us > k->at_us + (uint64_t)AGI_SAFETY_KNOWN_MS * 1000)
		return 0;
	for (size_t s = 0; s < AGI_SAFETY_KNOWN_SERVICES; s++)
		if (agi_str_eq(service, agi_str_of(services[s])))
			return give(k, s, out, max);
	return 0;
}
