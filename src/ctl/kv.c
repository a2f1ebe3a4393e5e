/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/kv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum ctl_exit ctl_kv_namespace(struct ctl *c, const struct ctl_input *in, ProtobufCBinaryData *ns)
{
	const char *name = ctl_opt_value(&in->opts, "namespace");

	*ns = ctl_bin_of(name ? name : "");
	if (ns->len > AGI_NAMESPACE_MAX || !agi_utf8_is_valid(ctl_str(*ns)))
		return ctl_usage(c, "--namespace must be UTF-8 text of at most %d bytes",
				 AGI_NAMESPACE_MAX);
	return CTL_OK;
}

enum ctl_exit ctl_kv_key(struct ctl *c, const struct ctl_input *in, ProtobufCBinaryData *ns,
			 ProtobufCBinaryData *key)
{
	*key = ctl_bin_of(in->words.p[0]);
	if (key->len == 0 || key->len > AGI_KEY_MAX)
		return ctl_usage(c, "the key has %zu bytes: it must have 1 to %d", key->len,
				 AGI_KEY_MAX);
	return ctl_kv_namespace(c, in, ns);
}

Agihpc__V1__Level ctl_kv_level(const struct ctl_input *in)
{
	const char *level = ctl_opt_value(&in->opts, "level");

	if (!level)
		return AGIHPC__V1__LEVEL__LEVEL_DEFAULT;
	return *level == 'o'   ? AGIHPC__V1__LEVEL__LEVEL_ONE
	       : *level == 'q' ? AGIHPC__V1__LEVEL__LEVEL_QUORUM
	       : *level == 's' ? AGIHPC__V1__LEVEL__LEVEL_STRONG
			       : AGIHPC__V1__LEVEL__LEVEL_ALL;
}

enum ctl_exit ctl_kv_value(struct ctl *c, const struct ctl_input *in, struct agi_str *value)
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

enum ctl_exit ctl_kv_version(struct ctl *c, const char *option, const char *text, uint64_t *out)
{
	size_t n = strspn(text, "0123456789");
	char back[24];

	*out = strtoull(text, NULL, 10);
	snprintf(back, sizeof back, "%" PRIu64, *out);
	if (n == 0 || text[n] || strcmp(back, text) != 0)
		return ctl_usage(c, "--%s '%.40s' is not a version as get -o json prints it", option,
				 text);
	return CTL_OK;
}

json_t *ctl_kv_json(ProtobufCBinaryData ns, ProtobufCBinaryData key)
{
	json_t *o = json_object();

	ctl_set(o, "namespace", ns.len ? ctl_json_str(ctl_str(ns)) : json_string("default"));
	ctl_set_bytes(o, "key", ctl_str(key));
	return o;
}

void ctl_kv_set_version(json_t *o, const char *name, uint64_t version)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, version);
	ctl_set(o, name, json_string(text));
}

enum ctl_exit ctl_kv_print_take(struct ctl *c, struct agi_buf *text)
{
	enum ctl_exit code = ctl_write(c, agi_buf_str(text));

	agi_buf_free(text);
	return code;
}
