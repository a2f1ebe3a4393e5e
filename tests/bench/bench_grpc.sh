#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make bench-grpc: our gRPC server beside gRPC C++ (completion queue and callback API), the same method, about 200 bytes
# in and 100 bytes out, in the same run: servers on one core, the load on another, every reply's grpc-status checked.
#
#   rate     50 connections with 20 calls each, closed loop: CPU time (user and system) of the server per call.
#            Rounds alternate between the servers; the median of the rounds counts.
#   latency  one connection, one call at a time, in turns with a bare ping-pong of the same sizes between the same
#            cores, over TCP and over a Unix-domain socket. Percentiles are medians over slices of 500 calls.
#
#   reflex   ReflexCheck of a node of its own (role in-action), one connection, one call at a time, over TCP on the
#            role's port and over the node's Unix-domain socket
#
# ROUNDS (5), ROUND_S seconds each (3), SLICES (60) may be set in the environment. The last line is one line of JSON:
#   vs_grpcpp_cpu    calls per CPU second of our server over those of the better gRPC C++ server
#   p50_vs_pingpong, p99_vs_pingpong   our latency over TCP against the ping-pong's
#   uds_p99_us       our p99 over the Unix-domain socket, microseconds
#   reflex_tcp_p99_us, reflex_uds_p99_us   ReflexCheck's p99
# and the figures they come from. Without libgrpc++-dev and its compiler plugin, gRPC C++ is left out (null).
set -u
BUILD=${AGI_BUILDDIR:-.} SRC=${AGI_SRCDIR:-.}
ROUNDS=${ROUNDS:-5} SECONDS_EACH=${ROUND_S:-3} SLICES=${SLICES:-60}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/agi-bench.XXXXXX") || exit 1
SERVERS=()
trap 'kill "${SERVERS[@]}" 2>/dev/null; rm -rf "$DIR"' EXIT
load=$BUILD/tests/bench/load_grpc
peer=$BUILD/tests/bench/grpcpp_peer

fail() {
	echo "bench-grpc: $*" >&2
	exit 1
}

# The peer is C++ and needs a minute of a compiler: built here, when it can be.
build_peer() {
	local plugin gen=$DIR/gen
	[ -x "$peer" ] && [ "$peer" -nt "$SRC/tests/bench/grpcpp_peer.cc" ] && return
	plugin=$(command -v grpc_cpp_plugin) && pkg-config --exists grpc++ protobuf 2>/dev/null || return
	mkdir "$gen" || return
	"${PROTOC:-protoc}" -I"$SRC/proto" --cpp_out="$gen" --grpc_out="$gen" --plugin=protoc-gen-grpc="$plugin" \
		"$SRC/proto/agihpc.proto" || return
	# shellcheck disable=SC2046
	"${CXX:-c++}" -O2 -std=c++17 -I"$gen" -I"$SRC" "$SRC/tests/bench/grpcpp_peer.cc" "$gen"/*.cc \
		$(pkg-config --cflags --libs grpc++ protobuf) -o "$peer"
}

# start NAME COMMAND…: sets PORT_NAME, PID_NAME, UDS_NAME.
start() {
	local name=$1 i
	shift
	taskset -c 0 "$@" "$DIR/$name" >"$DIR/$name.port" &
	SERVERS+=("$!")
	declare -g "PID_$name=$!" "UDS_$name=$DIR/$name"
	for ((i = 0; i < 100; i++)); do
		[ ! -s "$DIR/$name.port" ] || break
		sleep 0.05
	done
	[ -s "$DIR/$name.port" ] || fail "$* did not start"
	declare -g "PORT_$name=$(cat "$DIR/$name.port")"
}

median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# on_other COMMAND…: the load, away from the servers.
on_other() { taskset -c 1 "$load" "$@" || fail "the load ended with an error"; }

measure_rates() {
	local round name port pid out
	for ((round = 0; round < ROUNDS; round++)); do
		for name in "$@"; do
			port=PORT_$name pid=PID_$name
			out=$(on_other rate "${!port}" "${!pid}" 50 20 "$SECONDS_EACH") || exit 1
			awk '{ print $3 / $1 * 1e6 }' <<<"$out" >>"$DIR/$name.cpu"
			awk '{ print $1 / $2 }' <<<"$out" >>"$DIR/$name.rate"
		done
	done
}

# A node alone with the role in-action, on a loopback network of its own; sets REFLEX_TCP and REFLEX_UDS.
start_node() {
	local ip=127.$((RANDOM % 180 + 64)).$((RANDOM % 254 + 1)).1 i ctl=$BUILD/agihpc-ctl
	mkdir "$DIR/node" || fail "no room"
	"$ctl" keygen --out "$DIR/node/key" >/dev/null || fail "no cluster key"
	printf 'node: {unix_socket: %s}\n' "$DIR/node/socket" >"$DIR/node/node.yaml"
	taskset -c 0 "$BUILD/agihpc-node" --config "$DIR/node/node.yaml" --listen "$ip:5000" --bootstrap "$ip:5000" \
		--init --data-dir "$DIR/node/data" --cluster-key "$DIR/node/key" --roles in-action 2>"$DIR/node/log" &
	SERVERS+=("$!")
	# shellcheck disable=SC2034  # read by name below
	REFLEX_TCP=$ip:50056 REFLEX_UDS=$DIR/node/socket
	for ((i = 0; i < 200; i++)); do
		! "$ctl" -n "$ip:50056" -t 1s health >/dev/null 2>&1 || return
		sleep 0.1
	done
	fail "the node does not serve: $(tail -n 3 "$DIR/node/log")"
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (a == "null" || b == "null" || !b) print "null"; else printf "%.3f\n", a / b }'; }

command -v taskset >/dev/null || fail "taskset (util-linux) is missing"
[ "$(nproc)" -ge 2 ] || fail "two cores are needed: one for the servers, one for the load"
build_peer
names=(ours)
start ours "$BUILD/tests/bench/bench_grpc" serve
start pong "$BUILD/tests/bench/bench_grpc" pong
if [ -x "$peer" ]; then
	names+=(async callback)
	start async "$peer" async
	start callback "$peer" callback
else
	echo "bench-grpc: gRPC C++ is left out (libgrpc++-dev, protobuf-compiler-grpc are not installed)" >&2
fi
measure_rates "${names[@]}" || exit 1

declare -A label=([ours]="agihpc-node" [async]="gRPC C++, completion queue" [callback]="gRPC C++, callback")
best=null
echo "50 connections x 20 calls            calls/s   us CPU/call   calls/CPU-s"
for name in "${names[@]}"; do
	cpu=$(median <"$DIR/$name.cpu") rate=$(median <"$DIR/$name.rate")
	declare "cpu_$name=$cpu" "rate_$name=$rate"
	[ "$name" = ours ] || best=$( (echo "$cpu"; [ "$best" = null ] || echo "$best") | sort -g | head -n 1)
	awk -v n="${label[$name]}" -v r="$rate" -v c="$cpu" 'BEGIN { printf "  %-28s %12.0f %13.2f %13.0f\n", n, r, c, 1e6 / c }'
done

echo "one connection, one call at a time    p50 us     p99 us   p99.9 us   (ping-pong beside it: p50, p99)"
for name in "${names[@]}"; do
	for way in tcp unix; do
		if [ "$way" = tcp ]; then
			a=PORT_$name b=PORT_pong
		else
			a=UDS_$name b=UDS_pong
		fi
		out=$(on_other latency "${!a}" "${!b}" "$SLICES" 500) || exit 1
		{ read -r p50 p99 p999 && read -r q50 q99 _; } <<<"$out"
		declare "p50_${name}_$way=$p50" "p99_${name}_$way=$p99" "q50_${name}_$way=$q50" "q99_${name}_$way=$q99"
		printf '  %-28s %-4s %9s %10s %10s   (%s, %s)\n' "${label[$name]}" "$way" "$p50" "$p99" "$p999" "$q50" "$q99"
	done
done

start_node
for way in TCP UDS; do
	target=REFLEX_$way
	read -r p50 p99 p999 < <(on_other reflex "${!target}" "$SLICES" 500)
	declare "p50_reflex_$way=$p50" "p99_reflex_$way=$p99"
	printf '  %-28s %-4s %9s %10s %10s\n' "ReflexCheck of a node" "$way" "$p50" "$p99" "$p999"
done

# The variables' names are made of server and way.
# shellcheck disable=SC2154
printf '{"bench":"grpc","vs_grpcpp_cpu":%s,"p50_vs_pingpong":%s,"p99_vs_pingpong":%s,"uds_p99_us":%s,%s}\n' \
	"$(ratio "$best" "$cpu_ours")" "$(ratio "$p50_ours_tcp" "$q50_ours_tcp")" "$(ratio "$p99_ours_tcp" "$q99_ours_tcp")" \
	"$p99_ours_unix" \
	"\"reflex_tcp_p99_us\":$p99_reflex_TCP,\"reflex_uds_p99_us\":$p99_reflex_UDS,\"us_per_call\":$cpu_ours,\"calls_per_s\":$rate_ours,\"tcp_p50_us\":$p50_ours_tcp,\"tcp_p99_us\":$p99_ours_tcp,\"uds_p50_us\":$p50_ours_unix,\"grpcpp_us_per_call\":$best,\"grpcpp_p50_vs_pingpong\":$(ratio "${p50_async_tcp:-null}" "${q50_async_tcp:-null}"),\"grpcpp_p99_vs_pingpong\":$(ratio "${p99_async_tcp:-null}" "${q99_async_tcp:-null}")"
