/* SPDX-License-Identifier: Apache-2.0
 * Roles that serve by policy (roles.<role> of the configuration): this host advertises ROLE-capable while it could serve
 * ROLE, and ROLE only while roles/activation.h says that it should. Roles without policy serve while they can. A host in standby still answers who asks it: it is only not offered. On the main loop's thread. */
#ifndef AGI_NODE_ACTIVATE_H
#define AGI_NODE_ACTIVATE_H

#include "node/advert.h"

enum { AGI_ACTIVATE_WHY_MAX = 160 };
struct agi_activate;
struct agi_activate_cfg {
	struct agi_dht_host *host;
	struct agi_adverts *adverts;
	const struct agi_config *config;
	struct agi_log *log;
	struct agi_id self;
};
AGI_MUST_USE enum agi_err agi_activate_new(const struct agi_activate_cfg *cfg, struct agi_activate **out);
/* NULL is allowed. */
void agi_activate_free(struct agi_activate *a);
/* Advertises a role of this host, a name of the program's. addr, traits: as agi_adverts_add_role. */
AGI_MUST_USE enum agi_err agi_activate_add(struct agi_activate *a, const char *role, const struct agi_addr *addr,
                                           uint32_t traits);
/* Once the core has started. */
void agi_activate_start(struct agi_activate *a);
/* Call it often: decides about once a second, and advertises the role accordingly. is_capable: it could serve now. */
void agi_activate_tell(struct agi_activate *a, const char *role, bool is_capable, uint32_t load_milli,
                       uint64_t now_us);
bool agi_activate_has_policy(const struct agi_activate *a, const char *role);
/* False: it has no policy, or is active. why: for people; may be NULL. */
bool agi_activate_is_standby(const struct agi_activate *a, const char *role, char why[AGI_ACTIVATE_WHY_MAX]);
/* ROLE-capable of a role that this version knows: nobody else may advertise it. */
bool agi_activate_is_reserved(struct agi_str service);
/* service: "ROLE-capable". */
void agi_activate_service(char out[AGI_SERVICE_NAME_MAX + 1], const char *role);
/* Appends gauges in Prometheus' text format. */
void agi_activate_metrics(const struct agi_activate *a, struct agi_buf *b);

#endif
