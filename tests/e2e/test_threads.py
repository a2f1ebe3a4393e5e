#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The safety loop beside a loaded main loop, with and without I/O loops: every decision is right or BLOCK, whatever else happens, and the
nodes end in time under load. Run it in a build with --enable-tsan to look for data races."""

import os
import signal
import socket
import threading
import time
import urllib.request

import overlay as o
from overlay import grpc, pb
from tap import Tap

SECONDS = 20 if o.LEVEL == "full" else 6
CLIENTS = 12
GATEWAYS = 3


class Load:
    """Clients that put values, check plans, ask for health and metrics, and give up early, until stopped."""

    def __init__(self, net):
        self.net, self.ended = net, threading.Event()
        self.count = {}
        self.wrong = []
        self.lock = threading.Lock()
        jobs = [self.put] * CLIENTS + [self.check, self.check, self.check_role, self.give_up, self.look]
        self.threads = [threading.Thread(target=self.run, args=(job, i), daemon=True)
                        for i, job in enumerate(jobs)]
        for t in self.threads:
            t.start()

    def stop(self):
        self.ended.set()
        for t in self.threads:
            t.join(30 * o.SLOWNESS)
            assert not t.is_alive(), "a client hangs"

    def run(self, job, number):
        n = GATEWAYS if job == self.check_role else len(self.net.nodes)
        node = self.net.nodes[number % n]
        channels = {port: o.open_channel(f"{node.ip}:{port}") for port in (o.OVERLAY_PORT, o.GATEWAY_PORT)}
        i = 0
        while not self.ended.is_set():
            i += 1
            try:
                job(node, channels, number, i)
                what = job.__name__
            except (grpc.RpcError, OSError):
                what = job.__name__ + " failed"
                time.sleep(0.01)
            with self.lock:
                self.count[what] = self.count.get(what, 0) + 1
        for c in channels.values():
            c.close()

    @staticmethod
    def rpc(channels, which, port=o.OVERLAY_PORT):
        name, methods = o.rpc_table()[which]
        return o.Rpc(channels[port], name, methods)

    def put(self, _node, channels, number, i):
        self.rpc(channels, "kv_service").Put(pb.agihpc.PutRequest(
            key=b"load-%d-%d" % (number, i % 50), value=os.urandom(2000)), timeout=5)

    def plan(self, tool):
        return pb.safety.CheckPlanRequest(plan=pb.plan.PlanGraphProto(
            plan_id="p", steps=[pb.plan.PlanStep(step_id="s", tool_id=tool)]))

    def decide(self, channels, port, i):
        tool = "root_access" if i % 2 else "report"
        answer = self.rpc(channels, "pre_action", port).CheckPlan(self.plan(tool), timeout=5)
        if tool == "root_access" and o.decision_name(answer) != "BLOCK":
            self.wrong.append(f"{tool}: {answer}")
        return o.decision_name(answer)

    def check(self, _node, channels, _number, i):
        self.decide(channels, o.OVERLAY_PORT, i)

    def check_role(self, _node, channels, _number, i):
        self.decide(channels, o.GATEWAY_PORT, i)

    def give_up(self, _node, channels, _number, i):
        self.rpc(channels, "pre_action").CheckPlan(self.plan("report"), timeout=0.0005 * (i % 6))

    def look(self, node, _channels, _number, i):
        port = (o.OVERLAY_PORT, o.GATEWAY_PORT)[i % 2] if node.roles else o.OVERLAY_PORT
        with urllib.request.urlopen(f"http://{node.ip}:{port}/metrics", timeout=5) as r:
            assert b"safety_checks_total" in r.read()
        with socket.create_connection((node.ip, o.OVERLAY_PORT), timeout=5) as s:
            s.sendall(b"\x01AGI\x02" + bytes([i % 4]) + b"\x00\x30" + b"x" * (i % 60))


def io_loops(net):
    """Two for one gateway, one for the client's node without a role; the others have none."""
    for node, n in ((net.nodes[0], 2), (net.nodes[4], 1)):
        path = os.path.join(net.dir, f"io{n}.yaml")
        with open(path, "w") as f:
            f.write(f"node: {{io_loops: {n}}}\n")
        node.extra = ["--config", path]


def orderly_end(net, load):
    began = time.monotonic()
    for node in net.nodes:
        node.signal(signal.SIGTERM)
    for node in net.nodes:
        status = node.proc.wait(5 * o.SLOWNESS)
        node.proc = None
        assert status == 0, f"node {node.number} ended with {status}"
    seconds = time.monotonic() - began
    load.stop()
    assert seconds < 5 * o.SLOWNESS, seconds


def no_complaints(net):
    for node in net.nodes:
        with open(node.log, errors="replace") as f:
            text = f.read()
        for word in ("Sanitizer", "runtime error", "Assertion"):
            assert word not in text, f"node {node.number}: {text[text.index(word):][:3000]}"


def main():
    tap = Tap()
    roles = {i + 1: ["erisml", "safety-gateway"] for i in range(GATEWAYS)}
    with o.Overlay(5, roles=roles, time_limit=240) as net:
        tap.on_failure = net.logs
        io_loops(net)
        with tap.case("five nodes become ready and replicate"):
            net.start()
            net.wait_replicated()
        with tap.case("a thread of its own runs the safety plane"):
            tasks = f"/proc/{net.nodes[0].proc.pid}/task"
            names = {open(os.path.join(tasks, t, "comm")).read().strip() for t in os.listdir(tasks)}
            assert "safety" in names, names
        with tap.case("a check is allowed before the load"):
            o.wait_until("ALLOW", lambda: net.nodes[4].check_plan(pb.plan.PlanGraphProto(
                plan_id="p", steps=[pb.plan.PlanStep(step_id="s", tool_id="report")]))[0] == "ALLOW")
        load = Load(net)
        with tap.case("under load, with a gateway killed and restarted, no decision is wrong"):
            deadline = time.monotonic() + SECONDS
            time.sleep(SECONDS / 3)
            net.nodes[2].kill()
            time.sleep(SECONDS / 3)
            net.start([net.nodes[2]])
            while time.monotonic() < deadline:
                time.sleep(0.1)
            assert not load.wrong, load.wrong[:3]
        with tap.case("SIGTERM under load ends every node within five seconds"):
            orderly_end(net, load)
        tap.diag(", ".join(f"{k}: {v}" for k, v in sorted(load.count.items())))
        with tap.case("the clients got work done"):
            assert all(load.count.get(k, 0) > 20 for k in ("put", "check", "check_role", "look")), load.count
        with tap.case("no sanitizer complained and nothing asserted"):
            no_complaints(net)
    tap.done()


if __name__ == "__main__":
    main()
