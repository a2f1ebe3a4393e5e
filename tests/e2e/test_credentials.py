# SPDX-License-Identifier: Apache-2.0
"""Calls that nodes make themselves, where everything speaks TLS, asks for certificates and checks tokens: handed on
to a role of another host, refused there, not made at all when the other side is not who it should be."""

import os
import signal
import sys
from concurrent import futures

import overlay as o
from certs import Certs
from overlay import grpc, pb, run, wait_until
from tap import Tap

EVALUATE = "/agi.erisml.v1.ErisMLService/EvaluatePlan"
PLAN = "/agi.plan.v1.PlanService/Plan"
UNAVAILABLE, DENIED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
REQUEST = pb.erisml.EvaluatePlanRequest(step_facts=[pb.erisml.EthicalFactsProto(option_id="a")])


class World:
    """node 1 has the ErisML; node 2 hands calls on to it; node 3 trusts another authority."""

    def __init__(self, net):
        self.net = net
        self.certs = Certs(os.path.join(net.dir, "tls"))
        self.sock = os.path.join(net.dir, "node2.sock")
        for node in net.nodes:
            self.certs.sign(f"node{node.number}", f"node{node.number}", f"IP:{node.ip},DNS:node{node.number}.test")
        self.certs.sign("operator", "operator", "DNS:operator.test")
        self.certs.replace("trusted-by-3", "other-ca.crt")
        self.tokens, lines = {}, {}
        for name, scopes in (("checker", "safety"), ("boss", "admin"), ("stranger", "safety"),
                             ("promoted", "read"), ("promoted", "safety")):
            made = run(o.CTL, "-o", "json", "token", "new", name, "--scope", scopes).expect(0).json()
            self.tokens[name], lines[name, scopes] = made["token"], made["line"]
        # one token with other scopes on node 1: the line's hash under the scopes of another line
        hash_of = lines["promoted", "safety"].split()[2]
        common = [lines["checker", "safety"], lines["boss", "admin"]]
        self.write("tokens1", common + [f"promoted read {hash_of}"])
        self.write("tokens2", common + [lines["stranger", "safety"], lines["promoted", "safety"]])
        for node, more in zip(net.nodes, ("  admin_names: [operator.test, node2.test]\n",
                                          "  admin_names: [operator.test]\n", "")):
            ca = "trusted-by-3" if node.number == 3 else "ca.crt"
            node.extra = ["--config", self.write(f"node{node.number}.yaml", [
                f"node:\n  unix_socket: {self.sock if node.number == 2 else chr(34) * 2}",
                f"tls:\n  cert_file: {self.certs.path(f'node{node.number}.crt')}",
                f"  key_file: {self.certs.path(f'node{node.number}.key')}",
                f"  client_ca_file: {self.certs.path('ca.crt')}\n  require_client_cert: true",
                f"  ca_file: {self.certs.path(ca)}\n  plaintext: refuse\n{more}"
                f"auth:\n  tokens_file: {os.path.join(net.dir, 'tokens1' if node.number == 1 else 'tokens2')}"])]
            node.credentials = self.credentials("boss")

    def write(self, name, lines):
        path = os.path.join(self.net.dir, name)
        with open(path, "w") as f:
            f.write("".join(line + "\n" for line in lines))
        return path

    def credentials(self, token=None, cert="operator"):
        read = self.certs.read
        tls = grpc.ssl_channel_credentials(read("ca.crt"), read(cert + ".key"), read(cert + ".crt"))
        if not token:
            return tls
        return grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(self.tokens[token]))

    def evaluate(self, node, token, cert="node3"):
        with o.open_channel(node.addr, self.credentials(token, cert)) as channel:
            return channel.unary_unary(EVALUATE, REQUEST.SerializeToString, pb.erisml.EvaluatePlanResponse.FromString)(
                REQUEST, timeout=10 * o.SLOWNESS)


def refused(call, status, *texts):
    try:
        call()
    except grpc.RpcError as e:
        assert e.code() == status and all(t in e.details() for t in texts), e
        return e.details()
    raise AssertionError("the call should have been refused")


def test_known(tap, w):
    asker = w.net.nodes[1]
    with tap.case("an instance's record says that TLS is spoken there"):
        def found():
            return asker.rpc("registry").Discover(pb.agihpc.DiscoverRequest(service="erisml"), timeout=10).instances
        one, = wait_until("erisml is known", found)
        assert one.tls and one.address == f"{w.net.nodes[0].ip}:{o.ERISML_PORT}", one
        roles = wait_until("the roles are known", lambda: asker.rpc("node_service").Roles(
            pb.agihpc.RolesRequest(), timeout=10).roles)
        assert all(r.tls for r in roles), roles


def test_forwarded(tap, w):
    first, asker, third = w.net.nodes
    with tap.case("a call with a token is handed on over TLS, with the node's own certificate"):
        wait_until("it is answered", lambda: w.evaluate(asker, "checker").plan_approved)
    with tap.case("the role's node judges the token itself: unknown there, or of other scopes"):
        refused(lambda: w.evaluate(asker, "stranger"), UNAUTHENTICATED, "the token is not known to this node")
        refused(lambda: w.evaluate(asker, "promoted"), DENIED, "the token of promoted has read")
        assert w.evaluate(asker, "boss").plan_approved
    with tap.case("neither the client's certificate nor the forwarding node's stands for a token"):
        refused(lambda: w.evaluate(asker, None, "operator"), UNAUTHENTICATED, "a node handed the call on")
        assert w.evaluate(first, None, "operator").plan_approved  # where it is shown, it does
    with tap.case("the Unix socket counts on its own node, for other nodes it takes a token"):
        with grpc.insecure_channel("unix:" + w.sock) as channel:
            call = channel.unary_unary(EVALUATE, REQUEST.SerializeToString)
            refused(lambda: call(REQUEST, timeout=10), UNAUTHENTICATED, "a node handed the call on")
            assert call(REQUEST, timeout=10, metadata=(("authorization", "Bearer " + w.tokens["checker"]),))
    with tap.case("plans are still decided by quorum on every node"):
        plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
        for node in w.net.nodes:
            wait_until(f"node {node.number} allows it", lambda node=node: node.check_plan(plan)[0] == "ALLOW")


def test_trust(tap, w):
    first, _, third = w.net.nodes
    with tap.case("a certificate of another authority: no call is made, and the text says why"):
        text = refused(lambda: w.evaluate(third, "checker"), UNAVAILABLE, "role erisml does not run on this node",
                       f"{first.ip}:{o.ERISML_PORT}", "TLS handshake: the server's certificate")
        assert "plan_approved" not in text
    with tap.case("a corrected ca_file is used without a restart"):
        w.certs.replace("trusted-by-3", "ca.crt")
        third.signal(signal.SIGHUP)
        wait_until("it is answered", lambda: w.evaluate(third, "checker").plan_approved)
    with tap.case("a node without a certificate is told that one is required"):
        third.stop()
        third.credentials = None
        third.extra = ["--config", w.write("bare.yaml", [f"tls:\n  ca_file: {w.certs.path('ca.crt')}"])]
        w.net.start([third])
        call = third.channel().unary_unary(EVALUATE)
        wait_until("it is told", lambda: refused(lambda: call(b"", timeout=10), UNAVAILABLE, "certificate required"))
    with tap.case("a name that no certificate carries is named as the mismatch"):
        third.stop()
        third.extra = ["--config", w.write("named.yaml", [
            f"tls:\n  ca_file: {w.certs.path('ca.crt')}\n  server_name: elsewhere.test"])]
        w.net.start([third])
        call = third.channel().unary_unary(EVALUATE)
        wait_until("it is told", lambda: refused(lambda: call(b"", timeout=10), UNAVAILABLE, "ostname mismatch"))


def test_erisml_address(tap, w):
    """node 3 asks the nearest gateway, itself while it is well; its ErisML is node 1's port, which speaks TLS and checks
    tokens."""
    first, _, third = w.net.nodes
    plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
    token_path = w.write("erisml.token", [w.tokens["boss"]])
    os.chmod(token_path, 0o640)
    tls = [f"tls:\n  cert_file: {w.certs.path('node3.crt')}\n  key_file: {w.certs.path('node3.key')}",
           f"  ca_file: {w.certs.path('ca.crt')}", "safety:\n  quorum: 1", "gateway:",
           f"  erisml_address: {first.ip}:{o.ERISML_PORT}"]

    def start(*lines):
        third.stop()
        third.extra = ["--config", w.write("erisml.yaml", tls + list(lines))]
        w.net.start([third])

    def is_allowed_here():
        decision, answer = third.check_plan(plan)
        return decision == "ALLOW" and answer.result.metadata["gateways"] == third.status().node_id[:12]

    def is_offered():
        return any(address.startswith(third.ip + ":") for address in first.discover("safety-gateway"))

    def times_logged(event):
        with open(third.log, encoding="utf-8") as f:
            return f.read().count(f"event={event} ")

    def is_ill(why):
        return any(w.startswith("role safety-gateway is not offered: ") and why in w for w in third.status().warnings)
    with tap.case("a gateway shows gateway.erisml_address its certificate and token"):
        start("  erisml_tls: true", f"  erisml_token_file: {token_path}")
        wait_until("ALLOW", is_allowed_here, 60)
        wait_until("it is offered", is_offered, 60)
        assert not is_ill("")
    with tap.case("without what that ErisML asks for, the gateway is not offered and its status says what is missing"):
        w.write("erisml.token", [w.tokens["promoted"]])
        third.signal(signal.SIGHUP)
        wait_until("it is ill", lambda: is_ill("the token of promoted has read"), 60)
        logged = times_logged("gateway_ill")
        wait_until("nobody is sent there", lambda: not is_offered(), 60)
        assert logged >= 1 and times_logged("gateway_ill") == logged
        w.write("erisml.token", [w.tokens["boss"]])
        third.signal(signal.SIGHUP)
        wait_until("it is well again", is_offered, 60)
        start("  erisml_tls: true")
        wait_until("it is ill", lambda: is_ill("needs the scope \"safety\""), 60)
        start(f"  erisml_token_file: {token_path}")  # plain text: refused by the port
        wait_until("it is ill", lambda: is_ill("UNAVAILABLE: "), 60)
        assert not is_offered()
    with tap.case("a token that others can read keeps the daemon from starting"):
        third.stop()
        os.chmod(token_path, 0o644)
        result = run(*third.argv()).expect(1)
        assert "gateway.erisml_token_file" in result.err and "others can read" in result.err, result
        os.chmod(token_path, 0o600)
        third.start()


class Planner:
    """A planner in Python that speaks TLS only."""

    def __init__(self, w, ip):
        w.certs.sign("planner", "planner", f"IP:{ip}")
        self.seen = None
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("agi.plan.v1.PlanService", {
                "Plan": grpc.unary_unary_rpc_method_handler(self.plan)}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {
                "Check": grpc.unary_unary_rpc_method_handler(
                    lambda _request, _context: b"\x08\x01")})))  # SERVING
        self.addr = f"{ip}:" + str(self.server.add_secure_port(ip + ":0", grpc.ssl_server_credentials(
            ((w.certs.read("planner.key"), w.certs.read("planner.crt")),))))
        self.server.start()

    def plan(self, _request, context):
        self.seen = dict(context.invocation_metadata())
        return pb.plan.PlanResponse(plan_id="over tls").SerializeToString()


def test_service(tap, w):
    first, asker, _ = w.net.nodes
    planner = Planner(w, asker.ip)
    try:
        with tap.case("a service registered as tls:// is checked over TLS and called over TLS"):
            run(o.CTL, "-n", f"tls://{asker.addr}", "--tls-ca", w.certs.path("ca.crt"),
                "--tls-cert", w.certs.path("operator.crt"), "--tls-key", w.certs.path("operator.key"),
                "register", "lh-planner", "tls://" + planner.addr, "--check", "grpc", "--interval", "1s").expect(0)
            call = first.channel().unary_unary(PLAN, response_deserializer=pb.plan.PlanResponse.FromString)
            wait_until("it plans", lambda: call(b"", timeout=10).plan_id == "over tls")
            one, = first.rpc("registry").Discover(pb.agihpc.DiscoverRequest(service="lh-planner"), timeout=10).instances
            assert one.tls and one.address == planner.addr, one
        with tap.case("a service is never shown the token of the call"):
            assert planner.seen["agihpc-forwarded"] == "1" and "authorization" not in planner.seen, planner.seen
        with tap.case("its registration outlives a restart, with what is known of it"):
            asker.stop()
            w.net.start([asker])
            one, = wait_until("it is found again", lambda: first.rpc("registry").Discover(
                pb.agihpc.DiscoverRequest(service="lh-planner"), timeout=10).instances)
            assert one.tls, one
    finally:
        planner.server.stop(0)


def test_end(tap, w):
    with tap.case("every node ends in order, no token in its log, and no sanitizer complained"):
        assert [node.stop() for node in w.net.nodes] == [0, 0, 0]
        for node in w.net.nodes:
            with open(node.log, encoding="utf-8") as f:
                text = f.read()
            assert "Sanitizer" not in text and "runtime error" not in text, text[-2000:]
            assert not any(token in text for token in w.tokens.values())


def main():
    tap = Tap()
    with o.Overlay(3, roles={
            1: ["erisml", "safety-gateway"], 2: ["safety-gateway"], 3: ["safety-gateway"]}, time_limit=240) as net:
        tap.on_failure = net.logs
        w = World(net)
        net.start()
        for part in (test_known, test_forwarded, test_trust, test_erisml_address, test_service, test_end):
            part(tap, w)
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
