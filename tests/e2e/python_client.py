# SPDX-License-Identifier: Apache-2.0
"""clients/python against a running overlay: cases that several tests hand their nodes to."""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time

import overlay as o
from overlay import wait_until
from tap import Skip

CLIENT = os.path.join(o.SRCDIR, "clients", "python")
sys.path.insert(0, CLIENT)
import agihpc  # noqa: E402
from agi.core.dht import DHTClient  # noqa: E402  (as the deployment guide imports it)

TIMEOUT = 20.0 * o.SLOWNESS
NOBODY = "127.0.0.2:9"  # refuses connections


def raises(kind, call, *texts):
    try:
        value = call()
    except kind as e:
        assert all(t in str(e) for t in texts), e
        return e
    raise AssertionError(f"{kind.__name__} expected, not {value!r}")


def client(*addresses, **options):
    return DHTClient(bootstrap_nodes=list(addresses), **{"timeout": TIMEOUT, "connect_timeout": TIMEOUT, **options})


def test_services(tap, net):
    address = net.nodes[1].addr  # something that listens
    with client(net.nodes[0].addr, net.nodes[1].addr) as dht:
        with tap.case("Python: a service is registered, discovered as a list, and nearest, as in the guide"):
            dht.register_service("py-planner", address)
            wait_until("discovered", lambda: dht.discover("py-planner") == [address], 60)
            assert dht.get_nearest("py-planner") == address
        with tap.case("Python: instances say where, how far and how loaded; ports not listened on are not among them"):
            dht.register_service("py-planner", NOBODY, interval=0.5)
            found = wait_until("one", lambda: [i for i in dht.instances("py-planner") if i.address == address], 60)
            assert found[0].node_id and not found[0].tls and not found[0].stale, found
            assert NOBODY not in dht.discover("py-planner")
            dht.deregister_service("py-planner", NOBODY)
        with tap.case("Python: deregistered by any client, it is not found, and a second time raises NotFound"):
            with client(net.nodes[2].addr, net.nodes[0].addr) as other:
                other.deregister_service("py-planner", address)
            wait_until("gone", lambda: dht.discover("py-planner") == [], 60)
            raises(agihpc.NotFound, lambda: dht.get_nearest("py-planner"), "py-planner")
            e = raises(LookupError, lambda: dht.deregister_service("py-planner", address))
            assert e.reason == "NOT_FOUND", e.reason


def test_memory(tap, net):
    net.wait_replicated()
    with client(net.nodes[0].addr) as dht, client(net.nodes[2].addr) as other:
        with tap.case("Python: put, get and delete of text and bytes, at a level, with an expiry"):
            assert dht.put("py/colour", "grün") > 0
            assert other.get("py/colour") == "grün".encode()
            dht.put(b"py/\0raw", bytes(range(256)), level="all", ttl=3600)
            assert other.get(b"py/\0raw", level="one") == bytes(range(256))
            dht.delete("py/colour")
            assert other.get("py/colour") is None and other.get("py/colour", b"none") == b"none"
            dht.put("py/strong", "1", level="strong")
            assert other.get("py/strong", level="strong") == b"1"
        with tap.case("Python: what no node takes is refused with a text that says why"):
            raises(agihpc.InvalidArgument, lambda: dht.put("", "v"), "key")
            raises(ValueError, lambda: dht.put("k", "v", level="most"), "quorum")
            raises(TypeError, lambda: dht.put("k", 1), "value")
            raises(ValueError, lambda: dht.register_service("s", "h:1", check="ping"), "tcp")
            raises(agihpc.InvalidArgument, lambda: dht.register_service("No_Name", "127.0.0.1:1"))
            raises(ValueError, lambda: DHTClient(bootstrap_nodes=["node1:port"]), "node1:port")
            raises(ValueError, lambda: DHTClient(bootstrap_nodes=[]))
            raises(TypeError, lambda: DHTClient(bootstrap_nodes="node1:5000"), "list")
        with tap.case("Python: four threads share a client"):
            problems = []

            def work(number):
                try:
                    for i in range(20):
                        dht.put(f"py/t{number}", str(i))
                        assert dht.get(f"py/t{number}") == str(i).encode()
                except Exception as e:
                    problems.append(e)
            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            assert not problems, problems


def test_failover(tap, net):
    """Ends net.nodes[0] with SIGKILL."""
    first, second = net.nodes[0], net.nodes[1]
    with tap.case("Python: a bootstrap node that refuses connections is passed over"):
        with client(NOBODY, first.addr) as dht:
            dht.put("py/f", "1")
            assert dht.get("py/f") == b"1"
    with client(first.addr, second.addr) as dht:
        with tap.case("Python: when the node it speaks to is killed, reads and writes go on with the next"):
            dht.put("py/f", "2")
            first.kill()
            wait_until("read again", lambda: dht.get("py/f") == b"2", 60)
            # Until the cluster has noticed, a write may be told that it is not known what became of it.
            wait_until("written again", lambda: write(dht, "py/f", "3"), 60)
            wait_until("it is read", lambda: dht.get("py/f") == b"3", 60)
    with client(first.addr, NOBODY, timeout=2.0) as dht:
        with tap.case("Python: when no bootstrap node can be reached, each is named, within the timeout"):
            began = time.monotonic()
            e = raises(ConnectionError, lambda: dht.get("py/f"), first.addr, NOBODY)
            assert isinstance(e, agihpc.Unavailable) and time.monotonic() - began < 30 * o.SLOWNESS
    with tap.case("Python: a closed client says so"):
        raises(agihpc.DHTError, lambda: dht.get("py/f"), "closed")


def write(dht, key, value):
    try:
        return dht.put(key, value)
    except (agihpc.OutcomeUnknown, agihpc.Unavailable) as e:
        raise OSError(e) from e  # wait_until tries again


def test_secured(tap, address, certs, tokens):
    """address: TLS with a certificate of certs' "ca"; tokens: {"reader", "writer": token}."""
    ca = certs.path("ca.crt")
    with tap.case("Python: TLS and a token; without the right one it raises Denied"):
        with client(address, ca_file=ca, token=tokens["writer"]) as dht:
            dht.put("py/tls", "1")
        with client(address, ca_file=ca, token=tokens["reader"]) as dht:
            assert dht.get("py/tls") == b"1"
            raises(agihpc.Denied, lambda: dht.put("py/tls", "2"), "write")
        with client(address, ca_file=ca) as dht:
            raises(PermissionError, lambda: dht.get("py/tls"))
    with tap.case("Python: a client certificate counts as a token does"):
        with client(address, ca_file=ca, cert_file=certs.path("operator.crt"),
                    key_file=certs.path("operator.key")) as dht:
            dht.put("py/tls", "3")
            assert dht.get("py/tls") == b"3"
    with tap.case("Python: a node whose certificate another authority signed is not spoken to"):
        with client(address, ca_file=certs.path("other-ca.crt"), token=tokens["writer"], timeout=5.0) as dht:
            raises(agihpc.Unavailable, lambda: dht.get("py/tls"), address)


def test_install(tap, folder):
    """pip, without a network and outside of the sources."""
    with tap.case("Python: pip installs the package with its compiled messages"):
        if not all(importlib.util.find_spec(m) for m in ("pip", "setuptools", "wheel")):
            raise Skip("pip, setuptools or wheel is missing (Debian: python3-pip)")
        source, target = os.path.join(folder, "py-source"), os.path.join(folder, "py-target")
        shutil.copytree(CLIENT, os.path.join(source, "clients", "python"),
                        ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
        shutil.copytree(os.path.join(o.SRCDIR, "proto"), os.path.join(source, "proto"))
        for where, _, _ in os.walk(source):  # a source package may be read-only
            os.chmod(where, 0o755)
        pip = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
             "--no-warn-script-location", "--disable-pip-version-check", "--no-compile", "--target", target,
             os.path.join(source, "clients", "python")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PIP_NO_CACHE_DIR": "1"})
        assert pip.returncode == 0, pip.stdout.decode("utf-8", "replace")
        assert os.path.exists(os.path.join(target, "agihpc", "agihpc.desc")), os.listdir(target)
        out = subprocess.run(
            [sys.executable, "-c", "import agihpc; from agi.core.dht import DHTClient as c; print(agihpc.__file__);"
             "c(['node1'])"], cwd=folder, env={"PYTHONPATH": target, "PATH": ""}, stdout=subprocess.PIPE, check=True)
        assert out.stdout.decode().startswith(target), out.stdout
