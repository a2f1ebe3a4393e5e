/* SPDX-License-Identifier: Apache-2.0
 * put, get, del, owners: the replicated memory. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agihpc.pb-c.h"
#include "base/limits.h"
#include "ctl/call.h"
#include "ctl/out.h"
#include "ctl/units.h"

#define OPT_NAMESPACE                                                                              \
	{                                                                                          \
		"namespace", 0, "NS", NULL, "namespace of the key (default: default)"              \
	}
#define OPT_LEVEL                                                                                  \
	{                                                                                          \
		"level", 0, "LEVEL", "one quorum all strong",                                             \
		    "replicas that must answer (default: quorum)"                                  \
	}

const struct ctl_opt ctl_opts_put[] = {
    OPT_NAMESPACE,
    OPT_LEVEL,
    {"ttl", 0, "TIME", NULL, "the value expires after this time, like 10s or 5m"},
    {"file", 0, "FILE", NULL, "take the value from FILE"},
    {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_kv[] = {OPT_NAMESPACE, OPT_LEVEL, {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_owners[] = {OPT_NAMESPACE, {NULL, 0, NULL, NULL, NULL}};

static enum ctl_exit take_key(struct ctl *c, const struct ctl_input *in, ProtobufCBinaryData *ns,
			      ProtobufCBinaryData *key)
{
	const char *name = ctl_opt_value(&in->opts, "namespace");

	*key = ctl_bin_of(in->words.p[0]);
	*ns = ctl_bin_of(name ? name : "");
	if (key->len == 0 || key->len > AGI_KEY_MAX)
		return ctl_usage(c, "the key has %zu bytes: it must have 1 to %d", key->len,
				 AGI_KEY_MAX);
	if (ns->len > AGI_NAMESPACE_MAX || !agi_utf8_is_valid(ctl_str(*ns)))
		return ctl_usage(c, "--namespace must be UTF-8 text of at most %d bytes",
				 AGI_NAMESPACE_MAX);
	return CTL_OK;
}

static Agihpc__V1__Level level_of(const struct ctl_input *in)
{
	const char *level = ctl_opt_value(&in->opts, "level");

	if (!level)
		return AGIHPC__V1__LEVEL__LEVEL_DEFAULT;
	return *level == 'o'   ? AGIHPC__V1__LEVEL__LEVEL_ONE
	       : *level == 'q' ? AGIHPC__V1__LEVEL__LEVEL_QUORUM
	       : *level == 's' ? AGIHPC__V1__LEVEL__LEVEL_STRONG
			       : AGIHPC__V1__LEVEL__LEVEL_ALL;
}

static json_t *key_json(ProtobufCBinaryData ns, ProtobufCBinaryData key)
{
	json_t *o = json_object();

	ctl_set(o, "namespace", ns.len ? ctl_json_str(ctl_str(ns)) : json_string("default"));
	ctl_set_bytes(o, "key", ctl_str(key));
	return o;
}

/* A version does not fit a double, which is what many JSON readers make of a number. */
static void set_version(json_t *o, uint64_t version, uint32_t acks, uint32_t slot)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, version);
	ctl_set(o, "version", json_string(text));
	ctl_set_u64(o, "acks", acks);
	ctl_set_u64(o, "slot", slot);
}

/* --- put -------------------------------------------------------------------------------------- */
static enum ctl_exit take_value(struct ctl *c, const struct ctl_input *in, struct agi_str *value)
{
	const char *file = ctl_opt_value(&in->opts, "file");
	const char *word = in->words.n > 1 ? in->words.p[1] : NULL;

	if (file && word)
		return ctl_usage(c, "the value is given twice: by '%.40s' and by --file", word);
	if (!file && !word)
		return ctl_usage(c, "no value: give VALUE, --file FILE, or - for standard input");
	if (file || strcmp(word, "-") == 0)
		return ctl_read_file(c, file ? file : word, AGI_VALUE_MAX, value);
	value->n = strlen(word);
	if (value->n > AGI_VALUE_MAX)
		return ctl_usage(c, "the value has %zu bytes: at most %d are possible", value->n,
				 AGI_VALUE_MAX);
	value->p = ctl_copy(agi_str_of(word));
	return CTL_OK;
}

static enum ctl_exit print_put(struct ctl *c, const Agihpc__V1__PutRequest *req,
			       const Agihpc__V1__PutResponse *res)
{
	char size[CTL_UNIT_TEXT];
	struct agi_buf out;
	enum ctl_exit code;
	json_t *o;

	if (c->is_json) {
		o = key_json(req->namespace_, req->key);
		ctl_set_u64(o, "bytes", req->value.len);
		set_version(o, res->version, res->acks, res->slot);
		return ctl_print_json_take(c, o);
	}
	agi_buf_init(&out, 0);
	ctl_format_bytes(size, req->value.len);
	agi_buf_printf(&out, "stored %s on %u replica%s (slot %u, version %" PRIu64 ")\n", size,
		       res->acks, res->acks == 1 ? "" : "s", res->slot, res->version);
	code = ctl_write(c, agi_buf_str(&out));
	agi_buf_free(&out);
	return code;
}

enum ctl_exit ctl_put(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__PutRequest req = AGIHPC__V1__PUT_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.KvService/Put", &req, agihpc__v1__put_response__descriptor);
	const char *ttl = ctl_opt_value(&in->opts, "ttl");
	struct agi_str value = {NULL, 0};
	struct agi_why why;
	enum ctl_exit code = take_key(c, in, &req.namespace_, &req.key);

	if (code != CTL_OK)
		return code;
	if (ttl && ctl_parse_duration(&req.ttl_ms, ttl, 0, UINT64_C(1) << 53, &why) != AGI_OK)
		return ctl_usage(c, "--ttl %s", why.text);
	code = take_value(c, in, &value);
	if (code != CTL_OK)
		return code;
	req.value = ctl_bin(value);
	req.level = level_of(in);
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_put(c, &req, (const Agihpc__V1__PutResponse *)call.res);
	ctl_call_clear(&call);
	free((char *)(uintptr_t)value.p);
	return code;
}

/* --- get -------------------------------------------------------------------------------------- */
static enum ctl_exit print_get(struct ctl *c, const Agihpc__V1__GetRequest *req,
			       const Agihpc__V1__GetResponse *res)
{
	enum ctl_exit code;

	if (c->is_json) {
		json_t *o = key_json(req->namespace_, req->key);

		ctl_set_bytes(o, "value", ctl_str(res->value));
		set_version(o, res->version, res->acks, res->slot);
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
	enum ctl_exit code = take_key(c, in, &req.namespace_, &req.key);

	if (code != CTL_OK)
		return code;
	req.level = level_of(in);
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
	struct agi_buf out;
	enum ctl_exit code;

	if (c->is_json) {
		json_t *o = key_json(req->namespace_, req->key);

		set_version(o, res->version, res->acks, res->slot);
		return ctl_print_json_take(c, o);
	}
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "deleted on %u replica%s (slot %u, version %" PRIu64 ")\n", res->acks,
		       res->acks == 1 ? "" : "s", res->slot, res->version);
	code = ctl_write(c, agi_buf_str(&out));
	agi_buf_free(&out);
	return code;
}

enum ctl_exit ctl_del(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__DeleteRequest req = AGIHPC__V1__DELETE_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.KvService/Delete", &req, agihpc__v1__delete_response__descriptor);
	enum ctl_exit code = take_key(c, in, &req.namespace_, &req.key);

	if (code != CTL_OK)
		return code;
	req.level = level_of(in);
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_del(c, &req, (const Agihpc__V1__DeleteResponse *)call.res);
	ctl_call_clear(&call);
	return code;
}

/* --- owners ----------------------------------------------------------------------------------- */
static enum ctl_exit print_owners_json(struct ctl *c, const Agihpc__V1__OwnersRequest *req,
				       const Agihpc__V1__OwnersResponse *res)
{
	json_t *o = key_json(req->namespace_, req->key), *list = json_array();

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
	enum ctl_exit code = take_key(c, in, &req.namespace_, &req.key);

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
