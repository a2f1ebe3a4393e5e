/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/activation.h"

#include <stdlib.h>

struct place {
	uint64_t hash;
	uint32_t in_zone; /* so many of its zone come before it */
	const struct agi_activation_host *host;
};

void agi_activation_init(struct agi_activation *a, const char *role, const struct agi_activation_policy *policy,
                         uint64_t now_us)
{
	size_t n = strnlen(role, AGI_SERVICE_NAME_MAX);

	*a = (struct agi_activation){.policy = *policy};
	memcpy(a->role, role, n);
	agi_activation_rest(a, now_us);
}

void agi_activation_rest(struct agi_activation *a, uint64_t now_us)
{
	a->is_active = a->has_level = false;
	a->level = 0;
	a->began_us = a->span_us = now_us;
	a->next_down_us = a->surplus_us = a->deficit_us = 0;
	memset(a->spans, 0, sizeof a->spans);
}

/* --- who ------------------------------------------------------------------------------------------------------- */
static uint64_t hash_of(const struct agi_activation *a, const struct agi_id *id)
{
	const struct agi_str parts[] = {{a->role, strlen(a->role) + 1}, {(const char *)id->b, AGI_ID_BYTES}};
	uint8_t h[32];
	uint64_t out = 0;

	agi_blake2b_256(h, parts, 2);
	for (int i = 0; i < 8; i++)
		out = out << 8 | h[i];
	return out;
}

static int cmp_hash(const struct place *x, const struct place *y)
{
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return agi_id_cmp(&x->host->id, &y->host->id);
}

static int cmp_in_zone(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int c = strcmp(x->host->zone, y->host->zone);

	return c ? c : cmp_hash(x, y);
}

static bool is_before(const struct place *x, const struct place *y)
{
	if (x->host->is_fixed != y->host->is_fixed)
		return x->host->is_fixed;
	return x->in_zone != y->in_zone ? x->in_zone < y->in_zone : cmp_hash(x, y) < 0;
}

static void rank(const struct agi_activation *a, struct place *p, const struct agi_activation_host *const *hosts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (struct place){hash_of(a, &hosts[i]->id), 0, hosts[i]};
	qsort(p, n, sizeof *p, cmp_in_zone);
	for (size_t i = 1; i < n; i++)
		if (p[i].host->zone[0] && strcmp(p[i].host->zone, p[i - 1].host->zone) == 0)
			p[i].in_zone = p[i - 1].in_zone + 1;
}

/* Returns how many active ones rank before this host; a->ahead: capable ones. */
static uint32_t find_place(struct agi_activation *a, const struct agi_activation_host *self,
                           const struct agi_activation_host *hosts, size_t n)
{
	const struct agi_activation_host *all[AGI_ACTIVATION_HOSTS_MAX + 1];
	struct place p[AGI_ACTIVATION_HOSTS_MAX + 1];
	const struct place *own = p;
	uint32_t ahead_active = 0;

	for (size_t i = 0; i < n; i++)
		all[i] = &hosts[i];
	all[n] = self;
	rank(a, p, all, n + 1);
	while (own->host != self)
		own++;
	a->ahead = 0;
	for (size_t i = 0; i <= n; i++) {
		bool is_ahead = &p[i] != own && is_before(&p[i], own);

		a->ahead += is_ahead;
		ahead_active += is_ahead && p[i].host->is_active;
	}
	return ahead_active;
}

/* --- how many -------------------------------------------------------------------------------------------------- */
static uint32_t count(struct agi_activation *a, const struct agi_activation_host *self,
                      const struct agi_activation_host *hosts, size_t n)
{
	uint32_t load = a->is_active ? self->load_milli : 0;

	a->n_active = a->is_active;
	a->n_capable = (uint32_t)n + 1;
	for (size_t i = 0; i < n; i++) {
		a->n_active += hosts[i].is_active;
		load += hosts[i].is_active ? hosts[i].load_milli : 0;
	}
	return load;
}

static uint32_t wanted_for(const struct agi_activation_policy *p, uint32_t load_milli)
{
	uint32_t most = p->max_active ? p->max_active : UINT32_MAX;
	uint32_t n = (load_milli + p->target_milli - 1) / p->target_milli;

	if (p->min_active == 0 || n > most)
		return most;
	return n > p->min_active ? n : p->min_active;
}

/* Keeps the demand; returns the greatest of the window, UINT32_MAX until a window has passed. */
static uint32_t peak(struct agi_activation *a, uint64_t now_us)
{
	uint64_t span = a->policy.window_us / AGI_ACTIVATION_SPANS + 1;
	uint32_t most = a->wanted;

	for (size_t k = 0; k < AGI_ACTIVATION_SPANS && now_us - a->span_us >= span; k++) {
		memmove(&a->spans[1], &a->spans[0], sizeof a->spans - sizeof a->spans[0]);
		a->spans[0] = 0;
		a->span_us += span;
	}
	if (now_us - a->span_us >= span)
		a->span_us = now_us;
	if (a->spans[0] < a->wanted)
		a->spans[0] = a->wanted;
	for (size_t k = 0; k < AGI_ACTIVATION_SPANS; k++)
		most = a->spans[k] > most ? a->spans[k] : most;
	return now_us - a->began_us < a->policy.window_us ? UINT32_MAX : most;
}

static uint32_t min_of(uint32_t x, uint32_t y) { return x < y ? x : y; }

static void set_level(struct agi_activation *a, uint64_t now_us)
{
	uint32_t most = peak(a, now_us), step;

	if (!a->has_level || a->wanted > a->level) {
		a->level = !a->has_level && a->n_active > a->wanted ? a->n_active : a->wanted; /* as it is found */
		a->has_level = true;
		if (a->policy.max_active)
			a->level = min_of(a->level, a->policy.max_active);
		return;
	}
	if (most >= a->level || now_us < a->next_down_us)
		return;
	a->level = min_of(a->level, a->n_capable > most ? a->n_capable : most); /* who is not there need not go */
	step = a->level / 10 ? a->level / 10 : 1;
	a->level = a->level - most > step ? a->level - step : most;
	a->next_down_us = now_us + (uint64_t)AGI_ACTIVATION_STEP_MS * 1000;
}

/* --- the decision ---------------------------------------------------------------------------------------------- */
/* Has it been so for ms? since: 0 while it is not so. */
static bool lasts(uint64_t *since, bool is_so, uint64_t now_us, uint32_t ms)
{
	if (!is_so)
		*since = 0;
	else if (!*since)
		*since = now_us ? now_us : 1;
	return is_so && now_us - *since >= (uint64_t)ms * 1000;
}

bool agi_activation_step(struct agi_activation *a, uint64_t now_us, enum agi_activation_view view,
                         const struct agi_activation_host *self, const struct agi_activation_host *hosts,
                         size_t n)
{
	uint32_t ahead_active;
	bool is_surplus, is_deficit;

	n = n < AGI_ACTIVATION_HOSTS_MAX ? n : AGI_ACTIVATION_HOSTS_MAX;
	a->wanted = wanted_for(&a->policy, count(a, self, hosts, n));
	ahead_active = find_place(a, self, hosts, n);
	if (view == AGI_ACTIVATION_FRESH)
		set_level(a, now_us);
	else if (a->wanted > a->level)
		a->level = a->wanted;
	/* wanted, not level: others may be on their way down already */
	is_deficit = lasts(&a->deficit_us, !a->is_active && a->n_active < a->wanted, now_us, AGI_ACTIVATION_PATIENCE_MS);
	is_surplus = lasts(&a->surplus_us, a->is_active && view == AGI_ACTIVATION_FRESH && ahead_active >= a->level,
	                   now_us, AGI_ACTIVATION_HOLD_MS);
	if (a->is_active)
		a->is_active = !is_surplus;
	else
		a->is_active = is_deficit || (view != AGI_ACTIVATION_BLIND && a->ahead < a->level);
	return a->is_active;
}
