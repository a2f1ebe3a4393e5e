/* SPDX-License-Identifier: Apache-2.0
 * One scalar of each type from text. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/schema.h"

static enum agi_err refuse(const struct agi_key_spec *s, const char *text, const char *what,
                           struct agi_why *why)
{
	char expected[160];

	agi_spec_expected(s, expected, sizeof expected);
	return agi_fail(why, AGI_E_INVALID, "%.60s%s, expected %s%s%s", text, what, expected,
	                s->note ? ": " : "", s->note ? s->note : "");
}

static enum agi_err refuse_range(const struct agi_key_spec *s, const char *text, struct agi_why *why)
{
	return refuse(s, text, " is out of range", why);
}

static enum agi_err refuse_form(const struct agi_key_spec *s, const char *text, struct agi_why *why)
{
	char quoted[70];

	snprintf(quoted, sizeof quoted, "\"%.60s\"", text);
	return refuse(s, quoted, " is none", why);
}

/* --- numbers ---------------------------------------------------------------------------------- */
/* Decimal digits with at most one point; *end: what follows. False when there is no number. */
static bool read_decimal(const char *text, double *out, const char **end)
{
	size_t n = strspn(text, "0123456789.");
	char buf[40];

	if (n == 0 || n >= sizeof buf || text[0] == '.' || text[n - 1] == '.')
		return false;
	memcpy(buf, text, n);
	buf[n] = '\0';
	if (strchr(buf, '.') != strrchr(buf, '.'))
		return false;
	*out = strtod(buf, NULL);
	*end = text + n;
	return isfinite(*out);
}

static enum agi_err parse_whole(const struct agi_key_spec *s, const char *text, double min, double max,
                                uint32_t *out, struct agi_why *why)
{
	const char *digits = text + (*text == '-');
	size_t n = strspn(digits, "0123456789");
	double v;

	if (n == 0 || digits[n])
		return refuse_form(s, text, why);
	v = n > 15 ? HUGE_VAL : strtod(text, NULL);
	if (v < min || v > max)
		return refuse_range(s, text, why);
	*out = (uint32_t)v;
	return AGI_OK;
}

static enum agi_err parse_real(const struct agi_key_spec *s, const char *text, double *out,
                               struct agi_why *why)
{
	const char *end;
	double v;

	if (!read_decimal(text + (*text == '-'), &v, &end) || *end)
		return refuse_form(s, text, why);
	if (*text == '-')
		v = -v;
	if (v < s->min || v > s->max)
		return refuse_range(s, text, why);
	*out = v;
	return AGI_OK;
}

struct unit {
	const char *name;
	double factor;
};

static bool read_with_unit(const char *text, const struct unit *units, double *out)
{
	const char *end;
	double v;

	if (!read_decimal(text, &v, &end))
		return false;
	for (; units->name; units++) {
		if (strcmp(end, units->name) == 0) {
			*out = v * units->factor;
			return true;
		}
	}
	return false;
}

static enum agi_err parse_duration(const struct agi_key_spec *s, const char *text, uint32_t *out,
                                   struct agi_why *why)
{
	static const struct unit units[] = {{"ms", 1},       {"s", 1000},      {"m", 60000},
	                                    {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
	double v;

	if (!read_with_unit(text, units, &v))
		return refuse_form(s, text, why);
	if (v < s->min || v > s->max)
		return refuse_range(s, text, why);
	*out = (uint32_t)llround(v);
	return AGI_OK;
}

static enum agi_err parse_size(const struct agi_key_spec *s, const char *text, uint64_t *out,
                               struct agi_why *why)
{
	static const struct unit units[] = {
	    {"B", 1}, {"KiB", 1024}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0}};
	double v;

	if (!read_with_unit(text, units, &v))
		return refuse_form(s, text, why);
	if (v < s->min || v > s->max)
		return refuse_range(s, text, why);
	*out = (uint64_t)llround(v);
	return AGI_OK;
}

/* --- texts and addresses ---------------------------------------------------------------------- */
static enum agi_err copy_text(const char *text, char **out, struct agi_why *why)
{
	char *copy = strdup(text);

	if (!copy)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	*out = copy;
	return AGI_OK;
}

static enum agi_err parse_text(const struct agi_key_spec *s, double min, const char *text, char **out,
                               struct agi_why *why)
{
	size_t n = strlen(text);
	const char *reason = s->refuse ? s->refuse(text) : NULL;

	if (reason)
		return agi_fail(why, AGI_E_INVALID, "\"%.60s\": %s", text, reason);
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return agi_fail(why, AGI_E_INVALID, "a control character in a text");
	if ((double)n < min)
		return agi_fail(why, AGI_E_INVALID, "empty, expected a text of %g..%g bytes", min, s->max);
	if ((double)n > s->max)
		return agi_fail(why, AGI_E_INVALID, "%zu bytes are too many, expected at most %g", n, s->max);
	return copy_text(text, out, why);
}

static enum agi_err parse_addr(const struct agi_key_spec *s, const char *text, struct agi_addr *out,
                               struct agi_why *why)
{
	struct agi_addr a;
	bool is_ip = s->type == AGI_V_IP;

	if (*text == '\0') {
		*out = (struct agi_addr){.port = 0};
		return AGI_OK;
	}
	if (agi_addr_parse(&a, agi_str_of(text), is_ip ? 1 : (uint16_t)s->min, NULL))
		return refuse_form(s, text, why);
	if (is_ip) {
		if (a.port != 1) /* a port was given */
			return refuse_form(s, text, why);
		a.port = 0;
	}
	*out = a;
	return AGI_OK;
}

static bool is_host(const char *host, size_t n)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

	if (n == 0 || n > 255)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!memchr(allowed, host[i], sizeof allowed - 1))
			return false;
	return true;
}

static bool read_port(const char *text, uint16_t *out)
{
	size_t n = strspn(text, "0123456789");
	unsigned long v = n && n < 6 && !text[n] ? strtoul(text, NULL, 10) : 0;

	*out = (uint16_t)v;
	return v > 0 && v < 65536;
}

/* "name", "name:port", and ip addresses as agi_addr_parse reads them. */
static enum agi_err parse_endpoint(const struct agi_key_spec *s, const char *text,
                                   struct agi_endpoint *out, struct agi_why *why)
{
	struct agi_endpoint e = {.port = (uint16_t)s->min};
	const char *colon = strchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);
	char ip[AGI_ADDR_TEXT];
	struct agi_addr a;

	if (agi_addr_parse(&a, agi_str_of(text), e.port, NULL) == AGI_OK) {
		agi_addr_format_ip(ip, &a);
		e.port = a.port;
		text = ip;
		n = strlen(ip);
	} else if (!is_host(text, n) || (colon && !read_port(colon + 1, &e.port)) ||
	           strspn(text, "0123456789.") == n) { /* a broken ip address is no name */
		return refuse_form(s, text, why);
	}
	e.host = strndup(text, n);
	if (!e.host)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	free(out->host);
	*out = e;
	return AGI_OK;
}

static enum agi_err parse_choice(const struct agi_key_spec *s, const char *text, int *out,
                                 struct agi_why *why)
{
	for (int i = 0; s->choices[i]; i++) {
		if (strcmp(s->choices[i], text) == 0) {
			*out = i;
			return AGI_OK;
		}
	}
	return refuse_form(s, text, why);
}

/* --- lists ------------------------------------------------------------------------------------ */
static enum agi_err grow(void **v, size_t n, size_t size, size_t max, struct agi_why *why)
{
	void *p;

	if (n >= max)
		return agi_fail(why, AGI_E_INVALID, "more than %zu items", max);
	p = reallocarray(*v, n + 1, size);
	if (!p)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	*v = p;
	memset((char *)p + n * size, 0, size);
	return AGI_OK;
}

static enum agi_err append_text(const struct agi_key_spec *s, const char *text, struct agi_config_list *l,
                                struct agi_why *why)
{
	enum agi_err e;

	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i], text) == 0)
			return agi_fail(why, AGI_E_INVALID, "\"%.60s\" is listed twice", text);
	e = grow((void **)&l->v, l->n, sizeof *l->v, AGI_CONFIG_LIST_MAX, why);
	if (e == AGI_OK)
		e = parse_text(s, 1, text, &l->v[l->n], why);
	if (e == AGI_OK)
		l->n++;
	return e;
}

static enum agi_err append_endpoint(const struct agi_key_spec *s, const char *text,
                                    struct agi_endpoints *l, struct agi_why *why)
{
	enum agi_err e = grow((void **)&l->v, l->n, sizeof *l->v, (size_t)s->max, why);

	if (e == AGI_OK)
		e = parse_endpoint(s, text, &l->v[l->n], why);
	if (e == AGI_OK)
		l->n++;
	return e;
}

/* "NAME=CHOICE" */
static enum agi_err append_choice(const struct agi_key_spec *s, const char *text,
                                  struct agi_config_choices *l, struct agi_why *why)
{
	const char *equals = strrchr(text, '=');
	struct agi_config_choice c = {NULL, 0};
	char *name = equals ? strndup(text, (size_t)(equals - text)) : NULL;
	enum agi_err e = AGI_OK;

	if (!equals)
		return refuse_form(s, text, why);
	if (!name)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	for (size_t i = 0; i < l->n && !e; i++)
		if (strcmp(l->v[i].name, name) == 0)
			e = agi_fail(why, AGI_E_INVALID, "\"%.60s\" is listed twice", name);
	if (!e)
		e = parse_choice(s, equals + 1, &c.choice, why);
	if (!e)
		e = grow((void **)&l->v, l->n, sizeof *l->v, AGI_CONFIG_LIST_MAX, why);
	if (!e)
		e = parse_text(s, s->min, name, &c.name, why);
	if (!e)
		l->v[l->n++] = c;
	free(name);
	return e;
}

bool agi_value_is_list(const struct agi_key_spec *s)
{
	return s->type == AGI_V_TEXTS || s->type == AGI_V_CHOICES || s->type == AGI_V_ENDPOINTS || s->type == AGI_V_SERVICES;
}

/* --- all types -------------------------------------------------------------------------------- */
enum agi_err agi_value_parse(const struct agi_key_spec *s, void *field, const char *text,
                             struct agi_why *why)
{
	enum agi_err e;
	uint32_t port;
	char *copy;

	switch (s->type) {
	case AGI_V_TEXT:
		e = parse_text(s, s->min, text, &copy, why);
		if (e == AGI_OK) {
			free(*(char **)field);
			*(char **)field = copy;
		}
		return e;
	case AGI_V_WHOLE:
		return parse_whole(s, text, s->min, s->max, field, why);
	case AGI_V_PORT:
		e = parse_whole(s, text, 1, 65535, &port, why);
		if (e == AGI_OK)
			*(uint16_t *)field = (uint16_t)port;
		return e;
	case AGI_V_REAL:
		return parse_real(s, text, field, why);
	case AGI_V_DURATION:
		return parse_duration(s, text, field, why);
	case AGI_V_SIZE:
		return parse_size(s, text, field, why);
	case AGI_V_ADDR:
	case AGI_V_IP:
		return parse_addr(s, text, field, why);
	case AGI_V_ENDPOINT:
		if (!*text) { /* "" takes back what an earlier file gave */
			agi_value_clear(s, field);
			return agi_value_fill(s, field);
		}
		return parse_endpoint(s, text, field, why);
	case AGI_V_CHOICE:
		return parse_choice(s, text, field, why);
	case AGI_V_TEXTS:
		return append_text(s, text, field, why);
	case AGI_V_ENDPOINTS:
		return append_endpoint(s, text, field, why);
	case AGI_V_CHOICES:
		return append_choice(s, text, field, why);
	case AGI_V_SERVICES:
		break;
	}
	return refuse_form(s, text, why);
}

static void clear_services(struct agi_config_services *l)
{
	for (size_t i = 0; i < l->n; i++)
		for (const struct agi_key_spec *s = agi_service_spec; s->path; s++)
			agi_value_clear(s, (char *)&l->v[i] + s->offset);
	free(l->v);
	*l = (struct agi_config_services){NULL, 0};
}

void agi_value_clear(const struct agi_key_spec *s, void *field)
{
	struct agi_config_list *texts = field;
	struct agi_endpoints *endpoints = field;
	struct agi_config_choices *choices = field;

	switch (s->type) {
	case AGI_V_TEXT:
		free(*(char **)field);
		*(char **)field = NULL;
		return;
	case AGI_V_ENDPOINT:
		free(((struct agi_endpoint *)field)->host);
		*(struct agi_endpoint *)field = (struct agi_endpoint){NULL, 0};
		return;
	case AGI_V_TEXTS:
		for (size_t i = 0; i < texts->n; i++)
			free(texts->v[i]);
		free(texts->v);
		*texts = (struct agi_config_list){NULL, 0};
		return;
	case AGI_V_ENDPOINTS:
		for (size_t i = 0; i < endpoints->n; i++)
			free(endpoints->v[i].host);
		free(endpoints->v);
		*endpoints = (struct agi_endpoints){NULL, 0};
		return;
	case AGI_V_CHOICES:
		for (size_t i = 0; i < choices->n; i++)
			free(choices->v[i].name);
		free(choices->v);
		*choices = (struct agi_config_choices){NULL, 0};
		return;
	case AGI_V_SERVICES:
		clear_services(field);
		return;
	default:
		return;
	}
}

enum agi_err agi_value_fill(const struct agi_key_spec *s, void *field)
{
	char **text = s->type == AGI_V_TEXT       ? field
	              : s->type == AGI_V_ENDPOINT ? &((struct agi_endpoint *)field)->host
	                                          : NULL;

	if (!text || *text)
		return AGI_OK;
	*text = calloc(1, 1);
	return *text ? AGI_OK : AGI_E_NOMEM;
}
