/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pbjson.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <stdio.h>

#include "net/pb.h"

struct print {
	struct agi_buf *out;
	unsigned style;
	int level;
};

static void print_message(struct print *p, const ProtobufCMessage *m);

/* --- text ------------------------------------------------------------------------------------ */
static void put(struct print *p, const char *z) { agi_buf_put_str(p->out, agi_str_of(z)); }

static void newline(struct print *p)
{
	if (!(p->style & AGI_PBJSON_PRETTY))
		return;
	agi_buf_u8(p->out, '\n');
	for (int i = 0; i < p->level; i++)
		put(p, "  ");
}

/* Before the n-th member or element (from 0). */
static void separate(struct print *p, size_t n)
{
	if (n)
		agi_buf_u8(p->out, ',');
	newline(p);
}

static void open_bracket(struct print *p, char c)
{
	agi_buf_u8(p->out, (uint8_t)c);
	p->level++;
}

static void close_bracket(struct print *p, char c, size_t n)
{
	p->level--;
	if (n)
		newline(p);
	agi_buf_u8(p->out, (uint8_t)c);
}

static void print_char(struct print *p, uint8_t c, bool is_utf8)
{
	static const char *const named[] = {
	    ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r",
	    ['\t'] = "\\t", ['"'] = "\\\"", ['\\'] = "\\\\"};

	if (c < sizeof named / sizeof *named && named[c])
		put(p, named[c]);
	else if (c < 0x20 || c == 0x7f)
		agi_buf_printf(p->out, "\\u%04x", c);
	else if (c >= 0x80 && !is_utf8)
		put(p, "\\ufffd");
	else
		agi_buf_u8(p->out, c);
}

static void print_string(struct print *p, struct agi_str s)
{
	bool is_utf8 = agi_utf8_is_valid(s);

	agi_buf_u8(p->out, '"');
	for (size_t i = 0; i < s.n; i++)
		print_char(p, (uint8_t)s.p[i], is_utf8);
	agi_buf_u8(p->out, '"');
}

static void print_base64(struct print *p, ProtobufCBinaryData d)
{
	size_t n =
	    sodium_base64_encoded_len(d.len, sodium_base64_VARIANT_ORIGINAL); /* with terminator */
	uint8_t *to;

	agi_buf_u8(p->out, '"');
	to = agi_buf_reserve(p->out, n);
	if (to) {
		sodium_bin2base64((char *)to, n, d.data, d.len, sodium_base64_VARIANT_ORIGINAL);
		p->out->n += n - 1;
	}
	agi_buf_u8(p->out, '"');
}

static void print_name(struct print *p, const char *name)
{
	agi_buf_u8(p->out, '"');
	for (; *name; name++) {
		if ((p->style & AGI_PBJSON_CAMEL) && *name == '_' && name[1] >= 'a' &&
		    name[1] <= 'z')
			agi_buf_u8(p->out, (uint8_t)(*++name - 'a' + 'A'));
		else
			agi_buf_u8(p->out, (uint8_t)*name);
	}
	put(p, p->style & AGI_PBJSON_PRETTY ? "\": " : "\":");
}

/* --- numbers --------------------------------------------------------------------------------- */
/* The fewest digits that read back as the same value. */
static void print_real(struct print *p, double v, bool is_float)
{
	char text[40];

	if (isnan(v) || isinf(v)) {
		put(p, isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
		return;
	}
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, v);
		if (is_float ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v)
			break;
	}
	put(p, text);
}

static void print_enum(struct print *p, const ProtobufCEnumDescriptor *d, int32_t v)
{
	const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value(d, v);

	if (e)
		agi_buf_printf(p->out, "\"%s\"", e->name);
	else
		agi_buf_printf(p->out, "%" PRId32, v);
}

/* --- values ---------------------------------------------------------------------------------- */
static void print_integer(struct print *p, ProtobufCType t, const void *at)
{
	switch (t) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		agi_buf_printf(p->out, "%" PRIu32, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		agi_buf_printf(p->out, "\"%" PRId64 "\"", *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		agi_buf_printf(p->out, "\"%" PRIu64 "\"", *(const uint64_t *)at);
		break;
	default:
		agi_buf_printf(p->out, "%" PRId32, *(const int32_t *)at);
	}
}

static void print_value(struct print *p, const ProtobufCFieldDescriptor *f, const void *at)
{
	const ProtobufCBinaryData *bytes = at;

	switch (f->type) {
	case PROTOBUF_C_TYPE_FLOAT:
		print_real(p, (double)*(const float *)at, true);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		print_real(p, *(const double *)at, false);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		put(p, *(const protobuf_c_boolean *)at ? "true" : "false");
		break;
	case PROTOBUF_C_TYPE_ENUM:
		print_enum(p, f->descriptor, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		print_string(p, agi_str_of(*(char *const *)at));
		break;
	case PROTOBUF_C_TYPE_BYTES:
		if (agi_pb_is_string(f))
			print_string(p, (struct agi_str){(const char *)bytes->data, bytes->len});
		else
			print_base64(p, *bytes);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		print_message(p, *(ProtobufCMessage *const *)at);
		break;
	default:
		print_integer(p, f->type, at);
	}
}

static const void *member(const ProtobufCMessage *m, unsigned offset)
{
	return (const char *)m + offset;
}

/* A map's key is a string in JSON, whatever its type. */
static void print_key(struct print *p, const ProtobufCFieldDescriptor *f, const void *at)
{
	bool is_quoted = f->type == PROTOBUF_C_TYPE_BYTES || agi_pb_element_bytes(f) == 8;

	if (!is_quoted)
		agi_buf_u8(p->out, '"');
	print_value(p, f, at);
	if (!is_quoted)
		agi_buf_u8(p->out, '"');
	put(p, p->style & AGI_PBJSON_PRETTY ? ": " : ":");
}

static void print_map(struct print *p, ProtobufCMessage *const *entry, size_t n)
{
	open_bracket(p, '{');
	for (size_t i = 0; i < n; i++) {
		const ProtobufCFieldDescriptor *f = entry[i]->descriptor->fields;

		separate(p, i);
		print_key(p, &f[0], member(entry[i], f[0].offset));
		if (f[1].type == PROTOBUF_C_TYPE_MESSAGE &&
		    !*(void *const *)member(entry[i], f[1].offset))
			put(p, "{}");
		else
			print_value(p, &f[1], member(entry[i], f[1].offset));
	}
	close_bracket(p, '}', n);
}

static void print_repeated(struct print *p, const ProtobufCFieldDescriptor *f, const char *array,
			   size_t n)
{
	size_t each = agi_pb_element_bytes(f);

	if (agi_pb_is_map(f)) {
		print_map(p, (ProtobufCMessage *const *)(const void *)array, n);
		return;
	}
	open_bracket(p, '[');
	for (size_t i = 0; i < n; i++) {
		separate(p, i);
		print_value(p, f, array + i * each);
	}
	close_bracket(p, ']', n);
}

/* --- fields
 * ------------------------------------------------------------------------------------------------
 */
static bool is_zero(const ProtobufCFieldDescriptor *f, const void *at)
{
	static const uint8_t zero[8];

	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return ((const ProtobufCBinaryData *)at)->len == 0;
	if (f->type == PROTOBUF_C_TYPE_STRING)
		return !*(char *const *)at || !**(char *const *)at;
	return memcmp(at, zero, agi_pb_element_bytes(f)) == 0;
}

static bool is_present(const struct print *p, const ProtobufCMessage *m,
		       const ProtobufCFieldDescriptor *f)
{
	const void *at = member(m, f->offset);

	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return (p->style & AGI_PBJSON_DEFAULTS) ||
		       *(const size_t *)member(m, f->quantifier_offset) > 0;
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)member(m, f->quantifier_offset) == f->id;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(ProtobufCMessage *const *)at != NULL;
	if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_STRING)
		return *(const protobuf_c_boolean *)member(m, f->quantifier_offset) != 0;
	return (p->style & AGI_PBJSON_DEFAULTS) || !is_zero(f, at);
}

static void print_message(struct print *p, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	size_t n = 0;

	open_bracket(p, '{');
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const void *at = member(m, f->offset);

		if (!is_present(p, m, f))
			continue;
		separate(p, n++);
		print_name(p, f->name);
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			print_repeated(p, f, *(const char *const *)at,
				       *(const size_t *)member(m, f->quantifier_offset));
		else
			print_value(p, f, at);
	}
	close_bracket(p, '}', n);
}

enum agi_err agi_pbjson_print(const ProtobufCMessage *m, unsigned style, struct agi_buf *out)
{
	struct print p = {out, style, 0};

	print_message(&p, m);
	return out->err;
}
