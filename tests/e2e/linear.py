# SPDX-License-Identifier: Apache-2.0
"""Is a recorded history of one register linearizable?

Wing and Gong's search ("Testing and verifying concurrent objects", 1993) with the memory of Lowe ("Testing for
linearizability", 2017): an order of the operations is looked for in which each takes effect between its call and
its answer and every answer is right. Written values are unique, so a value names its write.

An operation whose outcome the client does not know may take effect at any time after its call, or never.
"""

from dataclasses import dataclass, replace
from typing import Optional

NEVER = float("inf")
UNMET = b"(a value that nobody met)"


@dataclass
class Op:
    kind: str                        # "get", "put", "delete", "cas"
    call: float
    answer: float = NEVER            # NEVER: the outcome is not known
    value: Optional[bytes] = None    # put, cas: written; get: read (None = absent)
    expected: Optional[bytes] = None  # cas: the value whose version was the condition (None = absent)
    is_done: bool = True             # cas: False when the condition did not hold

    def apply(self, state):
        """Could it answer so in this state, and the state after it."""
        if self.kind == "get":
            return state == self.value, state
        if self.kind == "put":
            return True, self.value
        if self.kind == "delete":
            return True, None
        holds = state == self.expected
        if self.answer == NEVER:     # may have found its condition or not
            return True, self.value if holds else state
        return holds == self.is_done, self.value if self.is_done else state


class TooHard(Exception):
    """The search took more steps than allowed: nothing is known."""


def relevant(ops):
    """Without those that can neither be wrong nor help another: reads without an answer, and writes of unknown
    outcome whose value nobody met (unless a compare-and-set failed, which they might explain: then it does not
    matter which of them did, and all write UNMET)."""
    met = {o.value for o in ops if o.kind == "get"} | {o.expected for o in ops if o.kind == "cas"}
    is_cas_failed = any(o.kind == "cas" and not o.is_done for o in ops)
    found = []
    for o in ops:
        if o.answer == NEVER and o.kind in ("put", "cas") and o.value not in met:
            if is_cas_failed:
                found.append(replace(o, value=UNMET))
        elif o.answer != NEVER or o.kind != "get":
            found.append(o)
    return found


def without_twins(ops, candidates):
    """Of those of unknown outcome that would do the same, the first called: it can stand wherever another could."""
    seen, found = set(), []
    for i in candidates:
        o = ops[i]
        signature = (o.kind, o.value, o.expected)
        if o.answer != NEVER or signature not in seen:
            found.append(i)
        if o.answer == NEVER:
            seen.add(signature)
    return found


def is_linearizable(ops, start=None, max_steps=3_000_000):
    """True or False; TooHard beyond max_steps. ops are of one register that begins as start."""
    ops = sorted(relevant(ops), key=lambda o: o.call)
    must = sum(1 << i for i, o in enumerate(ops) if o.answer != NEVER)
    seen = {}  # by what is done of must, and the state: which of unknown outcome were used up on the way
    stack = [(0, start)]
    steps = 0
    while stack:
        done, state = stack.pop()
        before = -1
        while before != done:  # a read that is right now need not wait: it changes nothing
            before = done
            candidates = open_ops(ops, done)
            for i in candidates:
                if ops[i].kind == "get" and ops[i].value == state:
                    done |= 1 << i
        if done & must == must:
            return True
        used = seen.setdefault((done & must, state), [])
        if any(u & done == u for u in used):  # been here with no fewer left
            continue
        used.append(done & ~must)
        found = []
        for i in without_twins(ops, candidates):
            steps += 1
            if steps > max_steps:
                raise TooHard(f"{len(ops)} operations, {steps} steps")
            is_right, after = ops[i].apply(state)
            is_idle = ops[i].answer == NEVER and after == state
            if is_right and not is_idle and ops[i].kind != "get":
                found.append((done | 1 << i, after))
        stack += sorted(found, key=lambda s: s[0] & must)  # those that use nothing up are tried first
    return False


def open_ops(ops, done):
    """Those that may come next: called before anything that is not done was answered."""
    found, earliest = [], NEVER
    for i, o in enumerate(ops):
        if o.call > earliest:
            break
        if not done >> i & 1:
            found.append(i)
            earliest = min(earliest, o.answer)
    return [i for i in found if ops[i].call <= earliest]


def describe(ops):
    """The history as text, for a failure's diagnostics."""
    first = min((o.call for o in ops), default=0)
    return "\n".join(
        f"{(o.call - first) * 1e3:9.2f} … {'unknown' if o.answer == NEVER else f'{(o.answer - first) * 1e3:9.2f}'} ms "
        f"{o.kind} {o.value!r}{f' if {o.expected!r}: {o.is_done}' if o.kind == 'cas' else ''}"
        for o in sorted(ops, key=lambda o: o.call))
