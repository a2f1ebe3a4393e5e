/* SPDX-License-Identifier: Apache-2.0
 * Metrics that events drive, and those of the process, in the Prometheus text format 0.0.4. The
 * list is metrics.def; what can be asked for at any time (members, slots, store, links) is written
 * by http_api.c.
 *
 * Series are bounded: AGI_METRICS_METHODS_MAX gRPC methods, later ones counted under "other".
 *
 * Threads: each loop counts in an agi_metrics of its own, its only writer; one of them, whose thread
 * writes the text, adds up the others (agi_metrics_add_part). */
#ifndef AGI_NODE_METRICS_H
#define AGI_NODE_METRICS_H

#include "base/buf.h"
#include "node/safety_plane.h"

enum { AGI_METRICS_METHODS_MAX = 128 /* a node serves about 60 */ };

struct agi_metrics;

AGI_MUST_USE enum agi_err agi_metrics_new(struct agi_metrics **out);
void agi_metrics_free(struct agi_metrics *m);

/* What part counts is written with m from now on. Before part's thread starts; part outlives m's last
 * agi_metrics_write. */
void agi_metrics_add_part(struct agi_metrics *m, struct agi_metrics *part);

/* An agi_grpc_observe_fn; ctx is a struct agi_metrics. service and method must live as long as it
 * does (those of the generated descriptors do). */
void agi_metrics_on_grpc(void *ctx, const char *service, const char *method,
			 enum agi_grpc_kind kind, enum agi_grpc_status status, uint64_t micros);
/* agi_safety_hooks.observe, without its context. */
void agi_metrics_on_safety(struct agi_metrics *m, const struct agi_safety_event *e);

/* Appends everything, process_… included; ctx is a struct agi_metrics (fits
 * agi_http_api.more_metrics). NOMEM in out when the parts cannot be added up. */
void agi_metrics_write(void *ctx, struct agi_buf *out);
/* process_…: CPU time, memory, descriptors, threads, start time, from /proc/self. What cannot be
 * read is left out. */
void agi_metrics_write_process(struct agi_buf *out);

#endif
