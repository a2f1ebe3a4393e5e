/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "net/grpc.h"
#include "net/pb.h"
#include "agihpc.pb-c.h"
#include "erisml.pb-c.h"
#include "overlay.pb-c.h"
#include "plan.pb-c.h"
#include "rh.pb-c.h"

#define STR_OF(array)            ((struct agi_str){array, sizeof(array) - 1})
#define UNPACK(type, bytes, why) ((type *)agi_pb_unpack(&type##_desc, AGI_STR(bytes), why))
typedef Agi__Plan__V1__PlanStep step;
typedef Agi__Plan__V1__PlanRequest request;
#define step_desc    agi__plan__v1__plan_step__descriptor
#define request_desc agi__plan__v1__plan_request__descriptor

static void drop(void *m) { protobuf_c_message_free_unpacked(m, NULL); }

static void assert_bytes(ProtobufCBinaryData d, const char *want)
{
	assert_int_equal(d.len, strlen(want));
	if (d.len)
		assert_memory_equal(d.data, want, d.len);
}

static void assert_packs_to(const void *m, struct agi_str want)
{
	uint8_t out[512];

	assert_true(protobuf_c_message_get_packed_size(m) <= sizeof out);
	assert_int_equal(protobuf_c_message_pack(m, out), want.n);
	assert_memory_equal(out, want.p, want.n);
}

static void assert_malformed(const ProtobufCMessageDescriptor *d, struct agi_str wire,
			     const char *expect)
{
	struct agi_why why = {""};
	struct agi_pb_pool pool = {0};

	assert_null(agi_pb_unpack(d, wire, &why));
	if (!strstr(why.text, expect))
		fail_msg("\"%s\" does not say \"%s\"", why.text, expect);
	assert_null(agi_pb_unpack_pool(d, wire, &pool, NULL));
	agi_pb_pool_free(&pool);
}

static void fields_arrive(void **state)
{
	step *s = UNPACK(step, "\x0a\x02s1\x10\x05\x38\x01\x42\x01x\x42\x01y", NULL);

	(void)state;
	assert_non_null(s);
	assert_bytes(s->step_id, "s1");
	assert_int_equal(s->index, 5);
	assert_true(s->requires_simulation);
	assert_int_equal(s->n_safety_tags, 2);
	assert_bytes(s->safety_tags[1], "y");
	drop(s);
}

static void strings_may_hold_nul(void **state)
{
	step *s = UNPACK(step,
			 "\x0a\x03"
			 "a\0b",
			 NULL);

	(void)state;
	assert_int_equal(s->step_id.len, 3);
	assert_memory_equal(s->step_id.data, "a\0b", 3);
	drop(s);
}

static void strings_must_be_utf8_and_bytes_need_not(void **state)
{
	Agi__Rh__V1__UpdatePerceptionRequest *r;
	struct agi_str bad = AGI_STR("\x0a\x02\xff\xfe");

	(void)state;
	assert_malformed(&step_desc, bad, "agi.plan.v1.PlanStep.step_id: a string must be UTF-8");
	assert_malformed(&step_desc, AGI_STR("\x42\x01\x80"), "safety_tags");
	assert_malformed(&step_desc, AGI_STR("\x52\x04\x0a\x02\xc0\xaf"), "ParamsEntry.key");
	r = (void *)agi_pb_unpack(&agi__rh__v1__update_perception_request__descriptor, bad, NULL);
	assert_non_null(r);
	assert_int_equal(r->frame_data.len, 2);
	drop(r);
}

static void every_string_of_the_proto_is_marked(void **state)
{
	const ProtobufCMessageDescriptor *d = &agi__rh__v1__perception_state__descriptor;

	(void)state;
	assert_true(
	    agi_pb_is_string(protobuf_c_message_descriptor_get_field_by_name(d, "state_id")));
	assert_false(
	    agi_pb_is_string(protobuf_c_message_descriptor_get_field_by_name(d, "embedding")));
	assert_true(agi_pb_is_map(protobuf_c_message_descriptor_get_field_by_name(d, "metadata")));
	assert_false(agi_pb_is_map(protobuf_c_message_descriptor_get_field_by_name(d, "objects")));
	d = &agihpc__overlay__v1__item__descriptor;
	assert_true(
	    agi_pb_is_string(protobuf_c_message_descriptor_get_field_by_name(d, "namespace")));
	assert_false(agi_pb_is_string(protobuf_c_message_descriptor_get_field_by_name(d, "key")));
	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].type == PROTOBUF_C_TYPE_BYTES)
			assert_null(d->fields[i].default_value);
}

static void malformed_is_refused_and_named(void **state)
{
	const ProtobufCMessageDescriptor *d = &step_desc;

	(void)state;
	assert_malformed(d, AGI_STR("\x02\x01"), "field number 0");
	assert_malformed(d, AGI_STR("\x0e"), "wire type 6 or 7");
	assert_malformed(d, AGI_STR("\x0f"), "wire type 6 or 7");
	assert_malformed(d,
			 AGI_STR("\x0a\x05"
				 "ab"),
			 "cut short");
	assert_malformed(d, AGI_STR("\x0a"), "cut short");
	assert_malformed(d, AGI_STR("\x10\xff"), "cut short");
	assert_malformed(d, AGI_STR("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
			 "cut short");
	assert_malformed(d, AGI_STR("\x8a\x80\x80\x80\x80\x01\x00"), "tag");
	assert_malformed(d, AGI_STR("\x0c"), "a group ends");
	assert_malformed(d, AGI_STR("\x7b\x08\x01"), "does not end");
	assert_malformed(d, AGI_STR("\x7b\x84\x01"), "another's number");
	assert_malformed(d, AGI_STR("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "cut short");
	assert_malformed(&agi__erisml__v1__moral_tensor_proto__descriptor,
			 AGI_STR("\x1a\x03\x00\x00\x00"), "packed");
	assert_malformed(&agi__erisml__v1__moral_tensor_proto__descriptor,
			 AGI_STR("\x0a\x02\x01\x80"), "packed");
}

static void wrong_wire_types_and_groups_become_unknown_fields_in_order(void **state)
{
	/* step_id as varint, index as bytes, an unknown group with a nested one, a fixed32, step_id
	 * rightly */
	static const char wire[] = "\x08\x07"
				   "\x12\x01z"
				   "\x7b\x0b\x08\x01\x0c\x7c"
				   "\x8d\x01\x01\x02\x03\x04"
				   "\x0a\x02ok";
	static const char packed[] = "\x0a\x02ok"
				     "\x08\x07"
				     "\x12\x01z"
				     "\x7b\x0b\x08\x01\x0c\x7c"
				     "\x8d\x01\x01\x02\x03\x04";
	step *s = (step *)agi_pb_unpack(&step_desc, STR_OF(wire), NULL);

	(void)state;
	assert_non_null(s);
	assert_bytes(s->step_id, "ok");
	assert_int_equal(s->index, 0);
	assert_int_equal(s->base.n_unknown_fields, 4);
	assert_packs_to(s, STR_OF(packed));
	drop(s);
}

static void packed_and_unpacked_are_both_taken(void **state)
{
	Agi__Erisml__V1__MoralTensorProto *t =
	    (void *)agi_pb_unpack(&agi__erisml__v1__moral_tensor_proto__descriptor,
				  AGI_STR("\x08\x05\x0a\x03\x01\xac\x02\x08\x07\x1d\x00\x00\x80\x3f"
					  "\x1a\x08\x00\x00\x00\x40\x00\x00\x40\x40\x0a\x00"),
				  NULL);

	(void)state;
	assert_non_null(t);
	assert_int_equal(t->n_shape, 4);
	assert_int_equal(t->shape[0], 5);
	assert_int_equal(t->shape[2], 300);
	assert_int_equal(t->shape[3], 7);
	assert_int_equal(t->n_data, 3);
	assert_true(t->data[0] == 1.0f && t->data[2] == 3.0f);
	drop(t);
}

static void scalars_follow_the_reference(void **state)
{
	step *s =
	    UNPACK(step,
		   "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" /* index = -1 in ten bytes */
		   "\x18\xff\xff\xff\xff\xff\x01"                 /* level: low 32 bits */
		   "\x38\x80\x02"                                 /* bool 256 */
		   "\x0a\x01"
		   "a\x0a\x01"
		   "b",
		   NULL);

	(void)state;
	assert_int_equal(s->index, -1);
	assert_int_equal(s->level, -1);
	assert_int_equal(s->requires_simulation, 1);
	assert_bytes(s->step_id, "b");
	drop(s);
}

static void a_submessage_that_comes_twice_is_merged(void **state)
{
	/* task {goal "g", params {a: 1}}, then task {type "t", params {b: 2}} */
	request *r = UNPACK(request,
			    "\x0a\x0b\x0a\x01g\x22\x06\x0a\x01"
			    "a\x12\x01"
			    "1\x0a\x0b\x1a\x01t\x22\x06\x0a\x01"
			    "b\x12\x01"
			    "2",
			    NULL);

	(void)state;
	assert_bytes(r->task->goal_id, "g");
	assert_bytes(r->task->task_type, "t");
	assert_int_equal(r->task->n_params, 2);
	drop(r);
}

static void the_last_entry_of_a_map_wins(void **state)
{
	request *r = UNPACK(request,
			    "\x1a\x06\x0a\x01k\x12\x01"
			    "1\x1a\x06\x0a\x01j\x12\x01"
			    "2\x1a\x06\x0a\x01k\x12\x01"
			    "3\x1a\x03\x0a\x01k",
			    NULL);

	(void)state;
	assert_int_equal(r->n_metadata, 2);
	assert_bytes(r->metadata[0]->key, "j");
	assert_bytes(r->metadata[1]->key, "k");
	assert_bytes(r->metadata[1]->value, "");
	drop(r);
}

static void the_last_member_of_a_oneof_wins(void **state)
{
	typedef Agihpc__Overlay__V1__Envelope envelope;
	const ProtobufCMessageDescriptor *d = &agihpc__overlay__v1__envelope__descriptor;
	/* vote_request {rpc_id 1}, vote_reply {rpc_id 2}, vote_reply {error "e"} */
	envelope *e =
	    (void *)agi_pb_unpack(d,
				  AGI_STR("\x22\x02\x08\x01\x2a\x02\x08\x02\x2a\x03\x2a\x01"
					  "e"),
				  NULL);

	(void)state;
	assert_int_equal(e->body_case, AGIHPC__OVERLAY__V1__ENVELOPE__BODY_VOTE_REPLY);
	assert_int_equal(e->vote_reply->rpc_id, 2);
	assert_bytes(e->vote_reply->error, "e");
	drop(e);
}

/* n nested unknown groups: the only recursive thing our protos have room for. */
static size_t nest(char *out, int n)
{
	memset(out, 0x7b, (size_t)n);
	memset(out + n, 0x7c, (size_t)n);
	return 2 * (size_t)n;
}

static void nesting_is_bounded(void **state)
{
	char wire[512];
	struct agi_str s = {wire, nest(wire, 100)};
	ProtobufCMessage *m = agi_pb_unpack(&step_desc, s, NULL);

	(void)state;
	assert_non_null(m);
	drop(m);
	s.n = nest(wire, 101);
	assert_malformed(&step_desc, s, "100 deep");
}

/* 10 MiB of empty steps would be 1 GiB of structs. */
static void memory_is_bounded(void **state)
{
	enum { BYTES = 10 << 20 };
	char *wire = malloc(BYTES);
	struct agi_why why;

	(void)state;
	assert_non_null(wire);
	for (size_t i = 0; i < BYTES; i += 2)
		memcpy(wire + i, "\x1a\x00", 2);
	assert_null(agi_pb_unpack(&agi__plan__v1__plan_graph_proto__descriptor,
				  (struct agi_str){wire, BYTES}, &why));
	assert_non_null(strstr(why.text, "more than"));
	free(wire);
}

/* Property: on what protobuf-c takes and packs itself, both ways of unpacking agree with it byte
 * for byte; on mutated bytes nothing crashes and the two ways agree with each other. */
static void mutated_messages_never_disagree(void **state)
{
	static const char seed[] =
	    "\x0a\x02p1\x12\x04goal\x1a\x1f\x0a\x02s1\x10\x03\x22\x04tool\x42\x01x\x52\x06\x0a\x01"
	    "a\x12\x01z\x52\x06\x0a\x01"
	    "b\x12\x01y\x22\x06\x0a\x01m\x12\x01n\x28\x02";
	const ProtobufCMessageDescriptor *d = &agi__plan__v1__plan_graph_proto__descriptor;
	struct agi_pb_pool pool = {0};
	struct agi_prng r;
	int n_ok = 0;

	(void)state;
	agi_prng_seed(&r, 7);
	for (int i = 0; i < 20000; i++) {
		char wire[sizeof seed];
		struct agi_str s = {wire, sizeof seed - 1};
		ProtobufCMessage *a, *b;

		memcpy(wire, seed, sizeof seed);
		for (uint64_t k = agi_prng_below(&r, 4); k > 0; k--)
			wire[agi_prng_below(&r, s.n)] = (char)agi_prng_u64(&r);
		if (agi_prng_below(&r, 4) == 0)
			s.n = agi_prng_below(&r, s.n);
		a = agi_pb_unpack(d, s, NULL);
		b = agi_pb_unpack_pool(d, s, &pool, NULL);
		assert_int_equal(a == NULL, b == NULL);
		if (a) {
			uint8_t pa[256], pb[256];
			size_t na = protobuf_c_message_pack(a, pa);

			assert_int_equal(na, protobuf_c_message_pack(b, pb));
			assert_memory_equal(pa, pb, na);
			drop(a);
			n_ok++;
		}
		agi_pb_pool_reset(&pool);
	}
	assert_in_range(n_ok, 2000, 18000);
	agi_pb_pool_free(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fields_arrive),
	    cmocka_unit_test(strings_may_hold_nul),
	    cmocka_unit_test(strings_must_be_utf8_and_bytes_need_not),
	    cmocka_unit_test(every_string_of_the_proto_is_marked),
	    cmocka_unit_test(malformed_is_refused_and_named),
	    cmocka_unit_test(wrong_wire_types_and_groups_become_unknown_fields_in_order),
	    cmocka_unit_test(packed_and_unpacked_are_both_taken),
	    cmocka_unit_test(scalars_follow_the_reference),
	    cmocka_unit_test(a_submessage_that_comes_twice_is_merged),
	    cmocka_unit_test(the_last_entry_of_a_map_wins),
	    cmocka_unit_test(the_last_member_of_a_oneof_wins),
	    cmocka_unit_test(nesting_is_bounded),
	    cmocka_unit_test(memory_is_bounded),
	    cmocka_unit_test(mutated_messages_never_disagree),
	};

	return cmocka_run_group_tests_name("pb", tests, NULL, NULL);
}
