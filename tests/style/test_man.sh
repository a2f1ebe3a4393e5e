#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The man pages are well-formed, refer to pages that exist, and leave out no command, option or exit code.
cd "$AGI_SRCDIR" || exit 1
ctl=$AGI_BUILDDIR/agihpc-ctl
n=0
result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
skipped() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}
# What mandoc says of a page, but for cross references (below) and its own database.
lint() {
	"$MANDOC" -Tlint -W style "$1" 2>&1 | grep -v -e 'referenced manual not found' -e 'mandoc.db'
}
missing_references() {
	sed -n 's/^\.Xr \([^ ]*\) \([0-9]\).*/\1.\2/p' "$1" | sort -u | while read -r page; do
		[ -f "man/$page" ] || [ "$page" = bash.1 ] || echo "$page"
	done
}
# The options that a help text lists, as mdoc writes them: "Fl -name".
missing_options() { # HELP-TEXT PAGE
	printf '%s\n' "$1" | sed -n 's/^ \{2,\}\(-., \)\{0,1\} *--\([a-z-]*\).*/\2/p' | sort -u |
		while read -r option; do
			grep -q -e "Fl -$option\b" "$2" || echo "--$option"
		done
}
report() { # OUTPUT NAME
	[ -z "$1" ] || printf '%s\n' "$1" | sed 's/^/# /'
	[ -z "$1" ]
	result $? "$2"
}

for page in man/*.[0-9]; do
	if [ -n "$MANDOC" ]; then
		report "$(lint "$page")" "mandoc lint $page"
	else
		skipped "mandoc lint $page" "mandoc is not installed"
	fi
	report "$(missing_references "$page")" "$page refers to pages that exist"
done

commands=$("$ctl" help | sed -n '/^Commands:/,/^$/s/^  \([a-z ]*[a-z]\)  .*/\1/p')
[ "$(printf '%s\n' "$commands" | wc -l)" -ge 20 ]
result $? "agihpc-ctl help lists the commands"
while read -r command; do
	grep -q -x -e "\.It Cm $command\( .*\)\{0,1\}" man/agihpc-ctl.1
	result $? "agihpc-ctl(1) describes $command"
	# shellcheck disable=SC2086 # the words of the command
	report "$(missing_options "$("$ctl" help $command)" man/agihpc-ctl.1)" "agihpc-ctl(1) describes its options: $command"
done <<EOF
$commands
EOF
report "$(missing_options "$("$(dirname "$ctl")/agihpc-sim" --help)" man/agihpc-sim.1)" "agihpc-sim(1) describes its options"
echo "1..$n"
