/* SPDX-License-Identifier: Apache-2.0
 * Errors as values. What the world can cause returns enum agi_err; what only our own bug can cause
 * asserts. The list, with texts and gRPC codes, is err.def. */
#ifndef AGI_BASE_ERR_H
#define AGI_BASE_ERR_H

#include <stdbool.h>

enum agi_err {
#define AGI_ERR(name, grpc, retry, text) AGI_E_##name,
#include "base/err.def"
#undef AGI_ERR
	AGI_E_COUNT
};
#define AGI_OK AGI_E_OK

/* gRPC status codes, numbered as on the wire. */
enum agi_grpc_status {
	AGI_GRPC_OK = 0,
	AGI_GRPC_CANCELLED = 1,
	AGI_GRPC_UNKNOWN = 2,
	AGI_GRPC_INVALID_ARGUMENT = 3,
	AGI_GRPC_DEADLINE_EXCEEDED = 4,
	AGI_GRPC_NOT_FOUND = 5,
	AGI_GRPC_ALREADY_EXISTS = 6,
	AGI_GRPC_PERMISSION_DENIED = 7,
	AGI_GRPC_RESOURCE_EXHAUSTED = 8,
	AGI_GRPC_FAILED_PRECONDITION = 9,
	AGI_GRPC_ABORTED = 10,
	AGI_GRPC_OUT_OF_RANGE = 11,
	AGI_GRPC_UNIMPLEMENTED = 12,
	AGI_GRPC_INTERNAL = 13,
	AGI_GRPC_UNAVAILABLE = 14,
	AGI_GRPC_DATA_LOSS = 15,
	AGI_GRPC_UNAUTHENTICATED = 16
};

#define AGI_MUST_USE __attribute__((warn_unused_result))
#define AGI_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* "STALE_EPOCH" */
const char *agi_err_name(enum agi_err e);
/* "the slot's view has a newer epoch" */
const char *agi_err_text(enum agi_err e);
enum agi_grpc_status agi_err_grpc(enum agi_err e);
bool agi_err_is_retryable(enum agi_err e);
/* "UNAVAILABLE"; "CODE_<n>" is never returned: out of range gives "UNKNOWN". */
const char *agi_grpc_status_name(enum agi_grpc_status s);

/* What was wrong and what would be right, for a person. Filled on error only; always terminated. */
struct agi_why {
	char text[320];
};
/* Formats into why (NULL is allowed and ignored) and returns e, so that
 * `return agi_fail(why, AGI_E_INVALID, "port %d: expected 1..65535", p);` is the whole error path. */
enum agi_err agi_fail(struct agi_why *why, enum agi_err e, const char *fmt, ...) AGI_PRINTF(3, 4);

#endif
