# SPDX-License-Identifier: Apache-2.0
"""Disks that fail: nothing acknowledged is lost, what happened is said, and the way back is the one that is
documented (agihpc-node(8), DISK TROUBLE)."""

import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request

import faultdisk as fd
import overlay as o
from overlay import grpc, wait_until
from tap import Skip, Tap

KEYS = 200 if o.LEVEL == "full" else 60
CONFIG = """
node:
  slot_bits: 5
  down_after: 3s
  stable_after: 300ms
  store:
    memtable_size: 1MiB
"""
STRONG = 4


def put_strong(node, key, value):
    return node.rpc("kv_service").Put(o.pb.agihpc.PutRequest(key=key, value=value, level=STRONG), timeout=60)


def get_strong(node, key):
    return node.rpc("kv_service").Get(o.pb.agihpc.GetRequest(key=key, level=STRONG), timeout=60).value


def fill(net, prefix, n=KEYS):
    """Eventual and strong items, through all nodes; returns them."""
    items = {}
    for i in range(n):
        key, value = b"%s/%d" % (prefix, i), b"%d " % i + b"v" * 400
        node = net.nodes[i % len(net.nodes)]
        if i % 4 == 0:
            put_strong(node, key, value)
        else:
            node.put(key, value)
        items[key] = value
    return items


def expect_all(nodes, items, level=None):
    for i, (key, value) in enumerate(items.items()):
        node = nodes[i % len(nodes)]
        got = get_strong(node, key) if int(key.split(b"/")[1]) % 4 == 0 else node.value(key, level)
        assert got == value, f"{key} from node {node.number}: {got!r}"


def metric(node, name):
    with urllib.request.urlopen(f"http://{node.addr}/metrics", timeout=60) as r:
        for line in r.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
    raise AssertionError(f"no metric {name}")


def log_of(node):
    with open(node.log, encoding="utf-8", errors="replace") as f:
        return f.read()


def meet_the_failure(net):
    """Writes, one of which may be the one whose outcome nobody can tell."""
    for i in range(8):
        try:
            net.nodes[0].put(b"meet/%d" % i, b"x")
        except grpc.RpcError:
            pass


def failed_sync(net, tap):
    victim, others = net.nodes[1], [net.nodes[0], net.nodes[2]]
    with tap.case("a failed sync makes a node read-only and says why; the others serve on"):
        if fd.WHY_NOT:
            raise Skip(fd.WHY_NOT)
        before = fill(net, b"a")
        victim.fail("sync EIO")
        meet_the_failure(net)
        status = wait_until("the node is read-only", lambda: victim.status().read_only and victim.status(), 60)
        during = fill(net, b"b")
        assert status.disk.trouble == "io", status.disk
        assert "Input/output error" in status.read_only_why, status.read_only_why
        assert not status.ready
        assert metric(victim, 'agihpc_store_trouble{cause="io"}') == 1
        assert metric(victim, "agihpc_store_read_only") == 1
        wait_until("it is logged", lambda: "event=store_read_only trouble=io" in log_of(victim), 60)
        victim.fail()  # a disk that works again changes nothing: nobody knows what the kernel has dropped
        try:
            victim.put(b"c", b"x", level="all", timeout=60)
            raise AssertionError("a write at all replicas was acknowledged")
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.UNAVAILABLE, e
        expect_all(net.nodes, {**before, **during})
    with tap.case("after a restart it has everything that was acknowledged, and writes again"):
        if fd.WHY_NOT:
            raise Skip(fd.WHY_NOT)
        victim.fail()
        victim.stop()
        net.start([victim])
        expect_all(others, {**before, **during})
        wait_until("the node takes its part again", lambda: victim.put(b"c", b"x", level="all"), 60)


class Writer(threading.Thread):
    """Puts keys through nodes that live, several at once, and remembers what was acknowledged."""

    def __init__(self, net, name):
        super().__init__(daemon=True)
        self.net, self.name_, self.items, self.ended = net, name, {}, threading.Event()

    def run(self):
        i = 0
        while not self.ended.is_set():
            i += 1
            key, value = b"%s/%d" % (self.name_, i), b"%d" % i * (1 + i % 700)
            try:
                node = self.net.nodes[i % len(self.net.nodes)]
                if i % 4 == 0:
                    put_strong(node, key, value)
                else:
                    node.put(key, value, timeout=3)
                self.items[key] = value
            except (grpc.RpcError, ValueError, RuntimeError):
                self.ended.wait(0.01)


def power_cut(net, tap, dice):
    rounds = 4 if o.LEVEL == "full" else 2
    writers = [Writer(net, b"w%d" % i) for i in range(3)]
    torn = 0
    with tap.case("what was acknowledged survives power cuts of one node and of all at once"):
        if fd.WHY_NOT:
            raise Skip(fd.WHY_NOT)
        for w in writers:
            w.start()
        for n in range(rounds):
            time.sleep(dice.uniform(0.3, 1.0))  # the random moment
            victims = net.nodes if n % 2 else [dice.choice(net.nodes)]
            torn += sum(v.cut_power(dice) for v in victims)
            net.start(victims)
        for w in writers:
            w.ended.set()
            w.join()
        items = {k: v for w in writers for k, v in w.items.items()}
        tap.diag(f"{len(items)} acknowledged writes, {torn} torn logs")
        assert len(items) > 50, "hardly anything was written"
        expect_all(net.nodes, items)


def damaged_table(net, tap, items):
    victim = net.nodes[2]
    with tap.case("a flipped bit in a table is found, named, and refused at the next start"):
        victim.stop()
        net.start([victim])  # what was in the log is in tables now
        victim.stop()
        table = max(fd.files(victim, ".sst"), key=os.path.getsize)
        fd.flip(table, os.path.getsize(table) // 3)
        victim.extra = ["--config", net.scrub]
        victim.start()
        status = wait_until("the damage is found",
                            lambda: victim.status().disk.trouble == "damaged" and victim.status(), 60)
        assert os.path.basename(table) in status.read_only_why, status.read_only_why
        assert re.search(r"of slots \d+ to \d+\)", status.read_only_why), status.read_only_why
        expect_all(net.nodes, items)  # served by the others, and by what is sound here
        victim.stop()
        code, said = fd.run_to_its_end(victim)
        assert code == 4 and os.path.basename(table) in said and "--rejoin" in said, (code, said)
    with tap.case("--rejoin sets the store aside; the node comes back as a new one and gets its share"):
        old = status.node_id
        victim.extra = ["--rejoin"]
        net.start([victim])
        assert victim.status().node_id != old
        aside = [n for n in os.listdir(victim.data) if n.startswith("set-aside-")]
        assert len(aside) == 1, aside
        assert sorted(os.listdir(os.path.join(victim.data, aside[0]))) == ["incarnation", "node.key", "store"]
        net.wait_replicated()
        expect_all([victim], items, level="all")
    with tap.case("--rejoin left in a unit file keeps a sound store"):
        new = victim.status().node_id
        victim.stop()
        net.start([victim])
        assert victim.status().node_id == new
        victim.extra = []
        victim.stop()
        net.start([victim])


def wait_noted(node):
    """Until the store has noted how far writes were acknowledged, those before this call among them."""
    note = os.path.join(node.data, "store", "SYNCED")
    before = os.stat(note).st_mtime_ns
    node.put(b"note", b"x", level="all")
    wait_until("it is noted", lambda: os.stat(note).st_mtime_ns != before, 60)


def refused_starts(net, tap, items):
    victim = net.nodes[0]

    def refuses(what, *words):
        code, said = fd.run_to_its_end(victim)
        assert code == 4 and all(w in said for w in words), f"{what}: {code} {said}"

    def with_copy(change, what, *words):
        shutil.copytree(victim.data, victim.data + ".sound")
        change()
        refuses(what, *words)
        shutil.rmtree(victim.data)
        os.rename(victim.data + ".sound", victim.data)

    def garble():
        log = fd.files(victim, ".log")[-1]
        fd.flip(log, os.path.getsize(log) // 3)

    def shorten():
        log = fd.files(victim, ".log")[-1]
        os.truncate(log, os.path.getsize(log) // 2)

    def empty():
        shutil.rmtree(os.path.join(victim.data, "store"))

    def exchange():
        os.unlink(os.path.join(victim.data, "node.key"))
        shutil.copy(os.path.join(net.nodes[1].data, "node.key"), victim.data)

    with tap.case("a garbled or shortened log, a store that is gone or another's: refused, with the way out"):
        wait_noted(victim)
        victim.kill()
        with_copy(garble, "garbled log", ".log", "acknowledged", "--rejoin")
        with_copy(shorten, "shortened log", "lost acknowledged writes", "--rejoin")
        with_copy(empty, "empty store", "has been used before", "--rejoin")
        with_copy(exchange, "another's key", "belongs to another node", "--rejoin")
        net.start([victim])
        expect_all(net.nodes, items)


def main():
    tap = Tap()
    dice = fd.dice_of(tap)
    with fd.FaultOverlay(3) as net:
        tap.on_failure = net.logs
        net.configs.append(os.path.join(net.dir, "config.yaml"))
        net.scrub = os.path.join(net.dir, "scrub.yaml")
        with open(net.configs[0], "w", encoding="ascii") as f:
            f.write(CONFIG)
        with open(net.scrub, "w", encoding="ascii") as f:
            f.write("node: {store: {scrub_interval: 1s, scrub_rate: 64MiB}}\n")
        for node in net.nodes:
            node.keep_shadow()
        net.start()
        net.wait_replicated()
        failed_sync(net, tap)
        power_cut(net, tap, dice)
        items = fill(net, b"d")
        damaged_table(net, tap, items)
        refused_starts(net, tap, items)
    tap.done()


main()
