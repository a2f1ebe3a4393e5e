/* SPDX-License-Identifier: Apache-2.0
 * Values as YAML that reads back to the same. */
#include <stdio.h>
#include <stdlib.h>

#include "config/schema.h"

/* Texts hold no control characters, so a quote and a backslash are all there is to escape. */
static void write_quoted(struct agi_buf *out, const char *text)
{
	agi_buf_put_str(out, AGI_STR("\""));
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			agi_buf_u8(out, '\\');
		agi_buf_u8(out, (uint8_t)*text);
	}
	agi_buf_put_str(out, AGI_STR("\""));
}

static void write_endpoint(struct agi_buf *out, const struct agi_endpoint *e)
{
	agi_buf_printf(out, strchr(e->host, ':') ? "\"[%s]:%u\"" : "\"%s:%u\"", e->host, e->port);
}

static void write_texts(struct agi_buf *out, const struct agi_config_list *l)
{
	agi_buf_u8(out, '[');
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			agi_buf_put_str(out, AGI_STR(", "));
		write_quoted(out, l->v[i]);
	}
	agi_buf_u8(out, ']');
}

static void write_endpoints(struct agi_buf *out, const struct agi_endpoints *l)
{
	agi_buf_u8(out, '[');
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			agi_buf_put_str(out, AGI_STR(", "));
		write_endpoint(out, &l->v[i]);
	}
	agi_buf_u8(out, ']');
}

static void write_choices(struct agi_buf *out, const struct agi_key_spec *s,
                          const struct agi_config_choices *l)
{
	agi_buf_u8(out, '{');
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			agi_buf_put_str(out, AGI_STR(", "));
		write_quoted(out, l->v[i].name);
		agi_buf_printf(out, ": %s", s->choices[l->v[i].choice]);
	}
	agi_buf_u8(out, '}');
}

static void write_duration(struct agi_buf *out, uint32_t ms)
{
	if (ms % 60000 == 0 && ms)
		agi_buf_printf(out, "%um", ms / 60000);
	else if (ms % 1000 == 0)
		agi_buf_printf(out, "%us", ms / 1000);
	else
		agi_buf_printf(out, "%ums", ms);
}

static void write_size(struct agi_buf *out, uint64_t bytes)
{
	if (bytes % (1 << 20) == 0)
		agi_buf_printf(out, "%lluMiB", (unsigned long long)(bytes >> 20));
	else if (bytes % 1024 == 0)
		agi_buf_printf(out, "%lluKiB", (unsigned long long)(bytes >> 10));
	else
		agi_buf_printf(out, "%lluB", (unsigned long long)bytes);
}

/* The shortest decimal that reads back as the same number, never with an exponent. */
static void write_real(struct agi_buf *out, double v)
{
	char text[64];

	for (int digits = 1; digits <= 20; digits++) {
		snprintf(text, sizeof text, "%.*f", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	agi_buf_put_str(out, agi_str_of(text));
}

static void write_addr(struct agi_buf *out, const struct agi_key_spec *s, const struct agi_addr *a)
{
	char text[AGI_ADDR_TEXT];

	if (s->type == AGI_V_IP)
		agi_addr_format_ip(text, a);
	else
		agi_addr_format(text, a);
	agi_buf_printf(out, "\"%s\"", text);
}

void agi_value_write(const struct agi_key_spec *s, const void *field, struct agi_buf *out)
{
	switch (s->type) {
	case AGI_V_TEXT:
		write_quoted(out, *(char *const *)field);
		return;
	case AGI_V_WHOLE:
		agi_buf_printf(out, "%u", *(const uint32_t *)field);
		return;
	case AGI_V_PORT:
		agi_buf_printf(out, "%u", *(const uint16_t *)field);
		return;
	case AGI_V_REAL:
		write_real(out, *(const double *)field);
		return;
	case AGI_V_DURATION:
		write_duration(out, *(const uint32_t *)field);
		return;
	case AGI_V_SIZE:
		write_size(out, *(const uint64_t *)field);
		return;
	case AGI_V_ADDR:
	case AGI_V_IP:
		write_addr(out, s, field);
		return;
	case AGI_V_ENDPOINT:
		write_endpoint(out, field);
		return;
	case AGI_V_CHOICE:
		agi_buf_printf(out, "%s", s->choices[*(const int *)field]);
		return;
	case AGI_V_TEXTS:
		write_texts(out, field);
		return;
	case AGI_V_ENDPOINTS:
		write_endpoints(out, field);
		return;
	case AGI_V_CHOICES:
		write_choices(out, s, field);
		return;
	case AGI_V_SERVICES:
		return;
	}
}
