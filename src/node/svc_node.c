/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.NodeService: the overlay as this node sees it. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agihpc.pb-c.h"
#include "node/activate.h"
#include "node/security.h"
#include "node/svc.h"
#include "node/svc_move.h"
#include "roles/safety_gateway/latch.h"

/* Replies with a message whose rows were allocated; frees both arrays. */
static void reply_rows(struct agi_grpc_call *call, const ProtobufCMessage *m, void *rows, void *list)
{
	if (rows && list)
		agi_grpc_reply(call, m);
	else
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
	free(rows);
	free(list);
}

/* --- Status ------------------------------------------------------------------------------------------- */
enum { CLOCK_OFF_MS = 500, WARNINGS_MAX = 8 };

struct status_texts {
	char id[AGI_ID_HEX], cluster[AGI_ID_HEX], addr[AGI_ADDR_TEXT];
	char warning[WARNINGS_MAX][384]; /* a struct agi_why, and what stands before it */
	ProtobufCBinaryData warnings[WARNINGS_MAX];
	size_t n_warnings;
	ProtobufCBinaryData roles[AGI_CONFIG_LIST_MAX];
};

/* Resident pages, from the second number of /proc/self/statm; 0 where there is none. */
static uint64_t rss_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long total, resident = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &total, &resident) != 2)
		resident = 0;
	fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void warn(struct status_texts *t, const char *fmt, uint64_t n)
{
	struct agi_buf b;

	if (t->n_warnings == WARNINGS_MAX)
		return;
	agi_buf_init(&b, sizeof t->warning[0]);
	agi_buf_printf(&b, "%llu %s", (unsigned long long)n, fmt);
	if (!b.err) {
		memcpy(t->warning[t->n_warnings], b.p, b.n);
		t->warnings[t->n_warnings] =
		    (ProtobufCBinaryData){b.n, (uint8_t *)t->warning[t->n_warnings]};
		t->n_warnings++;
	}
	agi_buf_free(&b);
}

static void fill_warnings(struct status_texts *t, const struct agi_dht_status *d,
                          const struct agi_dht_host_stats *h)
{
	if (d->members_down)
		warn(t, "hosts are down: their slots have fewer live copies", d->members_down);
	if (d->is_drained)
		warn(t, d->is_leaving ? "node leaves for good: this one" : "node is drained: this one takes no slots", 1);
	if (d->hints)
		warn(t, "writes are owed to hosts that cannot be reached", d->hints);
	if (d->is_read_only)
		warn(t, "disk error: the store is read-only", 1);
	if (d->is_low)
		warn(t, "disk is nearly full: new data is refused here", 1);
	if (d->clock_off_ms > CLOCK_OFF_MS)
		warn(t, "ms: this host's clock is ahead of the cluster's, which is used instead",
		     (uint64_t)d->clock_off_ms);
	if (d->clock_off_ms < -CLOCK_OFF_MS)
		warn(t, "ms: this host's clock is behind the cluster's, which is used instead",
		     (uint64_t)-d->clock_off_ms);
	if (h->store_refused)
		warn(t, "storage jobs were refused: the disk does not keep up", h->store_refused);
	if (h->decode_errors)
		warn(t, "messages from peers were not understood: different versions?", h->decode_errors);
}

/* What ErisML said is part of it: cut to fit between characters. */
static void add_illness(struct status_texts *t, const char *illness)
{
	static const char head[] = "role safety-gateway is not offered: ";
	char *to;

	if (!illness || t->n_warnings == WARNINGS_MAX)
		return;
	if (!agi_utf8_is_valid(agi_str_of(illness)))
		illness = "its log says why";
	to = t->warning[t->n_warnings];
	memcpy(to, head, sizeof head);
	agi_stop_set_text(to + sizeof head - 1, sizeof t->warning[0] - sizeof head, agi_str_of(illness));
	t->warnings[t->n_warnings++] = agi_svc_text(to);
}

static void add_security(struct status_texts *t, struct agi_security *security)
{
	const char *text;

	for (size_t i = 0; t->n_warnings < WARNINGS_MAX && (text = agi_security_warning(security, i)) != NULL; i++) {
		snprintf(t->warning[t->n_warnings], sizeof t->warning[0], "%s", text);
		t->warnings[t->n_warnings] = agi_svc_text(t->warning[t->n_warnings]);
		t->n_warnings++;
	}
}

static void fill_core(Agihpc__V1__StatusResponse *r, const struct agi_dht_status *d)
{
	r->ready = d->is_ready;
	r->phase = agi_svc_text(d->phase);
	r->incarnation = d->incarnation;
	r->members_up = d->members_up;
	r->members_suspect = d->members_suspect;
	r->members_down = d->members_down;
	r->slots_total = d->slots_total;
	r->slots_active = d->slots_active;
	r->slots_joining = d->slots_joining;
	r->slots_sealed = d->slots_sealed;
	r->slots_leaving = d->slots_leaving;
	r->hints = d->hints;
	r->read_only = d->is_read_only;
}

static bool has_safety_role(const struct agi_config *c)
{
	for (size_t i = 0; i < c->node.roles.n; i++)
		if (strcmp(c->node.roles.v[i], "erisml") == 0 ||
		    strcmp(c->node.roles.v[i], "safety-gateway") == 0)
			return true;
	return false;
}

static void fill_config(Agihpc__V1__StatusResponse *r, struct status_texts *t,
                        const struct agi_config *c)
{
	for (size_t i = 0; i < c->node.roles.n && i < AGI_CONFIG_LIST_MAX; i++)
		t->roles[r->n_roles++] = agi_svc_text(c->node.roles.v[i]);
	r->roles = t->roles;
	r->zone = agi_svc_text(c->node.zone);
	if (has_safety_role(c))
		r->evaluation = agi_svc_text(
		    c->safety.evaluation == AGI_EVALUATION_REFERENCE ? "reference" : "strict");
}

static void fill_self(Agihpc__V1__StatusResponse *r, struct status_texts *t, struct agi_svc *s,
                      const struct agi_id *cluster)
{
	agi_id_hex(t->id, &s->self);
	if (!agi_id_is_zero(cluster))
		agi_id_hex(t->cluster, cluster);
	agi_addr_format(t->addr, &s->advertise);
	r->node_id = agi_svc_text(t->id);
	r->cluster_id = agi_svc_text(t->cluster);
	r->address = agi_svc_text(t->addr);
	r->version = agi_svc_text(AGI_VERSION);
	r->uptime_ms = (agi_clock_now().mono_us - s->started_us) / 1000;
	r->rss_bytes = rss_bytes();
}

static void fill_disk(Agihpc__V1__Disk *out, const struct agi_disk_watch *w, const struct agi_store_stats *st)
{
	agihpc__v1__disk__init(out);
	out->trouble = agi_svc_text(agi_store_trouble_name(st->trouble));
	out->nearly_full = w->is_low;
	out->free_bytes = w->free_bytes;
	out->reserve_bytes = w->reserve_bytes;
	out->total_bytes = w->total_bytes;
	out->scrubbing = st->is_scrubbing;
	out->scrubbed_at_ms = st->scrub_last_end * 1000;
	out->mended = agi_svc_text(st->notice.text);
}

static void status(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_svc *s = ctx;
	struct status_texts *t = calloc(1, sizeof *t);
	Agihpc__V1__StatusResponse r = AGIHPC__V1__STATUS_RESPONSE__INIT;
	struct agi_dht_status d;
	struct agi_store_stats store;
	struct agi_links_stats links;
	Agihpc__V1__Disk disk;
	(void)req;

	if (!t) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	agi_dht_status(agi_dht_host_core(s->host), &d);
	agi_store_stats(s->store, &store);
	agi_svc_links_stats(s, &links);
	fill_core(&r, &d);
	fill_self(&r, t, s, &d.cluster);
	fill_config(&r, t, s->config);
	fill_warnings(t, &d, agi_dht_host_stats(s->host));
	if (s->gateway_illness)
		add_illness(t, s->gateway_illness(s->ctx));
	add_security(t, s->security);
	r.ready = r.ready && !s->is_stopping;
	r.read_only = r.read_only || store.is_read_only;
	r.read_only_why = agi_svc_text(store.is_read_only ? store.read_only_why.text : "");
	r.store_bytes = store.disk_bytes;
	fill_disk(&disk, s->disk, &store);
	r.disk = &disk;
	r.links = links.links;
	r.warnings = t->warnings;
	r.n_warnings = t->n_warnings;
	agi_grpc_reply(call, &r.base);
	free(t);
}

/* --- Members ------------------------------------------------------------------------------------------ */
struct member_row {
	Agihpc__V1__Member m;
	char id[AGI_ID_HEX], addr[AGI_ADDR_TEXT], zone[AGI_ZONE_MAX + 1];
};

static void fill_contact(struct member_row *row, const struct agi_contact *c)
{
	agihpc__v1__member__init(&row->m);
	agi_id_hex(row->id, &c->id);
	agi_addr_format(row->addr, &c->addr);
	memcpy(row->zone, c->zone, sizeof row->zone);
	row->m.node_id = agi_svc_text(row->id);
	row->m.address = agi_svc_text(row->addr);
	row->m.zone = agi_svc_text(row->zone);
	row->m.incarnation = c->incarnation;
	row->m.weight = c->weight_milli / 1000.0;
	row->m.rtt_ms = row->m.estimate_ms = -1.0;
}

static void fill_member(struct member_row *row, const struct agi_member *m, uint64_t now_us)
{
	fill_contact(row, &m->contact);
	row->m.state = agi_svc_text(agi_link_state_name(m->state));
	row->m.rtt_ms = agi_svc_rtt_ms(m->rtt_us);
	row->m.estimate_ms = agi_svc_rtt_ms(m->estimate_us);
	row->m.state_age_ms = now_us > m->state_since_us ? (now_us - m->state_since_us) / 1000 : 0;
}

static void members(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_svc *s = ctx;
	const struct agi_dht *d = agi_dht_host_core(s->host);
	Agihpc__V1__MembersResponse r = AGIHPC__V1__MEMBERS_RESPONSE__INIT;
	uint64_t now_us = agi_clock_now().mono_us;
	struct member_row *rows;
	Agihpc__V1__Member **list;
	struct agi_member m;
	size_t n = 0;
	(void)req;

	while (agi_dht_member(d, n, &m))
		n++;
	rows = calloc(n + 1, sizeof *rows);
	list = calloc(n + 1, sizeof *list);
	for (size_t i = 0; rows && list && i < n && agi_dht_member(d, i, &m); i++) {
		fill_member(&rows[i], &m, now_us);
		list[i] = &rows[i].m;
		r.n_members = i + 1;
	}
	r.members = list;
	reply_rows(call, &r.base, rows, list);
}

/* --- Slots --------------------------------------------------------------------------------------------- */
struct slot_row {
	Agihpc__V1__Slot s;
	char id[AGI_REPLICAS_MAX][AGI_ID_HEX];
	ProtobufCBinaryData members[AGI_REPLICAS_MAX];
};

static void fill_slot(struct slot_row *row, const struct agi_view *v, enum agi_view_phase phase)
{
	agihpc__v1__slot__init(&row->s);
	row->s.slot = v->slot;
	row->s.epoch = v->epoch;
	row->s.phase = agi_svc_text(agi_view_phase_name(phase));
	row->s.members = row->members;
	row->s.n_members = v->n_members;
	for (uint8_t i = 0; i < v->n_members; i++) {
		agi_id_hex(row->id[i], &v->members[i]);
		row->members[i] = agi_svc_text(row->id[i]);
	}
}

static bool is_held(enum agi_view_phase p)
{
	return p == AGI_VIEW_ACTIVE || p == AGI_VIEW_JOINING || p == AGI_VIEW_SEALED ||
	       p == AGI_VIEW_LEAVING;
}

static void slots(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__SlotsRequest *p = (const Agihpc__V1__SlotsRequest *)req;
	struct agi_svc *s = ctx;
	const struct agi_dht *d = agi_dht_host_core(s->host);
	Agihpc__V1__SlotsResponse r = AGIHPC__V1__SLOTS_RESPONSE__INIT;
	struct agi_dht_status st;
	struct slot_row *rows;
	Agihpc__V1__Slot **list;
	struct agi_view v;
	enum agi_view_phase phase;

	agi_dht_status(d, &st);
	rows = calloc((size_t)st.slots_total + 1, sizeof *rows);
	list = calloc((size_t)st.slots_total + 1, sizeof *list);
	for (uint32_t i = 0; rows && list && i < st.slots_total; i++) {
		if (!agi_dht_slot(d, i, &v, &phase) || (p->held_only && !is_held(phase)))
			continue;
		fill_slot(&rows[r.n_slots], &v, phase);
		list[r.n_slots] = &rows[r.n_slots].s;
		r.n_slots++;
	}
	r.slots_total = st.slots_total;
	r.slots = list;
	reply_rows(call, &r.base, rows, list);
}

/* --- Roles --------------------------------------------------------------------------------------------- */
struct role_row {
	Agihpc__V1__RoleInstance r;
	char id[AGI_ID_HEX], note[AGI_ACTIVATE_WHY_MAX];
};
enum { ROLE_INSTANCES_MAX = 1024 }; /* of one role, nearest first */

static void fill_role(struct role_row *row, const char *role, const struct agi_instance *in)
{
	agihpc__v1__role_instance__init(&row->r);
	agi_id_hex(row->id, &in->node);
	row->r.role = agi_svc_text(role);
	row->r.address = agi_svc_data(in->provider->address);
	row->r.node_id = agi_svc_text(row->id);
	row->r.state = agi_svc_text(in->provider->is_healthy ? "serving" : "not serving");
	row->r.rtt_ms = agi_svc_rtt_ms(in->rtt_us);
	row->r.load = in->provider->load_milli / 1000.0;
	row->r.tls = in->provider->traits & AGI_PROVIDER_TLS;
}

/* Own instances that do not serve are in no answer of the registry: they are told too. */
static size_t own_silent(struct agi_svc *s, const char *role, struct role_row *rows, size_t max)
{
	struct agi_provider p;
	struct agi_str config;
	size_t n = 0;

	for (size_t i = 0; n < max && agi_dht_registration(agi_dht_host_core(s->host), i, &p, &config); i++) {
		struct agi_instance in = {.provider = &p, .node = s->self};

		if (!p.is_healthy && !p.is_withdrawn && agi_str_eq(p.service, agi_str_of(role)))
			fill_role(&rows[n++], role, &in);
	}
	for (size_t i = 0; i < n; i++)
		if (agi_activate_is_standby(s->activate, role, rows[i].note)) {
			rows[i].r.state = agi_svc_text("standby");
			rows[i].r.note = agi_svc_text(rows[i].note);
		}
	return n;
}

/* Others that could serve the role and are not among the n rows of who does. */
static size_t others_in_standby(struct agi_svc *s, const char *role, struct agi_instance *found, struct role_row *rows,
                                size_t n, size_t max)
{
	char capable[AGI_SERVICE_NAME_MAX + 1];
	size_t got, out = n;

	agi_activate_service(capable, role);
	got = agi_dht_known_instances(agi_dht_host_core(s->host), agi_str_of(capable), found, max);
	for (size_t i = 0; i < got && out < max; i++) {
		char id[AGI_ID_HEX];
		size_t k = 0;

		agi_id_hex(id, &found[i].node);
		while (k < n && strcmp(rows[k].id, id) != 0)
			k++;
		if (k < n || agi_id_eq(&found[i].node, &s->self))
			continue;
		fill_role(&rows[out], role, &found[i]);
		rows[out++].r.state = agi_svc_text("standby");
	}
	return out - n;
}

static void roles(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static const char *const names[] = {"erisml", "safety-gateway"};
	enum { N = sizeof names / sizeof *names, ROWS = N * ROLE_INSTANCES_MAX };
	struct agi_svc *s = ctx;
	Agihpc__V1__RolesResponse r = AGIHPC__V1__ROLES_RESPONSE__INIT;
	struct role_row *rows = calloc(ROWS, sizeof *rows);
	Agihpc__V1__RoleInstance **list = calloc(ROWS, sizeof *list);
	struct agi_instance *found = calloc(ROLE_INSTANCES_MAX, sizeof *found);
	size_t n = 0;
	(void)req;

	for (size_t k = 0; rows && list && found && k < N; k++) {
		size_t got = agi_dht_known_instances(agi_dht_host_core(s->host), agi_str_of(names[k]),
		                                     found, ROLE_INSTANCES_MAX - 1);
		size_t first = n;

		for (size_t i = 0; i < got; i++)
			fill_role(&rows[n++], names[k], &found[i]);
		if (agi_activate_has_policy(s->activate, names[k]))
			n += others_in_standby(s, names[k], found, rows + first, got, ROLE_INSTANCES_MAX - 1);
		n += own_silent(s, names[k], rows + n, 1);
	}
	for (size_t i = 0; list && i < n; i++)
		list[i] = &rows[i].r;
	r.roles = list;
	r.n_roles = n;
	reply_rows(call, &r.base, found ? rows : NULL, list);
	if (!found)
		free(rows);
	free(found);
}

/* --- Lookup -------------------------------------------------------------------------------------------- */
struct hop_row {
	Agihpc__V1__Hop h;
	char id[AGI_ID_HEX], addr[AGI_ADDR_TEXT];
};

static enum agi_err target_of(struct agi_id *out, const Agihpc__V1__LookupRequest *p,
                              struct agi_why *why)
{
	struct agi_str ns, key;
	enum agi_err e;

	if (p->key.len == 0) {
		if (agi_id_parse(out, agi_svc_str(p->target)))
			return agi_fail(why, AGI_E_INVALID,
			                "target: expected 64 hex digits (or give a key instead)");
		return AGI_OK;
	}
	if (p->target.len)
		return agi_fail(why, AGI_E_INVALID, "target and key: give one of them");
	e = agi_svc_namespace(&ns, p->namespace_, why);
	if (!e)
		e = agi_svc_key(&key, p->key, why);
	if (!e)
		agi_id_of_key(out, ns, key);
	return e;
}

static void fill_hop(struct hop_row *row, const struct agi_hop *h, const struct agi_id *target)
{
	agihpc__v1__hop__init(&row->h);
	agi_id_hex(row->id, &h->contact.id);
	agi_addr_format(row->addr, &h->contact.addr);
	row->h.round = h->round;
	row->h.node_id = agi_svc_text(row->id);
	row->h.address = agi_svc_text(row->addr);
	row->h.rtt_ms = agi_svc_rtt_ms(h->rtt_us);
	row->h.distance_bits = (uint32_t)(AGI_ID_BITS - agi_id_common_bits(&h->contact.id, target));
}

struct lookup_rows {
	struct hop_row hops[AGI_LOOKUP_MAX];
	Agihpc__V1__Hop *hop_list[AGI_LOOKUP_MAX];
	struct member_row nearest[AGI_K];
	Agihpc__V1__Member *nearest_list[AGI_K];
	char target[AGI_ID_HEX];
};

static void fill_lookup(Agihpc__V1__LookupResponse *r, struct lookup_rows *t,
                        const struct agi_id *target, const struct agi_result *res)
{
	for (size_t i = 0; i < res->n_hops && i < AGI_LOOKUP_MAX; i++) {
		fill_hop(&t->hops[i], &res->hops[i], target);
		t->hop_list[r->n_hops++] = &t->hops[i].h;
	}
	for (size_t i = 0; i < res->n_contacts && i < AGI_K; i++) {
		fill_contact(&t->nearest[i], &res->contacts[i]);
		t->nearest_list[r->n_nearest++] = &t->nearest[i].m;
	}
	agi_id_hex(t->target, target);
	r->target = agi_svc_text(t->target);
	r->hops = t->hop_list;
	r->nearest = t->nearest_list;
}

static void lookup_answer(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                          const struct agi_result *res)
{
	Agihpc__V1__LookupResponse r = AGIHPC__V1__LOOKUP_RESPONSE__INIT;
	struct lookup_rows *t = calloc(1, sizeof *t);
	struct agi_why why;
	struct agi_id target;
	enum agi_err e = t ? target_of(&target, req, &why) : agi_fail(&why, AGI_E_NOMEM, "no memory");
	(void)s;

	if (e) {
		agi_grpc_fail_err(call, e, &why);
	} else {
		fill_lookup(&r, t, &target, res);
		agi_grpc_reply(call, &r.base);
	}
	free(t);
}

static void lookup(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__LookupRequest *p = (const Agihpc__V1__LookupRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_LOOKUP};
	struct agi_why why;
	enum agi_err e = target_of(&op.target, p, &why);

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, lookup_answer);
}

enum agi_err agi_svc_node_add(struct agi_grpc_server *server, struct agi_svc *s)
{
	static const struct agi_grpc_method methods[] = {
	    {"Status", status}, {"Members", members}, {"Slots", slots},
	    {"Roles", roles},   {"Lookup", lookup},
	    {"Rebalance", agi_svc_rebalance}, {"Drain", agi_svc_drain}, {"Undrain", agi_svc_undrain},
	    {"Leave", agi_svc_leave}, {"RecoverUnsafe", agi_svc_recover_unsafe},
	};

	return agi_grpc_server_add(server, &agihpc__v1__node_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, s);
}
