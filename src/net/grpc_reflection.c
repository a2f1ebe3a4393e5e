/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_reflection.h"

#include <stdio.h>
#include <stdlib.h>

#include "descriptors.pb-c.h"
#include "net/descriptor_set.h"
#include "reflection.pb-c.h"

enum { SERVICES_MAX = 128, TEXT_MAX = 400 };

typedef Grpc__Reflection__V1__ServerReflectionRequest request;
typedef Grpc__Reflection__V1__ServerReflectionResponse response;
#define ASKED(kind)  GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##kind
#define ANSWER(kind) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##kind

/* One client's questions. */
struct talk {
	struct agi_grpc_server *server;
	struct agi_grpc_call *call;
	const request *unanswered; /* the client does not read so fast */
};

static struct agi_str set(void)
{
	return (struct agi_str){(const char *)agi_descriptors, agi_descriptors_bytes};
}

static struct agi_str str_of(ProtobufCBinaryData d)
{
	return (struct agi_str){(const char *)d.data, d.len};
}

static ProtobufCBinaryData data_of(struct agi_str s)
{
	return (ProtobufCBinaryData){s.n, (uint8_t *)(uintptr_t)s.p};
}

/* --- answers --------------------------------------------------------------------------------- */
static enum agi_err answer_error(struct talk *t, response *r, enum agi_grpc_status status,
				 const char *what, struct agi_str name)
{
	Grpc__Reflection__V1__ErrorResponse e = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
	char text[TEXT_MAX];

	if (name.n > TEXT_MAX - 64)
		name.n = TEXT_MAX - 64;
	while (name.n && !agi_utf8_is_valid(name))
		name.n--;
	snprintf(text, sizeof text, "%s%.*s", what, AGI_STR_ARG(name));
	e.error_code = (int32_t)status;
	e.error_message = data_of(agi_str_of(text));
	r->message_response_case = ANSWER(ERROR_RESPONSE);
	r->error_response = &e;
	return agi_grpc_send(t->call, &r->base);
}

static enum agi_err answer_file(struct talk *t, response *r, struct agi_str file,
				const char *missing, struct agi_str name)
{
	Grpc__Reflection__V1__FileDescriptorResponse f =
	    GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
	struct agi_str files[AGI_DESCRIPTOR_FILES_MAX];
	ProtobufCBinaryData data[AGI_DESCRIPTOR_FILES_MAX];

	if (!file.p)
		return answer_error(t, r, AGI_GRPC_NOT_FOUND, missing, name);
	f.n_file_descriptor_proto = agi_descriptor_with_imports(set(), file, files);
	for (size_t i = 0; i < f.n_file_descriptor_proto; i++)
		data[i] = data_of(files[i]);
	f.file_descriptor_proto = data;
	r->message_response_case = ANSWER(FILE_DESCRIPTOR_RESPONSE);
	r->file_descriptor_response = &f;
	return agi_grpc_send(t->call, &r->base);
}

static enum agi_err answer_services(struct talk *t, response *r)
{
	Grpc__Reflection__V1__ListServiceResponse list =
	    GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
	Grpc__Reflection__V1__ServiceResponse each[SERVICES_MAX], *service[SERVICES_MAX];
	const char *name;

	for (; list.n_service < SERVICES_MAX &&
	       (name = agi_grpc_server_service(t->server, list.n_service));
	     list.n_service++) {
		grpc__reflection__v1__service_response__init(&each[list.n_service]);
		each[list.n_service].name = data_of(agi_str_of(name));
		service[list.n_service] = &each[list.n_service];
	}
	list.service = service;
	r->message_response_case = ANSWER(LIST_SERVICES_RESPONSE);
	r->list_services_response = &list;
	return agi_grpc_send(t->call, &r->base);
}

/* None of our messages has extensions (proto3). */
static enum agi_err answer_extensions(struct talk *t, response *r, struct agi_str type)
{
	Grpc__Reflection__V1__ExtensionNumberResponse e =
	    GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;

	if (!agi_descriptor_file_of_message(set(), type).p)
		return answer_error(t, r, AGI_GRPC_NOT_FOUND, "Type not found: ", type);
	e.base_type_name = data_of(type);
	r->message_response_case = ANSWER(ALL_EXTENSION_NUMBERS_RESPONSE);
	r->all_extension_numbers_response = &e;
	return agi_grpc_send(t->call, &r->base);
}

static enum agi_err answer(struct talk *t, const request *q)
{
	response r = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	struct agi_str name;

	r.valid_host = q->host;
	r.original_request = (request *)(uintptr_t)q;
	switch (q->message_request_case) {
	case ASKED(LIST_SERVICES):
		return answer_services(t, &r);
	case ASKED(FILE_BY_FILENAME):
		name = str_of(q->file_by_filename);
		return answer_file(t, &r, agi_descriptor_file(set(), name),
				   "File not found: ", name);
	case ASKED(FILE_CONTAINING_SYMBOL):
		name = str_of(q->file_containing_symbol);
		return answer_file(t, &r, agi_descriptor_file_of(set(), name),
				   "Symbol not found: ", name);
	case ASKED(FILE_CONTAINING_EXTENSION):
		name = str_of(q->file_containing_extension->containing_type);
		return answer_error(t, &r, AGI_GRPC_NOT_FOUND, "Extension not found of ", name);
	case ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE):
		return answer_extensions(t, &r, str_of(q->all_extension_numbers_of_type));
	default:
		return answer_error(t, &r, AGI_GRPC_INVALID_ARGUMENT, "message_request: not given",
				    AGI_STR(""));
	}
}

/* --- the stream ------------------------------------------------------------------------------ */
static void on_cancel(void *arg)
{
	struct talk *t = arg;

	agi_grpc_fail(t->call, AGI_GRPC_CANCELLED, "cancelled");
	free(t);
}

static void answer_or_wait(struct talk *t, const request *q)
{
	enum agi_err e = answer(t, q);

	t->unanswered = e == AGI_E_FULL ? q : NULL;
	if (e == AGI_OK) {
		agi_grpc_recv(t->call);
	} else if (e != AGI_E_FULL && e != AGI_E_CANCELLED) {
		agi_grpc_fail_err(t->call, e, NULL);
		free(t);
	}
}

static void on_message(void *arg, const ProtobufCMessage *req)
{
	struct talk *t = arg;

	if (req) {
		answer_or_wait(t, (const request *)req);
		return;
	}
	agi_grpc_finish(t->call);
	free(t);
}

static void on_writable(void *arg)
{
	struct talk *t = arg;

	if (t->unanswered)
		answer_or_wait(t, t->unanswered);
}

static void on_open(struct agi_grpc_call *call, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {on_message, on_writable};
	struct talk *t = malloc(sizeof *t);

	if (!t) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	*t = (struct talk){ctx, call, NULL};
	agi_grpc_call_stream(call, &ops, t);
	agi_grpc_call_on_cancel(call, on_cancel, t);
	agi_grpc_recv(call);
}

enum agi_err agi_grpc_reflection_add(struct agi_grpc_server *s)
{
	static const struct agi_grpc_method methods[] = {
	    {"ServerReflectionInfo", NULL, AGI_GRPC_BIDI, on_open}};
	/* The same messages under the older package name. */
	static const ProtobufCMethodDescriptor alpha_methods[] = {
	    {"ServerReflectionInfo", &grpc__reflection__v1__server_reflection_request__descriptor,
	     &grpc__reflection__v1__server_reflection_response__descriptor}};
	static const ProtobufCServiceDescriptor alpha = {
	    .magic = PROTOBUF_C__SERVICE_DESCRIPTOR_MAGIC,
	    .name = "grpc.reflection.v1alpha.ServerReflection",
	    .n_methods = 1,
	    .methods = alpha_methods};
	enum agi_err e = agi_grpc_server_add(
	    s, &grpc__reflection__v1__server_reflection__descriptor, methods, 1, s);

	return e ? e : agi_grpc_server_add(s, &alpha, methods, 1, s);
}
