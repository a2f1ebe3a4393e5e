# SPDX-License-Identifier: Apache-2.0
"""An overlay of real agihpc-node processes for tests, and the means to look at it from outside.

    with Overlay(5, roles={1: ["erisml", "safety-gateway"]}) as overlay:
        overlay.start()
        overlay.nodes[0].kv.put(b"k", b"v")
        overlay.nodes[1].kill()

Every overlay has a /24 of 127.0.0.0/8 of its own (so that every node can have the default ports), a
directory of its own, and leaves no process behind: nodes die with the test. Conditions are waited for
with wait_until and a deadline; nothing sleeps for a fixed time.

AGI_NODE_CONFIG names further configuration files for every node, to run a test with other settings.

Uses only the standard library, python3-grpcio and python3-protobuf; message classes are made by protoc
at test time from proto/.
"""

import fcntl
import glob
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import tap

SRCDIR = os.environ.get("AGI_SRCDIR") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", ".."))
BUILDDIR = os.environ.get("AGI_BUILDDIR") or os.path.join(SRCDIR, "build")
LEVEL = os.environ.get("AGI_TEST_LEVEL", "full")  # full, short, or unit (no end-to-end tests)
SANITIZERS = os.environ.get("AGI_SANITIZERS", "").strip()
if SANITIZERS and LEVEL == "full":
    LEVEL = "short"
# Deadlines are generous, as they only matter when something is broken; sanitizers are slow.
SLOWNESS = 4 if SANITIZERS else 1

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("TSAN_OPTIONS", "suppressions=" + os.path.join(SRCDIR, "tests", "data", "tsan.supp"))
if LEVEL == "unit":
    tap.skip_all("AGI_TEST_LEVEL=unit")
try:
    import grpc
    import google.protobuf  # noqa: F401
except ImportError as missing:
    tap.skip_all(f"{missing} (Debian: python3-grpcio, python3-protobuf)")

OVERLAY_PORT = 5000
GATEWAY_PORT = 50055
ERISML_PORT = 50060
POST_ACTION_PORT = 50058
PROTOS = ("plan", "erisml", "safety", "memory", "rh", "health", "reflection", "agihpc")


def find_program(name):
    for folder in ("", "src/node", "src/ctl", "bin", "sbin"):
        path = os.path.join(BUILDDIR, folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    tap.skip_all(f"{name} is not built in {BUILDDIR}")


NODE = find_program("agihpc-node")
CTL = find_program("agihpc-ctl")


def _load_messages():
    """Compiles proto/*.proto to Python in the build tree and imports the modules."""
    out = os.path.join(BUILDDIR, "tests", "e2e", "pb")
    os.makedirs(os.path.dirname(out), exist_ok=True)
    newest = max(os.stat(os.path.join(SRCDIR, "proto", p + ".proto")).st_mtime for p in PROTOS)
    with open(out + ".lock", "w") as lock:  # several tests may start at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = os.path.join(out, "done")
        if not os.path.exists(done) or os.stat(done).st_mtime < newest:
            os.makedirs(out, exist_ok=True)
            protoc = os.environ.get("PROTOC") or shutil.which("protoc")
            if not protoc:
                tap.skip_all("protoc is missing (Debian: protobuf-compiler)")
            subprocess.run(
                [protoc, "-I" + os.path.join(SRCDIR, "proto"), "--python_out=" + out]
                + [p + ".proto" for p in PROTOS], check=True)
            open(done, "w").close()
    sys.path.insert(0, out)
    return {p: __import__(p + "_pb2") for p in PROTOS}


pb = type("Messages", (), _load_messages())


class Timeout(AssertionError):
    """A condition did not come true in time."""


def wait_until(what, condition, seconds=20.0, every=0.05):
    """Polls until condition() is true and returns its value. An exception of a poll counts as false and is
    shown if the deadline passes."""
    deadline = time.monotonic() + seconds * SLOWNESS
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = f"last value: {value!r}"
        except (grpc.RpcError, OSError, AssertionError, KeyError, ValueError) as e:
            last = f"last error: {e}"
        if time.monotonic() > deadline:
            raise Timeout(f"not within {seconds * SLOWNESS:.0f} s: {what} ({last})")
        time.sleep(every)


def not_run_s(*pids):
    """For how long threads of these processes had work and no processor, all together (proc_pid_schedstat: the time
    on a run queue); 0 where the kernel does not count it."""
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                with open(path, encoding="ascii") as f:
                    total += int(f.read().split()[1])
            except (OSError, IndexError):  # the thread has ended
                pass
    return total / 1e9


class Result:
    """What a command printed, and its exit status."""

    def __init__(self, argv, status, out, err, seconds):
        self.argv, self.status, self.out, self.err, self.seconds = argv, status, out, err, seconds

    def __repr__(self):
        return (f"{' '.join(map(str, self.argv))}: exit status {self.status}\n"
                f"stdout: {self.out!r}\nstderr: {self.err!r}")

    def expect(self, status):
        assert self.status == status, f"exit status {status} expected; {self!r}"
        return self

    def json(self):
        return json.loads(self.out)


def run(*argv, stdin=b"", timeout=30):
    began = time.monotonic()
    p = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=timeout * SLOWNESS)
    return Result(argv, p.returncode, p.stdout.decode("utf-8", "replace"),
                  p.stderr.decode("utf-8", "replace"), time.monotonic() - began)


class Rpc:
    """A gRPC service by name: service.Method(request, timeout) with plain generic stubs."""

    def __init__(self, channel, name, methods):
        for method, (request, response, *stream) in methods.items():
            setattr(self, method, (channel.unary_stream if stream else channel.unary_unary)(
                f"/{name}/{method}", request_serializer=request.SerializeToString,
                response_deserializer=response.FromString))


def rpc_table():
    a, s, h, e = pb.agihpc, pb.safety, pb.health, pb.erisml
    return {
        "kv_service": ("agihpc.v1.KvService", {
            "Put": (a.PutRequest, a.PutResponse), "Get": (a.GetRequest, a.GetResponse),
            "Delete": (a.DeleteRequest, a.DeleteResponse),
            "Owners": (a.OwnersRequest, a.OwnersResponse),
            "CompareAndSet": (a.CompareAndSetRequest, a.CompareAndSetResponse),
            "Add": (a.AddRequest, a.AddResponse),
            "Scan": (a.ScanRequest, a.ScanResponse), "Batch": (a.BatchRequest, a.BatchResponse),
            "Watch": (a.WatchRequest, a.WatchResponse, "stream")}),
        "leases": ("agihpc.v1.LeaseService", {
            "Grant": (a.GrantRequest, a.GrantResponse), "KeepAlive": (a.KeepAliveRequest, a.KeepAliveResponse),
            "Revoke": (a.RevokeRequest, a.RevokeResponse), "GetLease": (a.GetLeaseRequest, a.Lease),
            "ListLeases": (a.ListLeasesRequest, a.ListLeasesResponse), "Lock": (a.LockRequest, a.LockResponse)}),
        "registry": ("agihpc.v1.RegistryService", {
            "RegisterService": (a.RegisterRequest, a.RegisterResponse),
            "DeregisterService": (a.DeregisterRequest, a.DeregisterResponse),
            "Discover": (a.DiscoverRequest, a.DiscoverResponse),
            "Nearest": (a.NearestRequest, a.NearestResponse),
            "WatchService": (a.WatchServiceRequest, a.WatchServiceResponse, "stream")}),
        "node_service": ("agihpc.v1.NodeService", {
            "Status": (a.StatusRequest, a.StatusResponse),
            "Members": (a.MembersRequest, a.MembersResponse),
            "Slots": (a.SlotsRequest, a.SlotsResponse), "Roles": (a.RolesRequest, a.RolesResponse),
            "Lookup": (a.LookupRequest, a.LookupResponse)}),
        "pre_action": ("agi.safety.v1.PreActionSafetyService", {
            "CheckPlan": (s.CheckPlanRequest, s.CheckPlanResponse)}),
        "post_action": ("agi.safety.v1.PostActionSafetyService", {
            "ReportOutcome": (s.ActionOutcomeReport, s.ActionOutcomeAck)}),
        "erisml": ("agi.erisml.v1.ErisMLService", {
            "EvaluatePlan": (e.EvaluatePlanRequest, e.EvaluatePlanResponse)}),
        "health": ("grpc.health.v1.Health", {
            "Check": (h.HealthCheckRequest, h.HealthCheckResponse)}),
    }


def open_channel(address, credentials=None):
    # One TCP connection per channel object, and quick retries: peers are killed and restarted here. The "min"
    # is how long one attempt may take: its steps run only while a call is waiting, so it must be long.
    options = [
        ("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 20000), ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 64 << 20)]
    if credentials:
        return grpc.secure_channel(address, credentials, options)
    return grpc.insecure_channel(address, options)


LEVELS = {"one": 1, "quorum": 2, "all": 3, "strong": 4}


class Node:
    """One agihpc-node process: its address, files, life and API."""

    def __init__(self, overlay, number, ip, roles):
        self.overlay, self.number, self.ip, self.roles = overlay, number, ip, roles
        self.addr = f"{ip}:{OVERLAY_PORT}"
        self.dir = os.path.join(overlay.dir, f"node{number}")
        self.data = os.path.join(self.dir, "data")
        self.log = os.path.join(self.dir, "log")
        self.proc = None
        self.extra = []
        self.credentials = None  # for channel(), of grpc; None: plain text
        self._channels = {}
        os.makedirs(self.dir)

    # --- life ---
    def argv(self):
        argv = [NODE, "--listen", self.addr, "--bootstrap", self.overlay.bootstrap,
                "--data-dir", self.data, "--cluster-key", self.overlay.key]
        for path in self.overlay.configs:
            argv += ["--config", path]
        if self.roles:
            argv += ["--roles", ",".join(self.roles)]
        return argv + self.extra

    def start(self):
        assert self.proc is None, f"node {self.number} runs already"
        with open(self.log, "ab") as log:
            self.proc = spawn(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir)
        return self

    def is_running(self):
        return self.proc is not None and self.proc.poll() is None

    def kill(self):
        """As a power cut for the process: SIGKILL, at once."""
        self._end(signal.SIGKILL)

    def stop(self, seconds=15):
        """An orderly shutdown; returns the exit status."""
        return self._end(signal.SIGTERM, seconds)

    def signal(self, number):
        self.proc.send_signal(number)

    def _end(self, number, seconds=15):
        self.close_channels()
        if self.proc is None:
            return None
        try:
            self.proc.send_signal(number)
            status = self.proc.wait(seconds * SLOWNESS)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise AssertionError(f"node {self.number} ignored signal {number} for {seconds * SLOWNESS} s")
        finally:
            self.proc = None
        return status

    # --- looking at it ---
    def connect(self, address=None):
        """A channel of the caller's own."""
        return open_channel(address or self.addr, self.credentials)

    def channel(self, port=OVERLAY_PORT):
        address = f"{self.ip}:{port}"
        if address not in self._channels:
            self._channels[address] = self.connect(address)
        return self._channels[address]

    def close_channels(self):
        for c in self._channels.values():
            c.close()
        self._channels.clear()

    def rpc(self, which, port=OVERLAY_PORT):
        name, methods = rpc_table()[which]
        return Rpc(self.channel(port), name, methods)

    def status(self):
        # Waiting keeps the client working on its connection; polling alone never connects to a restarted node.
        return self.rpc("node_service").Status(pb.agihpc.StatusRequest(), timeout=5 * SLOWNESS,
                                               wait_for_ready=True)

    def is_ready(self):
        return self.status().ready

    def rss_bytes(self):
        with open(f"/proc/{self.proc.pid}/status") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def ctl(self, *args, stdin=b"", timeout=30):
        """agihpc-ctl -n ADDRESS ARGUMENTS."""
        return run(CTL, "-n", self.addr, *args, stdin=stdin, timeout=timeout)

    def ctl_json(self, *args):
        return run(CTL, "-n", self.addr, "-o", "json", *args).expect(0).json()

    # --- memory ---
    def put(self, key, value, level=None, ns="", timeout=10):
        return self.rpc("kv_service").Put(pb.agihpc.PutRequest(
            namespace=ns, key=key, value=value, level=LEVELS.get(level, 0)), timeout=timeout * SLOWNESS)

    def get(self, key, level=None, ns="", timeout=10):
        """The answer, or None when the key is absent."""
        try:
            return self.rpc("kv_service").Get(pb.agihpc.GetRequest(
                namespace=ns, key=key, level=LEVELS.get(level, 0)), timeout=timeout * SLOWNESS)
        except grpc.RpcError as e:
            if e.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def value(self, key, level=None):
        answer = self.get(key, level)
        return None if answer is None else answer.value

    def delete(self, key, level=None, ns=""):
        return self.rpc("kv_service").Delete(pb.agihpc.DeleteRequest(
            namespace=ns, key=key, level=LEVELS.get(level, 0)), timeout=10 * SLOWNESS)

    def owners(self, key, ns=""):
        return self.rpc("kv_service").Owners(pb.agihpc.OwnersRequest(namespace=ns, key=key),
                                             timeout=10 * SLOWNESS)

    # --- services and safety ---
    def register(self, service, address, kind="tcp", interval_ms=1000, timeout_ms=0, path=""):
        return self.rpc("registry").RegisterService(pb.agihpc.RegisterRequest(
            service=service, address=address, health_check=pb.agihpc.HealthCheck(
                kind=kind, interval_ms=interval_ms, timeout_ms=timeout_ms, path=path)),
            timeout=10 * SLOWNESS)

    def discover(self, service):
        """Addresses of the healthy instances, nearest first."""
        answer = self.rpc("registry").Discover(pb.agihpc.DiscoverRequest(service=service),
                                               timeout=10 * SLOWNESS)
        return [i.address for i in answer.instances]

    def check_plan(self, plan, timeout=5, port=OVERLAY_PORT):
        """The decision's name without its prefix, and the whole answer."""
        answer = self.rpc("pre_action", port).CheckPlan(
            pb.safety.CheckPlanRequest(plan=plan), timeout=timeout * SLOWNESS)
        return decision_name(answer), answer


def decision_name(answer):
    name = pb.safety.SafetyDecision.Name(answer.result.decision)
    return name.replace("SAFETY_DECISION_", "")


def load_plan(path):
    """A PlanGraphProto from protobuf JSON."""
    from google.protobuf import json_format
    with open(path) as f:
        return json_format.Parse(f.read(), pb.plan.PlanGraphProto())


OWN_GROUP = {"start_new_session": True}


def spawn(argv, **options):
    """A process that dies with this one (a killed test leaves nothing behind) and that a terminal's Ctrl-C does
    not reach (the test ends it itself). No preexec_fn: it would make Python fork, and gRPC's
    own threads do not survive a fork well; without it Python uses vfork."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], **OWN_GROUP, **options)


def free_subnet():
    """A /24 of the loopback network that nothing uses; "127.A.B"."""
    for _ in range(100):
        subnet = f"127.{random.randint(64, 250)}.{random.randint(1, 254)}"
        try:
            with socket.socket() as s:
                s.bind((f"{subnet}.1", OVERLAY_PORT))
            return subnet
        except OSError:
            continue
    raise RuntimeError(f"no free loopback network: does something listen on 0.0.0.0:{OVERLAY_PORT}?")


class Overlay:
    """n nodes with one bootstrap list and one cluster key; a context that cleans up."""

    node_class = Node

    def __init__(self, n, roles=None, configs=(), subnet=None, time_limit=300):
        self.dir = tempfile.mkdtemp(prefix="agihpc-e2e-")
        self.subnet = subnet or free_subnet()
        self.configs = list(configs) + os.environ.get("AGI_NODE_CONFIG", "").split()
        self.key = os.path.join(self.dir, "cluster.key")
        # Three addresses are enough for a list, as an operator would write it.
        ips = [f"{self.subnet}.{i + 1}" for i in range(n)]
        self.bootstrap = ",".join(f"{ip}:{OVERLAY_PORT}" for ip in ips[:3])
        self.nodes = [self.node_class(self, i + 1, ip, (roles or {}).get(i + 1, [])) for i, ip in enumerate(ips)]
        self.keep = False
        self.make_key()
        self._limit(time_limit * SLOWNESS)

    def _limit(self, seconds):
        def expired(_number, _frame):
            raise Timeout(f"the whole test took longer than {seconds} s")

        def ended(number, _frame):
            self.close()
            os._exit(128 + number)
        signal.signal(signal.SIGALRM, expired)
        signal.signal(signal.SIGTERM, ended)
        signal.signal(signal.SIGINT, ended)
        signal.alarm(int(seconds))

    def make_key(self):
        run(CTL, "keygen", "--out", self.key).expect(0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        signal.alarm(0)
        for node in self.nodes:
            node.close_channels()
            if node.proc is not None:
                node.proc.kill()
                node.proc.wait()
                node.proc = None
        if self.keep or os.environ.get("AGI_KEEP"):
            print(f"# kept: {self.dir}", flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, nodes=None):
        """Starts the nodes (all) and returns the seconds until every one said ready."""
        began = time.monotonic()
        nodes = nodes or self.nodes
        for node in nodes:
            if not node.is_running():
                node.start()
        self.wait_ready(nodes)
        return time.monotonic() - began

    def wait_ready(self, nodes=None, seconds=60):
        for node in nodes or self.nodes:
            wait_until(f"node {node.number} is ready", lambda node=node: self._is_ready(node), seconds)

    @staticmethod
    def _is_ready(node):
        status = node.proc.poll()
        if status is not None:
            raise RuntimeError(f"node {node.number} ended with status {status}: {tail(node.log)}")
        return node.is_ready()

    def wait_replicated(self, replicas=3, seconds=60):
        """Until every slot has its replicas and none is changing hands."""
        def is_settled():
            slots = total = 0
            for node in self.running():
                s = node.status()
                if s.slots_joining or s.slots_sealed or s.slots_leaving:
                    return False
                slots += s.slots_active
                total = s.slots_total
            return slots == replicas * total
        wait_until(f"every slot is held by {replicas} hosts", is_settled, seconds, every=0.1)

    def wait_met(self, seconds=60):
        """Until all running nodes know each other: then a node's safety check reaches every gateway it has found."""
        nodes = self.running()
        for node in nodes:
            wait_until(f"node {node.number} sees {len(nodes) - 1} others",
                       lambda node=node: node.status().members_up == len(nodes) - 1, seconds)

    def running(self):
        return [n for n in self.nodes if n.is_running()]

    def by_addr(self, addr):
        return next(n for n in self.nodes if n.addr == addr)

    def by_id(self, node_id):
        return next(n for n in self.nodes if n.is_running() and n.status().node_id == node_id)

    def logs(self, lines=15):
        """The end of every node's log, for a failure's diagnostics."""
        return "\n".join(f"--- log of node {n.number} ({n.addr}), "
                         f"{'running' if n.is_running() else 'not running'}\n{tail(n.log, lines)}"
                         for n in self.nodes)


def tail(path, lines=15):
    try:
        with open(path, "rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - 16384))
            return "\n".join(f.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError as e:
        return f"({e})"
