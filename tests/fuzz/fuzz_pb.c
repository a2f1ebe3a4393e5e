/* SPDX-License-Identifier: Apache-2.0
 * Messages as others write them. The first byte chooses the form, the second the type among all messages of all
 * services and of the overlay: 0 protobuf 1 JSON 2 gRPC's framing, compressed or not (second byte: encoding).
 * What was read must come through writing and reading again as it was. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "base/buf.h"
#include "descriptors.pb-c.h"
#include "erisml.pb-c.h"
#include "health.pb-c.h"
#include "memory.pb-c.h"
#include "net/descriptor_set.h"
#include "net/grpc.h"
#include "net/grpc_wire.h"
#include "net/pb.h"
#include "net/pbjson.h"
#include "overlay.pb-c.h"
#include "plan.pb-c.h"
#include "reflection.pb-c.h"
#include "rh.pb-c.h"
#include "safety.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { TYPES_MAX = 512, MESSAGE_MAX = 4096 };
static const ProtobufCMessageDescriptor *types[TYPES_MAX];
static size_t n_types;

static void add_type(const ProtobufCMessageDescriptor *d)
{
	for (size_t i = 0; i < n_types; i++)
		if (types[i] == d)
			return;
	assert(n_types < TYPES_MAX);
	types[n_types++] = d;
	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
			add_type(d->fields[i].descriptor);
}

static const ProtobufCServiceDescriptor *const services[] = {
    &agihpc__v1__kv_service__descriptor, &agihpc__v1__registry_service__descriptor,
    &agihpc__v1__node_service__descriptor, &agi__erisml__v1__eris_mlservice__descriptor,
    &grpc__health__v1__health__descriptor, &agi__memory__v1__semantic_memory_service__descriptor,
    &agi__memory__v1__episodic_memory_service__descriptor,
    &agi__memory__v1__procedural_memory_service__descriptor,
    &agi__memory__v1__unified_memory_service__descriptor, &agi__plan__v1__plan_service__descriptor,
    &agi__plan__v1__simulation_service__descriptor, &agi__rh__v1__perception_service__descriptor,
    &agi__rh__v1__world_model_service__descriptor,
    &agi__rh__v1__control_execution_service__descriptor, &agi__rh__v1__rhhealth_service__descriptor,
    &agi__safety__v1__pre_action_safety_service__descriptor,
    &agi__safety__v1__in_action_safety_service__descriptor,
    &agi__safety__v1__post_action_safety_service__descriptor,
    &agihpc__v1__event_service__descriptor, &agihpc__v1__safety_service__descriptor,
    &agihpc__v1__backup_service__descriptor, &agihpc__v1__lease_service__descriptor,
    &grpc__reflection__v1__server_reflection__descriptor, &agihpc__v1__audit_service__descriptor,
    &agihpc__v1__policy_service__descriptor};
enum { SERVICES = sizeof services / sizeof *services };

/* No service is forgotten: the embedded descriptors know them all. (Reflection v1alpha has v1's messages.) */
static void check_services(void)
{
	const struct agi_str set = {(const char *)agi_descriptors, agi_descriptors_bytes};
	struct agi_descriptor_method m;

	for (size_t n = 0; agi_descriptor_method_at(set, n, &m); n++) {
		bool is_there = agi_str_eq(m.package, AGI_STR("grpc.reflection.v1alpha"));

		for (size_t i = 0; i < SERVICES; i++)
			is_there |= agi_str_eq(m.service, agi_str_of(services[i]->short_name)) &&
			            agi_str_eq(m.package, agi_str_of(services[i]->package));
		if (!is_there) {
			fprintf(stderr, "%.*s is missing in tests/fuzz/fuzz_pb.c\n", AGI_STR_ARG(m.service));
			abort();
		}
	}
}

static void add_types(void)
{
	check_services();
	add_type(&agihpc__overlay__v1__envelope__descriptor);
	for (size_t i = 0; i < SERVICES; i++)
		for (unsigned k = 0; k < services[i]->n_methods; k++) {
			add_type(services[i]->methods[k].input);
			add_type(services[i]->methods[k].output);
		}
}

static struct agi_str pack(const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *p = malloc(n + 1);

	if (!p)
		abort();
	n = protobuf_c_message_pack(m, p);
	return (struct agi_str){(const char *)p, n};
}

/* Written, read and written again is the same. */
static void check_stable(const ProtobufCMessage *m)
{
	struct agi_str once = pack(m), twice;
	ProtobufCMessage *again = agi_pb_unpack(m->descriptor, once, NULL);

	assert(again);
	twice = pack(again);
	assert(agi_str_eq(once, twice));
	protobuf_c_message_free_unpacked(again, NULL);
	free((char *)once.p);
	free((char *)twice.p);
}

static void check_json(const ProtobufCMessage *m)
{
	struct agi_buf text;
	struct agi_why why = {""};
	ProtobufCMessage *again;
	enum agi_err e;

	agi_buf_init(&text, 0);
	e = agi_pbjson_print(m, AGI_PBJSON_COMPACT, &text);
	assert(!e);
	e = agi_pbjson_parse(m->descriptor, agi_buf_str(&text), &again, &why);
	assert(!e || why.text[0]); /* nesting may be deeper than JSON is read */
	if (!e)
		protobuf_c_message_free_unpacked(again, NULL);
	agi_buf_free(&text);
}

static void fuzz_protobuf(const ProtobufCMessageDescriptor *d, struct agi_str wire)
{
	struct agi_pb_pool pool = {0};
	struct agi_why why = {""};
	ProtobufCMessage *m = agi_pb_unpack(d, wire, &why),
			 *pooled = agi_pb_unpack_pool(d, wire, &pool, NULL);

	assert(!m == !pooled); /* both ways of reading agree */
	assert(m || why.text[0]);
	if (m) {
		struct agi_str a = pack(m), b = pack(pooled);

		assert(agi_str_eq(a, b));
		free((char *)a.p);
		free((char *)b.p);
		check_stable(m);
		check_json(m);
		protobuf_c_message_free_unpacked(m, NULL);
	}
	agi_pb_pool_free(&pool);
}

static void fuzz_json(const ProtobufCMessageDescriptor *d, struct agi_str text)
{
	struct agi_why why = {""};
	ProtobufCMessage *m;

	if (agi_pbjson_parse(d, text, &m, &why)) {
		assert(why.text[0]);
		return;
	}
	check_stable(m);
	check_json(m);
	protobuf_c_message_free_unpacked(m, NULL);
}

/* In pieces as at once; no message is longer than allowed. */
static void fuzz_framing(enum agi_grpc_encoding encoding, struct agi_str in, size_t piece, struct agi_buf *got)
{
	struct agi_grpc_reader r = {.encoding = encoding};
	enum agi_grpc_read result = AGI_GRPC_READ_MORE;

	while (in.n && (result == AGI_GRPC_READ_MORE || result == AGI_GRPC_READ_MESSAGE)) {
		struct agi_str some = {in.p, in.n < piece ? in.n : piece};
		size_t before = some.n;

		result = agi_grpc_reader_feed(&r, &some, MESSAGE_MAX);
		assert(result != AGI_GRPC_READ_MORE || some.n == 0);
		in.p += before - some.n;
		in.n -= before - some.n;
		assert(r.message.n <= MESSAGE_MAX);
		if (result == AGI_GRPC_READ_MESSAGE) {
			agi_buf_blob(got, agi_buf_str(&r.message));
			agi_grpc_reader_next(&r);
		}
	}
	agi_buf_u8(got, (uint8_t)result);
	agi_grpc_reader_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agi_cur in = {data, n, false};
	uint8_t form = agi_cur_u8(&in) % 3, what = agi_cur_u8(&in);
	struct agi_str rest = agi_cur_take(&in, in.n);
	struct agi_buf a, b;

	if (!n_types)
		add_types();
	if (form == 0) {
		fuzz_protobuf(types[what % n_types], rest);
	} else if (form == 1) {
		fuzz_json(types[what % n_types], rest);
	} else {
		agi_buf_init(&a, 0);
		agi_buf_init(&b, 0);
		fuzz_framing(what % AGI_GRPC_ENCODINGS, rest, rest.n + 1, &a);
		fuzz_framing(what % AGI_GRPC_ENCODINGS, rest, 1 + what / AGI_GRPC_ENCODINGS, &b);
		/* the last byte says where it stopped: between pieces a whole message may end */
		assert(a.n == b.n && memcmp(a.p, b.p, a.n - 1) == 0);
		agi_buf_free(&a);
		agi_buf_free(&b);
	}
	return 0;
}
