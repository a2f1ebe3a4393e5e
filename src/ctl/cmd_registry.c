/* SPDX-License-Identifier: Apache-2.0
 * register, deregister, discover, nearest: services and where they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agihpc.pb-c.h"
#include "base/limits.h"
#include "ctl/call.h"
#include "ctl/out.h"
#include "ctl/service.h"
#include "ctl/units.h"

enum { INTERVAL_DEFAULT_MS = 5000 };

const struct ctl_opt ctl_opts_register[] = {
    {"check", 0, "KIND", "tcp grpc http exec ttl none", "how the node checks the service (default: tcp)"},
    {"interval", 0, "TIME", NULL, "time between two checks (default: 5s)"},
    {"check-timeout", 0, "TIME", NULL, "a check that takes longer has failed (default: 1s, or the interval)"},
    {"path", 0, "PATH", NULL, "http: path to ask for (default: /); grpc: service to ask about; exec: program"},
    {"args", 0, "WORDS", NULL, "exec: its arguments, separated by blanks"},
    {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_discover[] = {
    {"limit", 0, "N", NULL, "at most N instances (default: all)"},
    {"prefer", 0, "WHAT", "nearest zone idle",
     "first the nearest (the default), those in the node's zone, or the least loaded"},
    {NULL, 0, NULL, NULL, NULL}};

const struct ctl_opt ctl_opts_nearest[] = {
    {"explain", 0, NULL, NULL, "show every instance that was weighed, and why it was (not) chosen"},
    {NULL, 0, NULL, NULL, NULL}};

enum ctl_exit ctl_take_service(struct ctl *c, const char *name, ProtobufCBinaryData *out)
{
	size_t n = strlen(name);

	if (n == 0 || n > AGI_SERVICE_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != n || name[0] == '-' ||
	    name[n - 1] == '-')
		return ctl_usage(
		    c,
		    "'%.80s' is not a service name: use a-z, 0-9 and '-' (not first or last),"
		    " at most %d characters",
		    name, AGI_SERVICE_NAME_MAX);
	*out = ctl_bin_of(name);
	return CTL_OK;
}

/* *is_tls: the address says so; it is not part of what others are told. */
static enum ctl_exit take_address(struct ctl *c, const char *word, char text[CTL_TARGET_TEXT],
				  ProtobufCBinaryData *out, protobuf_c_boolean *is_tls)
{
	size_t skip = strlen(CTL_TLS_PREFIX);
	struct agi_why why;

	if (ctl_parse_target(text, word, strlen(word), 0, &why) != AGI_OK)
		return ctl_usage(c, "%s", why.text);
	*is_tls = strncmp(text, CTL_TLS_PREFIX, skip) == 0;
	*out = ctl_bin_of(*is_tls ? text + skip : text);
	return CTL_OK;
}

static enum ctl_exit take_check(struct ctl *c, const struct ctl_input *in,
				Agihpc__V1__HealthCheck *hc)
{
	const char *kind = ctl_opt_value(&in->opts, "check");
	const char *interval = ctl_opt_value(&in->opts, "interval");
	const char *path = ctl_opt_value(&in->opts, "path");
	const char *timeout = ctl_opt_value(&in->opts, "check-timeout");
	uint64_t ms = INTERVAL_DEFAULT_MS, timeout_ms = 0;
	struct agi_why why;

	if (!kind)
		kind = "tcp";
	if (path && strcmp(kind, "http") != 0 && strcmp(kind, "grpc") != 0 && strcmp(kind, "exec") != 0)
		return ctl_usage(c, "--path belongs to --check http, grpc or exec, not to %s", kind);
	if (!path && strcmp(kind, "exec") == 0)
		return ctl_usage(c, "--check exec needs --path PROGRAM");
	if (timeout && (strcmp(kind, "none") == 0 || strcmp(kind, "ttl") == 0))
		return ctl_usage(c, "--check-timeout has no meaning with --check %s", kind);
	if (timeout && ctl_parse_duration(&timeout_ms, timeout, 0, 3600 * 1000, &why) != AGI_OK)
		return ctl_usage(c, "--check-timeout %s", why.text);
	if (interval && strcmp(kind, "none") == 0)
		return ctl_usage(c, "--interval has no meaning with --check none");
	if (interval && ctl_parse_duration(&ms, interval, 0, 3600 * 1000, &why) != AGI_OK)
		return ctl_usage(c, "--interval %s", why.text);
	hc->kind = ctl_bin_of(kind);
	hc->interval_ms = (uint32_t)ms;
	hc->timeout_ms = (uint32_t)timeout_ms;
	hc->path = ctl_bin_of(path ? path : "");
	return CTL_OK;
}

/* Takes text apart; args point into it. */
static enum ctl_exit take_args(struct ctl *c, char *text, Agihpc__V1__HealthCheck *hc, ProtobufCBinaryData args[],
			       size_t max)
{
	char *save = NULL;

	for (char *word = text ? strtok_r(text, " ", &save) : NULL; word; word = strtok_r(NULL, " ", &save)) {
		if (!agi_str_eq(ctl_str(hc->kind), AGI_STR("exec")))
			return ctl_usage(c, "--args belongs to --check exec");
		if (hc->n_args == max)
			return ctl_usage(c, "--args: at most %zu words", max);
		args[hc->n_args++] = ctl_bin_of(word);
	}
	hc->args = args;
	return CTL_OK;
}

static json_t *registration_json(ProtobufCBinaryData service, ProtobufCBinaryData address)
{
	json_t *o = json_object();

	ctl_set(o, "service", ctl_json_str(ctl_str(service)));
	ctl_set(o, "address", ctl_json_str(ctl_str(address)));
	return o;
}

static enum ctl_exit print_registered(struct ctl *c, const Agihpc__V1__RegisterRequest *req,
				      const Agihpc__V1__RegisterResponse *res)
{
	const Agihpc__V1__HealthCheck *hc = req->health_check;
	bool is_checked = !agi_str_eq(ctl_str(hc->kind), AGI_STR("none"));
	char every[CTL_UNIT_TEXT];
	struct agi_buf out;
	enum ctl_exit code;

	if (c->is_json) {
		json_t *o = registration_json(req->service, req->address);

		ctl_set(o, "check", ctl_json_str(ctl_str(hc->kind)));
		ctl_set(o, "interval_ms", is_checked ? json_integer(hc->interval_ms) : json_null());
		ctl_set(o, "node_id", ctl_json_str(ctl_str(res->node_id)));
		return ctl_print_json_take(c, o);
	}
	agi_buf_init(&out, 0);
	ctl_format_ms(every, hc->interval_ms);
	agi_buf_printf(&out, "registered %.*s at %.*s on node ", AGI_STR_ARG(ctl_str(req->service)),
		       AGI_STR_ARG(ctl_str(req->address)));
	ctl_put_harmless(&out, ctl_short_id(res->node_id));
	if (is_checked)
		agi_buf_printf(&out, " (%.*s check every %s)\n", AGI_STR_ARG(ctl_str(hc->kind)),
			       every);
	else
		agi_buf_printf(&out, " (not checked)\n");
	code = ctl_write(c, agi_buf_str(&out));
	agi_buf_free(&out);
	return code;
}

static enum ctl_exit register_with(struct ctl *c, const struct ctl_input *in, char *args_text)
{
	ProtobufCBinaryData args[16];
	Agihpc__V1__RegisterRequest req = AGIHPC__V1__REGISTER_REQUEST__INIT;
	Agihpc__V1__HealthCheck hc = AGIHPC__V1__HEALTH_CHECK__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.RegistryService/RegisterService", &req,
					agihpc__v1__register_response__descriptor);
	char address[CTL_TARGET_TEXT];
	enum ctl_exit code = ctl_take_service(c, in->words.p[0], &req.service);

	if (code == CTL_OK)
		code = take_address(c, in->words.p[1], address, &req.address, &hc.tls);
	if (code == CTL_OK)
		code = take_check(c, in, &hc);
	if (code == CTL_OK)
		code = take_args(c, args_text, &hc, args, sizeof args / sizeof *args);
	if (code != CTL_OK)
		return code;
	req.health_check = &hc;
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_registered(c, &req, (const Agihpc__V1__RegisterResponse *)call.res);
	ctl_call_clear(&call);
	return code;
}

enum ctl_exit ctl_register(struct ctl *c, const struct ctl_input *in)
{
	const char *words = ctl_opt_value(&in->opts, "args");
	char *text = words ? ctl_copy(agi_str_of(words)) : NULL;
	enum ctl_exit code = register_with(c, in, text);

	free(text);
	return code;
}

const struct ctl_opt ctl_opts_heartbeat[] = {
    {"unwell", 0, "WHY", NULL, "it is not well: nobody is to find it until the next heartbeat without this"},
    {"load", 0, "LOAD", NULL, "how busy it is, 0 to 1 (default: 0)"},
    {NULL, 0, NULL, NULL, NULL}};

static enum ctl_exit take_state(struct ctl *c, const struct ctl_input *in, Agihpc__V1__HeartbeatRequest *req)
{
	const char *unwell = ctl_opt_value(&in->opts, "unwell"), *load = ctl_opt_value(&in->opts, "load");
	char *end = NULL;

	req->unwell = unwell != NULL;
	req->why = ctl_bin_of(unwell ? unwell : "");
	req->load = load ? strtod(load, &end) : 0;
	if (load && (end == load || *end || !(req->load >= 0 && req->load <= 1)))
		return ctl_usage(c, "--load '%.40s': expected 0 to 1", load);
	return CTL_OK;
}

enum ctl_exit ctl_heartbeat(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__HeartbeatRequest req = AGIHPC__V1__HEARTBEAT_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.RegistryService/Heartbeat", &req,
					agihpc__v1__heartbeat_response__descriptor);
	protobuf_c_boolean is_tls; /* does not matter here */
	char address[CTL_TARGET_TEXT];
	enum ctl_exit code = ctl_take_service(c, in->words.p[0], &req.service);

	if (code == CTL_OK)
		code = take_address(c, in->words.p[1], address, &req.address, &is_tls);
	if (code == CTL_OK)
		code = take_state(c, in, &req);
	if (code == CTL_OK)
		code = ctl_ask(c, &call);
	ctl_call_clear(&call);
	return code == CTL_OK && c->is_json ? ctl_print_json_take(c, registration_json(req.service, req.address)) : code;
}

enum ctl_exit ctl_deregister(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__DeregisterRequest req = AGIHPC__V1__DEREGISTER_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.RegistryService/DeregisterService", &req,
					agihpc__v1__deregister_response__descriptor);
	protobuf_c_boolean is_tls; /* does not matter here */
	char address[CTL_TARGET_TEXT], text[AGI_SERVICE_NAME_MAX + CTL_TARGET_TEXT + 32];
	enum ctl_exit code = ctl_take_service(c, in->words.p[0], &req.service);

	if (code == CTL_OK)
		code = take_address(c, in->words.p[1], address, &req.address, &is_tls);
	if (code != CTL_OK)
		return code;
	code = ctl_ask(c, &call);
	ctl_call_clear(&call);
	if (code != CTL_OK)
		return code;
	if (c->is_json)
		return ctl_print_json_take(c, registration_json(req.service, req.address));
	snprintf(text, sizeof text, "deregistered %s at %.*s\n", in->words.p[0],
		 AGI_STR_ARG(ctl_str(req.address)));
	return ctl_write(c, agi_str_of(text));
}

/* --- finding ---------------------------------------------------------------------------------- */
json_t *ctl_instance_json(const Agihpc__V1__Instance *one)
{
	json_t *o = json_object();

	ctl_set(o, "address", ctl_json_str(ctl_str(one->address)));
	ctl_set(o, "node_id", ctl_json_str(ctl_str(one->node_id)));
	ctl_set(o, "zone", ctl_json_str(ctl_str(one->zone)));
	ctl_set_ms(o, "rtt_ms", one->rtt_ms);
	ctl_set_ms(o, "load", one->load);
	ctl_set(o, "stale", json_boolean(one->stale));
	ctl_set(o, "tls", json_boolean(one->tls));
	return o;
}

static enum ctl_exit print_instances(struct ctl *c, Agihpc__V1__Instance *const *v, size_t n)
{
	static const struct ctl_col cols[] = {{"ADDRESS", CTL_COL_TEXT}, {"NODE", CTL_COL_TEXT},
					      {"ZONE", CTL_COL_TEXT},    {"RTT", CTL_COL_NUMBER},
					      {"LOAD", CTL_COL_NUMBER},  {"NOTE", CTL_COL_STATE}};
	char rtt[CTL_UNIT_TEXT];
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < n; i++) {
		ctl_format_ms(rtt, v[i]->rtt_ms);
		ctl_table_str(&t, ctl_or_dash(v[i]->address));
		ctl_table_str(&t, ctl_short_id(v[i]->node_id));
		ctl_table_str(&t, ctl_or_dash(v[i]->zone));
		ctl_table_text(&t, rtt);
		ctl_table_printf(&t, "%.2f", v[i]->load);
		ctl_table_printf(&t, "%s%s%s", v[i]->tls ? "tls" : "",
				 v[i]->tls && v[i]->stale ? " " : "", v[i]->stale ? "stale" : "");
	}
	return ctl_print_table(c, &t);
}

static enum ctl_exit print_discovered(struct ctl *c, const char *service,
				      const Agihpc__V1__DiscoverResponse *res)
{
	enum ctl_exit code = CTL_OK;

	if (c->is_json) {
		json_t *o = json_object(), *list = json_array();

		ctl_set(o, "service", json_string(service));
		for (size_t i = 0; i < res->n_instances; i++)
			json_array_append_new(list, ctl_instance_json(res->instances[i]));
		ctl_set(o, "instances", list);
		code = ctl_print_json_take(c, o);
	} else if (res->n_instances) {
		code = print_instances(c, res->instances, res->n_instances);
	}
	if (code == CTL_OK && res->n_instances == 0)
		code = ctl_error(c, CTL_NOT_FOUND, "NOT_FOUND: no healthy instance of %s is known",
				 service);
	return code;
}

enum ctl_exit ctl_discover(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__DiscoverRequest req = AGIHPC__V1__DISCOVER_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.RegistryService/Discover", &req,
					agihpc__v1__discover_response__descriptor);
	const char *limit = ctl_opt_value(&in->opts, "limit"), *prefer = ctl_opt_value(&in->opts, "prefer");
	struct agi_why why;
	enum ctl_exit code = ctl_take_service(c, in->words.p[0], &req.service);

	if (code != CTL_OK)
		return code;
	if (limit && ctl_parse_u32(&req.limit, limit, 1, 1000000, &why) != AGI_OK)
		return ctl_usage(c, "--limit %s", why.text);
	if (prefer && strcmp(prefer, "nearest") != 0)
		req.prefer = strcmp(prefer, "zone") == 0 ? AGIHPC__V1__PREFER__PREFER_ZONE
							 : AGIHPC__V1__PREFER__PREFER_IDLE;
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_discovered(c, in->words.p[0],
					(const Agihpc__V1__DiscoverResponse *)call.res);
	ctl_call_clear(&call);
	return code;
}

static json_t *candidate_json(const Agihpc__V1__Candidate *one)
{
	json_t *o = ctl_instance_json(one->instance);

	ctl_set_ms(o, "estimate_ms", one->estimate_ms);
	ctl_set(o, "measured_now", json_boolean(one->measured_now));
	ctl_set(o, "verdict", ctl_json_str(ctl_str(one->verdict)));
	return o;
}

static enum ctl_exit print_candidates(struct ctl *c, Agihpc__V1__Candidate *const *v, size_t n)
{
	static const struct ctl_col cols[] = {{"ADDRESS", CTL_COL_TEXT}, {"NODE", CTL_COL_TEXT},
					      {"ZONE", CTL_COL_TEXT},    {"RTT", CTL_COL_NUMBER},
					      {"ESTIMATE", CTL_COL_NUMBER}, {"LOAD", CTL_COL_NUMBER},
					      {"WHY", CTL_COL_TEXT}};
	char rtt[CTL_UNIT_TEXT], estimate[CTL_UNIT_TEXT];
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < n; i++) {
		const Agihpc__V1__Instance *one = v[i]->instance;

		ctl_format_ms(rtt, one->rtt_ms);
		ctl_format_ms(estimate, v[i]->estimate_ms);
		ctl_table_str(&t, ctl_or_dash(one->address));
		ctl_table_str(&t, ctl_short_id(one->node_id));
		ctl_table_str(&t, ctl_or_dash(one->zone));
		ctl_table_text(&t, rtt);
		ctl_table_text(&t, estimate);
		ctl_table_printf(&t, "%.2f", one->load);
		ctl_table_str(&t, ctl_str(v[i]->verdict));
	}
	return ctl_print_table(c, &t);
}

static enum ctl_exit print_nearest_json(struct ctl *c, const char *service, const Agihpc__V1__NearestResponse *res,
					bool is_explained)
{
	json_t *o = json_object(), *list = json_array();

	ctl_set(o, "service", json_string(service));
	ctl_set(o, "instance", res->instance ? ctl_instance_json(res->instance) : json_null());
	for (size_t i = 0; i < res->n_candidates; i++)
		if (res->candidates[i]->instance)
			json_array_append_new(list, candidate_json(res->candidates[i]));
	if (is_explained)
		ctl_set(o, "candidates", list);
	else
		json_decref(list);
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_nearest(struct ctl *c, const char *service, const Agihpc__V1__NearestResponse *res,
				   bool is_explained)
{
	enum ctl_exit code = CTL_OK;

	for (size_t i = 0; i < res->n_candidates; i++)
		if (!res->candidates[i]->instance)
			return ctl_error(c, CTL_FAILED, "the node's answer names a candidate without an instance");
	if (c->is_json && (res->instance || is_explained))
		code = print_nearest_json(c, service, res, is_explained);
	else if (is_explained && res->n_candidates)
		code = print_candidates(c, res->candidates, res->n_candidates);
	else if (res->instance)
		code = print_instances(c, &res->instance, 1);
	if (code == CTL_OK && !res->instance)
		code = ctl_error(c, CTL_NOT_FOUND, "NOT_FOUND: no healthy instance of %s %s", service,
				 res->n_candidates ? "answers" : "is known");
	return code;
}

enum ctl_exit ctl_nearest(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__NearestRequest req = AGIHPC__V1__NEAREST_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.RegistryService/Nearest", &req,
					agihpc__v1__nearest_response__descriptor);
	enum ctl_exit code = ctl_take_service(c, in->words.p[0], &req.service);

	if (code != CTL_OK)
		return code;
	req.explain = ctl_opt_is_set(&in->opts, "explain");
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_nearest(c, in->words.p[0], (const Agihpc__V1__NearestResponse *)call.res,
				     req.explain);
	ctl_call_clear(&call);
	return code;
}
