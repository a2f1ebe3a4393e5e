/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/measure.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "dht/slot.h"
#include "sim/rings.h"
#include "sim/world.h"

enum {
	BALANCE_SLOT_BITS = AGI_SLOT_BITS_DEFAULT,
	COORD_PAIRS = 20000,
	JOIN_LIMIT_S = 3600 /* all have joined by then, or never will */
};

struct lookup {
	struct agi_id target;
	uint64_t begun_us;
	const struct agi_sim_node *nearest; /* when it began */
};
struct run {
	struct agi_sim_world w;
	struct agi_sim_result *r;
	struct agi_prng prng;   /* who looks up what */
	struct lookup *lookup;
	uint32_t n_begun;
	double bytes_before;
	double cpu_before;
};

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Resident memory: what was allocated and never touched costs a daemon nothing either. */
static double bytes_in_use(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	double pages = 0;

	if (f && fscanf(f, "%*f %lf", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (double)sysconf(_SC_PAGESIZE);
}

static void say(const struct run *run, const char *what)
{
	if (!run->w.opts.is_quiet)
		fprintf(stderr, "agihpc-sim: %8.1f s simulated, %6.1f s of processor: %s (%u of %u hosts joined)\n",
		        (double)run->w.now_us / 1e6, cpu_seconds() - run->cpu_before, what, run->w.n_joined, run->w.opts.nodes);
}

/* --- lookups ------------------------------------------------------------------------------------------ */

static struct agi_sim_node *any_honest(struct run *run)
{
	struct agi_sim_world *w = &run->w;
	uint32_t first = (uint32_t)agi_prng_below(&run->prng, w->opts.nodes);

	for (uint32_t i = 0; i < w->opts.nodes; i++) {
		struct agi_sim_node *n = &w->node[(first + i) % w->opts.nodes];

		if (n->is_joined && !agi_sim_world_is_adversary(n))
			return n;
	}
	return NULL;
}

static void begin_lookup(void *user, const struct agi_sim_event *e)
{
	struct run *run = user;
	struct agi_sim_node *n = any_honest(run);
	struct lookup *l = &run->lookup[run->n_begun];
	struct agi_call call = {.kind = AGI_CALL_LOOKUP};

	(void)e;
	if (!n)
		return;
	for (int i = 0; i < AGI_ID_BYTES; i++)
		l->target.b[i] = (uint8_t)agi_prng_u64(&run->prng);
	l->begun_us = run->w.now_us;
	l->nearest = agi_sim_world_nearest(&run->w, &l->target);
	call.target = l->target;
	run->n_begun++;
	agi_sim_world_call(n, run->n_begun, &call);
}

/* Somebody who has just come may be found before it counts as joined. */
static bool is_right(struct run *run, const struct lookup *l, const struct agi_sim_node *found)
{
	struct agi_sim_node *now = agi_sim_world_nearest(&run->w, &l->target);

	if (!found || found == l->nearest || found == now)
		return found != NULL;
	return found->dht && now && agi_sim_world_distance(found, &l->target) < agi_sim_world_distance(now, &l->target);
}

static struct agi_sim_node *first_honest(struct run *run, const struct agi_result *res)
{
	for (size_t i = 0; i < res->n_contacts; i++) {
		struct agi_sim_node *n = agi_sim_world_find(&run->w, &res->contacts[i].id);

		if (n && !agi_sim_world_is_adversary(n))
			return n;
	}
	return NULL;
}

/* Rounds until this host was asked; it is 0 for who looked up itself. */
static uint32_t hops_to(const struct agi_result *res, const struct agi_id *id)
{
	for (size_t i = 0; i < res->n_hops; i++)
		if (agi_id_eq(&res->hops[i].contact.id, id))
			return res->hops[i].round;
	return 0;
}

static void end_lookup(void *user, struct agi_sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	struct run *run = user;
	struct agi_sim_result *r = run->r;
	struct lookup *l = &run->lookup[call_id - 1];
	struct agi_sim_node *found = res->err == AGI_OK ? first_honest(run, res) : NULL;

	(void)n;
	r->lookups++;
	agi_sim_samples_add(&r->latency_ms, (double)(run->w.now_us - l->begun_us) / 1000);
	agi_sim_samples_add(&r->asked, (double)res->n_hops);
	if (!is_right(run, l, found))
		return;
	r->right++;
	agi_sim_samples_add(&r->hops, hops_to(res, &found->id));
}

/* --- windows -------------------------------------------------------------------------------------------- */

static void begin_window(struct run *run)
{
	for (uint32_t i = 0; i < run->w.opts.nodes; i++)
		run->w.node[i].sent = (struct agi_sim_traffic){0};
}

static void end_window(struct run *run, double seconds, struct agi_sim_load *load)
{
	uint64_t messages = 0, bytes = 0, messages_max = 0, bytes_max = 0;

	for (uint32_t i = 0; i < run->w.opts.nodes; i++) {
		const struct agi_sim_traffic *t = &run->w.node[i].sent;

		messages += t->messages;
		bytes += t->bytes;
		messages_max = t->messages > messages_max ? t->messages : messages_max;
		bytes_max = t->bytes > bytes_max ? t->bytes : bytes_max;
	}
	seconds = seconds > 0 ? seconds : 1;
	load->messages_per_s = (double)messages / seconds / run->w.opts.nodes;
	load->bytes_per_s = (double)bytes / seconds / run->w.opts.nodes;
	load->messages_per_s_max = (double)messages_max / seconds;
	load->bytes_per_s_max = (double)bytes_max / seconds;
}

static void run_for(struct run *run, double seconds)
{
	agi_sim_world_run(&run->w, run->w.now_us + (uint64_t)(seconds * 1e6));
}

/* --- what can be counted at one moment -------------------------------------------------------------------- */

static void count_tables(struct run *run)
{
	for (uint32_t i = 0; i < run->w.opts.nodes; i++) {
		struct agi_dht_status s;

		if (!run->w.node[i].is_joined)
			continue;
		agi_dht_status(run->w.node[i].dht, &s);
		agi_sim_samples_add(&run->r->table, s.members_up + s.members_suspect);
	}
}

/* The ring of everybody, as a host that knows all of them would have it. */
static void build_ring(const struct agi_sim_world *w, struct agi_ring *ring, struct agi_contact *contacts)
{
	size_t n = 0;

	for (uint32_t i = 0; i < w->opts.nodes; i++)
		if (w->node[i].is_joined)
			contacts[n++] = (struct agi_contact){.id = w->node[i].id, .weight_milli = 1000};
	agi_sim_ring_build(ring, contacts, n, w->opts.virtual_nodes);
}

static double max_by_mean(const uint32_t *count, size_t n)
{
	uint64_t sum = 0;
	uint32_t max = 0;

	for (size_t i = 0; i < n; i++) {
		sum += count[i];
		max = count[i] > max ? count[i] : max;
	}
	return sum ? max * (double)n / (double)sum : 0;
}

static void count_slots(struct run *run)
{
	struct agi_sim_world *w = &run->w;
	struct agi_contact *contacts = agi_sim_alloc(w->n_joined, sizeof *contacts);
	uint32_t *first = agi_sim_alloc(w->n_joined, sizeof *first), *any = agi_sim_alloc(w->n_joined, sizeof *any);
	const struct agi_contact *owners[AGI_REPLICAS_MAX];
	struct agi_ring ring;

	build_ring(w, &ring, contacts);
	for (uint32_t s = 0; s < 1u << BALANCE_SLOT_BITS; s++) {
		size_t n = agi_slot_ideal(&ring, s, BALANCE_SLOT_BITS, AGI_REPLICAS_DEFAULT, owners);

		for (size_t i = 0; i < n; i++) {
			first[owners[i] - contacts] += i == 0;
			any[owners[i] - contacts]++;
		}
	}
	run->r->slots_max_mean = max_by_mean(first, ring.n_hosts);
	run->r->replicas_max_mean = max_by_mean(any, ring.n_hosts);
	agi_ring_free(&ring);
	free(contacts);
	free(first);
	free(any);
}

/* How well do coordinates foretell round trips? */
static void compare_coordinates(struct run *run)
{
	struct agi_sim_world *w = &run->w;

	for (uint32_t i = 0; i < COORD_PAIRS; i++) {
		const struct agi_sim_node *a = &w->node[agi_prng_below(&run->prng, w->opts.nodes)];
		const struct agi_sim_node *b = &w->node[agi_prng_below(&run->prng, w->opts.nodes)];
		double rtt_ms = agi_sim_latency_rtt_us(&w->latency, a->index, b->index) / 1000.0;

		if (a != b && a->has_coord && b->has_coord)
			agi_sim_samples_add(&run->r->coord_error, fabs(agi_coord_estimate_ms(&a->coord, &b->coord) - rtt_ms) / rtt_ms);
	}
}

/* --- phases ------------------------------------------------------------------------------------------------- */

static void note_joined(void *user, struct agi_sim_node *n)
{
	struct run *run = user;

	agi_sim_samples_add(&run->r->join_ms, (double)(run->w.now_us - n->started_us) / 1000);
}

static enum agi_err join_all(struct run *run, struct agi_why *why)
{
	struct agi_sim_world *w = &run->w;
	uint64_t limit_us;

	for (uint32_t i = 0; i < w->opts.nodes; i++) /* the founder a little earlier */
		agi_sim_world_push(w, w->now_us + (i ? 2000000 + (uint64_t)(i / w->opts.join_per_s * 1e6) : 0), AGI_SIM_START, i);
	limit_us = w->now_us + (uint64_t)((w->opts.nodes / w->opts.join_per_s + JOIN_LIMIT_S) * 1e6);
	while (w->n_joined < w->opts.nodes && w->now_us < limit_us) {
		run_for(run, 10);
		say(run, "joining");
	}
	if (w->n_joined == w->opts.nodes)
		return AGI_OK;
	return agi_fail(why, AGI_E_TIMEOUT, "only %u of %u hosts have joined after %.0f s", w->n_joined, w->opts.nodes,
	                (double)w->now_us / 1e6);
}

static void look_up(struct run *run)
{
	struct agi_sim_world *w = &run->w;
	double every_us = w->opts.duration_s * 1e6 / (w->opts.lookups ? w->opts.lookups : 1);

	for (uint32_t i = 0; i < w->opts.lookups; i++)
		agi_sim_world_push(w, w->now_us + (uint64_t)(i * every_us), AGI_SIM_LOOKUP, 0);
	begin_window(run);
	agi_sim_world_churn(w);
	run_for(run, w->opts.duration_s);
	end_window(run, w->opts.duration_s, &run->r->busy);
	run_for(run, AGI_CALL_TIMEOUT_MS / 1000.0 + 1); /* those still under way */
}

static enum agi_err run_all(struct run *run, struct agi_why *why)
{
	struct agi_sim_world *w = &run->w;
	enum agi_err err = join_all(run, why);

	if (err != AGI_OK)
		return err;
	run_for(run, w->opts.settle_s);
	say(run, "settled");
	begin_window(run);
	run_for(run, w->opts.idle_s);
	end_window(run, w->opts.idle_s, &run->r->idle);
	for (uint32_t i = 0; i < w->opts.nodes; i++)
		agi_sim_samples_add(&run->r->sent, (double)w->node[i].sent.messages / w->opts.idle_s);
	say(run, "idle traffic measured");
	run->r->joined = w->n_joined;
	run->r->bytes_per_node = (bytes_in_use() - run->bytes_before) / w->opts.nodes;
	count_tables(run);
	count_slots(run);
	compare_coordinates(run);
	look_up(run);
	say(run, "lookups done");
	return AGI_OK;
}

enum agi_err agi_sim_measure(const struct agi_sim_opts *o, struct agi_sim_result *out, struct agi_why *why)
{
	struct run run = {.r = out, .bytes_before = bytes_in_use(), .cpu_before = cpu_seconds()};
	enum agi_err err;

	*out = (struct agi_sim_result){0};
	err = agi_sim_world_init(&run.w, o, why);
	if (err != AGI_OK)
		return err;
	run.lookup = agi_sim_alloc(o->lookups, sizeof *run.lookup);
	agi_prng_seed(&run.prng, o->seed ^ 0x6c6f6f6b7570); /* "lookup" */
	run.w.user = &run;
	run.w.on_event = begin_lookup;
	run.w.on_reply = end_lookup;
	run.w.on_joined = note_joined;
	err = run_all(&run, why);
	out->simulated_s = (double)run.w.now_us / 1e6;
	out->cpu_s = cpu_seconds() - run.cpu_before;
	out->events = run.w.n_events;
	out->messages = run.w.n_messages;
	out->lost = run.w.n_lost;
	out->stops = run.w.n_stops;
	out->adversaries = run.w.attack.n_adversaries;
	out->trace = run.w.trace;
	agi_sim_world_free(&run.w);
	free(run.lookup);
	return err;
}

void agi_sim_result_free(struct agi_sim_result *r)
{
	agi_sim_samples_free(&r->join_ms);
	agi_sim_samples_free(&r->table);
	agi_sim_samples_free(&r->sent);
	agi_sim_samples_free(&r->coord_error);
	agi_sim_samples_free(&r->hops);
	agi_sim_samples_free(&r->latency_ms);
	agi_sim_samples_free(&r->asked);
}
