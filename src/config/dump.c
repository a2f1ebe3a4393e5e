/* SPDX-License-Identifier: Apache-2.0
 * The effective configuration as YAML. */
#include "config/schema.h"

struct dumper {
	struct agi_buf *out;
	unsigned level;   /* of the table's own keys, two blanks each */
	const char *last; /* path written before, for the sections it left open */
	bool is_item;     /* the next line begins an item of a list */
};

static void indent(struct dumper *d, unsigned level)
{
	for (unsigned i = d->is_item ? 1 : 0; i < level; i++)
		agi_buf_put_str(d->out, AGI_STR("  "));
	if (d->is_item)
		agi_buf_put_str(d->out, AGI_STR("- "));
	d->is_item = false;
}

/* Opens the sections of path that the last one had not open; writes "name:" after them. */
static void open_key(struct dumper *d, const char *path, bool is_comment)
{
	const char *last = d->last, *dot;
	unsigned level = d->level;
	bool is_open = true;

	d->last = path;
	for (; (dot = strchr(path, '.')) != NULL; path = dot + 1, level++) {
		size_t n = (size_t)(dot - path) + 1;

		is_open = is_open && strncmp(path, last, n) == 0;
		if (is_open) {
			last += n;
			continue;
		}
		indent(d, level);
		agi_buf_printf(d->out, "%.*s:\n", (int)n - 1, path);
	}
	indent(d, level);
	agi_buf_printf(d->out, "%s%s:", is_comment ? "# " : "", path);
}

static void write_source(struct dumper *d, const struct agi_config_source *s)
{
	agi_buf_printf(d->out, "  # %s", s->name);
	if (s->line)
		agi_buf_printf(d->out, ":%u", s->line);
	agi_buf_put_str(d->out, AGI_STR("\n"));
}

static void write_services(struct dumper *d, const struct agi_config_services *l,
                           const struct agi_config_source *from)
{
	if (l->n == 0)
		agi_buf_put_str(d->out, AGI_STR(" []"));
	write_source(d, from);
	for (size_t i = 0; i < l->n; i++) {
		struct dumper item = {d->out, d->level + 3, "", true};

		for (const struct agi_key_spec *s = agi_service_spec; s->path; s++) {
			open_key(&item, s->path, false);
			agi_buf_put_str(d->out, AGI_STR(" "));
			agi_value_write(s, (const char *)&l->v[i] + s->offset, d->out);
			agi_buf_put_str(d->out, AGI_STR("\n"));
		}
	}
}

/* An address that nobody gave is left out: as a value it would say "any". */
static bool has_value(const struct agi_key_spec *s, const void *field, const struct agi_config_source *from)
{
	static const struct agi_addr none;
	const struct agi_endpoint *e = field;

	switch (s->type) {
	case AGI_V_ADDR:
		return !agi_addr_eq(field, &none);
	case AGI_V_IP:
		return from->line || !agi_addr_eq(field, &none);
	case AGI_V_ENDPOINT:
		return *e->host != '\0';
	default:
		return true;
	}
}

void agi_config_dump(const struct agi_config *c, struct agi_buf *out)
{
	struct dumper d = {out, 0, "", false};

	for (const struct agi_key_spec *s = agi_config_spec; s->path; s++) {
		const void *field = (const char *)c + s->offset;
		const struct agi_config_source *from = &c->sources[s - agi_config_spec];
		bool is_value = has_value(s, field, from);

		open_key(&d, s->path, !is_value);
		if (s->type == AGI_V_SERVICES) {
			write_services(&d, field, from);
			continue;
		}
		agi_buf_put_str(out, AGI_STR(" "));
		if (is_value)
			agi_value_write(s, field, out);
		write_source(&d, from);
	}
}
