/* SPDX-License-Identifier: Apache-2.0 */
#include "node/bootstrap.h"

#include <poll.h>

#include "node/netif.h"

bool agi_bootstrap_wait(struct agi_resolver *r, uint32_t wait_ms, struct agi_resolved *out)
{
	struct pollfd p = {.fd = agi_resolver_fd(r), .events = POLLIN};

	return agi_resolver_begin(r) == AGI_OK && poll(&p, 1, (int)wait_ms) == 1 &&
	       agi_resolver_take(r, out);
}

void agi_bootstrap_advertise(struct agi_addr *out, const struct agi_addr *given,
                             const struct agi_addr *listen, const struct agi_resolved *list)
{
	*out = given->port ? *given : *listen;
	if (!agi_ip_is_wildcard(out))
		return;
	for (size_t i = 0; i < list->n; i++)
		if (!agi_ip_is_local(&list->addr[i]) && agi_ip_towards(out, &list->addr[i]) == AGI_OK)
			return;
	agi_ip_of_host(out);
}

void agi_bootstrap_name_self(struct agi_resolved *list, const struct agi_addr *advertise,
                             const struct agi_addr *listen)
{
	if (!agi_ip_is_wildcard(listen))
		return;
	for (size_t i = 0; i < list->n; i++)
		if (list->addr[i].port == listen->port && agi_ip_is_local(&list->addr[i]))
			list->addr[i] = *advertise;
}

bool agi_bootstrap_is_first(const struct agi_resolved *list, const struct agi_addr *advertise)
{
	return list->is_first_known && agi_addr_eq(&list->addr[0], advertise);
}
