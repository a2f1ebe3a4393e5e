# SPDX-License-Identifier: Apache-2.0
"""An overlay whose hosts stand at sites, with time between them: each host has a network namespace, and a router
(delayrouter.c) passes their packets on after the time that the pair of sites takes.

    netns.enter()                      # before anything else; skips the test without root
    with SiteOverlay({1: "a", 2: "b"}, {("a", "b"): 20}) as overlay: ...     # 20 ms there and back
"""

import os
import subprocess

import netns
import overlay as o
import tap

ROUTER = os.path.join(o.BUILDDIR, "tests", "e2e", "delayrouter")
CLIENT_SITE = "clients"  # this process: no time from there to anywhere


class SiteOverlay(o.Overlay):
    node_class = netns.NetNode

    def __init__(self, site_of, rtt_ms, **options):
        if not os.path.exists(ROUTER):
            tap.skip_all("delayrouter is not built: make check builds it")
        if not os.path.exists("/dev/net/tun"):
            tap.skip_all("there is no /dev/net/tun")
        self.site_of = site_of
        os.makedirs("/run/netns", exist_ok=True)
        netns.sh("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        netns.sh("ip", "link", "set", "lo", "up")
        for i in site_of:
            netns.sh("ip", "netns", "add", f"h{i}")
        self.router = self._start_router(site_of, rtt_ms)
        self._give_address(netns.sh, netns.CLIENTS)
        for i in site_of:
            self._give_address(lambda *argv, i=i: netns.in_ns(f"h{i}", *argv), f"{netns.NETWORK}.{i}")
        super().__init__(len(site_of), subnet=netns.NETWORK, **options)

    @staticmethod
    def _start_router(site_of, rtt_ms):
        hosts = [f"-={netns.CLIENTS}={CLIENT_SITE}"]
        hosts += [f"/run/netns/h{i}={netns.NETWORK}.{i}={site}" for i, site in site_of.items()]
        times = [f"{a}~{b}={int(ms * 500)}" for (a, b), ms in rtt_ms.items()]
        router = o.spawn([ROUTER, *hosts, *times], stdout=subprocess.PIPE)
        assert router.stdout.readline() == b"ready\n", "the router did not start"
        return router

    @staticmethod
    def _give_address(do, address):
        do("ip", "link", "set", "lo", "up")
        do("ip", "addr", "add", f"{address}/32", "dev", "tun0")
        do("ip", "link", "set", "tun0", "up")
        do("ip", "route", "add", f"{netns.NETWORK}.0/24", "dev", "tun0", "src", address)

    def close(self):
        super().close()
        self.router.kill()
        self.router.wait()
