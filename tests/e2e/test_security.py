# SPDX-License-Identifier: Apache-2.0
"""TLS, client certificates, tokens and the Unix socket of a real node, tried with clients that are not ours:
grpcio, Python's ssl, curl. Certificates are made by openssl at test time."""

import json
import os
import shutil
import signal
import socket
import ssl
import stat

import overlay as o
import python_client
from certs import Certs
from overlay import grpc, pb, run, wait_until
from tap import Skip, Tap

HANDSHAKES_MAX = 256


class World:
    def __init__(self, net):
        self.net, self.node = net, net.nodes[0]
        self.certs = Certs(os.path.join(net.dir, "tls"))
        self.sock = os.path.join(net.dir, "node.sock")
        self.tokens_path = os.path.join(net.dir, "tokens")
        self.tokens, self.lines = {}, {}
        ip = self.node.ip
        self.certs.sign("node", "node1", f"IP:{ip},DNS:node1.test")
        self.certs.sign("node-new", "node1", f"IP:{ip},DNS:node1.new")
        self.certs.sign("operator", "operator", "DNS:operator.test")
        self.certs.sign("somebody", "somebody", "DNS:somebody.test")
        self.certs.sign("stranger", "operator", "DNS:operator.test", ca="other-ca")
        for name, scopes in (("reader", "read"), ("writer", "read,write"), ("checker", "safety"), ("boss", "admin")):
            made = run(o.CTL, "-o", "json", "token", "new", name, "--scope", scopes).expect(0).json()
            self.tokens[name], self.lines[name] = made["token"], made["line"]
        self.write_tokens(self.lines)
        self.config = self.write_config("node.yaml", "false")

    def write_tokens(self, names):
        with open(self.tokens_path + ".new", "w") as f:
            f.write("# tokens of the test\n" + "".join(self.lines[n] + "\n" for n in names))
        os.rename(self.tokens_path + ".new", self.tokens_path)

    def write_config(self, name, require):
        path = os.path.join(self.net.dir, name)
        with open(path, "w") as f:
            f.write(f"node:\n  unix_socket: {self.sock}\n"
                    f"tls:\n  cert_file: {self.certs.path('node.crt')}\n  key_file: {self.certs.path('node.key')}\n"
                    f"  client_ca_file: {self.certs.path('ca.crt')}\n  require_client_cert: {require}\n"
                    f"  admin_names: [operator.test]\nauth:\n  tokens_file: {self.tokens_path}\n")
        return path

    def channel(self, cert=None, ca="ca", port=o.OVERLAY_PORT):
        credentials = grpc.ssl_channel_credentials(
            self.certs.read(ca + ".crt"), *((self.certs.read(cert + ".key"), self.certs.read(cert + ".crt"))
                                            if cert else ()))
        return grpc.secure_channel(f"{self.node.ip}:{port}", credentials,
                                   [("grpc.use_local_subchannel_pool", 1)])

    def start(self):
        self.node.extra = ["--config", self.config]
        self.node.start()
        with grpc.insecure_channel("unix:" + self.sock) as channel:
            status = method(channel, "node_service", "Status")
            wait_until("the node is ready", lambda: status(pb.agihpc.StatusRequest(), timeout=5).ready, 30)

    def ctl(self, *args):
        return run(o.CTL, "-n", f"tls://{self.node.addr}", "--tls-ca", self.certs.path("ca.crt"), *args)

    def log(self):
        with open(self.node.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_log(self, event, times=1):
        wait_until(f"{times} times {event} in the log", lambda: self.log().count(f"event={event}") >= times, 15)

    def tls_socket(self, alpn="http/1.1", port=o.OVERLAY_PORT):
        context = ssl.create_default_context(cafile=self.certs.path("ca.crt"))
        context.set_alpn_protocols([alpn])
        return context.wrap_socket(socket.create_connection((self.node.ip, port), 10),
                                   server_hostname=self.node.ip)

    def serial_at(self, port):
        with self.tls_socket(port=port) as s:
            return serial_of(s)


def method(channel, which, name):
    service, methods = o.rpc_table()[which]
    request, response = methods[name]
    return channel.unary_unary(f"/{service}/{name}", request_serializer=request.SerializeToString,
                               response_deserializer=response.FromString)


def bearer(token):
    return [("authorization", "Bearer " + token)]


def get(channel, token=None):
    try:
        return method(channel, "kv_service", "Get")(pb.agihpc.GetRequest(key=b"k"), timeout=10 * o.SLOWNESS,
                                                     metadata=bearer(token) if token else None)
    except grpc.RpcError as e:
        if e.code() == grpc.StatusCode.NOT_FOUND:
            return None
        raise


def put(channel, token=None):
    return method(channel, "kv_service", "Put")(pb.agihpc.PutRequest(key=b"k", value=b"v"), timeout=10 * o.SLOWNESS,
                                                 metadata=bearer(token) if token else None)


def refused(call, code, *texts):
    try:
        call()
    except grpc.RpcError as e:
        assert e.code() == code, e
        for text in texts:
            assert text in e.details(), e.details()
        return
    raise AssertionError("the call was let in")


UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_unix_socket(tap, w):
    with tap.case("the Unix socket is private and serves grpcio, curl and agihpc-ctl as an operator"):
        assert stat.S_IMODE(os.stat(w.sock).st_mode) == 0o600
        with grpc.insecure_channel("unix:" + w.sock) as channel:
            assert put(channel).version
            assert get(channel).value == b"v"
        run(o.CTL, "-n", "unix:" + w.sock, "get", "k").expect(0)
        answer = run("curl", "-sS", "--unix-socket", w.sock, "http://node/healthz").expect(0)
        assert answer.out == "ok\n", answer
    with tap.case("a second daemon at the same socket ends at once and says why"):
        second = run(o.NODE, "--config", w.config, "--listen", f"{w.net.subnet}.77:5000", "--data-dir",
                     os.path.join(w.net.dir, "second"), "--cluster-key", w.net.key, "--init")
        second.expect(3)
        assert w.sock in second.err and "in use" in second.err, second
        run(o.CTL, "-n", "unix:" + w.sock, "status").expect(0)


def test_tokens(tap, w):
    with w.channel() as channel:
        with tap.case("a call without a token is told what to send"):
            refused(lambda: get(channel), UNAUTHENTICATED, 'scope "read"', "authorization: Bearer")
        with tap.case("a token permits what its scopes say, and refusals name the scope"):
            assert get(channel, w.tokens["reader"]).value == b"v"
            refused(lambda: put(channel, w.tokens["reader"]), DENIED, 'scope "write"', "reader has read")
            assert put(channel, w.tokens["writer"]).version
            refused(lambda: get(channel, w.tokens["checker"]), DENIED, 'scope "read"')
            assert put(channel, w.tokens["boss"]).version
        with tap.case("an unknown token is told as one"):
            refused(lambda: get(channel, w.tokens["reader"][:-1] + "!"), UNAUTHENTICATED, "not known")
            refused(lambda: get(channel, "nonsense"), UNAUTHENTICATED, "not known")
        with tap.case("call credentials of grpcio carry a token"):
            credentials = grpc.composite_channel_credentials(
                grpc.ssl_channel_credentials(w.certs.read("ca.crt")),
                grpc.access_token_call_credentials(w.tokens["reader"]))
            with grpc.secure_channel(w.node.addr, credentials) as other:
                assert get(other).value == b"v"
        with tap.case("health needs no token"):
            answer = method(channel, "health", "Check")(pb.health.HealthCheckRequest(), timeout=10)
            assert answer.status == pb.health.HealthCheckResponse.SERVING
    with tap.case("the port of a role speaks TLS and asks for the scope safety"):
        with w.channel(port=o.GATEWAY_PORT) as channel:
            check = method(channel, "pre_action", "CheckPlan")
            request = pb.safety.CheckPlanRequest(plan=o.load_plan(os.path.join(
                o.SRCDIR, "conf", "examples", "harmless.json")))
            refused(lambda: check(request, timeout=10, metadata=bearer(w.tokens["reader"])), DENIED, 'scope "safety"')
            assert check(request, timeout=10, metadata=bearer(w.tokens["checker"])).HasField("result")
            w.write_tokens(["reader", "writer", "boss"])  # roles' ports are on a loop of their own
            w.node.signal(signal.SIGHUP)
            wait_until("the checker is unknown there", lambda: status_of(lambda: check(
                request, timeout=10, metadata=bearer(w.tokens["checker"]))) == UNAUTHENTICATED, 15)
            w.write_tokens(w.lines)
            w.node.signal(signal.SIGHUP)
            wait_until("the checker is known there again", lambda: check(
                request, timeout=10, metadata=bearer(w.tokens["checker"])).HasField("result"), 15)
    with tap.case("a token whose line is removed is refused soon, the others go on"):
        w.write_tokens(["reader", "boss"])
        with w.channel() as channel:
            wait_until("the writer is unknown", lambda: is_unknown(channel, w.tokens["writer"]), 15)
            assert get(channel, w.tokens["reader"]).value == b"v"
    with tap.case("a tokens file that is wrong is refused, the old tokens stay"):
        with open(w.tokens_path, "a") as f:
            f.write("oops\n")
        w.node.signal(signal.SIGHUP)
        w.wait_log("tokens_reload_refused")
        assert "tokens:4: expected NAME" in w.log()
        with w.channel() as channel:
            assert get(channel, w.tokens["reader"]).value == b"v"
        w.write_tokens(w.lines)
        w.node.signal(signal.SIGHUP)
        with w.channel() as channel:
            wait_until("the writer is known again", lambda: not is_unknown(channel, w.tokens["writer"]), 15)


def status_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e.code()
    return None


def is_unknown(channel, token):
    try:
        get(channel, token)
    except grpc.RpcError as e:
        return e.code() == UNAUTHENTICATED
    return False


def test_certificates(tap, w):
    with tap.case("an operator's certificate needs no token, another one does"):
        with w.channel("operator") as channel:
            assert put(channel).version
        with w.channel("somebody") as channel:
            refused(lambda: get(channel), UNAUTHENTICATED, 'scope "read"')
    with tap.case("a certificate of another authority is not let in, whatever its name"):
        with w.channel("stranger") as channel:
            refused(lambda: get(channel), UNAVAILABLE)
        wait_until("the log says so", lambda: "tls_refused" in w.log())
    with tap.case("a client that trusts somebody else does not talk to us"):
        with w.channel(ca="other-ca") as channel:
            refused(lambda: get(channel), UNAVAILABLE)
    with tap.case("agihpc-ctl over TLS: authority, name, certificate, token"):
        w.ctl("get", "k").expect(1)
        token = os.path.join(w.net.dir, "reader.token")
        with open(token, "w") as f:
            f.write(w.tokens["reader"] + "\n")
        assert w.ctl("--token-file", token, "get", "k").expect(0).out == "v"
        w.ctl("--token-file", token, "slots", "--all").expect(0)
        w.ctl("--token-file", token, "put", "k", "v").expect(1)
        w.ctl("--tls-cert", w.certs.path("operator.crt"), "--tls-key", w.certs.path("operator.key"), "put", "k",
              "v").expect(0)
        wrong = w.ctl("--tls-server-name", "other.test", "get", "k").expect(4)
        assert "mismatch" in wrong.err, wrong
        assert w.ctl("--tls-server-name", "node1.test", "--token-file", token, "get", "k").expect(0).out == "v"


def test_health_tool(tap, w):
    tool, call = o.find_program("agihpc-health"), "agi.erisml.v1.ErisMLService/EvaluatePlan"

    def evaluate(*how):
        return run(tool, "-cacert", w.certs.path("ca.crt"), *how, w.node.addr, call)
    with tap.case("agihpc-health shows a token, from the command line or from the environment"):
        assert "needs the scope" in evaluate().expect(64 + 16).err
        header = "Authorization: Bearer " + w.tokens["checker"]
        assert "planApproved" in evaluate("-H", header).expect(0).out
        os.environ["AGIHPC_TOKEN"] = w.tokens["checker"]
        try:
            assert "planApproved" in evaluate().expect(0).out
            evaluate("-H", "authorization: Bearer " + w.tokens["reader"]).expect(64 + 7)
        finally:
            del os.environ["AGIHPC_TOKEN"]
        assert "other headers are not sent" in evaluate("-H", "x-trace: 1").expect(2).err


def test_http(tap, w):
    if not shutil.which("curl"):
        with tap.case("curl"):
            raise Skip("curl is missing")
        return
    url = f"https://{w.node.addr}/healthz"
    with tap.case("curl reads /healthz with TLS 1.2 and 1.3, and plainly from this host"):
        for how in (["--tls-max", "1.2"], ["--tlsv1.3"], ["--http1.1"], ["--no-alpn"]):
            assert run("curl", "-sS", "--cacert", w.certs.path("ca.crt"), *how, url).expect(0).out == "ok\n"
        assert run("curl", "-sS", f"http://{w.node.addr}/healthz").expect(0).out == "ok\n"
    with tap.case("a client that offers h2 first is answered over HTTP/2"):
        ours = ["--cacert", w.certs.path("ca.crt"), "-w", "%{http_version} %{http_code}", "-o", "/dev/null"]
        assert run("curl", "-sS", *ours, url).expect(0).out == "2 200"
        assert run("curl", "-sS", *ours, "-I", url).expect(0).out == "2 200"
        assert run("curl", "-sS", *ours, url + "/nothing%20there?x").expect(0).out == "2 404"
        assert run("curl", "-sS", *ours, url + "%00").expect(0).out == "2 400"
        plain = run("curl", "-sS", "--http2-prior-knowledge", f"http://{w.node.addr}/metrics").expect(0)
        assert "agihpc_ready 1" in plain.out
        big = run("curl", "-sS", "--cacert", w.certs.path("ca.crt"), "--http1.1", f"https://{w.node.addr}/metrics")
        assert "agihpc_ready 1" in big.expect(0).out
    with tap.case("services are told over HTTP to who may discover them"):
        def services(*how, at=f"https://{w.node.addr}", token=None):
            result = run("curl", "-sS", "--cacert", w.certs.path("ca.crt"), "-w", "\n%{http_code}", *how,
                         *(["-H", "Authorization: Bearer " + w.tokens[token]] if token else []),
                         at + "/v1/services/erisml").expect(0)
            text, status = result.out.rsplit("\n", 1)
            return int(status), json.loads(text)
        for how in (["--http1.1"], ["--http2"]):
            status, answer = services(*how)
            assert status == 401 and answer["error"] == "UNAUTHENTICATED" and "read" in answer["message"], answer
            status, answer = services(*how, token="checker")
            assert status == 403 and answer["error"] == "PERMISSION_DENIED", answer
            status, answer = wait_until("erisml is known", lambda how=how: services(*how, token="reader"))
            one, = answer["instances"]
            assert status == 200 and one["address"] == f"{w.node.ip}:{o.ERISML_PORT}" and one["tls"] is True, answer
        assert services("--unix-socket", w.sock, at="http://localhost")[0] == 200
        assert services("--http1.1", "--cert", w.certs.path("operator.crt"), "--key",
                        w.certs.path("operator.key"))[0] == 200
    with tap.case("curl does not trust a stranger, and TLS 1.1 is not spoken"):
        assert run("curl", "-sS", "--cacert", w.certs.path("other-ca.crt"), url).status == 60
        assert run("curl", "-sS", "--cacert", w.certs.path("ca.crt"), "--tls-max", "1.1", "--ciphers",
                   "DEFAULT@SECLEVEL=0", url).status != 0


def test_hostile(tap, w):
    with tap.case("garbage and slow handshakes are ended and disturb nobody"):
        socks = []
        for i in range(HANDSHAKES_MAX + 64):
            s = socket.create_connection((w.node.ip, o.OVERLAY_PORT), 10)
            s.sendall(b"\x16\x03\x01\x02\x00\x01" if i % 4 else b"\x16" + os.urandom(300))
            socks.append(s)
        with w.channel() as channel:
            assert get(channel, w.tokens["reader"]).value == b"v"
        ended = 0
        for s in socks:
            s.settimeout(15 * o.SLOWNESS)
            try:
                while s.recv(100):
                    pass
            except ConnectionError:
                pass
            ended += 1
            s.close()
        assert ended == len(socks)
    with tap.case("plain text inside TLS that is neither gRPC nor HTTP is closed"):
        with w.tls_socket() as s:
            s.sendall(b"\x01AGI\x01 this is no request\r\n\r\n")
            assert b"400" in s.recv(4096)


def serial_of(sock):
    return sock.getpeercert()["serialNumber"]


def ask(sock):
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n")
    return sock.recv(4096)


def test_reload(tap, w):
    with w.tls_socket() as old, w.channel() as channel:
        with tap.case("a new certificate serves new connections, while old ones go on"):
            first = serial_of(old)
            assert b"200 OK" in ask(old)
            assert get(channel, w.tokens["reader"]).value == b"v"
            n = w.log().count("event=tls_reloaded")
            w.certs.replace("node.key", "node-new.key")
            w.certs.replace("node.crt", "node-new.crt")
            w.wait_log("tls_reloaded", n + 1)
            for port in (o.OVERLAY_PORT, o.GATEWAY_PORT):  # other loops hear of it a moment later
                wait_until(f"port {port} shows the new one", lambda port=port: w.serial_at(port) != first, 5)
            with w.tls_socket() as new:
                assert serial_of(new) != first
                assert b"200 OK" in ask(new)
            assert b"200 OK" in ask(old)
            assert get(channel, w.tokens["reader"]).value == b"v"
        with tap.case("a certificate that cannot serve is refused, the old one stays"):
            n = w.log().count("event=tls_reload_refused")
            with open(w.certs.path("node.crt"), "w") as f:
                f.write("no certificate\n")
            w.node.signal(signal.SIGHUP)
            w.wait_log("tls_reload_refused", n + 1)
            with w.tls_socket() as new:
                assert serial_of(new) != first
            w.certs.replace("node.crt", "node-new.crt")


def test_required(tap, w):
    w.node.stop()
    w.config = w.write_config("strict.yaml", "true")
    w.start()
    with tap.case("with require_client_cert nobody gets in without a certificate"):
        with w.channel() as channel:
            refused(lambda: get(channel, w.tokens["reader"]), UNAVAILABLE)
        with w.channel("somebody") as channel:
            assert get(channel, w.tokens["reader"]).value == b"v"
        bare = w.ctl("get", "k").expect(4)
        assert "certificate required" in bare.err, bare


def test_bad_start(tap, w):
    w.node.stop()
    with tap.case("after a stop the socket is gone, after a kill it is replaced"):
        assert not os.path.exists(w.sock)
        w.start()
        w.node.kill()
        assert os.path.exists(w.sock)
        w.start()
        w.node.stop()
    cases = {"a key of another certificate": ("key_file: " + w.certs.path("operator.key"), "is not the key of"),
             "a missing certificate": ("cert_file: /nowhere.crt", "/nowhere.crt: No such file"),
             "no authority for required certificates": ("client_ca_file: \"\"", "tls.require_client_cert")}
    for name, (line, text) in cases.items():
        with tap.case(f"{name} keeps the daemon from starting, with a clear error"):
            path = os.path.join(w.net.dir, "bad.yaml")
            with open(path, "w") as f:
                f.write(f"tls:\n  {line}\n")
            result = run(*w.node.argv(), "--config", path)
            result.expect(1)
            assert text in result.err, result
    with tap.case("a tokens file that others can write to keeps the daemon from starting"):
        os.chmod(w.tokens_path, 0o666)
        result = run(*w.node.argv()).expect(1)
        assert "auth.tokens_file" in result.err and "others can write" in result.err, result


def test_python_client(tap, w):
    python_client.test_secured(tap, w.node.addr, w.certs, w.tokens)


def main():
    tap = Tap()
    with o.Overlay(1, roles={1: ["erisml", "safety-gateway"]}, time_limit=240) as net:
        w = World(net)
        tap.on_failure = w.log
        w.start()
        for test in (test_unix_socket, test_tokens, test_certificates, test_python_client, test_health_tool, test_http, test_hostile, test_reload,
                     test_required, test_bad_start):
            test(tap, w)
    tap.done()
    return 1 if tap.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
