# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The demonstration of ./quickstart: what is done, the command a user would type, what came back.
# Sourced after scripts/overlay.sh. Every promise is checked; run_demo fails at the first that is not kept.

LAST=''      # output of the last command
LAST_RC=0    # and its exit status
EXAMPLES=$AGI_TOP/conf/examples
RUN_ID=$$    # a second demonstration writes new values

title() {
	printf '\n%s%s%s\n' "$C_BOLD" "$*" "$C_OFF"
	printf '== %s\n' "$*" >>"$STATE/demo.log"
}

# kept PROMISE / broken PROMISE: the verdict on one.
kept() { printf '  %s✓%s %s\n' "$C_GREEN" "$C_OFF" "$*"; }
broken() {
	printf '  %s✗ %s%s\n' "$C_RED" "$*" "$C_OFF"
	printf '    exit status %s, output:\n' "$LAST_RC"
	printf '%s\n' "$LAST" | sed 's/^/    /'
	printf 'BROKEN %s\n' "$*" >>"$STATE/demo.log"
	return 1
}

# quiet N ARGUMENT…: agihpc-ctl against node N; result in LAST and LAST_RC.
quiet() {
	local n=$1
	shift
	LAST=$(ctl -n "$(addr_of "$n")" "$@" 2>&1) && LAST_RC=0 || LAST_RC=$?
	printf '$ agihpc-ctl -n %s %s\n%s\n(%s)\n' "$(addr_of "$n")" "$*" "$LAST" "$LAST_RC" >>"$STATE/demo.log"
	return 0
}

# as_typed WORD…: as they would be typed in this directory.
as_typed() {
	local word
	for word; do
		word=${word#"$AGI_TOP"/}
		[[ $word == *[![:alnum:]./:_-]* ]] && word="'$word'"
		printf ' %s' "$word"
	done
}

# typed N ARGUMENT…: the same, shown as a user would type it, with the first lines of the answer.
typed() {
	local n=$1
	shift
	quiet "$n" "$@"
	printf '  %s$ agihpc-ctl -n %s%s%s\n' "$C_DIM" "$(addr_of "$n")" "$(as_typed "$@")" "$C_OFF"
	printf '%s\n' "$LAST" | head -n "${SHOW:-6}" | cut -c 1-110 | sed 's/^/    /'
	[ "$(printf '%s\n' "$LAST" | wc -l)" -le "${SHOW:-6}" ] || echo "    …"
}

did() { printf '  %s# %s%s\n' "$C_DIM" "$*" "$C_OFF"; }

# expect RC PROMISE [TEXT…]: the last command ended with RC and its output has every TEXT.
expect() {
	local rc=$1 promise=$2 text
	shift 2
	[ "$LAST_RC" = "$rc" ] || broken "$promise (exit status $rc expected)" || return
	for text; do
		case $LAST in
		*"$text"*) ;;
		*) broken "$promise (no '$text' in it)" || return ;;
		esac
	done
	kept "$promise"
}

# within SECONDS COMMAND…: polls until it succeeds.
within() {
	local deadline
	deadline=$(($(now_ms) + $1 * 1000))
	shift
	until "$@"; do
		[ "$(now_ms)" -le "$deadline" ] || return 1
		sleep 0.1
	done
}

quiet_has() { # RC TEXT N ARGUMENT…
	local rc=$1 text=$2
	shift 2
	quiet "$@"
	[ "$LAST_RC" = "$rc" ] && [[ $LAST == *"$text"* ]]
}
quiet_lacks() { # TEXT N ARGUMENT…
	local text=$1
	shift
	quiet "$@"
	[[ $LAST != *"$text"* ]]
}

# The first Python that has grpcio: another one may come earlier in PATH than Debian's.
python_with_grpc() {
	local p
	for p in /usr/bin/python3 python3; do
		"$p" -c 'import grpc, google.protobuf' 2>/dev/null && break
	done
	echo "$p"
}

quiet_all_members() { # N: it lists all five
	local n
	quiet "$1" members
	for n in "${ALL[@]}"; do
		[[ $LAST == *"$(addr_of "$n")"* ]] || return 1
	done
}

slots_settled() {
	local n
	for n in "${ALL[@]}"; do
		quiet "$n" -o json status
		printf '%s' "$LAST" | grep -q '"joining": *0' || return 1
		printf '%s' "$LAST" | grep -q '"sealed": *0' || return 1
		printf '%s' "$LAST" | grep -q '"leaving": *0' || return 1
	done
	[ "$(owners_of 1 greeting | wc -w)" = 3 ]
}

# owners_of N KEY: the numbers of the nodes that hold KEY.
owners_of() {
	quiet "$1" owners "$2"
	printf '%s\n' "$LAST" | grep -o '127\.0\.0\.1[1-5]:5000' | sed 's/^127\.0\.0\.1//; s/:5000$//' | sort -u | tr '\n' ' '
}

demo_overlay() {
	title "1. Five processes, one overlay"
	typed 1 status
	expect 0 "node 1 is ready" "$(addr_of 1)" || return
	within 10 quiet_all_members 3 || broken "node 3 knows all five" || return
	typed 3 members
	expect 0 "node 3 knows all five" "$(addr_of 1)" "$(addr_of 2)" "$(addr_of 4)" "$(addr_of 5)" || return
	within 60 slots_settled || broken "every slot has its three hosts" || return
	SHOW=4 typed 2 slots
	expect 0 "the keys are cut into slots, each held by three of the five" || return
	within 20 quiet_has 0 "$(ip_of 3):50055" 5 roles
	typed 5 roles
	expect 0 "the safety roles run on three nodes" "$(ip_of 1):50055" "$(ip_of 2):50055" "$(ip_of 3):50055" "$(ip_of 1):50060"
}

demo_registry() {
	local service began
	service=$(ip_of 2):50051
	title "2. A service of your own: registered on one node, found from all"
	end_helper
	: >"$STATE/service.log"
	"$(python_with_grpc)" "$AGI_TOP/scripts/tcp_service.py" "$service" >>"$STATE/service.log" 2>&1 </dev/null &
	echo $! >"$STATE/service.pid"
	disown
	did "a process listens on $service"
	within 5 grep -q listening "$STATE/service.log"
	typed 2 register lh-planner "$service" --interval 1s
	expect 0 "registered with node 2, which checks it every second" || return
	within 5 quiet_has 0 "$service" 5 discover lh-planner
	typed 5 discover lh-planner
	expect 0 "found from node 5" "$service" || return
	typed 4 nearest lh-planner
	expect 0 "and named as the nearest" "$service" || return
	end_helper
	began=$(now_ms)
	did "the process is killed; nobody deregisters it"
	if ! within 10 quiet_lacks "$service" 5 discover lh-planner; then
		broken "it disappears by itself" || return
	fi
	kept "gone from discovery after $(($(now_ms) - began)) ms: its health check failed"
	quiet 2 deregister lh-planner "$service"
	expect 0 "deregistered"
}

demo_memory() {
	title "3. Memory: every key on three hosts"
	typed 1 put greeting "hello $RUN_ID"
	expect 0 "written through node 1, on disk at a quorum" || return
	typed 4 get greeting
	expect 0 "read through node 4" "hello $RUN_ID" || return
	typed 5 owners greeting
	expect 0 "three hosts hold it" || return
	typed 2 put draft "to be deleted"
	typed 3 del draft
	typed 5 get draft
	expect 3 "deleted is deleted, from any node" || return
	did "100 more keys, each through another node"
	for i in $(seq 100); do
		quiet $((i % NODES + 1)) put "key/$i" "value $i of $RUN_ID"
		[ "$LAST_RC" = 0 ] || broken "put key/$i" || return
	done
	kept "100 writes acknowledged"
}

demo_owner_killed() {
	local owners victim other i
	title "4. kill -9 of a host that holds the key"
	owners=$(owners_of 1 greeting)
	victim=${owners%% *}
	other=$((victim % NODES + 1))
	end_nodes KILL "$victim"
	did "node $victim is dead"
	typed "$other" get greeting
	expect 0 "reads go on" "hello $RUN_ID" || return
	typed "$other" put greeting "changed $RUN_ID"
	expect 0 "writes go on" || return
	for i in $(seq 1 2 100); do
		quiet "$other" put "key/$i" "new value $i of $RUN_ID"
		[ "$LAST_RC" = 0 ] || broken "put key/$i while a host is down" || return
	done
	kept "50 more writes acknowledged while it is down"
	start_node "$victim" && wait_ready "$victim" || return
	did "node $victim is started again"
	if ! within 30 no_hints; then
		broken "the missed writes reach it" || return
	fi
	kept "the writes it missed were handed over"
	typed "$victim" get --level one greeting
	expect 0 "it answers by itself with the new value" "changed $RUN_ID"
}

no_hints() {
	local n
	for n in "${ALL[@]}"; do
		quiet "$n" -o json status
		printf '%s' "$LAST" | grep -q '"hints": *0' || return 1
	done
}

demo_all_killed() {
	local i began expected
	title "5. kill -9 of all five at once"
	end_nodes KILL "${ALL[@]}"
	did "no node is left"
	began=$(now_ms)
	for i in "${ALL[@]}"; do
		start_node "$i" || return
	done
	wait_ready "${ALL[@]}" || return
	did "all five started again, ready after $(($(now_ms) - began)) ms"
	for i in $(seq 100); do
		expected="value $i of $RUN_ID"
		[ $((i % 2)) = 0 ] || expected="new $expected"
		quiet $((i % NODES + 1)) get "key/$i"
		[ "$LAST_RC" = 0 ] && [ "$LAST" = "$expected" ] || broken "key/$i is '$expected'" || return
	done
	kept "every acknowledged write is there"
}

demo_safety() {
	local harmless began took
	title "6. Safety: a plan needs a majority of three gateways"
	harmless=$EXAMPLES/harmless.json
	within 20 allows 5 "$harmless" || broken "three gateways allow a harmless plan" || return
	typed 5 safety check "$harmless"
	expect 0 "harmless: ALLOW" ALLOW || return
	typed 5 safety check "$EXAMPLES/banned-tool.json"
	expect 10 "a tool that is banned by the rules: BLOCK" BLOCK || return
	typed 5 safety check "$EXAMPLES/ethical-veto.json"
	expect 10 "an ethical veto: BLOCK" BLOCK || return
	typed 5 safety check "$EXAMPLES/empty-plan.json"
	expect 11 "nothing to judge: REVISE" REVISE || return
	LAST=$("$(python_with_grpc)" "$AGI_TOP/scripts/check_plan.py" "$(addr_of 4)" "$harmless" "$AGI_TOP/proto" 2>&1) &&
		LAST_RC=0 || LAST_RC=$?
	printf '  %s$ python3 scripts/check_plan.py %s conf/examples/harmless.json proto%s\n' "$C_DIM" "$(addr_of 4)" "$C_OFF"
	printf '%s\n' "$LAST" | sed 's/^/    /'
	expect 0 "the same question from a Python gRPC client" ALLOW || return
	end_nodes KILL 1 2
	did "two of the three gateways are killed"
	began=$(now_ms)
	typed 5 safety check "$harmless"
	took=$(($(now_ms) - began))
	expect 10 "no majority, no permission: BLOCK (the command took $took ms in all; the budget of a check is 100)" BLOCK || return
	start_node 1 && start_node 2 && wait_ready 1 2 || return
	within 20 allows 5 "$harmless" || broken "restarted gateways allow again" || return
	kept "both started again: ALLOW again"
}

allows() { quiet_has 0 ALLOW "$1" safety check "$2"; }

run_demo() {
	: >"$STATE/demo.log"
	trap end_helper EXIT
	demo_overlay && demo_registry && demo_memory && demo_owner_killed && demo_all_killed && demo_safety
}
