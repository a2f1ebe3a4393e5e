/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pb.h"

#include <assert.h>
#include <stdlib.h>

#include "net/grpc.h"
#include "net/pb_scan.h"

struct parse {
	struct agi_pb_pool *pool; /* NULL: everything is malloc'ed */
	struct agi_why *why;
	size_t budget; /* bytes this message may still take */
};

/* --- errors -------------------------------------------------------------------------------------
 */
static bool malformed(const struct parse *ps, const ProtobufCMessageDescriptor *d, const char *what)
{
	(void)!agi_fail(ps->why, AGI_E_MALFORMED, "%s: %s", d->name, what);
	return false;
}

static bool bad_field(const struct parse *ps, const ProtobufCMessageDescriptor *d,
		      const ProtobufCFieldDescriptor *f, const char *what)
{
	(void)!agi_fail(ps->why, AGI_E_MALFORMED, "%s.%s: %s", d->name, f->name, what);
	return false;
}

/* --- memory -------------------------------------------------------------------------------------
 */
static void *take(struct parse *ps, size_t n)
{
	void *p = NULL;

	if (n <= ps->budget) {
		ps->budget -= n;
		p = ps->pool ? agi_pb_pool_alloc(ps->pool, n) : malloc(n ? n : 1);
	}
	if (!p)
		(void)!agi_fail(ps->why, AGI_E_NOMEM,
				"unpacked message: more than %d bytes or out of memory",
				AGI_PB_UNPACKED_MAX);
	return p;
}

/* Room for one more element in an array that grows by doubling: its capacity is the power of two
 * that holds its count, so nobody has to remember it. */
static bool grow(struct parse *ps, void **array, size_t count, size_t more, size_t element_bytes)
{
	size_t cap = count ? 4 : 0, want = count + more;
	void *p;

	while (cap < count)
		cap *= 2;
	if (want <= cap)
		return true;
	cap = cap ? cap : 4;
	while (cap < want)
		cap *= 2;
	p = take(ps, cap * element_bytes);
	if (!p)
		return false;
	if (count)
		memcpy(p, *array, count * element_bytes);
	if (!ps->pool)
		free(*array);
	*array = p;
	return true;
}

static bool take_bytes(struct parse *ps, struct agi_pb_span s, ProtobufCBinaryData *out)
{
	size_t n = (size_t)(s.end - s.p);
	uint8_t *p = NULL;

	if (ps->pool) {
		*out = (ProtobufCBinaryData){n, n ? (uint8_t *)s.p : NULL};
		return true;
	}
	if (n) {
		p = take(ps, n);
		if (!p)
			return false;
		memcpy(p, s.p, n);
	}
	free(out->data);
	*out = (ProtobufCBinaryData){n, p};
	return true;
}

size_t agi_pb_element_bytes(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return 4;
	}
}

static void *member(void *m, unsigned offset) { return (char *)m + offset; }

/* --- descriptors --------------------------------------------------------------------------------
 */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *d,
						  uint32_t number, unsigned *hint)
{
	unsigned lo = 0, hi = d->n_field_ranges;

	for (unsigned i = *hint; i < d->n_fields && i < *hint + 2;
	     i++) /* the same again, or the next */
		if (d->fields[i].id == number) {
			*hint = i;
			return &d->fields[i];
		}
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const ProtobufCIntRange *r = &d->field_ranges[mid];
		unsigned count = r[1].orig_index - r[0].orig_index;

		if (number < (uint32_t)r->start_value) {
			hi = mid;
		} else if (number - (uint32_t)r->start_value >= count) {
			lo = mid + 1;
		} else {
			*hint = r->orig_index + (number - (uint32_t)r->start_value);
			return &d->fields[*hint];
		}
	}
	return NULL;
}

static uint8_t wire_of(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return AGI_PB_WIRE_32;
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return AGI_PB_WIRE_64;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return AGI_PB_WIRE_BYTES;
	default:
		return AGI_PB_WIRE_VARINT;
	}
}

/* --- values -------------------------------------------------------------------------------------
 */
static void put_scalar(void *to, ProtobufCType t, uint64_t v)
{
	int32_t i32;
	int64_t i64;
	uint32_t u32 = (uint32_t)v;

	switch (t) {
	case PROTOBUF_C_TYPE_SINT32:
		i32 = (int32_t)((u32 >> 1) ^ (~(u32 & 1) + 1));
		memcpy(to, &i32, 4);
		break;
	case PROTOBUF_C_TYPE_SINT64:
		i64 = (int64_t)((v >> 1) ^ (~(v & 1) + 1));
		memcpy(to, &i64, 8);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)to = v != 0;
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		memcpy(to, &v, 8);
		break;
	default:
		memcpy(to, &u32, 4);
	}
}

static bool parse_message(struct parse *ps, ProtobufCMessage *m, struct agi_pb_span s, int depth);

static ProtobufCMessage *new_message(struct parse *ps, const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = take(ps, d->sizeof_message);

	if (m)
		d->message_init(m);
	return m;
}

/* Into *slot: a new message, or merged into the one that is there. */
static bool parse_submessage(struct parse *ps, const ProtobufCMessageDescriptor *owner,
			     const ProtobufCFieldDescriptor *f, ProtobufCMessage **slot,
			     struct agi_pb_span s, int depth)
{
	if (depth >= AGI_PB_DEPTH_MAX)
		return bad_field(ps, owner, f, "nested more than 100 deep");
	if (!*slot)
		*slot = new_message(ps, f->descriptor);
	return *slot && parse_message(ps, *slot, s, depth + 1);
}

static bool parse_string(struct parse *ps, const ProtobufCMessageDescriptor *owner,
			 const ProtobufCFieldDescriptor *f, void *to, struct agi_pb_span s)
{
	size_t n = (size_t)(s.end - s.p);
	char *z;

	if (agi_pb_is_string(f) && !agi_utf8_is_valid((struct agi_str){(const char *)s.p, n}))
		return bad_field(ps, owner, f, "a string must be UTF-8");
	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return take_bytes(ps, s, to);
	if (memchr(s.p, 0, n))
		return bad_field(ps, owner, f, "a string of this message must not hold NUL");
	z = take(ps, n + 1);
	if (!z)
		return false;
	memcpy(z, s.p, n);
	z[n] = '\0';
	if (!ps->pool && *(char **)to != f->default_value)
		free(*(char **)to);
	*(char **)to = z;
	return true;
}

/* One value of the field's own wire type, into zeroed or earlier memory. */
static bool parse_value(struct parse *ps, const ProtobufCMessageDescriptor *owner,
			const ProtobufCFieldDescriptor *f, const struct agi_pb_field *w, void *to,
			int depth)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return parse_submessage(ps, owner, f, to, agi_pb_payload(w), depth);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
		return parse_string(ps, owner, f, to, agi_pb_payload(w));
	default:
		put_scalar(to, f->type, w->v);
		return true;
	}
}

static bool parse_packed(struct parse *ps, const ProtobufCMessageDescriptor *owner,
			 const ProtobufCFieldDescriptor *f, ProtobufCMessage *m,
			 struct agi_pb_span s)
{
	size_t *count = member(m, f->quantifier_offset), more, each = agi_pb_element_bytes(f);
	void **array = member(m, f->offset);
	uint8_t wire = wire_of(f->type);

	if (!agi_pb_count_packed(s, wire, &more))
		return bad_field(ps, owner, f, "a packed value is cut short");
	if (more == 0)
		return true;
	if (!grow(ps, array, *count, more, each))
		return false;
	for (; more > 0; more--) {
		uint64_t v;

		if (wire == AGI_PB_WIRE_VARINT) {
			s.p = agi_pb_read_varint(s, &v);
			if (!s.p)
				return bad_field(ps, owner, f,
						 "a packed value is longer than ten bytes");
		} else {
			v = agi_pb_read_le(s.p, wire == AGI_PB_WIRE_64 ? 8 : 4);
			s.p += wire == AGI_PB_WIRE_64 ? 8 : 4;
		}
		put_scalar((char *)*array + *count * each, f->type, v);
		++*count;
	}
	return true;
}

static bool parse_repeated(struct parse *ps, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m,
			   const struct agi_pb_field *w, int depth)
{
	size_t *count = member(m, f->quantifier_offset), each = agi_pb_element_bytes(f);
	void **array = member(m, f->offset), *to;

	if (!grow(ps, array, *count, 1, each))
		return false;
	to = (char *)*array + *count * each;
	memset(to, 0, each);
	++*count; /* before the value, so that what a failed one has allocated is found and freed */
	return parse_value(ps, m->descriptor, f, w, to, depth);
}

/* Another member of the oneof is set: it gives way. */
static void clear_oneof(struct parse *ps, ProtobufCMessage *m, const ProtobufCFieldDescriptor *next)
{
	uint32_t *which = member(m, next->quantifier_offset);
	const ProtobufCMessageDescriptor *d = m->descriptor;

	for (unsigned i = 0; i < d->n_fields && *which; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		void *at = member(m, f->offset);

		if (f->id != *which || !(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
		    f->quantifier_offset != next->quantifier_offset)
			continue;
		if (!ps->pool && f->type == PROTOBUF_C_TYPE_MESSAGE && *(void **)at)
			protobuf_c_message_free_unpacked(*(ProtobufCMessage **)at, NULL);
		if (!ps->pool && f->type == PROTOBUF_C_TYPE_BYTES)
			free(((ProtobufCBinaryData *)at)->data);
		if (!ps->pool && f->type == PROTOBUF_C_TYPE_STRING &&
		    *(char **)at != f->default_value)
			free(*(char **)at);
	}
	*which = next->id;
	memset(member(m, next->offset), 0, agi_pb_element_bytes(next));
}

static bool parse_single(struct parse *ps, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m,
			 const struct agi_pb_field *w, int depth)
{
	bool is_oneof = (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;

	if (is_oneof && *(uint32_t *)member(m, f->quantifier_offset) != f->id)
		clear_oneof(ps, m, f);
	else if (!is_oneof && f->label == PROTOBUF_C_LABEL_OPTIONAL &&
		 f->type != PROTOBUF_C_TYPE_MESSAGE && f->type != PROTOBUF_C_TYPE_STRING)
		*(protobuf_c_boolean *)member(m, f->quantifier_offset) = 1;
	return parse_value(ps, m->descriptor, f, w, member(m, f->offset), depth);
}

static bool keep_unknown(struct parse *ps, ProtobufCMessage *m, const struct agi_pb_field *w)
{
	ProtobufCMessageUnknownField *u;
	ProtobufCBinaryData data = {0, NULL};
	void *array = m->unknown_fields;

	if (!grow(ps, &array, m->n_unknown_fields, 1, sizeof *u))
		return false;
	m->unknown_fields = array;
	if (!take_bytes(ps, w->value, &data))
		return false;
	u = &m->unknown_fields[m->n_unknown_fields++];
	*u = (ProtobufCMessageUnknownField){.tag = w->number,
					    .wire_type = (ProtobufCWireType)w->wire,
					    .len = data.len,
					    .data = data.data};
	return true;
}

/* --- maps: the last entry of a key wins ------------------------------------------------------ */
struct map_key {
	struct agi_str bytes; /* the key's bytes, whatever its type: equal keys have equal bytes */
	size_t index;
};

static int map_key_cmp(const void *a, const void *b)
{
	const struct map_key *x = a, *y = b;
	int c = agi_str_cmp(x->bytes, y->bytes);

	return c ? c : (x->index > y->index) - (x->index < y->index);
}

static struct agi_str key_bytes(const ProtobufCMessage *entry)
{
	const ProtobufCFieldDescriptor *f = &entry->descriptor->fields[0];
	const void *at = (const char *)entry + f->offset;
	const ProtobufCBinaryData *bytes = at;

	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return (struct agi_str){(const char *)bytes->data, bytes->len};
	return (struct agi_str){at, agi_pb_element_bytes(f)};
}

static bool settle_map(struct parse *ps, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	size_t *count = member(m, f->quantifier_offset), n = *count, kept = 0;
	ProtobufCMessage **entry = *(ProtobufCMessage ***)member(m, f->offset);
	struct map_key *keys;

	if (n < 2)
		return true;
	keys = malloc(n * sizeof *keys);
	if (!keys)
		return bad_field(ps, m->descriptor, f, "out of memory");
	for (size_t i = 0; i < n; i++)
		keys[i] = (struct map_key){key_bytes(entry[i]), i};
	qsort(keys, n, sizeof *keys, map_key_cmp);
	for (size_t i = 0; i + 1 < n; i++) {
		ProtobufCMessage **e = &entry[keys[i].index];

		if (!agi_str_eq(keys[i].bytes, keys[i + 1].bytes))
			continue;
		if (!ps->pool)
			protobuf_c_message_free_unpacked(*e, NULL);
		*e = NULL;
	}
	free(keys);
	for (size_t i = 0; i < n; i++)
		if (entry[i])
			entry[kept++] = entry[i];
	*count = kept;
	return true;
}

static bool settle_maps(struct parse *ps, ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].reserved_flags == AGI_PB_MAP && !settle_map(ps, m, &d->fields[i]))
			return false;
	return true;
}

/* --- messages -------------------------------------------------------------------------------- */
static bool parse_field(struct parse *ps, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
			const struct agi_pb_field *w, int depth)
{
	uint8_t own = f ? wire_of(f->type) : 0;

	if (f && w->wire == own)
		return f->label == PROTOBUF_C_LABEL_REPEATED ? parse_repeated(ps, f, m, w, depth)
							     : parse_single(ps, f, m, w, depth);
	if (f && f->label == PROTOBUF_C_LABEL_REPEATED && w->wire == AGI_PB_WIRE_BYTES)
		return parse_packed(ps, m->descriptor, f, m, agi_pb_payload(w));
	return keep_unknown(ps, m, w);
}

static bool parse_message(struct parse *ps, ProtobufCMessage *m, struct agi_pb_span s, int depth)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	bool has_map = false;
	unsigned hint = 0;

	while (s.p < s.end) {
		const ProtobufCFieldDescriptor *f;
		struct agi_pb_field w;
		const char *what;
		const uint8_t *p = agi_pb_read_tag(s, &w, &what);

		p = p ? agi_pb_read_value((struct agi_pb_span){p, s.end}, &w, depth, &what) : NULL;
		if (!p)
			return malformed(ps, d, what);
		f = find_field(d, w.number, &hint);
		if (!parse_field(ps, m, f, &w, depth))
			return false;
		has_map |= f && agi_pb_is_map(f);
		s.p = p;
	}
	return !has_map || settle_maps(ps, m);
}

ProtobufCMessage *agi_pb_unpack_pool(const ProtobufCMessageDescriptor *desc, struct agi_str wire,
				     struct agi_pb_pool *pool, struct agi_why *why)
{
	struct parse ps = {pool, why, AGI_PB_UNPACKED_MAX};
	const uint8_t *p = (const uint8_t *)wire.p;
	ProtobufCMessage *m = new_message(&ps, desc);

	if (!m)
		return NULL;
	if (wire.n == 0 || parse_message(&ps, m, (struct agi_pb_span){p, p + wire.n}, 0))
		return m;
	if (!pool)
		protobuf_c_message_free_unpacked(m, NULL);
	return NULL;
}

ProtobufCMessage *agi_pb_unpack(const ProtobufCMessageDescriptor *desc, struct agi_str wire,
				struct agi_why *why)
{
	return agi_pb_unpack_pool(desc, wire, NULL, why);
}
