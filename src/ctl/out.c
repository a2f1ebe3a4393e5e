/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/out.h"

#include <errno.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum ctl_exit ctl_write(const struct ctl *c, struct agi_str bytes)
{
	if ((bytes.n == 0 || fwrite(bytes.p, bytes.n, 1, stdout) == 1) && fflush(stdout) == 0)
		return CTL_OK;
	return ctl_error(c, CTL_FAILED, "cannot write to standard output: %s", strerror(errno));
}

enum ctl_exit ctl_say(const struct ctl *c, const char *fmt, ...)
{
	char text[500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return ctl_write(c, agi_str_of(text));
}

enum ctl_exit ctl_print_table(const struct ctl *c, struct ctl_table *t)
{
	struct agi_buf out;
	enum agi_err e;
	enum ctl_exit code;

	agi_buf_init(&out, 0);
	e = ctl_table_render(t, c->has_colour, &out);
	code = e == AGI_OK
		   ? ctl_write(c, agi_buf_str(&out))
		   : ctl_error(c, CTL_FAILED, "cannot print the answer: %s", agi_err_text(e));
	agi_buf_free(&out);
	ctl_table_free(t);
	return code;
}

enum ctl_exit ctl_print_json_take(const struct ctl *c, json_t *doc)
{
	char *text = json_dumps(doc, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	enum ctl_exit code;

	json_decref(doc);
	if (!text)
		return ctl_error(c, CTL_FAILED, "cannot write the answer as JSON");
	code = ctl_write(c, agi_str_of(text));
	if (code == CTL_OK)
		code = ctl_write(c, AGI_STR("\n"));
	free(text);
	return code;
}

void ctl_set(json_t *object, const char *key, json_t *value_take)
{
	if (json_object_set_new(object, key, value_take) != 0)
		abort(); /* only a NULL or a key that is not UTF-8: our own bug */
}

void ctl_set_u64(json_t *object, const char *key, uint64_t v)
{
	ctl_set(object, key, json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v));
}

json_t *ctl_json_str(struct agi_str s)
{
	if (s.n == 0 || !agi_utf8_is_valid(s))
		return json_string("");
	return json_stringn(s.p, s.n);
}

json_t *ctl_json_strs(const ProtobufCBinaryData *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, ctl_json_str(ctl_str(v[i])));
	return a;
}

json_t *ctl_json_float(float v)
{
	char text[32];

	if (!isfinite(v))
		return json_null();
	for (int digits = 1; digits <= 9; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, (double)v);
		if (strtof(text, NULL) == v)
			break;
	}
	return json_real(strtod(text, NULL));
}

void ctl_set_bytes(json_t *object, const char *key, struct agi_str s)
{
	size_t size = sodium_base64_ENCODED_LEN(s.n, sodium_base64_VARIANT_ORIGINAL);
	char name[64], *text;

	if (agi_utf8_is_valid(s)) {
		ctl_set(object, key, ctl_json_str(s));
		return;
	}
	snprintf(name, sizeof name, "%s_base64", key);
	text = ctl_alloc(size);
	sodium_bin2base64(text, size, (const unsigned char *)s.p, s.n,
			  sodium_base64_VARIANT_ORIGINAL);
	ctl_set(object, name, json_string(text));
	free(text);
}

void ctl_set_ms(json_t *object, const char *key, double ms)
{
	ctl_set(object, key, ms >= 0 && isfinite(ms) ? json_real(ms) : json_null());
}

struct agi_str ctl_short_id(ProtobufCBinaryData id)
{
	struct agi_str s = ctl_str(id);

	if (s.n > 12)
		s.n = 12;
	return s.n ? s : AGI_STR("-");
}

struct agi_str ctl_or_dash(ProtobufCBinaryData s) { return s.len ? ctl_str(s) : AGI_STR("-"); }
