/* SPDX-License-Identifier: Apache-2.0
 * put, get, del, incr, owners: single items of the replicated memory. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl/keep.h"
#include "ctl/kv.h"
#include "ctl/units.h"

const struct ctl_opt ctl_opts_put[] = {
    CTL_OPT_NAMESPACE,
    CTL_OPT_LEVEL,
    {"ttl", 0, "TIME", NULL, "the value expires after this time, like 10s or 5m"},
    {"file", 0, "FILE", NULL, "take the value from FILE"},
    {"lease", 0, "LEASE", NULL, "the strong item goes when this lease ends"},
    {"if-version", 0, "V", NULL, "only if the strong item has this version"},
    {"if-absent", 0, NULL, NULL, "only if there is no such strong item"},
    {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_get[] = {CTL_OPT_NAMESPACE, CTL_OPT_LEVEL, {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_del[] = {
    CTL_OPT_NAMESPACE,
    CTL_OPT_LEVEL,
    {"if-version", 0, "V", NULL, "only if the strong item has this version"},
    {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_incr[] = {
    CTL_OPT_NAMESPACE,
    {"by", 0, "N", NULL, "what is added; may be negative (default: 1)"},
    {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_owners[] = {CTL_OPT_NAMESPACE, {NULL, 0, NULL, NULL, NULL}};

/* What a write answers. A register's leader does not tell how many have it: a majority, then. */
struct written {
	const char *what; /* "stored 4 B" */
	uint64_t version;
	uint32_t acks, slot;
};

static enum ctl_exit print_written(struct ctl *c, const struct written *w)
{
	struct agi_buf out;

	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "%s", w->what);
	if (w->acks)
		agi_buf_printf(&out, " on %u replica%s", w->acks, w->acks == 1 ? "" : "s");
	agi_buf_printf(&out, " (slot %u, version %" PRIu64 ")\n", w->slot, w->version);
	return ctl_kv_print_take(c, &out);
}

static void set_place(json_t *o, uint64_t version, uint32_t acks, uint32_t slot)
{
	ctl_kv_set_version(o, "version", version);
	if (acks)
		ctl_set_u64(o, "acks", acks);
	ctl_set_u64(o, "slot", slot);
}

/* --- under a condition ------------------------------------------------------------------------ */
static bool has_condition(const struct ctl_input *in)
{
	return ctl_opt_is_set(&in->opts, "if-version") ||
	       (in->opts.opts == ctl_opts_put && ctl_opt_is_set(&in->opts, "if-absent"));
}

static enum ctl_exit take_condition(struct ctl *c, const struct ctl_input *in, uint64_t *expected)
{
	const char *version = ctl_opt_value(&in->opts, "if-version");
	bool is_put = in->opts.opts == ctl_opts_put;
	enum ctl_exit code = CTL_OK;
	Agihpc__V1__Level level = ctl_kv_level(in);

	*expected = 0;
	if (is_put && version && ctl_opt_is_set(&in->opts, "if-absent"))
		return ctl_usage(c, "--if-version and --if-absent exclude each other");
	if (is_put && ctl_opt_is_set(&in->opts, "ttl"))
		return ctl_usage(c, "--ttl is for items that are not strong, a condition only for "
				    "strong ones");
	if (level != AGIHPC__V1__LEVEL__LEVEL_DEFAULT && level != AGIHPC__V1__LEVEL__LEVEL_STRONG)
		return ctl_usage(c, "a condition is for strong items: leave --level out");
	if (version)
		code = ctl_kv_version(c, "if-version", version, expected);
	if (code == CTL_OK && version && *expected == 0)
		return ctl_usage(c, is_put ? "no item has version 0: --if-absent is meant?"
					   : "no item has version 0");
	return code;
}

static enum ctl_exit print_refused(struct ctl *c, const Agihpc__V1__CompareAndSetRequest *req,
				   const Agihpc__V1__CompareAndSetResponse *res)
{
	if (!res->version)
		return ctl_error(c, CTL_CONFLICT, "there is no such item: nothing was done");
	if (!req->expected_version)
		return ctl_error(c, CTL_CONFLICT, "the item is there, with version %" PRIu64
						  ": nothing was done", res->version);
	return ctl_error(c, CTL_CONFLICT, "the item has version %" PRIu64 ": nothing was done",
			 res->version);
}

static enum ctl_exit print_compared(struct ctl *c, const Agihpc__V1__CompareAndSetRequest *req,
				    const Agihpc__V1__CompareAndSetResponse *res, const char *what)
{
	struct written w = {what, res->version, 0, res->slot};
	enum ctl_exit code;
	json_t *o;

	if (!c->is_json)
		return res->succeeded ? print_written(c, &w) : print_refused(c, req, res);
	o = ctl_kv_json(req->namespace_, req->key);
	ctl_set(o, "succeeded", json_boolean(res->succeeded));
	if (!res->succeeded && res->version)
		ctl_set_bytes(o, "value", ctl_str(res->value));
	set_place(o, res->version, 0, res->slot);
	code = ctl_print_json_take(c, o);
	return code == CTL_OK && !res->succeeded ? CTL_CONFLICT : code;
}

static enum ctl_exit compare_and_set(struct ctl *c, Agihpc__V1__CompareAndSetRequest *req, const char *what)
{
	struct ctl_call call = CTL_CALL("agihpc.v1.KvService/CompareAndSet", req,
					agihpc__v1__compare_and_set_response__descriptor);
	enum ctl_exit code = ctl_ask(c, &call);

	if (code == CTL_OK)
		code = print_compared(c, req, (const Agihpc__V1__CompareAndSetResponse *)call.res, what);
	ctl_call_clear(&call);
	return code;
}

/* --- put -------------------------------------------------------------------------------------- */
static enum ctl_exit print_put(struct ctl *c, const Agihpc__V1__PutRequest *req,
			       const Agihpc__V1__PutResponse *res, const char *what)
{
	struct written w = {what, res->version, res->acks, res->slot};
	json_t *o;

	if (!c->is_json)
		return print_written(c, &w);
	o = ctl_kv_json(req->namespace_, req->key);
	ctl_set_u64(o, "bytes", req->value.len);
	set_place(o, res->version, res->acks, res->slot);
	return ctl_print_json_take(c, o);
}

static enum ctl_exit put_plain(struct ctl *c, const struct ctl_input *in, Agihpc__V1__PutRequest *req,
			       const char *what)
{
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.KvService/Put", req, agihpc__v1__put_response__descriptor);
	enum ctl_exit code;

	req->level = ctl_kv_level(in);
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_put(c, req, (const Agihpc__V1__PutResponse *)call.res, what);
	ctl_call_clear(&call);
	return code;
}

static enum ctl_exit put_value(struct ctl *c, const struct ctl_input *in, Agihpc__V1__PutRequest *req,
			       struct agi_str value)
{
	Agihpc__V1__CompareAndSetRequest cas = AGIHPC__V1__COMPARE_AND_SET_REQUEST__INIT;
	char what[CTL_UNIT_TEXT + 8] = "stored ";
	enum ctl_exit code;

	ctl_format_bytes(what + 7, value.n);
	req->value = ctl_bin(value);
	if (!has_condition(in))
		return put_plain(c, in, req, what);
	code = take_condition(c, in, &cas.expected_version);
	cas.namespace_ = req->namespace_;
	cas.key = req->key;
	cas.value = req->value;
	cas.lease_id = req->lease_id;
	return code == CTL_OK ? compare_and_set(c, &cas, what) : code;
}

enum ctl_exit ctl_put(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__PutRequest req = AGIHPC__V1__PUT_REQUEST__INIT;
	const char *ttl = ctl_opt_value(&in->opts, "ttl"), *lease = ctl_opt_value(&in->opts, "lease");
	struct agi_str value = {NULL, 0};
	struct agi_why why;
	enum ctl_exit code = ctl_kv_key(c, in, &req.namespace_, &req.key);

	if (code != CTL_OK)
		return code;
	if (ttl && ctl_parse_duration(&req.ttl_ms, ttl, 0, UINT64_C(1) << 53, &why) != AGI_OK)
		return ctl_usage(c, "--ttl %s", why.text);
	if (lease && ctl_lease_id(c, lease, &req.lease_id) != CTL_OK)
		return CTL_USAGE;
	if (lease && !has_condition(in) && ctl_kv_level(in) != AGIHPC__V1__LEVEL__LEVEL_STRONG)
		return ctl_usage(c, "--lease is for strong items: add --level strong");
	code = ctl_kv_value(c, in, &value);
	if (code == CTL_OK)
		code = put_value(c, in, &req, value);
	free((char *)(uintptr_t)value.p);
	return code;
}

/* --- get -------------------------------------------------------------------------------------- */
static enum ctl_exit print_get(struct ctl *c, const Agihpc__V1__GetRequest *req,
			       const Agihpc__V1__GetResponse *res)
{
	enum ctl_exit code;

	if (c->is_json) {
		json_t *o = ctl_kv_json(req->namespace_, req->key);

		ctl_set_bytes(o, "value", ctl_str(res->value));
		set_place(o, res->version, res->acks, res->slot);
		return ctl_print_json_take(c, o);
	}
	/* To a pipe or file exactly the bytes; the newline is only for the prompt that follows. */
	code = ctl_write(c, ctl_str(res->value));
	if (code == CTL_OK && isatty(STDOUT_FILENO))
		code = ctl_write(c, AGI_STR("\n"));
	return code;
}

enum ctl_exit ctl_get(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__GetRequest req = AGIHPC__V1__GET_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.KvService/Get", &req, agihpc__v1__get_response__descriptor);
	enum ctl_exit code = ctl_kv_key(c, in, &req.namespace_, &req.key);

	if (code != CTL_OK)
		return code;
	req.level = ctl_kv_level(in);
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_get(c, &req, (const Agihpc__V1__GetResponse *)call.res);
	ctl_call_clear(&call);
	return code;
}

/* --- del -------------------------------------------------------------------------------------- */
static enum ctl_exit print_del(struct ctl *c, const Agihpc__V1__DeleteRequest *req,
			       const Agihpc__V1__DeleteResponse *res)
{
	struct written w = {"deleted", res->version, res->acks, res->slot};
	json_t *o;

	if (!c->is_json)
		return print_written(c, &w);
	o = ctl_kv_json(req->namespace_, req->key);
	set_place(o, res->version, res->acks, res->slot);
	return ctl_print_json_take(c, o);
}

static enum ctl_exit del_plain(struct ctl *c, const struct ctl_input *in, Agihpc__V1__DeleteRequest *req)
{
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.KvService/Delete", req, agihpc__v1__delete_response__descriptor);
	enum ctl_exit code;

	req->level = ctl_kv_level(in);
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_del(c, req, (const Agihpc__V1__DeleteResponse *)call.res);
	ctl_call_clear(&call);
	return code;
}

enum ctl_exit ctl_del(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__DeleteRequest req = AGIHPC__V1__DELETE_REQUEST__INIT;
	Agihpc__V1__CompareAndSetRequest cas = AGIHPC__V1__COMPARE_AND_SET_REQUEST__INIT;
	enum ctl_exit code = ctl_kv_key(c, in, &req.namespace_, &req.key);

	if (code != CTL_OK)
		return code;
	if (!has_condition(in))
		return del_plain(c, in, &req);
	code = take_condition(c, in, &cas.expected_version);
	cas.namespace_ = req.namespace_;
	cas.key = req.key;
	cas.delete_ = true;
	return code == CTL_OK ? compare_and_set(c, &cas, "deleted") : code;
}

/* --- incr ------------------------------------------------------------------------------------- */
static enum ctl_exit take_delta(struct ctl *c, const struct ctl_input *in, int64_t *out)
{
	const char *by = ctl_opt_value(&in->opts, "by");
	struct agi_buf back;
	bool is_same;

	*out = by ? strtoll(by, NULL, 10) : 1;
	agi_buf_init(&back, 0);
	agi_buf_printf(&back, "%" PRId64, *out);
	is_same = !by || agi_str_eq(agi_buf_str(&back), agi_str_of(by));
	agi_buf_free(&back);
	return is_same ? CTL_OK
		       : ctl_usage(c, "--by '%.40s' is not a whole number of 64 bits", by);
}

static enum ctl_exit print_incr(struct ctl *c, const Agihpc__V1__AddRequest *req,
				const Agihpc__V1__AddResponse *res)
{
	struct agi_buf out;
	json_t *o;

	if (c->is_json) {
		o = ctl_kv_json(req->namespace_, req->key);
		ctl_set(o, "value", json_integer(res->value));
		set_place(o, res->version, 0, res->slot);
		return ctl_print_json_take(c, o);
	}
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "%" PRId64 "\n", res->value);
	return ctl_kv_print_take(c, &out);
}

enum ctl_exit ctl_incr(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__AddRequest req = AGIHPC__V1__ADD_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.KvService/Add", &req, agihpc__v1__add_response__descriptor);
	enum ctl_exit code = ctl_kv_key(c, in, &req.namespace_, &req.key);

	if (code == CTL_OK)
		code = take_delta(c, in, &req.delta);
	if (code != CTL_OK)
		return code;
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_incr(c, &req, (const Agihpc__V1__AddResponse *)call.res);
	ctl_call_clear(&call);
	return code;
}

/* --- owners ----------------------------------------------------------------------------------- */
static enum ctl_exit print_owners_json(struct ctl *c, const Agihpc__V1__OwnersRequest *req,
				       const Agihpc__V1__OwnersResponse *res)
{
	json_t *o = ctl_kv_json(req->namespace_, req->key), *list = json_array();

	ctl_set(o, "key_hash", ctl_json_str(ctl_str(res->key_hash)));
	ctl_set_u64(o, "slot", res->slot);
	ctl_set_u64(o, "epoch", res->epoch);
	for (size_t i = 0; i < res->n_owners; i++) {
		json_t *one = json_object();

		ctl_set(one, "node_id", ctl_json_str(ctl_str(res->owners[i]->node_id)));
		ctl_set(one, "address", ctl_json_str(ctl_str(res->owners[i]->address)));
		ctl_set(one, "zone", ctl_json_str(ctl_str(res->owners[i]->zone)));
		ctl_set(one, "state", ctl_json_str(ctl_str(res->owners[i]->state)));
		json_array_append_new(list, one);
	}
	ctl_set(o, "owners", list);
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_owners(struct ctl *c, const Agihpc__V1__OwnersResponse *res)
{
	static const struct ctl_col cols[] = {{"NODE", CTL_COL_TEXT},   {"ADDRESS", CTL_COL_TEXT},
					      {"ZONE", CTL_COL_TEXT},   {"STATE", CTL_COL_STATE},
					      {"SLOT", CTL_COL_NUMBER}, {"EPOCH", CTL_COL_NUMBER}};
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < res->n_owners; i++) {
		const Agihpc__V1__Owner *one = res->owners[i];

		ctl_table_str(&t, ctl_short_id(one->node_id));
		ctl_table_str(&t, ctl_or_dash(one->address));
		ctl_table_str(&t, ctl_or_dash(one->zone));
		ctl_table_str(&t, ctl_or_dash(one->state));
		ctl_table_printf(&t, "%u", res->slot);
		ctl_table_printf(&t, "%" PRIu64, res->epoch);
	}
	return ctl_print_table(c, &t);
}

enum ctl_exit ctl_owners(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__OwnersRequest req = AGIHPC__V1__OWNERS_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.KvService/Owners", &req, agihpc__v1__owners_response__descriptor);
	const Agihpc__V1__OwnersResponse *res;
	enum ctl_exit code = ctl_kv_key(c, in, &req.namespace_, &req.key);

	if (code != CTL_OK)
		return code;
	code = ctl_ask(c, &call);
	if (code == CTL_OK) {
		res = (const Agihpc__V1__OwnersResponse *)call.res;
		code = c->is_json ? print_owners_json(c, &req, res) : print_owners(c, res);
	}
	ctl_call_clear(&call);
	return code;
}
