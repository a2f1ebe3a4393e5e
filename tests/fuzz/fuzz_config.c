/* SPDX-License-Identifier: Apache-2.0
 * Configuration files with anything in them: refused with a reason, or taken; what was taken can be dumped, and the dump
 * loads. */
#include <assert.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_dump(const struct agi_config *c)
{
	struct agi_config again;
	struct agi_why why = {""};
	struct agi_buf text;
	enum agi_err e = agi_config_defaults(&again, &why);

	assert(!e);
	agi_buf_init(&text, 0);
	agi_config_dump(c, &text);
	assert(!text.err);
	e = agi_config_load_text(&again, "dump.yaml", agi_buf_str(&text), &why);
	assert(!e);
	agi_config_free(&again);
	agi_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agi_config c;
	struct agi_why why = {""};
	enum agi_err e = agi_config_defaults(&c, &why);

	assert(!e);
	if (agi_config_load_text(&c, "fuzz.yaml", (struct agi_str){(const char *)data, n}, &why))
		assert(why.text[0]);
	else if (agi_config_check(&c, &why))
		assert(why.text[0]);
	else
		check_dump(&c);
	agi_config_free(&c);
	return 0;
}
