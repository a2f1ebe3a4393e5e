/* SPDX-License-Identifier: Apache-2.0
 * Reading protobuf into protobuf-c structs the way the reference runtime reads it. The public entry
 * is agi_pb_unpack (net/grpc.h); this header adds what the rest of src/net needs: unpacking into a
 * pool, and the marks that the build puts into the generated descriptors.
 *
 * Where protobuf-c's own unpacker differs, and this one does not: strings must be UTF-8; a known
 * field with the wrong wire type and groups become unknown fields; a sub-message that comes twice
 * is merged, scalars included; the last entry of a map wins; nesting and memory are bounded. Rules:
 * protobuf.dev/programming-guides/encoding, and upb's decoder where that page is silent. */
#ifndef AGI_NET_PB_H
#define AGI_NET_PB_H

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
	AGI_PB_DEPTH_MAX = 100, /* nested messages and groups; upb's and protobuf C++'s limit */
	AGI_PB_UNPACKED_MAX =
	    256 << 20 /* bytes one message may take unpacked: two bytes on the wire
		       * can stand for a struct of 200, so the wire size bounds nothing */
};

/* ProtobufCFieldDescriptor.reserved_flags, written by proto/mark-strings.awk. */
enum agi_pb_mark {
	AGI_PB_PLAIN = 0,
	AGI_PB_STRING = 1, /* a proto string; its C type is ProtobufCBinaryData */
	AGI_PB_MAP = 2,    /* a proto map; its C type is a repeated message of key = 1, value = 2 */
	AGI_PB_MAP_KEPT =
	    3 /* the same, and entries with an equal key are kept, in order of arrival */
};
static inline bool agi_pb_is_string(const ProtobufCFieldDescriptor *f)
{
	return f->reserved_flags == AGI_PB_STRING || f->type == PROTOBUF_C_TYPE_STRING;
}
static inline bool agi_pb_is_map(const ProtobufCFieldDescriptor *f)
{
	return f->reserved_flags == AGI_PB_MAP || f->reserved_flags == AGI_PB_MAP_KEPT;
}

/* Memory that is given back at once. Zero is a valid empty pool. */
struct agi_pb_pool {
	struct agi_pb_chunk *chunks; /* newest first */
	size_t used, cap;            /* of the newest chunk */
};
/* NULL when out of memory. 8-byte aligned, not zeroed. */
void *agi_pb_pool_alloc(struct agi_pb_pool *pool, size_t n);
/* Forgets everything; keeps one small chunk for the next use. */
void agi_pb_pool_reset(struct agi_pb_pool *pool);
void agi_pb_pool_free(struct agi_pb_pool *pool);

/* As agi_pb_unpack, into a pool: strings and bytes point into wire, which must live as long as the
 * message. Give back with agi_pb_pool_reset; protobuf_c_message_free_unpacked must not see the
 * message. NULL + why on malformed input; the pool then holds garbage until it is reset. */
ProtobufCMessage *agi_pb_unpack_pool(const ProtobufCMessageDescriptor *desc, struct agi_str wire,
				     struct agi_pb_pool *pool, struct agi_why *why);

/* Bytes of one element of a field's C representation. */
size_t agi_pb_element_bytes(const ProtobufCFieldDescriptor *f);

#endif
