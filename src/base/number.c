/* SPDX-License-Identifier: Apache-2.0 */
#include "base/number.h"

#include <math.h>
#include <stdlib.h>

static size_t digits(const char *p)
{
	size_t n = 0;

	while (p[n] >= '0' && p[n] <= '9')
		n++;
	return n;
}

/* z is terminated, so every look at the next byte is in bounds. */
static bool is_decimal(const char *z)
{
	size_t whole, part = 0;

	z += *z == '+' || *z == '-';
	whole = digits(z);
	z += whole;
	if (*z == '.') {
		part = digits(z + 1);
		z += 1 + part;
	}
	if (whole + part == 0)
		return false;
	if (*z == 'e' || *z == 'E') {
		z++;
		z += *z == '+' || *z == '-';
		if (!digits(z))
			return false;
		z += digits(z);
	}
	return !*z;
}

bool agi_number_parse(struct agi_str s, double *out)
{
	char z[AGI_NUMBER_TEXT_MAX + 1];
	double v;

	if (s.n == 0 || s.n > AGI_NUMBER_TEXT_MAX || memchr(s.p, 0, s.n))
		return false;
	memcpy(z, s.p, s.n);
	z[s.n] = '\0';
	if (!is_decimal(z))
		return false;
	v = strtod(z, NULL);
	if (!isfinite(v))
		return false;
	*out = v;
	return true;
}
