/* SPDX-License-Identifier: Apache-2.0
 * Looking for English words in tool ids, which are UTF-8. Letters are folded as Unicode's lower-casing
 * folds them as far as it can yield ASCII: A-Z, and U+212A KELVIN SIGN, which becomes k. (U+0130 becomes i
 * and a combining dot, which no word here ends with or continues over, so it never matches.) */
#ifndef AGI_ROLES_SAFETY_GATEWAY_WORDS_H
#define AGI_ROLES_SAFETY_GATEWAY_WORDS_H

#include "base/str.h"

/* needle occurs anywhere in s, case folded. needle: lower-case ASCII letters, not empty. */
bool agi_folded_contains(struct agi_str s, const char *needle);
/* needle is a whole word of s: it begins and ends at an end of s, at an ASCII character that is no letter,
 * or where camelCase changes (loginUser, XMLParser; an all-capitals word ends where small letters begin). */
bool agi_folded_has_word(struct agi_str s, const char *needle);
/* s is exactly this lower-case ASCII text, case folded. */
bool agi_folded_equals(struct agi_str s, const char *text);

#endif
