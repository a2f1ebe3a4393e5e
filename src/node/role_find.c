/* SPDX-License-Identifier: Apache-2.0 */
#include "node/role_find.h"

#include <stdlib.h>

struct finding {
	agi_forward_found_fn *fn;
	void *arg;
};

static void on_discovered(void *arg, const struct agi_result *res)
{
	struct finding *f = arg;

	f->fn(f->arg, res->instances, res->err ? 0 : res->n_instances);
	free(f);
}

void agi_role_find(struct agi_dht_host *host, struct agi_str role, uint32_t timeout_ms,
                   agi_forward_found_fn *fn, void *arg)
{
	const struct agi_call op = {
	    .kind = AGI_CALL_DISCOVER, .service = role, .timeout_ms = timeout_ms};
	struct agi_instance known[AGI_FORWARD_TRIES];
	size_t n = agi_dht_known_instances(agi_dht_host_core(host), role, known, AGI_FORWARD_TRIES);
	struct finding *f = n ? NULL : malloc(sizeof *f);

	if (!f) {
		fn(arg, known, n);
		return;
	}
	*f = (struct finding){fn, arg};
	agi_dht_host_follow(host, role);
	agi_dht_host_call(host, &op, on_discovered, f);
}

static void on_looked(void *arg, const struct agi_result *res)
{
	(void)arg;
	(void)res; /* the core has it */
}

void agi_role_look(struct agi_dht_host *host, struct agi_str role, size_t least, uint32_t timeout_ms)
{
	struct agi_instance found[AGI_PANEL_MAX];
	struct agi_call op = {.kind = AGI_CALL_DISCOVER, .service = role, .timeout_ms = timeout_ms};

	if (agi_dht_known_instances(agi_dht_host_core(host), role, found, AGI_PANEL_MAX) < least)
		agi_dht_host_call(host, &op, on_looked, NULL);
}
