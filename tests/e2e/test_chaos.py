#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Five real nodes, and a sixth that joins, in network namespaces under partitions, kill -9, pauses, clock jumps,
a full disk and restarts, with clients whose histories are judged afterwards. A bounded run; SOAK_SECONDS=3600 makes
it an hour (make soak), AGI_SEED replays the schedule."""

import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import netns  # noqa: E402

netns.enter()

import chaos  # noqa: E402
import overlay as o  # noqa: E402
from tap import Skip, Tap  # noqa: E402

SECONDS = float(os.environ.get("SOAK_SECONDS") or (25 if o.LEVEL == "full" else 8))
SEED = int(os.environ.get("AGI_SEED") or random.randrange(1 << 32))


def heal(net):
    net.heal()
    for n in net.joined():
        if not n.is_running():
            n.start()
    net.wait_ready(net.joined())
    net.wait_replicated()


def main():
    tap = Tap()
    tap.diag(f"replay: AGI_SEED={SEED} SOAK_SECONDS={SECONDS:.0f} {sys.argv[0]}")
    with netns.NetOverlay(6, time_limit=SECONDS * 2 + 240) as net:
        tap.on_failure = net.logs
        for n in net.nodes[3:5]:
            n.put_on_small_disk(160)
        has_clocks = chaos.with_faketime(net)
        net.start(net.nodes[:5])
        net.wait_replicated()
        registers = [chaos.RegisterClient(net, i, SEED) for i in range(4)]
        items = [chaos.ItemClient(net, i, SEED) for i in range(4, 6)]
        with tap.case("clients get answers, and every call ends, while hosts are cut off, killed, stopped and skewed"):
            chaos.run(net, registers + items, SEED, SECONDS, tap.diag)
            counts = {c.number: f"{c.answered}/{c.count}" for c in registers + items}
            tap.diag(f"answered of tried: {counts}")
            assert all(c.answered > 0 for c in registers + items), counts
        with tap.case("everything healed, every slot is held by three hosts again"):
            began = time.monotonic()
            heal(net)
            tap.diag(f"{time.monotonic() - began:.1f} s")
        with tap.case("every register's history is linearizable"):
            tap.diag("%d registers, %d operations, %d of unknown outcome" % chaos.judge_registers(registers))
        with tap.case("no acknowledged write was lost, no deleted item came back"):
            tap.diag(f"{chaos.judge_items(net, items)} reads")
        with tap.case("a host's wall clock could be set"):
            if not has_clocks:
                raise Skip("libfaketime is not installed (Debian: faketime)")
    tap.done()
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
