# SPDX-License-Identifier: Apache-2.0
# Bytes as decimal numbers (od -An -v -tu1) into C.
BEGIN { print "#include \"descriptors.pb-c.h\"\nconst unsigned char agi_descriptors[] = {" }
{ gsub(/[0-9]+/, "&,"); print; n += NF }
END { print "};\nconst unsigned agi_descriptors_bytes = " n + 0 ";" }
