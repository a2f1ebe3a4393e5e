# SPDX-License-Identifier: Apache-2.0
"""Watches on real nodes: nothing acknowledged is missed while nodes die, and an interrupted watch goes on elsewhere."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import overlay as o
from overlay import grpc, pb, wait_until
from tap import Tap

LEVELS = ("quorum", "strong")


class Watch:
    """A watch that runs in a thread; what it has heard of each key."""

    def __init__(self, node, **request):
        self.has, self.events, self.token, self.caught_up, self.error = {}, [], b"", threading.Event(), None
        self.call = node.rpc("kv_service").Watch(pb.agihpc.WatchRequest(**request))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            for response in self.call:
                for e in response.events:
                    self.events.append(e)
                    self.has[e.key] = e
                self.token = response.resume_token or self.token
                if response.caught_up:
                    self.caught_up.set()
        except grpc.RpcError as e:
            self.error = e

    def begin(self):
        assert self.caught_up.wait(60 * o.SLOWNESS), self.error
        return self

    def stop(self):
        self.call.cancel()
        self.thread.join()
        return self


def write_many(nodes, level, count, tag):
    """Puts from several threads; {key: version} of what was acknowledged. A node that dies takes its writes along."""
    acked, work = {}, queue.Queue()
    for i in range(count):
        work.put(i)

    def run(node):
        while True:
            try:
                i = work.get_nowait()
            except queue.Empty:
                return
            key = b"%s/%d" % (tag, i)
            try:
                acked[key] = node.put(key, b"v", level, timeout=5).version
            except grpc.RpcError:
                pass
    threads = [threading.Thread(target=run, args=(n,)) for n in nodes for _ in range(2)]
    for t in threads:
        t.start()
    return acked, threads


def missed(watch, acked):
    return [k for k, v in acked.items() if k not in watch.has or watch.has[k].version < v]


def test_simple(tap, net):
    a, b, c = net.nodes[:3]
    for level in LEVELS:
        with tap.case(f"puts and deletes of a prefix arrive, level {level}"):
            w = Watch(a, key=b"s/", prefix=True, level=o.LEVELS[level]).begin()
            versions = [n.put(b"s/%d" % i, b"v%d" % i, level).version for i, n in enumerate((a, b, c))]
            b.put(b"other", b"x", level)
            deleted = c.delete(b"s/1", level).version
            wait_until("four events", lambda: w.has.get(b"s/1") and w.has[b"s/1"].version == deleted and len(w.has) == 3)
            assert w.has[b"s/1"].kind == pb.agihpc.WatchEvent.DELETE and w.has[b"s/1"].value == b""
            assert [(w.has[b"s/%d" % i].value, w.has[b"s/%d" % i].version) for i in (0, 2)] == [
                (b"v%d" % i, versions[i]) for i in (0, 2)]
            w.stop()
        with tap.case(f"what is there first, then changes; and a key from a version on, level {level}"):
            w = Watch(b, key=b"s/", prefix=True, initial=True, level=o.LEVELS[level]).begin()
            # a replica that is given the deletion only now may tell of it, too
            assert sorted(k for k, e in w.has.items() if e.kind == pb.agihpc.WatchEvent.PUT) == [b"s/0", b"s/2"], w.has
            w.stop()
            w = Watch(c, key=b"s/0", from_version=versions[0], level=o.LEVELS[level]).begin()
            assert all(e.version == versions[0] for e in w.events), w.events
            w.stop()
            w = Watch(c, key=b"s/0", from_version=1, level=o.LEVELS[level]).begin()
            assert w.has[b"s/0"].version == versions[0]
            w.stop()
    with tap.case("what cannot be watched is refused"):
        for request, says in (({"key": b""}, "key"), ({"key": b"k", "prefix": True, "from_version": 3}, "single key"),
                              ({"key": b"k", "resume_token": b"nonsense"}, "resume token")):
            w = Watch(a, **request)
            wait_until("an error", lambda: w.error)
            assert w.error.code() == grpc.StatusCode.INVALID_ARGUMENT and says in w.error.details(), w.error


def test_kills(tap, net):
    for level in LEVELS:
        with tap.case(f"nothing acknowledged is missed while a holder of slots dies and comes back, level {level}"):
            w = Watch(net.nodes[4], key=b"k/", prefix=True, level=o.LEVELS[level]).begin()
            acked, threads = write_many(net.nodes[1:], level, 400, b"k/" + level.encode())
            net.nodes[0].kill()
            for t in threads:
                t.join()
            net.nodes[0].start()
            net.wait_ready()
            more, threads = write_many(net.nodes, level, 200, b"k/more" + level.encode())
            for t in threads:
                t.join()
            acked.update(more)
            assert len(acked) > 250, len(acked)  # what was under way when the node died may be unknown
            wait_until("everything has arrived", lambda: not missed(w, acked), 60)
            w.stop()
        with tap.case(f"a watch whose node dies goes on at another, level {level}"):
            w = Watch(net.nodes[1], key=b"r/", prefix=True, level=o.LEVELS[level]).begin()
            acked, threads = write_many(net.nodes[2:], level, 300, b"r/" + level.encode())
            time.sleep(0.2)  # some before, some after
            net.nodes[1].kill()
            wait_until("the stream breaks", lambda: w.error)
            for t in threads:
                t.join()
            again = Watch(net.nodes[3], key=b"r/", prefix=True, level=o.LEVELS[level], resume_token=w.token).begin()
            again.has = {**w.has, **again.has}
            assert not missed(again, acked), missed(again, acked)
            again.stop()
            net.nodes[1].start()
            net.wait_ready()


def test_slow(tap, net):
    with tap.case("a client that does not read costs no memory, and sees the newest state when it reads"):
        node = net.nodes[2]
        call = node.rpc("kv_service").Watch(pb.agihpc.WatchRequest(key=b"slow/", prefix=True, initial=True))
        before, value, versions = node.rss_bytes(), bytes(50000), {}
        for i in range(800):  # 40 MB; the client's and server's windows hold far less
            versions[b"slow/%d" % (i % 100)] = net.nodes[i % 5].put(b"slow/%d" % (i % 100), value).version
        grown = node.rss_bytes() - before
        tap.diag(f"the node grew by {grown >> 20} MiB")
        assert grown < 60 << 20, grown
        has = {}
        for response in call:
            for e in response.events:
                has[e.key] = e.version
            if has == versions:
                break
        call.cancel()


class Lines:
    """What `agihpc-ctl watch` prints, line by line, read by a thread: a test can wait for one of them."""

    def __init__(self, *argv):
        self.proc = subprocess.Popen([o.CTL, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.seen = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        for line in self.proc.stdout:
            self.seen.append(json.loads(line))

    def wait_for(self, **what):
        """A key may be told more than once while its replicas learn of it; what counts is that the newest state comes."""
        def is_it(line):
            return all(line.get(k) == v for k, v in what.items())
        wait_until(f"{what} in {self.seen}", lambda: [x for x in self.seen if is_it(x)], 60)

    def server(self):
        """The address of the node it is connected to: of those in -n it takes the first that answers in time."""
        mine = set()
        for fd in os.listdir(f"/proc/{self.proc.pid}/fd"):
            try:
                mine.add(os.readlink(f"/proc/{self.proc.pid}/fd/{fd}"))
            except FileNotFoundError:
                pass  # closed meanwhile
        with open("/proc/net/tcp", encoding="ascii") as f:
            rows = [x.split() for x in f.readlines()[1:]]
        for row in rows:
            if f"socket:[{row[9]}]" in mine and row[3] == "01":  # established
                host, port = row[2].split(":")
                return ".".join(str(b) for b in reversed(bytes.fromhex(host))) + f":{int(port, 16)}"
        return None

    def stop(self):
        """Its exit status, and what it said."""
        self.proc.send_signal(signal.SIGINT)
        status = self.proc.wait(30 * o.SLOWNESS)
        self.thread.join()
        return status, self.proc.stderr.read()


def test_ctl(tap, net):
    with tap.case("agihpc-ctl watch prints changes, and goes on when its node dies"):
        lines = Lines("-n", ",".join(n.addr for n in net.nodes[1:4]), "-o", "json", "watch", "cli/", "--prefix", "--initial")
        try:
            net.nodes[0].put(b"cli/1", b"one", timeout=60)
            lines.wait_for(key="cli/1", kind="put", value="one")
            lines.wait_for(key="cli/1", kind="delete", version=str(net.nodes[4].delete(b"cli/1").version))
            server = wait_until("a connection", lambda: [n for n in net.nodes if n.addr == lines.server()])[0]
            server.kill()
            net.nodes[0].put(b"cli/2", b"two", timeout=60)
            lines.wait_for(key="cli/2", kind="put", value="two")
            status, said = lines.stop()
            assert status == 0 and "going on" in said, (status, said)
            server.start()
            net.wait_ready()
        finally:
            lines.proc.kill()
    with tap.case("and stops after so many changes or so long"):
        net.nodes[0].put(b"cli/2", b"two", timeout=60)
        r = net.nodes[0].ctl("watch", "cli/2", "--initial", "--count", "1", timeout=60).expect(0)
        assert r.out.startswith("put cli/2 two (version "), r
        assert net.nodes[0].ctl("watch", "cli/3", "--for", "500ms").expect(0).out == ""
        net.nodes[0].ctl("watch").expect(2)


def main():
    tap = Tap()
    with o.Overlay(5) as net:
        tap.on_failure = net.logs
        config = os.path.join(net.dir, "slots.yaml")
        with open(config, "w") as f:
            f.write("node:\n  slot_bits: 8\n")  # quickly in their places
        net.configs.append(config)
        net.start()
        net.wait_replicated()
        test_simple(tap, net)
        test_kills(tap, net)
        test_slow(tap, net)
        test_ctl(tap, net)
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
