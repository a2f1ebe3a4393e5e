# SPDX-License-Identifier: Apache-2.0
"""Clients that record what they did, and troubles that happen to the nodes meanwhile.

Every trouble is begun and ended by a schedule drawn from a seed; afterwards everything is healed and the histories
are judged: registers must be linearizable, and no acknowledged write of the eventual items may be lost."""

import os
import random
import signal
import threading
import time

import overlay as o
from linear import NEVER, Op, TooHard, describe, is_linearizable
from overlay import grpc

WINDOW_S = 4       # a register is used for so long, then the next one: histories stay short enough to judge
REGISTERS = 4      # used at a time
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
REFUSED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION)


class Client(threading.Thread):
    """One operation after another at nodes chosen at random, until told to end. A client has connections of its
    own: a channel that waits for a dead node must not hold up the others."""

    pause_s = 0  # after each operation

    def __init__(self, net, number, seed):
        super().__init__(daemon=True)
        self.net, self.number, self.dice = net, number, random.Random(seed * 1000 + number)
        self.ended = threading.Event()
        self.count = self.answered = 0
        self.failure = None

    def run(self):
        channels = {n.number: n.connect() for n in self.net.nodes}
        try:
            while not self.ended.is_set():
                self.count += 1
                self.step(channels[self.dice.choice(self.net.joined()).number])
                if self.pause_s:
                    self.ended.wait(self.pause_s)
        except Exception as e:  # pylint: disable=broad-except
            self.failure = e
        finally:
            for c in channels.values():
                c.close()

    def kv(self, channel):
        name, methods = o.rpc_table()["kv_service"]
        return o.Rpc(channel, name, methods)


class RegisterClient(Client):
    """Strong get, put, delete and compare-and-set on registers shared with the others; ops[key] is its part of the
    history."""

    def __init__(self, *args):
        super().__init__(*args)
        self.ops = {}
        self.known = {}  # by key: the version and value met last, for conditions

    def step(self, channel):
        key = f"reg/{int(time.monotonic() / WINDOW_S)}/{self.dice.randrange(REGISTERS)}".encode()
        value = f"{self.number}.{self.count}".encode()
        kind = self.dice.choices(["get", "put", "delete", "cas"], [5, 3, 1, 3])[0]
        version, expected = self.known.get(key, (0, None))
        op = Op(kind, time.monotonic(), value=value if kind in ("put", "cas") else None, expected=expected if kind == "cas" else None)
        self.ops.setdefault(key, []).append(op)
        try:
            self.known[key] = getattr(self, kind)(self.kv(channel), key, op, version)
        except grpc.RpcError as e:
            if kind not in ("get", "delete") or e.code() != grpc.StatusCode.NOT_FOUND:
                self.ended.wait(0.01)  # says nothing about what happened unless it says so: taken as unknown
                return
            self.known[key] = (0, None)
        op.answer = time.monotonic()
        self.answered += 1

    # Each does op, fills in what was answered, and tells the version and value that it knows then.
    def get(self, kv, key, op, _):
        answer = kv.Get(o.pb.agihpc.GetRequest(key=key, level=o.pb.agihpc.LEVEL_STRONG), timeout=2)
        op.value = answer.value
        return answer.version, answer.value

    def put(self, kv, key, op, _):
        answer = kv.Put(o.pb.agihpc.PutRequest(key=key, value=op.value, level=o.pb.agihpc.LEVEL_STRONG), timeout=2)
        return answer.version, op.value

    def delete(self, kv, key, op, _):
        kv.Delete(o.pb.agihpc.DeleteRequest(key=key, level=o.pb.agihpc.LEVEL_STRONG), timeout=2)
        return 0, None

    def cas(self, kv, key, op, version):
        answer = kv.CompareAndSet(o.pb.agihpc.CompareAndSetRequest(key=key, value=op.value, expected_version=version), timeout=2)
        op.is_done = answer.succeeded
        return answer.version, op.value if answer.succeeded else answer.value if answer.version else None


class ItemClient(Client):
    """The only writer of some items: rising numbers, now and then a delete; acked is what must not be lost."""

    KEYS = 12

    def __init__(self, *args):
        super().__init__(*args)
        self.acked, self.tried = {}, {}

    def step(self, channel):
        kv = self.kv(channel)
        key = f"item/{self.number}/{self.dice.randrange(self.KEYS)}".encode()
        value = None if self.dice.random() < 0.15 else b"%d" % self.count
        a = o.pb.agihpc
        self.tried.setdefault(key, []).append((self.count, value))
        try:
            if value is None:
                kv.Delete(a.DeleteRequest(key=key, level=a.LEVEL_QUORUM), timeout=2)
            else:
                kv.Put(a.PutRequest(key=key, value=value, level=a.LEVEL_QUORUM), timeout=2)
        except grpc.RpcError as e:
            if e.code() != grpc.StatusCode.NOT_FOUND:
                self.ended.wait(0.01)
                return
        self.acked[key] = self.count
        self.answered += 1

    def allowed(self, key):
        """What a read may find: the last acknowledged write or one tried after it."""
        return {v for n, v in self.tried[key] if n >= self.acked.get(key, 0)} | (
            set() if key in self.acked else {None})


# --- troubles: each is a context, begun and ended ------------------------------------------------------------

class Isolate:
    """One host hears nobody."""

    def begin(self, net, dice):
        self.net = net
        alone = dice.choice(net.joined()).number
        net.split([alone], [n.number for n in net.nodes if n.number != alone])

    def end(self):
        self.net.heal()


class Split(Isolate):
    """Two sides; one of them may have a majority of a slot."""

    def begin(self, net, dice):
        self.net = net
        hosts = [n.number for n in net.joined()]
        dice.shuffle(hosts)
        net.split(hosts[:2], hosts[2:])


class OneWay(Isolate):
    """A host is heard by nobody but hears everybody."""

    def begin(self, net, dice):
        self.net = net
        mute = dice.choice(net.joined()).number
        for n in net.nodes:
            if n.number != mute:
                net.cut(mute, n.number, both=False)


class Kill:
    """kill -9, some time, start again."""

    def begin(self, net, dice):
        self.node = dice.choice(net.running())
        self.node.kill()

    def end(self):
        if not self.node.is_running():
            self.node.start()


class Pause:
    """SIGSTOP, some time, SIGCONT."""

    def begin(self, net, dice):
        self.node = dice.choice(net.running())
        self.node.signal(signal.SIGSTOP)

    def end(self):
        self.node.signal(signal.SIGCONT)


class Skew:
    """The wall clock of one host jumps (its monotonic clock does not)."""

    def begin(self, net, dice):
        self.node = dice.choice(net.joined())
        self.set(f"{dice.choice([-300, -20, 20, 300]):+d}")

    def set(self, offset):
        path = self.node.env.get("FAKETIME_TIMESTAMP_FILE")
        if path:
            with open(path + ".new", "w", encoding="ascii") as f:
                f.write(offset + "\n")
            os.rename(path + ".new", path)

    def end(self):
        self.set("+0")


class DiskFull:
    """A host's disk is full: its store turns read-only; then there is room again and the node is restarted."""

    def begin(self, net, dice):
        self.node = dice.choice([n for n in net.running() if n.has_small_disk])
        self.ballast = os.path.join(self.node.dir, "ballast")
        with open(self.ballast, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 65536)
            except OSError:
                pass

    def end(self):
        os.unlink(self.ballast)
        self.node.kill()
        self.node.start()


class Join:
    """One more host joins, once."""

    def begin(self, net, dice):
        for n in net.nodes:
            if n.proc is None and n not in net.joined():
                n.start()
                return

    def end(self):
        pass


class Roll:
    """An orderly restart of one node."""

    def begin(self, net, dice):
        self.node = dice.choice(net.running())
        self.node.stop()
        self.node.start()

    def end(self):
        pass


TROUBLES = [Isolate, Split, OneWay, Kill, Pause, Skew, Roll, DiskFull, Join]


def with_faketime(net):
    """Nodes' wall clocks can be set; False when the library is not installed."""
    if not os.path.exists(FAKETIME):
        return False
    for n in net.nodes:
        path = os.path.join(n.dir, "faketime")
        with open(path, "w", encoding="ascii") as f:
            f.write("+0\n")
        n.env.update(LD_PRELOAD=FAKETIME, FAKETIME_TIMESTAMP_FILE=path, FAKETIME_NO_CACHE="1",
                     FAKETIME_DONT_FAKE_MONOTONIC="1")
    return True


def run(net, clients, seed, seconds, say, troubles=tuple(TROUBLES)):
    """Every kind of trouble at least once (time permitting), in an order drawn from the seed."""
    dice = random.Random(seed)
    for c in clients:
        c.start()
    until, bag = time.monotonic() + seconds, []
    while time.monotonic() < until:
        bag = bag or dice.sample(troubles, len(troubles))
        trouble = bag.pop()()
        say(f"{until - time.monotonic():6.1f} s left: {type(trouble).__name__.lower()}")
        trouble.begin(net, dice)
        time.sleep(dice.uniform(0.3, 2.5))
        trouble.end()
        time.sleep(dice.uniform(0.1, 1.5))
    stop(clients)


def stop(clients):
    for c in clients:
        c.ended.set()
    for c in clients:
        c.join(30 * o.SLOWNESS)
        assert not c.is_alive(), "a client does not end: a call without an answer"
        assert c.failure is None, f"client {c.number}: {c.failure!r}"


def judge_registers(clients):
    histories = {}
    for c in clients:
        for key, ops in c.ops.items():
            histories.setdefault(key, []).extend(ops)
    for key, ops in sorted(histories.items()):
        try:
            ok = is_linearizable(ops)
        except TooHard as e:
            raise AssertionError(f"{key}: could not be judged: {e}") from e
        assert ok, f"{key} is not linearizable:\n{describe(ops)}"
    return len(histories), sum(len(ops) for ops in histories.values()), sum(
        o_.answer == NEVER for ops in histories.values() for o_ in ops)


def judge_items(net, clients):
    n = 0
    for c in clients:
        for key in sorted(c.tried):
            for node in net.running():
                found = node.value(key, "quorum")
                assert found in c.allowed(key), \
                    f"{key} at node {node.number}: {found!r}, allowed: {sorted(map(repr, c.allowed(key)))}"
                n += 1
    return n
