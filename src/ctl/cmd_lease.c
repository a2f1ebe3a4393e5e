/* SPDX-License-Identifier: Apache-2.0
 * lease grant, keepalive, revoke, show, list. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/keep.h"
#include "ctl/kv.h"
#include "ctl/units.h"

const struct ctl_opt ctl_opts_lease_grant[] = {
    {"holder", 0, "TEXT", NULL, "who it is for, for people (default: this user, host and process)"},
    {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_lease_keepalive[] = {{"once", 0, NULL, NULL, "do it once, instead of until interrupted"},
						   {NULL, 0, NULL, NULL, NULL}};

static void set_lease(json_t *o, uint64_t id)
{
	char text[17];

	snprintf(text, sizeof text, "%016" PRIx64, id);
	ctl_set(o, "lease", json_string(text));
}

static enum ctl_exit print_lease(struct ctl *c, uint64_t id, uint64_t ttl_ms, const char *what)
{
	char ttl[CTL_UNIT_TEXT];
	struct agi_buf out;
	json_t *o;

	if (c->is_json) {
		o = json_object();
		set_lease(o, id);
		if (ttl_ms)
			ctl_set_u64(o, "ttl_ms", ttl_ms);
		return ctl_print_json_take(c, o);
	}
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "%016" PRIx64 " %s", id, what);
	if (ttl_ms) {
		ctl_format_ms(ttl, (double)ttl_ms);
		agi_buf_printf(&out, ", ttl %s", ttl);
	}
	agi_buf_u8(&out, '\n');
	return ctl_kv_print_take(c, &out);
}

/* --- grant ------------------------------------------------------------------------------------ */
enum ctl_exit ctl_lease_ttl(const struct ctl *c, const char *name, const char *text, uint64_t *out)
{
	struct agi_why why;

	if (ctl_parse_duration(out, text, 0, AGI_LEASE_TTL_MAX_MS, &why) != AGI_OK)
		return ctl_usage(c, "%s %s", name, why.text);
	if (*out < AGI_LEASE_TTL_MIN_MS)
		return ctl_usage(c, "%s '%.20s' is less than 1 s", name, text);
	return CTL_OK;
}

void ctl_lease_holder(char out[AGI_LEASE_HOLDER_MAX + 1], const char *given)
{
	char host[64] = "?";

	if (gethostname(host, sizeof host - 1))
		memcpy(host, "?", 2);
	if (given)
		snprintf(out, AGI_LEASE_HOLDER_MAX + 1, "%s", given);
	else
		snprintf(out, AGI_LEASE_HOLDER_MAX + 1, "agihpc-ctl uid %u@%s pid %d", (unsigned)getuid(), host, (int)getpid());
}

enum ctl_exit ctl_lease_grant(struct ctl *c, const struct ctl_input *in)
{
	const char *given = ctl_opt_value(&in->opts, "holder");
	char holder[AGI_LEASE_HOLDER_MAX + 1];
	struct ctl_keep k = {.c = c};
	uint64_t ttl_ms;
	enum ctl_exit code = ctl_lease_ttl(c, "TTL", in->words.p[0], &ttl_ms);

	if (code == CTL_OK && given && strlen(given) > AGI_LEASE_HOLDER_MAX)
		code = ctl_usage(c, "--holder: at most %d bytes", AGI_LEASE_HOLDER_MAX);
	if (code != CTL_OK)
		return code;
	ctl_lease_holder(holder, given);
	code = ctl_keep_grant(&k, ttl_ms, agi_str_of(holder));
	return code == CTL_OK ? print_lease(c, k.lease, k.ttl_ms, "granted") : code;
}

/* --- keepalive, revoke ------------------------------------------------------------------------ */
static enum ctl_exit renew_once(struct ctl *c, uint64_t id, uint64_t *ttl_ms)
{
	Agihpc__V1__KeepAliveRequest req = AGIHPC__V1__KEEP_ALIVE_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.LeaseService/KeepAlive", &req, agihpc__v1__keep_alive_response__descriptor);
	enum ctl_exit code;

	req.lease_id = id;
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		*ttl_ms = ((const Agihpc__V1__KeepAliveResponse *)call.res)->ttl_ms;
	ctl_call_clear(&call);
	return code;
}

enum ctl_exit ctl_lease_keepalive(struct ctl *c, const struct ctl_input *in)
{
	uint64_t id, ttl_ms = 0, begun_us = ctl_now_us();
	enum ctl_exit code = ctl_lease_id(c, in->words.p[0], &id);
	struct ctl_keep k;
	int signal;

	if (code == CTL_OK)
		code = renew_once(c, id, &ttl_ms);
	if (code == CTL_OK)
		code = print_lease(c, id, ttl_ms, "kept alive");
	if (code != CTL_OK || ctl_opt_is_set(&in->opts, "once"))
		return code;
	ctl_keep_init(&k, c);
	k.lease = id;
	k.ttl_ms = ttl_ms;
	k.until_us = begun_us + ttl_ms * 1000;
	if (ctl_keep_run(&k, 0, &signal) == CTL_KEPT_LOST)
		return ctl_error(c, CTL_UNAVAILABLE, "the lease has ended, or could not be renewed in time");
	return CTL_OK;
}

enum ctl_exit ctl_lease_revoke(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__RevokeRequest req = AGIHPC__V1__REVOKE_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.LeaseService/Revoke", &req, agihpc__v1__revoke_response__descriptor);
	enum ctl_exit code = ctl_lease_id(c, in->words.p[0], &req.lease_id);

	if (code != CTL_OK)
		return code;
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_lease(c, req.lease_id, 0, "revoked");
	ctl_call_clear(&call);
	return code;
}

/* --- show, list ------------------------------------------------------------------------------- */
static void add_row(struct ctl_table *t, const Agihpc__V1__Lease *l)
{
	char text[CTL_UNIT_TEXT];

	ctl_table_printf(t, "%016" PRIx64, l->lease_id);
	ctl_format_ms(text, (double)l->ttl_ms);
	ctl_table_text(t, text);
	ctl_format_ms(text, (double)l->age_ms);
	ctl_table_text(t, text);
	ctl_table_str(t, ctl_or_dash(l->holder));
}

static json_t *lease_json(const Agihpc__V1__Lease *l)
{
	json_t *o = json_object();

	set_lease(o, l->lease_id);
	ctl_set_u64(o, "ttl_ms", l->ttl_ms);
	ctl_set_u64(o, "age_ms", l->age_ms);
	ctl_set(o, "holder", ctl_json_str(ctl_str(l->holder)));
	return o;
}

static void begin_table(struct ctl_table *t)
{
	static const struct ctl_col cols[] = {
	    {"LEASE", CTL_COL_TEXT}, {"TTL", CTL_COL_NUMBER}, {"RENEWED", CTL_COL_NUMBER}, {"HOLDER", CTL_COL_TEXT}};

	ctl_table_init(t, cols, 4);
}

enum ctl_exit ctl_lease_show(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__GetLeaseRequest req = AGIHPC__V1__GET_LEASE_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.LeaseService/GetLease", &req, agihpc__v1__lease__descriptor);
	enum ctl_exit code = ctl_lease_id(c, in->words.p[0], &req.lease_id);
	struct ctl_table t;

	if (code != CTL_OK)
		return code;
	code = ctl_ask(c, &call);
	if (code == CTL_OK && c->is_json) {
		code = ctl_print_json_take(c, lease_json((const Agihpc__V1__Lease *)call.res));
	} else if (code == CTL_OK) {
		begin_table(&t);
		add_row(&t, (const Agihpc__V1__Lease *)call.res);
		code = ctl_print_table(c, &t);
	}
	ctl_call_clear(&call);
	return code;
}

/* A page into the table or the array; *token becomes the next page's, NULL when that was all. */
static enum ctl_exit list_page(struct ctl *c, struct agi_str *token, struct ctl_table *t, json_t *array)
{
	Agihpc__V1__ListLeasesRequest req = AGIHPC__V1__LIST_LEASES_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.LeaseService/ListLeases", &req, agihpc__v1__list_leases_response__descriptor);
	const Agihpc__V1__ListLeasesResponse *res;
	struct agi_str next = {NULL, 0};
	enum ctl_exit code;

	req.page_token = ctl_bin(*token);
	code = ctl_ask(c, &call);
	res = (const Agihpc__V1__ListLeasesResponse *)call.res;
	for (size_t i = 0; code == CTL_OK && i < res->n_leases; i++) {
		if (array)
			json_array_append_new(array, lease_json(res->leases[i]));
		else
			add_row(t, res->leases[i]);
	}
	if (code == CTL_OK && res->next_page_token.len)
		next = (struct agi_str){ctl_copy(ctl_str(res->next_page_token)), res->next_page_token.len};
	free((char *)(uintptr_t)token->p);
	*token = next;
	ctl_call_clear(&call);
	return code;
}

enum ctl_exit ctl_lease_list(struct ctl *c, const struct ctl_input *in)
{
	json_t *array = c->is_json ? json_array() : NULL, *doc;
	struct agi_str token = {NULL, 0};
	struct ctl_table t;
	enum ctl_exit code;
	(void)in;

	begin_table(&t);
	do
		code = list_page(c, &token, &t, array);
	while (code == CTL_OK && token.n);
	free((char *)(uintptr_t)token.p);
	if (array) {
		ctl_table_free(&t);
		doc = json_object();
		ctl_set(doc, "leases", array);
		if (code == CTL_OK)
			return ctl_print_json_take(c, doc);
		json_decref(doc);
		return code;
	}
	if (code == CTL_OK)
		return ctl_print_table(c, &t);
	ctl_table_free(&t);
	return code;
}
