/* SPDX-License-Identifier: Apache-2.0 */
#include "base/storage.h"

#include <assert.h>

const char *agi_cf_name(enum agi_cf cf)
{
	static const char *const names[AGI_CF_COUNT] = {
	    [AGI_CF_META] = "meta",   [AGI_CF_ITEMS] = "items",       [AGI_CF_VIEWS] = "views",
	    [AGI_CF_HINTS] = "hints", [AGI_CF_REGISTRY] = "registry", [AGI_CF_STRONG] = "strong",
	    [AGI_CF_AUDIT] = "audit"};

	assert((unsigned)cf < AGI_CF_COUNT);
	return names[cf];
}
