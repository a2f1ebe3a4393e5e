/* SPDX-License-Identifier: Apache-2.0
 * Time as a value: the core never asks for it, every event brings it. */
#ifndef AGI_BASE_CLOCK_H
#define AGI_BASE_CLOCK_H

#include <stdint.h>

struct agi_now {
	uint64_t mono_us; /* monotonic, microseconds; deadlines and round trips */
	uint64_t wall_ms; /* Unix time, milliseconds; item versions, expiry, people */
};

#define AGI_NEVER UINT64_MAX /* a deadline that does not come */

#endif
