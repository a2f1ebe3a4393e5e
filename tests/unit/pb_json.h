/* SPDX-License-Identifier: Apache-2.0
 * Tests: protobuf-c messages against protobuf JSON (snake_case names, defaults left out). */
#ifndef TESTS_PB_JSON_H
#define TESTS_PB_JSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "roles/pool.h"

/* A message made of JSON, in the pool. NULL + text on an unknown field or a value of a wrong type. */
ProtobufCMessage *pb_of_json(const ProtobufCMessageDescriptor *d, const json_t *j,
                             struct agi_pool *pool, struct agi_why *why);
/* True when every field of m is what j says (floats bit for bit, any NaN for NaN; a field that j leaves
 * out must be absent or default). Else why names the first difference. */
bool pb_equals_json(const ProtobufCMessage *m, const json_t *j, struct agi_why *why);

#endif
