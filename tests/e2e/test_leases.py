# SPDX-License-Identifier: Apache-2.0
"""Leases and locks on real nodes: what has a lease goes with it, and a lock passes on when its holder dies."""

import sys
import time

import overlay as o
from overlay import grpc, pb, wait_until
from tap import Tap

a = pb.agihpc


def code_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e.code()
    return None


def put(node, key, value, lease):
    return node.rpc("kv_service").Put(a.PutRequest(key=key, value=value, level=o.LEVELS["strong"], lease_id=lease), timeout=30)


def grant(node, ttl_ms):
    return node.rpc("leases").Grant(a.GrantRequest(ttl_ms=ttl_ms, holder="test"), timeout=30).lease_id


def lock(node, lease, wait=False, timeout=60):
    return node.rpc("leases").Lock(a.LockRequest(key=b"lock", value=b"me", lease_id=lease, wait=wait), timeout=timeout)


def test_items(tap, net):
    with tap.case("an item that was put with a lease is there while it is kept alive, and gone when it is revoked"):
        x, y, z = net.nodes
        lease = grant(x, 60000)
        put(y, b"l/1", b"one", lease)
        answer = z.get(b"l/1", "strong")
        assert (answer.value, answer.lease_id) == (b"one", lease), answer
        assert x.rpc("leases").KeepAlive(a.KeepAliveRequest(lease_id=lease), timeout=30).ttl_ms == 60000
        assert z.rpc("leases").GetLease(a.GetLeaseRequest(lease_id=lease), timeout=30).holder == "test"
        found = wait_until("it is listed", lambda: y.rpc("leases").ListLeases(a.ListLeasesRequest(), timeout=30).leases)
        assert [(i.lease_id, i.ttl_ms) for i in found] == [(lease, 60000)], found
        z.rpc("leases").Revoke(a.RevokeRequest(lease_id=lease), timeout=30)
        assert x.get(b"l/1", "strong") is None
        gone = (lambda: x.rpc("leases").KeepAlive(a.KeepAliveRequest(lease_id=lease), timeout=30),
                lambda: y.rpc("leases").GetLease(a.GetLeaseRequest(lease_id=lease), timeout=30),
                lambda: put(z, b"l/2", b"two", lease))
        assert [code_of(c) for c in gone] == [grpc.StatusCode.NOT_FOUND] * 3
    with tap.case("an item goes when its lease is not kept alive, for watches and scans too"):
        begun = time.monotonic()
        put(x, b"l/3", b"three", grant(x, 1000))
        wait_until("it is gone", lambda: y.get(b"l/3", "strong") is None, 60)
        assert time.monotonic() - begun >= 1
        put(y, b"l/4", b"four", grant(y, 1000))  # this one nobody reads
        scan = a.ScanRequest(prefix=b"l/4", level=o.LEVELS["strong"], keys_only=True)
        wait_until("it is not found", lambda: not z.rpc("kv_service").Scan(scan, timeout=30).items, 60)
    with tap.case("what cannot be meant is refused"):
        bad = (lambda: x.rpc("leases").Grant(a.GrantRequest(ttl_ms=10), timeout=30),
               lambda: x.rpc("leases").Revoke(a.RevokeRequest(), timeout=30),
               lambda: x.rpc("leases").Lock(a.LockRequest(key=b"k"), timeout=30),
               lambda: x.rpc("kv_service").Put(a.PutRequest(key=b"k", value=b"v", lease_id=5), timeout=30))
        assert [code_of(c) for c in bad] == [grpc.StatusCode.INVALID_ARGUMENT] * len(bad)


def test_lock(tap, net):
    with tap.case("a lock has one holder, and its token grows from one to the next"):
        x, y, z = net.nodes
        one, two = grant(x, 60000), grant(y, 60000)
        first = lock(x, one)
        assert first.acquired and first.lease_id == one
        assert lock(z, one) == first  # asked for again
        held = lock(y, two)
        assert (held.acquired, held.lease_id, held.token) == (False, one, first.token), held
        waiting = y.rpc("leases").Lock.future(a.LockRequest(key=b"lock", lease_id=two, wait=True), timeout=60)
        z.rpc("leases").Revoke(a.RevokeRequest(lease_id=one), timeout=30)
        second = waiting.result()
        assert second.acquired and second.token > first.token, second
        give = a.CompareAndSetRequest(key=b"lock", expected_version=second.token, delete=True)
        assert z.rpc("kv_service").CompareAndSet(give, timeout=30).succeeded
        third = lock(x, grant(x, 60000))
        assert third.acquired and third.token > second.token, third


def main():
    tap = Tap()
    with o.Overlay(3) as net:
        tap.on_failure = net.logs
        net.start()
        net.wait_replicated()
        test_items(tap, net)
        test_lock(tap, net)
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
