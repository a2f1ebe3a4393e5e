/* SPDX-License-Identifier: Apache-2.0
 * The configuration of a health check: agihpc.v1.HealthCheck, checked and with its defaults filled
 * in. */
#ifndef AGI_NODE_HEALTH_CONFIG_H
#define AGI_NODE_HEALTH_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
	AGI_HEALTH_INTERVAL_DEFAULT_MS = 5000,
	AGI_HEALTH_TIMEOUT_DEFAULT_MS = 1000, /* or the interval when that is shorter */
	AGI_HEALTH_INTERVAL_MIN_MS = 100,
	AGI_HEALTH_INTERVAL_MAX_MS = 3600000,
	AGI_HEALTH_PATH_MAX = 255, /* bytes of an HTTP path, a gRPC service name or a program's path */
	AGI_HEALTH_ARGS_MAX = 16,
	AGI_HEALTH_ARGS_BYTES = 1024 /* of all arguments with their zero bytes */
};

enum agi_health_kind {
	AGI_HEALTH_TCP,
	AGI_HEALTH_HTTP,
	AGI_HEALTH_GRPC,
	AGI_HEALTH_NONE,
	AGI_HEALTH_EXEC,
	AGI_HEALTH_TTL
};

struct agi_health_config {
	enum agi_health_kind kind;
	bool is_tls;
	uint32_t interval_ms, timeout_ms;
	char path[AGI_HEALTH_PATH_MAX + 1];
	/* EXEC */
	uint32_t n_args;
	char args[AGI_HEALTH_ARGS_BYTES]; /* each with its zero byte */
};

/* From the wire form; empty = the defaults. INVALID + why as agi_health_config_check promises; *out
 * is written on success only. */
AGI_MUST_USE enum agi_err agi_health_config_read(struct agi_health_config *out, struct agi_str wire,
						 struct agi_why *why);

#endif
