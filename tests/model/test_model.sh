#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The model of a strong register under view changes (register.pml) keeps its promises in every interleaving of some small
# worlds, and breaks them when one of its rules is broken. MODEL_ALL=1 (make model): larger worlds, all switches.
if ! command -v spin >/dev/null 2>&1; then
	echo "1..0 # SKIP spin is not installed"
	exit 0
fi
model=$AGI_SRCDIR/tests/model/register.pml
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
n=0

# explore OPTIMIZATION DEFINITIONS: 0 = every state is good, 1 = a violation was found, 2 = not finished. What spin says is
# in $work/out.
explore() {
	opt=$1
	shift
	rm -rf "$work/x"
	mkdir "$work/x"
	(
		cd "$work/x" && spin -a "$@" "$model" && ${CC:-cc} "$opt" -DSAFETY -DNOREDUCE -DCOLLAPSE \
			-DMEMLIM="${MODEL_MIB:-900}" -o pan pan.c && ./pan -m10000 -w"${MODEL_HASH:-20}"
	) >"$work/out" 2>&1
	if grep -q 'assertion violated' "$work/out"; then return 1; fi
	if grep -q 'errors: 0' "$work/out" && ! grep -q 'Search not completed\|too small' "$work/out"; then return 0; fi
	return 2
}

result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		sed 's/^/# /' "$work/out"
	fi
}

holds() { # WHAT DEFINITIONS
	what=$1
	shift
	explore -O2 "$@"
	rc=$?
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$work/out")
	result $rc "$what: ${states:-no} states"
}

breaks() { # SWITCH DEFINITIONS
	what=$1
	shift
	explore -O0 "-D$what" "$@"
	[ $? = 1 ]
	result $? "without it the promises do not hold: $what"
}

resting="-DPROPOSERS=0 -DLEADERS=2 -DREADERS=1"
rivals="-DPROPOSERS=2 -DLEADERS=0 -DREADERS=0"
moving="-DPROPOSERS=1 -DLEADERS=1 -DREADERS=1"
moving2="-DPROPOSERS=1 -DLEADERS=2 -DREADERS=0"
# shellcheck disable=SC2086
{
	holds "one view: two leaders, a direct get" $resting
	holds "two proposers: one view of each epoch" $rivals
	holds "a change of the view: a leader, a direct get" $moving
	holds "a change of the view: two leaders that put and add" $moving2 -DNO_GET
	breaks LED_UNSTORED $resting
	breaks READ_UNPROMISED $resting
	breaks SEAL_UNSTORED $rivals
	breaks FORGET_ACCEPTED $rivals
	breaks MERGE_ONE $moving
	breaks IGNORE_EPOCH $moving
	if [ -n "$MODEL_ALL" ]; then
		holds "a change of the view: two leaders" $moving2
		holds "two proposers and a leader" -DPROPOSERS=2 -DLEADERS=1 -DREADERS=0
		holds "one view: two operations of each of two leaders" -DPROPOSERS=0 -DLEADERS=2 -DSEQS=2 -DREADERS=0
		holds "one view: three leaders" -DPROPOSERS=0 -DLEADERS=3 -DREADERS=0
		holds "three epochs: two proposers" -DEPOCHS=3 $rivals
		holds "three epochs: a leader" -DEPOCHS=3 -DPROPOSERS=1 -DLEADERS=1 -DREADERS=0
		breaks REG_BELOW_PROMISE $resting
		breaks SAME_ONE -DPROPOSERS=0 -DLEADERS=1 -DREADERS=2
		breaks VIEW_BELOW_PROMISE $rivals
		breaks MERGE_UNSEALED $moving
		breaks ANSWER_JOINING $moving
		breaks MINORITY $moving
		breaks ROUND_LOST $moving2 -DNO_GET
	fi
}
echo "1..$n"
