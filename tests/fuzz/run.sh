#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make fuzz [FUZZ_SECONDS=60]: runs the fuzz targets named on the command line for so long each, beginning with the kept
# corpus, as many at a time as there are processors; speaks TAP. New inputs go to fuzz-corpus/NAME of the build tree,
# those that found something to fuzz-found/.
set -u
BUILD=${AGI_BUILDDIR:-.} SRC=${AGI_SRCDIR:-.} LIMIT=${FUZZ_SECONDS:-60}
JOBS=$(nproc 2>/dev/null || echo 1)
failed=0 count=0

case $LIMIT in
*[!0-9]* | 0) echo "FUZZ_SECONDS must be a number of seconds, not '$LIMIT'" >&2 && exit 2 ;;
esac
[ -x "$BUILD/tests/fuzz/fuzz_pb" ] || {
	echo "1..0 # SKIP the fuzzers are not built: configure --enable-fuzzers CC=clang"
	exit 0
}
mkdir -p "$BUILD/fuzz-found"

# one COUNT NAME: its line of the plan, on the standard output in one piece.
one() {
	local log=$BUILD/fuzz-corpus/$2.log
	mkdir -p "$BUILD/fuzz-corpus/$2"
	if "$BUILD/tests/fuzz/fuzz_$2" -max_total_time="$LIMIT" -timeout=20 -rss_limit_mb=2048 -max_len=8192 \
		-artifact_prefix="$BUILD/fuzz-found/$2-" "$BUILD/fuzz-corpus/$2" "$SRC/tests/fuzz/corpus/$2" \
		>"$log" 2>&1; then
		echo "ok $1 - fuzz $2: $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log") inputs in $LIMIT s"
	else
		printf '%s\n' "not ok $1 - fuzz $2
$(tail -n 40 "$log" | sed 's/^/# /')"
		return 1
	fi
}

# reap: waits for one of them.
reap() { wait -n || failed=1; }

for name; do
	[ "$count" -lt "$JOBS" ] || reap
	count=$((count + 1))
	one "$count" "$name" &
done
for ((i = count < JOBS ? count : JOBS; i > 0; i--)); do
	reap
done
echo "1..$count"
exit "$failed"
