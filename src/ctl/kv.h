/* SPDX-License-Identifier: Apache-2.0
 * What the commands on the replicated memory have in common (kv.c). */
#ifndef AGI_CTL_KV_H
#define AGI_CTL_KV_H

#include <jansson.h>

#include "agihpc.pb-c.h"
#include "base/limits.h"
#include "ctl/call.h"
#include "ctl/out.h"

#define CTL_OPT_NAMESPACE                                                                          \
	{                                                                                          \
		"namespace", 0, "NS", NULL, "namespace of the key (default: default)"              \
	}
#define CTL_OPT_LEVEL                                                                              \
	{                                                                                          \
		"level", 0, "LEVEL", "one quorum all strong",                                      \
		    "replicas that must answer (default: the namespace's, else quorum)"            \
	}

/* --namespace; usage error when it is none. */
enum ctl_exit ctl_kv_namespace(struct ctl *c, const struct ctl_input *in, ProtobufCBinaryData *ns);
/* The same, and the first word as the key. */
enum ctl_exit ctl_kv_key(struct ctl *c, const struct ctl_input *in, ProtobufCBinaryData *ns,
			 ProtobufCBinaryData *key);
Agihpc__V1__Level ctl_kv_level(const struct ctl_input *in);
/* The second word, --file or standard input; the caller frees value->p. */
enum ctl_exit ctl_kv_value(struct ctl *c, const struct ctl_input *in, struct agi_str *value);
/* A version as it is printed: decimal. */
enum ctl_exit ctl_kv_version(struct ctl *c, const char *option, const char *text, uint64_t *out);

/* An object with namespace and key. */
json_t *ctl_kv_json(ProtobufCBinaryData ns, ProtobufCBinaryData key);
/* As a string: a version does not fit a double, which is what many JSON readers make of a number. */
void ctl_kv_set_version(json_t *o, const char *name, uint64_t version);
/* Prints and frees. */
enum ctl_exit ctl_kv_print_take(struct ctl *c, struct agi_buf *text);

#endif
