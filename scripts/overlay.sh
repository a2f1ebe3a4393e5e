# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The five nodes of ./quickstart: start, stop, kill, look at. Sourced after scripts/lib.sh.
# Everything they leave behind is below $STATE; a node's process is the one named in its pid file, if
# that process is alive and runs agihpc-node on that node's data directory.

STATE=$AGI_TOP/.quickstart
# shellcheck disable=SC2034
NODES=5
ALL=(1 2 3 4 5)
KEY=$STATE/cluster.key
BIN=${BIN:-$AGI_TOP/build}
READY_MS=60000

ip_of() { echo "127.0.0.1$1"; }
addr_of() { echo "127.0.0.1$1:5000"; }
bootstrap_list() { echo "$(addr_of 1),$(addr_of 2),$(addr_of 3)"; }
roles_of() { [ "$1" -gt 3 ] || echo "erisml,safety-gateway"; }
ports_of() { [ "$1" -gt 3 ] && echo 5000 || echo "5000 50055 50060"; }
node_dir() { echo "$STATE/node$1"; }

ctl() { "$BIN/agihpc-ctl" "$@"; }

# is_alive PID: a zombie is dead.
is_alive() { grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null; }

# node_pid N: its process id; fails when it does not run. A pid file may be stale and its number taken by a
# program of somebody else.
node_pid() {
	local pid dir
	dir=$(node_dir "$1")
	pid=$(cat "$dir/pid" 2>/dev/null) && [[ $pid =~ ^[0-9]+$ ]] || return 1
	is_alive "$pid" || return 1
	tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | {
		local first='' line found=1
		while IFS= read -r line; do
			[ -n "$first" ] || first=$line
			[ "$line" != "$dir/data" ] || found=0
		done
		[ "${first##*/}" = agihpc-node ] && return $found
	} || return 1
	echo "$pid"
}

any_runs() {
	local n
	for n in "${ALL[@]}"; do
		node_pid "$n" >/dev/null && return 0
	done
	return 1
}

is_ready() { ctl -n "$(addr_of "$1")" -o json status 2>/dev/null | grep -q '"ready": *true'; }

# needs_free_ports N: fails, with who it may be, when something else listens where node N would.
needs_free_ports() {
	local port who
	for port in $(ports_of "$1"); do
		if (exec 3<>"/dev/tcp/$(ip_of "$1")/$port") 2>/dev/null; then
			who=$(ss -Hltnp "sport = :$port" 2>/dev/null | sed -n 's/.*users:((\("[^"]*",pid=[0-9]*\).*/ (\1)/p' | head -n 1)
			warn "$(ip_of "$1"):$port is in use by another program$who; end it, or stop what listens on all addresses"
			return 1
		fi
	done
}

# start_node N: does nothing when it runs.
start_node() {
	local n=$1 dir roles pid
	dir=$(node_dir "$n")
	node_pid "$n" >/dev/null && return 0
	needs_free_ports "$n" || return 1
	mkdir -p "$dir"
	roles=$(roles_of "$n")
	# A session of its own: Ctrl-C in this terminal does not reach it.
	setsid "$BIN/agihpc-node" --listen "$(addr_of "$n")" --bootstrap "$(bootstrap_list)" \
		--data-dir "$dir/data" --cluster-key "$KEY" ${roles:+--roles "$roles"} \
		>>"$dir/log" 2>&1 </dev/null &
	pid=$!
	echo "$pid" >"$dir/pid"
	disown
	# Until the new process has become agihpc-node; if it ends before, its log says why.
	until node_pid "$n" >/dev/null || ! is_alive "$pid"; do
		sleep 0.01
	done
}

# wait_ready N…: until each says ready.
wait_ready() {
	local n deadline
	deadline=$(($(now_ms) + READY_MS))
	for n; do
		until is_ready "$n"; do
			if ! node_pid "$n" >/dev/null; then
				warn "node $n ended; the last lines of $(node_dir "$n")/log:"
				tail -n 5 "$(node_dir "$n")/log" >&2
				return 1
			fi
			if [ "$(now_ms)" -gt "$deadline" ]; then
				warn "node $n is not ready after $((READY_MS / 1000)) s; it says:"
				ctl -n "$(addr_of "$n")" status >&2
				return 1
			fi
			sleep 0.05
		done
	done
}

# end_nodes SIGNAL N…: sends it to those that run and waits until they are gone.
end_nodes() {
	local sig=$1 n pid deadline
	shift
	for n; do
		pid=$(node_pid "$n") && kill "-$sig" "$pid" 2>/dev/null
	done
	deadline=$(($(now_ms) + 15000))
	for n; do
		while node_pid "$n" >/dev/null; do
			if [ "$(now_ms)" -gt "$deadline" ]; then
				warn "node $n does not end on SIG$sig; killing it"
				pid=$(node_pid "$n") && kill -KILL "$pid"
				deadline=$(($(now_ms) + 5000))
			fi
			sleep 0.05
		done
		rm -f "$(node_dir "$n")/pid"
	done
}

# A program that the demonstration started and that is still there when it is stopped half-way.
end_helper() {
	local pid
	pid=$(cat "$STATE/service.pid" 2>/dev/null) || return 0
	if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'scripts/tcp_service.py'; then
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	fi
	rm -f "$STATE/service.pid"
}
