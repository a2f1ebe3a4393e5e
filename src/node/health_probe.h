/* SPDX-License-Identifier: Apache-2.0
 * One look at one address: does it accept (tcp), does it answer 2xx (http), does it say SERVING
 * (grpc). */
#ifndef AGI_NODE_HEALTH_PROBE_H
#define AGI_NODE_HEALTH_PROBE_H

#include "base/limits.h"
#include "node/health_config.h"

struct event_base;
struct agi_health_probe;
struct agi_tls_client;

/* detail: what was wrong; "" when healthy. */
typedef void agi_health_probed_fn(void *arg, bool is_healthy, const char *detail);

/* Keeps what is worth keeping between looks (the gRPC channel). address: HOST:PORT. NOMEM; INVALID
 * + why. */
AGI_MUST_USE enum agi_err agi_health_probe_new(struct event_base *base, struct agi_str address,
					       agi_health_probed_fn *fn, void *arg,
					       struct agi_health_probe **out, struct agi_why *why);
/* For looks of kind AGI_HEALTH_EXEC, which fail without it. Borrowed. */
struct agi_exec;
void agi_health_probe_set_exec(struct agi_health_probe *p, struct agi_exec *exec, const char *service);
/* Looks once: fn is called exactly once, within config's timeout, never before return. One look at
 * a time. A look of kind AGI_HEALTH_NONE is healthy. tls: for a config with is_tls, of which the
 * look fails when it is NULL; it outlives the probe. */
void agi_health_probe_look(struct agi_health_probe *p, const struct agi_health_config *config,
			   const struct agi_tls_client *tls);
/* The look that is on its way is forgotten. */
void agi_health_probe_cancel(struct agi_health_probe *p);
/* May be called from fn. NULL is allowed. */
void agi_health_probe_free(struct agi_health_probe *p);

#endif
