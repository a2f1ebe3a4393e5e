# SPDX-License-Identifier: Apache-2.0
"""Many daemons on one machine, and a fifth of them killed (make bench-many).

    bench_many.py [--nodes N] [--idle SECONDS] [--askers N] [--nice N]

N (200) daemons with the small configuration (small_nodes.py) on loopback. Each registers one instance of a service (without
checks of its own: it lives as long as its host). Then a fifth of them, taken at random, is killed with SIGKILL at one moment,
and the service is discovered from --askers (5) others until each of them names exactly the instances of the living.
All daemons share the machine's processors: with many of them the figures are of the machine as much as of a node.

Prints a table, then one line of JSON:

    nodes, cpus, kernel
    ready_s           from starting the first to the last that says ready
    met_s             from there (the start) until every node sees all others up
    replicated_s      until every slot is held by three hosts
    discovered_s      from the last registration until every asker names all instances
    rss_mib, rss_max_mib, pss_mib     resident memory of a node at rest: mean, greatest; mean with shared pages in parts
    idle_cpu          percent of one processor a node takes at rest, mean over --idle (10) seconds
    recovered_s       from the kill until discovery is right at every asker
"""

import argparse
import json
import os
import platform
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import overlay as o  # noqa: E402
import small_nodes  # noqa: E402
from overlay import wait_until  # noqa: E402

SERVICE = "bench-many"
LIMIT_S = 300
SETTLE_S = 15  # for ten seconds after its start a node looks hard for gateways


def form(net, figures):
    began = time.monotonic()
    for node in net.nodes:
        node.start()
    net.wait_ready(seconds=LIMIT_S)
    figures["ready_s"] = time.monotonic() - began
    net.wait_met(LIMIT_S)
    figures["met_s"] = time.monotonic() - began
    net.wait_replicated(seconds=LIMIT_S)
    figures["replicated_s"] = time.monotonic() - began


def is_right(askers, wanted):
    return all(set(n.discover(SERVICE)) == wanted for n in askers)


def wait_right(askers, wanted):
    """Seconds until every asker names just these."""
    began = time.monotonic()
    wait_until("discovery is right", lambda: is_right(askers, wanted), LIMIT_S, every=0.02)
    return time.monotonic() - began


def kill_some(net, count):
    victims = random.sample(net.nodes, count)
    for node in victims:
        node.proc.kill()
    for node in victims:
        node.kill()


def measure(options):
    figures = {}
    with small_nodes.SmallOverlay(options.nodes, time_limit=1200) as net:
        form(net, figures)
        for node in net.nodes:
            node.register(SERVICE, node.addr, kind="none")
        askers = random.sample(net.nodes, options.askers)
        figures["discovered_s"] = wait_right(askers, {n.addr for n in net.nodes})
        for node in net.nodes:
            node.close_channels()
        time.sleep(SETTLE_S)
        figures.update(small_nodes.at_rest(net, options.idle))
        figures["rss_max_mib"] = max(map(small_nodes.rss_kib, small_nodes.pids(net))) / 1024
        kill_some(net, options.nodes // 5)
        living = net.running()
        figures["recovered_s"] = wait_right(random.sample(living, options.askers), {n.addr for n in living})
    return figures


def main():
    p = argparse.ArgumentParser(description="Many daemons on one machine, and a fifth of them killed.")
    p.add_argument("--nodes", type=int, default=200)
    p.add_argument("--idle", type=int, default=10)
    p.add_argument("--askers", type=int, default=5)
    p.add_argument("--nice", type=int, default=0)
    options = p.parse_args()
    os.nice(options.nice)
    figures = {k: round(v, 4) for k, v in measure(options).items()}
    for name, value in figures.items():
        print(f"{name:14}{value:12.3f}", flush=True)
    print(json.dumps({"bench": "many", "nodes": options.nodes, "cpus": os.cpu_count(), "kernel": platform.release(),
                      **figures}))


main()
