#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Roles by policy, on real nodes: of four hosts that could be gateways three are, a dead one is replaced, and safety
checks go on meanwhile."""

import os
import sys
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import overlay as o  # noqa: E402
from overlay import grpc, pb  # noqa: E402
from tap import Tap  # noqa: E402

GATEWAY_PORT = 50055
POLICY = "roles:\n  safety-gateway:\n    max_active: 3\n"


def gateways(node):
    return {a.rsplit(":", 1)[0] for a in node.discover("safety-gateway")}


def states(node):
    return {r["address"].rsplit(":", 1)[0]: r["state"] for r in node.ctl_json("roles")["roles"] if r["role"] == "safety-gateway"}


def standby(net):
    """The nodes in standby, when all that run see the same three gateways."""
    ips = {n.ip: n for n in net.running()}
    seen = [gateways(n) for n in net.running()]
    if any(s != seen[0] for s in seen) or len(seen[0]) != 3 or not seen[0] <= set(ips):
        return None
    return [n for ip, n in ips.items() if ip not in seen[0]]


def serving(node):
    answer = node.rpc("health", GATEWAY_PORT).Check(pb.health.HealthCheckRequest(
        service="agi.safety.v1.PreActionSafetyService"), timeout=10 * o.SLOWNESS)
    return answer.status == pb.health.HealthCheckResponse.SERVING


def is_allowed(node, plan):
    return node.check_plan(plan, timeout=20)[0] == "ALLOW"


def main():
    tap = Tap()
    plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
    with o.Overlay(4, roles={i: ["erisml", "safety-gateway"] for i in (1, 2, 3, 4)}) as net:
        tap.on_failure = net.logs
        policy = os.path.join(net.dir, "policy.yaml")
        with open(policy, "w") as f:
            f.write(POLICY)
        net.configs.append(policy)
        net.start()
        net.wait_replicated()  # the stop state too: without it nobody is offered
        with tap.case("of four capable hosts three serve, and every host sees the same three"):
            o.wait_until("three gateways", lambda: standby(net), 60)
            [spare] = standby(net)
        with tap.case("the fourth is in standby: its health says so, and ctl roles says why"):
            o.wait_until("health", lambda: not serving(spare), 60)
            rows = [r for r in spare.ctl_json("roles")["roles"] if r["role"] == "safety-gateway"]
            mine = [r for r in rows if r["address"].startswith(spare.ip + ":")]
            assert [r["state"] for r in mine] == ["standby"] and "are wanted" in mine[0]["note"], rows
            other = next(n for n in net.nodes if n is not spare)
            o.wait_until("others see it", lambda: states(other).get(spare.ip) == "standby", 60)
            text = urllib.request.urlopen(f"http://{spare.addr}/metrics", timeout=20).read().decode()
            assert 'agihpc_role_active{role="safety-gateway"} 0' in text
            assert 'agihpc_role_hosts_wanted{role="safety-gateway"} 3' in text
        with tap.case("checks are allowed, asked at a host in standby too"):
            for node in net.nodes:
                o.wait_until("a check is allowed", lambda node=node: is_allowed(node, plan), 60)
        with tap.case("the names of capable hosts are reserved"):
            try:
                spare.register("safety-gateway-capable", "127.0.0.1:1")
                raise AssertionError("registered")
            except grpc.RpcError as e:
                assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and "expected another name" in e.details(), e
        with tap.case("a gateway that dies is replaced by the one in standby, and checks go on"):
            dead = next(n for n in net.nodes if n is not spare)
            dead.kill()
            o.wait_until("the fourth serves", lambda: serving(spare) and standby(net) == [], 60)
            for node in net.running():
                o.wait_until("a check is allowed", lambda node=node: is_allowed(node, plan), 60)
    tap.done()
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
