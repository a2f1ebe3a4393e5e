/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
	const char *name;
	const char *text;
	enum agi_grpc_status grpc;
	bool is_retryable;
} errors[] = {
#define AGI_ERR(name, grpc, retry, text) {#name, text, AGI_GRPC_##grpc, retry},
#include "base/err.def"
#undef AGI_ERR
};

static const char *const grpc_names[] = {
    "OK",          "CANCELLED",          "UNKNOWN",           "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED", "NOT_FOUND",    "ALREADY_EXISTS",    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",   "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL",         "UNAVAILABLE",       "DATA_LOSS",
    "UNAUTHENTICATED"};

static unsigned index_of(enum agi_err e)
{
	return (unsigned)e < AGI_E_COUNT ? (unsigned)e : AGI_E_INTERNAL;
}

const char *agi_err_name(enum agi_err e) { return errors[index_of(e)].name; }
const char *agi_err_text(enum agi_err e) { return errors[index_of(e)].text; }
enum agi_grpc_status agi_err_grpc(enum agi_err e) { return errors[index_of(e)].grpc; }
bool agi_err_is_retryable(enum agi_err e) { return errors[index_of(e)].is_retryable; }

const char *agi_grpc_status_name(enum agi_grpc_status s)
{
	return (unsigned)s <= AGI_GRPC_UNAUTHENTICATED ? grpc_names[s] : "UNKNOWN";
}

enum agi_err agi_fail(struct agi_why *why, enum agi_err e, const char *fmt, ...)
{
	if (why) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(why->text, sizeof why->text, fmt, ap);
		va_end(ap);
	}
	return e;
}
