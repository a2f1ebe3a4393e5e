#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Safety checks while the network is cut: five hosts, three of them gateways (a panel of three, two must agree), each in a
network namespace. Whoever cannot talk with two gateways, both ways, never says ALLOW to what is asked after the cut; when
the network is whole again, everybody does.

Some positions of the cut, or all of them with PARTITIONS=all (as in make soak)."""

import collections
import itertools
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import netns  # noqa: E402
import overlay as o  # noqa: E402
from tap import Tap  # noqa: E402

HOSTS, GATEWAYS = (1, 2, 3, 4, 5), (1, 2, 3)
NEEDED = 2
ROUNDS = 4  # of checks at every host while the network is cut

# Sides: hosts of different sides do not hear each other.
SPLITS = (
    ("one host without a gateway", ((4,), (1, 2, 3, 5))),
    ("one gateway", ((1,), (2, 3, 4, 5))),
    ("one gateway and one other host", ((1, 4), (2, 3, 5))),
    ("two gateways, apart from a majority of the hosts", ((1, 3), (2, 4, 5))),
    ("both hosts without a gateway", ((4, 5), (1, 2, 3))),
    ("every gateway is alone", ((1,), (2,), (3, 4, 5))),
)
# What one host sends does not reach the others; and the other way round.
ONE_WAY = (
    ("what one gateway sends is lost", ((1, 2), (1, 3), (1, 4), (1, 5))),
    ("what two gateways send to one host is lost", ((2, 4), (3, 4))),
    ("what one host sends to two gateways is lost", ((5, 1), (5, 2))),
)


def pairs_of(sides):
    return [(a, b) for x, y in itertools.permutations(sides, 2) for a in x for b in y]


def all_cuts():
    """Both ways and one way, each split of the hosts in two."""
    for n in range(1, len(HOSTS)):
        for left in itertools.combinations(HOSTS, n):
            right = tuple(h for h in HOSTS if h not in left)
            if left[0] == HOSTS[0]:
                yield f"{left} and {right}", pairs_of((left, right))
            yield f"{left} to {right}", [(a, b) for a in left for b in right]
    for name, sides in SPLITS:
        yield name, pairs_of(sides)


def some_cuts():
    for name, sides in SPLITS:
        yield name, pairs_of(sides)
    yield from ((name, list(pairs)) for name, pairs in ONE_WAY)


def peers(host, cut):
    return [h for h in HOSTS if h == host or ((h, host) not in cut and (host, h) not in cut)]


def may_allow(host, cut):
    return len(set(peers(host, cut)) & set(GATEWAYS)) >= NEEDED


def must_allow(host, cut):
    """It and gateways enough are among four hosts that all hear each other: these hold a majority of every register, and
    of two gateways that it hears none asks for anything elsewhere."""
    group = peers(host, cut)
    return may_allow(host, cut) and len(group) >= 4 and all(peers(h, cut) == group for h in group)


def check(net, plan, host):
    """The decision and its cause."""
    decision, answer = net.nodes[host - 1].check_plan(plan, timeout=20)
    return decision, answer.result.metadata["cause"]


def hold(net, plan, pool, cut):
    """Asks everybody several times. What was answered where nothing may be allowed."""
    causes = collections.Counter()
    for _ in range(ROUNDS):
        for host, (decision, cause) in zip(HOSTS, pool.map(lambda h: check(net, plan, h), HOSTS)):
            if may_allow(host, cut):
                continue
            assert decision == "BLOCK", f"host {host}, which hears {peers(host, cut)}, says {decision}"
            assert cause, f"host {host} does not say why"
            causes[cause] += 1
    return causes


def all_allow(net, plan, pool, hosts):
    return all(pool.map(lambda h: check(net, plan, h)[0] == "ALLOW", hosts))


def one_position(net, plan, pool, pairs):
    cut = set(pairs)
    for a, b in pairs:
        net.cut(a, b, both=False)
    causes = hold(net, plan, pool, cut)
    due = [h for h in HOSTS if must_allow(h, cut)]
    o.wait_until(f"hosts {due} allow", lambda: all_allow(net, plan, pool, due), 60)
    causes += hold(net, plan, pool, cut) if due else {}
    net.heal()
    o.wait_until("all allow again", lambda: all_allow(net, plan, pool, HOSTS), 60)
    return causes


def main():
    netns.enter()
    tap = Tap()
    plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
    cuts = list(all_cuts() if os.environ.get("PARTITIONS") == "all" else some_cuts())
    roles = {i: ["erisml", "safety-gateway"] for i in GATEWAYS}
    with netns.NetOverlay(len(HOSTS), roles=roles, time_limit=120 + 60 * len(cuts)) as net, \
            ThreadPoolExecutor(len(HOSTS)) as pool:
        tap.on_failure = net.logs
        net.start()
        net.wait_replicated()
        with tap.case("while the network is whole, every host allows a harmless plan"):
            o.wait_until("all allow", lambda: all_allow(net, plan, pool, HOSTS), 60)
        for name, pairs in cuts:
            with tap.case(f"cut off: {name}: no ALLOW without two gateways; after it, ALLOW everywhere"):
                began = time.monotonic()
                try:
                    causes = one_position(net, plan, pool, pairs)
                finally:
                    net.heal()
                tap.diag(f"{time.monotonic() - began:.1f} s; {', '.join(f'{c} {n}' for c, n in causes.items())}")
    tap.done()
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
