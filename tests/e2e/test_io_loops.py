#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients' connections on threads of their own (node.io_loops): everything is answered as without them."""

import os
import signal
import threading
import time

import overlay as o
from overlay import grpc, pb, wait_until
from tap import Tap

LOOPS = (2, 1, 0)  # of the three nodes


def config_of(net, loops):
    path = os.path.join(net.dir, f"io{loops}.yaml")
    with open(path, "w") as f:
        f.write(f"node:\n  io_loops: {loops}\n")
    return ["--config", path]


def rpc(channel, which):
    name, methods = o.rpc_table()[which]
    return o.Rpc(channel, name, methods)


def threads_of(node):
    tasks = f"/proc/{node.proc.pid}/task"
    return {open(os.path.join(tasks, t, "comm")).read().strip() for t in os.listdir(tasks)}


def watch_health(channel):
    call = channel.unary_stream("/grpc.health.v1.Health/Watch",
                                request_serializer=pb.health.HealthCheckRequest.SerializeToString,
                                response_deserializer=pb.health.HealthCheckResponse.FromString)
    return call(pb.health.HealthCheckRequest(), timeout=60 * o.SLOWNESS)


def test_start(tap, net):
    with tap.case("nodes with two, one and no I/O loop become ready and replicate"):
        for node, loops in zip(net.nodes, LOOPS):
            node.extra = config_of(net, loops)
        net.start()
        net.wait_replicated()
    with tap.case("the threads are there"):
        names = [threads_of(node) for node in net.nodes]
        assert [{n for n in each if n.startswith("io-")} for each in names] == [{"io-0", "io-1"}, {"io-0"}, set()], names
    with tap.case("a second daemon on the taken port ends at once and names the address"):
        node = net.nodes[0]
        extra = ["--data-dir", os.path.join(net.dir, "second")] + config_of(net, 2)
        second = o.run(o.NODE, "--listen", node.addr, "--cluster-key", net.key, *extra, timeout=5)
        second.expect(3)
        assert node.addr in second.err and second.seconds < 2 * o.SLOWNESS, second


def test_calls(tap, net, node, loops):
    channels = [o.open_channel(node.addr) for _ in range(4)]  # more than loops
    with tap.case(f"{loops} I/O loops: what one connection puts every other gets"):
        for i, c in enumerate(channels):
            rpc(c, "kv_service").Put(pb.agihpc.PutRequest(key=b"io-%d" % i, value=os.urandom(5000) + b"end"), timeout=10)
        for c in channels:
            for i in range(len(channels)):
                answer = rpc(c, "kv_service").Get(pb.agihpc.GetRequest(key=b"io-%d" % i), timeout=10)
                assert answer.value.endswith(b"end") and len(answer.value) == 5003
    with tap.case(f"{loops} I/O loops: errors come with status, text and details"):
        try:
            rpc(channels[0], "kv_service").Get(pb.agihpc.GetRequest(key=b""), timeout=10)
            raise AssertionError("no error")
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and "key: 0 bytes" in e.details(), e
            assert "grpc-status-details-bin" in dict(e.trailing_metadata()), e.trailing_metadata()
    with tap.case(f"{loops} I/O loops: registry, node, checks, a role that runs elsewhere"):
        c = channels[-1]
        assert rpc(c, "node_service").Status(pb.agihpc.StatusRequest(), timeout=10).ready
        assert rpc(c, "registry").Discover(pb.agihpc.DiscoverRequest(service="erisml"), timeout=10).instances
        facts = pb.erisml.EthicalFactsProto(option_id="a")
        wait_until("an evaluation", lambda: rpc(c, "erisml").EvaluatePlan(
            pb.erisml.EvaluatePlanRequest(step_facts=[facts]), timeout=10) is not None)
        for tool, decision in (("report", "ALLOW"), ("root_access", "BLOCK")):
            plan = pb.plan.PlanGraphProto(plan_id="p", steps=[pb.plan.PlanStep(step_id="s", tool_id=tool)])
            request = pb.safety.CheckPlanRequest(plan=plan)
            wait_until(f"{tool}: {decision}", lambda r=request, d=decision: o.decision_name(
                rpc(c, "pre_action").CheckPlan(r, timeout=10)) == d)
    with tap.case(f"{loops} I/O loops: a stream tells what changes, and ends when the client does"):
        stream = watch_health(channels[0])
        assert next(iter(stream)).status == pb.health.HealthCheckResponse.SERVING
        stream.cancel()
    with tap.case(f"{loops} I/O loops: GET over HTTP/1.1 and HTTP/2 on every port"):
        ports = [o.OVERLAY_PORT] + ([o.GATEWAY_PORT, o.ERISML_PORT] if node.roles else [])
        for port in ports:
            for version in ("--http1.1", "--http2-prior-knowledge"):
                for path, word in (("metrics", "grpc_server_handled_total"), ("healthz", "ok"), ("nothing", "not found")):
                    got = o.run("curl", "-sS", version, f"http://{node.ip}:{port}/{path}").expect(0)
                    assert word in got.out, (port, version, path, got.out[:300])
    for c in channels:
        c.close()


def test_load(tap, net):
    counts, errors = [0] * 8, []
    ended = threading.Event()

    def work(i):
        with o.open_channel(net.nodes[0].addr) as c:
            kv = rpc(c, "kv_service")
            while not ended.is_set():
                key = b"load-%d-%d" % (i, counts[i] % 20)
                value = os.urandom(1000)
                try:
                    kv.Put(pb.agihpc.PutRequest(key=key, value=value), timeout=10)
                    if kv.Get(pb.agihpc.GetRequest(key=key), timeout=10).value != value:
                        errors.append(f"client {i}: another's value")
                    counts[i] += 1
                except grpc.RpcError as e:
                    errors.append(str(e))
    with tap.case("clients on both loops each read what they wrote"):
        workers = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(counts))]
        for t in workers:
            t.start()
        wait_until("work done by each", lambda: min(counts) > 30 or errors, 60)
        ended.set()
        for t in workers:
            t.join(20 * o.SLOWNESS)
        assert not errors, errors[:3]
    with tap.case("every call was counted, whichever thread had it"):
        text = o.run("curl", "-sS", f"http://{net.nodes[0].addr}/metrics").expect(0).out
        puts = [line for line in text.splitlines() if "grpc_server_handled_total" in line and '"Put"' in line
                and '"OK"' in line]
        assert puts and float(puts[0].split()[-1]) >= sum(counts), (puts, sum(counts))


def test_end(tap, net):
    with tap.case("SIGTERM with open streams and calls ends every node in time, without a complaint"):
        channels = [o.open_channel(n.addr) for n in net.nodes for _ in range(3)]
        streams = [watch_health(c) for c in channels]
        for s in streams:
            next(iter(s))
        began = time.monotonic()
        for node in net.nodes:
            node.signal(signal.SIGTERM)
        for node in net.nodes:
            status = node.proc.wait(5 * o.SLOWNESS)
            node.proc = None
            assert status == 0, f"node {node.number} ended with {status}"
        assert time.monotonic() - began < 5 * o.SLOWNESS
        for node in net.nodes:
            with open(node.log, errors="replace") as f:
                text = f.read()
            for word in ("Sanitizer", "runtime error", "Assertion"):
                assert word not in text, f"node {node.number}: {text[text.index(word):][:3000]}"
        for c in channels:
            c.close()


def main():
    tap = Tap()
    roles = {1: ["erisml", "safety-gateway"], 2: ["erisml", "safety-gateway"]}
    with o.Overlay(3, roles=roles, time_limit=240) as net:
        tap.on_failure = net.logs
        test_start(tap, net)
        for node, loops in zip(net.nodes, LOOPS):
            test_calls(tap, net, node, loops)
        test_load(tap, net)
        test_end(tap, net)
    tap.done()


if __name__ == "__main__":
    main()
