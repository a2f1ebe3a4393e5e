/* SPDX-License-Identifier: Apache-2.0
 * Lists of metadata (headers, trailers; net/pairs.h), and what gRPC says about names that end in
 * "-bin": their values are bytes, base64 on the wire, and several of them may stand in one header,
 * between commas. Everything above this module sees bytes (doc/PROTOCOL-HTTP2.md,
 * "Custom-Metadata"). */
#ifndef AGI_NET_GRPC_META_H
#define AGI_NET_GRPC_META_H

#include "net/pairs.h"

/* The first value of a name, or {NULL, 0}. */
struct agi_str agi_meta_find(const struct agi_buf *list, struct agi_str name);

/* "trace-bin" */
bool agi_meta_is_binary(struct agi_str name);
/* A pair as it came: values of binary names are decoded, padded or not. MALFORMED when they are not
 * base64 (list is unchanged), else the list's own error. */
AGI_MUST_USE enum agi_err agi_meta_take(struct agi_buf *list, struct agi_str name,
					struct agi_str value);
/* A pair as it is to be sent: values of binary names are encoded, without padding. INVALID for what
 * HTTP/2 does not allow in a header (the list is unchanged), else the list's own error. */
AGI_MUST_USE enum agi_err agi_meta_give(struct agi_buf *list, struct agi_str name,
					struct agi_str value);

/* True for what the protocol uses itself and an application does not see: "grpc-timeout", "te", ...
 */
bool agi_meta_is_reserved(struct agi_str name);

#endif
