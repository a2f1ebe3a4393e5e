# SPDX-License-Identifier: Apache-2.0
"""agihpc-health in the place of grpcurl and grpc_health_probe, the guide's health-check script included."""

import json
import os
import shutil
import socket
import stat
import sys
from concurrent import futures

import overlay as o
from overlay import grpc, pb
from tap import Skip, Tap

HEALTH = o.find_program("agihpc-health")
SCRIPT = os.path.join(o.SRCDIR, "tests", "data", "guide", "health_check.sh")
CHECK = "grpc.health.v1.Health/Check"
ROLES = ["erisml", "safety-gateway"]


class Service:
    """A service that is not ours, on a port of the guide."""

    def __init__(self, address):
        self.status = pb.health.HealthCheckResponse.SERVING
        handler = grpc.unary_unary_rpc_method_handler(
            lambda _request, _context: pb.health.HealthCheckResponse(status=self.status),
            request_deserializer=pb.health.HealthCheckRequest.FromString,
            response_serializer=pb.health.HealthCheckResponse.SerializeToString)
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),))
        self.server.add_insecure_port(address)
        self.server.start()

    def stop(self):
        self.server.stop(0).wait()


def shim(net):
    """A folder with "grpcurl" in it: agihpc-health, which finds the guide's host names on this overlay's addresses (a
    cluster has them in its name service)."""
    folder = os.path.join(net.dir, "bin")
    os.makedirs(folder)
    names = {"safety-gateway": net.nodes[0].ip, "erisml-service": net.nodes[1].ip, "lh-planner": net.nodes[2].ip,
             "episodic-memory": net.nodes[2].ip, "semantic-memory": net.nodes[2].ip,
             "procedural-memory": net.nodes[2].ip}
    path = os.path.join(folder, "grpcurl")
    with open(path, "w") as f:
        f.write("#!/bin/sh\ncase $2 in\n")
        for name, ip in names.items():
            f.write(f"{name}:*) set -- \"$1\" \"{ip}:${{2##*:}}\" \"$3\" ;;\n")
        f.write(f"esac\nexec {HEALTH} \"$@\"\n")
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return folder


def test_script(tap, net):
    folder = shim(net)
    planner = Service(f"{net.nodes[2].ip}:50051")
    memory = Service(f"{net.nodes[2].ip}:50052")

    def healthy():
        result = o.run("env", f"PATH={folder}:{os.environ['PATH']}", "bash", SCRIPT, timeout=90).expect(0)
        lines = result.out.splitlines()
        assert len(lines) == 6, result
        for line in lines:
            assert line.endswith(" is healthy") == line.startswith("✓"), result
        return {line.split()[1].split(":")[0] for line in lines if line.startswith("✓")}
    try:
        with tap.case("the guide's script tells who is healthy"):
            assert healthy() == {"lh-planner", "safety-gateway", "erisml-service", "episodic-memory"}, healthy()
        with tap.case("and sees one that says NOT_SERVING, and one that died"):
            memory.status = pb.health.HealthCheckResponse.NOT_SERVING
            net.nodes[1].kill()
            assert healthy() == {"lh-planner", "safety-gateway"}, healthy()
            memory.status = pb.health.HealthCheckResponse.SERVING
            net.start([net.nodes[1]])
            o.wait_until("the restarted node's ErisML serves", lambda: o.run(
                HEALTH, "-plaintext", f"{net.nodes[1].ip}:{o.ERISML_PORT}", CHECK).status == 0)
    finally:
        planner.stop()
        memory.stop()


def test_as_grpcurl(tap, net):
    node = net.nodes[0]
    gateway, erisml = (f"{node.ip}:{port}" for port in (o.GATEWAY_PORT, o.ERISML_PORT))

    def curl(*arguments):
        return o.run(HEALTH, "-plaintext", *arguments)
    # a gateway serves once it knows an ErisML, a moment after its node is ready
    o.wait_until("both roles serve", lambda: all(curl(a, CHECK).status == 0 for a in (gateway, erisml)))
    with tap.case("the answer is JSON as grpcurl prints it"):
        for address in (node.addr, gateway, erisml):
            assert curl(address, CHECK).expect(0).out == '{\n  "status": "SERVING"\n}\n'
    with tap.case("-d, methods with a dot, options with two dashes"):
        result = o.run(HEALTH, "--plaintext", "--d", '{"service": "agihpc.v1.KvService"}', "--max-time=5", node.addr,
                       "grpc.health.v1.Health.Check").expect(0)
        assert result.json() == {"status": "SERVING"}, result
    with tap.case("a call that fails: 64 and the status"):
        result = curl("-d", '{"service": "nobody"}', node.addr, CHECK).expect(64 + 5)
        assert "Code: NotFound" in result.err and not result.out, result
    with tap.case("nobody there: 1; no such method: 1; wrong usage: 2"):
        with socket.socket() as s:
            s.bind((node.ip, 0))
            nobody = f"{node.ip}:{s.getsockname()[1]}"
        curl(nobody, CHECK).expect(1)
        curl(node.addr, "a.b/C").expect(1)
        curl(node.addr).expect(2)
        curl("-nonsense", node.addr, CHECK).expect(2)
        curl("-d", "{", node.addr, CHECK).expect(2)
        curl("-d", '{"servic": "x"}', node.addr, CHECK).expect(2)
        curl("host", CHECK).expect(2)
    with tap.case("a server that takes the connection and says nothing: an end in time"):
        with socket.socket() as s:
            s.bind((node.ip, 0))
            s.listen()
            result = curl("-max-time", "1", f"{node.ip}:{s.getsockname()[1]}", CHECK)
            assert result.status == 64 + 4 and result.seconds < 5 * o.SLOWNESS, result
    with tap.case("the guide's line for the Bond Index"):
        answer = curl("-emit-defaults", erisml, "agi.erisml.v1.ErisMLService/GetBondIndex").expect(0).json()
        assert answer["bondIndex"] == 0 and not answer["withinThreshold"], answer
        assert answer["violations"] == ["no plan was evaluated here since the start"], answer
    with tap.case("list: services by reflection, and the methods of one"):
        found = curl(node.addr, "list").expect(0).out.split()
        assert found == sorted(found) and {"agi.plan.v1.PlanService", "agi.rh.v1.WorldModelService",
                                           "agihpc.v1.EventService", "agihpc.v1.KvService"} <= set(found), found
        found = curl(node.addr, "list", "agihpc.v1.KvService").expect(0).out.split()
        assert "agihpc.v1.KvService.Put" in found, found
    with tap.case("any method of ours, with JSON"):
        key, value = "aGVhbHRo", "dG9vbA=="
        curl("-d", json.dumps({"key": key, "value": value}), node.addr, "agihpc.v1.KvService/Put").expect(0)
        assert curl("-d", json.dumps({"key": key}), node.addr,
                    "agihpc.v1.KvService/Get").expect(0).json()["value"] == value


def test_as_probe(tap, net):
    node = net.nodes[0]
    service = Service(f"{node.ip}:50051")
    link = os.path.join(net.dir, "grpc_health_probe")
    os.symlink(HEALTH, link)
    try:
        with tap.case("grpc_health_probe's command line and exit statuses"):
            result = o.run(HEALTH, f"-addr={node.addr}").expect(0)
            assert result.out == "status: SERVING\n", result
            o.run(link, f"-addr={node.ip}:50051", "-connect-timeout=500ms", "-rpc-timeout", "2s").expect(0)
            o.run(link, "-addr", node.addr, "-service=agihpc.v1.KvService").expect(0)
            o.run(HEALTH, "-addr", node.addr, "-service=nobody").expect(3)
            service.status = pb.health.HealthCheckResponse.NOT_SERVING
            result = o.run(HEALTH, f"-addr={node.ip}:50051").expect(4)
            assert "NOT_SERVING" in result.err, result
            service.stop()
            o.run(HEALTH, f"-addr={node.ip}:50051").expect(2)
            o.run(link).expect(1)
            o.run(HEALTH, f"-addr={node.addr}", "-plaintext").expect(1)
    finally:
        service.stop()


def test_tls(tap, net):
    node = net.nodes[2]
    openssl = shutil.which("openssl")
    with tap.case("with TLS: the authority that was given is trusted, no other"):
        if not openssl:
            raise Skip("openssl is missing")
        key, cert, config = (os.path.join(net.dir, name) for name in ("t.key", "t.crt", "tls.yaml"))
        o.run(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
              key, "-out", cert, "-days", "2", "-subj", "/CN=t", "-addext", f"subjectAltName=IP:{node.ip}").expect(0)
        os.chmod(key, 0o600)
        with open(config, "w") as f:
            f.write(f"tls:\n  cert_file: {cert}\n  key_file: {key}\n")
        node.stop()
        node.extra = ["--config", config]
        net.start([node])
        assert o.run(HEALTH, "-cacert", cert, node.addr, CHECK).expect(0).json() == {"status": "SERVING"}
        o.run(HEALTH, f"-addr={node.addr}", "-tls", f"-tls-ca-cert={cert}").expect(0)
        o.run(HEALTH, node.addr, CHECK).expect(1)
        o.run(HEALTH, "-cacert", config, node.addr, CHECK).expect(1)
        o.run(HEALTH, f"-addr={node.addr}", "-tls").expect(2)


def test_end(tap, net):
    with tap.case("every node ends in order, and no sanitizer complained"):
        assert [node.stop() for node in net.nodes] == [0, 0, 0]
        for node in net.nodes:
            with open(node.log, "rb") as f:
                text = f.read()
            assert b"Sanitizer" not in text and b"runtime error" not in text, text[-2000:]


def main():
    tap = Tap()
    with o.Overlay(3, roles={1: ROLES, 2: ROLES}) as net:
        tap.on_failure = net.logs
        net.start()
        test_as_grpcurl(tap, net)
        test_script(tap, net)
        test_as_probe(tap, net)
        test_tls(tap, net)
        test_end(tap, net)
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
