# SPDX-License-Identifier: Apache-2.0
"""make sim-check: what agihpc-sim has to show of discovery, for as many hosts as there is time and memory for.

usage: check_many.py AGIHPC-SIM HOSTS...   (rising numbers of hosts; 100 and one that is greater)
"""

import json
import subprocess
import sys

COMMON = ["--quiet", "--json", "--settle", "60", "--join-rate", "20"]
RUNS = (
    # name, options, lookups that have to be right in percent
    ("no churn", ["--lookups", "2000", "--idle", "60", "--duration", "60"], 100.0),
    ("sessions of 1 h", ["--lookups", "5000", "--idle", "5", "--duration", "600", "--churn", "exponential:3600"], 99.9),
    ("20 % adversaries", ["--lookups", "2000", "--idle", "5", "--duration", "60", "--adversaries", "0.2"], 99.0),
    ("50 % adversaries", ["--lookups", "2000", "--idle", "5", "--duration", "60", "--adversaries", "0.5"], 85.0),
)
FLAT = 0.20
HOPS, COORD_ERROR = 2.0, 0.10

missed = []


def simulate(program, hosts, options):
    command = [program, "--nodes", str(hosts), *COMMON, *options]
    print("  " + " ".join(command[:1] + [w for w in command[1:] if w not in ("--quiet", "--json")]), flush=True)
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def judge(what, value, unit, limit, is_good):
    print(f"{'ok    ' if is_good else 'MISSED'} {what}: {value:.4g}{unit} (wanted: {limit})", flush=True)
    if not is_good:
        missed.append(what)


def main():
    program, sizes = sys.argv[1], [int(n) for n in sys.argv[2:]]
    idle = {}
    for hosts in sizes:
        for name, options, right in RUNS:
            r = simulate(program, hosts, options)
            where = f"{hosts} hosts, {name}"
            judge(f"{where}: lookups right", r["right_percent"], " %", f">= {right:g} %", r["right_percent"] >= right)
            if name != "no churn":
                continue
            idle[hosts] = r["idle"]["messages_per_s"], r["idle"]["bytes_per_s"]
            judge(f"{where}: mean hops", r["hops"]["mean"], "", f"<= {HOPS:g}", r["hops"]["mean"] <= HOPS)
            judge(f"{where}: median error of coordinates", 100 * r["coord_error"]["p50"], " %", f"<= {100 * COORD_ERROR:g} %",
                  r["coord_error"]["p50"] <= COORD_ERROR)
            print(f"       {where}: {r['bytes_per_node'] / 1024:.0f} KiB for each host, table {r['table']['mean']:.0f} hosts, "
                  f"join {r['join_ms']['p50']:.0f} ms, lookup {r['latency_ms']['p50']:.0f} ms, {r['cpu_s']:.0f} s of processor time")
    if len(idle) > 1:
        for i, unit in ((0, "messages/s"), (1, "bytes/s")):
            least, most = min(v[i] for v in idle.values()), max(v[i] for v in idle.values())
            judge(f"idle {unit} of a host, most by least", most / least, "", f"<= {1 + FLAT:g}", most <= least * (1 + FLAT))
    print(f"{len(missed)} missed" if missed else "all reached")
    sys.exit(1 if missed else 0)


main()
