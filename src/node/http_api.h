/* SPDX-License-Identifier: Apache-2.0
 * Plain HTTP on the overlay port and on role ports: GET /metrics (Prometheus text 0.0.4), /healthz, and
 * /v1/services/NAME, /v1/sd/prometheus (http_services.h). */
#ifndef AGI_NODE_HTTP_API_H
#define AGI_NODE_HTTP_API_H

#include "net/http.h"
#include "node/svc.h"

struct agi_http_api {
	struct agi_svc *svc;
	/* More metrics, appended as they are; may be NULL. */
	void (*more_metrics)(void *ctx, struct agi_buf *out);
	void *ctx;
	uint64_t lag_max_us; /* the loop's greatest lateness, set by its owner */
};

/* An agi_http_fn; ctx is a struct agi_http_api. */
int agi_http_api_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type);

#endif
