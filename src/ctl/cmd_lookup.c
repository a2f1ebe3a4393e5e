/* SPDX-License-Identifier: Apache-2.0
 * lookup: the rounds of one iterative lookup, hop by hop. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agihpc.pb-c.h"
#include "base/id.h"
#include "base/limits.h"
#include "ctl/call.h"
#include "ctl/out.h"
#include "ctl/units.h"

const struct ctl_opt ctl_opts_lookup[] = {
    {"key", 0, "KEY", NULL, "look for the hash of this key"},
    {"namespace", 0, "NS", NULL, "namespace of the key (default: default)"},
    {NULL, 0, NULL, NULL, NULL}};

static enum ctl_exit print_json(struct ctl *c, const Agihpc__V1__LookupResponse *r)
{
	json_t *o = json_object(), *hops = json_array(), *nearest = json_array();

	for (size_t i = 0; i < r->n_hops; i++) {
		const Agihpc__V1__Hop *h = r->hops[i];
		json_t *one = json_object();

		ctl_set_u64(one, "round", h->round);
		ctl_set(one, "node_id", ctl_json_str(ctl_str(h->node_id)));
		ctl_set(one, "address", ctl_json_str(ctl_str(h->address)));
		ctl_set_ms(one, "rtt_ms", h->rtt_ms);
		ctl_set(one, "answered", json_boolean(h->rtt_ms >= 0));
		ctl_set_u64(one, "distance_bits", h->distance_bits);
		json_array_append_new(hops, one);
	}
	for (size_t i = 0; i < r->n_nearest; i++) {
		json_t *one = json_object();

		ctl_set(one, "node_id", ctl_json_str(ctl_str(r->nearest[i]->node_id)));
		ctl_set(one, "address", ctl_json_str(ctl_str(r->nearest[i]->address)));
		ctl_set(one, "zone", ctl_json_str(ctl_str(r->nearest[i]->zone)));
		ctl_set(one, "state", ctl_json_str(ctl_str(r->nearest[i]->state)));
		json_array_append_new(nearest, one);
	}
	ctl_set(o, "target", ctl_json_str(ctl_str(r->target)));
	ctl_set(o, "hops", hops);
	ctl_set(o, "nearest", nearest);
	return ctl_print_json_take(c, o);
}

static void put_hop(struct ctl_table *t, const Agihpc__V1__Hop *h, bool is_first_of_round)
{
	char rtt[CTL_UNIT_TEXT];

	ctl_format_ms(rtt, h->rtt_ms);
	if (is_first_of_round)
		ctl_table_printf(t, "%u", h->round);
	else
		ctl_table_text(t, "");
	ctl_table_str(t, ctl_short_id(h->node_id));
	ctl_table_str(t, ctl_or_dash(h->address));
	ctl_table_text(t, h->rtt_ms >= 0 ? rtt : "no answer");
	ctl_table_printf(t, "2^%u", h->distance_bits);
}

static enum ctl_exit print_hops(struct ctl *c, const Agihpc__V1__LookupResponse *r)
{
	static const struct ctl_col cols[] = {{"ROUND", CTL_COL_NUMBER},
					      {"ASKED", CTL_COL_TEXT},
					      {"ADDRESS", CTL_COL_TEXT},
					      {"RTT", CTL_COL_NUMBER},
					      {"DISTANCE", CTL_COL_NUMBER}};
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < r->n_hops; i++)
		put_hop(&t, r->hops[i], i == 0 || r->hops[i]->round != r->hops[i - 1]->round);
	return ctl_print_table(c, &t);
}

static enum ctl_exit print_nearest(struct ctl *c, const Agihpc__V1__LookupResponse *r)
{
	static const struct ctl_col cols[] = {{"NEAREST", CTL_COL_TEXT},
					      {"ADDRESS", CTL_COL_TEXT},
					      {"ZONE", CTL_COL_TEXT},
					      {"STATE", CTL_COL_STATE}};
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < r->n_nearest; i++) {
		ctl_table_str(&t, ctl_short_id(r->nearest[i]->node_id));
		ctl_table_str(&t, ctl_or_dash(r->nearest[i]->address));
		ctl_table_str(&t, ctl_or_dash(r->nearest[i]->zone));
		ctl_table_str(&t, ctl_or_dash(r->nearest[i]->state));
	}
	return ctl_print_table(c, &t);
}

static enum ctl_exit print_text(struct ctl *c, const Agihpc__V1__LookupResponse *r)
{
	struct agi_buf head;
	enum ctl_exit code;

	agi_buf_init(&head, 0);
	agi_buf_printf(&head, "target ");
	ctl_put_harmless(&head, ctl_str(r->target));
	agi_buf_printf(&head, "\n\n");
	code = ctl_write(c, agi_buf_str(&head));
	agi_buf_free(&head);
	if (code == CTL_OK && r->n_hops)
		code = print_hops(c, r);
	if (code == CTL_OK && r->n_hops)
		code = ctl_write(c, AGI_STR("\n"));
	return code == CTL_OK ? print_nearest(c, r) : code;
}

static enum ctl_exit take_target(struct ctl *c, const struct ctl_input *in,
				 Agihpc__V1__LookupRequest *req)
{
	const char *key = ctl_opt_value(&in->opts, "key");
	const char *ns = ctl_opt_value(&in->opts, "namespace");
	const char *hex = in->words.n ? in->words.p[0] : NULL;
	struct agi_id id;

	if (!key == !hex)
		return ctl_usage(c, "give either a target of 64 hex digits or --key KEY");
	if (ns && hex)
		return ctl_usage(c, "--namespace belongs to --key");
	if (hex && agi_id_parse(&id, agi_str_of(hex)) != AGI_OK)
		return ctl_usage(c, "'%.70s' is not a target: 64 hex digits are", hex);
	if (key && (*key == '\0' || strlen(key) > AGI_KEY_MAX))
		return ctl_usage(c, "the key has %zu bytes: it must have 1 to %d", strlen(key),
				 AGI_KEY_MAX);
	if (ns && (strlen(ns) > AGI_NAMESPACE_MAX || !agi_utf8_is_valid(agi_str_of(ns))))
		return ctl_usage(c, "--namespace must be UTF-8 text of at most %d bytes",
				 AGI_NAMESPACE_MAX);
	req->target = ctl_bin_of(hex ? hex : "");
	req->key = ctl_bin_of(key ? key : "");
	req->namespace_ = ctl_bin_of(ns ? ns : "");
	return CTL_OK;
}

enum ctl_exit ctl_lookup(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__LookupRequest req = AGIHPC__V1__LOOKUP_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Lookup", &req, agihpc__v1__lookup_response__descriptor);
	const Agihpc__V1__LookupResponse *res;
	enum ctl_exit code = take_target(c, in, &req);

	if (code != CTL_OK)
		return code;
	code = ctl_ask(c, &call);
	if (code == CTL_OK) {
		res = (const Agihpc__V1__LookupResponse *)call.res;
		code = c->is_json ? print_json(c, res) : print_text(c, res);
	}
	ctl_call_clear(&call);
	return code;
}
