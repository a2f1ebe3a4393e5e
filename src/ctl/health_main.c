/* SPDX-License-Identifier: Apache-2.0
 * agihpc-health: one call of one method and its answer as JSON, for scripts that were written for grpcurl or
 * grpc_health_probe. Knows the methods of this project and of gRPC's health checking by their own
 * descriptors; no server needs reflection for that. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agihpc.pb-c.h"
#include "base/hash.h"
#include "ctl/call.h"
#include "ctl/health_args.h"
#include "erisml.pb-c.h"
#include "health.pb-c.h"
#include "memory.pb-c.h"
#include "net/dial.h"
#include "net/pbjson.h"
#include "net/tls.h"
#include "plan.pb-c.h"
#include "reflection.pb-c.h"
#include "rh.pb-c.h"
#include "safety.pb-c.h"

/* Part of the interface: agihpc-health(1). */
enum {
	OK = 0,
	FAILED = 1,          /* no connection, no such method */
	USAGE = 2,           /* grpcurl; of a probe 1 */
	STATUS_BASE = 64,    /* grpcurl: 64 and the status of the call */
	PROBE_USAGE = 1,
	PROBE_NO_CONNECTION = 2,
	PROBE_FAILED = 3,
	NOT_SERVING = 4      /* in both forms */
};
enum { DATA_MAX = 4 << 20 };

static const ProtobufCServiceDescriptor *const services[] = {
    &grpc__health__v1__health__descriptor,
    &agihpc__v1__kv_service__descriptor,
    &agihpc__v1__registry_service__descriptor,
    &agihpc__v1__node_service__descriptor,
    &agihpc__v1__event_service__descriptor,
    &agi__erisml__v1__eris_mlservice__descriptor,
    &agi__safety__v1__pre_action_safety_service__descriptor,
    &agi__safety__v1__in_action_safety_service__descriptor,
    &agi__safety__v1__post_action_safety_service__descriptor,
    &agi__plan__v1__plan_service__descriptor,
    &agi__plan__v1__simulation_service__descriptor,
    &agi__memory__v1__semantic_memory_service__descriptor,
    &agi__memory__v1__episodic_memory_service__descriptor,
    &agi__memory__v1__procedural_memory_service__descriptor,
    &agi__memory__v1__unified_memory_service__descriptor,
    &agi__rh__v1__perception_service__descriptor,
    &agi__rh__v1__world_model_service__descriptor,
    &agi__rh__v1__control_execution_service__descriptor,
    &agi__rh__v1__rhhealth_service__descriptor,
};
enum { SERVICES = sizeof services / sizeof *services };

static const char usage[] =
    "usage: agihpc-health [-plaintext] [-d JSON] [-H HEADER] [-max-time SECONDS] HOST:PORT SERVICE/METHOD\n"
    "       agihpc-health [-plaintext] [-max-time SECONDS] HOST:PORT list [SERVICE]\n"
    "       agihpc-health -addr=HOST:PORT [-service=NAME] [-connect-timeout=TIME] [-rpc-timeout=TIME] [-tls]\n";

static int fail(int status, const char *text)
{
	fprintf(stderr, "agihpc-health: %s\n", text);
	return status;
}

/* --- methods ------------------------------------------------------------------------------------ */
static const ProtobufCServiceDescriptor *service_of(struct agi_str name)
{
	for (size_t i = 0; i < SERVICES; i++)
		if (agi_str_eq(agi_str_of(services[i]->name), name))
			return services[i];
	return NULL;
}

/* "package.Service/Method", or with a dot before the method. */
static const ProtobufCMethodDescriptor *method_of(const char *symbol, char path[256])
{
	const char *end = strrchr(symbol, '/');
	const ProtobufCServiceDescriptor *s;
	const ProtobufCMethodDescriptor *m;

	end = end ? end : strrchr(symbol, '.');
	if (!end)
		return NULL;
	s = service_of((struct agi_str){symbol, (size_t)(end - symbol)});
	m = s ? protobuf_c_service_descriptor_get_method_by_name(s, end + 1) : NULL;
	if (m)
		snprintf(path, 256, "/%s/%s", s->name, m->name);
	return m;
}

/* --- answers ------------------------------------------------------------------------------------- */
/* "DEADLINE_EXCEEDED" as grpcurl writes it: "DeadlineExceeded". */
static void code_name(char out[32], enum agi_grpc_status status)
{
	const char *name = status == AGI_GRPC_CANCELLED ? "CANCELED" : agi_grpc_status_name(status);
	bool is_first = true;
	size_t n = 0;

	for (; *name && n < 31; name++) {
		if (*name != '_')
			out[n++] = (char)(is_first || *name < 'A' ? *name : *name - 'A' + 'a');
		is_first = *name == '_';
	}
	out[n] = '\0';
}

static int report(const struct ctl_call *call)
{
	char code[32];

	if (call->is_unsent && call->status == AGI_GRPC_UNAVAILABLE)
		return fail(FAILED, call->message);
	code_name(code, call->status);
	fprintf(stderr, "ERROR:\n  Code: %s\n  Message: %s\n", code, call->message);
	return STATUS_BASE + (int)call->status;
}

static bool is_not_serving(const ProtobufCMessage *res)
{
	return res->descriptor == &grpc__health__v1__health_check_response__descriptor &&
	       ((const Grpc__Health__V1__HealthCheckResponse *)res)->status !=
		   GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
}

static int print(const ProtobufCMessage *res, bool has_defaults)
{
	struct agi_buf text;
	int status = OK;

	agi_buf_init(&text, 0);
	if (agi_pbjson_print(res, AGI_PBJSON_PRETTY | AGI_PBJSON_CAMEL |
				      (has_defaults ? AGI_PBJSON_DEFAULTS : 0), &text))
		status = fail(FAILED, "the answer is too large to print");
	else if (printf("%.*s\n", AGI_STR_ARG(agi_buf_str(&text))) < 0 || fflush(stdout))
		status = fail(FAILED, "cannot write the answer");
	agi_buf_free(&text);
	return status;
}

/* --- one call -------------------------------------------------------------------------------------- */
static int ask(const struct health_args *a, struct ctl_call *call)
{
	const struct agi_tls_client_cfg tls = {.ca_file = a->ca_file,
					       .cert_file = a->cert_file,
					       .key_file = a->key_file,
					       .server_name = a->server_name};
	struct ctl c = {.commands = NULL};
	struct agi_why why;

	call->target = a->target;
	c.token = (char *)(a->token ? a->token : getenv("AGIHPC_TOKEN"));
	if (agi_dial_is_tls(agi_str_of(a->target)) && agi_tls_client_new(&tls, &c.tls, &why)) {
		call->status = AGI_GRPC_UNAVAILABLE;
		call->message = ctl_copy(agi_str_of(why.text));
		call->is_unsent = true;
		return FAILED;
	}
	ctl_calls_run(&c, call, 1, a->timeout_ms);
	agi_tls_client_free(c.tls);
	return call->status == AGI_GRPC_OK ? OK : FAILED;
}

static enum agi_err request_of(const struct health_args *a, const ProtobufCMethodDescriptor *m,
			       ProtobufCMessage **out, struct agi_why *why)
{
	struct ctl c = {.commands = NULL};
	struct agi_str json = a->data ? agi_str_of(a->data) : AGI_STR("{}"), file = {NULL, 0};
	enum agi_err e;

	if (a->data && strcmp(a->data, "@") == 0) {
		if (ctl_read_file(&c, "-", DATA_MAX, &file) != CTL_OK)
			return agi_fail(why, AGI_E_IO, "-d @: standard input cannot be read");
		json = file;
	}
	e = agi_pbjson_parse(m->input, json, out, why);
	free((char *)file.p);
	return e;
}

static int call_method(const struct health_args *a)
{
	char path[256], text[400];
	const ProtobufCMethodDescriptor *m = method_of(a->symbol, path);
	struct ctl_call call = {.path = path};
	ProtobufCMessage *req;
	struct agi_why why;
	int status;

	if (!m) {
		snprintf(text, sizeof text, "\"%.120s\" is not a method known here, such as "
					    "grpc.health.v1.Health/Check", a->symbol);
		return fail(FAILED, text);
	}
	if (request_of(a, m, &req, &why)) {
		snprintf(text, sizeof text, "-d: %.360s", why.text);
		return fail(USAGE, text);
	}
	call.req = req;
	call.res_type = m->output;
	status = ask(a, &call) == OK ? print(call.res, a->has_defaults) : report(&call);
	if (status == OK && is_not_serving(call.res))
		status = NOT_SERVING;
	ctl_call_clear(&call);
	protobuf_c_message_free_unpacked(req, NULL);
	return status;
}

/* --- list ------------------------------------------------------------------------------------------ */
static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int print_services(const Grpc__Reflection__V1__ServerReflectionResponse *res)
{
	const Grpc__Reflection__V1__ListServiceResponse *list = res->list_services_response;
	char **names;

	if (res->message_response_case !=
	    GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE)
		return fail(FAILED, "the server's reflection service does not list services");
	names = ctl_alloc((list->n_service + 1) * sizeof *names);
	for (size_t i = 0; i < list->n_service; i++)
		names[i] = ctl_copy(ctl_str(list->service[i]->name));
	qsort(names, list->n_service, sizeof *names, by_text);
	for (size_t i = 0; i < list->n_service; i++) {
		puts(names[i]);
		free(names[i]);
	}
	free(names);
	return OK;
}

/* ServerReflectionInfo is a stream, of which one request and its answer are used. */
static int list_services(const struct health_args *a)
{
	Grpc__Reflection__V1__ServerReflectionRequest req;
	struct ctl_call call = CTL_CALL("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &req,
					grpc__reflection__v1__server_reflection_response__descriptor);
	int status;

	grpc__reflection__v1__server_reflection_request__init(&req);
	req.message_request_case =
	    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
	ask(a, &call);
	if (call.status == AGI_GRPC_UNIMPLEMENTED) { /* a server that has the older one only: the same messages */
		ctl_call_clear(&call);
		call.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
		ask(a, &call);
	}
	if (call.status == AGI_GRPC_OK)
		status = print_services(
		    (const Grpc__Reflection__V1__ServerReflectionResponse *)call.res);
	else if (call.status == AGI_GRPC_UNIMPLEMENTED)
		status = fail(FAILED, "the server does not support the reflection API");
	else
		status = report(&call);
	ctl_call_clear(&call);
	return status;
}

static int list_methods(const char *service)
{
	const ProtobufCServiceDescriptor *s = service_of(agi_str_of(service));
	char text[200];

	if (!s) {
		snprintf(text, sizeof text, "\"%.120s\" is not a service known here", service);
		return fail(FAILED, text);
	}
	for (unsigned i = 0; i < s->n_methods; i++)
		printf("%s.%s\n", s->name, s->methods[i].name);
	return OK;
}

/* --- grpc_health_probe -------------------------------------------------------------------------------- */
static int probe(const struct health_args *a)
{
	Grpc__Health__V1__HealthCheckRequest req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("grpc.health.v1.Health/Check", &req,
					grpc__health__v1__health_check_response__descriptor);
	const ProtobufCEnumValue *v;
	int status = OK;

	req.service = ctl_bin_of(a->service);
	if (ask(a, &call) == OK) {
		v = protobuf_c_enum_descriptor_get_value(
		    &grpc__health__v1__health_check_response__serving_status__descriptor,
		    (int)((const Grpc__Health__V1__HealthCheckResponse *)call.res)->status);
		status = is_not_serving(call.res) ? NOT_SERVING : OK;
		if (status == OK)
			printf("status: SERVING\n");
		else
			fprintf(stderr, "service unhealthy (responded with \"%s\")\n",
				v ? v->name : "an unknown status");
	} else {
		fprintf(stderr, "agihpc-health: %s: %s\n", agi_grpc_status_name(call.status), call.message);
		status = call.is_unsent ? PROBE_NO_CONNECTION : PROBE_FAILED;
	}
	ctl_call_clear(&call);
	return status;
}

int main(int argc, char **argv)
{
	struct health_args a;
	struct agi_why why = {""};
	enum agi_err e = health_args_parse(&a, argc, argv, &why);

	signal(SIGPIPE, SIG_IGN);
	json_set_alloc_funcs(ctl_alloc, free);
	if (e) {
		fprintf(stderr, "agihpc-health: %s\n%s", why.text, usage);
		return a.is_probe ? PROBE_USAGE : USAGE;
	}
	if (a.wants_help)
		return printf("%s", usage) < 0;
	if (a.wants_version)
		return printf("agihpc-health %s\n", AGI_VERSION) < 0;
	if (agi_crypto_init() != AGI_OK)
		return fail(FAILED, "no source of randomness");
	if (a.is_probe)
		return probe(&a);
	if (strcmp(a.symbol, "list") == 0)
		return a.of ? list_methods(a.of) : list_services(&a);
	return call_method(&a);
}
