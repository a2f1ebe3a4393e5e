/* SPDX-License-Identifier: Apache-2.0
 * safety audit: what the cluster has decided, from the audit logs of all hosts; and whether they can be believed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/audit_log.h"
#include "ctl/call.h"
#include "ctl/keys.h"
#include "ctl/out.h"
#include "ctl/units.h"
#include "roles/audit/action.h"
#include "roles/audit/outcome.h"
#include "roles/audit/policy_change.h"
#include "roles/safety_gateway/latch.h"
#include "roles/safety_gateway/policy.h"

enum { KEYS_MAX = 4096, LIMIT = 100, TIME_TEXT = 32, READ_MS = 60000 };

static const uint64_t since_max_ms = 100ull * 365 * 24 * 3600 * 1000;

const struct ctl_opt ctl_opts_safety_audit[] = {
    {"since", 0, "TIME", NULL, "how long ago (90s, 2h, 7d), a time (2026-01-31T12:00:00Z), or all (default: 24h)"},
    {"decision", 0, "DECISION", "ALLOW REVISE DEFER BLOCK", "only decisions that are this one"},
    {"host", 0, "ID", NULL, "only entries of this host: the beginning of its id"},
    {"limit", 0, "N", NULL, "the newest N entries (default: 100)"},
    {"reflexes", 0, NULL, NULL, "also the counts of reflexes and of actions that were allowed"},
    {"verify", 0, NULL, NULL, "check all that was read: hashes, gaps, signatures, certificates, copies"},
    {"keys", 0, "FILE", NULL, "with --verify: ids of the gateways to trust, one a line (default: those that were asked)"},
    {NULL, 0, NULL, NULL, NULL}};

struct filter {
	const char *decision, *host;
	uint32_t limit;
	bool has_reflexes;
};

/* --- what is asked for ------------------------------------------------------------------------------------------ */
static enum ctl_exit take_since(struct ctl *c, const char *text, uint64_t *since_ms)
{
	struct agi_why why = {""};
	struct tm tm = {.tm_isdst = 0};
	uint64_t ago;
	const char *end;

	*since_ms = 0;
	if (strcmp(text, "all") == 0)
		return CTL_OK;
	end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (end && !*end) {
		*since_ms = (uint64_t)timegm(&tm) * 1000;
		return CTL_OK;
	}
	if (ctl_parse_duration(&ago, text, 0, since_max_ms, &why))
		return ctl_usage(c, "--since %.60s: %s; or a time like 2026-01-31T12:00:00Z, or all", text, why.text);
	*since_ms = (uint64_t)time(NULL) * 1000 - ago;
	return CTL_OK;
}

static enum ctl_exit take_options(struct ctl *c, const struct ctl_input *in, struct ctl_audit *a, struct filter *f)
{
	const char *since = ctl_opt_value(&in->opts, "since"), *limit = ctl_opt_value(&in->opts, "limit");
	struct agi_why why = {""};

	*f = (struct filter){ctl_opt_value(&in->opts, "decision"), ctl_opt_value(&in->opts, "host"), LIMIT};
	a->is_checked = ctl_opt_is_set(&in->opts, "verify");
	f->has_reflexes = ctl_opt_is_set(&in->opts, "reflexes");
	if (limit && ctl_parse_u32(&f->limit, limit, 1, 1000000, &why))
		return ctl_usage(c, "--limit %.60s: %s", limit, why.text);
	if (ctl_opt_value(&in->opts, "keys") && !a->is_checked)
		return ctl_usage(c, "--keys goes with --verify");
	return take_since(c, since ? since : "24h", &a->since_ms);
}

/* --- what is shown ------------------------------------------------------------------------------------------------- */
static bool is_wanted(const struct ctl_audit_entry *n, const struct filter *f)
{
	struct agi_audit_decision d;
	char id[AGI_ID_HEX];

	agi_id_hex(id, &n->e.node);
	if (!n->is_shown || (f->host && strncmp(id, f->host, strlen(f->host)) != 0))
		return false;
	if (n->e.kind != AGI_AUDIT_DECISION)
		return !f->decision && (n->e.kind == AGI_AUDIT_STOP || n->e.kind == AGI_AUDIT_START ||
		                        n->e.kind == AGI_AUDIT_POLICY ||
		                        n->e.kind == AGI_AUDIT_OUTCOME || n->e.kind == AGI_AUDIT_ACTION ||
		                        (f->has_reflexes && n->e.kind == AGI_AUDIT_REFLEXES));
	return !f->decision || (agi_audit_decision_decode(&d, n->e.body) == AGI_OK &&
	                        strcmp(agi_decision_name(d.decision), f->decision) == 0);
}

static int by_time(const void *x, const void *y)
{
	const struct ctl_audit_entry *a = *(const struct ctl_audit_entry *const *)x;
	const struct ctl_audit_entry *b = *(const struct ctl_audit_entry *const *)y;

	if (a->e.at_ms != b->e.at_ms)
		return a->e.at_ms < b->e.at_ms ? -1 : 1;
	return (a->e.seq > b->e.seq) - (a->e.seq < b->e.seq);
}

/* The newest that are wanted, oldest first; the caller frees it. */
static const struct ctl_audit_entry **choose(const struct ctl_audit *a, const struct filter *f, size_t *from, size_t *n)
{
	const struct ctl_audit_entry **list = ctl_alloc((a->n_entries + 1) * sizeof *list);

	*n = 0;
	for (size_t i = 0; i < a->n_entries; i++)
		if (is_wanted(&a->entries[i], f))
			list[(*n)++] = &a->entries[i];
	qsort(list, *n, sizeof *list, by_time);
	*from = *n > f->limit ? *n - f->limit : 0;
	return list;
}

static void format_time(char out[TIME_TEXT], uint64_t ms)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	char day[24];

	if (!gmtime_r(&t, &tm) || !strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm))
		memcpy(out, "-", 2);
	else
		snprintf(out, TIME_TEXT, "%s.%03uZ", day, (unsigned)(ms % 1000));
}

/* What of an entry is shown, whatever its kind. */
struct line {
	const char *what;     /* decision, STOP, RESUME, START, SUCCESS, FAILURE, REFLEXES, POLICY, LOOSENED */
	struct agi_str plan, cause;
	char votes[16];
	struct agi_audit_decision d;
	struct agi_stop_record stop;
	struct agi_audit_outcome outcome;
	struct agi_audit_action action;
	struct agi_audit_reflexes reflexes;
	struct agi_audit_policy policy;
	char counts[96];
	char change[AGI_POLICY_REASON_MAX + AGI_POLICY_WHO_MAX + 64];
};

static void format_votes(char out[16], struct agi_str certificate)
{
	struct agi_certificate *cert = ctl_alloc(sizeof *cert);

	memcpy(out, "-", 2);
	if (certificate.n && agi_certificate_decode(cert, certificate) == AGI_OK)
		snprintf(out, 16, "%u/%u", (unsigned)cert->n_votes, (unsigned)cert->electorate);
	free(cert);
}

/* A host that starts, or slept, learns of a version without having seen the one before. */
static void read_policy(struct line *l)
{
	const struct agi_audit_policy *p = &l->policy;
	bool is_seen = p->epoch == p->before_epoch + 1;

	l->what = p->is_looser && is_seen ? "LOOSENED" : "POLICY";
	snprintf(l->change, sizeof l->change, "epoch %" PRIu64 " (%" PRIu64 " before) by %.*s: %.*s", p->epoch,
	         p->before_epoch, AGI_STR_ARG(p->author), AGI_STR_ARG(p->reason));
	l->cause = agi_str_of(l->change);
}

static void read_line(struct line *l, const struct agi_audit_entry *e)
{
	*l = (struct line){.what = "unreadable", .votes = "-"};
	if (e->kind == AGI_AUDIT_START) {
		l->what = "START";
	} else if (e->kind == AGI_AUDIT_STOP && agi_stop_decode(&l->stop, e->body) == AGI_OK) {
		l->what = l->stop.is_stopped ? "STOP" : "RESUME";
		l->cause = agi_str_of(l->stop.reason);
	} else if (e->kind == AGI_AUDIT_DECISION && agi_audit_decision_decode(&l->d, e->body) == AGI_OK) {
		l->what = agi_decision_name(l->d.decision);
		l->plan = l->d.plan_id;
		l->cause = l->d.cause;
		format_votes(l->votes, l->d.certificate);
	} else if (e->kind == AGI_AUDIT_OUTCOME && agi_audit_outcome_decode(&l->outcome, e->body) == AGI_OK) {
		l->what = l->outcome.is_success ? "SUCCESS" : "FAILURE";
		l->plan = l->outcome.plan_id;
		l->cause = l->outcome.description;
	} else if (e->kind == AGI_AUDIT_ACTION && agi_audit_action_decode(&l->action, e->body) == AGI_OK) {
		l->what = agi_decision_name(l->action.decision);
		l->plan = l->action.plan_id;
		l->cause = l->action.reason;
	} else if (e->kind == AGI_AUDIT_REFLEXES && agi_audit_reflexes_decode(&l->reflexes, e->body) == AGI_OK) {
		l->what = "REFLEXES";
		snprintf(l->counts, sizeof l->counts, "%" PRIu64 " safe, %" PRIu64 " unsafe; %" PRIu64 " actions allowed",
		         l->reflexes.safe, l->reflexes.unsafe, l->reflexes.allowed);
		l->cause = agi_str_of(l->counts);
	} else if (e->kind == AGI_AUDIT_POLICY && agi_audit_policy_decode(&l->policy, e->body) == AGI_OK) {
		read_policy(l);
	}
}

static void put_row(struct ctl_table *t, const struct ctl_audit_entry *n)
{
	char at[TIME_TEXT], id[AGI_ID_SHORT_HEX];
	struct line l;

	read_line(&l, &n->e);
	format_time(at, n->e.at_ms);
	agi_id_short(id, &n->e.node);
	ctl_table_text(t, at);
	ctl_table_text(t, id);
	ctl_table_text(t, l.what);
	ctl_table_str(t, l.plan.n ? l.plan : AGI_STR("-"));
	ctl_table_str(t, l.cause.n ? l.cause : AGI_STR("-"));
	ctl_table_text(t, l.votes);
	ctl_table_printf(t, "%u%s", (unsigned)n->copies, n->holder < 0 ? "" : ", not its own");
}

static enum ctl_exit print_text(struct ctl *c, const struct ctl_audit *a, const struct filter *f)
{
	static const struct ctl_col cols[] = {{"TIME", CTL_COL_TEXT}, {"HOST", CTL_COL_TEXT}, {"DECISION", CTL_COL_STATE},
	                                      {"PLAN", CTL_COL_TEXT}, {"CAUSE", CTL_COL_TEXT}, {"VOTES", CTL_COL_TEXT},
	                                      {"COPIES", CTL_COL_TEXT}};
	size_t from, n;
	const struct ctl_audit_entry **list = choose(a, f, &from, &n);
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = from; i < n; i++)
		put_row(&t, list[i]);
	if (from)
		ctl_warn(c, "%zu older entries are not shown: --limit", from);
	free(list);
	return ctl_print_table(c, &t);
}

/* --- JSON ------------------------------------------------------------------------------------------------------------ */
static void set_hex(json_t *o, const char *key, const uint8_t *p, size_t n)
{
	char text[2 * 32 + 1];

	agi_hex(text, p, n);
	ctl_set(o, key, json_string(text));
}

/* null for what is no number: a report may say anything. */
static void set_share(json_t *o, const char *key, float v)
{
	ctl_set(o, key, isfinite(v) ? json_real((double)v) : json_null());
}

static void set_outcome(json_t *o, const struct agi_audit_outcome *r)
{
	struct agi_buf id;

	agi_buf_init(&id, 0);
	agi_audit_outcome_event_id(&id, r);
	ctl_set(o, "event_id", ctl_json_str(agi_buf_str(&id)));
	agi_buf_free(&id);
	ctl_set(o, "plan_id", ctl_json_str(r->plan_id));
	ctl_set(o, "step_id", ctl_json_str(r->step_id));
	ctl_set(o, "success", json_boolean(r->is_success));
	set_share(o, "predicted_risk", r->predicted_risk);
	set_share(o, "actual_harm", r->actual_harm);
	ctl_set(o, "decision_proof_hash", ctl_json_str(r->proof_hash));
	ctl_set(o, "description_cut", json_boolean(r->is_cut));
	set_hex(o, "report_hash", r->report_hash, sizeof r->report_hash);
}

static void set_action(json_t *o, const struct agi_audit_action *a)
{
	ctl_set(o, "plan_id", ctl_json_str(a->plan_id));
	ctl_set(o, "step_id", ctl_json_str(a->step_id));
	ctl_set(o, "tool_id", ctl_json_str(a->tool_id));
	ctl_set(o, "emergency_stop", json_boolean(a->is_emergency_stop));
	ctl_set(o, "risk", json_real(a->risk));
	ctl_set_u64(o, "stop_epoch", a->stop_epoch);
	set_hex(o, "request_hash", a->request_hash, sizeof a->request_hash);
}

static void set_reflexes(json_t *o, const struct agi_audit_reflexes *r)
{
	json_t *rows = json_array();

	for (uint32_t i = 0; i < r->n; i++) {
		json_t *row = json_object();

		set_share(row, "physical_harm_risk", r->rows[i].harm_risk);
		set_share(row, "collision_probability", r->rows[i].collision);
		ctl_set(row, "emergency_flag", json_boolean(r->rows[i].is_flagged));
		json_array_append_new(rows, row);
	}
	ctl_set_u64(o, "from_ms", r->from_ms);
	ctl_set_u64(o, "to_ms", r->to_ms);
	ctl_set_u64(o, "stop_epoch", r->stop_epoch);
	ctl_set_u64(o, "safe", r->safe);
	ctl_set_u64(o, "unsafe", r->unsafe);
	ctl_set_u64(o, "actions_allowed", r->allowed);
	ctl_set(o, "unsafe_first", rows);
}

static void set_policy(json_t *o, const struct agi_audit_policy *p)
{
	ctl_set_u64(o, "policy_epoch", p->epoch);
	set_hex(o, "policy_hash", p->hash, sizeof p->hash);
	ctl_set_u64(o, "before_epoch", p->before_epoch);
	set_hex(o, "before_hash", p->before_hash, sizeof p->before_hash);
	ctl_set(o, "looser", json_boolean(p->is_looser));
	ctl_set(o, "reason", ctl_json_str(p->reason));
	ctl_set(o, "author", ctl_json_str(p->author));
	ctl_set(o, "set_by", ctl_json_str(p->node));
	ctl_set_u64(o, "set_at_ms", p->at_ms);
}

static json_t *entry_json(const struct ctl_audit_entry *n)
{
	json_t *o = json_object();
	struct line l;

	read_line(&l, &n->e);
	set_hex(o, "node_id", n->e.node.b, AGI_ID_BYTES);
	ctl_set_u64(o, "incarnation", n->e.incarnation);
	ctl_set_u64(o, "seq", n->e.seq);
	ctl_set_u64(o, "at_ms", n->e.at_ms);
	set_hex(o, "hash", n->hash, AGI_AUDIT_HASH);
	ctl_set(o, "kind", json_string(agi_audit_kind_name(n->e.kind)));
	ctl_set(o, "decision", json_string(l.what));
	ctl_set(o, "in_own_log", json_boolean(n->holder < 0));
	ctl_set_u64(o, "copies", n->copies);
	ctl_set(o, "cause", ctl_json_str(l.cause));
	if (n->e.kind == AGI_AUDIT_OUTCOME)
		set_outcome(o, &l.outcome);
	if (n->e.kind == AGI_AUDIT_ACTION)
		set_action(o, &l.action);
	if (n->e.kind == AGI_AUDIT_REFLEXES)
		set_reflexes(o, &l.reflexes);
	if (n->e.kind == AGI_AUDIT_POLICY)
		set_policy(o, &l.policy);
	if (n->e.kind != AGI_AUDIT_DECISION)
		return o;
	ctl_set(o, "plan_id", ctl_json_str(l.plan));
	set_hex(o, "plan_hash", l.d.plan_hash, 32);
	set_hex(o, "nonce", l.d.nonce, 16);
	ctl_set(o, "votes", json_string(l.votes));
	ctl_set(o, "risk", json_real(l.d.risk));
	ctl_set(o, "bond_index", l.d.bond_index < 0 ? json_null() : json_real(l.d.bond_index));
	set_hex(o, "policy_hash", l.d.policy_hash, 32);
	ctl_set_u64(o, "policy_epoch", l.d.policy_epoch);
	ctl_set_u64(o, "stop_epoch", l.d.stop_epoch);
	ctl_set_u64(o, "latency_us", l.d.latency_us);
	return o;
}

static json_t *hosts_json(const struct ctl_audit *a)
{
	json_t *list = json_array();

	for (size_t i = 0; i < a->n_hosts; i++) {
		json_t *o = json_object();

		set_hex(o, "node_id", a->hosts[i].id.b, AGI_ID_BYTES);
		ctl_set(o, "address", json_string(a->hosts[i].target));
		ctl_set(o, "answered", json_boolean(!a->hosts[i].why));
		ctl_set(o, "why", a->hosts[i].why ? ctl_json_str(agi_str_of(a->hosts[i].why)) : json_null());
		json_array_append_new(list, o);
	}
	return list;
}

static enum ctl_exit print_json(struct ctl *c, const struct ctl_audit *a, const struct filter *f)
{
	json_t *o = json_object(), *entries = json_array(), *findings = json_array();
	size_t from, n;
	const struct ctl_audit_entry **list = choose(a, f, &from, &n);

	for (size_t i = from; i < n; i++)
		json_array_append_new(entries, entry_json(list[i]));
	free(list);
	for (size_t i = 0; i < a->n_findings; i++)
		json_array_append_new(findings, ctl_json_str(agi_str_of(a->findings[i])));
	ctl_set(o, "entries", entries);
	ctl_set_u64(o, "older", from);
	ctl_set(o, "hosts", hosts_json(a));
	ctl_set(o, "verified", json_boolean(a->is_checked && !a->n_findings && !ctl_audit_missing(a)));
	ctl_set_u64(o, "checked", a->is_checked ? a->checked : 0);
	ctl_set(o, "findings", findings);
	return ctl_print_json_take(c, o);
}

/* --- the command ------------------------------------------------------------------------------------------------------- */
static enum ctl_exit conclude(struct ctl *c, const struct ctl_audit *a)
{
	for (size_t i = 0; i < a->n_hosts; i++)
		if (a->hosts[i].why)
			ctl_warn(c, "%s did not answer: %s", a->hosts[i].target, a->hosts[i].why);
	if (!a->is_checked)
		return CTL_OK;
	for (size_t i = 0; i < a->n_findings; i++)
		ctl_error(c, CTL_FAILED, "%s", a->findings[i]);
	if (a->n_findings)
		return ctl_error(c, CTL_FAILED, "%zu findings in %" PRIu64 " entries", a->n_findings, a->checked);
	if (ctl_audit_missing(a))
		return ctl_error(c, CTL_UNAVAILABLE, "nothing found in %" PRIu64 " entries, but %zu hosts did not answer",
		                 a->checked, ctl_audit_missing(a));
	if (!c->is_json)
		ctl_warn(c, "%" PRIu64 " entries of %zu hosts hold", a->checked, a->n_hosts);
	return CTL_OK;
}

static enum ctl_exit run(struct ctl *c, const struct ctl_input *in, struct ctl_audit *a, struct agi_id *ids)
{
	const char *keys = ctl_opt_value(&in->opts, "keys");
	struct filter f;
	enum ctl_exit code = take_options(c, in, a, &f);

	if (code == CTL_OK && keys)
		code = ctl_read_ids(c, keys, ids, KEYS_MAX, &a->n_known);
	if (code != CTL_OK)
		return code;
	a->known = ids;
	if (!c->has_timeout)
		c->deadline_us = ctl_now_us() + READ_MS * 1000ull;
	code = ctl_audit_collect(c, a);
	if (code != CTL_OK)
		return code;
	ctl_audit_compare(a);
	code = c->is_json ? print_json(c, a, &f) : print_text(c, a, &f);
	return code == CTL_OK ? conclude(c, a) : code;
}

enum ctl_exit ctl_safety_audit(struct ctl *c, const struct ctl_input *in)
{
	struct agi_id *ids = ctl_alloc(KEYS_MAX * sizeof *ids);
	struct ctl_audit a = {.since_ms = 0};
	enum ctl_exit code = run(c, in, &a, ids);

	ctl_audit_free(&a);
	free(ids);
	return code;
}
