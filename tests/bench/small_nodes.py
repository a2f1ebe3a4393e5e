# SPDX-License-Identifier: Apache-2.0
"""Many nodes on one machine: a small configuration, and what they take of it."""

import os
import time

import overlay as o

# As little memory and as few threads as a node does with; fewer slots, as one machine does the work of all.
CONFIG = """node:
  slot_bits: 8
  io_loops: 0
  store: {cache_size: 1MiB, memtable_size: 1MiB}
  log_level: warn
"""


class SmallOverlay(o.Overlay):
    def __init__(self, n, **options):
        super().__init__(n, **options)
        path = os.path.join(self.dir, "small.yaml")
        with open(path, "w") as f:
            f.write(CONFIG)
        self.configs.append(path)


def pids(net):
    return [n.proc.pid for n in net.running()]


def cpu_s(pids_):
    """CPU time of these processes together."""
    return sum(time.clock_gettime(clock_of(p)) for p in pids_)


def clock_of(pid):
    """The CPU-time clock of a process (clock_getcpuclockid(3)): as Linux composes its number."""
    return (~pid << 3) | 2


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def pss_kib(pid):
    """Resident memory where what n processes share counts 1/n each."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def at_rest(net, seconds):
    """What a node takes while nobody asks it anything: MiB, percent of one processor."""
    procs = pids(net)
    cpu = cpu_s(procs)
    time.sleep(seconds)
    return {"idle_cpu": (cpu_s(procs) - cpu) / seconds / len(procs) * 100,
            "rss_mib": sum(map(rss_kib, procs)) / len(procs) / 1024,
            "pss_mib": sum(map(pss_kib, procs)) / len(procs) / 1024}
