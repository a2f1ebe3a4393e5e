# SPDX-License-Identifier: Apache-2.0
"""An overlay whose hosts have a network namespace each, joined by a bridge; links between them can be cut.

The test program itself moves to a network namespace of its own first (enter), where the bridge lives: nothing of
it is visible outside, and nothing is left when it ends. Cuts are nftables sets in the receiving host's namespace,
so that they can be one way: packets vanish, as on a dead line.

    netns.enter()                      # before anything else; skips the test without root
    with NetOverlay(5) as overlay: overlay.start(); overlay.split([1, 2], [3, 4, 5]); overlay.heal()
"""

import os
import shutil
import subprocess
import sys

import overlay as o
import tap

NETWORK = "10.99.0"
CLIENTS = f"{NETWORK}.254"  # this process


def enter():
    """Runs the program again in fresh network and mount namespaces."""
    if os.environ.get("AGI_NETNS") == str(os.getppid()) or os.environ.get("AGI_NETNS") == str(os.getpid()):
        return
    for tool in ("ip", "nft", "unshare", "nsenter"):
        if shutil.which(tool) is None:
            tap.skip_all(f"{tool} is missing (Debian: iproute2, nftables, util-linux)")
    if subprocess.run(["unshare", "--net", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        tap.skip_all("network namespaces need root")
    os.environ["AGI_NETNS"] = str(os.getpid())
    os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])


def sh(*argv):
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert p.returncode == 0, f"{' '.join(argv)}: {p.stdout.decode()}"


def in_ns(name, *argv):
    sh("nsenter", f"--net=/run/netns/{name}", *argv)


class NetNode(o.Node):
    """A node on a host of its own; env is added to its environment."""

    def __init__(self, *args):
        super().__init__(*args)
        self.ns = f"h{self.number}"
        self.env = {}
        self.has_small_disk = False
        self.was_started = False

    def put_on_small_disk(self, megabytes):
        """Its directory becomes a file system of this size (in memory)."""
        sh("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", self.dir)
        self.has_small_disk = True

    def start(self):
        self.was_started = True
        return super().start()

    def argv(self):
        env = [f"{k}={v}" for k, v in self.env.items()]
        return ["nsenter", f"--net=/run/netns/{self.ns}", "env", *env, *super().argv()]


class NetOverlay(o.Overlay):
    node_class = NetNode

    def __init__(self, n, **options):
        os.makedirs("/run/netns", exist_ok=True)
        sh("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "link", "add", "br0", "type", "bridge")
        sh("ip", "addr", "add", f"{CLIENTS}/24", "dev", "br0")
        sh("ip", "link", "set", "br0", "up")
        for i in range(1, n + 1):
            self._add_host(i)
        super().__init__(n, subnet=NETWORK, **options)
        self.cuts = set()

    @staticmethod
    def _add_host(i):
        ns = f"h{i}"
        sh("ip", "netns", "add", ns)
        sh("ip", "link", "add", f"v{i}", "type", "veth", "peer", "name", "eth0", "netns", ns)
        sh("ip", "link", "set", f"v{i}", "master", "br0", "up")
        in_ns(ns, "ip", "link", "set", "lo", "up")
        in_ns(ns, "ip", "addr", "add", f"{NETWORK}.{i}/24", "dev", "eth0")
        in_ns(ns, "ip", "link", "set", "eth0", "up")
        in_ns(ns, "nft", "add table inet cut; add set inet cut from { type ipv4_addr; }; "
                         "add chain inet cut in { type filter hook input priority 0; }; "
                         "add rule inet cut in ip saddr @from drop")

    def joined(self):
        """The nodes that were started at least once."""
        return [n for n in self.nodes if n.was_started]

    # --- the network ---
    def cut(self, a, b, both=True):
        """Packets from host a to host b vanish; with both, also the other way."""
        for x, y in ((a, b), (b, a)) if both else ((a, b),):
            if (x, y) not in self.cuts:
                in_ns(f"h{y}", "nft", "add", "element", "inet", "cut", "from", f"{{ {NETWORK}.{x} }}")
                self.cuts.add((x, y))

    def split(self, left, right):
        for a in left:
            for b in right:
                self.cut(a, b)

    def heal(self):
        for y in {y for _, y in self.cuts}:
            in_ns(f"h{y}", "nft", "flush", "set", "inet", "cut", "from")
        self.cuts.clear()
