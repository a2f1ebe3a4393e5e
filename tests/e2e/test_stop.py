#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The emergency stop, on real nodes: it blocks everywhere within its bound, survives restarts, and a host that cannot
confirm its state blocks. Three hosts run all safety roles, two none."""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import overlay as o  # noqa: E402
from overlay import grpc, pb  # noqa: E402
from tap import Tap  # noqa: E402

IN_ACTION_PORT = 50056
BOUND_S = 1.0 * o.SLOWNESS


def actions(node, port=IN_ACTION_PORT):
    s = pb.safety
    return o.Rpc(node.channel(port), "agi.safety.v1.InActionSafetyService", {
        "CheckAction": (s.CheckActionRequest, s.CheckActionResponse),
        "ReflexCheck": (s.ReflexCheckRequest, s.ReflexCheckResponse),
        "EmergencyStop": (s.EmergencyStopRequest, s.EmergencyStopResponse)})


def reflex(node, port=IN_ACTION_PORT, **risks):
    return actions(node, port).ReflexCheck(pb.safety.ReflexCheckRequest(**risks), timeout=5 * o.SLOWNESS)


def check_action(node, port=IN_ACTION_PORT, step="s", **readings):
    return actions(node, port).CheckAction(pb.safety.CheckActionRequest(
        plan_id="p", step_id=step, step=pb.plan.PlanStep(step_id=step, tool_id="arm"), sensor_readings=readings),
        timeout=5 * o.SLOWNESS)


def audit(node):
    return o.run(o.CTL, "-n", node.addr, "-o", "json", "safety", "audit", "--verify", "--reflexes", "--limit", "100000",
                 timeout=60 * o.SLOWNESS).expect(0).json()


def is_noted(node, steps):
    """Actions that were forbidden are in the log, one by one; allowed ones and reflexes are counted."""
    entries = audit(node)["entries"]
    told = {e["step_id"]: e for e in entries if e["kind"] == "action"}
    counted = [e for e in entries if e["kind"] == "reflexes"]
    return set(told) == set(steps) and all(
        e["decision"] == "BLOCK" and e["emergency_stop"] and e["plan_id"] == "p" and e["tool_id"] == "arm" and
        e["cause"] == "Collision imminent" and e["copies"] >= 1 for e in told.values()) and (
        sum(e["actions_allowed"] for e in counted) >= 3 and sum(e["safe"] for e in counted) >= 5 and
        sum(round(row["collision_probability"], 3) == 0.9 for e in counted for row in e["unsafe_first"]) == 3)


def main():
    tap = Tap()
    plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
    roles = {i: ["erisml", "safety-gateway", "in-action"] for i in (1, 2, 3)}
    with o.Overlay(5, roles=roles) as net:
        tap.on_failure = net.logs
        net.start()
        net.wait_replicated()
        gateways, others = net.nodes[:3], net.nodes[3:]
        for n in net.nodes:
            o.wait_until(f"node {n.number} allows the plan", lambda n=n: n.check_plan(plan)[0] == "ALLOW")

        with tap.case("while nothing is stopped, actions and reflexes are judged by what they say"):
            for n in gateways:
                o.wait_until("the role serves", lambda n=n: reflex(n).safe)
                assert check_action(n, proximity=1.0).result.decision == pb.safety.SAFETY_DECISION_ALLOW
                bad = check_action(n, step=f"at-{n.number}", proximity=0.05)
                assert bad.emergency_stop and bad.result.decision == pb.safety.SAFETY_DECISION_BLOCK
                assert not reflex(n, collision_probability=0.9).safe
        with tap.case("the overlay port serves them too, also on a host without the role"):
            assert reflex(gateways[0], o.OVERLAY_PORT).safe
            assert reflex(others[0], o.OVERLAY_PORT).safe
            assert check_action(gateways[0], o.OVERLAY_PORT, "overlay", proximity=0.05).emergency_stop
        with tap.case("what was decided of actions and reflexes is in the audit logs soon, and at other hosts"):
            o.wait_until("it is noted", lambda: is_noted(others[0], ["at-1", "at-2", "at-3", "overlay"]), 60)
        with tap.case("clients cannot write the latch"):
            for call in (lambda: others[0].put(b"stop", b"x", "strong", ns="agihpc.safety"),
                         lambda: others[0].delete(b"stop", "strong", ns="agihpc.safety")):
                try:
                    call()
                    raise AssertionError("it was taken")
                except grpc.RpcError as e:
                    assert e.code() == grpc.StatusCode.PERMISSION_DENIED, e

        with tap.case("EmergencyStop at one host blocks plans, actions and reflexes at every host within a second"):
            answer = actions(gateways[0]).EmergencyStop(
                pb.safety.EmergencyStopRequest(reason="smoke in cell 4", source="test"), timeout=5 * o.SLOWNESS)
            began = time.monotonic()
            assert answer.acknowledged and len(answer.stop_id) == 32
            slowest = 0
            for n in net.nodes:
                while n.check_plan(plan)[0] != "BLOCK":
                    assert time.monotonic() - began < BOUND_S, f"node {n.number} still allows"
            for n in gateways:
                while (r := reflex(n)).safe:
                    assert time.monotonic() - began < BOUND_S, f"node {n.number} still says safe"
                assert r.emergency_stop and r.reason == "EMERGENCY_STOP", r
                assert check_action(n, proximity=1.0).emergency_stop
            slowest = time.monotonic() - began
            tap.diag(f"all blocked {slowest * 1e3:.0f} ms after it was acknowledged (asked one after another)")
        with tap.case("the command line tells who, why and since when; stopping twice is the same as once"):
            state = others[0].ctl_json("safety", "status")
            assert state["stopped"] and state["reason"] == "smoke in cell 4" and state["epoch"] == 1, state
            stops = [e for e in audit(others[0])["entries"] if e["decision"] == "STOP"]
            assert len({e["node_id"] for e in stops if e["cause"] == "smoke in cell 4"}) >= 3, stops
            again = others[1].ctl_json("safety", "stop", "--reason", "again")
            assert again["stop_id"] == state["stop_id"] == answer.stop_id
        with tap.case("stopped gateways are well: that they block is what they are there for"):
            for n in gateways:
                o.wait_until("all are offered", lambda n=n: len(n.discover("safety-gateway")) == 3, 60)
                assert not any("safety-gateway" in w for w in n.status().warnings), n.status().warnings
        with tap.case("it survives the restart of every host"):
            for n in net.nodes:
                n.kill()
            net.start()
            for n in gateways:
                assert n.check_plan(plan)[0] == "BLOCK"
                o.wait_until("the stop is known again", lambda n=n: reflex(n).reason == "EMERGENCY_STOP")
            assert net.nodes[4].check_plan(plan)[0] == "BLOCK"
        with tap.case("only an operator with a reason resumes, and then plans pass again everywhere"):
            others[0].ctl("safety", "resume").expect(2)
            sock = os.path.join(net.dir, "admin.sock")
            config = os.path.join(net.dir, "socket.yaml")
            with open(config, "w", encoding="utf-8") as f:
                f.write(f"node:\n  unix_socket: {sock}\n")
            net.nodes[4].stop()
            net.nodes[4].extra = ["--config", config]
            net.nodes[4].start()
            net.wait_ready()
            refused = others[0].ctl("safety", "resume", "--reason", "all clear")
            assert refused.status != 0 and "admin" in refused.err, refused
            o.run(o.CTL, "-n", f"unix:{sock}", "safety", "resume", "--reason", "all clear").expect(0)
            for n in net.nodes:
                o.wait_until(f"node {n.number} allows again", lambda n=n: n.check_plan(plan)[0] == "ALLOW")
        with tap.case("a host that cannot confirm the state blocks: one of five left"):
            for n in net.nodes[1:]:
                n.kill()
            time.sleep(1.2 * o.SLOWNESS)
            assert reflex(gateways[0]).reason == "STOP_STATE_UNKNOWN"
            assert gateways[0].check_plan(plan)[0] == "BLOCK"
            net.start()
            for n in net.nodes:
                o.wait_until(f"node {n.number} allows again", lambda n=n: n.check_plan(plan)[0] == "ALLOW", 40)
    tap.done()
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
