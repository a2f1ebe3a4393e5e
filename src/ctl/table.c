/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "ctl/args.h"

enum { COLS_MAX = 12, GAP = 2 };

void ctl_table_init(struct ctl_table *t, const struct ctl_col *cols, size_t n_cols)
{
	assert(n_cols >= 1 && n_cols <= COLS_MAX);
	*t = (struct ctl_table){.cols = cols, .n_cols = n_cols};
	agi_buf_init(&t->text, 0);
}

void ctl_table_free(struct ctl_table *t) { agi_buf_free(&t->text); }

/* Bytes of the well-formed, printable code point at p (n > 0 left), 0 if there is none. */
static size_t printable(const char *p, size_t n)
{
	uint8_t c = (uint8_t)p[0];
	size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	if (len == 1)
		return c >= 0x20 && c != 0x7f;
	if (len > n || !agi_utf8_is_valid((struct agi_str){p, len}))
		return 0;
	return c == 0xc2 && (uint8_t)p[1] < 0xa0 ? 0 : len; /* U+0080 … U+009F: C1 controls */
}

void ctl_put_harmless(struct agi_buf *out, struct agi_str s)
{
	for (size_t i = 0; i < s.n;) {
		size_t n = printable(s.p + i, s.n - i);

		if (n)
			agi_buf_put(out, s.p + i, n);
		else
			agi_buf_printf(out, "\\x%02x", (unsigned)(uint8_t)s.p[i]);
		i += n ? n : 1;
	}
}

size_t ctl_text_width(struct agi_str s)
{
	size_t width = 0;

	for (size_t i = 0; i < s.n; i++)
		width += ((uint8_t)s.p[i] & 0xc0) != 0x80;
	return width;
}

void ctl_table_str(struct ctl_table *t, struct agi_str cell)
{
	struct agi_buf clean;

	agi_buf_init(&clean, 0);
	ctl_put_harmless(&clean, cell);
	if (clean.err != AGI_OK && t->text.err == AGI_OK)
		t->text.err = clean.err;
	agi_buf_blob(&t->text, agi_buf_str(&clean));
	agi_buf_free(&clean);
	t->n_cells++;
}

void ctl_table_text(struct ctl_table *t, const char *cell) { ctl_table_str(t, agi_str_of(cell)); }

void ctl_table_printf(struct ctl_table *t, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	ctl_table_text(t, text);
}

const char *ctl_state_colour(struct agi_str word)
{
	static const struct {
		const char *words, *start;
	} colours[] = {
	    {"up self active serving SERVING ALLOW yes valid", "\033[32m"},
	    {"suspect joining sealed leaving stale REVISE DEFER UNKNOWN", "\033[33m"},
	    {"down BLOCK NOT_SERVING no invalid", "\033[31m"},
	};
	char text[32];

	if (word.n >= sizeof text)
		return NULL;
	memcpy(text, word.p ? word.p : "", word.n);
	text[word.n] = '\0';
	if (strcmp(text, "not serving") == 0)
		return colours[2].start;
	for (size_t i = 0; i < sizeof colours / sizeof *colours; i++)
		if (ctl_word_in(colours[i].words, text))
			return colours[i].start;
	return NULL;
}

static void measure(const struct ctl_table *t, size_t widths[COLS_MAX])
{
	struct agi_cur c = agi_cur_of(agi_buf_str(&t->text));

	for (size_t i = 0; i < t->n_cols; i++)
		widths[i] = t->cols[0].header ? ctl_text_width(agi_str_of(t->cols[i].header)) : 0;
	for (size_t i = 0; i < t->n_cells; i++) {
		size_t w = ctl_text_width(agi_cur_blob(&c)), col = i % t->n_cols;

		if (w > widths[col])
			widths[col] = w;
	}
}

static void pad(struct agi_buf *out, size_t n)
{
	while (n--)
		agi_buf_u8(out, ' ');
}

/* A cell and the gap before it; `owed` = spaces not yet written, so that lines never end in spaces.
 */
static void put_cell(struct agi_buf *out, const struct ctl_col *col, size_t width, struct agi_str s,
		     bool colour, size_t *owed)
{
	size_t rest = width - ctl_text_width(s);
	const char *start = colour && col->kind == CTL_COL_STATE ? ctl_state_colour(s) : NULL;

	if (col->kind == CTL_COL_NUMBER)
		*owed += rest;
	if (s.n) {
		pad(out, *owed);
		*owed = 0;
	}
	if (start)
		agi_buf_put_str(out, agi_str_of(start));
	agi_buf_put_str(out, s);
	if (start)
		agi_buf_put_str(out, AGI_STR("\033[0m"));
	*owed += (col->kind == CTL_COL_NUMBER ? 0 : rest) + GAP;
}

enum agi_err ctl_table_render(const struct ctl_table *t, bool colour, struct agi_buf *out)
{
	struct agi_cur c = agi_cur_of(agi_buf_str(&t->text));
	size_t widths[COLS_MAX], owed = 0;

	if (t->text.err != AGI_OK)
		return t->text.err;
	measure(t, widths);
	if (t->cols[0].header) {
		for (size_t i = 0; i < t->n_cols; i++)
			put_cell(out, &t->cols[i], widths[i], agi_str_of(t->cols[i].header), false,
				 &owed);
		agi_buf_u8(out, '\n');
	}
	for (size_t i = 0; i < t->n_cells; i++) {
		size_t col = i % t->n_cols;

		owed = col ? owed : 0;
		put_cell(out, &t->cols[col], widths[col], agi_cur_blob(&c), colour, &owed);
		if (col + 1 == t->n_cols || i + 1 == t->n_cells)
			agi_buf_u8(out, '\n');
	}
	return out->err;
}
