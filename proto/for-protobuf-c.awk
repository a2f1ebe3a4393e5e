# SPDX-License-Identifier: Apache-2.0
# Rewrites a .proto for protoc-c; the shipped files stay plain for every other compiler.
#   string f = 1;        gets (pb_c_field).string_as_bytes: protobuf-c's char* would lose all after a NUL
#   map<K, V> f = 1;     becomes the repeated entry message it is on the wire, so that its strings get it too
/^package / { print; print "import \"protobuf-c/protobuf-c.proto\";"; next }
match($0, /^ *map<[a-z0-9]+, *[a-zA-Z0-9_.]+> +[a-z0-9_]+ *= *[0-9]+;/) {
	line = $0
	sub(/^ *map</, "", line)
	key = line; sub(/,.*/, "", key)
	value = line; sub(/^[a-z0-9]+, */, "", value); sub(/>.*/, "", value)
	name = line; sub(/^[^>]*> +/, "", name); sub(/ *=.*/, "", name)
	number = line; sub(/^[^=]*= */, "", number); sub(/;.*/, "", number)
	n = split(name, part, "_"); entry = ""
	for (i = 1; i <= n; i++) entry = entry toupper(substr(part[i], 1, 1)) substr(part[i], 2)
	entry = entry "Entry"
	print "  message " entry " {"
	print "    " key " key = 1" (key == "string" ? " [(pb_c_field).string_as_bytes = true];" : ";")
	print "    " value " value = 2" (value == "string" ? " [(pb_c_field).string_as_bytes = true];" : ";")
	print "  }"
	print "  repeated " entry " " name " = " number ";"
	next
}
/^ *(repeated )?string [a-z0-9_]+ *= *[0-9]+;/ { sub(/;/, " [(pb_c_field).string_as_bytes = true];") }
{ print }
