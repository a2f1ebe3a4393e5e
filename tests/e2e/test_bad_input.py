# SPDX-License-Identifier: Apache-2.0
"""Bad input of every kind gets a clear error and changes nothing; the daemon never ends on it."""

import os
import random
import socket
import struct
import subprocess
import time

import overlay as o
from overlay import grpc, pb, run, wait_until
from tap import Tap

ROLES = ["erisml", "safety-gateway", "post-action"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
VALUE_MAX = 1 << 20

# name, file text, line that must be named, a word that must be in the error
BAD_CONFIGS = [
    ("unknown key", "dht:\n  replication_factor: 3\n  virtual_node: 128\n", 3, "virtual_node"),
    ("unknown section", "node:\n  zone: a\nnodes:\n  zone: b\n", 3, "nodes"),
    ("wrong type", "dht:\n  virtual_nodes: many\n", 2, "virtual_nodes"),
    ("impossible value", "dht:\n  replication_factor: 99\n", 2, "replication_factor"),
    ("threshold out of range", "thresholds:\n  bond_index_block: 1.5\n", 2, "bond_index_block"),
    ("list wanted", "dht:\n  bootstrap_nodes: {a: b}\n", 2, "bootstrap_nodes"),
    ("broken YAML", "dht:\n  bootstrap_nodes: [\n", None, ""),
    ("a failure that would permit", "failsafe:\n  timeout_action: \"ALLOW\"\n", 2, "timeout_action"),
    ("key given twice", "dht:\n  virtual_nodes: 1\n  virtual_nodes: 2\n", 3, "virtual_nodes"),
]


def test_config(tap, net):
    for name, text, line, word in BAD_CONFIGS:
        with tap.case(f"config: {name}: refused with file and line, by both programs"):
            path = os.path.join(net.dir, "bad.yaml")
            with open(path, "w") as f:
                f.write(text)
            for result in (run(o.CTL, "config", "check", path), start_once(net, "--config", path)):
                assert result.status not in (0, None) and result.status < 128, result
                where = f"bad.yaml:{line}:" if line else "bad.yaml:"
                assert where in result.err and word in result.err, result
    with tap.case("config: a missing file is named"):
        result = start_once(net, "--config", "/nonexistent/agihpc.yaml")
        assert result.status not in (0, None) and "/nonexistent/agihpc.yaml" in result.err, result
    with tap.case("config: bytes that are not UTF-8, and an empty file"):
        path = os.path.join(net.dir, "bytes.yaml")
        with open(path, "wb") as f:
            f.write(b"node:\n  zone: \"\xff\xfe\"\n")
        result = run(o.CTL, "config", "check", path)
        assert result.status not in (0, None) and result.status < 128, result
        open(path, "w").close()
        run(o.CTL, "config", "check", path).expect(0)


def start_once(net, *argv):
    """Runs agihpc-node with these options where it must end by itself; the result."""
    try:
        return run(o.NODE, "--listen", f"{net.subnet}.200:5000", "--data-dir",
                   os.path.join(net.dir, "once"), "--cluster-key", net.key, *argv, timeout=10)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"agihpc-node {argv} went on running")


def test_command_lines(tap, net):
    node = net.nodes[0]
    usage = [[], ["no-such-command"], ["put"], ["get"], ["put", "only-a-key"], ["--no-such-option"],
             ["-o", "xml", "status"], ["safety"], ["safety", "check"], ["register", "only-a-name"],
             ["put", "--level", "most", "k", "v"], ["status", "surplus"]]
    with tap.case("agihpc-ctl: wrong usage is exit status 2 with a message"):
        for argv in usage:
            result = run(o.CTL, "-n", node.addr, *argv).expect(2)
            assert result.err.strip(), result
    with tap.case("agihpc-ctl: a node that is not there is exit status 4 and named"):
        absent = f"{net.subnet}.250:5000"
        result = run(o.CTL, "-n", absent, "status").expect(4)
        assert absent in result.err, result
    with tap.case("agihpc-ctl: an address that makes no sense is a usage error"):
        for address in ("127.0.0.1:99999", "127.0.0.1:x"):
            run(o.CTL, "-n", address, "status").expect(2)
    with tap.case("agihpc-ctl safety check: a file that is no plan is an error, never 0"):
        for text in ("", "{", "[]", '{"no_such_field": 1}', '{"steps": 3}', '{"steps": [{"index": "x"}]}',
                     "\udcff"):
            path = os.path.join(net.dir, "plan.json")
            with open(path, "wb") as f:
                f.write(text.encode("utf-8", "surrogateescape"))
            result = node.ctl("safety", "check", path)
            assert result.status in (1, 2) and result.err.strip(), result
        assert node.ctl("safety", "check", "/nonexistent/plan.json").status in (1, 2, 3)
    with tap.case("agihpc-node: wrong usage ends at once with a message"):
        for argv in (["--no-such-option"], ["--listen", "nonsense:port"], ["--roles", "no-such-role"],
                     ["--bootstrap", "a:b:c:d"]):
            result = start_once(net, *argv)
            assert result.status in (1, 2) and result.err.strip(), result
    with tap.case("agihpc-node: a cluster key that is no key is refused and named"):
        for name, content in (("short.key", b"abc\n"), ("empty.key", b""), ("junk.key", os.urandom(4096))):
            path = os.path.join(net.dir, name)
            with open(path, "wb") as f:
                f.write(content)
            os.chmod(path, 0o600)
            result = start_once(net, "--cluster-key", path)
            assert result.status == 1 and name in result.err, result
    with tap.case("agihpc-node: an address in use ends the second daemon with that address"):
        result = start_once(net, "--listen", node.addr)
        assert result.status == 3 and node.addr in result.err, result
    with tap.case("agihpc-node: a data directory in use is refused"):
        result = start_once(net, "--data-dir", node.data)
        assert result.status == 1 and result.err.strip(), result


def code_of(call):
    """The status code of a call that must fail."""
    try:
        answer = call()
    except grpc.RpcError as e:
        assert e.details(), f"{e.code()} without a message"
        return e.code().name
    raise AssertionError(f"accepted: {answer}")


def test_requests(tap, net):
    node, ns = net.nodes[0], pb.agihpc
    kv, registry = node.rpc("kv_service"), node.rpc("registry")
    with tap.case("values, keys and namespaces beyond their limits are INVALID_ARGUMENT"):
        node.put(b"largest", bytes(VALUE_MAX))
        assert len(node.value(b"largest")) == VALUE_MAX
        for request in (ns.PutRequest(key=b"k", value=bytes(VALUE_MAX + 1)),
                        ns.PutRequest(key=b"", value=b"v"), ns.PutRequest(key=b"k" * 1025),
                        ns.PutRequest(namespace="n" * 64, key=b"k"), ns.PutRequest(key=b"k", level=99)):
            code = code_of(lambda request=request: kv.Put(request, timeout=10))
            assert code == "INVALID_ARGUMENT", (code, str(request)[:100])
        assert node.get(b"k") is None
    with tap.case("service names and addresses that are none are INVALID_ARGUMENT"):
        for service, address in (("", "127.0.0.1:1"), ("Bad_Name", "127.0.0.1:1"), ("a" * 64, "127.0.0.1:1"),
                                 ("ok", ""), ("ok", "127.0.0.1"), ("ok", "127.0.0.1:70000")):
            request = ns.RegisterRequest(service=service, address=address)
            code = code_of(lambda request=request: registry.RegisterService(request, timeout=10))
            assert code == "INVALID_ARGUMENT", (code, service, address)
        request = ns.RegisterRequest(service="ok", address="127.0.0.1:1",
                                     health_check=ns.HealthCheck(kind="telepathy"))
        assert code_of(lambda: registry.RegisterService(request, timeout=10)) == "INVALID_ARGUMENT"
    with tap.case("an unknown service or method is UNIMPLEMENTED"):
        for method in ("/agihpc.v1.NoService/Get", "/agihpc.v1.KvService/NoMethod", "/", "//", "/x"):
            assert code_of(lambda method=method: raw_call(node, method, b"")) == "UNIMPLEMENTED", method
    with tap.case("bytes that are no message are an error on every method"):
        bad = [b"\xff", b"\x0a\xff", b"\x07", b"\x0a\x05abc", b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"]
        for name, methods in o.rpc_table().values():
            if name in ("agi.erisml.v1.ErisMLService",):
                continue  # on the role's own port, below
            for method in methods:
                for body in bad:
                    code = code_of(lambda: raw_call(node, f"/{name}/{method}", body))
                    assert code in ("INTERNAL", "INVALID_ARGUMENT"), (name, method, body, code)
        for body in bad:
            code = code_of(lambda: raw_call(node, "/agi.erisml.v1.ErisMLService/EvaluatePlan", body,
                                            o.ERISML_PORT))
            assert code in ("INTERNAL", "INVALID_ARGUMENT"), (body, code)
    with tap.case("invalid UTF-8 in a string is an error"):
        text = b"\x0a\x02\xc3\x28"  # field 1, two bytes, not UTF-8
        code = code_of(lambda: raw_call(node, "/agihpc.v1.KvService/Get", text + b"\x12\x01k"))
        assert code in ("INTERNAL", "INVALID_ARGUMENT"), code
        # CheckPlanRequest.plan.plan_id
        code = code_of(lambda: raw_call(node, "/agi.safety.v1.PreActionSafetyService/CheckPlan",
                                        b"\x0a\x04" + text))
        assert code in ("INTERNAL", "INVALID_ARGUMENT"), code
    with tap.case("a message above 4 MiB is RESOURCE_EXHAUSTED"):
        code = code_of(lambda: raw_call(node, "/agihpc.v1.KvService/Put", bytes((4 << 20) + 1)))
        assert code == "RESOURCE_EXHAUSTED", code
    with tap.case("a plan without steps, and no plan at all, are never allowed"):
        harmless = pb.plan.PlanGraphProto(plan_id="p", steps=[pb.plan.PlanStep(step_id="s", tool_id="report")])
        wait_until("enough gateways vote", lambda: node.check_plan(harmless)[0] == "ALLOW")
        for request in (pb.safety.CheckPlanRequest(), pb.safety.CheckPlanRequest(
                plan=pb.plan.PlanGraphProto(plan_id="empty"))):
            answer = node.rpc("pre_action").CheckPlan(request, timeout=5)
            assert o.decision_name(answer) == "REVISE" and not answer.plan_approved, answer
            assert any("empty plan" in r for r in answer.result.reasons), answer


def raw_call(node, method, body, port=o.OVERLAY_PORT):
    return node.channel(port).unary_unary(method)(body, timeout=10 * o.SLOWNESS)


def frame(kind, flags, stream, body):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def hostile_bytes(dice):
    """Byte strings a stranger may send to the overlay port."""
    settings = frame(4, 0, 0, b"")
    yield from (b"", b"\0", b"P", PREFACE[:10], PREFACE, PREFACE + settings[:5])
    yield PREFACE + settings + frame(1, 5, 1, b"\xff" * 200)             # header block of nonsense
    yield PREFACE + settings + frame(0, 1, 1, b"data on an idle stream")
    yield PREFACE + settings + frame(1, 4, 1, b"\x82\x84\x87") + b"\x00\x10"
    yield PREFACE + settings + struct.pack(">I", 0xffffff)[1:] + b"\x00\x00\x00\x00\x00\x01" + b"x" * 70000
    yield PREFACE + settings + frame(6, 0, 0, b"12345678") * 20000        # ping flood
    yield PREFACE + settings + frame(4, 0, 0, struct.pack(">HI", 4, 0xffffffff) * 10)
    yield b"".join([PREFACE, settings] + [frame(1, 4, 2 * i + 1, b"\x82\x84\x87\x41\x01a")
                                          + frame(3, 0, 2 * i + 1, struct.pack(">I", 8))
                                          for i in range(3000)])          # rapid reset
    yield b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200000
    yield b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n"
    yield b"GET /metrics HTTP/9.9\r\n\r\n"
    yield b"HEAD / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"
    yield b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)    # TLS hello
    yield b"\x01" + b"\xff" * 3000                                        # the link's first byte
    yield b"\x01\x00\x20" + bytes(32)
    for _ in range(40 if o.LEVEL == "full" else 10):
        lead = dice.choice([b"", b"\x01", PREFACE, PREFACE + settings, b"GET "])
        yield lead + dice.randbytes(dice.randrange(1, 4000))


def send_hostile(address, data):
    """Sends and reads until the peer closes or is silent for a moment; never fails."""
    with socket.socket() as s:
        s.settimeout(0.15)
        try:
            s.connect(address)
            s.sendall(data)
            while s.recv(65536):
                pass
        except OSError:
            pass


def test_bytes(tap, net):
    node = net.nodes[0]
    pid, rss = node.proc.pid, node.rss_bytes()
    dice = random.Random(7)
    ports = (o.OVERLAY_PORT, o.GATEWAY_PORT)
    with tap.case("bytes from strangers on overlay and role port end no daemon"):
        for data in hostile_bytes(dice):
            for port in ports:
                send_hostile((node.ip, port), data)
            assert node.is_running(), (data[:60], o.tail(node.log))
    with tap.case("two thousand silent connections do not keep others out"):
        idle = []
        try:
            for _ in range(2000):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex((node.ip, o.OVERLAY_PORT))
                idle.append(s)
            # The node may close any of them; a new caller must get through.
            wait_until("a new client is served", lambda: fresh_status(node).ready, 30)
        finally:
            for s in idle:
                s.close()
    with tap.case("the daemon is the same process, ready, and answers as before"):
        assert node.is_running() and node.proc.pid == pid
        wait_until("ready", node.is_ready)
        assert node.value(b"largest") == bytes(VALUE_MAX)
    with tap.case("its memory stays bounded"):
        if not o.SANITIZERS:
            grown = node.rss_bytes() - rss
            tap.diag(f"resident memory grew by {grown >> 10} KiB from {rss >> 10} KiB")
            assert grown < 64 << 20, grown


def fresh_status(node):
    channel = o.open_channel(node.addr)
    try:
        name, methods = o.rpc_table()["node_service"]
        return o.Rpc(channel, name, methods).Status(pb.agihpc.StatusRequest(), timeout=5 * o.SLOWNESS)
    finally:
        channel.close()


def test_wrong_key(tap, net):
    """A stranger with another cluster key, the same bootstrap list and a correct program."""
    other = os.path.join(net.dir, "other.key")
    run(o.CTL, "keygen", "--out", other).expect(0)
    stranger = o.Node(net, 9, f"{net.subnet}.9", [])
    stranger.extra = ["--cluster-key", other]
    net.nodes.append(stranger)  # cleaned up with the rest
    try:
        with tap.case("a node with another cluster key does not get in and says what it waits for"):
            stranger.start()
            status = wait_until("it answers", stranger.status, 20)
            ended = time.monotonic() + 6
            while time.monotonic() < ended:
                status = stranger.status()
                assert not status.ready and status.cluster_id == "", status
            assert status.phase and status.phase != "joined", status
        with tap.case("the others never list it"):
            for node in net.nodes[:3]:
                answer = node.rpc("node_service").Members(pb.agihpc.MembersRequest(), timeout=5)
                assert stranger.addr not in [m.address for m in answer.members], answer
        with tap.case("and it serves no data"):
            code = code_of(lambda: stranger.put(b"k", b"v"))
            assert code in ("UNAVAILABLE", "FAILED_PRECONDITION"), code
    finally:
        stranger.kill()
        net.nodes.remove(stranger)


def main():
    tap = Tap()
    with o.Overlay(3, roles={1: ROLES, 2: ROLES, 3: ROLES}, time_limit=240) as net:
        tap.on_failure = net.logs
        with tap.case("three nodes become ready"):
            net.start()
        for part in (test_config, test_command_lines, test_requests, test_bytes, test_wrong_key):
            try:
                part(tap, net)
            except Exception as e:  # between two cases
                with tap.case(f"{part.__name__} came to its end"):
                    raise e
        with tap.case("all three run to the end and stop with status 0"):
            assert [n.stop() for n in net.nodes] == [0, 0, 0]
    tap.done()


if __name__ == "__main__":
    main()
