# SPDX-License-Identifier: Apache-2.0
"""The replicated memory beside etcd, Redis and RocksDB alone, in one run on this machine (make bench-kv).

    bench_kv.py [--rounds N] [--seconds S] [--keys N] [--connections N] [--recovery-mib N] [--only WORKLOAD,...]
                [--keep]

Three nodes of each system on loopback, data on disk with fsync, 16-byte keys, 256-byte values. One client program
(load_kv) drives them all: a closed loop, one call in flight per connection, every answer checked. gRPC to
agihpc-node and etcd, RESP to Redis. etcd and agihpc-node are each used in the way that suits them better,
which a short trial before each workload finds out: connections to all three nodes, or to one (etcd's leader).
A system that is not measured at the moment runs idle.

    strong_put      agihpc-node level strong      beside  etcd Put
    strong_get      agihpc-node level strong      beside  etcd Range (linearizable)
    quorum_put      agihpc-node level quorum      beside  Redis SET and WAIT 2: two replicas, appendonly yes,
                                                          appendfsync always, no automatic rewrite
    floor           one RocksDB, 32 threads that put and wait for the sync
    recovery        five nodes, one is lost for good (recovery.py)

Rounds take turns between the systems; a figure is the median of the rounds, a ratio the median of the
rounds' ratios. Prints a table, then one line of JSON:

    strong_put_vs_etcd, strong_get_vs_etcd     operations per second at --connections (50), ours over theirs
    strong_put_p99_vs_etcd, strong_get_p99_vs_etcd     ours over theirs
    quorum_put_vs_redis                        operations per second, ours over theirs
    put_c1_vs_etcd, get_c1_vs_etcd, quorum_put_c1_vs_redis     one connection: p50, theirs over ours (above 1: faster)
    quorum_put_vs_floor, strong_put_vs_floor   operations per second over RocksDB's own
    recovery_fraction                          rate of copying over that of the disk alone; more under "recovery"
    runs                                       every figure: per_s, p50_us, p99_us, cpu_us (of all three processes, per
                                               operation), of each system and workload
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import overlay as o  # noqa: E402
import recovery  # noqa: E402
from overlay import wait_until  # noqa: E402

LOAD = os.path.join(o.BUILDDIR, "tests", "bench", "load_kv")
FLOOR = os.path.join(o.BUILDDIR, "tests", "bench", "floor_rocksdb")
FLOOR_WRITERS = 32
NODES = 3
ETCD_CLIENT, ETCD_PEER, REDIS_PORT = 2379, 2380, 6379


class Etcd:
    """Three members with their default settings."""

    def __init__(self, dir_, subnet):
        self.ips = [f"{subnet}.{i + 1}" for i in range(NODES)]
        cluster = ",".join(f"m{i}=http://{ip}:{ETCD_PEER}" for i, ip in enumerate(self.ips))
        self.procs = []
        for i, ip in enumerate(self.ips):
            argv = ["etcd", "--name", f"m{i}", "--data-dir", os.path.join(dir_, f"etcd{i}"),
                    "--listen-client-urls", f"http://{ip}:{ETCD_CLIENT}",
                    "--advertise-client-urls", f"http://{ip}:{ETCD_CLIENT}",
                    "--listen-peer-urls", f"http://{ip}:{ETCD_PEER}",
                    "--initial-advertise-peer-urls", f"http://{ip}:{ETCD_PEER}",
                    "--initial-cluster", cluster, "--log-level", "error"]
            with open(os.path.join(dir_, f"etcd{i}.log"), "wb") as log:
                self.procs.append(o.spawn(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        self.leader = wait_until("etcd has a leader", self._leader, 30)

    def _leader(self):
        endpoints = ",".join(f"http://{ip}:{ETCD_CLIENT}" for ip in self.ips)
        answer = o.run("etcdctl", "--endpoints", endpoints, "endpoint", "status", "-w", "json").expect(0).json()
        ids = {s["Status"]["header"]["member_id"]: i for i, s in enumerate(answer)}
        return f"{self.ips[ids[answer[0]['Status']['leader']]]}:{ETCD_CLIENT}"

    def endpoints(self):
        return {"leader": self._leader(), "all": ",".join(f"{ip}:{ETCD_CLIENT}" for ip in self.ips)}


class Redis:
    """One master and two replicas; every write is synced before it is answered."""

    def __init__(self, dir_, subnet):
        self.ips = [f"{subnet}.{i + 1}" for i in range(NODES)]
        self.procs = []
        for i, ip in enumerate(self.ips):
            where = os.path.join(dir_, f"redis{i}")
            os.makedirs(where)
            argv = ["redis-server", "--bind", ip, "--port", str(REDIS_PORT), "--dir", where, "--save", "",
                    "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0",
                    "--logfile", os.path.join(where, "log")]
            if i:
                argv += ["--replicaof", self.ips[0], str(REDIS_PORT)]
            self.procs.append(o.spawn(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        wait_until("Redis has two replicas", self._has_replicas, 30)

    def _has_replicas(self):
        with socket.create_connection((self.ips[0], REDIS_PORT), 5) as s:
            s.sendall(b"SET up 1\r\nWAIT 2 1000\r\n")
            answer = b""
            while answer.count(b"\r\n") < 2:
                more = s.recv(4096)
                if not more:
                    return False
                answer += more
            return answer == b"+OK\r\n:2\r\n"

    def endpoints(self):
        return {"master": f"{self.ips[0]}:{REDIS_PORT}"}


class Agihpc:
    def __init__(self):
        self.net = o.Overlay(NODES, time_limit=3600)
        self.net.start()
        self.net.wait_replicated()
        self.procs = [n.proc for n in self.net.nodes]

    def endpoints(self):
        return {"one": self.net.nodes[0].addr, "all": ",".join(n.addr for n in self.net.nodes)}


def pids(system):
    """Of the processes themselves: setpriv executes what it is told to start."""
    return [str(p.pid) for p in system.procs]


class Bench:
    def __init__(self, options, dir_):
        self.options, self.dir = options, dir_
        self.runs = {}      # (system name, workload, connections) -> list of figures, one a round
        self.chosen = {}    # (system name, workload, connections) -> how it is connected to
        self.floors = 0

    def load(self, system, name, operation, connections, seconds, endpoints):
        r = o.run(LOAD, name, operation, str(connections), str(seconds), str(self.options.keys), endpoints,
                  *pids(system), timeout=seconds + 120)
        return r.expect(0).json()

    def fill(self, system, name):
        self.load(system, name, "fill", self.options.connections, 0, list(system.endpoints().values())[0])

    def measure(self, system, name, operation, connections):
        """One round; the first time after a trial of each way to connect."""
        which = (name, operation, connections)
        ways = system.endpoints()
        if which not in self.chosen:
            trial = {way: self.load(system, name, operation, connections, min(2, self.options.seconds), e)["per_s"]
                     for way, e in ways.items()} if len(ways) > 1 else dict.fromkeys(ways, 0)
            self.chosen[which] = max(trial, key=trial.get)
        got = self.load(system, name, operation, connections, self.options.seconds, ways[self.chosen[which]])
        self.runs.setdefault(which, []).append(got)

    def measure_floor(self):
        self.floors += 1
        where = os.path.join(self.dir, f"floor{self.floors}")
        r = o.run(FLOOR, where, str(FLOOR_WRITERS), str(self.options.seconds), timeout=self.options.seconds + 60)
        self.runs.setdefault(("rocksdb", "put", FLOOR_WRITERS), []).append(r.expect(0).json())
        shutil.rmtree(where)

    # --- what the figures say ---
    def median(self, which, key):
        return statistics.median(r[key] for r in self.runs[which])

    def ratio(self, above, below, key):
        """The median over the rounds, or None when one of them was not measured."""
        if above not in self.runs or below not in self.runs:
            return None
        return round(statistics.median(a[key] / b[key] for a, b in zip(self.runs[above], self.runs[below])), 3)

    def summary(self):
        n = self.options.connections
        strong_put, strong_get, quorum_put = ("strong", "put", n), ("strong", "get", n), ("quorum", "put", n)
        etcd_put, etcd_get, redis_put = ("etcd", "put", n), ("etcd", "get", n), ("redis", "put", n)
        floor = ("rocksdb", "put", FLOOR_WRITERS)
        return {
            "strong_put_vs_etcd": self.ratio(strong_put, etcd_put, "per_s"),
            "strong_get_vs_etcd": self.ratio(strong_get, etcd_get, "per_s"),
            "strong_put_p99_vs_etcd": self.ratio(strong_put, etcd_put, "p99_us"),
            "strong_get_p99_vs_etcd": self.ratio(strong_get, etcd_get, "p99_us"),
            "quorum_put_vs_redis": self.ratio(quorum_put, redis_put, "per_s"),
            "put_c1_vs_etcd": self.ratio(("etcd", "put", 1), ("strong", "put", 1), "p50_us"),
            "get_c1_vs_etcd": self.ratio(("etcd", "get", 1), ("strong", "get", 1), "p50_us"),
            "quorum_put_c1_vs_redis": self.ratio(("redis", "put", 1), ("quorum", "put", 1), "p50_us"),
            "strong_put_vs_floor": self.ratio(strong_put, floor, "per_s"),
            "quorum_put_vs_floor": self.ratio(quorum_put, floor, "per_s"),
        }

    def show(self):
        print(f"{'':10}{'':5}{'clients':>8}{'nodes':>8}{'per s':>10}{'p50 us':>9}{'p99 us':>9}{'cpu us/op':>11}")
        for which in sorted(self.runs, key=lambda w: (w[1], -w[2], w[0])):
            name, operation, connections = which
            row = [f"{self.median(which, k):>{w}.0f}" if k in self.runs[which][0] else " " * (w - 1) + "-"
                   for k, w in (("per_s", 10), ("p50_us", 9), ("p99_us", 9), ("cpu_us", 11))]
            print(f"{name:10}{operation:5}{connections:>8}{self.chosen.get(which, ''):>8}{''.join(row)}")


# What is compared with what: ours, theirs, operation.
PAIRS = {"strong_put": ("strong", "etcd", "put"), "strong_get": ("strong", "etcd", "get"),
         "quorum_put": ("quorum", "redis", "put")}


def fstype(path):
    return o.run("stat", "-f", "-c", "%T", path).expect(0).out.strip()


def need(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        sys.exit(f"bench_kv: not found: {', '.join(missing)} (Debian: etcd-server, etcd-client, redis-server)")


def run(options, dir_):
    if fstype(dir_) in ("tmpfs", "ramfs"):
        sys.exit(f"bench_kv: {dir_} is in memory; set TMPDIR to a directory on a disk")
    bench = Bench(options, dir_)
    wanted = options.only.split(",")
    systems = {}
    try:
        if set(wanted) & set(PAIRS):
            ours = Agihpc()
            ours.net.keep = options.keep
            systems.update(strong=ours, quorum=ours)
        if "strong_put" in wanted or "strong_get" in wanted:
            systems["etcd"] = Etcd(dir_, o.free_subnet())
        if "quorum_put" in wanted:
            systems["redis"] = Redis(dir_, o.free_subnet())
        for name in ("strong", "etcd"):
            if "strong_get" in wanted:
                bench.fill(systems[name], name)
        for _ in range(options.rounds):
            for pair in wanted:
                if pair == "recovery":
                    continue  # by itself, at the end
                if pair == "floor":
                    bench.measure_floor()
                    continue
                mine, theirs, operation = PAIRS[pair]
                for connections in sorted({1, options.connections}):
                    bench.measure(systems[mine], mine, operation, connections)
                    bench.measure(systems[theirs], theirs, operation, connections)
    finally:
        for system in systems.values():
            if hasattr(system, "net"):
                system.net.close()
            else:
                for p in system.procs:
                    p.kill()
                    p.wait()
    return bench


def recover(options, dir_):
    r = recovery.Recovery(LOAD, options.recovery_mib << 20, dir_)
    r.net.keep = options.keep
    try:
        return r.run()
    finally:
        r.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns between the systems (3)")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement (4)")
    parser.add_argument("--keys", type=int, default=10000, help="number of different keys (10000)")
    parser.add_argument("--connections", type=int, default=50, help="of the many (50)")
    parser.add_argument("--only", default="strong_put,strong_get,quorum_put,floor,recovery", help="workloads, by comma")
    parser.add_argument("--recovery-mib", type=int, default=1024, help="what the lost node held (1024)")
    parser.add_argument("--keep", action="store_true", help="keep the directories of the nodes")
    options = parser.parse_args()
    if set(options.only.split(",")) - set(PAIRS) - {"floor", "recovery"}:
        parser.error("--only: expected some of " + ",".join([*PAIRS, "floor", "recovery"]))
    need("etcd", "etcdctl", "redis-server")
    dir_ = tempfile.mkdtemp(prefix="agihpc-bench-")
    try:
        bench = run(options, dir_)
        again = recover(options, dir_) if "recovery" in options.only.split(",") else None
    finally:
        if not options.keep:
            shutil.rmtree(dir_, ignore_errors=True)
    print(f"{NODES} nodes each, {os.cpu_count()} CPUs, kernel {platform.release()}, {options.keys} keys, "
          f"median of {options.rounds} rounds of {options.seconds:g} s")
    bench.show()
    if again:
        recovery.show(again)
    out = {"bench": "kv", "cpus": os.cpu_count(), "kernel": platform.release(), **bench.summary()}
    out["runs"] = {f"{s}_{op}_c{n}": {k: round(bench.median((s, op, n), k), 1) for k in bench.runs[(s, op, n)][0]}
                   for s, op, n in bench.runs}
    out["recovery"] = again
    out["recovery_fraction"] = again["fraction"] if again else None
    print(json.dumps(out, sort_keys=True))


if __name__ == "__main__":
    main()
