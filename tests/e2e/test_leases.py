# SPDX-License-Identifier: Apache-2.0
"""Leases and locks on real nodes: what has a lease goes with it, and a lock passes on when its holder dies."""

import os
import signal
import subprocess
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
        watch = x.rpc("kv_service").Watch(a.WatchRequest(key=b"l/4", level=o.LEVELS["strong"], initial=True), timeout=120)
        begun = time.monotonic()
        put(y, b"l/4", b"four", grant(y, 1000))  # this one nobody reads
        put(x, b"l/3", b"three", grant(x, 1000))
        wait_until("it is gone", lambda: y.get(b"l/3", "strong") is None, 60)
        assert time.monotonic() - begun >= 1
        kinds = (e.kind for r in watch for e in r.events)
        assert a.WatchEvent.DELETE in kinds  # waits for it
        watch.cancel()
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


def start(node, *args):
    return subprocess.Popen([o.CTL, "-n", node.addr, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctl(tap, net):
    x, y, z = net.nodes
    with tap.case("agihpc-ctl lease grants, shows, keeps alive, revokes"):
        lease = x.ctl_json("lease", "grant", "60s", "--holder", "a test")["lease"]
        assert y.ctl("put", "c/1", "one", "--level", "strong", "--lease", lease).expect(0)
        shown = z.ctl_json("lease", "show", lease)
        assert (shown["lease"], shown["ttl_ms"], shown["holder"]) == (lease, 60000, "a test"), shown
        assert lease in y.ctl("lease", "list").expect(0).out
        assert lease in [i["lease"] for i in x.ctl_json("lease", "list")["leases"]]
        x.ctl("lease", "keepalive", lease, "--once").expect(0)
        y.ctl("lease", "revoke", lease).expect(0)
        z.ctl("get", "c/1", "--level", "strong").expect(3)
        z.ctl("lease", "show", lease).expect(3)
        z.ctl("lease", "show", "nonsense").expect(2)
        z.ctl("lease", "grant", "10ms").expect(2)
        z.ctl("put", "c/1", "one", "--lease", lease).expect(2)
    with tap.case("a lock is held while a command runs, is given back, and its tokens grow"):
        script = ("lock", "job", "--", "sh", "-c", "echo $AGIHPC_LOCK_TOKEN; exit 7")
        tokens = [int(n.ctl(*script, timeout=60).expect(7).out) for n in net.nodes]
        assert tokens == sorted(set(tokens)), tokens
        holder = start(x, "lock", "job")
        assert int(holder.stdout.readline().split()[1]) > tokens[-1]
        refused = y.ctl("lock", "job", "--wait", "0", "--", "true").expect(5)
        assert "the lock is held, by lease" in refused.err, refused
        holder.send_signal(signal.SIGINT)
        assert holder.wait(60) == 0
        y.ctl("lock", "job", "--wait", "0", "--", "true").expect(0)
    with tap.case("when its holder is killed, its command dies, and the lock passes on after the ttl"):
        begun = time.monotonic()
        holder = start(x, "lock", "other", "--ttl", "2s", "--", "sh", "-c", "echo $AGIHPC_LOCK_TOKEN $$; exec sleep 600")
        token, pid = map(int, holder.stdout.readline().split())
        waiting = start(y, "lock", "other", "--wait", "120s", "--", "sh", "-c", "echo $AGIHPC_LOCK_TOKEN")
        holder.kill()
        holder.wait()
        wait_until("its command is gone", lambda: not os.path.exists(f"/proc/{pid}"), 60)
        out, err = waiting.communicate(timeout=120)
        assert waiting.returncode == 0 and int(out) > token, (out, err)
        assert time.monotonic() - begun >= 2


def main():
    tap = Tap()
    with o.Overlay(3) as net:
        tap.on_failure = net.logs
        config = os.path.join(net.dir, "leases.yaml")
        with open(config, "w", encoding="ascii") as f:
            f.write("node: {stable_after: 300ms}\n")  # else most of the time is the wait for three replicas
        net.configs.append(config)
        net.start()
        net.wait_replicated()
        test_items(tap, net)
        test_lock(tap, net)
        test_ctl(tap, net)
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
