# SPDX-License-Identifier: Apache-2.0
"""Measures an overlay of five nodes on this machine (make bench).

    bench_overlay.py [--calls N] [--nodes N] [--keep]

The nodes run on loopback addresses of their own with default settings, roles erisml and safety-gateway on three
of them. Latency is measured from outside by one Python gRPC client: one channel to one node that runs no
safety role, one call at a time (closed loop), after a warm-up of a tenth of the calls. It holds the client's own
cost: the figure noop (a Status call) is the floor of this client and this machine, measured
first in the same run. Values have 100 bytes, keys are new for every put; the level is quorum, so that an
acknowledged put was on disk (fsync) on two hosts.

Prints a table, then one line of JSON with these keys:

    bench            "overlay"
    version          of the daemon
    nodes, calls     how many
    cpus, kernel     of the machine
    node_bytes       size of the agihpc-node program; node_stripped_bytes the same after strip
    start_ready_s    from starting the first process to the last of the five saying ready
    replicated_s     from there until every slot is held by three hosts
    rss_idle_bytes   resident memory of a node without role, idle, before the load (mean)
    rss_idle_role_bytes   the same of a node with both roles (mean)
    rss_loaded_bytes largest resident memory of any node after the load
    noop, put, get, safety_check   {"p50_ms", "p90_ms", "p99_ms", "max_ms", "per_s"}
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import overlay as o  # noqa: E402
from overlay import pb, wait_until  # noqa: E402

ROLES = ["erisml", "safety-gateway"]
VALUE = bytes(range(100))


def measure(call, count):
    """Milliseconds of each of count calls, one after the other."""
    for i in range(count // 10):
        call(-1 - i)
    times = []
    for i in range(count):
        began = time.perf_counter()
        call(i)
        times.append((time.perf_counter() - began) * 1000)
    return times


def summary(times):
    ordered = sorted(times)

    def at(share):  # nearest rank
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
    return {"p50_ms": at(0.50), "p90_ms": at(0.90), "p99_ms": at(0.99), "max_ms": round(ordered[-1], 3),
            "per_s": round(1000 * len(ordered) / sum(ordered))}


def stripped_bytes(path):
    with tempfile.TemporaryDirectory() as where:
        copy = os.path.join(where, "stripped")
        shutil.copy(path, copy)
        subprocess.run(["strip", copy], check=True)
        return os.stat(copy).st_size


def mean(values):
    return round(sum(values) / len(values)) if values else 0


def calls_of(node):
    kv, me, gate = node.rpc("kv_service"), node.rpc("node_service"), node.rpc("pre_action")
    plan = pb.plan.PlanGraphProto(plan_id="bench", goal_text="look around")
    for i in range(5):
        plan.steps.add(step_id=f"s{i}", index=i, level=2, kind="observe", description="look at the shelf",
                       tool_id="camera.observe")
    request = pb.safety.CheckPlanRequest(plan=plan)
    written = []

    def put(i):
        key = b"bench/%d/%d" % (os.getpid(), i)
        kv.Put(pb.agihpc.PutRequest(key=key, value=VALUE, level=o.LEVELS["quorum"]), timeout=10)
        written.append(key)

    def get(i):
        answer = kv.Get(pb.agihpc.GetRequest(key=written[i % len(written)], level=o.LEVELS["quorum"]), timeout=10)
        assert answer.value == VALUE

    def check(_i):
        answer = gate.CheckPlan(request, timeout=10)
        assert o.decision_name(answer) == "ALLOW", answer
    return {"noop": lambda _i: me.Status(pb.agihpc.StatusRequest(), timeout=10),
            "put": put, "get": get, "safety_check": check}


def bench(options):
    out = {"bench": "overlay", "nodes": options.nodes, "calls": options.calls, "cpus": os.cpu_count(),
           "kernel": platform.release(), "node_bytes": os.stat(o.NODE).st_size,
           "node_stripped_bytes": stripped_bytes(o.NODE)}
    with o.Overlay(options.nodes, roles={n: ROLES for n in (1, 2, 3)}, time_limit=900) as net:
        net.keep = options.keep
        out["start_ready_s"] = round(net.start(), 3)
        began = time.monotonic()
        net.wait_replicated()
        out["replicated_s"] = round(time.monotonic() - began, 3)
        client = net.nodes[-1]
        out["version"] = client.status().version
        wait_until("three gateways are known", lambda: len(client.discover("safety-gateway")) == 3)
        out["rss_idle_bytes"] = mean([n.rss_bytes() for n in net.nodes if not n.roles])
        out["rss_idle_role_bytes"] = mean([n.rss_bytes() for n in net.nodes if n.roles])
        for name, call in calls_of(client).items():
            out[name] = summary(measure(call, options.calls))
        out["rss_loaded_bytes"] = max(n.rss_bytes() for n in net.nodes)
    return out


def show(out):
    mib = 1 << 20
    print(f"agihpc-node {out['version']}, {out['nodes']} nodes, {out['cpus']} CPUs, kernel {out['kernel']}")
    for label, value in (
            ("program size", f"{out['node_bytes'] / mib:.2f} MiB, {out['node_stripped_bytes'] / mib:.2f} MiB stripped"),
            ("start to ready, all nodes", f"{out['start_ready_s']:.2f} s"),
            ("then to full replication", f"{out['replicated_s']:.2f} s"),
            ("memory of an idle node", f"{out['rss_idle_bytes'] / mib:.1f} MiB"),
            ("with both safety roles", f"{out['rss_idle_role_bytes'] / mib:.1f} MiB"),
            ("largest after the load", f"{out['rss_loaded_bytes'] / mib:.1f} MiB")):
        print(f"  {label:28} {value}")
    print(f"  {out['calls']} calls, one at a time:     p50 ms    p90 ms    p99 ms    max ms   calls/s")
    for name in ("noop", "put", "get", "safety_check"):
        row = out[name]
        print(f"  {name:24} {row['p50_ms']:10.3f}{row['p90_ms']:10.3f}{row['p99_ms']:10.3f}"
              f"{row['max_ms']:10.3f}{row['per_s']:10d}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="calls of each kind (1000)")
    parser.add_argument("--nodes", type=int, default=5, help="nodes of the overlay, at least 4 (5)")
    parser.add_argument("--keep", action="store_true", help="keep the overlay's directory")
    out = bench(parser.parse_args())
    show(out)
    print(json.dumps(out, sort_keys=True))


if __name__ == "__main__":
    main()
