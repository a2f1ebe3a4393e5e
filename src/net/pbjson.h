/* SPDX-License-Identifier: Apache-2.0
 * The JSON mapping of protobuf (protobuf.dev/programming-guides/json), both ways, over protobuf-c
 * descriptors.
 *
 * Read: field names as in the .proto or in lowerCamelCase; enums by name or number; 64-bit integers
 * as numbers or strings; bytes as base64 of either alphabet, padded or not; NaN and infinities as
 * strings; null means absent; maps as objects. A field that does not exist, a value of the wrong
 * type or out of range, a field given twice are errors that name the path, what was found and what
 * would be right.
 *
 * Written: field names as in the .proto (or lowerCamelCase), enums by name where they have one,
 * 64-bit integers as strings, the shortest number that reads back as the same float or double.
 * Unknown fields are left out. */
#ifndef AGI_NET_PBJSON_H
#define AGI_NET_PBJSON_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"

enum agi_pbjson_style {
	AGI_PBJSON_COMPACT = 0,
	AGI_PBJSON_PRETTY = 1, /* one field or element a line, two spaces a level */
	AGI_PBJSON_DEFAULTS =
	    2, /* also fields that hold their default (absent sub-messages are left out) */
	AGI_PBJSON_CAMEL = 4 /* lowerCamelCase names */
};

/* INVALID + why ("line 3, column 7: ..." for syntax, "plan.steps[2].index: expected ..."
 * otherwise); NOMEM. Free *out with protobuf_c_message_free_unpacked(*out, NULL). */
AGI_MUST_USE enum agi_err agi_pbjson_parse(const ProtobufCMessageDescriptor *desc,
					   struct agi_str json, ProtobufCMessage **out,
					   struct agi_why *why);
/* Appends one JSON object to out, without a newline at its end. style: enum agi_pbjson_style,
 * or'ed. Errors are out's: TOO_LARGE, NOMEM. A string that is not UTF-8 (nobody received it: it was
 * made here) has its odd bytes replaced by U+FFFD. */
AGI_MUST_USE enum agi_err agi_pbjson_print(const ProtobufCMessage *m, unsigned style,
					   struct agi_buf *out);

#endif
