#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The shell scripts pass shellcheck, the Python files compile.
cd "$AGI_SRCDIR" || exit 1
n=0
result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
skipped() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

for f in bootstrap quickstart check .ci/run scripts/*.sh tests/*/*.sh; do
	if [ -n "$SHELLCHECK" ]; then
		out=$("$SHELLCHECK" -x "$f" 2>&1)
		rc=$?
		[ $rc = 0 ] || printf '%s\n' "$out" | sed 's/^/# /'
		result $rc "shellcheck $f"
	else
		skipped "shellcheck $f" "shellcheck is not installed"
	fi
done
for f in tests/*/*.py; do
	out=$("${PYTHON:-python3}" -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$f" 2>&1)
	rc=$?
	[ $rc = 0 ] || printf '%s\n' "$out" | sed 's/^/# /'
	result $rc "python syntax of $f"
done
echo "1..$n"
