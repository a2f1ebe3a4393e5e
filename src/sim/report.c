/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/report.h"

#include <inttypes.h>

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
	double share = r->lookups ? 100.0 * r->right / r->lookups : 0;

	fprintf(out, "%u hosts, %u virtual nodes each, seed %" PRIu64 "; %.0f s simulated in %.1f s, %" PRIu64 " events\n\n",
	        o->nodes, o->virtual_nodes, o->seed, r->simulated_s, r->real_s, r->events);
	fprintf(out, "%-24s %10s %10s %10s %10s\n", "", "mean", "p50", "p99", "max");
	spread(out, "join", &r->join_ms, "ms");
	spread(out, "routing table", &r->table, "hosts");
	load(out, "idle", &r->idle);
	load(out, "with lookups", &r->busy);
	spread(out, "hops of a lookup", &r->hops, "");
	spread(out, "hosts asked", &r->asked, "");
	spread(out, "latency of a lookup", &r->latency_ms, "ms");
	fprintf(out, "\n%-24s %10.3f %%  (%u of %u)\n", "lookups right", share, r->right, r->lookups);
	fprintf(out, "%-24s %10.2f  max/mean as first replica, %.2f as any\n", "slots of a host", r->slots_max_mean,
	        r->replicas_max_mean);
	fprintf(out, "%-24s %10.1f  KiB\n", "memory of a host", r->bytes_per_node / 1024);
	fprintf(out, "%-24s %016" PRIx64 "\n", "trace", r->trace);
}
