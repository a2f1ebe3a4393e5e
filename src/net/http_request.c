/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http_request.h"

#include <stdint.h>
#include <strings.h>

enum { READ_MORE = 0, READ_OK = 200 };

const char *agi_http_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Unknown";
	}
}

/* The next line without its end (CRLF, or LF alone, which RFC 9112 2.2 permits). False when it is
 * not whole. */
static bool next_line(struct agi_str in, size_t *at, struct agi_str *line)
{
	const char *p = in.p + *at, *end = *at < in.n ? memchr(p, '\n', in.n - *at) : NULL;

	if (!end)
		return false;
	*at += (size_t)(end - p) + 1;
	*line = (struct agi_str){p, (size_t)(end - p)};
	if (line->n && line->p[line->n - 1] == '\r')
		line->n--;
	return true;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes; false for a malformed escape, a control character or a NUL. out has room for in
 * and a NUL. */
static bool decode_path(struct agi_str in, char *out)
{
	for (size_t i = 0; i < in.n; i++) {
		int c = (uint8_t)in.p[i];

		if (c == '%') {
			int hi = in.n - i > 2 ? hex(in.p[i + 1]) : -1,
			    lo = hi < 0 ? -1 : hex(in.p[i + 2]);

			if (lo < 0)
				return false;
			c = hi << 4 | lo;
			i += 2;
		}
		if (c < 0x20 || c == 0x7f)
			return false;
		*out++ = (char)c;
	}
	*out = '\0';
	return true;
}

/* "/path?query", or the same after "http://host". */
static bool read_target(struct agi_str t, struct agi_http_request *out)
{
	const char *q;
	size_t n;

	if (t.n > 7 && strncasecmp(t.p, "http://", 7) == 0) {
		const char *slash = memchr(t.p + 7, '/', t.n - 7);

		if (!slash)
			return false;
		t.n -= (size_t)(slash - t.p);
		t.p = slash;
	}
	if (t.n == 0 || t.p[0] != '/')
		return false;
	q = memchr(t.p, '?', t.n);
	n = q ? (size_t)(q - t.p) : t.n;
	if (q) {
		size_t query_bytes = t.n - n - 1;

		memcpy(out->query, q + 1, query_bytes);
		out->query[query_bytes] = '\0';
	} else {
		out->query[0] = '\0';
	}
	return decode_path((struct agi_str){t.p, n}, out->path);
}

bool agi_http_target_read(struct agi_str target, struct agi_http_request *out)
{
	return target.n < AGI_HTTP_LINE_MAX && read_target(target, out);
}

static bool is_token(struct agi_str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((uint8_t)s.p[i] <= 0x20 || (uint8_t)s.p[i] >= 0x7f ||
		    strchr("\"(),/:;<=>?@[\\]{}", s.p[i]))
			return false;
	return s.n > 0;
}

/* METHOD SP target SP HTTP/1.x */
static int read_request_line(struct agi_str line, struct agi_http_request *out)
{
	const char *a = memchr(line.p, ' ', line.n),
		   *b = line.n ? memrchr(line.p, ' ', line.n) : NULL;
	struct agi_str method, target, version;

	if (!a || a == b || memchr(line.p, '\0', line.n))
		return 400;
	method = (struct agi_str){line.p, (size_t)(a - line.p)};
	target = (struct agi_str){a + 1, (size_t)(b - a - 1)};
	version = (struct agi_str){b + 1, (size_t)(line.p + line.n - b - 1)};
	if (!is_token(method) || memchr(target.p, ' ', target.n) ||
	    !agi_str_has_prefix(version, AGI_STR("HTTP/")))
		return 400;
	if (version.n != 8 || !agi_str_has_prefix(version, AGI_STR("HTTP/1.")))
		return 505;
	out->is_head = agi_str_eq(method, AGI_STR("HEAD"));
	if (!out->is_head && !agi_str_eq(method, AGI_STR("GET")))
		return 405;
	out->is_keep_alive = version.p[7] != '0';
	out->authorization[0] = '\0';
	return read_target(target, out) ? READ_OK : 400;
}

static bool is_name(struct agi_str name, const char *want)
{
	return name.n == strlen(want) && strncasecmp(name.p, want, name.n) == 0;
}

static bool has_word(struct agi_str list, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= list.n; i++)
		if (strncasecmp(list.p + i, word, n) == 0)
			return true;
	return false;
}

static struct agi_str trim(struct agi_str s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

static void keep_authorization(struct agi_http_request *out, struct agi_str value)
{
	size_t n = value.n < AGI_HTTP_AUTHORIZATION_MAX ? value.n : AGI_HTTP_AUTHORIZATION_MAX;

	memcpy(out->authorization, value.p, n);
	out->authorization[n] = '\0';
}

static int read_header(struct agi_str line, struct agi_http_request *out, int *n_hosts)
{
	const char *colon = memchr(line.p, ':', line.n);
	struct agi_str name, value;

	if (!colon || memchr(line.p, '\0', line.n))
		return 400;
	name = (struct agi_str){line.p, (size_t)(colon - line.p)};
	value = trim((struct agi_str){colon + 1, line.n - name.n - 1});
	if (!is_token(name))
		return 400; /* also a folded line, which starts with a blank */
	if (is_name(name, "host"))
		++*n_hosts;
	else if (is_name(name, "transfer-encoding"))
		return 501;
	else if (is_name(name, "content-length") && !agi_str_eq(value, AGI_STR("0")))
		return 413; /* GET and HEAD bring nothing; skipping it would be a way to smuggle */
	else if (is_name(name, "authorization"))
		keep_authorization(out, value);
	else if (is_name(name, "connection") && has_word(value, "close"))
		out->is_keep_alive = false;
	return READ_OK;
}

static int read_headers(struct agi_str in, size_t *at, struct agi_http_request *out,
			bool needs_host)
{
	size_t start = *at;
	int n_hosts = 0, r = READ_OK;
	struct agi_str line;

	while (r == READ_OK) {
		if (!next_line(in, at, &line))
			return in.n - start > AGI_HTTP_HEADERS_MAX ? 431 : READ_MORE;
		if (*at - start > AGI_HTTP_HEADERS_MAX)
			return 431;
		if (line.n == 0)
			return n_hosts == 1 || (n_hosts == 0 && !needs_host) ? READ_OK : 400;
		r = read_header(line, out, &n_hosts);
	}
	return r;
}

int agi_http_request_read(struct agi_str in, struct agi_http_request *out, size_t *used)
{
	size_t at = 0;
	struct agi_str line;
	int r;

	do { /* an empty line before a request is skipped (RFC 9112 2.2) */
		if (!next_line(in, &at, &line))
			return in.n >= AGI_HTTP_LINE_MAX ? 414 : READ_MORE;
	} while (line.n == 0);
	if (line.n >= AGI_HTTP_LINE_MAX)
		return 414;
	r = read_request_line(line, out);
	if (r == READ_OK)
		r = read_headers(in, &at, out, out->is_keep_alive);
	if (r == READ_OK)
		*used = at;
	return r;
}
