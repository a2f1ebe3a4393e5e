/* SPDX-License-Identifier: Apache-2.0
 * status, members, roles, health: the overlay as one node sees it. */
#include <inttypes.h>
#include <stdio.h>

#include "agihpc.pb-c.h"
#include "ctl/call.h"
#include "ctl/out.h"
#include "ctl/units.h"
#include "health.pb-c.h"

/* --- status ----------------------------------------------------------------------------------- */
static json_t *disk_json(const Agihpc__V1__Disk *d)
{
	json_t *o = json_object();

	ctl_set(o, "trouble", ctl_json_str(ctl_str(d->trouble)));
	ctl_set(o, "nearly_full", json_boolean(d->nearly_full));
	ctl_set_u64(o, "free_bytes", d->free_bytes);
	ctl_set_u64(o, "reserve_bytes", d->reserve_bytes);
	ctl_set_u64(o, "total_bytes", d->total_bytes);
	ctl_set(o, "scrubbing", json_boolean(d->scrubbing));
	ctl_set_u64(o, "scrubbed_at_ms", d->scrubbed_at_ms);
	ctl_set(o, "mended", ctl_json_str(ctl_str(d->mended)));
	return o;
}

static enum ctl_exit print_status_json(struct ctl *c, const Agihpc__V1__StatusResponse *r)
{
	json_t *o = json_object(), *members = json_object(), *slots = json_object();

	ctl_set(o, "node_id", ctl_json_str(ctl_str(r->node_id)));
	ctl_set(o, "address", ctl_json_str(ctl_str(r->address)));
	ctl_set(o, "version", ctl_json_str(ctl_str(r->version)));
	ctl_set(o, "cluster_id", ctl_json_str(ctl_str(r->cluster_id)));
	ctl_set(o, "ready", json_boolean(r->ready));
	ctl_set(o, "phase", ctl_json_str(ctl_str(r->phase)));
	ctl_set_u64(o, "incarnation", r->incarnation);
	ctl_set_u64(o, "uptime_ms", r->uptime_ms);
	ctl_set(o, "zone", ctl_json_str(ctl_str(r->zone)));
	ctl_set_u64(members, "up", r->members_up);
	ctl_set_u64(members, "suspect", r->members_suspect);
	ctl_set_u64(members, "down", r->members_down);
	ctl_set(o, "members", members);
	ctl_set_u64(slots, "total", r->slots_total);
	ctl_set_u64(slots, "active", r->slots_active);
	ctl_set_u64(slots, "joining", r->slots_joining);
	ctl_set_u64(slots, "sealed", r->slots_sealed);
	ctl_set_u64(slots, "leaving", r->slots_leaving);
	ctl_set(o, "slots", slots);
	ctl_set_u64(o, "hints", r->hints);
	ctl_set(o, "read_only", json_boolean(r->read_only));
	ctl_set(o, "read_only_why", ctl_json_str(ctl_str(r->read_only_why)));
	if (r->disk)
		ctl_set(o, "disk", disk_json(r->disk));
	ctl_set_u64(o, "rss_bytes", r->rss_bytes);
	ctl_set_u64(o, "store_bytes", r->store_bytes);
	ctl_set_u64(o, "links", r->links);
	ctl_set(o, "roles", ctl_json_strs(r->roles, r->n_roles));
	ctl_set(o, "evaluation", ctl_json_str(ctl_str(r->evaluation)));
	ctl_set(o, "warnings", ctl_json_strs(r->warnings, r->n_warnings));
	return ctl_print_json_take(c, o);
}

static void row(struct ctl_table *t, const char *name, struct agi_str value)
{
	ctl_table_text(t, name);
	ctl_table_str(t, value);
}

static void row_list(struct ctl_table *t, const char *name, const ProtobufCBinaryData *v, size_t n)
{
	struct agi_buf text;

	agi_buf_init(&text, 0);
	for (size_t i = 0; i < n; i++) {
		if (i)
			agi_buf_put_str(&text, AGI_STR(", "));
		agi_buf_put_str(&text, ctl_str(v[i]));
	}
	row(t, name, n ? agi_buf_str(&text) : AGI_STR("-"));
	agi_buf_free(&text);
}

static void disk_row(struct ctl_table *t, const Agihpc__V1__Disk *d)
{
	char free_text[CTL_UNIT_TEXT], total[CTL_UNIT_TEXT];

	ctl_format_bytes(free_text, d->free_bytes);
	ctl_format_bytes(total, d->total_bytes);
	ctl_table_text(t, "disk");
	ctl_table_printf(t, "%s free of %s%s%s", free_text, total, d->nearly_full ? ", nearly full" : "",
			 d->scrubbing ? ", being read for damage" : "");
	if (d->mended.len)
		row(t, "mended", ctl_str(d->mended));
}

static void status_rows_of_slots(struct ctl_table *t, const Agihpc__V1__StatusResponse *r)
{
	ctl_table_text(t, "members");
	ctl_table_printf(t, "%u up, %u suspect, %u down", r->members_up, r->members_suspect,
			 r->members_down);
	ctl_table_text(t, "slots held");
	ctl_table_printf(t, "%u active, %u joining, %u sealed, %u leaving (of %u in the cluster)",
			 r->slots_active, r->slots_joining, r->slots_sealed, r->slots_leaving,
			 r->slots_total);
	ctl_table_text(t, "hints");
	ctl_table_printf(t, "%u", r->hints);
}

static enum ctl_exit print_status(struct ctl *c, const Agihpc__V1__StatusResponse *r)
{
	static const struct ctl_col cols[] = {{NULL, CTL_COL_TEXT}, {NULL, CTL_COL_STATE}};
	char uptime[CTL_UNIT_TEXT], rss[CTL_UNIT_TEXT], store[CTL_UNIT_TEXT];
	struct ctl_table t;

	ctl_format_ms(uptime, (double)r->uptime_ms);
	ctl_format_bytes(rss, r->rss_bytes);
	ctl_format_bytes(store, r->store_bytes);
	ctl_table_init(&t, cols, 2);
	row(&t, "node", ctl_or_dash(r->node_id));
	row(&t, "address", ctl_or_dash(r->address));
	row(&t, "zone", ctl_or_dash(r->zone));
	row(&t, "cluster", ctl_or_dash(r->cluster_id));
	row(&t, "ready", r->ready ? AGI_STR("yes") : AGI_STR("no"));
	row(&t, "phase", ctl_or_dash(r->phase));
	status_rows_of_slots(&t, r);
	row_list(&t, "roles", r->roles, r->n_roles);
	if (r->evaluation.len)
		row(&t, "evaluation", ctl_str(r->evaluation));
	ctl_table_text(&t, "memory");
	ctl_table_printf(&t, "%s resident, %s stored", rss, store);
	if (r->disk)
		disk_row(&t, r->disk);
	ctl_table_text(&t, "links");
	ctl_table_printf(&t, "%u", r->links);
	ctl_table_text(&t, "version");
	ctl_table_printf(&t, "%.*s, start %" PRIu64 ", up for %s", AGI_STR_ARG(ctl_str(r->version)),
			 r->incarnation, uptime);
	if (r->read_only)
		row(&t, "READ-ONLY", ctl_or_dash(r->read_only_why));
	for (size_t i = 0; i < r->n_warnings; i++)
		row(&t, "WARNING", ctl_str(r->warnings[i]));
	return ctl_print_table(c, &t);
}

enum ctl_exit ctl_status(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__StatusRequest req = AGIHPC__V1__STATUS_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Status", &req, agihpc__v1__status_response__descriptor);
	const Agihpc__V1__StatusResponse *res;
	enum ctl_exit code = ctl_ask(c, &call);

	(void)in;
	if (code == CTL_OK) {
		res = (const Agihpc__V1__StatusResponse *)call.res;
		code = c->is_json ? print_status_json(c, res) : print_status(c, res);
	}
	ctl_call_clear(&call);
	return code;
}

/* --- members ---------------------------------------------------------------------------------- */
static enum ctl_exit print_members_json(struct ctl *c, const Agihpc__V1__MembersResponse *r)
{
	json_t *o = json_object(), *list = json_array();

	for (size_t i = 0; i < r->n_members; i++) {
		const Agihpc__V1__Member *m = r->members[i];
		json_t *one = json_object();

		ctl_set(one, "node_id", ctl_json_str(ctl_str(m->node_id)));
		ctl_set(one, "address", ctl_json_str(ctl_str(m->address)));
		ctl_set(one, "zone", ctl_json_str(ctl_str(m->zone)));
		ctl_set(one, "state", ctl_json_str(ctl_str(m->state)));
		ctl_set_u64(one, "state_age_ms", m->state_age_ms);
		ctl_set_ms(one, "rtt_ms", m->rtt_ms);
		ctl_set_ms(one, "estimate_ms", m->estimate_ms);
		ctl_set_u64(one, "incarnation", m->incarnation);
		ctl_set_ms(one, "weight", m->weight);
		json_array_append_new(list, one);
	}
	ctl_set(o, "members", list);
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_members(struct ctl *c, const Agihpc__V1__MembersResponse *r)
{
	static const struct ctl_col cols[] = {{"NODE", CTL_COL_TEXT},    {"ADDRESS", CTL_COL_TEXT},
					      {"ZONE", CTL_COL_TEXT},    {"STATE", CTL_COL_STATE},
					      {"FOR", CTL_COL_NUMBER},   {"RTT", CTL_COL_NUMBER},
					      {"WEIGHT", CTL_COL_NUMBER}};
	char age[CTL_UNIT_TEXT], rtt[CTL_UNIT_TEXT];
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < r->n_members; i++) {
		const Agihpc__V1__Member *m = r->members[i];

		ctl_format_ms(age, (double)m->state_age_ms);
		ctl_format_ms(rtt, m->rtt_ms);
		ctl_table_str(&t, ctl_short_id(m->node_id));
		ctl_table_str(&t, ctl_or_dash(m->address));
		ctl_table_str(&t, ctl_or_dash(m->zone));
		ctl_table_str(&t, ctl_or_dash(m->state));
		ctl_table_text(&t, age);
		ctl_table_text(&t, rtt);
		ctl_table_printf(&t, "%.2g", m->weight);
	}
	return ctl_print_table(c, &t);
}

enum ctl_exit ctl_members(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__MembersRequest req = AGIHPC__V1__MEMBERS_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.NodeService/Members", &req,
					agihpc__v1__members_response__descriptor);
	const Agihpc__V1__MembersResponse *res;
	enum ctl_exit code = ctl_ask(c, &call);

	(void)in;
	if (code == CTL_OK) {
		res = (const Agihpc__V1__MembersResponse *)call.res;
		code = c->is_json ? print_members_json(c, res) : print_members(c, res);
	}
	ctl_call_clear(&call);
	return code;
}

/* --- roles ------------------------------------------------------------------------------------ */
static enum ctl_exit print_roles_json(struct ctl *c, const Agihpc__V1__RolesResponse *r)
{
	json_t *o = json_object(), *list = json_array();

	for (size_t i = 0; i < r->n_roles; i++) {
		const Agihpc__V1__RoleInstance *one = r->roles[i];
		json_t *j = json_object();

		ctl_set(j, "role", ctl_json_str(ctl_str(one->role)));
		ctl_set(j, "address", ctl_json_str(ctl_str(one->address)));
		ctl_set(j, "node_id", ctl_json_str(ctl_str(one->node_id)));
		ctl_set(j, "state", ctl_json_str(ctl_str(one->state)));
		ctl_set_ms(j, "rtt_ms", one->rtt_ms);
		ctl_set_ms(j, "load", one->load);
		ctl_set(j, "tls", json_boolean(one->tls));
		if (one->note.len)
			ctl_set(j, "note", ctl_json_str(ctl_str(one->note)));
		json_array_append_new(list, j);
	}
	ctl_set(o, "roles", list);
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_roles(struct ctl *c, const Agihpc__V1__RolesResponse *r)
{
	static const struct ctl_col cols[] = {{"ROLE", CTL_COL_TEXT},  {"ADDRESS", CTL_COL_TEXT},
					      {"NODE", CTL_COL_TEXT},  {"STATE", CTL_COL_STATE},
					      {"RTT", CTL_COL_NUMBER}, {"LOAD", CTL_COL_NUMBER},
					      {"NOTE", CTL_COL_TEXT}};
	char rtt[CTL_UNIT_TEXT];
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < r->n_roles; i++) {
		const Agihpc__V1__RoleInstance *one = r->roles[i];

		ctl_format_ms(rtt, one->rtt_ms);
		ctl_table_str(&t, ctl_or_dash(one->role));
		ctl_table_str(&t, ctl_or_dash(one->address));
		ctl_table_str(&t, ctl_short_id(one->node_id));
		ctl_table_str(&t, ctl_or_dash(one->state));
		ctl_table_text(&t, rtt);
		ctl_table_printf(&t, "%.2f", one->load);
		if (one->note.len)
			ctl_table_str(&t, ctl_str(one->note));
		else
			ctl_table_text(&t, one->tls ? "tls" : "");
	}
	return ctl_print_table(c, &t);
}

enum ctl_exit ctl_roles(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__RolesRequest req = AGIHPC__V1__ROLES_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Roles", &req, agihpc__v1__roles_response__descriptor);
	const Agihpc__V1__RolesResponse *res;
	enum ctl_exit code = ctl_ask(c, &call);

	(void)in;
	if (code == CTL_OK) {
		res = (const Agihpc__V1__RolesResponse *)call.res;
		code = c->is_json ? print_roles_json(c, res) : print_roles(c, res);
	}
	ctl_call_clear(&call);
	return code;
}

/* --- health ----------------------------------------------------------------------------------- */
static const char *serving_name(int status)
{
	static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};

	return status >= 0 && status <= 3 ? names[status] : "UNKNOWN";
}

static enum ctl_exit print_health(struct ctl *c, const char *service, const char *status,
				  uint64_t took_us)
{
	static const struct ctl_col cols[] = {{NULL, CTL_COL_STATE}};
	struct ctl_table t;
	json_t *o;

	if (!c->is_json) {
		ctl_table_init(&t, cols, 1);
		ctl_table_text(&t, status);
		return ctl_print_table(c, &t);
	}
	o = json_object();
	ctl_set(o, "node", json_string(c->node));
	ctl_set_bytes(o, "service", agi_str_of(service));
	ctl_set(o, "status", json_string(status));
	ctl_set_ms(o, "took_ms", (double)took_us / 1000);
	return ctl_print_json_take(c, o);
}

enum ctl_exit ctl_health(struct ctl *c, const struct ctl_input *in)
{
	Grpc__Health__V1__HealthCheckRequest req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("grpc.health.v1.Health/Check", &req,
					grpc__health__v1__health_check_response__descriptor);
	const char *service = in->words.n ? in->words.p[0] : "", *status;
	enum ctl_exit code;

	req.service = ctl_bin_of(service);
	code = ctl_ask(c, &call);
	if (code == CTL_OK) {
		status = serving_name(
		    (int)((const Grpc__Health__V1__HealthCheckResponse *)call.res)->status);
		code = print_health(c, service, status, call.took_us);
		if (code == CTL_OK && agi_str_eq(agi_str_of(status), AGI_STR("SERVICE_UNKNOWN")))
			code = CTL_NOT_FOUND;
		else if (code == CTL_OK && !agi_str_eq(agi_str_of(status), AGI_STR("SERVING")))
			code = CTL_UNAVAILABLE;
	}
	ctl_call_clear(&call);
	return code;
}
