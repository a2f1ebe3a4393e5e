# SPDX-License-Identifier: Apache-2.0
"""More than a node can do: one namespace floods it from many connections; another one hardly notices, memory stays
bounded, and who is refused is told when to come again."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

import faultdisk as fd
import overlay as o
from overlay import grpc, wait_until
from tap import Tap

CONNECTIONS = 32
OUTSTANDING = 40  # calls on each
SECONDS = 8 if o.LEVEL == "full" else 4
SYNC_MS = 10
CONFIG = """
node:
  slot_bits: 4
  stable_after: 300ms
  admission: {running: 32, queued: 256, queued_memory: 4MiB}
"""


class Flood(threading.Thread):
    """Puts values over one connection, always so many at once, and looks at how they are refused."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.channel = o.open_channel(address)
        self.put = self.channel.unary_unary("/agihpc.v1.KvService/Put",
                                            request_serializer=o.pb.agihpc.PutRequest.SerializeToString,
                                            response_deserializer=o.pb.agihpc.PutResponse.FromString)
        self.room = threading.Semaphore(OUTSTANDING)
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.done = self.refused = 0
        self.without_hint = []
        self.other = {}
        self.last_refusal = None

    def run(self):
        i = 0
        while not self.ended.is_set():
            self.room.acquire()
            i += 1
            request = o.pb.agihpc.PutRequest(namespace="flood", key=b"%d" % (i % 5000), value=b"x" * 2000)
            self.put.future(request, timeout=20).add_done_callback(self.count)
        for _ in range(OUTSTANDING):
            self.room.acquire()

    def count(self, call):
        with self.lock:
            code = call.code()
            if code == grpc.StatusCode.OK:
                self.done += 1
            elif code == grpc.StatusCode.RESOURCE_EXHAUSTED:
                self.refused += 1
                trailers = dict(call.trailing_metadata())
                self.last_refusal = trailers
                if not 20 <= int(trailers.get("grpc-retry-pushback-ms", 0)) <= 5000:
                    self.without_hint.append(trailers)
            else:
                self.other[str(code)] = self.other.get(str(code), 0) + 1
        self.room.release()


class Calm(threading.Thread):
    """A namespace that writes now and then, and reads what it wrote."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.ended, self.took, self.failed = node, threading.Event(), [], []

    def run(self):
        i = 0
        while not self.ended.wait(0.03):
            i += 1
            began = time.monotonic()
            try:
                self.node.put(b"%d" % i, b"v", ns="calm", timeout=10)
                assert self.node.get(b"%d" % i, ns="calm", timeout=10).value == b"v"
            except (grpc.RpcError, AssertionError) as e:
                self.failed.append(e)
            self.took.append(time.monotonic() - began)

    def quantile(self, q):
        return sorted(self.took)[int(q * (len(self.took) - 1))]


def run_for(seconds, *threads):
    for t in threads:
        t.start()
    time.sleep(seconds)  # the load is the test
    for t in threads:
        t.ended.set()
    for t in threads:
        t.join(60 * o.SLOWNESS)
        assert not t.is_alive(), "a call never ended"


def flood(address):
    """The whole flood, in a process of its own: what it counted goes to standard output."""
    floods = [Flood(address) for _ in range(CONNECTIONS)]
    run_for(SECONDS, *floods)
    last = next((f.last_refusal for f in floods if f.last_refusal), {})
    print(json.dumps({
        "done": sum(f.done for f in floods), "refused": sum(f.refused for f in floods),
        "other": [f.other for f in floods if f.other],
        "without_hint": [str(f.without_hint[0]) for f in floods if f.without_hint],
        "pushback": last.get("grpc-retry-pushback-ms"),
        "details": base64.b64encode(last.get("grpc-status-details-bin", b"")).decode()}))


def retry_delay_ms(details):
    """Of the google.rpc.RetryInfo in a google.rpc.Status."""
    from google.protobuf import any_pb2, duration_pb2
    at = details.index(b"type.googleapis.com/google.rpc.RetryInfo") - 2
    detail = any_pb2.Any.FromString(details[at:])
    assert detail.value[0] == 0x0A, detail  # retry_delay = 1
    return duration_pb2.Duration.FromString(detail.value[2:]).ToMilliseconds()


def metrics(node):
    with urllib.request.urlopen(f"http://{node.addr}/metrics", timeout=5) as r:
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
                for line in r.read().decode().splitlines() if not line.startswith("#")}


def refusals(node):
    return sum(v for k, v in metrics(node).items() if k.startswith("agihpc_admission_refused_total"))


def overload(net, tap):
    node = net.nodes[0]
    if fd.WHY_NOT is None:
        node.fail(f"sync {SYNC_MS}ms")  # a disk that is as slow as disks are
    quiet = Calm(node)
    run_for(2, quiet)
    before = node.rss_bytes()
    child = subprocess.Popen([sys.executable, __file__, node.addr], stdout=subprocess.PIPE)
    wait_until("the flood has begun", lambda: refusals(node) > 0)
    calm, rss, results = Calm(node), [], []
    watcher = threading.Timer(SECONDS * 0.6, lambda: rss.append(node.rss_bytes()))
    ctl = threading.Timer(SECONDS * 0.3, lambda: results.append(
        node.ctl("-t", "20", "put", "--namespace", "flood", "k", "v")))
    watcher.start()
    ctl.start()
    run_for(SECONDS * 0.7, calm)
    ctl.join()
    got = json.loads(child.communicate()[0])
    done, refused = got["done"], got["refused"]
    tap.diag(f"flood: {done} done, {refused} refused in {SECONDS} s; calm put and get: "
             f"{calm.quantile(.5) * 1e3:.0f} ms p50, {calm.quantile(.99) * 1e3:.0f} ms p99, "
             f"alone {quiet.quantile(.5) * 1e3:.0f} and {quiet.quantile(.99) * 1e3:.0f}; "
             f"memory {before >> 20} -> {rss[0] >> 20} MiB")
    with tap.case("a flooded node refuses what it cannot take, and every refusal says when to come again"):
        assert refused > 100 and done > 100, (done, refused)
        assert not got["other"] and not got["without_hint"], got
        assert retry_delay_ms(base64.b64decode(got["details"])) == int(got["pushback"]), got
        assert refusals(node) >= refused, (refusals(node), refused)
    with tap.case("another namespace is served: never refused, and not much slower"):
        assert not calm.failed, calm.failed[:3]
        assert calm.quantile(0.99) < quiet.quantile(0.99) + 1.5 * o.SLOWNESS, calm.quantile(0.99)
    with tap.case("memory stays bounded"):
        assert rss[0] < before + (200 << 20) * o.SLOWNESS, (before, rss)
    with tap.case("agihpc-ctl comes again when it was told to, within its time"):
        assert results and results[0].status == 0, results
    with tap.case("when the flood ends nothing waits any more"):
        wait_until("queues are empty", lambda: metrics(node)["agihpc_admission_queued"] == 0
                   and metrics(node)["agihpc_admission_running"] == 0)


def main():
    tap = Tap()
    with fd.FaultOverlay(1) as net:
        tap.on_failure = net.logs
        net.configs.append(os.path.join(net.dir, "config.yaml"))
        with open(net.configs[0], "w", encoding="ascii") as f:
            f.write(CONFIG)
        net.nodes[0].extra = ["--init"]
        net.start()
        overload(net, tap)
    tap.done()


flood(sys.argv[1]) if len(sys.argv) == 2 else main()
