# SPDX-License-Identifier: Apache-2.0
"""The overlay port of a real node against peers that break HTTP/2 (tests/net/h2cases.py), in plain text and over TLS: the
same server as in test_h2_conformance.py, but behind the listener, beside links and disk, with the node's limits."""

import os
import ssl
import sys

import overlay as o
from certs import Certs
from overlay import wait_until
from tap import Tap

sys.path.insert(0, os.path.join(o.SRCDIR, "tests", "net"))
import h2cases  # noqa: E402
import h2raw  # noqa: E402

HEALTH = b"/grpc.health.v1.Health/"


class NodeTarget(h2cases.Target):
    hangs = (HEALTH + b"Watch", b"")
    large = (b"/agihpc.v1.NodeService/Slots", b"")
    peak_bytes, kept_bytes = 2 * h2cases.PEAK_BYTES, 2 * h2cases.KEPT_BYTES  # the node has its own work

    def __init__(self, node, tls=None):
        self.wire = h2raw.Wire(HEALTH + b"Check", b"", b"\x08\x01", tls)
        self.address, self.pid = (node.ip, o.OVERLAY_PORT), node.proc.pid


def configure(net, node):
    certs = Certs(os.path.join(net.dir, "tls"))
    certs.sign("node", "node", f"IP:{node.ip}")
    path = os.path.join(net.dir, "tls.yaml")
    with open(path, "w") as f:
        # With I/O loops the same server has the connections, but answers come as they are ready: what nobody reads is
        # then bounded by max_connection_memory, not by peak_bytes.
        f.write(f"node:\n  io_loops: 0\ntls:\n  cert_file: {certs.path('node.crt')}\n"
                f"  key_file: {certs.path('node.key')}\n")
    node.extra = ["--config", path]
    context = ssl.create_default_context(cafile=certs.path("ca.crt"))
    context.set_alpn_protocols(["h2"])
    return context


def main():
    tap = Tap()
    with o.Overlay(1, time_limit=240) as net:
        node = net.nodes[0]
        tap.on_failure = net.logs
        tls = configure(net, node)
        net.start()
        wait_until("it serves", lambda: node.rpc("health").Check(
            o.pb.health.HealthCheckRequest(), timeout=5).status == o.pb.health.HealthCheckResponse.SERVING)
        plain, secret = (h2cases.Trial(tap, NodeTarget(node, context)) for context in (None, tls))
        plain.attacks(step=2)
        secret.attacks(step=3)
        plain.end()
        secret.end()
        with tap.case("the node is ready as before and ends in order"):
            assert node.is_ready()
            assert node.stop() == 0
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
