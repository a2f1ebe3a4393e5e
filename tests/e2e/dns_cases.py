# SPDX-License-Identifier: Apache-2.0
"""Services by DNS, asked with dig; and packets that are none."""

import os
import random
import re
import shutil
import socket
import struct

import overlay as o
from overlay import run, wait_until
from tap import Skip

PORT = 8600
DIG = shutil.which("dig")
MANY = 40


def configure(net):
    """Has the first node listen; before it is started."""
    node = net.nodes[0]
    path = os.path.join(net.dir, "dns.yaml")
    with open(path, "w") as f:
        f.write(f"dns: {{listen: '{node.ip}:{PORT}', domain: agihpc.test, ttl: 2s}}\n")
    node.extra += ["--config", path]


def dig(net, *args):
    """(status, lines of the answer part, the whole text)"""
    if not DIG:
        raise Skip("dig is missing (Debian: bind9-dnsutils)")
    out = run(DIG, "@" + net.nodes[0].ip, "-p", str(PORT), "+tries=3", "+timeout=20", "+norec", *args,
              timeout=90).expect(0).out
    part = re.search(r";; ANSWER SECTION:\n(.*?)\n\n", out, re.S)
    status = re.search(r"status: (\w+)", out)
    assert status, out
    return status.group(1), part.group(1).splitlines() if part else [], out


def values(net, *args):
    return [line.split(None, 4)[4] for line in dig(net, *args)[1]]


def test_dns(tap, net):
    first, second = net.nodes[0], net.nodes[1]
    first.register("dns-svc", first.addr, kind="none")
    second.register("dns-svc", second.addr, kind="none")
    first.register("dns-svc", f"{first.ip}:9")  # nobody listens
    hosts = [first.ip, second.ip]
    with tap.case("DNS: A of a service is its healthy instances, nearest first, for two seconds"):
        wait_until("both", lambda: values(net, "dns-svc.service.agihpc.test", "A") == hosts, 60)
        _, lines, out = dig(net, "dns-svc.service.agihpc.test", "A")
        assert all(line.split()[1] == "2" for line in lines) and " aa" in out, out
    with tap.case("DNS: SRV says ports too, and has the addresses of its targets with it"):
        wanted = [f"{i + 1} 0 5000 {socket.inet_aton(ip).hex()}.addr.agihpc.test." for i, ip in enumerate(hosts)]
        for name in ("dns-svc.service", "_dns-svc._tcp", "_dns-svc._tcp.service", "_DNS-Svc._TCP"):
            wait_until(name, lambda name=name: values(net, name + ".agihpc.test", "SRV") == wanted, 60)
        assert "ADDITIONAL: 2" in dig(net, "_dns-svc._tcp.agihpc.test", "SRV")[2]
        assert values(net, wanted[0].split()[3], "A") == [first.ip]
    with tap.case("DNS: an unknown service is NXDOMAIN, a type it has not is empty, another domain is refused"):
        for name, kind, status in (("nothing.service", "A", "NXDOMAIN"), ("x.y.z", "A", "NXDOMAIN"),
                                   ("7f00000.addr", "A", "NXDOMAIN"), ("dns-svc.service", "AAAA", "NOERROR"),
                                   ("_dns-svc._tcp", "A", "NOERROR"), ("service", "A", "NOERROR"),
                                   ("dns-svc.service", "MX", "NOERROR")):
            got = dig(net, name + ".agihpc.test", kind)
            assert got[0] == status and not got[1] and "hostmaster.agihpc.test. 1 3600 600 86400 2" in got[2], got[2]
        assert dig(net, "example.org", "A")[0] == "REFUSED"
        assert dig(net, "agihpc.test", "SOA")[1]
    with tap.case(f"DNS: of {MANY} instances as many as fit into 512 bytes, nearest first, and none is cut off"):
        for i in range(MANY):
            first.register("dns-many", f"{net.subnet}.{100 + i}:{7000 + i}", kind="none")
        wait_until("found", lambda: len(first.discover("dns-many")) == MANY, 60)
        for kind, least in (("A", 25), ("SRV", 5)):
            _, lines, out = dig(net, "dns-many.service.agihpc.test", kind)
            size = int(re.search(r"MSG SIZE\s+rcvd: (\d+)", out).group(1))
            assert len(lines) >= least and size <= 512 and " tc" not in out and "malformed" not in out, out
    test_malformed(tap, net)


def packet(name=b"\7dns-svc\7service\6agihpc\4test\0", kind=1, count=1, flags=0):
    question = name + struct.pack(">2H", kind, 1)
    return struct.pack(">6H", random.getrandbits(16), flags, count, 0, 0, 0) + question * count


def test_malformed(tap, net):
    with tap.case("DNS: packets that are no question, and empty ones, do no harm"):
        random.seed(1)
        loop = b"\xc0\x0c"
        long = b"".join(b"\x3f" + b"a" * 63 for _ in range(6)) + b"\0"
        packets = [b"", b"\0", packet()[:11], packet(name=loop), packet(name=loop, count=200), packet(count=40),
                   packet(name=long), packet(name=b"\x3fab"), packet(count=0), packet(flags=0x8000),
                   packet(flags=0x2800),
                   struct.pack(">6H", 1, 0, 65535, 65535, 65535, 65535), packet(name=b"\3a.b\1\0\0"), b"\xff" * 1500]
        whole = packet()
        for _ in range(3000):
            p = bytearray(whole)
            for _ in range(random.randint(1, 6)):
                p[random.randrange(len(p))] = random.getrandbits(8)
            packets.append(bytes(p[:random.randint(0, len(p))] if random.random() < 0.3 else p))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect((net.nodes[0].ip, PORT))
            for p in packets:
                s.send(p)
        assert net.nodes[0].is_running()
        wait_until("it answers", lambda: len(values(net, "dns-svc.service.agihpc.test", "A")) == 2, 60)
