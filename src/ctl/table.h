/* SPDX-License-Identifier: Apache-2.0
 * Aligned text tables. Cells come row by row, left to right; text from outside is made harmless:
 * control characters and broken UTF-8 appear as \xNN, so nothing a peer sends can drive the
 * terminal. */
#ifndef AGI_CTL_TABLE_H
#define AGI_CTL_TABLE_H

#include "base/buf.h"

enum ctl_col_kind {
	CTL_COL_TEXT,   /* left */
	CTL_COL_NUMBER, /* right */
	CTL_COL_STATE   /* left; a word that says how well something is: coloured on a terminal */
};
struct ctl_col {
	const char *header; /* capitals; NULL in the first column = no header line */
	enum ctl_col_kind kind;
};

struct ctl_table {
	const struct ctl_col *cols;
	size_t n_cols;
	size_t n_cells;
	struct agi_buf text; /* every cell: be32 length and bytes */
};

/* cols is borrowed for the table's life. */
void ctl_table_init(struct ctl_table *t, const struct ctl_col *cols, size_t n_cols);
void ctl_table_free(struct ctl_table *t);
void ctl_table_str(struct ctl_table *t, struct agi_str cell);
void ctl_table_text(struct ctl_table *t, const char *cell);
void ctl_table_printf(struct ctl_table *t, const char *fmt, ...) AGI_PRINTF(2, 3);
/* Appends the table: columns two spaces apart, no spaces at line ends. A last row may be short.
 * NOMEM or TOO_LARGE when a cell could not be kept. */
AGI_MUST_USE enum agi_err ctl_table_render(const struct ctl_table *t, bool colour,
					   struct agi_buf *out);

/* Appends s with control characters and broken UTF-8 as \xNN. */
void ctl_put_harmless(struct agi_buf *out, struct agi_str s);
/* Columns s takes on a terminal: its code points (wide and combining characters are not told
 * apart). */
size_t ctl_text_width(struct agi_str s);
/* The escape sequence that starts the colour of a state word, or NULL for a word without one. */
const char *ctl_state_colour(struct agi_str word);

#endif
