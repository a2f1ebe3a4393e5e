/* SPDX-License-Identifier: Apache-2.0
 * The emergency stop as one host knows it. The stop itself is one strong register of the overlay; every host that
 * judges plans or actions reads it again and again:
 *
 *   UNKNOWN ──a read says "not stopped"──► CLEAR ──older than AGI_STOP_VALID_MS──► UNKNOWN
 *      └────────── a read, or a notice, says "stopped" ──────────► SET ◄──────────────┘
 *   SET ──a read says "not stopped" with a later epoch──► CLEAR
 *
 * Whatever is not CLEAR blocks. A copy counts from when its read began, on the monotonic clock: so AGI_STOP_VALID_MS
 * after the stop was written no host can still hold it for clear, cut off or not. A notice comes from whoever wrote the
 * stop and makes it known at once; it can stop, never resume. Pure. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_LATCH_H
#define AGI_ROLES_SAFETY_GATEWAY_LATCH_H

#include <stdbool.h>

#include "base/buf.h"

enum {
	AGI_STOP_REFRESH_MS = 200,
	AGI_STOP_VALID_MS = 800,
	AGI_STOP_LOST_MS = 3000, /* not read for so long: this host serves no safety role */
	AGI_STOP_ID_BYTES = 16,
	AGI_STOP_REASON_MAX = 512, /* bytes, UTF-8 */
	AGI_STOP_WHO_MAX = 128
};
#define AGI_STOP_NAMESPACE "agihpc.safety" /* not writable by clients */
#define AGI_STOP_KEY "stop"

/* What the register holds; absent = epoch 0, not stopped. */
struct agi_stop_record {
	uint64_t epoch;   /* grows with every stop and resume */
	bool is_stopped;
	uint64_t at_ms;   /* wall clock of the node that wrote it */
	uint8_t id[AGI_STOP_ID_BYTES]; /* random, of this stop or resume */
	char reason[AGI_STOP_REASON_MAX + 1], source[AGI_STOP_WHO_MAX + 1], node[AGI_STOP_WHO_MAX + 1];
};
void agi_stop_encode(struct agi_buf *b, const struct agi_stop_record *r);
/* MALFORMED for bytes that are no record of this version; out is zero then. */
AGI_MUST_USE enum agi_err agi_stop_decode(struct agi_stop_record *out, struct agi_str bytes);
/* Cuts text to fit, at a character's boundary. */
void agi_stop_set_text(char *to, size_t max, struct agi_str text);

enum agi_stop { AGI_STOP_UNKNOWN, AGI_STOP_CLEAR, AGI_STOP_SET };
const char *agi_stop_name(enum agi_stop s); /* "unknown", "clear", "stopped" */

struct agi_latch {
	struct agi_stop_record known;
	uint64_t clear_until_us; /* monotonic; 0 = never read */
};
/* A linearizable read that began at began_us found r (NULL: no record). One that contradicts a later epoch known
 * already, from a notice or a read that overtook it, says nothing. */
void agi_latch_read(struct agi_latch *l, const struct agi_stop_record *r, uint64_t began_us);
/* A notice of the node that wrote r. True when it was news. */
bool agi_latch_told(struct agi_latch *l, const struct agi_stop_record *r);
enum agi_stop agi_latch_state(const struct agi_latch *l, uint64_t now_us);
/* Whether this host can judge at all, or has not been able to lately: a passing hiccup is no reason to withdraw. */
bool agi_latch_is_followed(const struct agi_latch *l, uint64_t now_us);

#endif
