/* SPDX-License-Identifier: Apache-2.0
 * The command lines of agihpc-health: that of grpcurl ("-plaintext HOST:PORT SERVICE/METHOD") and that of
 * grpc_health_probe ("-addr=HOST:PORT"). Options begin with one dash or two and take their value after '='
 * or as the next word. */
#ifndef AGI_CTL_HEALTH_ARGS_H
#define AGI_CTL_HEALTH_ARGS_H

#include "base/err.h"
#include "ctl/units.h"

enum { HEALTH_TIMEOUT_MS = 10000, HEALTH_PROBE_TIMEOUT_MS = 1000 };

struct health_args {
	bool is_probe; /* the second form, or called grpc_health_probe; known also after an error */
	bool wants_help, wants_version;
	bool has_defaults; /* -emit-defaults */
	char target[CTL_TARGET_TEXT + 8]; /* for agi_grpc_channel_new */
	const char *symbol;               /* "list", or "package.Service/Method"; NULL: of a probe */
	const char *of;                   /* list: a service whose methods are listed; NULL = all services */
	const char *data;                 /* -d; NULL = an empty message */
	const char *token;                /* of -H "authorization: Bearer TOKEN"; NULL = none */
	const char *service;              /* probe: -service; "" = overall */
	uint32_t timeout_ms;              /* of everything */
	const char *ca_file, *cert_file, *key_file, *server_name; /* TLS; NULL = not given */
};

/* INVALID + why, in one line. Words of argv are kept, not copied. */
AGI_MUST_USE enum agi_err health_args_parse(struct health_args *out, int argc, char **argv,
					    struct agi_why *why);

#endif
