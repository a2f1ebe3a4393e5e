#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make fuzz [FUZZ_SECONDS=60]: runs the fuzz targets named on the command line for so long each, beginning with the kept
# corpus; speaks TAP. New inputs go to fuzz-corpus/NAME of the build tree, those that found something to fuzz-found/.
set -u
BUILD=${AGI_BUILDDIR:-.} SRC=${AGI_SRCDIR:-.} LIMIT=${FUZZ_SECONDS:-60}
failed=0 count=0

case $LIMIT in
*[!0-9]* | 0) echo "FUZZ_SECONDS must be a number of seconds, not '$LIMIT'" >&2 && exit 2 ;;
esac
[ -x "$BUILD/tests/fuzz/fuzz_pb" ] || {
	echo "1..0 # SKIP the fuzzers are not built: configure --enable-fuzzers CC=clang"
	exit 0
}
mkdir -p "$BUILD/fuzz-found"
for name; do
	count=$((count + 1))
	mkdir -p "$BUILD/fuzz-corpus/$name"
	log=$BUILD/fuzz-corpus/$name.log
	if "$BUILD/tests/fuzz/fuzz_$name" -max_total_time="$LIMIT" -timeout=20 -rss_limit_mb=2048 -max_len=8192 \
		-artifact_prefix="$BUILD/fuzz-found/$name-" "$BUILD/fuzz-corpus/$name" "$SRC/tests/fuzz/corpus/$name" \
		>"$log" 2>&1; then
		echo "ok $count - fuzz $name: $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log") inputs in $LIMIT s"
	else
		failed=1
		echo "not ok $count - fuzz $name"
		tail -n 40 "$log" | sed 's/^/# /'
	fi
done
echo "1..$count"
exit "$failed"
