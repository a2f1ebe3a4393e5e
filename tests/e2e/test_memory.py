# SPDX-License-Identifier: Apache-2.0
"""The memory API on real nodes, by gRPC and by agihpc-ctl: conditional writes, sums, levels by namespace."""

import os
import signal
import sys
import threading
import time

import overlay as o
import stored
from overlay import grpc, pb
from tap import Tap


CONFIG = """\
node: {stable_after: 300ms}
dht:
  namespaces: {policy: strong, copies: all}
  hint_ttl: 1s
  tombstone_grace: 2s
  repair_interval: %s
"""


def error_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e
    raise AssertionError("the call should have failed")


def compare_and_set(node, key, value, expected, **more):
    return node.rpc("kv_service").CompareAndSet(pb.agihpc.CompareAndSetRequest(
        key=key, value=value, expected_version=expected, **more), timeout=10 * o.SLOWNESS)


def add(node, key, delta):
    return node.rpc("kv_service").Add(pb.agihpc.AddRequest(key=key, delta=delta), timeout=10 * o.SLOWNESS)


def test_conditions(tap, net):
    a, b, c = net.nodes
    with tap.case("a condition that holds writes, one that does not tells what is there"):
        first = compare_and_set(a, b"cas", b"one", 0)
        assert first.succeeded and first.version
        again = compare_and_set(b, b"cas", b"two", 0)
        assert not again.succeeded and again.version == first.version and again.value == b"one", again
        second = compare_and_set(c, b"cas", b"two", first.version)
        assert second.succeeded and second.version > first.version
        assert a.get(b"cas", "strong").value == b"two"
        assert compare_and_set(b, b"cas", b"", second.version, delete=True).succeeded
        assert a.get(b"cas", "strong") is None
    with tap.case("what cannot be meant is refused"):
        e = error_of(lambda: compare_and_set(a, b"cas", b"v", 5, delete=True))
        assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and "delete is set" in e.details(), e
        e = error_of(lambda: compare_and_set(a, b"cas", b"", 0, delete=True))
        assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and "nothing to delete" in e.details(), e
    with tap.case("the same with agihpc-ctl"):
        d = b.ctl_json("put", "cli", "v1", "--if-absent")
        a.ctl("put", "cli", "v2", "--if-absent").expect(5)
        d = a.ctl_json("put", "cli", "v2", "--if-version", d["version"])
        a.ctl("del", "cli", "--if-version", str(int(d["version"]) - 1)).expect(5)
        a.ctl("del", "cli", "--if-version", d["version"]).expect(0)
        a.ctl("get", "cli", "--level", "strong").expect(3)


def test_sums(tap, net):
    with tap.case("sums by many clients at three nodes come out exact"):
        def work(node, times):
            for _ in range(times):
                add(node, b"sum", 3)
        threads = [threading.Thread(target=work, args=(net.nodes[i % 3], 20)) for i in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert add(net.nodes[0], b"sum", 0).value == 360
        assert net.nodes[1].ctl("incr", "sum", "--by=-360").expect(0).out == "0\n"
    with tap.case("what is no number is not added to"):
        net.nodes[0].put(b"text", b"12 apples", "strong")
        e = error_of(lambda: add(net.nodes[1], b"text", 1))
        assert e.code() == grpc.StatusCode.FAILED_PRECONDITION and "NOT_NUMBER" in e.details(), e


def test_levels(tap, net):
    a, b, _ = net.nodes
    with tap.case("a namespace has the level of the configuration, and a level that is named goes before it"):
        version = a.put(b"k", b"strong", ns="policy").version
        assert b.get(b"k", "strong", ns="policy").version == version
        assert b.get(b"k", "quorum", ns="policy") is None
        assert b.get(b"k", ns="policy").value == b"strong"
        a.put(b"k", b"eventual", "quorum", ns="policy")
        assert b.get(b"k", ns="policy").value == b"strong"
        assert a.put(b"k", b"all", ns="copies").acks == 3
        assert a.delete(b"k", ns="policy").version > version and b.get(b"k", ns="policy") is None
    with tap.case("a strong item has no time to live"):
        e = error_of(lambda: a.rpc("kv_service").Put(pb.agihpc.PutRequest(namespace="policy", key=b"k", ttl_ms=5),
                                                     timeout=10))
        assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and "time to live" in e.details(), e


def scan_pages(nodes, **request):
    """Every page, each from another node."""
    token, pages = b"", []
    while True:
        node = nodes[len(pages) % len(nodes)]
        page = node.rpc("kv_service").Scan(pb.agihpc.ScanRequest(page_token=token, **request), timeout=10 * o.SLOWNESS)
        pages.append(page)
        token = page.next_page_token
        if not token:
            return pages


def test_scan(tap, net):
    a, b, _ = net.nodes
    with tap.case("a scan finds every item of a prefix once, page by page at different nodes"):
        for i in range(150):
            a.put(b"user/%03d" % i, b"value %d" % i, ns="scan")
            b.put(b"user/%03d" % i, b"strong %d" % i, "strong", ns="scan")
        for i in range(0, 150, 3):
            b.delete(b"user/%03d" % i, ns="scan")
        a.put(b"other", b"x", ns="scan")
        for level, text, count in ((0, b"value", 100), (o.LEVELS["one"], b"value", 100), (o.LEVELS["strong"], b"strong", 150)):
            pages = scan_pages(net.nodes, namespace="scan", prefix=b"user/", level=level, limit=30)
            items = {i.key: i.value for p in pages for i in p.items}
            assert len(pages) > 2 and all(len(p.items) <= 30 for p in pages)
            assert sum(len(p.items) for p in pages) == len(items) == count, (len(items), count)
            assert all(v == text + b" %d" % int(k[5:]) for k, v in items.items())
    with tap.case("the same with agihpc-ctl, sorted"):
        rows = b.ctl("scan", "user/00", "--namespace", "scan").expect(0).out.splitlines()
        assert [r.split()[0] for r in rows[1:]] == [f"user/{i:03d}" for i in (1, 2, 4, 5, 7, 8)], rows
        assert b.ctl("scan", "--count", "--namespace", "scan").expect(0).out == "101\n"
        assert b.ctl("scan", "--count", "--namespace", "scan", "--level", "strong").expect(0).out == "150\n"
        assert b.ctl("scan", "user/14", "--keys-only", "--namespace", "scan").expect(0).out.split() == [
            f"user/{i}" for i in (140, 142, 143, 145, 146, 148, 149)]
        d = b.ctl_json("scan", "user/", "--limit", "5", "--namespace", "scan")
        assert d["count"] == len(d["items"]) == 5 and not d["complete"], d
    with tap.case("what cannot be meant is refused"):
        e = error_of(lambda: scan_pages([a], limit=10001))
        assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and "10000" in e.details(), e
        e = error_of(lambda: a.rpc("kv_service").Scan(pb.agihpc.ScanRequest(page_token=b"nonsense"), timeout=10))
        assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and "page token" in e.details(), e
    with tap.case("a scan of a small namespace is quick in 4096 slots"):
        times = []
        for _ in range(10):
            began = time.monotonic()
            scan_pages([a], namespace="nothing here")
            times.append(time.monotonic() - began)
        tap.diag(f"{min(times) * 1000:.1f} ms at best, {max(times) * 1000:.1f} ms at worst")
        assert min(times) < 0.05 * o.SLOWNESS


def test_batch(tap, net):
    a, b, c = net.nodes

    def batch(node, items, **more):
        return node.rpc("kv_service").Batch(pb.agihpc.BatchRequest(items=items, **more), timeout=20 * o.SLOWNESS).results

    with tap.case("64 puts in one call, strong or not, each with its own version"):
        for level in ("quorum", "strong"):
            items = [pb.agihpc.BatchItem(key=b"b%d" % i, value=b"v%d" % i) for i in range(64)]
            results = batch(a, items, namespace="batch", level=o.LEVELS[level])
            assert len(results) == 64 and all(r.code == 0 and r.version for r in results), results
            assert all(b.get(b"b%d" % i, level, ns="batch").version == results[i].version for i in range(0, 64, 9))
            results = batch(c, [pb.agihpc.BatchItem(key=b"b1", delete=True)], namespace="batch", level=o.LEVELS[level])
            assert results[0].code == 0 and a.get(b"b1", level, ns="batch") is None
    with tap.case("what cannot be meant is refused, and named"):
        item = pb.agihpc.BatchItem
        for items, says in (([], "items: 0"), ([item(key=b"k")] * 65, "items: 65"), ([item(key=b"k")] * 2, "the same key"),
                            ([item(key=b"k"), item()], "items[1].key"), ([item(key=b"k", value=b"v", delete=True)], "delete is set"),
                            ([item(key=b"k%d" % i, value=bytes(1 << 20)) for i in range(3)] + [item(key=b"x", value=bytes((1 << 20) + 1))], "items[3].value")):
            e = error_of(lambda items=items: batch(a, items))
            assert says in e.details() or e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
    with tap.case("a large file with agihpc-ctl"):
        lines = b"".join(b'put line/%d "value %d"\n' % (i, i) for i in range(1000)) + b"del line/7\n"
        assert b.ctl("batch", "--namespace", "batch", stdin=lines).expect(0).out == "stored 1000, deleted 1, failed 0\n"
        assert c.ctl("scan", "line/", "--count", "--namespace", "batch").expect(0).out == "999\n"


def set_config(net, repair_interval):
    with open(net.configs[-1], "w", encoding="ascii") as f:
        f.write(CONFIG % repair_interval)
    for node in net.nodes:
        if node.is_running():
            node.signal(signal.SIGHUP)


def on_disk(net):
    """The keys of the namespace "buried" that each node's disk has, dead or alive, items and registers; None: cannot be
    told just now."""
    found = [stored.keys(node) for node in net.nodes]
    return [None if keys is None else {k for k in keys if b"buried" in k} for keys in found]


def test_graves(tap, net):
    a, b, c = net.nodes
    keys = [(b"%d %s" % (i, level.encode()), level) for level in ("strong", "quorum") for i in range(10)]
    with tap.case("what is deleted leaves all disks after the grace, and does not come back with a member that was down"):
        set_config(net, "1s")
        for key, level in keys:
            a.put(key, b"soon gone", level, ns="buried")
        o.wait_until("all members have them", lambda: [found and len(found) for found in on_disk(net)] == [20] * 3, 60)
        for key, level in keys:
            if level == "quorum" and c.is_running():
                c.kill()
            b.delete(key, level, ns="buried")
        net.start([c])
        o.wait_until("no disk has them", lambda: on_disk(net) == [set()] * 3, 120)
        assert all(node.get(key, level, ns="buried") is None for node in net.nodes for key, level in keys)
        assert not any(on_disk(net)), "a read has brought some back"


def main():
    tap = Tap()
    with o.Overlay(3) as net:
        tap.on_failure = net.logs
        net.configs.append(os.path.join(net.dir, "memory.yaml"))
        set_config(net, "10m")
        net.start()
        net.wait_replicated()
        test_conditions(tap, net)
        test_sums(tap, net)
        test_levels(tap, net)
        test_scan(tap, net)
        test_batch(tap, net)
        test_graves(tap, net)
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
