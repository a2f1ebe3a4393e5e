# SPDX-License-Identifier: Apache-2.0
"""Gets and puts beside OpenDHT and libtorrent's DHT, in one run on this machine (make bench-dht).

    bench_dht.py [--nodes 16,32,64] [--keys N] [--rounds N] [--idle SECONDS] [--only NAME,...]

Needs libopendht-dev, libtorrent-rasterbar-dev, pkg-config and a C++ compiler (dht_opendht.cc, dht_libtorrent.cc are
compiled first). For each number of nodes, all on loopback: every key (200) is put once and got once, one operation at a
time, each from a node taken at random. Values have some 80 bytes.

What is compared, and what not:
    ours        one daemon per node, small configuration (small_nodes.py); a client with an open gRPC connection (TCP) to
                every node: so a get is two round trips, client to its own node and node to a holder. Links between nodes
                are encrypted and authenticated. put and get are at level quorum: a put is on disk (fsync) on two hosts, a
                get has asked two of three. get_one is a get at level one: one holder is asked.
    theirs      all nodes are in one process, whose own function is called: no connection of a client, no change of
                process. Datagrams in clear, values in memory. They are told of all other nodes at their start.
CPU per operation is that of all nodes and of the client. A daemon's memory is given as RSS and as PSS (what is shared
counts in parts); theirs is the process divided by the nodes.

Rounds take turns between the systems, each with a fresh network; a figure is the median of the rounds. Prints a table, then
one line of JSON, with, from the largest number of nodes (all are under "runs"):

    get_p50_vs_best, get_p99_vs_best   the faster library's latency over ours at level one (above 1: ours is faster)
    get_cpu_vs_best                    our CPU per get at level one over the thriftier library's (below 1: ours takes less)
    put_p50_vs_best                    the faster library's latency over ours at level quorum
    get_quorum_p50_vs_best, get_quorum_p99_vs_best, get_quorum_cpu_vs_best     the same of gets at level quorum
    runs                               every figure of every system and number of nodes
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import overlay as o  # noqa: E402
import small_nodes  # noqa: E402

BENCH = os.path.join(o.SRCDIR, "tests", "bench")
OUT = os.path.join(o.BUILDDIR, "tests", "bench")
LIBRARIES = {"opendht": "opendht", "libtorrent": "libtorrent-rasterbar"}  # and their names for pkg-config
ONE, QUORUM = 1, 2
SETTLE_S = 10  # as in dht_bench.h
FIGURES = ("put_p50", "put_p99", "put_cpu", "get_p50", "get_p99", "get_cpu", "get_one_p50", "get_one_p99",
           "get_one_cpu", "failed", "join_s", "rss_mib", "pss_mib", "idle_cpu")


def compile_peer(name):
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", LIBRARIES[name]], stdout=subprocess.PIPE)
    if flags.returncode:
        sys.exit(f"{LIBRARIES[name]} is missing (Debian: libopendht-dev, libtorrent-rasterbar-dev)")
    program = os.path.join(OUT, "dht_" + name)
    subprocess.run([*shlex.split(os.environ.get("CXX") or "c++"), "-O2", "-std=c++17", "-I" + o.SRCDIR,
                    os.path.join(BENCH, f"dht_{name}.cc"), "-o", program, *flags.stdout.decode().split(), "-pthread"],
                   check=True)
    return program


def latencies(name, us):
    ordered = sorted(us)
    assert ordered, f"no {name} succeeded"
    return {f"{name}_p50": ordered[len(ordered) // 2], f"{name}_p99": ordered[int(len(ordered) * 0.99)]}


def figures_of(raw, operations=("put", "get")):
    """From the line of JSON that dht_bench.h describes."""
    figures = {"failed": 0}
    for name in operations:
        figures.update(latencies(name, raw[name + "_us"]))
        figures[name + "_cpu"] = raw[name + "_cpu_us"]
        figures["failed"] += raw[name + "_failed"]
    return figures


def measure_library(name, nodes, options):
    out = subprocess.run([os.path.join(OUT, "dht_" + name), str(nodes), str(options.keys), str(options.idle)],
                         stdout=subprocess.PIPE, check=True, timeout=600).stdout
    raw = json.loads(out)
    return {**figures_of(raw), "join_s": raw["join_s"], "rss_mib": raw["rss_kib"] / 1024, "idle_cpu": raw["idle_cpu"]}


def load(net, keys, get_level):
    r = o.run(os.path.join(OUT, "load_dht"), str(keys), str(QUORUM), str(get_level),
              ",".join(n.addr for n in net.nodes), *map(str, small_nodes.pids(net)), timeout=120)
    return r.expect(0).json()


def measure_ours(nodes, options):
    with small_nodes.SmallOverlay(nodes, time_limit=600) as net:
        began = time.monotonic()
        net.start()
        net.wait_met(120)
        figures = {"join_s": time.monotonic() - began}
        net.wait_replicated(seconds=120)
        time.sleep(SETTLE_S)
        figures.update(figures_of(load(net, options.keys, QUORUM)))
        one = figures_of(load(net, options.keys, ONE))
        figures.update({f"get_one_{k}": one[f"get_{k}"] for k in ("p50", "p99", "cpu")})
        figures["failed"] += one["failed"]
        time.sleep(SETTLE_S)
        figures.update(small_nodes.at_rest(net, options.idle))
    return figures


def median_of(rounds):
    return {k: statistics.median(r[k] for r in rounds) for k in FIGURES if k in rounds[0]}


def ratios(systems):
    ours, others = systems["ours"], [v for k, v in systems.items() if k != "ours"]

    def best(figure):
        return min(v[figure] for v in others)
    found = {"put_p50_vs_best": best("put_p50") / ours["put_p50"]}
    for name, prefix in (("get", "get_one"), ("get_quorum", "get")):
        found[name + "_p50_vs_best"] = best("get_p50") / ours[prefix + "_p50"]
        found[name + "_p99_vs_best"] = best("get_p99") / ours[prefix + "_p99"]
        found[name + "_cpu_vs_best"] = ours[prefix + "_cpu"] / best("get_cpu")
    return {k: round(v, 3) for k, v in found.items()}


def show(nodes, systems):
    print(f"\n{nodes} nodes" + " " * 12 + "".join(f"{name:>14}" for name in systems))
    for figure in FIGURES:
        if any(figure in v for v in systems.values()):
            cells = (f"{v[figure]:14.3f}" if figure in v else " " * 14 for v in systems.values())
            print(f"  {figure:18}" + "".join(cells), flush=True)


def arguments():
    p = argparse.ArgumentParser(description="Gets and puts beside OpenDHT and libtorrent's DHT.")
    p.add_argument("--nodes", default="16,32,64")
    p.add_argument("--keys", type=int, default=200)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--idle", type=int, default=5)
    p.add_argument("--only", default="ours,opendht,libtorrent")
    return p.parse_args()


def main():
    options = arguments()
    names = options.only.split(",")
    for name in LIBRARIES:
        if name in names:
            compile_peer(name)
    runs = {}
    for nodes in map(int, options.nodes.split(",")):
        rounds = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in names:
                rounds[name].append(measure_ours(nodes, options) if name == "ours"
                                    else measure_library(name, nodes, options))
        runs[nodes] = {name: median_of(r) for name, r in rounds.items()}
        show(nodes, runs[nodes])
    largest = runs[max(runs)]
    result = {"bench": "dht", "version": o.run(o.NODE, "--version").out.split()[-1], "cpus": os.cpu_count(),
              "kernel": platform.release(), "nodes": max(runs), "keys": options.keys, "rounds": options.rounds}
    if "ours" in largest and len(largest) > 1:
        result.update(ratios(largest))
    print(json.dumps({**result, "runs": runs}))


main()
