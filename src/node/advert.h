/* SPDX-License-Identifier: Apache-2.0
 * What this node advertises of itself, by configuration: its roles, and the services of dht.services. Each
 * is registered in the core (ephemeral: a later configuration without it leaves nothing behind), again and
 * again until that succeeds. Also sets health checks running for services, configured or registered by
 * clients in an earlier life. */
#ifndef AGI_NODE_ADVERT_H
#define AGI_NODE_ADVERT_H

#include "config/config.h"
#include "node/dht_host.h"
#include "node/health_check.h"

struct agi_log;
struct agi_adverts;

AGI_MUST_USE enum agi_err agi_adverts_new(struct agi_dht_host *host, struct agi_health_checks *checks,
                                          struct agi_log *log, struct agi_adverts **out);
/* NULL is allowed. Open registrations are cancelled. */
void agi_adverts_free(struct agi_adverts *a);
/* A role of this node: its health is told by agi_adverts_set_role. traits: of agi_provider_trait. Strings are
 * copied. */
AGI_MUST_USE enum agi_err agi_adverts_add_role(struct agi_adverts *a, const char *role,
                                               const struct agi_addr *addr, uint32_t traits);
/* ip: the host part when the service names none. */
AGI_MUST_USE enum agi_err agi_adverts_add_service(struct agi_adverts *a,
                                                  const struct agi_config_service *s,
                                                  const struct agi_addr *ip, struct agi_why *why);
/* Health checks for what the core loaded from disk. */
void agi_adverts_check_loaded(struct agi_adverts *a);
/* Registers what is not registered yet. Call it about once a second. */
void agi_adverts_tick(struct agi_adverts *a);
/* load_milli: 0 idle … 1000 full. Told to the core when it changed. */
void agi_adverts_set_role(struct agi_adverts *a, const char *role, bool is_serving,
                          uint32_t load_milli);

#endif
