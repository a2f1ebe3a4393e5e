/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/types.h"

const char *agi_view_phase_name(enum agi_view_phase p)
{
	static const char *const names[] = {"none",   "active",  "joining",
	                                    "sealed", "leaving", "forward"};

	return (unsigned)p < sizeof names / sizeof *names ? names[p] : "invalid";
}

const char *agi_level_name(enum agi_level l)
{
	static const char *const names[] = {"one", "quorum", "all", "strong"};

	return (unsigned)l < 4 ? names[l] : "invalid";
}

enum agi_err agi_level_parse(enum agi_level *out, struct agi_str s)
{
	for (int l = AGI_LEVEL_ONE; l <= AGI_LEVEL_STRONG; l++) {
		if (agi_str_eq(s, agi_str_of(agi_level_name((enum agi_level)l)))) {
			*out = (enum agi_level)l;
			return AGI_OK;
		}
	}
	return AGI_E_INVALID;
}
