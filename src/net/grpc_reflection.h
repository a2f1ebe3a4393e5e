/* SPDX-License-Identifier: Apache-2.0
 * grpc.reflection.v1 and v1alpha (github.com/grpc/grpc, doc/server-reflection.md): what a server
 * serves, for tools such as grpcurl and buf curl that have no .proto files. */
#ifndef AGI_NET_GRPC_REFLECTION_H
#define AGI_NET_GRPC_REFLECTION_H

#include "net/grpc.h"

/* Lists the services of s, also those that are added later, and describes every file of proto/. */
AGI_MUST_USE enum agi_err agi_grpc_reflection_add(struct agi_grpc_server *s);

#endif
