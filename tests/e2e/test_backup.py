# SPDX-License-Identifier: Apache-2.0
"""Everything is lost, and comes back: a backup of a cluster that is being written to, checked without a node, restored
into a new cluster of another size, by an operation that is killed half way; and replicas compared."""

import concurrent.futures
import os
import shutil
import threading

import faultdisk as fd
import overlay as o
from overlay import grpc, wait_until
from tap import Tap

ITEMS = 1000 if o.LEVEL == "full" else 300
CONFIG = """
node:
  slot_bits: 6
  stable_after: 300ms
  unix_socket: %s/sock
  backup_dir: %s
"""
STRONG = 4


def configure(node, backups):
    path = os.path.join(node.dir, "config.yaml")
    os.makedirs(backups, exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write(CONFIG % (node.dir, backups))
    node.extra = ["--config", path]


def admin(node, *args, timeout=120):
    return o.run(o.CTL, "-n", f"unix:{node.dir}/sock", *args, timeout=timeout)


def put_strong(node, key, value):
    return node.rpc("kv_service").Put(o.pb.agihpc.PutRequest(key=key, value=value, level=STRONG), timeout=60)


def get_strong(node, key):
    try:
        return node.rpc("kv_service").Get(o.pb.agihpc.GetRequest(key=key, level=STRONG), timeout=60)
    except grpc.RpcError as e:
        if e.code() == grpc.StatusCode.NOT_FOUND:
            return None
        raise


class Written:
    """What a cluster was told and has acknowledged."""

    def __init__(self, net):
        self.items, self.registers, self.gone = {}, {}, []
        with concurrent.futures.ThreadPoolExecutor(8) as several:
            list(several.map(lambda i: self.write(net.nodes[i % len(net.nodes)], i), range(ITEMS)))
        for key in list(self.items)[::20]:
            net.nodes[0].delete(key)
            del self.items[key]
            self.gone.append(key)
        for key in list(self.registers)[::20]:
            net.nodes[1].rpc("kv_service").Delete(o.pb.agihpc.DeleteRequest(key=key, level=STRONG), timeout=60)
            del self.registers[key]
            self.gone.append(key)

    def write(self, node, i):
        if i % 5 == 0:
            key, value = b"reg/%d" % i, b"r%d" % i
            put_strong(node, key, b"older")
            self.registers[key] = (value, put_strong(node, key, value).version)
        else:
            key, value = b"item/%d" % i, b"%d" % i * (1 + i % 90)
            node.put(key, value)
            self.items[key] = value

    def check(self, nodes):
        for i, (key, value) in enumerate(self.items.items()):
            got = nodes[i % len(nodes)].value(key)
            assert got == value, f"{key}: {got!r}"
        for i, (key, (value, version)) in enumerate(self.registers.items()):
            got = get_strong(nodes[i % len(nodes)], key)
            assert got is not None and got.value == value, f"{key}: {got!r}"
            assert got.version > version, f"{key}: version {got.version}, before {version}"
        for key in self.gone:
            assert nodes[0].value(key) is None and get_strong(nodes[0], key) is None, key


class Busy(threading.Thread):
    """Writes on and on."""

    def __init__(self, net):
        super().__init__(daemon=True)
        self.net, self.ended, self.n = net, threading.Event(), 0

    def run(self):
        while not self.ended.is_set():
            self.n += 1
            try:
                self.net.nodes[self.n % 3].put(b"busy/%d" % (self.n % 500), b"%d" % self.n * 50)
                put_strong(self.net.nodes[self.n % 3], b"busyreg/%d" % (self.n % 50), b"%d" % self.n)
            except (grpc.RpcError, ValueError):
                self.ended.wait(0.05)


def back_up(net, tap):
    first = net.nodes[0]
    with tap.case("a backup needs an operator, a directory, and a decent name"):
        got = first.ctl("backup", "nightly")
        assert got.status == 1 and "admin" in got.err, got
        got = admin(first, "backup", "../nightly")
        assert got.status == 2, got
    with tap.case("a backup of a cluster that is written to is whole"):
        written = Written(net)
        busy = Busy(net)
        busy.start()
        try:
            got = admin(first, "-o", "json", "backup", "nightly").expect(0).json()
        finally:
            busy.ended.set()
            busy.join()
        assert got["slots_whole"] == got["slots"] == 64, got
        assert len(got["parts"]) == 3 and all(p["state"] == "done" and p["bytes"] > 0 for p in got["parts"]), got
        tap.diag(f"{busy.n} rounds of other writes meanwhile")
    with tap.case("a backup is never overwritten"):
        got = admin(first, "backup", "nightly")
        assert got.status == 1 and "already" in got.err, got
    with tap.case("all replicas hold the same"):
        got = admin(first, "-o", "json", "verify").expect(0).json()
        assert got["same"] == got["slots"] == 64 and got["records"] >= len(written.items), got
    return written


def gather(net, to):
    """What an operator does with rsync: every node's part in one directory."""
    for node in net.nodes:
        shutil.copytree(os.path.join(node.dir, "backups", "nightly"), os.path.join(to, "nightly"), dirs_exist_ok=True)
    return os.path.join(to, "nightly")


def check_offline(backup, tap):
    def verify(*args):
        return o.run(o.CTL, *args, "verify", "--backup", backup)

    parts = sorted(os.listdir(backup))
    with tap.case("a backup is checked without a node"):
        got = verify("-o", "json").expect(0).json()
        assert got["slots_whole"] == 64 and got["parts_missing"] == 0 and len(got["parts"]) == 3, got
    with tap.case("a damaged file is named"):
        store = os.path.join(backup, parts[0], "store")
        table = max((os.path.join(store, n) for n in os.listdir(store) if n.endswith(".sst")), key=os.path.getsize)
        fd.flip(table, os.path.getsize(table) // 2)
        got = verify()
        assert got.status == 1 and table in got.err, got
        fd.flip(table, os.path.getsize(table) // 2)
        verify().expect(0)
    with tap.case("two of three parts are whole, one is not"):
        aside = backup + "-aside"
        os.makedirs(aside)
        os.rename(os.path.join(backup, parts[0]), os.path.join(aside, parts[0]))
        got = verify("-o", "json").expect(0).json()
        assert got["parts_missing"] == 1 and got["slots_whole"] == 64, got
        os.rename(os.path.join(backup, parts[1]), os.path.join(aside, parts[1]))
        got = verify()
        assert got.status == 1 and "not whole" in got.err, got
        for part in parts[:2]:
            os.rename(os.path.join(aside, part), os.path.join(backup, part))


def restore(backup, written, tap):
    with fd.FaultOverlay(4, time_limit=240) as net:
        tap.on_failure = net.logs
        for node in net.nodes:
            configure(node, os.path.dirname(backup))
        net.start()
        net.wait_replicated()
        node = net.nodes[0]
        with tap.case("what is not there cannot be restored"):
            got = admin(node, "restore", "weekly")
            assert got.status == 1 and "no backup" in got.err, got
        with tap.case("a restore whose node is killed goes on where it was"):
            for n in net.nodes:
                n.fail("sync 150ms")  # slow enough to be caught half way
            admin(node, "restore", "nightly", "--no-wait").expect(0)
            progress = os.path.join(node.data, "restore-nightly")
            wait_until("it has got somewhere", lambda: os.path.exists(progress) or "restore_done" in log_of(node), 60)
            node.kill()
            for n in net.nodes:
                n.fail()
            net.start([node])
            got = admin(node, "-o", "json", "restore", "nightly").expect(0).json()
            assert got["state"] == "done" and got["slots_done"] == got["slots_whole"] == 64, got
            assert not os.path.exists(progress)
            assert got["resumed_at"] > 0 or fd.WHY_NOT, got
            tap.diag(f"resumed at slot {got['resumed_at']}: {got['items']} items, {got['registers']} registers, "
                     f"{got['registers_kept']} kept")
        with tap.case("everything is back: items, registers with higher versions; what was deleted is not"):
            written.check(net.nodes)
        with tap.case("a restore can be repeated and overwrites nothing newer"):
            key, register = next(iter(written.items)), next(iter(written.registers))
            node.put(key, b"newer")
            put_strong(node, register, b"newer")
            got = admin(node, "-o", "json", "restore", "nightly").expect(0).json()
            assert got["registers"] == 0 and got["registers_kept"] >= len(written.registers), got
            assert node.value(key) == b"newer" and get_strong(node, register).value == b"newer"
        with tap.case("all replicas of the new cluster hold the same"):
            # a quorum has acknowledged; the third member, or a hint, may be a moment later
            wait_until("the last writes have arrived", lambda: admin(node, "verify").status == 0, 60)
            got = admin(node, "-o", "json", "verify").expect(0).json()
            assert got["same"] == got["slots"] == 64, got
        with tap.case("verify tells of a node that is down"):
            net.nodes[3].kill()
            wait_until("it is seen", lambda: node.status().members_down == 1, 60)
            got = admin(node, "-o", "json", "verify")
            assert got.status == 4 and got.json()["incomplete"] > 0 and got.json()["different"] == 0, got


def log_of(node):
    with open(node.log, encoding="utf-8", errors="replace") as f:
        return f.read()


def partial(backup, written, tap):
    parts = sorted(os.listdir(backup))
    for part in parts[1:]:
        shutil.rmtree(os.path.join(backup, part))
    with o.Overlay(1, time_limit=120) as net:
        tap.on_failure = net.logs
        node = net.nodes[0]
        configure(node, os.path.dirname(backup))
        node.extra.append("--init")
        net.start()
        with tap.case("what is left of a backup is restored when that is asked for"):
            got = admin(node, "restore", "nightly")
            assert got.status == 1 and "not whole" in got.err, got
            got = admin(node, "-o", "json", "restore", "nightly", "--partial").expect(0).json()
            assert got["parts_missing"] == 2 and got["slots_whole"] == 0, got
            found = sum(node.value(k) == v for k, v in written.items.items())
            assert found > len(written.items) * 0.9, (found, len(written.items))  # it held all but what came late


def main():
    tap = Tap()
    with o.Overlay(3, time_limit=240) as net:
        tap.on_failure = net.logs
        for node in net.nodes:
            configure(node, os.path.join(node.dir, "backups"))
        net.start()
        net.wait_replicated()
        written = back_up(net, tap)
        kept = net.dir + "-kept"
        backup = gather(net, kept)
    try:  # the old cluster is gone, with all of its disks
        check_offline(backup, tap)
        restore(backup, written, tap)
        partial(backup, written, tap)
    finally:
        shutil.rmtree(kept, ignore_errors=True)
    tap.done()


main()
