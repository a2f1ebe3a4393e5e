# SPDX-License-Identifier: Apache-2.0
# Corrects and marks the C that protoc-c generated from a rewritten .proto (for-protobuf-c.awk). In a field's
# descriptor `reserved_flags`, which the library never reads, becomes enum agi_pb_mark (src/net/pb.h):
#   1  a proto `string` kept as bytes. protoc-c gives such a field a default that is a char, not the
#      ProtobufCBinaryData the library takes it for; that default becomes NULL
#   2  a proto `map`: a repeated message that is nested in this one and named after the field
#   3  a map whose repeated keys are kept: the hash of EthicalFactsProto covers every entry that came
/__field_descriptors\[[0-9]+\] =$/ {
	owner = $0
	sub(/__field_descriptors.*/, "", owner)
	sub(/.* /, "", owner)
}
/^  \{$/ { line = 0; mark = 0; label = type = "" }
{ line++ }
line == 2 { field = $1; gsub(/[",]/, "", field) }
/^    PROTOBUF_C_LABEL_/ { label = $1 }
/^    PROTOBUF_C_TYPE_/ { type = $1 }
type == "PROTOBUF_C_TYPE_BYTES," && $1 == "&protobuf_c_empty_string," { mark = 1; sub(/&protobuf_c_empty_string/, "NULL") }
type == "PROTOBUF_C_TYPE_MESSAGE," && label == "PROTOBUF_C_LABEL_REPEATED," &&
	$1 == "&" owner "__" field "_entry__descriptor," { mark = field == "extensions" ? 3 : 2 }
/^    0,NULL,NULL / { sub(/0,NULL,NULL/, mark ",NULL,NULL") }
{ print }
