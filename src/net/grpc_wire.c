/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_wire.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "base/limits.h"

/* --- timeouts -------------------------------------------------------------------------------- */
bool agi_grpc_timeout_parse(struct agi_str text, uint64_t *out_us)
{
	uint64_t v = 0;

	if (text.n < 2 || text.n > 9)
		return false;
	for (size_t i = 0; i + 1 < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text.p[i] - '0');
	}
	switch (text.p[text.n - 1]) {
	case 'n':
		v = (v + 999) / 1000;
		break;
	case 'u':
		break;
	case 'm':
		v *= 1000;
		break;
	case 'S':
		v *= 1000000;
		break;
	case 'M':
		v *= 60000000ull;
		break;
	case 'H':
		v *= 3600000000ull;
		break;
	default:
		return false;
	}
	*out_us = v;
	return true;
}

size_t agi_grpc_timeout_format(char out[AGI_GRPC_TIMEOUT_TEXT], uint64_t us)
{
	static const struct {
		uint64_t us;
		char letter;
	} units[] = {{1, 'u'}, {1000, 'm'}, {1000000, 'S'}, {60000000, 'M'}, {3600000000ull, 'H'}};
	size_t i = 0;
	uint64_t v = us;

	while (v > 99999999 && i + 1 < sizeof units / sizeof *units) {
		i++;
		v = us / units[i].us + (us % units[i].us != 0);
	}
	if (v > 99999999)
		v = 99999999;
	return (size_t)snprintf(out, AGI_GRPC_TIMEOUT_TEXT, "%u%c", (unsigned)v, units[i].letter);
}

/* --- grpc-message ---------------------------------------------------------------------------- */
static const char hex_digits[] = "0123456789ABCDEF";

void agi_grpc_percent_encode(struct agi_buf *out, struct agi_str text)
{
	if (text.n > AGI_GRPC_MESSAGE_MAX) {
		text.n = AGI_GRPC_MESSAGE_MAX;
		while (text.n > 0 && ((uint8_t)text.p[text.n] & 0xc0) == 0x80)
			text.n--;
	}
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = (uint8_t)text.p[i];

		if (c >= 0x20 && c <= 0x7e && c != '%') {
			agi_buf_u8(out, c);
			continue;
		}
		agi_buf_u8(out, '%');
		agi_buf_u8(out, (uint8_t)hex_digits[c >> 4]);
		agi_buf_u8(out, (uint8_t)hex_digits[c & 15]);
	}
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

void agi_grpc_percent_decode(struct agi_buf *out, struct agi_str text)
{
	for (size_t i = 0; i < text.n; i++) {
		int hi = text.p[i] == '%' && text.n - i > 2 ? hex_value(text.p[i + 1]) : -1;
		int lo = hi >= 0 ? hex_value(text.p[i + 2]) : -1;

		if (lo < 0) {
			agi_buf_u8(out, (uint8_t)text.p[i]);
			continue;
		}
		agi_buf_u8(out, (uint8_t)(hi << 4 | lo));
		i += 2;
	}
}

/* --- statuses -------------------------------------------------------------------------------- */
enum agi_grpc_status agi_grpc_status_parse(struct agi_str text)
{
	unsigned v = 0;

	if (text.n == 0 || text.n > 2)
		return AGI_GRPC_UNKNOWN;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return AGI_GRPC_UNKNOWN;
		v = v * 10 + (unsigned)(text.p[i] - '0');
	}
	return v <= AGI_GRPC_UNAUTHENTICATED ? (enum agi_grpc_status)v : AGI_GRPC_UNKNOWN;
}

enum agi_grpc_status agi_grpc_status_of_http(int http_status)
{
	switch (http_status) {
	case 400:
		return AGI_GRPC_INTERNAL;
	case 401:
		return AGI_GRPC_UNAUTHENTICATED;
	case 403:
		return AGI_GRPC_PERMISSION_DENIED;
	case 404:
		return AGI_GRPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return AGI_GRPC_UNAVAILABLE;
	default:
		return AGI_GRPC_UNKNOWN;
	}
}

enum agi_grpc_status agi_grpc_status_of_h2(uint32_t error_code)
{
	switch (error_code) {
	case NGHTTP2_REFUSED_STREAM:
		return AGI_GRPC_UNAVAILABLE;
	case NGHTTP2_CANCEL:
		return AGI_GRPC_CANCELLED;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return AGI_GRPC_RESOURCE_EXHAUSTED;
	case NGHTTP2_INADEQUATE_SECURITY:
		return AGI_GRPC_PERMISSION_DENIED;
	default:
		return AGI_GRPC_INTERNAL;
	}
}

bool agi_grpc_is_content_type(struct agi_str value)
{
	static const struct agi_str grpc = {"application/grpc", 16};

	return agi_str_has_prefix(value, grpc) &&
	       (value.n == grpc.n || value.p[grpc.n] == '+' || value.p[grpc.n] == ';');
}

/* --- details --------------------------------------------------------------------------------- */
static void put_tagged(struct agi_buf *out, uint8_t field, struct agi_str value)
{
	size_t n = value.n;

	agi_buf_u8(out, (uint8_t)(field << 3 | 2));
	for (; n > 0x7f; n >>= 7)
		agi_buf_u8(out, (uint8_t)(n | 0x80));
	agi_buf_u8(out, (uint8_t)n);
	agi_buf_put_str(out, value);
}

static void put_number(struct agi_buf *out, uint8_t field, uint64_t v)
{
	agi_buf_u8(out, (uint8_t)(field << 3));
	for (; v > 0x7f; v >>= 7)
		agi_buf_u8(out, (uint8_t)(v | 0x80));
	agi_buf_u8(out, (uint8_t)v);
}

/* One of Status.details: Any {type_url = 1, value = 2}. */
static void put_detail(struct agi_buf *out, struct agi_str type_url, const struct agi_buf *value)
{
	struct agi_buf any;

	agi_buf_init(&any, 0);
	put_tagged(&any, 1, type_url);
	put_tagged(&any, 2, agi_buf_str(value));
	put_tagged(out, 3, agi_buf_str(&any));
	if (value->err || any.err)
		out->err = AGI_E_NOMEM;
	agi_buf_free(&any);
}

/* RetryInfo {retry_delay = 1}, Duration {seconds = 1, nanos = 2} */
static void put_retry(struct agi_buf *out, uint32_t ms)
{
	struct agi_buf delay, info;

	agi_buf_init(&delay, 0);
	agi_buf_init(&info, 0);
	put_number(&delay, 1, ms / 1000);
	put_number(&delay, 2, (uint64_t)(ms % 1000) * 1000000);
	put_tagged(&info, 1, agi_buf_str(&delay));
	put_detail(out, AGI_STR("type.googleapis.com/google.rpc.RetryInfo"), &info);
	agi_buf_free(&delay);
	agi_buf_free(&info);
}

/* Status {code = 1, message = 2, details = 3}, ErrorInfo {reason = 1, domain = 2}
 * (google/rpc/status.proto, error_details.proto). */
void agi_grpc_put_details(struct agi_buf *out, enum agi_grpc_status status, struct agi_str message,
			  struct agi_str reason, uint32_t retry_ms)
{
	struct agi_buf info;

	agi_buf_init(&info, 0);
	put_tagged(&info, 1, reason);
	put_tagged(&info, 2, AGI_STR("agihpc"));
	put_number(out, 1, (uint64_t)status);
	put_tagged(out, 2, message);
	put_detail(out, AGI_STR("type.googleapis.com/google.rpc.ErrorInfo"), &info);
	if (retry_ms)
		put_retry(out, retry_ms);
	agi_buf_free(&info);
	if (out->err)
		agi_buf_reset(out); /* no details are better than wrong ones */
}
