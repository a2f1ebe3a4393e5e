/* SPDX-License-Identifier: Apache-2.0
 * safety verify: checks the certificate of a decision without asking anybody. */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "ctl/keys.h"
#include "ctl/out.h"
#include "roles/safety_gateway/certificate.h"

enum { FILE_MAX = 4 << 20, KEYS_MAX = 4096 };

const struct ctl_opt ctl_opts_safety_verify[] = {
    {"keys", 0, "FILE", NULL, "ids of the gateways to trust, one a line (default: those that were asked)"},
    {NULL, 0, NULL, NULL, NULL}};

/* --- what is read --------------------------------------------------------------------------------- */
static struct agi_str trim(struct agi_str s)
{
	while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
		s.n--;
	while (s.n && strchr(" \t\r\n", s.p[0])) {
		s.p++;
		s.n--;
	}
	return s;
}

/* What "safety check -o json" prints, or the bare text of metadata["certificate"]. json is the caller's to free. */
static struct agi_str certificate_text(struct agi_str file, json_t **json)
{
	const json_t *c;

	*json = json_loadb(file.p, file.n, 0, NULL);
	c = json_object_get(json_object_get(*json, "metadata"), "certificate");
	if (!c)
		c = json_object_get(*json, "certificate");
	return json_is_string(c) ? agi_str_of(json_string_value(c)) : trim(file);
}

static enum ctl_exit read_certificate(struct ctl *c, const char *path, struct agi_certificate *out)
{
	struct agi_str file, text;
	enum ctl_exit code = ctl_read_file(c, path, FILE_MAX, &file);
	uint8_t *bytes;
	json_t *json;
	size_t n = 0;

	if (code != CTL_OK)
		return code;
	text = certificate_text(file, &json);
	bytes = ctl_alloc(text.n + 1);
	if (sodium_base642bin(bytes, text.n + 1, text.p, text.n, NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL) ||
	    agi_certificate_decode(out, (struct agi_str){(char *)bytes, n}))
		code = ctl_error(c, CTL_FAILED,
		                 "%s: no certificate (expected: the output of \"agihpc-ctl -o json safety check\", or the "
		                 "text of its metadata.certificate)",
		                 path);
	free(bytes);
	json_decref(json);
	free((char *)(uintptr_t)file.p);
	return code;
}

enum ctl_exit ctl_read_ids(struct ctl *c, const char *path, struct agi_id *ids, size_t max, size_t *n)
{
	struct agi_str file;
	enum ctl_exit code = ctl_read_file(c, path, FILE_MAX, &file);
	size_t at = 0, line_number = 0;

	*n = 0;
	while (code == CTL_OK && at < file.n) {
		const char *end = memchr(file.p + at, '\n', file.n - at);
		size_t stop = end ? (size_t)(end - file.p) : file.n;
		struct agi_str line = trim((struct agi_str){file.p + at, stop - at});

		at = stop + 1;
		line_number++;
		if (line.n == 0 || line.p[0] == '#')
			continue;
		if (*n == max)
			code = ctl_error(c, CTL_FAILED, "%s: more than %zu ids", path, max);
		else if (line.n < 64 || (line.n > 64 && !strchr(" \t", line.p[64])) ||
			 agi_unhex(ids[*n].b, AGI_ID_BYTES, (struct agi_str){line.p, 64}))
			code = ctl_error(c, CTL_FAILED, "%s:%zu: expected a node id, 64 hexadecimal digits", path,
			                 line_number);
		else
			++*n;
	}
	if (code == CTL_OK && *n == 0)
		code = ctl_error(c, CTL_FAILED, "%s: no node id in it", path);
	free((char *)(uintptr_t)file.p);
	return code;
}

/* --- what is said ---------------------------------------------------------------------------------- */
static json_t *hex_json(const uint8_t *p, size_t n)
{
	char text[2 * 32 + 1];

	agi_hex(text, p, n);
	return json_string(text);
}

static json_t *votes_json(const struct agi_certificate *cert, const struct agi_certificate_finding *f)
{
	json_t *list = json_array();

	for (uint8_t i = 0; i < cert->n_votes; i++) {
		const struct agi_statement *s = &f->said[i];
		json_t *o = json_object();

		ctl_set(o, "gateway", hex_json(s->gateway.b, AGI_ID_BYTES));
		ctl_set(o, "decision", json_string(agi_decision_name(s->decision)));
		ctl_set(o, "valid", json_boolean(f->is_valid[i]));
		ctl_set(o, "why", f->is_valid[i] ? json_null() : json_string(f->why[i].text));
		ctl_set(o, "policy_hash", hex_json(s->policy_hash, 32));
		ctl_set_u64(o, "policy_epoch", s->policy_epoch);
		ctl_set_u64(o, "stop_epoch", s->stop_epoch);
		ctl_set_u64(o, "incarnation", s->incarnation);
		ctl_set_u64(o, "at_ms", s->at_ms);
		json_array_append_new(list, o);
	}
	return list;
}

static enum ctl_exit print_json(struct ctl *c, const struct agi_certificate *cert,
                                const struct agi_certificate_finding *f, bool is_proved)
{
	json_t *o = json_object();

	ctl_set(o, "proved", json_boolean(is_proved));
	ctl_set(o, "decision", json_string(agi_decision_name(cert->decision)));
	ctl_set(o, "votes_carry", json_string(agi_decision_name(f->proved)));
	ctl_set_u64(o, "valid_votes", f->valid);
	ctl_set_u64(o, "needed", cert->needed);
	ctl_set_u64(o, "electorate", cert->electorate);
	ctl_set(o, "plan_hash", hex_json(cert->plan_hash, 32));
	ctl_set(o, "nonce", hex_json(cert->nonce, 16));
	ctl_set(o, "router", hex_json(cert->router.b, AGI_ID_BYTES));
	ctl_set_u64(o, "at_ms", cert->at_ms);
	ctl_set(o, "votes", votes_json(cert, f));
	return ctl_print_json_take(c, o);
}

static void row_hex(struct ctl_table *t, const char *name, const uint8_t *p, size_t n)
{
	char text[2 * 32 + 1];

	agi_hex(text, p, n);
	ctl_table_text(t, name);
	ctl_table_text(t, text);
}

static enum ctl_exit print_text(struct ctl *c, const struct agi_certificate *cert,
                                const struct agi_certificate_finding *f, bool is_proved)
{
	static const struct ctl_col cols[] = {{NULL, CTL_COL_TEXT}, {NULL, CTL_COL_STATE}};
	struct ctl_table t;

	ctl_table_init(&t, cols, 2);
	ctl_table_text(&t, "decision");
	ctl_table_printf(&t, "%s, %s", agi_decision_name(cert->decision), is_proved ? "proved" : "NOT PROVED");
	ctl_table_text(&t, "valid votes");
	ctl_table_printf(&t, "%u; %u of %u are needed", (unsigned)f->valid, (unsigned)cert->needed,
	                 (unsigned)cert->electorate);
	row_hex(&t, "plan hash", cert->plan_hash, 32);
	row_hex(&t, "router", cert->router.b, AGI_ID_BYTES);
	for (uint8_t i = 0; i < cert->n_votes; i++) {
		char id[AGI_ID_HEX];

		agi_id_hex(id, &f->said[i].gateway);
		ctl_table_printf(&t, "vote of %.12s", id);
		if (f->is_valid[i])
			ctl_table_text(&t, agi_decision_name(f->said[i].decision));
		else
			ctl_table_printf(&t, "invalid: %s", f->why[i].text);
	}
	return ctl_print_table(c, &t);
}

enum ctl_exit ctl_safety_verify(struct ctl *c, const struct ctl_input *in)
{
	struct agi_certificate *cert = ctl_alloc(sizeof *cert);
	struct agi_certificate_finding *f = ctl_alloc(sizeof *f);
	struct agi_id *ids = ctl_alloc(KEYS_MAX * sizeof *ids);
	const char *keys = ctl_opt_value(&in->opts, "keys");
	enum ctl_exit code = read_certificate(c, in->words.p[0], cert);
	struct agi_why why = {""};
	size_t n = 0;

	if (code == CTL_OK && keys)
		code = ctl_read_ids(c, keys, ids, KEYS_MAX, &n);
	if (code == CTL_OK) {
		bool is_proved = agi_certificate_judge(cert, ids, n, f, &why) == AGI_OK;

		code = c->is_json ? print_json(c, cert, f, is_proved) : print_text(c, cert, f, is_proved);
		if (code == CTL_OK && !is_proved)
			code = ctl_error(c, CTL_FAILED, "the certificate does not hold: %s", why.text);
	}
	free(cert);
	free(f);
	free(ids);
	return code;
}
