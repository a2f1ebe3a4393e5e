/* SPDX-License-Identifier: Apache-2.0 */
#include "node/safety_known.h"

#include "base/limits.h"

static const char *const services[AGI_SAFETY_KNOWN_SERVICES] = {"safety-gateway", "erisml", "in-action"};

struct ranked {
	struct agi_peer peer;
	uint32_t rtt_us;
	bool is_here, is_suspect; /* in this host's zone */
};

static bool is_better(const struct ranked *a, const struct ranked *b)
{
	if (a->is_suspect != b->is_suspect)
		return b->is_suspect;
	return a->is_here != b->is_here ? b->is_here : a->rtt_us < b->rtt_us;
}

/* Into the best so far, which are in order. */
static size_t insert(struct ranked *best, size_t n, const struct ranked *r)
{
	size_t at = n;

	while (at > 0 && is_better(r, &best[at - 1]))
		at--;
	if (at == AGI_SAFETY_WITNESSES_MAX)
		return n;
	if (n == AGI_SAFETY_WITNESSES_MAX)
		n--;
	memmove(&best[at + 1], &best[at], (n - at) * sizeof *best);
	best[at] = *r;
	return n + 1;
}

static void find_witnesses(struct agi_safety_known *k, const struct agi_dht *d)
{
	struct ranked best[AGI_SAFETY_WITNESSES_MAX];
	struct agi_member self, m;

	k->is_alone = true;
	k->n_witnesses = 0;
	if (!agi_dht_member(d, 0, &self))
		return;
	for (size_t i = 1; i < AGI_SAFETY_MEMBERS_SEEN && agi_dht_member(d, i, &m); i++) {
		struct ranked r = {{m.contact.id, m.contact.addr}, m.rtt_us, strcmp(m.contact.zone, self.contact.zone) == 0,
		                   m.state == AGI_MEMBER_SUSPECT};

		k->is_alone = false;
		if (m.state == AGI_MEMBER_UP || m.state == AGI_MEMBER_SUSPECT)
			k->n_witnesses = insert(best, k->n_witnesses, &r);
	}
	for (size_t i = 0; i < k->n_witnesses; i++)
		k->witnesses[i] = best[i].peer;
}

/* How many of those that came already share its zone, and its host. */
static size_t shared(const struct agi_fault_domain *of, const size_t *order, size_t n, size_t i)
{
	size_t zones = 0, hosts = 0;

	for (size_t k = 0; k < n; k++) {
		const struct agi_fault_domain *o = &of[order[k]];

		zones += of[i].zone[0] && strcmp(o->zone, of[i].zone) == 0;
		hosts += memcmp(o->ip, of[i].ip, 16) == 0;
	}
	return zones * AGI_SAFETY_KNOWN_MAX + hosts;
}

void agi_safety_spread(const struct agi_fault_domain *of, size_t n, size_t order[AGI_SAFETY_KNOWN_MAX])
{
	bool came[AGI_SAFETY_KNOWN_MAX] = {false};

	for (size_t k = 0; k < n; k++) {
		size_t best = n, least = SIZE_MAX;

		for (size_t i = 0; i < n; i++) {
			size_t s = came[i] ? SIZE_MAX : shared(of, order, k, i);

			if (s < least) {
				least = s;
				best = i;
			}
		}
		came[best] = true;
		order[k] = best;
	}
}

/* A panel whose gateways fail together is none: they are asked for in this order. */
static void spread(struct agi_instance *found, size_t n)
{
	struct agi_instance nearest[AGI_SAFETY_KNOWN_MAX];
	struct agi_fault_domain of[AGI_SAFETY_KNOWN_MAX];
	size_t order[AGI_SAFETY_KNOWN_MAX];

	for (size_t i = 0; i < n; i++) {
		nearest[i] = found[i];
		of[i] = (struct agi_fault_domain){found[i].provider->zone, found[i].provider->node_addr.ip};
	}
	agi_safety_spread(of, n, order);
	for (size_t i = 0; i < n; i++)
		found[i] = nearest[order[i]];
}

void agi_safety_known_fill(struct agi_safety_known *k, const struct agi_dht *d, uint64_t now_us)
{
	struct agi_instance found[AGI_SAFETY_KNOWN_MAX];

	k->at_us = now_us;
	find_witnesses(k, d);
	for (size_t s = 0; s < AGI_SAFETY_KNOWN_SERVICES; s++) {
		k->n[s] = agi_dht_known_instances(d, agi_str_of(services[s]), found, AGI_SAFETY_KNOWN_MAX);
		if (s == 0) /* gateways */
			spread(found, k->n[s]);
		for (size_t i = 0; i < k->n[s]; i++)
			k->rows[s][i] = (struct agi_safety_known_row){
			    found[i].node, found[i].provider->node_addr, found[i].rtt_us};
	}
}

static bool has_same_witnesses(const struct agi_safety_known *a, const struct agi_safety_known *b)
{
	if (a->n_witnesses != b->n_witnesses || a->is_alone != b->is_alone)
		return false;
	for (size_t i = 0; i < a->n_witnesses; i++)
		if (!agi_id_eq(&a->witnesses[i].id, &b->witnesses[i].id) ||
		    !agi_addr_eq(&a->witnesses[i].addr, &b->witnesses[i].addr))
			return false;
	return true;
}

bool agi_safety_known_eq(const struct agi_safety_known *a, const struct agi_safety_known *b)
{
	if (!has_same_witnesses(a, b))
		return false;
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

size_t agi_safety_known_witnesses(const struct agi_safety_known *k, uint64_t now_us, struct agi_peer *out, size_t max,
                                  bool *is_alone)
{
	bool is_fresh = k->at_us && now_us <= k->at_us + (uint64_t)AGI_SAFETY_KNOWN_MS * 1000;
	size_t n = !is_fresh ? 0 : k->n_witnesses < max ? k->n_witnesses : max;

	*is_alone = is_fresh && k->is_alone;
	for (size_t i = 0; i < n; i++)
		out[i] = k->witnesses[i];
	return n;
}
