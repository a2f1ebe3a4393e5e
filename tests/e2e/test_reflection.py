# SPDX-License-Identifier: Apache-2.0
"""What standard tools ask a node before they know anything about it: reflection, and health that is watched."""

import signal
import sys
import threading

import overlay as o
from google.protobuf import descriptor_pb2, descriptor_pool
from overlay import grpc
from tap import Tap

ref, health = o.pb.reflection, o.pb.health
NOT_FOUND, INVALID_ARGUMENT = 5, 3
OVERLAY = {"agihpc.v1.KvService", "agihpc.v1.RegistryService", "agihpc.v1.NodeService",
           "agi.safety.v1.PreActionSafetyService", "grpc.health.v1.Health",
           "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
SYMBOLS = {  # a full name, and the file that declares it
    "agihpc.v1.KvService": "agihpc.proto", "agihpc.v1.KvService.Put": "agihpc.proto",
    "agihpc.v1.PutRequest": "agihpc.proto", "agihpc.v1.PutRequest.key": "agihpc.proto",
    "agi.safety.v1.PreActionSafetyService": "safety.proto",
    "agi.safety.v1.SafetyDecision": "safety.proto", "agi.safety.v1.SAFETY_DECISION_BLOCK": "safety.proto",
    "grpc.health.v1.HealthCheckResponse.ServingStatus": "health.proto",
    "grpc.health.v1.HealthCheckResponse.SERVING": "health.proto",
    "grpc.reflection.v1.ServerReflectionRequest.message_request": "reflection.proto",
    "grpc.reflection.v1alpha.ServerReflection": "reflection_v1alpha.proto"}


def ask(channel, *questions, version="v1"):
    call = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                 request_serializer=ref.ServerReflectionRequest.SerializeToString,
                                 response_deserializer=ref.ServerReflectionResponse.FromString)
    answers = list(call(iter(questions), timeout=10 * o.SLOWNESS))
    assert [a.original_request for a in answers] == list(questions)
    return answers


def question(**what):
    return ref.ServerReflectionRequest(host="here", **what)


def files_of(answer):
    return [descriptor_pb2.FileDescriptorProto.FromString(f)
            for f in answer.file_descriptor_response.file_descriptor_proto]


def services(channel, version="v1"):
    answer, = ask(channel, question(list_services="*"), version=version)
    return {s.name for s in answer.list_services_response.service}


def test_reflection(tap, node):
    channel = node.channel()
    for version in ("v1", "v1alpha"):
        with tap.case(f"{version} lists the services that are served"):
            found = services(channel, version)
            assert OVERLAY <= found, OVERLAY - found
    with tap.case("a role's port lists what the role serves"):
        found = services(node.channel(o.ERISML_PORT))
        assert "agi.erisml.v1.ErisMLService" in found and "agihpc.v1.KvService" not in found, found
    with tap.case("every kind of symbol is found in its file"):
        answers = ask(channel, *(question(file_containing_symbol=s) for s in SYMBOLS))
        assert [files_of(a)[0].name for a in answers] == list(SYMBOLS.values())
    with tap.case("files come with what they import, and a client can build them"):
        answer, = ask(channel, question(file_by_filename="safety.proto"))
        files, pool = files_of(answer), descriptor_pool.DescriptorPool()
        assert [f.name for f in files] == ["safety.proto", "plan.proto", "erisml.proto"]
        for f in reversed(files):
            pool.Add(f)
        assert pool.FindServiceByName("agi.safety.v1.PreActionSafetyService").methods_by_name["CheckPlan"]
    with tap.case("everything that is listed can be described"):
        for name in services(channel) | services(node.channel(o.GATEWAY_PORT)):
            answer, = ask(channel, question(file_containing_symbol=name))
            assert any(name.endswith("." + s.name) for s in files_of(answer)[0].service), name
    with tap.case("messages have no extensions, and what does not exist is told apart"):
        some, none, ext = ask(
            channel, question(all_extension_numbers_of_type="agi.plan.v1.PlanGraphProto"),
            question(all_extension_numbers_of_type="agi.plan.v1.Nope"),
            question(file_containing_extension=ref.ExtensionRequest(containing_type="a.B", extension_number=7)))
        assert some.all_extension_numbers_response.base_type_name == "agi.plan.v1.PlanGraphProto"
        assert list(some.all_extension_numbers_response.extension_number) == []
        assert none.error_response.error_code == ext.error_response.error_code == NOT_FOUND
    with tap.case("errors answer a question and do not end the stream"):
        bad = ["agihpc.v1", "agihpc.v1.KvService.", "KvService", "", "agihpc.v1.KvService.Put.x", "x" * 5000]
        answers = ask(channel, *(question(file_containing_symbol=s) for s in bad), question(file_by_filename="x"),
                      question())
        assert [a.error_response.error_code for a in answers] == [NOT_FOUND] * 7 + [INVALID_ARGUMENT]
        assert answers[2].error_response.error_message == "Symbol not found: KvService"


class Watch(threading.Thread):
    """Keeps the states that a watcher hears, and how the stream ended."""

    def __init__(self, channel, service):
        super().__init__(daemon=True)
        self.states, self.code = [], None
        self.call = channel.unary_stream("/grpc.health.v1.Health/Watch",
                                         request_serializer=health.HealthCheckRequest.SerializeToString,
                                         response_deserializer=health.HealthCheckResponse.FromString)(
            health.HealthCheckRequest(service=service))
        self.start()

    def run(self):
        try:
            for answer in self.call:
                self.states.append(health.HealthCheckResponse.ServingStatus.Name(answer.status))
        except grpc.RpcError as e:
            self.code = e.code()


def test_watch(tap, node):
    watches = {s: Watch(node.channel(p), s) for s, p in (
        ("", o.OVERLAY_PORT), ("agihpc.v1.KvService", o.OVERLAY_PORT), ("nobody.Knows", o.OVERLAY_PORT),
        ("agi.erisml.v1.ErisMLService", o.ERISML_PORT))}
    first = ["SERVING", "SERVING", "SERVICE_UNKNOWN", "SERVING"]
    with tap.case("a watcher hears the state at once"):
        o.wait_until("all have heard", lambda: [w.states[:1] for w in watches.values()] == [[s] for s in first])
    with tap.case("a watcher may go"):
        other = Watch(node.channel(), "")
        o.wait_until("it has heard", lambda: other.states == ["SERVING"])
        other.call.cancel()
        o.wait_until("it has ended", lambda: other.code == grpc.StatusCode.CANCELLED)
    with tap.case("a watcher hears that the node stops, and its stream ends with it"):
        node.signal(signal.SIGTERM)
        assert node.proc.wait(15 * o.SLOWNESS) == 0
        o.wait_until("all have ended", lambda: all(w.code for w in watches.values()))
        heard = [watches[s].states for s in ("", "agihpc.v1.KvService")]
        assert heard == [["SERVING", "NOT_SERVING"]] * 2, heard
        assert watches["nobody.Knows"].states == ["SERVICE_UNKNOWN"]


def main():
    tap = Tap()
    with o.Overlay(1, roles={1: ["erisml", "safety-gateway"]}) as net:
        tap.on_failure = net.logs
        net.start()
        test_reflection(tap, net.nodes[0])
        test_watch(tap, net.nodes[0])
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
