#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The safety policy, on three real nodes that are all gateways: once a stricter one is acknowledged nobody allows by the
one before, not after a restart, and not a host that slept through it."""

import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import overlay as o  # noqa: E402
from tap import Tap  # noqa: E402

PATIENCE = 60


class Cluster:
    def __init__(self, net):
        self.net = net
        self.plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
        self.sock = os.path.join(net.dir, "admin.sock")
        config = os.path.join(net.dir, "socket.yaml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"node:\n  unix_socket: {self.sock}\n")
        net.nodes[0].extra = ["--config", config]
        profiles = os.path.join(net.dir, "profiles.yaml")
        with open(profiles, "w", encoding="utf-8") as f:
            f.write(f"safety:\n  profile_dir: {o.SRCDIR}/conf/profiles\n")
        net.configs.append(profiles)

    def file(self, **fields):
        path = os.path.join(self.net.dir, "policy.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(fields, f)
        return path

    def set(self, *options, **fields):
        return o.run(o.CTL, "-n", f"unix:{self.sock}", "safety", "policy", "set", self.file(**fields), "--reason", "test",
                     *options, timeout=PATIENCE)

    def decision(self, node):
        return node.check_plan(self.plan, timeout=PATIENCE)[0]

    def wait_for(self, decision):
        for n in self.net.nodes:
            o.wait_until(f"node {n.number} says {decision}", lambda n=n: self.decision(n) == decision, PATIENCE)


def main():
    tap = Tap()
    roles = {i: ["erisml", "safety-gateway", "in-action"] for i in (1, 2, 3)}
    with o.Overlay(3, roles=roles) as net:
        tap.on_failure = net.logs
        c = Cluster(net)
        net.start()
        net.wait_replicated()
        c.wait_for("ALLOW")

        with tap.case("while none was set, the configuration is the policy, with epoch 0"):
            got = net.nodes[1].ctl_json("safety", "policy", "get")
            assert got["epoch"] == 0 and got["policy"]["bond_index_block"] == 0.3, got
            assert "root_access" in got["policy"]["banned_tools"], got
            configured = got["policy"]
        with tap.case("only an operator with a reason sets it, and what is wrong with it is named"):
            refused = net.nodes[1].ctl("safety", "policy", "set", c.file(quorum=3), "--reason", "test")
            assert refused.status != 0 and "admin" in refused.err, refused
            for fields, word in (({"bond_index_block": 1.5}, "bond_index_block: 1.5, expected 0..1"),
                                 ({"quorum": 9}, "quorum: 9, expected 1..7"),
                                 ({"banned_tool": []}, "'banned_tool' is no field"),
                                 ({"profile": 1}, "profile: expected text")):
                wrong = c.set(**fields)
                assert wrong.status != 0 and word in wrong.err, wrong
        with tap.case("once a stricter one is acknowledged, every gateway blocks by it at once"):
            c.set(banned_tools=configured["banned_tools"] + ["report"]).expect(0)
            for n in net.nodes:
                assert c.decision(n) == "BLOCK", n.number
            for n in net.nodes:
                got = n.ctl_json("safety", "policy", "get")
                assert got["epoch"] == 1 and got["reason"] == "test" and not got["looser"], got
                o.wait_until("it says why", lambda n=n: "Banned tool: report" in str(n.check_plan(c.plan)), PATIENCE)
        with tap.case("every host's audit log says who changed it, and why"):
            def logged():
                entries = net.nodes[1].ctl_json("safety", "audit", "--since", "all")["entries"]
                return [e for e in entries if e["kind"] == "policy"]
            o.wait_until("it is in three logs", lambda: len(logged()) == 3, PATIENCE)
            for e in logged():
                assert (e["policy_epoch"], e["before_epoch"], e["looser"], e["reason"]) == (1, 0, False, "test"), e
                assert e["author"] and e["policy_hash"] != e["before_hash"] and e["decision"] == "POLICY", e
        with tap.case("it is in force after a restart of every host"):
            for n in net.nodes:
                n.kill()
            net.start()
            seen = set()

            def blocks_by_it():
                answers = [str(n.check_plan(c.plan)) for n in net.nodes]
                seen.update(c.decision(n) for n in net.nodes)
                return all("Banned tool: report" in a for a in answers)
            o.wait_until("every host blocks by it again", blocks_by_it, PATIENCE)
            assert seen == {"BLOCK"}, seen
        with tap.case("what loosens it needs --yes where there is no terminal, and says what it loosens"):
            refused = c.set(banned_tools=configured["banned_tools"])
            assert refused.status == 2 and "--yes" in refused.err and "no longer report" in refused.err, refused
            assert net.nodes[1].ctl_json("safety", "policy", "get")["epoch"] == 1
            c.set("--yes", banned_tools=configured["banned_tools"]).expect(0)
            c.wait_for("ALLOW")
            assert net.nodes[1].ctl_json("safety", "policy", "get")["looser"]
        with tap.case("a gateway that slept while a stricter one was set allows nothing when it wakes up"):
            sleeper = net.nodes[2]
            sleeper.signal(signal.SIGSTOP)
            try:
                o.wait_until("it is set without the sleeper", lambda: c.set(
                    banned_tools=configured["banned_tools"] + ["report"]).status == 0, PATIENCE)
            finally:
                sleeper.signal(signal.SIGCONT)
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                for n in net.nodes:
                    assert c.decision(n) == "BLOCK", n.number
        with tap.case("the answer says on which gateways it is in force"):
            def set_everywhere():
                got = o.run(o.CTL, "-n", f"unix:{c.sock}", "-o", "json", "safety", "policy", "set", c.file(quorum=3),
                            "--reason", "test", timeout=PATIENCE).expect(0).json()
                gateways = {g["node_id"] for g in got["gateways"] if g["in_force"] and g["epoch"] == got["epoch"]}
                assert got["confirmed"] == len(gateways), got
                return len(gateways) == 3
            o.wait_until("all three confirm one", set_everywhere, PATIENCE)
        with tap.case("a profile is judged by where every host has it, and refused where it is not known"):
            moves = os.path.join(net.dir, "moves.json")
            with open(moves, "w", encoding="utf-8") as f:
                json.dump({"plan_id": "moves", "steps": [{"step_id": "s", "level": 2, "tool_id": "navigation"}]}, f)
            moves = o.load_plan(moves)
            refused = c.set("--yes", profile="agi_hpc_cautious_v2")
            assert refused.status != 0 and "known are agi_hpc_safety_v1, agi_hpc_cautious_v1" in refused.err, refused
            c.set("--yes", banned_tools=configured["banned_tools"]).expect(0)
            o.wait_until("it may move", lambda: net.nodes[1].check_plan(moves, timeout=PATIENCE)[0] == "ALLOW", PATIENCE)
            c.set("--yes", profile="agi_hpc_cautious_v1").expect(0)
            c.wait_for("ALLOW")
            o.wait_until("it is said that its risk is too high",
                         lambda: "physical_harm_exceeds_threshold" in str(net.nodes[1].check_plan(moves)), PATIENCE)
        with tap.case("older versions can be looked up"):
            versions = net.nodes[0].ctl_json("safety", "policy", "history")["versions"]
            assert [v["epoch"] for v in versions] == list(range(versions[0]["epoch"], -1, -1)), versions
            assert versions[-1]["policy"] == configured, versions[-1]
            first = net.nodes[1].ctl_json("safety", "policy", "get", "--epoch", "1")
            assert "report" in first["policy"]["banned_tools"], first
            net.nodes[1].ctl("safety", "policy", "get", "--epoch", "999").expect(3)
    tap.done()
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
