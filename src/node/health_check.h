/* SPDX-License-Identifier: Apache-2.0
 * Health checks of the services registered on this host: tcp, http, grpc (grpc.health.v1), exec, ttl, none.
 * A check runs every interval, ends within its timeout, never overlaps itself, and reports every verdict
 * that differs from the last one (and the first one). An instance is unhealthy from its registration until
 * its first good check; after that one failed check makes it unhealthy (it is asked again after a quarter
 * of the interval), one good check healthy again: a dead service is out within two intervals.
 *
 * The configuration of a check is a serialized agihpc.v1.HealthCheck (proto/agihpc.proto), kept opaque by
 * the core with the registration so that it survives restarts.
 *
 * One event loop; names are resolved without blocking it. Not here: what a verdict is for (agi_dht_set_health). */
#ifndef AGI_NODE_HEALTH_CHECK_H
#define AGI_NODE_HEALTH_CHECK_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct event_base;
struct agi_health_checks;
struct agi_tls_client;

/* detail: why it is unhealthy, for people ("connection refused"); "" when healthy. Called from the loop, never
 * from inside another function of this module. It may call agi_health_checks_set and _remove. */
typedef void agi_health_verdict_fn(void *ctx, struct agi_str service, struct agi_str address,
                                   bool is_healthy, const char *detail);

AGI_MUST_USE enum agi_err agi_health_checks_new(struct event_base *base, agi_health_verdict_fn *fn,
                                                void *ctx, struct agi_health_checks **out);
/* Where checks of services that speak TLS get what they trust and show, asked for each (net/tls.h); without
 * it, or while it gives NULL, they fail. */
void agi_health_checks_set_tls(struct agi_health_checks *h,
                               const struct agi_tls_client *(*tls)(void *ctx), void *ctx);
/* Programs and directories of programs (absolute paths) that checks of kind exec may run; none without it. Borrowed.
 * NOMEM. */
struct agi_config_list;
AGI_MUST_USE enum agi_err agi_health_checks_permit(struct agi_health_checks *h, const struct agi_config_list *programs);
/* As agi_health_config_check, and DENIED + why when its program is not permitted. */
AGI_MUST_USE enum agi_err agi_health_checks_accept(const struct agi_health_checks *h, struct agi_str config,
                                                   struct agi_why *why);
/* NULL is allowed. No verdict follows. */
void agi_health_checks_free(struct agi_health_checks *h);

/* INVALID + why (names the field and what would be right) when config cannot be run: it does not decode, the
 * kind is unknown, the interval is not 100..3600000 ms, the timeout is above the interval. */
AGI_MUST_USE enum agi_err agi_health_config_check(struct agi_str config, struct agi_why *why);
/* What config says of the service, as agi_provider_trait. */
uint32_t agi_health_config_traits(struct agi_str config);
/* Checks (service, address) from now on, first at once. The same pair again: takes the new configuration and
 * goes on, its last verdict is reported anew. Empty config = the defaults. FULL at AGI_LOCAL_SERVICES_MAX. */
AGI_MUST_USE enum agi_err agi_health_checks_set(struct agi_health_checks *h, struct agi_str service,
                                                struct agi_str address, struct agi_str config,
                                                struct agi_why *why);
/* The service of a check of kind ttl says how it is; the verdict follows, and another, unhealthy, when the next word of it
 * does not come within the interval. detail: why it is unwell. NOT_FOUND: there is no such check; INVALID: it is of
 * another kind. */
AGI_MUST_USE enum agi_err agi_health_checks_heartbeat(struct agi_health_checks *h, struct agi_str service,
                                                      struct agi_str address, bool is_well, struct agi_str detail,
                                                      struct agi_why *why);
/* Unknown pairs are ignored. */
void agi_health_checks_remove(struct agi_health_checks *h, struct agi_str service,
                              struct agi_str address);

#endif
