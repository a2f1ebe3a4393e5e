/* SPDX-License-Identifier: Apache-2.0 */
#include "node/activate.h"

#include <stdio.h>
#include <stdlib.h>

#include "node/log.h"
#include "node/role_host.h"
#include "roles/activation.h"

enum { ROLES_MAX = 16, STEP_US = 1000000 };
static const char suffix[] = "-capable";

struct one {
	const char *role;
	char capable[AGI_SERVICE_NAME_MAX + 1];
	struct agi_activation state;
	uint64_t next_us;
};

struct agi_activate {
	struct agi_activate_cfg cfg;
	struct one of[ROLES_MAX];
	size_t n;
	/* for a step */
	struct agi_instance found[AGI_ACTIVATION_HOSTS_MAX];
	struct agi_activation_host hosts[AGI_ACTIVATION_HOSTS_MAX];
};

enum agi_err agi_activate_new(const struct agi_activate_cfg *cfg, struct agi_activate **out)
{
	struct agi_activate *a = calloc(1, sizeof *a);

	if (!a)
		return AGI_E_NOMEM;
	a->cfg = *cfg;
	*out = a;
	return AGI_OK;
}

void agi_activate_free(struct agi_activate *a) { free(a); }

void agi_activate_service(char out[AGI_SERVICE_NAME_MAX + 1], const char *role)
{
	snprintf(out, AGI_SERVICE_NAME_MAX + 1, "%.*s%s", AGI_SERVICE_NAME_MAX - (int)sizeof suffix, role, suffix);
}

bool agi_activate_is_reserved(struct agi_str service)
{
	char name[AGI_SERVICE_NAME_MAX + 1];

	for (size_t i = 0; agi_role_def_at(i); i++) {
		agi_activate_service(name, agi_role_def_at(i)->name);
		if (agi_str_eq(service, agi_str_of(name)))
			return true;
	}
	return false;
}

enum agi_err agi_activate_add(struct agi_activate *a, const char *role, const struct agi_addr *addr, uint32_t traits)
{
	const struct agi_config_role *c = agi_config_role(a->cfg.config, role);
	struct agi_activation_policy p;
	struct one *o = &a->of[a->n];
	enum agi_err e = agi_adverts_add_role(a->cfg.adverts, role, addr, traits);

	if (e)
		return e;
	if (!c || (c->min_active == 0 && c->max_active == 0))
		return AGI_OK;
	if (a->n == ROLES_MAX)
		return AGI_E_FULL;
	p = (struct agi_activation_policy){c->min_active, c->max_active, (uint32_t)(c->target_load * 1000 + 0.5),
	                                   (uint64_t)c->scale_down_after_ms * 1000};
	o->role = role;
	agi_activate_service(o->capable, role);
	agi_activation_init(&o->state, role, &p, agi_clock_now().mono_us);
	a->n++;
	return agi_adverts_add_role(a->cfg.adverts, o->capable, addr, traits);
}

void agi_activate_start(struct agi_activate *a)
{
	for (size_t i = 0; i < a->n; i++) {
		agi_dht_host_follow(a->cfg.host, agi_str_of(a->of[i].role));
		agi_dht_host_follow(a->cfg.host, agi_str_of(a->of[i].capable));
	}
}

/* --- a step ---------------------------------------------------------------------------------------------------- */
static enum agi_activation_view view_of(const struct agi_dht *d, const struct one *o)
{
	bool is_stale[2];
	size_t n;

	if (!agi_dht_service_known(d, agi_str_of(o->role), &is_stale[0], &n) ||
	    !agi_dht_service_known(d, agi_str_of(o->capable), &is_stale[1], &n))
		return AGI_ACTIVATION_BLIND;
	return is_stale[0] || is_stale[1] ? AGI_ACTIVATION_STALE : AGI_ACTIVATION_FRESH;
}

/* The row of a host; a new one when there is none yet, NULL: it is this host, or there is no room. */
static struct agi_activation_host *row_of(struct agi_activate *a, size_t *n, const struct agi_instance *in)
{
	if (agi_id_eq(&in->node, &a->cfg.self))
		return NULL;
	for (size_t i = 0; i < *n; i++)
		if (agi_id_eq(&a->hosts[i].id, &in->node))
			return &a->hosts[i];
	if (*n == AGI_ACTIVATION_HOSTS_MAX)
		return NULL;
	a->hosts[*n] = (struct agi_activation_host){in->node, in->provider->zone, in->provider->load_milli, false, false};
	return &a->hosts[(*n)++];
}

/* Who is active without being capable has no policy. */
static size_t see(struct agi_activate *a, const struct one *o)
{
	const struct agi_dht *d = agi_dht_host_core(a->cfg.host);
	size_t n = 0, got = agi_dht_known_instances(d, agi_str_of(o->capable), a->found, AGI_ACTIVATION_HOSTS_MAX), capable;

	for (size_t i = 0; i < got; i++)
		(void)row_of(a, &n, &a->found[i]);
	capable = n;
	got = agi_dht_known_instances(d, agi_str_of(o->role), a->found, AGI_ACTIVATION_HOSTS_MAX);
	for (size_t i = 0; i < got; i++) {
		struct agi_activation_host *h = row_of(a, &n, &a->found[i]);

		if (h) {
			h->is_active = true;
			h->is_fixed = h >= &a->hosts[capable];
		}
	}
	return n;
}

static void log_change(const struct agi_activate *a, const struct one *o)
{
	AGI_LOG(a->cfg.log, AGI_LOG_INFO, o->state.is_active ? "role_active" : "role_standby", agi_kv_z("role", o->role),
	        agi_kv_u("level", o->state.level), agi_kv_u("active", o->state.n_active),
	        agi_kv_u("capable", o->state.n_capable), agi_kv_u("ahead", o->state.ahead));
}

static void step(struct agi_activate *a, struct one *o, uint32_t load_milli, uint64_t now_us)
{
	struct agi_activation_host self = {.id = a->cfg.self, .zone = a->cfg.config->node.zone, .load_milli = load_milli};
	const struct agi_dht *d = agi_dht_host_core(a->cfg.host);
	bool was_active = o->state.is_active;
	struct agi_dht_status st;

	agi_dht_status(d, &st);
	if (!st.is_joined)
		agi_activation_rest(&o->state, now_us); /* its time begins when it can be found */
	else
		agi_activation_step(&o->state, now_us, view_of(d, o), &self, a->hosts, see(a, o));
	if (o->state.is_active != was_active)
		log_change(a, o);
}

static struct one *find(const struct agi_activate *a, const char *role)
{
	for (size_t i = 0; a && i < a->n; i++)
		if (strcmp(a->of[i].role, role) == 0)
			return (struct one *)&a->of[i];
	return NULL;
}

void agi_activate_tell(struct agi_activate *a, const char *role, bool is_capable, uint32_t load_milli, uint64_t now_us)
{
	struct one *o = find(a, role);

	if (!o) {
		agi_adverts_set_role(a->cfg.adverts, role, is_capable, load_milli);
		return;
	}
	agi_adverts_set_role(a->cfg.adverts, o->capable, is_capable, load_milli);
	if (!is_capable)
		agi_activation_rest(&o->state, now_us);
	else if (now_us >= o->next_us) {
		o->next_us = now_us + STEP_US;
		step(a, o, load_milli, now_us);
	}
	agi_adverts_set_role(a->cfg.adverts, role, is_capable && o->state.is_active, load_milli);
}

/* --- queries --------------------------------------------------------------------------------------------------- */
bool agi_activate_has_policy(const struct agi_activate *a, const char *role) { return find(a, role) != NULL; }

bool agi_activate_is_standby(const struct agi_activate *a, const char *role, char why[AGI_ACTIVATE_WHY_MAX])
{
	const struct one *o = find(a, role);

	if (!o || o->state.is_active)
		return false;
	if (why && o->state.ahead >= o->state.level && o->state.level)
		snprintf(why, AGI_ACTIVATE_WHY_MAX, "%u of %u capable hosts are wanted, %u rank before this one",
		         o->state.level, o->state.n_capable, o->state.ahead);
	else if (why)
		snprintf(why, AGI_ACTIVATE_WHY_MAX, "looking who else serves");
	return true;
}

void agi_activate_metrics(const struct agi_activate *a, struct agi_buf *b)
{
	agi_buf_printf(b, "# HELP agihpc_role_active 1 while a role with an activation policy serves here, 0 in standby.\n"
	                  "# TYPE agihpc_role_active gauge\n");
	for (size_t i = 0; i < a->n; i++)
		agi_buf_printf(b, "agihpc_role_active{role=\"%s\"} %d\n", a->of[i].role, (int)a->of[i].state.is_active);
	agi_buf_printf(b, "# HELP agihpc_role_hosts_wanted Hosts that are to serve such a role, as this host has it.\n"
	                  "# TYPE agihpc_role_hosts_wanted gauge\n");
	for (size_t i = 0; i < a->n; i++)
		agi_buf_printf(b, "agihpc_role_hosts_wanted{role=\"%s\"} %u\n", a->of[i].role,
		               a->of[i].state.level < a->of[i].state.n_capable ? a->of[i].state.level
		                                                               : a->of[i].state.n_capable);
}
