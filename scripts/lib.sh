# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What ./quickstart and ./check have in common: messages, packages, building out of tree.
# Sourced by bash with AGI_TOP set to the repository.

# shellcheck source=scripts/packages.sh
. "$AGI_TOP/scripts/packages.sh"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	C_BOLD=$'\033[1m' C_DIM=$'\033[2m' C_GREEN=$'\033[32m' C_RED=$'\033[31m' C_OFF=$'\033[0m'
else
	C_BOLD='' C_DIM='' C_GREEN='' C_RED='' C_OFF=''
fi
# shellcheck disable=SC2034
readonly C_BOLD C_DIM C_GREEN C_RED C_OFF

say() { printf '%s\n' "$*"; }
step() { printf '%s==> %s%s\n' "$C_BOLD" "$*" "$C_OFF"; }
warn() { printf '%s%s: %s%s\n' "$C_RED" "${0##*/}" "$*" "$C_OFF" >&2; }
die() {
	warn "$@"
	exit 1
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# names_of LIST: the package names of a list in packages.sh.
names_of() { printf '%s\n' "$1" | sed -n 's/^\([a-z0-9][^ :]*\) *:.*/\1/p'; }

# missing_of NAME…: those that are not installed.
missing_of() {
	local p
	for p; do
		[ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s\n' "$p"
	done
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

# need_packages LOG LIST…: installs what is missing of the lists; does nothing when all is there.
need_packages() {
	local log=$1 list wanted=() missing=()
	shift
	for list; do
		mapfile -t -O "${#wanted[@]}" wanted < <(names_of "$list")
	done
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		warn "this is no Debian system; make sure that the equivalents of these packages are there: ${wanted[*]}"
		return 0
	fi
	mapfile -t missing < <(missing_of "${wanted[@]}")
	[ "${#missing[@]}" -gt 0 ] || return 0
	step "Installing ${#missing[@]} Debian packages: ${missing[*]}"
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		die "packages are missing and you are neither root nor is sudo there. As root, run:" \
			"apt-get install ${missing[*]}"
	fi
	if ! { apt_get update && apt_get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		tail -n 15 "$log" >&2
		die "apt-get could not install the packages; all of its output is in $log"
	fi
}

# quietly LOG WHAT COMMAND…: runs it with output in LOG; shows the end of LOG when it fails.
quietly() {
	local log=$1 what=$2 t0 rc
	shift 2
	t0=$(now_ms)
	printf '    %s … ' "$what"
	"$@" >"$log" 2>&1 </dev/null && rc=0 || rc=$?
	if [ "$rc" != 0 ]; then
		printf '%sfailed%s\n' "$C_RED" "$C_OFF"
		tail -n 25 "$log" >&2
		warn "$what failed (exit status $rc); all of its output is in $log"
		return "$rc"
	fi
	printf 'ok %s(%d s)%s\n' "$C_DIM" $((($(now_ms) - t0 + 500) / 1000)) "$C_OFF"
}

# needs_bootstrap: true when ./configure is missing or older than what it is made from.
needs_bootstrap() {
	local f
	[ -x "$AGI_TOP/configure" ] && [ -f "$AGI_TOP/Makefile.in" ] && [ -f "$AGI_TOP/build-aux/tap-driver.sh" ] || return 0
	for f in configure.ac Makefile.am; do
		[ ! "$AGI_TOP/$f" -nt "$AGI_TOP/configure" ] || return 0
	done
	return 1
}

# configure_in DIR ARGUMENT…: once per set of arguments.
configure_in() {
	local dir=$1
	shift
	if [ ! -f "$dir/Makefile" ] || [ "$(cat "$dir/.configured-with" 2>/dev/null)" != "$*" ]; then
		(cd "$dir" && "$AGI_TOP/configure" "$@" && printf '%s\n' "$*" >.configured-with)
	fi
}

# build_in DIR TARGETS ARGUMENT…: configures and makes TARGETS in DIR. Logs beside it: DIR/*.log.
build_in() {
	local dir=$1 targets=$2
	shift 2
	mkdir -p "$dir"
	if needs_bootstrap; then
		quietly "$dir/bootstrap.log" "./bootstrap" "$AGI_TOP/bootstrap" || return
	fi
	quietly "$dir/configure.log" "configure${*:+ $*}" configure_in "$dir" "$@" || return
	# shellcheck disable=SC2086
	quietly "$dir/make.log" "make $targets" make -C "$dir" -j"$(nproc)" $targets
}
