# SPDX-License-Identifier: Apache-2.0
"""Slots move between real nodes while clients read and write: hosts join, are drained, restarted in turn, leave, change
their weight and zone, lose their disk, and are killed with -9 in the middle of a transfer. The clients' histories are
judged: registers are linearizable, no acknowledged write is lost. Operators see what happens and how long it takes; in
the end a cluster that lost too much goes on where an operator tells it to.
"""

import collections
import os
import re
import shutil
import signal

import chaos
import overlay as o
from overlay import grpc
from tap import Tap

KEYS = 200
VALUE = 1000
SLOTS = 256
SEED = int(os.environ.get("AGI_SEED") or 7)
CONFIG = """\
node: {slot_bits: 8, stable_after: 200ms, down_after: 4s}
dht: {rebalance_bytes_per_s: %s}
auth: {tokens_file: %s}
"""
ZONES = ["a", "a", "b", "c", "c"]
Details = collections.namedtuple("Details", "method timeout metadata credentials wait_for_ready compression")


class WithToken(grpc.UnaryUnaryClientInterceptor):
    """Every call carries the operator's token."""

    def __init__(self, token):
        self.metadata = [("authorization", "Bearer " + token)]

    def intercept_unary_unary(self, go_on, details, request):
        return go_on(Details(details.method, details.timeout, self.metadata, details.credentials,
                             getattr(details, "wait_for_ready", None), None), request)


class Node(o.Node):
    """A node with a file of its own for weight and zone."""

    def __init__(self, *args):
        super().__init__(*args)
        self.place = os.path.join(self.dir, "place.yaml")
        self.extra = ["--config", self.place]
        self.put_at(1)

    def connect(self, address=None):
        return grpc.intercept_channel(super().connect(address), WithToken(os.environ["AGIHPC_TOKEN"]))

    def put_at(self, weight, zone=""):
        with open(self.place, "w") as f:
            f.write('node: {weight: %s, zone: "%s"}\n' % (weight, zone))

    def held(self):
        s = self.status()
        return s.slots_active + s.slots_joining + s.slots_sealed + s.slots_leaving

    def wipe(self):
        self.kill()
        shutil.rmtree(self.data)

    def wait_gone(self):
        """The exit status of a node that ends by itself."""
        status = self.proc.wait(60 * o.SLOWNESS)
        self.close_channels()
        self.proc = None
        return status


class Overlay(o.Overlay):
    node_class = Node

    def __init__(self, n, **options):
        super().__init__(n, **options)
        token = o.run(o.CTL, "-o", "json", "token", "new", "boss", "--scope", "read,write,safety,admin").json()
        os.environ["AGIHPC_TOKEN"] = token["token"]
        self.tokens, self.config = os.path.join(self.dir, "tokens"), os.path.join(self.dir, "moves.yaml")
        with open(self.tokens, "w") as f:
            f.write(token["line"] + "\n")
        os.chmod(self.tokens, 0o600)
        self.set_rate("0B")
        self.configs.append(self.config)

    def set_rate(self, rate):
        with open(self.config, "w") as f:
            f.write(CONFIG % (rate, self.tokens))
        self.reload()

    def reload(self):
        for node in self.running():
            node.signal(signal.SIGHUP)

    def running(self):
        return [n for n in self.nodes if n.is_running()]

    joined = running  # clients ask whoever runs

    def moves(self, node=None):
        return (node or self.running()[0]).ctl_json("-t", "20", "rebalance")

    def row(self, node):
        """What it reports; nothing before the others know it."""
        return next((r for r in self.moves()["nodes"] if r["address"] == node.addr), {"copying": 0})

    def wait_settled(self, seconds=90):
        o.wait_until("nothing moves any more", lambda: self.moves()["settled"], seconds, every=0.2)

    def slots(self):
        """The members' numbers of each slot."""
        number = {n.status().node_id: n.number for n in self.running()}
        return {s["slot"]: [number.get(m) for m in s["members"]]
                for s in self.nodes[0].ctl_json("slots", "--all", "-v")["slots"]}


class Clients:
    """Two on shared registers, one on items of its own: a few operations at a time, whose histories are judged."""

    def __init__(self, net):
        self.net = net
        self.registers = [chaos.RegisterClient(net, i, SEED) for i in range(2)]
        self.items = [chaos.ItemClient(net, 2, SEED)]
        self.all = self.registers + self.items
        for c in self.all:
            c.pause_s = 0.02
            c.start()

    def end(self, tap):
        chaos.stop(self.all)
        tap.diag("answered of tried: " + ", ".join(f"{c.answered}/{c.count}" for c in self.all))
        assert all(c.answered > 20 for c in self.all)

    def judge(self, tap):
        tap.diag("%d registers, %d operations, %d of unknown outcome" % chaos.judge_registers(self.registers))
        tap.diag(f"{chaos.judge_items(self.net, self.items)} reads of items")


def fill(net):
    """Items and registers, written once by nobody else."""
    written = {}
    for i in range(KEYS):
        key, level = b"fill/%d" % i, ("quorum", "strong")[i % 2]
        written[key] = (b"%d " % i + bytes(VALUE), level)
        net.nodes[i % 3].put(key, written[key][0], level)
    return written


def check(node, written):
    for key, (value, level) in written.items():
        got = node.value(key, level)
        assert got == value, f"{key} ({level}) from node {node.number}: {got and got[:40]}"


def three(tap, net):
    with tap.case("three nodes hold everything three times"):
        net.start(net.nodes[:3])
        net.wait_replicated()
        written = fill(net)
    with tap.case("too few hosts refuse a drain, and say why"):
        assert "2 hosts would remain for 3 replicas" in net.nodes[0].ctl("drain").expect(1).err
    with tap.case("slot recover is refused while nothing is lost"):
        r = net.nodes[0].ctl("slot", "recover", "--unsafe", "7", "--yes").expect(1)
        assert "3 of its 3 members answer" in r.err, r.err
        assert "no terminal" in net.nodes[0].ctl("slot", "recover", "--unsafe", "7").expect(2).err
    return written


def join(tap, net, written):
    with tap.case("a fourth and a fifth node join under load and take their share"):
        net.start(net.nodes[3:])
        for node in net.nodes:
            o.wait_until(f"node {node.number} has its share", lambda node=node: node.held() > SLOTS * 3 // 5 // 3, 90)
        net.wait_settled()
        check(net.nodes[4], written)
    with tap.case("the operator is told what moved, and by whom"):
        moves = net.moves()
        assert moves["bytes_moved"] > KEYS * VALUE and len(moves["nodes"]) == 5
        tap.diag(f"{moves['changes']} changes moved {moves['bytes_moved'] >> 10} KiB; a slot paused "
                 f"{moves['pause_mean_ms']:.1f} ms on average, {moves['pause_max_ms']:.1f} ms at most")
        watched = net.nodes[0].ctl("-t", "20", "rebalance", "--watch").expect(0).out
        assert re.search(r"\[#+\] 100 %", watched) and net.nodes[4].addr in watched, watched
        assert "Every slot is where it should be" in watched, watched
        metrics = o.run("curl", "-s", "-H", "Authorization: Bearer " + os.environ["AGIHPC_TOKEN"],
                        f"http://{net.nodes[4].addr}/metrics").out
        assert re.search(r'agihpc_move_bytes_total\{direction="in"\} [1-9]', metrics), metrics[:400]


def drain(tap, net):
    node = net.nodes[1]
    with tap.case("a drained node gives its slots away, serving until they have moved"):
        out = node.ctl("-t", "20", "drain", "--wait", timeout=120).expect(0).out
        assert "drains" in out and "100 %" in out, out
        assert node.held() == 0 and node.status().ready
        assert any("drained" in w for w in node.status().warnings)
    with tap.case("it stays drained over a restart"):
        node.kill()
        net.start([node])
        net.wait_settled()
        assert net.row(node)["draining"] and node.held() == 0
    with tap.case("undrain gives it its share again; ordered through another node, by id"):
        net.nodes[0].ctl("undrain", node.status().node_id[:12]).expect(0)
        o.wait_until("it holds slots", lambda: node.held() > 50, 90)
        net.wait_settled()


def roll(tap, net):
    with tap.case("all nodes are restarted, one after the other"):
        for node in net.nodes:
            assert node.stop(60) == 0
            net.start([node])
        net.wait_settled()


def move_places(tap, net):
    node = net.nodes[2]
    before = node.held()
    with tap.case("a weight that is lowered moves slots away, on SIGHUP"):
        node.put_at(0.25)
        node.signal(signal.SIGHUP)
        o.wait_until("it holds fewer slots", lambda: node.held() < before * 2 // 3, 90)
    with tap.case("zones spread the replicas over them, on SIGHUP"):
        for n, zone in zip(net.nodes, ZONES):
            n.put_at(1, zone)
        net.reload()
        o.wait_until("every slot has a member in each zone", lambda: all(
            sorted(ZONES[m - 1] for m in members) == ["a", "b", "c"] for members in net.slots().values()), 90, every=0.3)
        net.wait_settled()


def leave(tap, net):
    node = net.nodes[3]
    with tap.case("a node that leaves hands over everything and ends"):
        net.nodes[0].ctl("-t", "20", "leave", node.addr, "--wait", timeout=120).expect(0)
        assert node.wait_gone() == 0
        net.wait_settled()
        assert all(m["address"] != node.addr for m in net.nodes[0].ctl_json("members")["members"])
    with tap.case("its data directory is refused, and says what to do"):
        node.start()
        assert node.wait_gone() == 1
        assert "has left its cluster for good" in o.tail(node.log), o.tail(node.log)


def kill_in_the_middle(tap, net, written):
    """As new nodes: the one that left, and another that lost its disk. What they are sent is slow."""
    newcomer, wiped, source = net.nodes[3], net.nodes[4], net.nodes[1]
    old = wiped.status().node_id
    with tap.case("transfers to an empty and a wiped host go on after source and target were killed in the middle"):
        net.set_rate("64KiB")
        wiped.wipe()
        shutil.rmtree(newcomer.data)
        net.start([newcomer, wiped])
        for victim in (newcomer, source, newcomer):
            o.wait_until("the newcomer copies", lambda: net.row(newcomer)["copying"], 90)
            victim.kill()
            net.start([victim])
        net.set_rate("0B")
        o.wait_until("it has its share", lambda: newcomer.held() > 50, 90)
        net.wait_replicated(seconds=90)
        net.wait_settled()
        check(newcomer, written)
    with tap.case("the lost disk's identity is forgotten"):
        assert wiped.status().node_id != old
        o.wait_until("the old identity is gone", lambda: all(
            m["node_id"] != old for n in net.nodes for m in n.ctl_json("members")["members"]), 90)


def lose_majorities(tap, net, written):
    gone = net.nodes[2:4]
    lost = sum(all(n.number in members for n in gone) for members in net.slots().values())
    with tap.case("with two disks lost, only an operator's word brings back the slots that lost their majority"):
        assert lost > 0
        for node in gone:
            node.wipe()
        # Whoever is asked may still wait for an answer of the lost.
        r = net.nodes[0].ctl("slot", "recover", "--unsafe", "--all-lost", "--yes", timeout=120).expect(0)
        assert f"{lost} slots recovered" in r.out, (lost, r.out, r.err)
        assert any("slot_recovered_unsafe" in open(n.log).read() for n in net.running())
        check(net.nodes[0], written)
        net.nodes[0].put(b"after", b"that", "strong")
    with tap.case("and they grow back on new hosts"):
        net.start(gone)
        net.wait_replicated(seconds=120)
        check(gone[0], written)
        assert gone[1].value(b"after", "strong") == b"that"


def main():
    tap = Tap()
    with Overlay(5, time_limit=600) as net:
        tap.on_failure = net.logs
        written = three(tap, net)
        clients = Clients(net)
        join(tap, net, written)
        drain(tap, net)
        roll(tap, net)
        if o.LEVEL == "full":
            move_places(tap, net)
            leave(tap, net)
        with tap.case("meanwhile every client got answers, and every call ended"):
            clients.end(tap)
        with tap.case("registers were linearizable, and no acknowledged write was lost"):
            clients.judge(tap)
            check(net.nodes[1], written)
        if o.LEVEL == "full":
            kill_in_the_middle(tap, net, written)
            lose_majorities(tap, net, written)
    tap.done()


if __name__ == "__main__":
    main()
