/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/health_args.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum form { CURL = 1, PROBE = 2, BOTH = 3 };

struct taken {
	const char *plaintext, *data, *max_time, *emit_defaults, *header;
	const char *addr, *service, *rpc_timeout, *tls;
	const char *connect_timeout, *help, *version;
	const char *ca, *cert, *key, *server_name;
	const char *words[3];
	int n_words;
};

static const struct option {
	const char *name;
	enum form form;
	bool has_value;
	size_t at; /* in struct taken */
} options[] = {
    {"plaintext", CURL, false, offsetof(struct taken, plaintext)},
    {"d", CURL, true, offsetof(struct taken, data)},
    {"H", CURL, true, offsetof(struct taken, header)},
    {"max-time", CURL, true, offsetof(struct taken, max_time)},
    {"emit-defaults", CURL, false, offsetof(struct taken, emit_defaults)},
    {"cacert", CURL, true, offsetof(struct taken, ca)},
    {"cert", CURL, true, offsetof(struct taken, cert)},
    {"key", CURL, true, offsetof(struct taken, key)},
    {"servername", CURL, true, offsetof(struct taken, server_name)},
    {"tls-ca-cert", PROBE, true, offsetof(struct taken, ca)},
    {"tls-client-cert", PROBE, true, offsetof(struct taken, cert)},
    {"tls-client-key", PROBE, true, offsetof(struct taken, key)},
    {"tls-server-name", PROBE, true, offsetof(struct taken, server_name)},
    {"addr", PROBE, true, offsetof(struct taken, addr)},
    {"service", PROBE, true, offsetof(struct taken, service)},
    {"rpc-timeout", PROBE, true, offsetof(struct taken, rpc_timeout)},
    {"tls", PROBE, false, offsetof(struct taken, tls)},
    {"connect-timeout", BOTH, true, offsetof(struct taken, connect_timeout)},
    {"help", BOTH, false, offsetof(struct taken, help)},
    {"h", BOTH, false, offsetof(struct taken, help)},
    {"version", BOTH, false, offsetof(struct taken, version)},
};

static const struct option *option_of(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (strlen(options[i].name) == n && memcmp(options[i].name, name, n) == 0)
			return &options[i];
	return NULL;
}

/* The option at argv[*i]; its value may be the word after it. */
static enum agi_err take_option(struct taken *t, char **argv, int argc, int *i, struct agi_why *why)
{
	const char *name = argv[*i] + 1 + (argv[*i][1] == '-');
	size_t n = strcspn(name, "=");
	const struct option *o = option_of(name, n);
	const char *value = name[n] == '=' ? name + n + 1 : NULL;

	if (!o)
		return agi_fail(why, AGI_E_INVALID,
				"unknown option %.60s; valid are -plaintext, -d, -H, -max-time, -connect-timeout, "
				"-emit-defaults, -cacert, -cert, -key, -servername, or -addr, -service, -connect-timeout, -rpc-timeout, -tls, "
				"-tls-ca-cert, -tls-client-cert, -tls-client-key, -tls-server-name",
				argv[*i]);
	if (o->has_value && !value) {
		if (*i + 1 == argc)
			return agi_fail(why, AGI_E_INVALID, "-%s: its value is missing", o->name);
		value = argv[++*i];
	}
	if (!o->has_value && value && strcmp(value, "true") != 0)
		return agi_fail(why, AGI_E_INVALID, "-%s takes no value", o->name);
	*(const char **)((char *)t + o->at) = value ? value : "";
	return AGI_OK;
}

static enum agi_err take(struct taken *t, int argc, char **argv, struct agi_why *why)
{
	enum agi_err e = AGI_OK;

	for (int i = 1; i < argc && !e; i++) {
		if (argv[i][0] == '-' && argv[i][1])
			e = take_option(t, argv, argc, &i, why);
		else if (t->n_words == 3)
			e = agi_fail(why, AGI_E_INVALID, "\"%.60s\" is one argument too many", argv[i]);
		else
			t->words[t->n_words++] = argv[i];
	}
	return e;
}

/* --- what they mean ---------------------------------------------------------------------------- */
/* Seconds as a number, or with a unit. */
static enum agi_err take_time(uint32_t *out, const char *text, const char *option, struct agi_why *why)
{
	uint64_t ms;
	struct agi_why detail;

	if (!text)
		return AGI_OK;
	if (ctl_parse_duration(&ms, text, 1000, 3600 * 1000, &detail))
		return agi_fail(why, AGI_E_INVALID, "-%s %s", option, detail.text);
	*out = (uint32_t)ms;
	return AGI_OK;
}

/* "HOST:PORT", or ":PORT" for this host, as servers write their addresses. */
static enum agi_err take_target(struct health_args *a, const char *text, bool is_plain,
				struct agi_why *why)
{
	char address[CTL_TARGET_TEXT];
	char local[CTL_TARGET_TEXT];
	struct agi_why detail;

	if (text[0] == ':') {
		snprintf(local, sizeof local, "localhost%s", text);
		text = local;
	}
	if (ctl_parse_target(address, text, strlen(text), 0, &detail))
		return agi_fail(why, AGI_E_INVALID, "address %s", detail.text);
	is_plain = is_plain || strncmp(address, CTL_TLS_PREFIX, strlen(CTL_TLS_PREFIX)) == 0 ||
		   strncmp(address, "unix:", 5) == 0;
	snprintf(a->target, sizeof a->target, "%s%s", is_plain ? "" : CTL_TLS_PREFIX, address);
	return AGI_OK;
}

static enum agi_err as_probe(struct health_args *a, const struct taken *t, struct agi_why *why)
{
	uint32_t connect_ms = HEALTH_PROBE_TIMEOUT_MS, call_ms = HEALTH_PROBE_TIMEOUT_MS;
	enum agi_err e;

	if (t->n_words || t->plaintext || t->data || t->max_time)
		return agi_fail(why, AGI_E_INVALID, "-addr stands for an address: nothing else goes with it but "
						    "-service, -connect-timeout, -rpc-timeout and -tls");
	if (!t->addr)
		return agi_fail(why, AGI_E_INVALID, "-addr is missing");
	a->service = t->service ? t->service : "";
	e = take_time(&connect_ms, t->connect_timeout, "connect-timeout", why);
	if (!e)
		e = take_time(&call_ms, t->rpc_timeout, "rpc-timeout", why);
	a->timeout_ms = connect_ms + call_ms;
	return e ? e : take_target(a, t->addr, !t->tls, why);
}

/* Of headers, only the one that lets a caller in is sent. */
static enum agi_err take_header(struct health_args *a, const char *header, struct agi_why *why)
{
	static const char name[] = "authorization:", scheme[] = "bearer ";
	const char *p = header;

	if (!header)
		return AGI_OK;
	if (strncasecmp(p, name, sizeof name - 1) != 0)
		return agi_fail(why, AGI_E_INVALID,
				"-H: expected \"authorization: Bearer TOKEN\"; other headers are not sent");
	p += sizeof name - 1;
	p += strspn(p, " ");
	if (strncasecmp(p, scheme, sizeof scheme - 1) != 0)
		return agi_fail(why, AGI_E_INVALID, "-H authorization: expected \"Bearer TOKEN\"");
	p += sizeof scheme - 1;
	a->token = p + strspn(p, " ");
	return AGI_OK;
}

static enum agi_err as_curl(struct health_args *a, const struct taken *t, struct agi_why *why)
{
	enum agi_err e;

	if (t->service || t->rpc_timeout || t->tls)
		return agi_fail(why, AGI_E_INVALID, "-service, -rpc-timeout and -tls go with -addr");
	if (t->n_words < 2)
		return agi_fail(why, AGI_E_INVALID, "%s is missing",
				t->n_words ? "\"list\" or a method like grpc.health.v1.Health/Check"
					   : "an address");
	a->symbol = t->words[1];
	a->of = t->words[2];
	if (a->of && strcmp(a->symbol, "list") != 0)
		return agi_fail(why, AGI_E_INVALID, "\"%.60s\" is one argument too many", a->of);
	a->data = t->data;
	a->has_defaults = t->emit_defaults;
	a->timeout_ms = HEALTH_TIMEOUT_MS;
	e = take_header(a, t->header, why);
	if (!e)
		e = take_time(&a->timeout_ms, t->connect_timeout, "connect-timeout", why);
	if (!e)
		e = take_time(&a->timeout_ms, t->max_time, "max-time", why);
	return e ? e : take_target(a, t->words[0], t->plaintext, why);
}

static bool is_named_probe(const char *program)
{
	const char *slash = strrchr(program, '/');

	return strcmp(slash ? slash + 1 : program, "grpc_health_probe") == 0;
}

enum agi_err health_args_parse(struct health_args *out, int argc, char **argv, struct agi_why *why)
{
	struct taken t = {.n_words = 0};
	enum agi_err e = take(&t, argc, argv, why);

	*out = (struct health_args){.is_probe = t.addr || is_named_probe(argv[0]),
				    .wants_help = t.help,
				    .wants_version = t.version,
				    .ca_file = t.ca,
				    .cert_file = t.cert,
				    .key_file = t.key,
				    .server_name = t.server_name};
	if (e || t.help || t.version)
		return e;
	return out->is_probe ? as_probe(out, &t, why) : as_curl(out, &t, why);
}
