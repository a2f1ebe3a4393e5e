/* SPDX-License-Identifier: Apache-2.0 */
#include "pb_json.h"

#include <math.h>
#include <string.h>

/* --- both directions ------------------------------------------------------------------------------ */
static const ProtobufCMessageDescriptor *message_of(const ProtobufCFieldDescriptor *f)
{
	return f->descriptor;
}

static bool is_map(const ProtobufCFieldDescriptor *f)
{
	const char *name = f->type == PROTOBUF_C_TYPE_MESSAGE ? message_of(f)->short_name : "";
	size_t n = strlen(name);

	return f->label == PROTOBUF_C_LABEL_REPEATED && n > 5 && strcmp(name + n - 5, "Entry") == 0;
}

static size_t element_bytes(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
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

static float float_of_json(const json_t *j)
{
	const char *s = json_string_value(j);

	if (!s)
		return (float)json_number_value(j);
	if (strcmp(s, "NaN") == 0)
		return NAN;
	return strcmp(s, "-Infinity") == 0 ? -INFINITY : INFINITY;
}

static struct agi_str text_of_json(const json_t *j)
{
	return (struct agi_str){json_string_value(j), json_string_length(j)};
}

/* --- from JSON ------------------------------------------------------------------------------------ */
static bool set_value(const ProtobufCFieldDescriptor *f, void *to, const json_t *j,
                      struct agi_pool *pool, struct agi_why *why)
{
	const ProtobufCEnumValue *e;
	struct agi_str s;

	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		*(ProtobufCMessage **)to = pb_of_json(f->descriptor, j, pool, why);
		return *(ProtobufCMessage **)to != NULL;
	case PROTOBUF_C_TYPE_BYTES:
		s = json_is_string(j) ? text_of_json(j) : (struct agi_str){NULL, 0};
		*(ProtobufCBinaryData *)to = (ProtobufCBinaryData){s.n, (uint8_t *)s.p};
		return json_is_string(j);
	case PROTOBUF_C_TYPE_FLOAT:
		*(float *)to = float_of_json(j);
		return json_is_number(j) || json_is_string(j);
	case PROTOBUF_C_TYPE_INT32:
		*(int32_t *)to = (int32_t)json_integer_value(j);
		return json_is_integer(j);
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)to = json_is_true(j);
		return json_is_boolean(j);
	case PROTOBUF_C_TYPE_ENUM:
		e = protobuf_c_enum_descriptor_get_value_by_name(f->descriptor, json_string_value(j));
		*(int *)to = e ? e->value : -1;
		return e != NULL;
	default:
		return false;
	}
}

static bool set_map(const ProtobufCFieldDescriptor *f, ProtobufCMessage **to, const json_t *j,
                    struct agi_pool *pool, struct agi_why *why)
{
	const ProtobufCFieldDescriptor *kf = &message_of(f)->fields[0], *vf = &message_of(f)->fields[1];
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)j, key, value) {
		ProtobufCMessage *m = agi_pool_take(pool, 1, message_of(f)->sizeof_message);
		json_t *k = json_string(key);
		struct agi_str s = agi_pool_copy(pool, text_of_json(k));

		json_decref(k);
		protobuf_c_message_init(f->descriptor, m);
		*(ProtobufCBinaryData *)((char *)m + kf->offset) =
		    (ProtobufCBinaryData){s.n, (uint8_t *)s.p};
		if (!set_value(vf, (char *)m + vf->offset, value, pool, why))
			return false;
		*to++ = m;
	}
	return true;
}

static bool set_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const json_t *j,
                      struct agi_pool *pool, struct agi_why *why)
{
	void *at = (char *)m + f->offset;
	size_t n = is_map(f) ? json_object_size(j) : json_array_size(j);
	char *array;

	if (f->label != PROTOBUF_C_LABEL_REPEATED)
		return set_value(f, at, j, pool, why);
	if (!n)
		return true;
	array = agi_pool_take(pool, n, element_bytes(f));
	*(void **)at = array;
	*(size_t *)((char *)m + f->quantifier_offset) = n;
	if (is_map(f))
		return set_map(f, (ProtobufCMessage **)array, j, pool, why);
	for (size_t i = 0; i < n; i++)
		if (!set_value(f, array + i * element_bytes(f), json_array_get(j, i), pool, why))
			return false;
	return true;
}

ProtobufCMessage *pb_of_json(const ProtobufCMessageDescriptor *d, const json_t *j,
                             struct agi_pool *pool, struct agi_why *why)
{
	ProtobufCMessage *m = agi_pool_take(pool, 1, d->sizeof_message);
	const char *key;
	json_t *value;

	protobuf_c_message_init(d, m);
	json_object_foreach((json_t *)j, key, value) {
		const ProtobufCFieldDescriptor *f =
		    protobuf_c_message_descriptor_get_field_by_name(d, key);

		if (!f || !set_field(m, f, value, pool, why)) {
			(void)agi_fail(why, AGI_E_INVALID, "%s.%s: unknown or of a wrong type",
			               d->short_name, key);
			return NULL;
		}
	}
	return m;
}

/* --- comparison ----------------------------------------------------------------------------------- */
static bool differs(struct agi_why *why, const ProtobufCFieldDescriptor *f, const char *how)
{
	struct agi_why inner = *why;

	(void)agi_fail(why, AGI_E_INVALID, "%s%s%.250s", f->name, how[0] ? ": " : ".",
	               how[0] ? how : inner.text);
	return false;
}

static bool float_equals(float a, float b)
{
	return (isnan(a) && isnan(b)) || memcmp(&a, &b, 4) == 0;
}

static bool value_equals(const ProtobufCFieldDescriptor *f, const void *at, const json_t *j,
                         struct agi_why *why)
{
	const ProtobufCBinaryData *d = at;
	const ProtobufCEnumValue *e;
	struct agi_why text;

	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		if (!*(ProtobufCMessage *const *)at != !j)
			return differs(why, f, j ? "missing" : "should be absent");
		return !j || pb_equals_json(*(ProtobufCMessage *const *)at, j, why) ||
		       differs(why, f, "");
	case PROTOBUF_C_TYPE_BYTES:
		if (agi_str_eq((struct agi_str){(char *)d->data, d->len}, text_of_json(j)))
			return true;
		(void)agi_fail(&text, AGI_E_INVALID, "\"%.*s\", expected \"%s\"", (int)d->len,
		               d->data ? (char *)d->data : "", j ? json_string_value(j) : "");
		return differs(why, f, text.text);
	case PROTOBUF_C_TYPE_FLOAT:
		if (float_equals(*(const float *)at, j ? float_of_json(j) : 0.0f))
			return true;
		(void)agi_fail(&text, AGI_E_INVALID, "%.9g, expected %.9g",
		               (double)*(const float *)at, j ? (double)float_of_json(j) : 0.0);
		return differs(why, f, text.text);
	case PROTOBUF_C_TYPE_INT32:
		return *(const int32_t *)at == json_integer_value(j) || differs(why, f, "integer");
	case PROTOBUF_C_TYPE_BOOL:
		return !*(const protobuf_c_boolean *)at == !json_is_true(j) ||
		       differs(why, f, "boolean");
	case PROTOBUF_C_TYPE_ENUM:
		e = protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)at);
		return (!j && *(const int *)at == 0) ||
		       (e && j && strcmp(e->name, json_string_value(j)) == 0) ||
		       differs(why, f, e ? e->name : "unknown number");
	default:
		return differs(why, f, "type not compared");
	}
}

static bool map_equals(const ProtobufCFieldDescriptor *f, ProtobufCMessage *const *entries, size_t n,
                       const json_t *j, struct agi_why *why)
{
	const ProtobufCFieldDescriptor *kf = &message_of(f)->fields[0], *vf = &message_of(f)->fields[1];

	if (n != json_object_size(j))
		return differs(why, f, "another number of entries");
	for (size_t i = 0; i < n; i++) {
		const ProtobufCBinaryData *k = (const void *)((char *)entries[i] + kf->offset);
		json_t *v = json_object_getn(j, (char *)k->data, k->len);

		if (!v)
			return differs(why, f, "an entry that is not expected");
		if (!value_equals(vf, (char *)entries[i] + vf->offset, v, why))
			return differs(why, f, "");
	}
	return true;
}

static bool field_equals(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const json_t *j,
                         struct agi_why *why)
{
	const char *at = (const char *)m + f->offset;
	const char *array;
	size_t n;

	if (f->label != PROTOBUF_C_LABEL_REPEATED)
		return value_equals(f, at, j, why);
	n = *(const size_t *)((const char *)m + f->quantifier_offset);
	array = *(const char *const *)at;
	if (is_map(f))
		return map_equals(f, (ProtobufCMessage *const *)array, n, j, why);
	if (n != json_array_size(j))
		return differs(why, f, "another number of elements");
	for (size_t i = 0; i < n; i++)
		if (!value_equals(f, array + i * element_bytes(f), json_array_get(j, i), why))
			return false;
	return true;
}

bool pb_equals_json(const ProtobufCMessage *m, const json_t *j, struct agi_why *why)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)j, key, value)
		if (!protobuf_c_message_descriptor_get_field_by_name(m->descriptor, key)) {
			(void)agi_fail(why, AGI_E_INVALID, "%s: no such field", key);
			return false;
		}
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

		if (!field_equals(m, f, json_object_get(j, f->name), why))
			return false;
	}
	return true;
}
