# SPDX-License-Identifier: Apache-2.0
"""What it takes to be whole again after losing one of five nodes (a part of bench_kv.py).

Five nodes are filled until each holds about the given number of bytes; then one is killed for good. Measured is from
the first byte copied until every slot has its three replicas again, how many bytes of records the others
received, and what clients feel meanwhile: strong puts of eight connections to the living nodes, beside the same load
before the loss.

The yardstick is what a program that does nothing else gets on this machine: bytes a second written to a file in
megabytes and synced at the end, and bytes a second through one TCP connection over loopback. recovery_fraction is
the rate of copying over the smaller of the two. Every byte copied is written twice (log, table), and five nodes, the
clients and the yardstick share the machine's processors.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import overlay as o
from overlay import pb, wait_until

NODES, LOST, REPLICAS = 5, 4, 3
VALUE_BYTES = 4096
CLIENTS, BEFORE_S = 8, 5
MIB = 1 << 20


def disk_bytes_per_s(dir_, n=512 * MIB):
    """Written in pieces of a megabyte, synced once."""
    path, piece = os.path.join(dir_, "yardstick"), os.urandom(MIB)
    began = time.monotonic()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(n // MIB):
            os.write(fd, piece)
        os.fdatasync(fd)
    finally:
        os.close(fd)
        os.unlink(path)
    return n / (time.monotonic() - began)


def loopback_bytes_per_s(n=2048 * MIB):
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    piece = bytes(MIB)

    def send():
        for _ in range(n // MIB):
            sender.sendall(piece)
        sender.close()
    began = time.monotonic()
    thread = threading.Thread(target=send)
    thread.start()
    room = bytearray(MIB)
    while receiver.recv_into(room):
        pass
    thread.join()
    receiver.close()
    return n / (time.monotonic() - began)


class Recovery:
    def __init__(self, load, bytes_, dir_):
        self.load, self.bytes, self.dir = load, bytes_, dir_
        self.keys = bytes_ * NODES // REPLICAS // VALUE_BYTES
        self.net = o.Overlay(NODES, time_limit=3600)
        config = os.path.join(self.net.dir, "config.yaml")
        with open(config, "w", encoding="ascii") as f:
            f.write("node:\n  down_after: 2s\n")
        self.net.configs.append(config)

    def argv(self, seconds):
        living = ",".join(n.addr for n in self.net.nodes[:LOST])
        return [self.load, "-e", "strong", "put", str(CLIENTS), str(seconds), "1000", living]

    def bytes_in(self):
        """Of records received when slots changed hands, by the living."""
        table = {"Rebalance": (pb.agihpc.RebalanceRequest, pb.agihpc.RebalanceResponse)}
        return sum(o.Rpc(n.channel(), "agihpc.v1.NodeService", table).Rebalance(
            pb.agihpc.RebalanceRequest(), timeout=20).bytes_in for n in self.net.nodes[:LOST])

    def run(self):
        net = self.net
        net.start()
        net.wait_replicated()
        everybody = ",".join(n.addr for n in net.nodes)
        o.run(self.load, "-v", str(VALUE_BYTES), "quorum", "fill", "32", "0", str(self.keys), everybody,
              timeout=3000).expect(0)
        before = o.run(*self.argv(BEFORE_S), timeout=60).expect(0).json()
        at = self.bytes_in()
        net.nodes[LOST].kill()
        wait_until("copying has begun", lambda: self.bytes_in() > at, 60, every=0.02)
        began = time.monotonic()
        load = subprocess.Popen(self.argv(3000), stdout=subprocess.PIPE)
        net.wait_replicated(REPLICAS, seconds=1500)
        seconds = time.monotonic() - began
        load.send_signal(signal.SIGTERM)
        during = json.loads(load.communicate(timeout=60)[0])
        copied = self.bytes_in() - at
        return self.report(copied, seconds, before, during)

    def report(self, copied, seconds, before, during):
        disk, loopback = disk_bytes_per_s(self.dir), loopback_bytes_per_s()
        return {"copied_bytes": copied, "seconds": round(seconds, 2), "bytes_per_s": round(copied / seconds),
                "disk_bytes_per_s": round(disk), "loopback_bytes_per_s": round(loopback),
                "fraction": round(copied / seconds / min(disk, loopback), 3),
                "put_p99_us_before": before["p99_us"], "put_p99_us_during": during["p99_us"],
                "puts_per_s_before": round(before["per_s"]), "puts_per_s_during": round(during["per_s"]),
                "put_errors_during": during["errors"]}

    def close(self):
        self.net.close()


def show(r):
    print(f"recovery: {r['copied_bytes'] / MIB:.0f} MiB copied in {r['seconds']:.1f} s, "
          f"{r['bytes_per_s'] / MIB:.0f} MiB/s; this disk takes {r['disk_bytes_per_s'] / MIB:.0f}, "
          f"loopback {r['loopback_bytes_per_s'] / MIB:.0f} MiB/s; strong puts meanwhile p99 "
          f"{r['put_p99_us_during'] / 1000:.1f} ms (before {r['put_p99_us_before'] / 1000:.1f} ms), "
          f"{r['put_errors_during']} failed")
