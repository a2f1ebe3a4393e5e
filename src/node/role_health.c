/* SPDX-License-Identifier: Apache-2.0 */
#include "node/role_health.h"

#include <stdio.h>
#include <stdlib.h>

#include "node/role_find.h"

enum { SERVICE_NAME_MAX = 128 };

/* NULL for services that belong to no role. */
static const char *role_of(struct agi_str service)
{
	char z[SERVICE_NAME_MAX];

	if (service.n >= sizeof z || (service.n && memchr(service.p, '\0', service.n)))
		return NULL;
	snprintf(z, sizeof z, "%.*s", AGI_STR_ARG(service));
	return agi_forward_role_of(z);
}

enum agi_svc_state agi_role_health_state(void *ctx, struct agi_str service)
{
	const struct agi_role_health *h = ctx;
	const char *role = role_of(service);
	struct agi_instance one;
	bool is_serving;

	if (!role)
		return AGI_SVC_UNKNOWN;
	if (h->svc->role_is_serving(h->svc->ctx, agi_str_of(role), &is_serving) != AGI_OK)
		is_serving = h->hands_on && !h->svc->is_stopping &&
		             agi_dht_known_instances(agi_dht_host_core(h->svc->host), agi_str_of(role), &one, 1);
	return is_serving ? AGI_SVC_SERVING : AGI_SVC_NOT_SERVING;
}

struct question {
	agi_svc_found_out_fn *fn;
	void *arg;
};

static void on_found(void *arg, const struct agi_instance *instances, size_t n)
{
	struct question *q = arg;
	(void)instances;
	(void)n; /* the core remembers them */

	q->fn(q->arg);
	free(q);
}

void agi_role_health_find_out(void *ctx, struct agi_str service, agi_svc_found_out_fn *fn, void *arg)
{
	const struct agi_role_health *h = ctx;
	const char *role = role_of(service);
	bool is_own = role && h->svc->role_is_serving(h->svc->ctx, agi_str_of(role), &(bool){false}) == AGI_OK;
	struct question *q = role && !is_own && h->hands_on ? malloc(sizeof *q) : NULL;

	if (!q) {
		fn(arg);
		return;
	}
	*q = (struct question){fn, arg};
	agi_role_find(h->svc->host, agi_str_of(role), AGI_FORWARD_FIND_MS, on_found, q);
}
