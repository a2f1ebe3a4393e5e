#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The history checker itself: it accepts what is right and finds what is wrong, also against a slow twin."""

import itertools
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from linear import NEVER, Op, is_linearizable  # noqa: E402
from tap import Tap  # noqa: E402


def by_trying_all(ops, start=None):
    """The definition: some subset of the unknown ones and some order that respects real time."""
    known = [o for o in ops if o.answer != NEVER]
    unknown = [o for o in ops if o.answer == NEVER and o.kind != "get"]
    for n in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, n):
            for order in itertools.permutations(known + list(some)):
                state, is_right = start, True
                for i, o in enumerate(order):
                    is_in_time = all(later.answer >= o.call for later in order[i + 1:])
                    is_right, state = o.apply(state)
                    if not (is_right and is_in_time):
                        is_right = False
                        break
                if is_right:
                    return True
    return False


def random_history(dice):
    ops, values = [], []
    for n in range(dice.randint(2, 6)):
        call = dice.randint(0, 12)
        answer = NEVER if dice.random() < 0.2 else call + dice.randint(0, 5)
        kind = dice.choice(["get", "put", "delete", "cas"])
        seen = dice.choice(values + [None])
        if kind in ("put", "cas"):
            values.append(b"%d" % n)
        ops.append(Op(kind, call, answer, seen if kind == "get" else b"%d" % n if kind != "delete" else None,
                      seen if kind == "cas" else None, dice.random() < 0.7 if kind == "cas" else True))
    return ops


def with_refused_writes(count):
    """Mostly writes of unknown outcome, some of which the few that got answers have met."""
    dice, ops, known = random.Random(3), [], None
    for n in range(count):
        value = b"%d" % n
        if n % 20 == 0:
            ops.append(Op("put", n, n + 1.5, value))
            known = value
        elif n % 20 == 10:
            ops.append(Op("cas", n, n + 0.5, value, known, False))  # one of the refused ones came first
        elif n % 20 == 15:
            ops.append(Op("get", n, n + 0.5, b"%d" % (n - 2)))      # and this one
        else:
            kind = "put" if n % 20 == 13 else dice.choice(["put", "cas", "delete"])
            ops.append(Op(kind, n, NEVER, None if kind == "delete" else value, known if kind == "cas" else None))
    return ops


def main():
    tap = Tap()
    put, stale = Op("put", 0, 1, b"a"), Op("get", 2, 3, None)
    with tap.case("a read after a write sees it"):
        assert is_linearizable([put, Op("get", 2, 3, b"a")])
        assert not is_linearizable([put, stale])
    with tap.case("a write of unknown outcome may be seen later, and once seen stays"):
        lost = Op("put", 0, NEVER, b"a")
        assert is_linearizable([lost, Op("get", 2, 3, None), Op("get", 4, 5, b"a")])
        assert not is_linearizable([lost, Op("get", 2, 3, b"a"), Op("get", 4, 5, None)])
    with tap.case("two compare-and-sets on one version do not both succeed"):
        assert not is_linearizable([Op("cas", 0, 5, b"a"), Op("cas", 1, 6, b"b")])
        assert is_linearizable([Op("cas", 0, 5, b"a"), Op("cas", 1, 6, b"b", None, False)])
    with tap.case("hundreds of refused writes do not make a history too hard to judge"):
        assert is_linearizable(with_refused_writes(600))
        assert not is_linearizable(with_refused_writes(60) + [Op("put", 60, 61, b"x"), Op("get", 62, 63, b"0")])
    with tap.case("it says the same as trying every order, on 2,000 small histories"):
        dice = random.Random(7)
        wrong = 0
        for _ in range(2000):
            ops = random_history(dice)
            assert is_linearizable(ops) == by_trying_all(ops), ops
            wrong += not is_linearizable(ops)
        assert 200 < wrong < 1800, f"the histories say little: {wrong} of 2000 are wrong"
    tap.done()
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
