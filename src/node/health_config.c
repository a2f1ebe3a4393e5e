/* SPDX-License-Identifier: Apache-2.0 */
#include "node/health_config.h"

#include "agihpc.pb-c.h"
#include "dht/types.h"
#include "net/grpc.h"
#include "node/health_check.h"

static struct agi_str text_of(ProtobufCBinaryData d)
{
	return (struct agi_str){(const char *)d.data, d.len};
}

static enum agi_err read_kind(enum agi_health_kind *out, struct agi_str kind, struct agi_why *why)
{
	static const char *const names[] = {[AGI_HEALTH_TCP] = "tcp",
					    [AGI_HEALTH_HTTP] = "http",
					    [AGI_HEALTH_GRPC] = "grpc",
					    [AGI_HEALTH_NONE] = "none",
					    [AGI_HEALTH_EXEC] = "exec",
					    [AGI_HEALTH_TTL] = "ttl"};

	*out = AGI_HEALTH_TCP;
	if (kind.n == 0)
		return AGI_OK;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (agi_str_eq(kind, agi_str_of(names[i]))) {
			*out = (enum agi_health_kind)i;
			return AGI_OK;
		}
	return agi_fail(
	    why, AGI_E_INVALID,
	    "health_check.kind \"%.*s\": expected \"tcp\", \"http\", \"grpc\", \"exec\", \"ttl\" or \"none\"",
	    (int)(kind.n < 40 ? kind.n : 40), kind.p);
}

static enum agi_err read_times(struct agi_health_config *c, uint32_t interval, uint32_t timeout,
			       struct agi_why *why)
{
	c->interval_ms = interval ? interval : AGI_HEALTH_INTERVAL_DEFAULT_MS;
	if (c->interval_ms < AGI_HEALTH_INTERVAL_MIN_MS ||
	    c->interval_ms > AGI_HEALTH_INTERVAL_MAX_MS)
		return agi_fail(why, AGI_E_INVALID, "health_check.interval_ms %u: expected %d..%d",
				c->interval_ms, AGI_HEALTH_INTERVAL_MIN_MS,
				AGI_HEALTH_INTERVAL_MAX_MS);
	c->timeout_ms = timeout ? timeout : AGI_HEALTH_TIMEOUT_DEFAULT_MS;
	if (!timeout && c->timeout_ms > c->interval_ms)
		c->timeout_ms = c->interval_ms;
	if (c->timeout_ms > c->interval_ms)
		return agi_fail(why, AGI_E_INVALID,
				"health_check.timeout_ms %u: expected at most the interval, %u ms",
				c->timeout_ms, c->interval_ms);
	return AGI_OK;
}

/* What may stand in a request line: visible ASCII, so that nothing can be smuggled into it. */
static bool is_http_path(struct agi_str path)
{
	for (size_t i = 0; i < path.n; i++)
		if (path.p[i] <= 0x20 || path.p[i] >= 0x7f)
			return false;
	return path.n && path.p[0] == '/';
}

static bool is_program(struct agi_str path)
{
	char text[AGI_HEALTH_PATH_MAX + 1];

	if (path.n < 2 || path.p[0] != '/' || path.p[path.n - 1] == '/')
		return false;
	memcpy(text, path.p, path.n);
	text[path.n] = '\0';
	return !strstr(text, "/../") && !(path.n >= 3 && strcmp(text + path.n - 3, "/..") == 0);
}

static enum agi_err read_args(struct agi_health_config *c, const Agihpc__V1__HealthCheck *m, struct agi_why *why)
{
	size_t at = 0;

	memset(c->args, 0, sizeof c->args);
	if (m->n_args && c->kind != AGI_HEALTH_EXEC)
		return agi_fail(why, AGI_E_INVALID, "health_check.args: only for kind \"exec\"");
	if (m->n_args > AGI_HEALTH_ARGS_MAX)
		return agi_fail(why, AGI_E_INVALID, "health_check.args: at most %d", AGI_HEALTH_ARGS_MAX);
	for (size_t i = 0; i < m->n_args; i++) {
		struct agi_str arg = text_of(m->args[i]);

		if (arg.n >= sizeof c->args - at || (arg.n && memchr(arg.p, '\0', arg.n)))
			return agi_fail(why, AGI_E_INVALID, "health_check.args: at most %d bytes, and none of them zero",
					AGI_HEALTH_ARGS_BYTES);
		if (arg.n)
			memcpy(c->args + at, arg.p, arg.n);
		at += arg.n + 1;
	}
	c->n_args = (uint32_t)m->n_args;
	return AGI_OK;
}

static enum agi_err read_path(struct agi_health_config *c, struct agi_str path, struct agi_why *why)
{
	if (path.n > AGI_HEALTH_PATH_MAX || (path.n && memchr(path.p, '\0', path.n)))
		return agi_fail(why, AGI_E_INVALID,
				"health_check.path: expected at most %d bytes without NUL",
				AGI_HEALTH_PATH_MAX);
	if (c->kind == AGI_HEALTH_HTTP && path.n == 0)
		path = AGI_STR("/");
	if (c->kind == AGI_HEALTH_HTTP && !is_http_path(path))
		return agi_fail(why, AGI_E_INVALID,
				"health_check.path \"%.*s\": expected an absolute path of "
				"printable characters, as in "
				"/healthz",
				AGI_STR_ARG(path));
	if (c->kind == AGI_HEALTH_EXEC && !is_program(path))
		return agi_fail(why, AGI_E_INVALID,
				"health_check.path \"%.*s\": expected the absolute path of a program, without "
				"\"..\"",
				AGI_STR_ARG(path));
	memset(c->path, 0, sizeof c->path);
	if (path.n)
		memcpy(c->path, path.p, path.n);
	return AGI_OK;
}

enum agi_err agi_health_config_read(struct agi_health_config *out, struct agi_str wire,
				    struct agi_why *why)
{
	Agihpc__V1__HealthCheck *m;
	struct agi_health_config c;
	struct agi_why detail;
	enum agi_err e;

	m = (Agihpc__V1__HealthCheck *)agi_pb_unpack(&agihpc__v1__health_check__descriptor, wire,
						     &detail);
	if (!m)
		return agi_fail(why, AGI_E_INVALID, "health_check: %.200s", detail.text);
	c.is_tls = m->tls;
	e = read_kind(&c.kind, text_of(m->kind), why);
	e = e ? e : read_times(&c, m->interval_ms, m->timeout_ms, why);
	e = e ? e : read_path(&c, text_of(m->path), why);
	e = e ? e : read_args(&c, m, why);
	agihpc__v1__health_check__free_unpacked(m, NULL);
	if (!e)
		*out = c;
	return e;
}

enum agi_err agi_health_config_check(struct agi_str config, struct agi_why *why)
{
	struct agi_health_config c;

	return agi_health_config_read(&c, config, why);
}

uint32_t agi_health_config_traits(struct agi_str config)
{
	struct agi_health_config c;
	struct agi_why why;

	return agi_health_config_read(&c, config, &why) == AGI_OK && c.is_tls ? AGI_PROVIDER_TLS : 0;
}
