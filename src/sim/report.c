/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/report.h"

#include <inttypes.h>

static double percent_right(const struct agi_sim_result *r) { return r->lookups ? 100.0 * r->right / r->lookups : 0; }

/* --- table -------------------------------------------------------------------------------------------- */

static void spread(FILE *out, const char *name, struct agi_sim_samples *s, const char *unit)
{
	fprintf(out, "%-24s %10.2f %10.2f %10.2f %10.2f  %s\n", name, agi_sim_samples_mean(s),
	        agi_sim_samples_quantile(s, 0.5), agi_sim_samples_quantile(s, 0.99), agi_sim_samples_quantile(s, 1), unit);
}

static void load(FILE *out, const char *name, const struct agi_sim_load *l)
{
	fprintf(out, "%-24s %10.2f %10s %10s %10.2f  messages/s sent by a host\n", name, l->messages_per_s, "", "",
	        l->messages_per_s_max);
	fprintf(out, "%-24s %10.0f %10s %10s %10.0f  bytes/s sent by a host\n", "", l->bytes_per_s, "", "",
	        l->bytes_per_s_max);
}

void agi_sim_report_table(FILE *out, const struct agi_sim_opts *o, struct agi_sim_result *r)
{
	fprintf(out, "%u hosts, %u virtual nodes each, seed %" PRIu64 "; %u adversaries, %" PRIu64 " hosts left\n", o->nodes,
	        o->virtual_nodes, o->seed, r->adversaries, r->stops);
	fprintf(out, "%.0f s simulated in %.1f s of processor time, %" PRIu64 " events\n\n", r->simulated_s, r->cpu_s,
	        r->events);
	fprintf(out, "%-24s %10s %10s %10s %10s\n", "", "mean", "p50", "p99", "max");
	spread(out, "join", &r->join_ms, "ms");
	spread(out, "routing table", &r->table, "hosts");
	load(out, "idle", &r->idle);
	load(out, "with lookups", &r->busy);
	spread(out, "hops of a lookup", &r->hops, "");
	spread(out, "hosts asked", &r->asked, "");
	spread(out, "latency of a lookup", &r->latency_ms, "ms");
	fprintf(out, "\n%-24s %10.3f %%  (%u of %u)\n", "lookups right", percent_right(r), r->right, r->lookups);
	fprintf(out, "%-24s %10.2f %%  median of pairs, %.2f %% at p90\n", "error of coordinates",
	        100 * agi_sim_samples_quantile(&r->coord_error, 0.5), 100 * agi_sim_samples_quantile(&r->coord_error, 0.9));
	fprintf(out, "%-24s %10.2f  max/mean as first replica, %.2f as any\n", "slots of a host", r->slots_max_mean,
	        r->replicas_max_mean);
	fprintf(out, "%-24s %10.1f  KiB\n", "memory of a host", r->bytes_per_node / 1024);
	fprintf(out, "%-24s %016" PRIx64 "\n", "trace", r->trace);
}

/* --- JSON ------------------------------------------------------------------------------------------------ */

static void json_spread(FILE *out, const char *name, struct agi_sim_samples *s)
{
	fprintf(out, ", \"%s\": {\"mean\": %.6g, \"p50\": %.6g, \"p90\": %.6g, \"p99\": %.6g, \"max\": %.6g}", name,
	        agi_sim_samples_mean(s), agi_sim_samples_quantile(s, 0.5), agi_sim_samples_quantile(s, 0.9),
	        agi_sim_samples_quantile(s, 0.99), agi_sim_samples_quantile(s, 1));
}

static void json_load(FILE *out, const char *name, const struct agi_sim_load *l)
{
	fprintf(out, ", \"%s\": {\"messages_per_s\": %.6g, \"bytes_per_s\": %.6g, \"messages_per_s_max\": %.6g, "
	             "\"bytes_per_s_max\": %.6g}",
	        name, l->messages_per_s, l->bytes_per_s, l->messages_per_s_max, l->bytes_per_s_max);
}

void agi_sim_report_json(FILE *out, const struct agi_sim_opts *o, struct agi_sim_result *r)
{
	fprintf(out, "{\"nodes\": %u, \"virtual_nodes\": %u, \"seed\": %" PRIu64 ", \"joined\": %u, \"adversaries\": %u, "
	             "\"stops\": %" PRIu64,
	        o->nodes, o->virtual_nodes, o->seed, r->joined, r->adversaries, r->stops);
	json_spread(out, "join_ms", &r->join_ms);
	json_spread(out, "table", &r->table);
	json_load(out, "idle", &r->idle);
	json_load(out, "busy", &r->busy);
	json_spread(out, "hops", &r->hops);
	json_spread(out, "asked", &r->asked);
	json_spread(out, "latency_ms", &r->latency_ms);
	json_spread(out, "coord_error", &r->coord_error);
	fprintf(out, ", \"lookups\": %u, \"right\": %u, \"right_percent\": %.6g", r->lookups, r->right, percent_right(r));
	fprintf(out, ", \"slots_max_mean\": %.6g, \"replicas_max_mean\": %.6g, \"bytes_per_node\": %.0f", r->slots_max_mean,
	        r->replicas_max_mean, r->bytes_per_node);
	fprintf(out, ", \"simulated_s\": %.6g, \"cpu_s\": %.6g, \"events\": %" PRIu64 ", \"messages\": %" PRIu64
	             ", \"lost\": %" PRIu64 ", \"trace\": \"%016" PRIx64 "\"}\n",
	        r->simulated_s, r->cpu_s, r->events, r->messages, r->lost, r->trace);
}
