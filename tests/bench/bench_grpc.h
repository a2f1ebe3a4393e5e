/* SPDX-License-Identifier: Apache-2.0
 * What the parts of the gRPC bench agree on: the method /agihpc.v1.KvService/Get, its key about 200
 * bytes on the wire, its value about 100, so that any gRPC library can serve it from
 * proto/agihpc.proto. */
#ifndef AGI_TESTS_BENCH_GRPC_H
#define AGI_TESTS_BENCH_GRPC_H

enum {
	BENCH_KEY_BYTES = 192,  /* with tag and length 195: the request */
	BENCH_VALUE_BYTES = 92, /* with tag and length 94, version 2: the response */
	BENCH_REQUEST_BYTES = BENCH_KEY_BYTES + 3, /* the message */
	BENCH_RESPONSE_BYTES = BENCH_VALUE_BYTES + 4
};

#endif
