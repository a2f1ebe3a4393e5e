/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pbjson.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/pb.h"

/* Where in the text we are: a list that grows down the stack. */
struct place {
	const struct place *up;
	const char *name; /* a field or a map's key; NULL: index counts */
	size_t index;
};

enum { PATH_MAX_BYTES = 128, FOUND_MAX = 48 };

/* --- errors
 * ----------------------------------------------------------------------------------------------------
 */
static void path_of(const struct place *at, char *out, size_t room)
{
	size_t n;

	if (!at) {
		out[0] = '\0';
		return;
	}
	path_of(at->up, out, room);
	n = strlen(out);
	if (at->name)
		snprintf(out + n, room - n, "%s%s", n ? "." : "", at->name);
	else
		snprintf(out + n, room - n, "[%zu]", at->index);
}

static const char *kind_of(const json_t *v)
{
	static const char *const kinds[] = {
	    [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
	    [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
	    [JSON_FALSE] = "false",      [JSON_NULL] = "null"};

	return kinds[json_typeof(v)];
}

/* "the string "abc"": what was found, short enough to be shown. */
static void describe(const json_t *v, char out[FOUND_MAX])
{
	if (json_is_string(v))
		snprintf(out, FOUND_MAX, "\"%.30s\"", json_string_value(v));
	else if (json_is_integer(v))
		snprintf(out, FOUND_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		snprintf(out, FOUND_MAX, "%.17g", json_real_value(v));
	else
		snprintf(out, FOUND_MAX, "%s", kind_of(v));
}

static enum agi_err expected(struct agi_why *why, const struct place *at, const json_t *v,
			     const char *what)
{
	char path[PATH_MAX_BYTES], found[FOUND_MAX];

	path_of(at, path, sizeof path);
	describe(v, found);
	return agi_fail(why, AGI_E_INVALID, "%s%sexpected %s, found %s", path, path[0] ? ": " : "",
			what, found);
}

static enum agi_err no_memory(struct agi_why *why)
{
	return agi_fail(why, AGI_E_NOMEM, "out of memory");
}

/* --- numbers
 * -----------------------------------------------------------------------------------------------------
 */
/* Digits with a sign; everything else is refused. */
static bool text_to_int(const char *z, size_t n, bool *is_negative, uint64_t *magnitude)
{
	char *end;

	*is_negative = n && z[0] == '-';
	z += *is_negative;
	n -= *is_negative;
	if (n == 0 || strspn(z, "0123456789") != n)
		return false;
	errno = 0;
	*magnitude = strtoull(z, &end, 10);
	return errno == 0;
}

/* A whole number, as a number or a string, into sign and magnitude. */
static bool json_to_int(const json_t *v, bool *is_negative, uint64_t *magnitude)
{
	double d;

	if (json_is_string(v))
		return text_to_int(json_string_value(v), json_string_length(v), is_negative,
				   magnitude);
	if (json_is_integer(v)) {
		json_int_t i = json_integer_value(v);

		*is_negative = i < 0;
		*magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
		return true;
	}
	if (!json_is_real(v))
		return false;
	d = json_real_value(v);
	*is_negative = d < 0;
	d = fabs(d);
	if (d != floor(d) || d >= 18446744073709551616.0)
		return false;
	*magnitude = (uint64_t)d;
	return true;
}

static bool is_signed(ProtobufCType t)
{
	return t != PROTOBUF_C_TYPE_UINT32 && t != PROTOBUF_C_TYPE_FIXED32 &&
	       t != PROTOBUF_C_TYPE_UINT64 && t != PROTOBUF_C_TYPE_FIXED64;
}

static enum agi_err read_integer(const ProtobufCFieldDescriptor *f, const json_t *v, void *to,
				 const struct place *at, struct agi_why *why)
{
	static const char *const ranges[2][2] = {
	    {"a whole number 0..4294967295", "a whole number -2147483648..2147483647"},
	    {"a whole number 0..18446744073709551615",
	     "a whole number -9223372036854775808..9223372036854775807"}};
	size_t bytes = agi_pb_element_bytes(f);
	bool has_sign = is_signed(f->type), is_negative;
	uint64_t m, max = (bytes == 8 ? UINT64_MAX : UINT32_MAX) >> has_sign;

	if (!json_to_int(v, &is_negative, &m) || m > max + (has_sign && is_negative) ||
	    (is_negative && !has_sign && m))
		return expected(why, at, v, ranges[bytes == 8][has_sign]);
	m = is_negative ? 0 - m : m;
	if (bytes == 8) {
		memcpy(to, &m, 8);
	} else {
		uint32_t m32 = (uint32_t)m;

		memcpy(to, &m32, 4);
	}
	return AGI_OK;
}

static bool json_to_real(const json_t *v, double *out)
{
	const char *z = json_string_value(v);
	char *end;

	if (json_is_number(v)) {
		*out = json_number_value(v);
		return true;
	}
	if (!z || strlen(z) != json_string_length(v))
		return false;
	if (!strcmp(z, "NaN") || !strcmp(z, "Infinity") || !strcmp(z, "-Infinity")) {
		*out = z[0] == 'N' ? NAN : z[0] == '-' ? -INFINITY : INFINITY;
		return true;
	}
	*out = strtod(z, &end);
	return z[0] && strspn(z, "0123456789+-.eE") == strlen(z) && !*end && isfinite(*out);
}

static enum agi_err read_real(const ProtobufCFieldDescriptor *f, const json_t *v, void *to,
			      const struct place *at, struct agi_why *why)
{
	bool is_float = f->type == PROTOBUF_C_TYPE_FLOAT;
	double d;
	float narrow;

	if (!json_to_real(v, &d))
		return expected(why, at, v, "a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
	if (!is_float) {
		memcpy(to, &d, sizeof d);
		return AGI_OK;
	}
	narrow = (float)d;
	if (isinf(narrow) && !isinf(d))
		return expected(why, at, v, "a number of at most 3.4028235e38");
	memcpy(to, &narrow, sizeof narrow);
	return AGI_OK;
}

static enum agi_err unknown_enum(const ProtobufCEnumDescriptor *d, const json_t *v,
				 const struct place *at, struct agi_why *why)
{
	char names[200] = "";

	for (unsigned i = 0; i < d->n_value_names; i++) {
		size_t n = strlen(names);

		snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "one of ",
			 d->values_by_name[i].name);
	}
	return expected(why, at, v, names);
}

static enum agi_err read_enum(const ProtobufCFieldDescriptor *f, const json_t *v, void *to,
			      const struct place *at, struct agi_why *why)
{
	const ProtobufCEnumDescriptor *d = f->descriptor;
	const ProtobufCEnumValue *e;

	if (json_is_integer(v))
		return read_integer(f, v, to, at, why);
	e = json_is_string(v)
		? protobuf_c_enum_descriptor_get_value_by_name(d, json_string_value(v))
		: NULL;
	if (!e)
		return unknown_enum(d, v, at, why);
	memcpy(to, &e->value, sizeof e->value);
	return AGI_OK;
}

/* --- strings and bytes ----------------------------------------------------------------------- */
static enum agi_err store_bytes(ProtobufCBinaryData *to, const void *p, size_t n,
				struct agi_why *why)
{
	uint8_t *copy = NULL;

	if (n) {
		copy = malloc(n);
		if (!copy)
			return no_memory(why);
		memcpy(copy, p, n);
	}
	*to = (ProtobufCBinaryData){n, copy};
	return AGI_OK;
}

/* Either alphabet, with or without padding, into the one libsodium takes. */
static size_t plain_base64(char *z, size_t n)
{
	while (n && z[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		z[i] = z[i] == '-' ? '+' : z[i] == '_' ? '/' : z[i];
	return n;
}

static enum agi_err read_base64(const json_t *v, ProtobufCBinaryData *to, const struct place *at,
				struct agi_why *why)
{
	size_t n = json_string_length(v), done = 0;
	char *z = malloc(n + 1);
	uint8_t *bytes = malloc(n + 1);
	enum agi_err e = AGI_OK;

	if (!z || !bytes) {
		e = no_memory(why);
		goto out;
	}
	memcpy(z, json_string_value(v), n);
	n = plain_base64(z, n);
	if (sodium_base642bin(bytes, n + 1, z, n, NULL, &done, NULL,
			      sodium_base64_VARIANT_ORIGINAL_NO_PADDING))
		e = expected(why, at, v, "base64");
	else
		e = store_bytes(to, bytes, done, why);
out:
	free(z);
	free(bytes);
	return e;
}

static enum agi_err read_text(const ProtobufCFieldDescriptor *f, const json_t *v, void *to,
			      const struct place *at, struct agi_why *why)
{
	if (!json_is_string(v))
		return expected(why, at, v,
				agi_pb_is_string(f) ? "a string" : "a string of base64");
	if (f->type == PROTOBUF_C_TYPE_STRING) {
		char *copy = strdup(json_string_value(v));

		*(char **)to = copy;
		return copy ? AGI_OK : no_memory(why);
	}
	if (agi_pb_is_string(f))
		return store_bytes(to, json_string_value(v), json_string_length(v), why);
	return read_base64(v, to, at, why);
}

/* --- messages
 * -----------------------------------------------------------------------------------------------------
 */
static enum agi_err read_message(ProtobufCMessage *m, const json_t *v, const struct place *at,
				 struct agi_why *why);

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = malloc(d->sizeof_message);

	if (m)
		d->message_init(m);
	return m;
}

/* One value into zeroed memory. What it allocates is found there and freed with the message. */
static enum agi_err read_value(const ProtobufCFieldDescriptor *f, const json_t *v, void *to,
			       const struct place *at, struct agi_why *why)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		return read_real(f, v, to, at, why);
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_is_boolean(v))
			return expected(why, at, v, "true or false");
		*(protobuf_c_boolean *)to = json_is_true(v);
		return AGI_OK;
	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(f, v, to, at, why);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
		return read_text(f, v, to, at, why);
	case PROTOBUF_C_TYPE_MESSAGE:
		*(ProtobufCMessage **)to = new_message(f->descriptor);
		return *(void **)to ? read_message(*(ProtobufCMessage **)to, v, at, why)
				    : no_memory(why);
	default:
		return read_integer(f, v, to, at, why);
	}
}

static enum agi_err read_array(const ProtobufCFieldDescriptor *f, const json_t *v, size_t *count,
			       void **array, const struct place *at, struct agi_why *why)
{
	size_t n = json_array_size(v), each = agi_pb_element_bytes(f);
	enum agi_err e = AGI_OK;

	if (!json_is_array(v))
		return expected(why, at, v, "an array");
	if (n == 0)
		return AGI_OK;
	*array = calloc(n, each);
	if (!*array)
		return no_memory(why);
	for (size_t i = 0; i < n && !e; i++) {
		struct place here = {at, NULL, i};

		*count = i + 1;
		e = read_value(f, json_array_get(v, i), (char *)*array + i * each, &here, why);
	}
	return e;
}

static enum agi_err read_key(const ProtobufCFieldDescriptor *f, const char *key, size_t key_bytes,
			     void *to, const struct place *at, struct agi_why *why)
{
	json_t *v;
	enum agi_err e;

	if (f->type == PROTOBUF_C_TYPE_BOOL)
		v = !strcmp(key, "true")    ? json_true()
		    : !strcmp(key, "false") ? json_false()
					    : json_null();
	else
		v = json_stringn(key, key_bytes);
	if (!v)
		return no_memory(why);
	e = read_value(f, v, to, at, why);
	json_decref(v);
	return e;
}

static enum agi_err read_entry(ProtobufCMessage *entry, const char *key, size_t key_bytes,
			       const json_t *v, const struct place *at, struct agi_why *why)
{
	const ProtobufCFieldDescriptor *f = entry->descriptor->fields;
	enum agi_err e = read_key(&f[0], key, key_bytes, (char *)entry + f[0].offset, at, why);

	return e ? e : read_value(&f[1], v, (char *)entry + f[1].offset, at, why);
}

static enum agi_err read_map(const ProtobufCFieldDescriptor *f, const json_t *v, size_t *count,
			     void **array, const struct place *at, struct agi_why *why)
{
	ProtobufCMessage **entry;
	enum agi_err e = AGI_OK;
	const char *key;
	size_t key_bytes;
	json_t *value;

	if (!json_is_object(v))
		return expected(why, at, v, "an object");
	entry = calloc(json_object_size(v) + 1, sizeof *entry);
	*array = entry;
	if (!entry)
		return no_memory(why);
	json_object_keylen_foreach((json_t *)v, key, key_bytes, value)
	{
		struct place here = {at, key, 0};

		entry[*count] = new_message(f->descriptor);
		if (!entry[*count])
			return no_memory(why);
		++*count;
		e = read_entry(entry[*count - 1], key, key_bytes, value, &here, why);
		if (e)
			break;
	}
	return e;
}

static enum agi_err read_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
			       const json_t *v, const struct place *at, struct agi_why *why)
{
	void *to = (char *)m + f->offset, *quantifier = (char *)m + f->quantifier_offset;

	if (agi_pb_is_map(f))
		return read_map(f, v, quantifier, to, at, why);
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return read_array(f, v, quantifier, to, at, why);
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		if (*(uint32_t *)quantifier)
			return expected(why, at, v, "one member of its oneof only");
		*(uint32_t *)quantifier = f->id;
		memset(to, 0, agi_pb_element_bytes(f));
	} else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_MESSAGE &&
		   f->type != PROTOBUF_C_TYPE_STRING) {
		*(protobuf_c_boolean *)quantifier = 1;
	}
	return read_value(f, v, to, at, why);
}

/* name is the field's own or its lowerCamelCase form. */
static bool is_name_of(const char *field, const char *name)
{
	const char *f = field, *n = name;

	if (strcmp(field, name) == 0)
		return true;
	for (; *f && *n; f++, n++) {
		if (*f == '_' && f[1] >= 'a' && f[1] <= 'z' && *n == f[1] - 'a' + 'A')
			f++;
		else if (*f != *n)
			return false;
	}
	return !*f && !*n;
}

static enum agi_err no_field(const ProtobufCMessageDescriptor *d, const struct place *at,
			     struct agi_why *why)
{
	char path[PATH_MAX_BYTES], names[160] = "";

	for (unsigned i = 0; i < d->n_fields; i++) {
		size_t n = strlen(names);

		snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", d->fields[i].name);
	}
	path_of(at, path, sizeof path);
	return agi_fail(why, AGI_E_INVALID, "%s: no such field; %s has %s", path, d->short_name,
			d->n_fields ? names : "none");
}

static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *d,
						const char *name)
{
	for (unsigned i = 0; i < d->n_fields; i++)
		if (is_name_of(d->fields[i].name, name))
			return &d->fields[i];
	return NULL;
}

/* The same field under its other name, too. */
static bool is_twice(const ProtobufCMessageDescriptor *d, const json_t *v,
		     const ProtobufCFieldDescriptor *f, const char *name)
{
	return strcmp(f->name, name) != 0 && json_object_get(v, f->name) && field_of(d, name) == f;
}

static enum agi_err read_message(ProtobufCMessage *m, const json_t *v, const struct place *at,
				 struct agi_why *why)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	const char *name;
	json_t *value;
	char what[96];

	if (!json_is_object(v)) {
		snprintf(what, sizeof what, "an object (%s)", d->short_name);
		return expected(why, at, v, what);
	}
	json_object_foreach((json_t *)v, name, value)
	{
		const ProtobufCFieldDescriptor *f = field_of(d, name);
		struct place here = {at, name, 0};
		enum agi_err e = AGI_OK;

		if (!f)
			e = no_field(d, &here, why);
		else if (is_twice(d, v, f, name))
			e = expected(why, &here, value, "the field once, not under both its names");
		else if (!json_is_null(value))
			e = read_field(m, f, value, &here, why);
		if (e)
			return e;
	}
	return AGI_OK;
}

enum agi_err agi_pbjson_parse(const ProtobufCMessageDescriptor *desc, struct agi_str json,
			      ProtobufCMessage **out, struct agi_why *why)
{
	json_error_t error;
	json_t *v = json_loadb(json.p ? json.p : "", json.n,
			       JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
	ProtobufCMessage *m;
	enum agi_err e;

	if (!v)
		return agi_fail(why, AGI_E_INVALID, "line %d, column %d: %s", error.line,
				error.column, error.text);
	m = new_message(desc);
	e = m ? read_message(m, v, NULL, why) : no_memory(why);
	json_decref(v);
	if (!e)
		*out = m;
	else if (m)
		protobuf_c_message_free_unpacked(m, NULL);
	return e;
}
