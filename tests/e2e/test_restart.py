# SPDX-License-Identifier: Apache-2.0
"""No acknowledged write is lost while nodes are killed with -9 at random moments.

One writer keeps a log of what was acknowledged: new keys, each written once, and a few registers written
over and over with rising numbers. A killer ends one node after another, now and then all of them, at
random moments and starts them again. Then every key is read from every node: a new key must be there,
a register must hold at least the last acknowledged number (a write that was not acknowledged may
or may not have taken effect). The seed is printed; AGI_SEED replays the choices.
"""

import os
import random
import threading
import time

import overlay as o
from overlay import grpc
from tap import Tap

ROUNDS = 10 if o.LEVEL == "full" else 3
REGISTERS = 8


class Writer(threading.Thread):
    """Writes to nodes that run and remembers what was acknowledged."""

    def __init__(self, net, seed):
        super().__init__(daemon=True)
        self.net, self.random = net, random.Random(seed)
        self.ended = threading.Event()
        self.once, self.registers = {}, {}
        self.acknowledged = self.refused = 0

    def run(self):
        number = 0
        while not self.ended.is_set():
            number += 1
            is_register = number % 3 == 0
            key = b"reg/%d" % self.random.randrange(REGISTERS) if is_register else b"once/%d" % number
            if not self._put(key, b"%d" % number):
                self.refused += 1
            elif is_register:
                self.registers[key] = number
            else:
                self.once[key] = b"%d" % number

    def _put(self, key, value):
        # A node may be killed and its channel closed under this call: both are a refusal.
        try:
            node = self.random.choice(self.net.nodes)
            node.put(key, value, timeout=2)
        except (grpc.RpcError, ValueError, RuntimeError):
            self.ended.wait(0.005)
            return False
        self.acknowledged += 1
        return True


def one_round(net, dice, tap, number):
    everything = number % 4 == 3
    victims = net.nodes if everything else [dice.choice(net.nodes)]
    time.sleep(dice.uniform(0.05, 0.8))  # the random moment, not a wait for something
    for node in victims:
        node.kill()
    if not everything:
        time.sleep(dice.uniform(0.0, 1.5))
    seconds = net.start(victims)
    tap.diag(f"round {number}: killed {[n.number for n in victims]}, ready after {seconds:.2f} s")


def verify(net, writer):
    for node in net.nodes:
        for key, value in writer.once.items():
            got = node.value(key)
            assert got == value, f"{key} from node {node.number}: {got}, acknowledged was {value}"
        for key, number in writer.registers.items():
            got = node.value(key)
            assert got is not None and int(got) >= number, \
                f"{key} from node {node.number}: {got}, acknowledged was {number}"


def main():
    seed = int(os.environ.get("AGI_SEED") or random.randrange(1 << 32))
    dice = random.Random(seed)
    tap = Tap()
    tap.diag(f"AGI_SEED={seed}")
    with o.Overlay(4, time_limit=240) as net:
        tap.on_failure = net.logs
        with tap.case("four nodes become ready and replicate"):
            net.start()
            net.wait_replicated()
        writer = Writer(net, seed)
        writer.start()
        for number in range(ROUNDS):
            with tap.case(f"round {number + 1}: killed and ready again"):
                one_round(net, dice, tap, number)
        writer.ended.set()
        writer.join(30)
        tap.diag(f"{writer.acknowledged} writes acknowledged, {writer.refused} refused")
        with tap.case("the writer got work done between the kills"):
            assert writer.acknowledged > 20 * ROUNDS, writer.acknowledged
        with tap.case("every acknowledged write is read from every node"):
            verify(net, writer)
        with tap.case("and again after all were killed at once and restarted"):
            for node in net.nodes:
                node.kill()
            net.start()
            verify(net, writer)
        with tap.case("the hints are delivered in the end"):
            o.wait_until("no hints", lambda: all(n.status().hints == 0 for n in net.nodes), 60)
    tap.done()


if __name__ == "__main__":
    main()
