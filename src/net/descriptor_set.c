/* SPDX-License-Identifier: Apache-2.0 */
#include "net/descriptor_set.h"

#include "net/pb_scan.h"

/* Field numbers of descriptor.proto. */
enum {
	SET_FILE = 1,
	ANY_NAME = 1, /* of every descriptor */
	FILE_PACKAGE = 2,
	FILE_IMPORT = 3,
	FILE_MESSAGE = 4,
	FILE_ENUM = 5,
	FILE_SERVICE = 6,
	FILE_EXTENSION = 7,
	MESSAGE_FIELD = 2,
	MESSAGE_NESTED = 3,
	MESSAGE_ENUM = 4,
	MESSAGE_EXTENSION = 6,
	MESSAGE_ONEOF = 8,
	ENUM_VALUE = 2,
	SERVICE_METHOD = 2
};

/* The next field of that number with bytes in it; false at the end. */
static bool next(struct agi_str *s, uint32_t number, struct agi_str *out)
{
	while (s->n) {
		const uint8_t *end = (const uint8_t *)s->p + s->n;
		struct agi_pb_span span = {(const uint8_t *)s->p, end};
		struct agi_pb_field f;
		const char *what;

		span.p = agi_pb_read_tag(span, &f, &what);
		if (span.p)
			span.p = agi_pb_read_value(span, &f, 0, &what);
		if (!span.p)
			return false;
		*s = (struct agi_str){(const char *)span.p, (size_t)(end - span.p)};
		if (f.number == number && f.wire == AGI_PB_WIRE_BYTES) {
			struct agi_pb_span v = agi_pb_payload(&f);

			*out = (struct agi_str){(const char *)v.p, (size_t)(v.end - v.p)};
			return true;
		}
	}
	return false;
}

static struct agi_str first(struct agi_str s, uint32_t number)
{
	struct agi_str v;

	return next(&s, number, &v) ? v : (struct agi_str){"", 0};
}

struct agi_str agi_descriptor_file(struct agi_str set, struct agi_str name)
{
	struct agi_str file;

	while (next(&set, SET_FILE, &file))
		if (agi_str_eq(first(file, ANY_NAME), name))
			return file;
	return (struct agi_str){NULL, 0};
}

/* --- symbols --------------------------------------------------------------------------------- */
/* Takes "name." off the front. */
static bool enter(struct agi_str *symbol, struct agi_str name)
{
	if (symbol->n <= name.n || !agi_str_has_prefix(*symbol, name) || symbol->p[name.n] != '.')
		return false;
	symbol->p += name.n + 1;
	symbol->n -= name.n + 1;
	return true;
}

static bool has_named(struct agi_str scope, uint32_t number, struct agi_str name)
{
	struct agi_str v;

	while (next(&scope, number, &v))
		if (agi_str_eq(first(v, ANY_NAME), name))
			return true;
	return false;
}

/* An enum of the scope, or a value of one: values belong to the scope their enum is in. */
static bool has_enum(struct agi_str scope, uint32_t number, struct agi_str symbol)
{
	struct agi_str e;

	while (next(&scope, number, &e)) {
		struct agi_str inner = symbol, name = first(e, ANY_NAME);

		if (agi_str_eq(name, symbol) || has_named(e, ENUM_VALUE, symbol))
			return true;
		if (enter(&inner, name) && has_named(e, ENUM_VALUE, inner))
			return true;
	}
	return false;
}

static bool has_message(struct agi_str scope, uint32_t number, struct agi_str symbol,
			bool messages_only)
{
	struct agi_str m;

	while (next(&scope, number, &m)) {
		struct agi_str inner = symbol, name = first(m, ANY_NAME);

		if (agi_str_eq(name, symbol))
			return true;
		if (!enter(&inner, name))
			continue;
		if (has_message(m, MESSAGE_NESTED, inner, messages_only))
			return true;
		if (!messages_only &&
		    (has_enum(m, MESSAGE_ENUM, inner) || has_named(m, MESSAGE_FIELD, inner) ||
		     has_named(m, MESSAGE_ONEOF, inner) || has_named(m, MESSAGE_EXTENSION, inner)))
			return true;
	}
	return false;
}

static bool has_service(struct agi_str file, struct agi_str symbol)
{
	struct agi_str s;

	while (next(&file, FILE_SERVICE, &s)) {
		struct agi_str inner = symbol, name = first(s, ANY_NAME);

		if (agi_str_eq(name, symbol) ||
		    (enter(&inner, name) && has_named(s, SERVICE_METHOD, inner)))
			return true;
	}
	return false;
}

static struct agi_str file_of(struct agi_str set, struct agi_str symbol, bool messages_only)
{
	struct agi_str file;

	while (next(&set, SET_FILE, &file)) {
		struct agi_str inner = symbol, package = first(file, FILE_PACKAGE);

		if (package.n && !enter(&inner, package))
			continue;
		if (has_message(file, FILE_MESSAGE, inner, messages_only) ||
		    (!messages_only &&
		     (has_service(file, inner) || has_enum(file, FILE_ENUM, inner) ||
		      has_named(file, FILE_EXTENSION, inner))))
			return file;
	}
	return (struct agi_str){NULL, 0};
}

struct agi_str agi_descriptor_file_of(struct agi_str set, struct agi_str symbol)
{
	return file_of(set, symbol, false);
}

struct agi_str agi_descriptor_file_of_message(struct agi_str set, struct agi_str symbol)
{
	return file_of(set, symbol, true);
}

/* --- imports --------------------------------------------------------------------------------- */
static bool is_among(const struct agi_str *files, size_t n, struct agi_str file)
{
	for (size_t i = 0; i < n; i++)
		if (files[i].p == file.p)
			return true;
	return false;
}

size_t agi_descriptor_with_imports(struct agi_str set, struct agi_str file,
				   struct agi_str out[AGI_DESCRIPTOR_FILES_MAX])
{
	size_t n = 1;

	out[0] = file;
	for (size_t i = 0; i < n; i++) {
		struct agi_str rest = out[i], name;

		while (n < AGI_DESCRIPTOR_FILES_MAX && next(&rest, FILE_IMPORT, &name)) {
			struct agi_str import = agi_descriptor_file(set, name);

			if (import.p && !is_among(out, n, import))
				out[n++] = import;
		}
	}
	return n;
}

/* Counts *i down by the methods of file; true when it is one of them. */
static bool method_of_file(struct agi_str file, size_t *i, struct agi_descriptor_method *out)
{
	struct agi_str services = file, service, methods, method;

	while (next(&services, FILE_SERVICE, &service))
		for (methods = service; next(&methods, SERVICE_METHOD, &method);)
			if ((*i)-- == 0) {
				*out = (struct agi_descriptor_method){first(file, FILE_PACKAGE),
								      first(service, ANY_NAME),
								      first(method, ANY_NAME)};
				return true;
			}
	return false;
}

bool agi_descriptor_method_at(struct agi_str set, size_t i, struct agi_descriptor_method *out)
{
	struct agi_str file;

	while (next(&set, SET_FILE, &file))
		if (method_of_file(file, &i, out))
			return true;
	return false;
}
