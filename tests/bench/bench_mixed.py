# SPDX-License-Identifier: Apache-2.0
"""How much one kind of load disturbs another (make bench-mixed): safety checks alone and beside clients that put.

    bench_mixed.py [--seconds N] [--cases A,B,...] [--config FILE]

Three nodes with the roles erisml and safety-gateway on loopback addresses of their own; load_node is the client, all
of it to the first node. Cases: put1, put50, get1, get50 (so many clients, one call at a time each), check1, check50
(CheckPlan on the overlay port), role1 (on the gateway's port), mix (put50 and check1 at once), mixrole, mixbig (values
of 20,000 bytes), mixbigrole. --config is handed to the nodes.

Prints a line per case, with the CPU time of all nodes per call, and a line of JSON at the end.
"""

import argparse
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import overlay as o  # noqa: E402
from overlay import pb  # noqa: E402

CASES = {"put1": ["put:5000:1"], "get1": ["get:5000:1"], "check1": ["check:5000:1"], "role1": ["check:50055:1"],
         "put50": ["put:5000:50"], "get50": ["get:5000:50"], "check50": ["check:5000:50"],
         "mix": ["put:5000:50", "check:5000:1"], "mixrole": ["put:5000:50", "check:50055:1"],
         "mixbig": ["put:5000:50:20000", "check:5000:1"], "mixbigrole": ["put:5000:50:20000", "check:50055:1"]}
LOAD = os.path.join(o.BUILDDIR, "tests", "bench", "load_node")


def cpu_seconds(net):
    ticks = 0
    for node in net.nodes:
        with open(f"/proc/{node.proc.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_kib(node):
    with open(f"/proc/{node.proc.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def run_case(net, name, seconds):
    ip = net.nodes[0].ip
    targets = [t.replace(":", f":{ip}:", 1) for t in CASES[name]]
    before = cpu_seconds(net)
    done = subprocess.run([LOAD, str(seconds), *targets], stdout=subprocess.PIPE, check=True)
    result = json.loads(done.stdout)
    calls = sum(v["ok"] for v in result.values()) * (seconds + 1) / seconds
    result["cpu_us_per_call"] = round((cpu_seconds(net) - before) / calls * 1e6, 1)
    text = ", ".join(f"{k} {v['per_s']}/s p50 {v['p50_us']} p90 {v['p90_us']} p99 {v['p99_us']} us"
                     + (f" ({v['failed']} failed)" if v["failed"] else "")
                     + (f" ({v['not_allowed']} not allowed)" if v["not_allowed"] else "")
                     for k, v in result.items() if isinstance(v, dict))
    print(f"{name:11} {text}; CPU {result['cpu_us_per_call']} us a call", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description="safety checks beside puts")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--config")
    args = parser.parse_args()
    roles = {i: ["erisml", "safety-gateway"] for i in (1, 2, 3)}
    with o.Overlay(3, roles=roles, time_limit=1800) as net:
        for node in net.nodes:
            node.extra = ["--config", args.config] if args.config else []
        net.start()
        net.wait_replicated()
        plan = pb.plan.PlanGraphProto(plan_id="p", steps=[pb.plan.PlanStep(step_id="s", tool_id="report")])
        o.wait_until("ALLOW", lambda: net.nodes[0].check_plan(plan)[0] == "ALLOW")
        out = {"bench": "mixed", "cpus": os.cpu_count(),
               "rss_idle_kib": [rss_kib(node) for node in net.nodes]}
        print(f"resident memory, idle: {out['rss_idle_kib']} KiB")
        for name in args.cases.split(","):
            out[name] = run_case(net, name, args.seconds)
        print(json.dumps(out))


if __name__ == "__main__":
    main()
