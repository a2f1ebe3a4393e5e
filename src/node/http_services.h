/* SPDX-License-Identifier: Apache-2.0
 * GET /v1/services/NAME: the healthy instances of a service, nearest first, as agihpc.v1.DiscoverResponse in JSON
 * (field names as in the proto). Others are {"error": …, "message": …}: 404 NOT_FOUND when none is known, 400 for an
 * impossible name, 401 and 403 as RegistryService/Discover would be refused, 503 when the registry cannot be asked. */
#ifndef AGI_NODE_HTTP_SERVICES_H
#define AGI_NODE_HTTP_SERVICES_H

#include "net/http.h"
#include "node/svc.h"

#define AGI_HTTP_SERVICES "/v1/services/"
enum { AGI_HTTP_FIND_MS = 2000 };

/* An agi_http_fn for paths that begin so; ctx is a struct agi_svc. */
int agi_http_services_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type);

#endif
