# SPDX-License-Identifier: Apache-2.0
"""Services of roles on every node: handed on to whoever runs the role, told where to go when not."""

import http.client
import json
import os
import queue
import socket
import sys
import threading
import time
from concurrent import futures

import overlay as o
from overlay import grpc, pb, wait_until
from tap import Tap

SAFETY_ROLES = ["erisml", "safety-gateway"]
PLAN = "/agi.plan.v1.PlanService/Plan"
PUBLISH, SUBSCRIBE = "/agihpc.v1.EventService/Publish", "/agihpc.v1.EventService/Subscribe"


class Planner:
    """A planner in Python: says what it was called with, fails as its metadata asks."""

    def __init__(self, ip):
        self.server = grpc.server(futures.ThreadPoolExecutor(32))
        self.calls, self.cancelled, self.seen = 0, 0, {}
        plan = grpc.unary_unary_rpc_method_handler(self.plan)  # bytes in, bytes out
        health = grpc.unary_unary_rpc_method_handler(
            lambda _request, _context: pb.health.HealthCheckResponse(status=pb.health.HealthCheckResponse.SERVING),
            request_deserializer=pb.health.HealthCheckRequest.FromString,
            response_serializer=pb.health.HealthCheckResponse.SerializeToString)
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("agi.plan.v1.PlanService", {"Plan": plan}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": health})))
        self.addr = f"{ip}:{self.server.add_insecure_port(ip + ':0')}"
        self.server.start()

    def plan(self, request, context):
        self.calls += 1
        self.seen = dict(context.invocation_metadata())
        self.seen["left"] = context.time_remaining()
        self.seen["request"] = request
        context.send_initial_metadata((("x-planner", "python"),))
        context.set_trailing_metadata((("x-cost-bin", b"\x00\xff"),))
        if "x-wait" in self.seen:
            deadline = time.monotonic() + 20
            while context.is_active() and time.monotonic() < deadline:
                time.sleep(0.01)
            self.cancelled += not context.is_active()
        if "x-fail" in self.seen:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "Plan rejected by safety subsystem: 50% ü")
        return pb.plan.PlanResponse(plan_id="from-python").SerializeToString()

    def stop(self):
        self.server.stop(0)


def plan_stub(node):
    return node.channel().unary_unary(PLAN)


def error_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e
    raise AssertionError("the call should have failed")


def call_method(node, path, request=b"", timeout=10):
    return node.channel().unary_unary(path)(request, timeout=timeout * o.SLOWNESS)


def test_planner(tap, net):
    asker = net.nodes[2]
    request = pb.plan.PlanRequest().SerializeToString() + b"\x98\x06\x05"  # and a field of a later version
    with tap.case("nobody plans: UNAVAILABLE says which role and that nobody is known"):
        e = error_of(lambda: plan_stub(asker)(b"", timeout=10))
        assert e.code() == grpc.StatusCode.UNAVAILABLE, e
        assert e.details() == ("role lh-planner does not run on this node; "
                               "no instance of role lh-planner is known"), e.details()
    planner = Planner(net.nodes[1].ip)
    try:
        with tap.case("a planner registered on one node is called through every node"):
            net.nodes[1].ctl("register", "lh-planner", planner.addr, "--check", "grpc",
                             "--interval", "1s").expect(0)
            for node in net.nodes:
                wait_until(f"node {node.number} knows it", lambda node=node:
                           pb.plan.PlanResponse.FromString(plan_stub(node)(request, timeout=10)).plan_id
                           == "from-python")
        with tap.case("bytes, metadata and deadline arrive as they were sent"):
            answer, call = plan_stub(asker).with_call(
                request, timeout=7, metadata=(("x-task", "t-1"), ("x-ctx-bin", b"\x00\x01\xfe")))
            assert planner.seen["request"] == request, planner.seen
            assert planner.seen["x-task"] == "t-1" and planner.seen["x-ctx-bin"] == b"\x00\x01\xfe"
            assert planner.seen["agihpc-forwarded"] == "1"
            assert 0 < planner.seen["left"] < 7.5, planner.seen["left"]
            assert ("x-planner", "python") in call.initial_metadata()
            assert ("x-cost-bin", b"\x00\xff") in call.trailing_metadata()
        with tap.case("an error comes back with status, text and trailers"):
            e = error_of(lambda: plan_stub(asker)(request, timeout=7, metadata=(("x-fail", "1"),)))
            assert e.code() == grpc.StatusCode.FAILED_PRECONDITION, e
            assert e.details() == "Plan rejected by safety subsystem: 50% ü", e.details()
            assert ("x-cost-bin", b"\x00\xff") in e.trailing_metadata()
        with tap.case("a cancelled call is cancelled in the planner"):
            before = planner.cancelled
            call = plan_stub(asker).future(request, metadata=(("x-wait", "1"),))
            wait_until("it runs", lambda: "x-wait" in planner.seen)
            call.cancel()
            wait_until("the planner was told", lambda: planner.cancelled > before)
        with tap.case("400 calls at once are all answered"):
            calls = [plan_stub(asker).future(request, timeout=60) for _ in range(400)]
            assert all(pb.plan.PlanResponse.FromString(c.result()).plan_id == "from-python" for c in calls)
        with tap.case("a call that was forwarded is not forwarded again"):
            e = error_of(lambda: plan_stub(asker)(request, timeout=7, metadata=(("agihpc-forwarded", "1"),)))
            assert e.code() == grpc.StatusCode.UNAVAILABLE and "goes no further" in e.details(), e
    finally:
        planner.stop()
    with tap.case("a planner that has gone is UNAVAILABLE, at once"):
        e = error_of(lambda: plan_stub(asker)(request, timeout=10))
        assert e.code() == grpc.StatusCode.UNAVAILABLE, e
        assert e.details().startswith("role lh-planner does not run on this node; "), e.details()
        net.nodes[1].ctl("deregister", "lh-planner", planner.addr).expect(0)


def test_erisml(tap, net):
    plan = pb.erisml.EvaluatePlanRequest(step_facts=[pb.erisml.EthicalFactsProto(option_id="a")])
    get = "/agi.erisml.v1.ErisMLService/GetBondIndex"
    with tap.case("ErisML answers through every node, also one that does not run it"):
        for node in net.nodes:
            wait_until(f"node {node.number} finds an ErisML", lambda node=node: node.rpc("erisml").EvaluatePlan(
                plan, timeout=5).plan_approved)
    with tap.case("GetBondIndex tells the last plan's Bond Index"):
        answer = pb.erisml.BondIndexResultProto.FromString(call_method(net.nodes[2], get))
        assert answer.within_threshold and answer.bond_index < 0.3, answer


def test_not_there(tap, net):
    node = net.nodes[2]
    with tap.case("a safety call that nobody serves is an error, never an answer"):
        for path, role in (("/agi.safety.v1.InActionSafetyService/CheckAction", "in-action"),
                           ("/agi.safety.v1.InActionSafetyService/ReflexCheck", "in-action"),
                           ("/agi.safety.v1.PostActionSafetyService/ReportOutcome", "post-action")):
            e = error_of(lambda path=path: call_method(node, path))
            assert e.code() == grpc.StatusCode.UNAVAILABLE and f"role {role} " in e.details(), (path, e)
    with tap.case("memory and world model name their roles"):
        for path, role in (("/agi.memory.v1.UnifiedMemoryService/EnrichPlanningContext", "semantic-memory"),
                           ("/agi.memory.v1.EpisodicMemoryService/StoreEpisode", "episodic-memory"),
                           ("/agi.rh.v1.RHHealthService/GetStatus", "rh-world-model")):
            e = error_of(lambda path=path: call_method(node, path))
            assert e.code() == grpc.StatusCode.UNAVAILABLE and f"role {role} " in e.details(), (path, e)
    with tap.case("so does the event service, also to a subscriber"):
        stream = node.channel().unary_stream(SUBSCRIBE)(b"", timeout=5)
        for call in (lambda: call_method(node, PUBLISH), lambda: next(stream)):
            e = error_of(call)
            assert e.code() == grpc.StatusCode.UNAVAILABLE and e.details() == (
                "role event-fabric does not run on this node; no instance of role event-fabric is known"), e


class EventFabric:
    """An event fabric in Python: what is published goes to who has subscribed."""

    def __init__(self, ip):
        self.server = grpc.server(futures.ThreadPoolExecutor(16))
        self.queues, self.left = [], threading.Event()
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("agihpc.v1.EventService", {
                "Publish": grpc.unary_unary_rpc_method_handler(
                    self.publish, pb.agihpc.PublishRequest.FromString, pb.agihpc.PublishResponse.SerializeToString),
                "Subscribe": grpc.unary_stream_rpc_method_handler(
                    self.subscribe, pb.agihpc.SubscribeRequest.FromString, pb.agihpc.Event.SerializeToString)}),))
        self.addr = f"{ip}:{self.server.add_insecure_port(ip + ':0')}"
        self.server.start()

    def publish(self, request, _context):
        for topics, q in self.queues:
            if request.event.topic in topics:
                q.put(request.event)
        return pb.agihpc.PublishResponse(sequence=1, acks=len(self.queues))

    def subscribe(self, request, context):
        q = queue.Queue()
        self.queues.append((set(request.topics), q))
        context.add_callback(lambda: q.put(None))
        context.send_initial_metadata((("x-subscribed", "yes"),))
        for event in iter(q.get, None):
            if event.topic == "the.end":
                context.set_trailing_metadata((("x-last", "7"),))
                return
            yield event
        self.left.set()


def health(node, service):
    answer = node.rpc("health").Check(pb.health.HealthCheckRequest(service=service), timeout=10 * o.SLOWNESS)
    return pb.health.HealthCheckResponse.ServingStatus.Name(answer.status)


def watch(node, service):
    stream = node.channel().unary_stream(
        "/grpc.health.v1.Health/Watch", pb.health.HealthCheckRequest.SerializeToString,
        pb.health.HealthCheckResponse.FromString)(pb.health.HealthCheckRequest(service=service),
                                                  timeout=60 * o.SLOWNESS)
    return (pb.health.HealthCheckResponse.ServingStatus.Name(r.status) for r in stream)


def test_health(tap, net):
    first, _, asker = net.nodes
    plan, erisml = "agi.plan.v1.PlanService", "agi.erisml.v1.ErisMLService"
    for node in net.nodes:
        wait_until("the planner of before is forgotten", lambda node=node: health(node, plan) == "NOT_SERVING")
    with tap.case("health knows the services of roles: SERVING here, SERVING elsewhere, nowhere"):
        assert [health(node, erisml) for node in net.nodes] == ["SERVING"] * 3
        for service in (plan, "agi.memory.v1.UnifiedMemoryService", "agihpc.v1.EventService"):
            assert health(asker, service) == "NOT_SERVING", service
        for service in ("agi.plan.v1.Unheard", "x" * 1000, "agi.plan.v1.PlanService\0"):
            assert error_of(lambda service=service: health(asker, service)).code() == grpc.StatusCode.NOT_FOUND
        assert health(asker, "") == "SERVING"
    with tap.case("a watcher sees an instance come and go"):
        statuses = watch(asker, plan)
        assert next(statuses) == "NOT_SERVING"
        planner = Planner(first.ip)
        first.ctl("register", "lh-planner", planner.addr, "--check", "grpc", "--interval", "500ms").expect(0)
        assert next(statuses) == "SERVING" and health(asker, plan) == "SERVING"
        assert next(watch(net.nodes[1], plan)) == "SERVING"  # asked for the first time there
        planner.stop()
        assert next(statuses) == "NOT_SERVING" and health(asker, plan) == "NOT_SERVING"
        first.ctl("deregister", "lh-planner", planner.addr).expect(0)


def get_json(node, path, port=o.OVERLAY_PORT):
    connection = http.client.HTTPConnection(node.ip, port, timeout=10 * o.SLOWNESS)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.getheader("content-type") == "application/json", response.getheaders()
    return response.status, json.load(response)


def test_http(tap, net):
    first, second, asker = net.nodes
    with tap.case("GET /v1/services/NAME lists the healthy instances, nearest first, from every port"):
        for node, port in ((asker, o.OVERLAY_PORT), (first, o.OVERLAY_PORT), (second, o.ERISML_PORT)):
            status, answer = get_json(node, "/v1/services/erisml", port)
            found = [i["address"] for i in answer["instances"]]
            assert status == 200 and found == node.discover("erisml") and len(found) == 2, answer
            assert set(answer["instances"][0]) == {"address", "node_id", "zone", "rtt_ms", "load", "stale", "tls"}
    with tap.case("a service that nobody serves is 404 with a JSON error, an impossible name 400"):
        assert get_json(asker, "/v1/services/nobody-serves-this") == (404, {
            "error": "NOT_FOUND", "message": "no healthy instance of nobody-serves-this is known"})
        for path in ("/v1/services/", "/v1/services/UPPER", "/v1/services/a/b", "/v1/services/%22", "/v1/services/" + "a" * 64):
            status, answer = get_json(asker, path)
            assert status == 400 and answer["error"] == "INVALID", answer
    with tap.case("GET /v1/sd/prometheus lists all hosts, with a name the instances of that service, as http_sd has them"):
        status, targets = get_json(asker, "/v1/sd/prometheus")
        assert status == 200 and {t["targets"][0] for t in targets} == {n.addr for n in net.nodes}, targets
        assert all(set(t["labels"]) == {"__meta_agihpc_node_id", "__meta_agihpc_zone", "__meta_agihpc_state",
                                        "__scheme__"} and len(t["targets"]) == 1 for t in targets), targets
        status, targets = get_json(asker, "/v1/sd/prometheus/erisml")
        assert status == 200 and [t["targets"][0] for t in targets] == asker.discover("erisml"), targets
        labels = targets[0]["labels"]
        assert labels["__meta_agihpc_service"] == "erisml" and labels["__scheme__"] == "http", labels
        assert get_json(asker, "/v1/sd/prometheus/nobody-serves-this") == (200, [])
        assert get_json(asker, "/v1/sd/prometheus/")[0] == 400
    with tap.case("many ask at once, some leave before the answer"):
        for i in range(50):
            with socket.create_connection((asker.ip, o.OVERLAY_PORT), 10) as s:
                s.sendall(b"GET /v1/services/not-asked-before-%d HTTP/1.1\r\nHost: x\r\n\r\n" % i)
        with futures.ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda i: get_json(asker, f"/v1/services/other-{i % 30}"), range(100)))
        assert all(status == 404 for status, _ in answers)


def test_events(tap, net):
    asker, other = net.nodes[2], net.nodes[1]
    fabric = EventFabric(net.nodes[0].ip)

    def subscribe(node, *topics):
        return node.channel().unary_stream(SUBSCRIBE, pb.agihpc.SubscribeRequest.SerializeToString,
                                           pb.agihpc.Event.FromString)(pb.agihpc.SubscribeRequest(topics=topics))

    def publish(node, topic, payload=b""):
        return pb.agihpc.PublishResponse.FromString(call_method(node, PUBLISH, pb.agihpc.PublishRequest(
            event=pb.agihpc.Event(topic=topic, payload=payload)).SerializeToString()))
    try:
        with tap.case("a registered event fabric is subscribed to and published to through every node"):
            net.nodes[1].ctl("register", "event-fabric", fabric.addr, "--interval", "1s").expect(0)
            for node in net.nodes:
                wait_until(f"node {node.number} knows it", lambda node=node: publish(node, "nobody.listens"))
            stream = subscribe(asker, "plan.step", "the.end")
            assert ("x-subscribed", "yes") in stream.initial_metadata()  # before there is any event
            for i in range(50):
                publish(other, "plan.step", bytes([i]) * 1000)
            assert [next(stream).payload for _ in range(50)] == [bytes([i]) * 1000 for i in range(50)]
        with tap.case("the stream ends as the fabric ends it"):
            publish(other, "the.end")
            assert list(stream) == [] and stream.code() == grpc.StatusCode.OK
            assert ("x-last", "7") in stream.trailing_metadata()
        with tap.case("a subscriber that leaves is gone at the fabric too"):
            stream = subscribe(asker, "plan.step")
            assert stream.initial_metadata()
            stream.cancel()
            assert fabric.left.wait(20 * o.SLOWNESS)
        with tap.case("a fabric that goes ends its subscriptions with UNAVAILABLE"):
            stream = subscribe(asker, "plan.step")
            assert stream.initial_metadata()
            fabric.server.stop(0)
            assert error_of(lambda: next(stream)).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    finally:
        fabric.server.stop(0)
        net.nodes[1].ctl("deregister", "event-fabric", fabric.addr).expect(0)


def test_off(tap, net):
    node = net.nodes[2]
    config = os.path.join(net.dir, "no-forward.yaml")
    with open(config, "w") as f:
        f.write("node:\n  forward: false\n")
    with tap.case("node.forward: false names the nearest instance instead"):
        node.stop()
        node.extra = ["--config", config]
        net.start([node])
        path = "/agi.erisml.v1.ErisMLService/EvaluatePlan"
        known = {f"{n.ip}:{o.ERISML_PORT}" for n in net.nodes[:2]}

        def is_told():
            e = error_of(lambda: call_method(node, path))
            assert e.code() == grpc.StatusCode.UNAVAILABLE, e
            return e.details() in {f"role erisml does not run on this node; nearest: {a}" for a in known}
        wait_until("it names one", is_told)
        assert health(node, "agi.erisml.v1.ErisMLService") == "NOT_SERVING"  # it answers no such call
    with tap.case("safety checks are decided by quorum there all the same"):
        plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
        wait_until("ALLOW", lambda: node.check_plan(plan)[0] == "ALLOW")


def test_end(tap, net):
    with tap.case("every node ends in order, and no sanitizer complained"):
        assert [node.stop() for node in net.nodes] == [0, 0, 0]
        for node in net.nodes:
            with open(node.log, "rb") as f:
                text = f.read()
            assert b"Sanitizer" not in text and b"runtime error" not in text, text[-2000:]


def main():
    tap = Tap()
    with o.Overlay(3, roles={1: SAFETY_ROLES, 2: SAFETY_ROLES, 3: ["safety-gateway"]}) as net:
        tap.on_failure = net.logs
        net.start()
        for part in (test_planner, test_erisml, test_not_there, test_health, test_http, test_events, test_off, test_end):
            part(tap, net)
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
