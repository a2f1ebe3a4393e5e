/* SPDX-License-Identifier: Apache-2.0
 * Decimal numbers in texts from outside. */
#ifndef AGI_BASE_NUMBER_H
#define AGI_BASE_NUMBER_H

#include "base/str.h"

enum { AGI_NUMBER_TEXT_MAX = 63 }; /* bytes; no number that means something is longer */

/* The whole of s is [+-]digits[.digits][e[+-]digits] (or begins with the point) and stands for a finite number. No blanks,
 * no hexadecimal, no "inf", no "nan". *out is untouched when it is false. */
bool agi_number_parse(struct agi_str s, double *out);

#endif
