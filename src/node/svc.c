/* SPDX-License-Identifier: Apache-2.0 */
#include "node/svc.h"

#include <stdlib.h>

void agi_svc_links_stats(const struct agi_svc *s, struct agi_links_stats *out)
{
	const struct agi_links_stats *more = s->safety_links;

	agi_links_stats(s->links, out);
	if (!more)
		return;
	out->links += more->links;
	out->bytes_in += more->bytes_in;
	out->bytes_out += more->bytes_out;
	out->messages_in += more->messages_in;
	out->messages_out += more->messages_out;
	out->handshakes_ok += more->handshakes_ok;
	out->handshakes_failed += more->handshakes_failed;
}

bool agi_svc_is_ready(const struct agi_svc *s, char why[128])
{
	struct agi_dht_status st;
	struct agi_why text;

	why[0] = '\0';
	if (s->is_stopping) {
		memcpy(why, "shutting down", sizeof "shutting down");
		return false;
	}
	agi_dht_status(agi_dht_host_core(s->host), &st);
	if (st.is_ready)
		return true;
	agi_fail(&text, AGI_OK, "%s", st.phase[0] ? st.phase : "starting");
	memcpy(why, text.text, 127);
	why[127] = '\0';
	return false;
}

/* --- arguments ------------------------------------------------------------------------------------- */
enum agi_err agi_svc_namespace(struct agi_str *out, ProtobufCBinaryData in, struct agi_why *why)
{
	struct agi_str s = agi_svc_str(in);

	if (s.n > AGI_NAMESPACE_MAX)
		return agi_fail(why, AGI_E_INVALID, "namespace: %zu bytes, expected at most %d", s.n,
		                AGI_NAMESPACE_MAX);
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return agi_fail(why, AGI_E_INVALID, "namespace: holds a control character");
	if (!agi_utf8_is_valid(s))
		return agi_fail(why, AGI_E_INVALID, "namespace: not UTF-8");
	if (agi_str_has_prefix(s, AGI_STR("agihpc.")))
		return agi_fail(why, AGI_E_DENIED, "namespace: \"%.*s\" is the node's own, names beginning with "
		                                   "\"agihpc.\" are reserved", AGI_STR_ARG(s));
	*out = s.n ? s : AGI_STR("default");
	return AGI_OK;
}

enum agi_err agi_svc_key(struct agi_str *out, ProtobufCBinaryData in, struct agi_why *why)
{
	if (in.len == 0 || in.len > AGI_KEY_MAX)
		return agi_fail(why, AGI_E_INVALID, "key: %zu bytes, expected 1..%d", in.len, AGI_KEY_MAX);
	*out = agi_svc_str(in);
	return AGI_OK;
}

static bool is_label_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

enum agi_err agi_svc_service_name(struct agi_str *out, ProtobufCBinaryData in, struct agi_why *why)
{
	struct agi_str s = agi_svc_str(in);
	bool is_good = s.n >= 1 && s.n <= AGI_SERVICE_NAME_MAX && s.p[0] != '-' && s.p[s.n - 1] != '-';

	for (size_t i = 0; is_good && i < s.n; i++)
		is_good = is_label_byte(s.p[i]);
	if (!is_good)
		return agi_fail(why, AGI_E_INVALID,
		                "service: \"%.*s\" is not a name like \"lh-planner\": a-z, 0-9 and '-' "
		                "inside, 1..%d bytes",
		                (int)(s.n < 80 ? s.n : 80), s.p ? s.p : "", AGI_SERVICE_NAME_MAX);
	*out = s;
	return AGI_OK;
}

static enum agi_err address_is_bad(struct agi_str s, const char *what, struct agi_why *why)
{
	return agi_fail(why, AGI_E_INVALID, "address: \"%.*s\": %s, expected host:port as in 10.0.0.5:50051",
	                (int)(s.n < 80 ? s.n : 80), s.p ? s.p : "", what);
}

static bool is_port(struct agi_str s)
{
	unsigned v = 0;

	for (size_t i = 0; i < s.n && i < 6; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	return s.n >= 1 && s.n <= 5 && v >= 1 && v <= 65535;
}

static bool is_host_name(struct agi_str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!is_label_byte(c) && !(c >= 'A' && c <= 'Z') && c != '.' && c != '_')
			return false;
	}
	return s.n >= 1 && s.n <= 255;
}

static bool is_wildcard(const struct agi_addr *a)
{
	static const uint8_t v6[16], v4[16] = {[10] = 0xff, [11] = 0xff};

	return memcmp(a->ip, v6, 16) == 0 || memcmp(a->ip, v4, 16) == 0;
}

enum agi_err agi_svc_address(struct agi_str *out, ProtobufCBinaryData in, struct agi_why *why)
{
	struct agi_str s = agi_svc_str(in);
	const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
	size_t host_n = colon ? (size_t)(colon - s.p) : 0;
	struct agi_addr a;

	if (s.n > AGI_ADDRESS_MAX)
		return address_is_bad(s, "too long", why);
	if (!colon || !is_port((struct agi_str){colon + 1, s.n - host_n - 1}))
		return address_is_bad(s, "no port 1..65535", why);
	if (agi_addr_parse(&a, s, 0, NULL) == AGI_OK) {
		if (is_wildcard(&a))
			return address_is_bad(s, "others cannot connect to a wildcard", why);
	} else if (!is_host_name((struct agi_str){s.p, host_n})) {
		return address_is_bad(s, "not a host", why);
	}
	*out = s;
	return AGI_OK;
}
