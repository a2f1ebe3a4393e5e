# SPDX-License-Identifier: Apache-2.0
"""Disks that fill up: new data is refused early and deletions are taken; a store that met the end of its disk begins
anew by itself when there is room. Needs root, for small file systems of its own."""

import os
import shutil
import subprocess
import sys

import overlay as o
import tap as t
from overlay import grpc, wait_until
from tap import Tap

MIB = 1 << 20
CONFIG = "node: {slot_bits: 4, stable_after: 300ms, store: {memtable_size: 4MiB, reserve: %s}}\n"


def enter_mount_namespace():
    """Runs this program again where its mounts are its own and end with it."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        t.skip_all("needs root and unshare(1): small file systems are mounted")
    if os.environ.get("AGI_OWN_MOUNTS"):
        return
    probe = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if probe.returncode:
        t.skip_all("mounting is not permitted here")
    os.environ["AGI_OWN_MOUNTS"] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])


class SmallDisk:
    """A file system of its own for a node's directory."""

    def __init__(self, node, megabytes):
        self.dir, self.ballast = node.dir, os.path.join(node.dir, "ballast")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", node.dir], check=True)

    def fill(self, leave):
        """Until so many bytes are left."""
        v = os.statvfs(self.dir)
        with open(self.ballast, "ab", buffering=0) as f:
            left = v.f_bavail * v.f_frsize - leave
            while left > 0:
                left -= f.write(bytes(min(left, MIB)))

    def fill_up(self):
        with open(self.ballast, "ab", buffering=0) as f:
            try:
                while f.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def empty(self):
        os.unlink(self.ballast)


def code_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e.code()
    return grpc.StatusCode.OK


def nearly_full(tap):
    with o.Overlay(1, time_limit=240) as net:
        tap.on_failure = net.logs
        node = net.nodes[0]
        disk = SmallDisk(node, 200)
        net.configs.append(os.path.join(net.dir, "config.yaml"))
        with open(net.configs[0], "w", encoding="ascii") as f:
            f.write(CONFIG % "10MiB")
        node.extra = ["--init"]
        net.start()
        node.extra = []
        with tap.case("below the reserve new data is refused, deletions and reads are not, and it ends by itself"):
            node.put(b"old", b"v")
            disk.fill(leave=8 * MIB)
            wait_until("the disk counts as nearly full", lambda: node.status().disk.nearly_full, 60)
            for level in ("one", "quorum", "all"):
                assert code_of(lambda level=level: node.put(b"new", b"v", level=level)) == \
                    grpc.StatusCode.RESOURCE_EXHAUSTED
            strong = o.pb.agihpc.PutRequest(key=b"s", value=b"v", level=4)
            assert code_of(lambda: node.rpc("kv_service").Put(strong, timeout=5)) == \
                grpc.StatusCode.RESOURCE_EXHAUSTED
            assert node.value(b"old") == b"v"
            node.delete(b"old")
            assert node.value(b"old") is None
            status = node.status()
            assert status.ready and not status.read_only
            assert any("nearly full" in w for w in status.warnings), status.warnings
            put = node.ctl("put", "new", "v")
            assert "nearly full" in put.err, put
            disk.empty()
            wait_until("there is room again", lambda: not node.status().disk.nearly_full, 60)
            node.put(b"new", b"v")
            assert node.status().incarnation == status.incarnation


def full(tap):
    with o.Overlay(3, time_limit=240) as net:
        tap.on_failure = net.logs
        victim = net.nodes[1]
        disk = SmallDisk(victim, 100)
        net.configs.append(os.path.join(net.dir, "config.yaml"))
        with open(net.configs[0], "w", encoding="ascii") as f:
            f.write(CONFIG % "0B")
        net.start()
        net.wait_replicated()
        with tap.case("a store that met the end of its disk is read-only; the others go on"):
            items = {b"a/%d" % i: b"%d" % i * 500 for i in range(40)}
            for key, value in items.items():
                net.nodes[0].put(key, value)
            disk.fill_up()
            for i in range(1000):  # until the victim has met it: its log may have some MiB set aside
                key, value = b"b/%d" % i, b"%03d" % i * 8000
                try:
                    net.nodes[i % 3].put(key, value)
                    items[key] = value
                except grpc.RpcError:
                    pass
                if victim.status().read_only:
                    break
            status = wait_until("it is read-only", lambda: victim.status().read_only and victim.status(), 60)
            assert status.disk.trouble == "no_space", status
            for i in range(40):
                items[b"c/%d" % i] = b"v"
                net.nodes[i % 3].put(b"c/%d" % i, b"v")
            assert victim.status().incarnation == status.incarnation  # it does not begin anew on a full disk
        with tap.case("when there is room again it starts anew by itself, and has lost nothing"):
            pid = victim.proc.pid
            disk.empty()
            wait_until("it has begun anew", lambda: victim.status().incarnation > status.incarnation
                       and victim.is_ready(), 60)
            assert victim.proc.pid == pid
            for key, value in items.items():
                assert victim.value(key) == value, key
            wait_until("it takes its part", lambda: victim.put(b"d", b"v", level="all"), 60)
            assert victim.stop() == 0


def main():
    enter_mount_namespace()
    tap = Tap()
    nearly_full(tap)
    full(tap)
    tap.done()


main()
