/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_meta.h"

#include <nghttp2/nghttp2.h>
#include <sodium.h>
#include <stdlib.h>

struct agi_str agi_meta_find(const struct agi_buf *list, struct agi_str name)
{
	struct agi_str n, v;
	size_t at = 0;

	while (agi_pairs_next(list, &at, &n, &v))
		if (agi_str_eq(n, name))
			return v;
	return (struct agi_str){NULL, 0};
}

bool agi_meta_is_binary(struct agi_str name)
{
	return name.n > 4 && memcmp(name.p + name.n - 4, "-bin", 4) == 0;
}

/* --- base64 ---------------------------------------------------------------------------------- */
static struct agi_str strip(struct agi_str s, char c)
{
	while (s.n && s.p[s.n - 1] == c)
		s.n--;
	return s;
}

static enum agi_err take_one(struct agi_buf *list, struct agi_str name, struct agi_str text)
{
	uint8_t small[256], *to = text.n < sizeof small ? small : malloc(text.n + 1);
	enum agi_err e = AGI_E_MALFORMED;
	size_t n;

	if (!to)
		return AGI_E_NOMEM;
	text = strip(text, '=');
	if (sodium_base642bin(to, text.n + 1, text.p, text.n, NULL, &n, NULL,
			      sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0) {
		agi_pairs_put(list, name, (struct agi_str){(const char *)to, n});
		e = list->err;
	}
	if (to != small)
		free(to);
	return e;
}

static struct agi_str trim(struct agi_str s)
{
	while (s.n && s.p[0] == ' ')
		s = (struct agi_str){s.p + 1, s.n - 1};
	return strip(s, ' ');
}

enum agi_err agi_meta_take(struct agi_buf *list, struct agi_str name, struct agi_str value)
{
	size_t before = list->n;
	enum agi_err e = AGI_OK;

	if (!agi_meta_is_binary(name)) {
		agi_pairs_put(list, name, value);
		return list->err;
	}
	for (bool more = true; more && !e;) {
		const char *comma = value.n ? memchr(value.p, ',', value.n) : NULL;
		size_t n = comma ? (size_t)(comma - value.p) : value.n;

		e = take_one(list, name, trim((struct agi_str){value.p, n}));
		more = comma != NULL;
		if (more)
			value = (struct agi_str){comma + 1, value.n - n - 1};
	}
	if (e)
		list->n = before;
	return e;
}

static void put_encoded(struct agi_buf *list, struct agi_str name, struct agi_str value)
{
	const int variant = sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
	size_t room = sodium_base64_encoded_len(value.n, variant); /* with the terminator */
	char small[512], *to = room <= sizeof small ? small : malloc(room);

	if (!to) {
		list->err = AGI_E_NOMEM;
		return;
	}
	sodium_bin2base64(to, room, (const uint8_t *)value.p, value.n, variant);
	agi_pairs_put(list, name, (struct agi_str){to, room - 1});
	if (to != small)
		free(to);
}

enum agi_err agi_meta_give(struct agi_buf *list, struct agi_str name, struct agi_str value)
{
	if (!nghttp2_check_header_name((const uint8_t *)name.p, name.n) || name.p[0] == ':')
		return AGI_E_INVALID;
	if (agi_meta_is_binary(name))
		put_encoded(list, name, value);
	else if (nghttp2_check_header_value((const uint8_t *)value.p, value.n))
		agi_pairs_put(list, name, value);
	else
		return AGI_E_INVALID;
	return list->err;
}

bool agi_meta_is_reserved(struct agi_str name)
{
	return agi_str_has_prefix(name, AGI_STR("grpc-")) || agi_str_eq(name, AGI_STR("te")) ||
	       agi_str_eq(name, AGI_STR("content-type")) || (name.n && name.p[0] == ':');
}
