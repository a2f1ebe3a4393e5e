/* SPDX-License-Identifier: Apache-2.0
 * For test_pb_reference.py. Standard input: type (0..2), le32 length, bytes; repeated. Standard
 * output for each: le32 length and bytes of the message packed again, or the length ffffffff when
 * it was refused. */
#include <stdio.h>

#include "net/grpc.h"
#include "erisml.pb-c.h"
#include "overlay.pb-c.h"
#include "plan.pb-c.h"

int main(void)
{
	static const ProtobufCMessageDescriptor *const types[] = {
	    &agi__plan__v1__plan_graph_proto__descriptor,
	    &agi__erisml__v1__moral_tensor_proto__descriptor,
	    &agihpc__overlay__v1__envelope__descriptor};
	static char in[1 << 16];
	static uint8_t out[1 << 17];
	int type;

	while ((type = getchar()) != EOF) {
		uint32_t n, packed = UINT32_MAX;
		ProtobufCMessage *m;

		if (type > 2 || fread(&n, sizeof n, 1, stdin) != 1 || n > sizeof in ||
		    fread(in, 1, n, stdin) != n)
			return 1;
		m = agi_pb_unpack(types[type], (struct agi_str){in, n}, NULL);
		if (m) {
			packed = (uint32_t)protobuf_c_message_pack(m, out);
			protobuf_c_message_free_unpacked(m, NULL);
		}
		fwrite(&packed, sizeof packed, 1, stdout);
		if (m)
			fwrite(out, 1, packed, stdout);
	}
	return 0;
}
