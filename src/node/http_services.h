/* SPDX-License-Identifier: Apache-2.0
 * GET /v1/services/NAME: the healthy instances of a service, nearest first, as agihpc.v1.DiscoverResponse in JSON
 * (field names as in the proto). Others are {"error": …, "message": …}: 404 NOT_FOUND when none is known, 400 for an
 * impossible name, 401 and 403 as RegistryService/Discover would be refused, 503 when the registry cannot be asked.
 *
 * GET /v1/sd/prometheus: every host this node knows of, those that are down too, as targets of Prometheus' HTTP service
 * discovery (http_sd_configs); /v1/sd/prometheus/NAME: the healthy instances of a service. Labels __meta_agihpc_node_id,
 * _zone, and _state (of hosts) or _service; __scheme__ is https where TLS is spoken. None is [] with status 200; errors
 * as above, with which Prometheus keeps what it had. */
#ifndef AGI_NODE_HTTP_SERVICES_H
#define AGI_NODE_HTTP_SERVICES_H

#include "net/http.h"
#include "node/svc.h"

#define AGI_HTTP_SERVICES "/v1/services/"
#define AGI_HTTP_SD "/v1/sd/prometheus"
enum { AGI_HTTP_FIND_MS = 2000 };

/* agi_http_fns for paths that begin so (the second: that are this, or have a '/' after it); ctx is a struct agi_svc. */
int agi_http_services_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type);
int agi_http_sd_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type);

#endif
