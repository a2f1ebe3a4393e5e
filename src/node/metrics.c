/* SPDX-License-Identifier: Apache-2.0 */
#include "node/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum metric {
#define AGI_METRIC(id, type, name, help, label, values, buckets) M_##id,
#include "node/metrics.def"
#undef AGI_METRIC
	METRICS
};

enum type { COUNTER, GAUGE, HISTOGRAM, GRPC_COUNTER, GRPC_HISTOGRAM };
enum { VALUES_MAX = 32, BUCKETS_MAX = 16, STATUSES = AGI_GRPC_UNAUTHENTICATED + 1 };

/* The i-th value of a label: "" = no series for it, NULL = there are no more. */
static const char *no_values(size_t i) { return i ? NULL : ""; }

static const char *decisions(size_t i)
{
	if (i == AGI_DECISION_NONE)
		return "";
	return i < AGI_DECISION_COUNT ? agi_decision_name((enum agi_decision)i) : NULL;
}

static const char *audit_kinds(size_t i)
{
	if (i == AGI_AUDIT_NONE)
		return "";
	return i < AGI_AUDIT_KINDS ? agi_audit_kind_name((enum agi_audit_kind)i) : NULL;
}

static const char *canary_findings(size_t i)
{
	return i < AGI_CANARY_FINDINGS ? agi_canary_found_name((enum agi_canary_found)i) : NULL;
}

static const char *blocks(size_t i)
{
	return i < AGI_BLOCK_REASONS ? agi_block_reason_name((enum agi_block_reason)i) : NULL;
}

static const char *reports(size_t i)
{
	return i < AGI_REPORTS ? agi_safety_report_name((enum agi_safety_report)i) : NULL;
}

/* Panel causes, then check causes. */
static const char *causes(size_t i)
{
	if (i == AGI_PANEL_VOTED || i == AGI_PANEL_CAUSES + AGI_CHECK_OK)
		return "";
	if (i < AGI_PANEL_CAUSES)
		return agi_panel_cause_name((enum agi_panel_cause)i);
	i -= AGI_PANEL_CAUSES;
	return i < AGI_CHECK_CAUSES ? agi_check_cause_name((enum agi_check_cause)i) : NULL;
}
_Static_assert(AGI_PANEL_CAUSES + AGI_CHECK_CAUSES <= VALUES_MAX, "a cause has no counter");

/* As go-grpc-prometheus writes them, which dashboards expect. */
static const char *const codes[STATUSES] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

static const char *const kinds[] = {[AGI_GRPC_UNARY] = "unary",
				    [AGI_GRPC_SERVER_STREAM] = "server_stream",
				    [AGI_GRPC_CLIENT_STREAM] = "client_stream",
				    [AGI_GRPC_BIDI] = "bidi_stream"};

/* A bucket's bound, as text and in microseconds. */
struct bucket {
	const char *text;
	uint64_t us;
};
static const struct bucket no_buckets[] = {{NULL, 0}};
/* From a reflex check to several times the slowest deadline: a quantile above the last bound cannot
 * be told. */
static const struct bucket fine_buckets[] = {
    {"0.0001", 100},  {"0.00025", 250}, {"0.0005", 500},  {"0.001", 1000},
    {"0.0025", 2500}, {"0.005", 5000},  {"0.01", 10000},  {"0.025", 25000},
    {"0.05", 50000},  {"0.1", 100000},  {"0.25", 250000}, {"0.5", 500000},
    {"1", 1000000},   {"2.5", 2500000}, {"10", 10000000}, {NULL, UINT64_MAX}};

static const struct desc {
	enum type type;
	const char *name, *help, *label;
	const char *(*value)(size_t i);
	const struct bucket *buckets;
} table[METRICS] = {
#define AGI_METRIC(id, t, n, h, l, v, b) [M_##id] = {t, n, h, l, v, b},
#include "node/metrics.def"
#undef AGI_METRIC
};

struct histogram {
	uint64_t counts[BUCKETS_MAX]; /* not cumulative; the last used one is +Inf */
	uint64_t sum_us;
};

struct method {
	enum agi_grpc_kind kind;
	const char *service, *name;
	uint64_t handled[STATUSES];
	struct histogram handling;
};

struct agi_metrics {
	uint64_t counters[METRICS][VALUES_MAX];
	struct histogram histograms[METRICS];
	double bond_index; /* negative: nothing has been judged yet */
	struct method methods[AGI_METRICS_METHODS_MAX];
	size_t n_methods;
	struct agi_metrics *next_part;
};

/* One thread writes, another may read: no value is torn, and a method is there before its number says so. */
static void add(uint64_t *to, uint64_t n) { __atomic_store_n(to, *to + n, __ATOMIC_RELAXED); }
static uint64_t look(const uint64_t *from) { return __atomic_load_n(from, __ATOMIC_RELAXED); }

enum agi_err agi_metrics_new(struct agi_metrics **out)
{
	struct agi_metrics *m = calloc(1, sizeof *m);

	if (!m)
		return AGI_E_NOMEM;
	m->bond_index = -1;
	*out = m;
	return AGI_OK;
}

void agi_metrics_free(struct agi_metrics *m) { free(m); }

/* --- events ---------------------------------------------------------------------------------- */
static void count(struct agi_metrics *m, enum metric id, size_t value)
{
	assert(value < VALUES_MAX);
	add(&m->counters[id][value], 1);
}

static void record(struct histogram *h, const struct bucket *b, uint64_t us)
{
	size_t i = 0;

	while (us > b[i].us)
		i++;
	add(&h->counts[i], 1);
	add(&h->sum_us, us);
}

static struct method *method_of(struct agi_metrics *m, const char *service, const char *name,
				enum agi_grpc_kind kind)
{
	for (size_t i = 0; i < m->n_methods; i++)
		if (m->methods[i].service == service && m->methods[i].name == name)
			return &m->methods[i];
	for (size_t i = 0; i < m->n_methods; i++) /* the same text at another place */
		if (strcmp(m->methods[i].service, service) == 0 &&
		    strcmp(m->methods[i].name, name) == 0)
			return &m->methods[i];
	if (m->n_methods == AGI_METRICS_METHODS_MAX)
		return &m->methods[AGI_METRICS_METHODS_MAX - 1];
	if (m->n_methods == AGI_METRICS_METHODS_MAX - 1)
		service = name = "other";
	m->methods[m->n_methods] = (struct method){.kind = kind, .service = service, .name = name};
	__atomic_store_n(&m->n_methods, m->n_methods + 1, __ATOMIC_RELEASE);
	return &m->methods[m->n_methods - 1];
}

void agi_metrics_on_grpc(void *ctx, const char *service, const char *method,
			 enum agi_grpc_kind kind, enum agi_grpc_status status, uint64_t micros)
{
	struct method *e = method_of(ctx, service, method, kind);

	add(&e->handled[status], 1);
	record(&e->handling, table[M_GRPC_HANDLING].buckets, micros);
}

static void on_checked(struct agi_metrics *m, const struct agi_safety_event *e)
{
	bool is_failure = e->cause != AGI_PANEL_VOTED || e->check_cause != AGI_CHECK_OK;

	count(m, M_SAFETY_CHECKS, 0);
	count(m, M_SAFETY_DECISIONS, e->decision);
	record(&m->histograms[M_SAFETY_DURATION], table[M_SAFETY_DURATION].buckets, e->took_us);
	if (e->decision == AGI_DECISION_BLOCK)
		count(m, M_SAFETY_BLOCKS, is_failure ? AGI_BLOCK_FAILURE : e->block);
	if (!is_failure)
		return;
	count(m, M_SAFETY_FAILURES, 0);
	count(m, M_SAFETY_FAILURE_CAUSES,
	      e->cause != AGI_PANEL_VOTED ? (size_t)e->cause
					  : AGI_PANEL_CAUSES + (size_t)e->check_cause);
}

static bool is_uncomputable(const struct agi_safety_event *e)
{
	return e->check_cause == AGI_CHECK_ERISML_UNAVAILABLE ||
	       e->check_cause == AGI_CHECK_ERISML_TIMEOUT ||
	       e->check_cause == AGI_CHECK_ERISML_MALFORMED ||
	       e->check_cause == AGI_CHECK_PROFILE_UNKNOWN ||
	       e->check_cause == AGI_CHECK_PROFILE_MISMATCH;
}

static void set_bond_index(struct agi_metrics *m, double v)
{
	__atomic_store(&m->bond_index, &v, __ATOMIC_RELAXED);
}

void agi_metrics_on_safety(struct agi_metrics *m, const struct agi_safety_event *e)
{
	if (e->kind == AGI_SAFETY_AUDITED || e->kind == AGI_SAFETY_AUDIT_FAILED) {
		count(m, e->kind == AGI_SAFETY_AUDITED ? M_AUDIT_ENTRIES : M_AUDIT_FAILURES, e->audit_kind);
		return;
	}
	if (e->kind == AGI_SAFETY_CANARY) {
		count(m, M_CANARY_RUNS, e->canary);
		return;
	}
	if (e->kind == AGI_SAFETY_REPORTED) {
		count(m, M_OUTCOMES, e->report);
		return;
	}
	if (e->kind == AGI_SAFETY_CHECKED) {
		on_checked(m, e);
		return; /* its Bond Index is that of the gateways that judged, and theirs to tell */
	}
	if (e->bond_index >= 0)
		set_bond_index(m, e->bond_index);
	else if (e->kind == AGI_SAFETY_VOTED && is_uncomputable(e))
		set_bond_index(m, 1);
	if (e->kind == AGI_SAFETY_VOTED)
		count(m, M_SAFETY_VOTES, e->decision);
	else
		record(&m->histograms[M_ERISML_DURATION], table[M_ERISML_DURATION].buckets,
		       e->took_us);
}

/* --- text ------------------------------------------------------------------------------------ */
static void put_head(struct agi_buf *b, const struct desc *d)
{
	static const char *const types[] = {"counter", "gauge", "histogram", "counter",
					    "histogram"};

	agi_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", d->name, d->help, d->name,
		       types[d->type]);
}

/* labels: what stands before le, with a comma at its end, or "". */
static void put_histogram(struct agi_buf *b, const struct desc *d, const struct histogram *h,
			  const char *labels)
{
	uint64_t n = 0;
	int inner = (int)strlen(labels);

	for (size_t i = 0; d->buckets[i].text; i++) {
		n += h->counts[i];
		agi_buf_printf(b, "%s_bucket{%sle=\"%s\"} %llu\n", d->name, labels,
			       d->buckets[i].text, (unsigned long long)n);
	}
	for (size_t i = 0; i < BUCKETS_MAX; i++)
		if (!d->buckets[i].text) {
			n += h->counts[i];
			break;
		}
	inner -= inner > 0; /* without the comma */
	agi_buf_printf(b, "%s_bucket{%sle=\"+Inf\"} %llu\n", d->name, labels,
		       (unsigned long long)n);
	agi_buf_printf(b, "%s_sum%s%.*s%s %llu.%06llu\n", d->name, inner ? "{" : "", inner, labels,
		       inner ? "}" : "", (unsigned long long)(h->sum_us / 1000000),
		       (unsigned long long)(h->sum_us % 1000000));
	agi_buf_printf(b, "%s_count%s%.*s%s %llu\n", d->name, inner ? "{" : "", inner, labels,
		       inner ? "}" : "", (unsigned long long)n);
}

static void put_counter(struct agi_buf *b, const struct desc *d, const uint64_t *values)
{
	if (!d->label[0]) {
		agi_buf_printf(b, "%s %llu\n", d->name, (unsigned long long)values[0]);
		return;
	}
	for (size_t i = 0; d->value(i); i++)
		if (d->value(i)[0])
			agi_buf_printf(b, "%s{%s=\"%s\"} %llu\n", d->name, d->label, d->value(i),
				       (unsigned long long)values[i]);
}

/* Protobuf names need no escaping. */
static void put_grpc_counter(struct agi_buf *b, const struct desc *d, const struct method *e)
{
	for (int s = 0; s < STATUSES; s++)
		if (e->handled[s])
			agi_buf_printf(b,
				       "%s{grpc_type=\"%s\",grpc_service=\"%s\",grpc_method=\"%"
				       "s\",grpc_code=\"%s\"} %llu\n",
				       d->name, kinds[e->kind], e->service, e->name, codes[s],
				       (unsigned long long)e->handled[s]);
}

static void put_grpc_histogram(struct agi_buf *b, const struct desc *d, const struct method *e)
{
	char labels[512];

	snprintf(labels, sizeof labels,
		 "grpc_type=\"%s\",grpc_service=\"%.120s\",grpc_method=\"%.120s\",", kinds[e->kind],
		 e->service, e->name);
	put_histogram(b, d, &e->handling, labels);
}

static void put_metric(const struct agi_metrics *m, enum metric id, struct agi_buf *b)
{
	const struct desc *d = &table[id];

	put_head(b, d);
	switch (d->type) {
	case COUNTER:
		put_counter(b, d, m->counters[id]);
		break;
	case GAUGE:
		if (m->bond_index >= 0)
			agi_buf_printf(b, "%s %.9g\n", d->name, m->bond_index);
		break;
	case HISTOGRAM:
		put_histogram(b, d, &m->histograms[id], "");
		break;
	case GRPC_COUNTER:
		for (size_t i = 0; i < m->n_methods; i++)
			put_grpc_counter(b, d, &m->methods[i]);
		break;
	case GRPC_HISTOGRAM:
		for (size_t i = 0; i < m->n_methods; i++)
			put_grpc_histogram(b, d, &m->methods[i]);
	}
}

/* --- parts ----------------------------------------------------------------------------------- */
void agi_metrics_add_part(struct agi_metrics *m, struct agi_metrics *part)
{
	part->next_part = m->next_part;
	m->next_part = part;
}

static void add_histogram(struct histogram *to, const struct histogram *h)
{
	for (size_t i = 0; i < BUCKETS_MAX; i++)
		to->counts[i] += look(&h->counts[i]);
	to->sum_us += look(&h->sum_us);
}

static void add_method(struct agi_metrics *to, const struct method *e)
{
	struct method *sum = method_of(to, e->service, e->name, e->kind);

	for (size_t i = 0; i < STATUSES; i++)
		sum->handled[i] += look(&e->handled[i]);
	add_histogram(&sum->handling, &e->handling);
}

static void add_all(struct agi_metrics *to, const struct agi_metrics *m)
{
	size_t n = __atomic_load_n(&m->n_methods, __ATOMIC_ACQUIRE);
	double bond;

	__atomic_load(&m->bond_index, &bond, __ATOMIC_RELAXED);
	if (bond >= 0) /* only one loop judges */
		to->bond_index = bond;
	for (size_t id = 0; id < METRICS; id++) {
		for (size_t i = 0; i < VALUES_MAX; i++)
			to->counters[id][i] += look(&m->counters[id][i]);
		add_histogram(&to->histograms[id], &m->histograms[id]);
	}
	for (size_t i = 0; i < n; i++)
		add_method(to, &m->methods[i]);
}

void agi_metrics_write(void *ctx, struct agi_buf *out)
{
	struct agi_metrics *sum;

	if (agi_metrics_new(&sum)) {
		out->err = AGI_E_NOMEM;
		return;
	}
	for (const struct agi_metrics *m = ctx; m; m = m->next_part)
		add_all(sum, m);
	for (enum metric id = 0; id < METRICS; id++)
		put_metric(sum, id, out);
	agi_metrics_free(sum);
	agi_metrics_write_process(out);
}
