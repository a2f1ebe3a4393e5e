# SPDX-License-Identifier: Apache-2.0
"""Measures safety checks on this machine (make bench-safety).

    bench_safety.py [--seconds N] [--transfer-mib N]

CheckPlan of a plan of five harmless steps, asked at the role's port by load_node, a client in C that shares the machine
with the nodes; every answer's decision is counted, anything but ALLOW is reported. Votes are signed, and the answer carries
the certificate.

 1. One gateway: a single node with the roles erisml and safety-gateway whose panel is itself (safety.quorum 1).
 2. The quorum: three such nodes, panel of three, by one client and by 64 (16 to each of two nodes, 32 to the third).
 3. The same one client while memory traffic saturates the machine (32 clients that put 4,000 bytes each), and then
    while also a fourth host joins and slots of --transfer-mib MiB (1024) change hands.

Prints a line per case and at the end one of JSON: p50_us, p99_us, checks_per_s (2., one client and 64),
single_p50_us, single_p99_us, single_per_s (1.), p99_under_load, isolation_p99_ratio (3., without and with the transfer,
as multiples of p99_us), not_allowed (of all cases: checks that were not answered ALLOW).
"""

import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import overlay as o  # noqa: E402
from overlay import pb  # noqa: E402

LOAD = os.path.join(o.BUILDDIR, "tests", "bench", "load_node")
LOAD_KV = os.path.join(o.BUILDDIR, "tests", "bench", "load_kv")
ROLES = ["erisml", "safety-gateway"]
PORT = 50055  # of the role: the safety plane's own listener
STEPS, MIB, VALUE = 5, 1 << 20, 4000


def is_allowed(node):
    steps = [pb.plan.PlanStep(step_id=f"s{i}", tool_id="report") for i in range(STEPS)]
    return node.check_plan(pb.plan.PlanGraphProto(plan_id="p", steps=steps))[0] == "ALLOW"


def before_others():
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except PermissionError:
        pass


def load(seconds, *targets):
    """The one who checks runs before those who put, as the nodes' safety loops do: its own waiting is not theirs."""
    done = subprocess.run([LOAD, str(seconds), *targets], stdout=subprocess.PIPE, check=True, preexec_fn=before_others)
    return json.loads(done.stdout)


def load_beside(seconds, other, *targets):
    """As load(), while a process of its own does the other: a check is not to wait for puts in its own client."""
    with subprocess.Popen([LOAD, str(seconds + 2), other], stdout=subprocess.DEVNULL) as beside:
        result = load(seconds, *targets)
        if beside.wait():
            raise RuntimeError(f"load_node {other} failed")
        return result


def check(node, clients):
    return f"check:{node.ip}:{PORT}:{clients}:{STEPS}"


def show(name, r):
    c = r["check"]
    print(f"{name:34} {c['per_s']:>7.0f}/s  p50 {c['p50_us']:>6} us  p99 {c['p99_us']:>6} us"
          + (f"  {c['failed']} failed" if c["failed"] else "")
          + (f"  {c['not_allowed']} not allowed" if c["not_allowed"] else ""), flush=True)
    return c


def single(seconds):
    with o.Overlay(1, roles={1: ROLES}, time_limit=600) as net:
        config = os.path.join(net.dir, "config.yaml")
        with open(config, "w", encoding="ascii") as f:
            f.write("safety:\n  quorum: 1\n")
        net.nodes[0].extra = ["--init", "--config", config]
        net.start()
        o.wait_until("ALLOW", lambda: is_allowed(net.nodes[0]))
        one = show("one gateway, one client", load(seconds, check(net.nodes[0], 1)))
        many = show("one gateway, 64 clients", load(seconds, check(net.nodes[0], 64)))
        return one, many


def puts(net):
    return f"put:{net.nodes[1].ip}:5000:32:{VALUE}"


def transfer(net, seconds, mib):
    """A host joins: its share of the slots is copied to it meanwhile."""
    addresses = ",".join(n.addr for n in net.nodes[:3])
    o.run(LOAD_KV, "-v", str(VALUE), "quorum", "fill", "16", "0", str(mib * MIB // VALUE), addresses,
          timeout=1200).expect(0)
    net.start([net.nodes[3]])
    time.sleep(1.5)  # hosts must stand still for so long before slots move
    return load_beside(seconds, puts(net), check(net.nodes[0], 1))


def main():
    parser = argparse.ArgumentParser(description="safety checks")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--transfer-mib", type=int, default=1024)
    args = parser.parse_args()
    # Niceness counts among the processes of one session only (autogroups): as sessions of their own the nodes would
    # take turns with each other, which hosts do not.
    o.OWN_GROUP = {"process_group": 0}
    cases = []
    one, many = single(args.seconds)
    cases += [one, many]
    with o.Overlay(4, roles={i: ROLES for i in (1, 2, 3)}, time_limit=3600) as net:
        net.start(net.nodes[:3])
        net.wait_replicated()
        net.wait_met()
        for node in net.nodes[:3]:
            o.wait_until("ALLOW", lambda node=node: is_allowed(node))
        first = net.nodes[0]
        quiet = show("three gateways, one client", load(args.seconds, check(first, 1)))
        full = show("three gateways, 64 clients", load(args.seconds, check(first, 32), check(net.nodes[1], 16),
                                                       check(net.nodes[2], 16)))
        busy = show("one client beside 32 that put", load_beside(args.seconds, puts(net), check(first, 1)))
        moving = show("and while slots change hands", transfer(net, args.seconds, args.transfer_mib))
        cases += [quiet, full, busy, moving]
    print(json.dumps({
        "bench": "safety", "cpus": os.cpu_count(), "p50_us": quiet["p50_us"], "p99_us": quiet["p99_us"],
        "checks_per_s": full["per_s"], "single_p50_us": one["p50_us"], "single_p99_us": one["p99_us"],
        "single_per_s": many["per_s"], "p99_under_load": round(busy["p99_us"] / quiet["p99_us"], 2),
        "isolation_p99_ratio": round(moving["p99_us"] / quiet["p99_us"], 2),
        "not_allowed": sum(c["not_allowed"] + c["failed"] for c in cases)}))


if __name__ == "__main__":
    main()
