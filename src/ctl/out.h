/* SPDX-License-Identifier: Apache-2.0
 * What a command prints: a table for people or one JSON document for programs. Running out of
 * memory ends the program. JSON values given away are never NULL: jansson's allocator is ctl_alloc
 * (main.c). */
#ifndef AGI_CTL_OUT_H
#define AGI_CTL_OUT_H

#include <jansson.h>

#include "ctl/ctl.h"
#include "ctl/table.h"

/* All of it or CTL_FAILED with a message: a short write must not look like a short value. */
enum ctl_exit ctl_write(const struct ctl *c, struct agi_str bytes);
/* The same of text that is formatted; cut off at 500 bytes. */
enum ctl_exit ctl_say(const struct ctl *c, const char *fmt, ...) AGI_PRINTF(2, 3);
/* Prints the table and frees it. */
enum ctl_exit ctl_print_table(const struct ctl *c, struct ctl_table *t);
/* Prints the document, indented, with a newline, and releases it. */
enum ctl_exit ctl_print_json_take(const struct ctl *c, json_t *doc);

void ctl_set(json_t *object, const char *key, json_t *value_take);
void ctl_set_u64(json_t *object, const char *key, uint64_t v);
/* A string; bytes that are not UTF-8 go to KEY_base64 instead. */
void ctl_set_bytes(json_t *object, const char *key, struct agi_str s);
/* Milliseconds, or null when negative or not a number (not measured). */
void ctl_set_ms(json_t *object, const char *key, double ms);
json_t *ctl_json_str(struct agi_str s);                        /* "" for what is not UTF-8 */
json_t *ctl_json_strs(const ProtobufCBinaryData *v, size_t n); /* array */
/* A float32 as the shortest decimal that means it: 0.3, not 0.30000001192092896. */
json_t *ctl_json_float(float v);

/* First 12 characters of a node id. */
struct agi_str ctl_short_id(ProtobufCBinaryData id);
/* s, or "-" when it is empty. */
struct agi_str ctl_or_dash(ProtobufCBinaryData s);

#endif
