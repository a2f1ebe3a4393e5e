#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The audit log of real hosts: what a client saw survives the host it asked, and what is changed or cut off shows."""

import base64
import glob
import os
import re
import shutil
import sys
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import overlay as o  # noqa: E402
from tap import Tap  # noqa: E402

NONCE_AT = 1 + 32  # in a certificate: version, plan hash


def ask(node, plan, name):
    """The check's nonce and its decision."""
    plan.plan_id = name
    decision, answer = node.check_plan(plan)
    certificate = base64.b64decode(answer.result.metadata["certificate"])
    return certificate[NONCE_AT:NONCE_AT + 16].hex(), decision


def prove(node):
    facts = o.pb.erisml.EthicalFactsProto(option_id="s1")
    return node.rpc("erisml", o.ERISML_PORT).EvaluatePlan(o.pb.erisml.EvaluatePlanRequest(
        step_facts=[facts], generate_proofs=True), timeout=10 * o.SLOWNESS, wait_for_ready=True)


def report(node, step, port=o.OVERLAY_PORT, **fields):
    outcome = o.pb.safety.ActionOutcomeReport(plan_id="from-4", step_id=step, **fields)
    return node.rpc("post_action", port).ReportOutcome(outcome, timeout=20 * o.SLOWNESS)


def test_outcomes(tap, net):
    first, second, _, router = net.nodes
    with tap.case("what became of a step is in the log of a host with the role and at another, whichever was asked"):
        o.wait_until("the router finds the role", lambda: router.discover("post-action"), 60)
        before = int(time.time())
        acks = [report(first, "a", o.POST_ACTION_PORT, success=True, predicted_risk=0.1),
                report(second, "b", actual_harm=float("nan"), outcome_description="dropped it", success=False),
                report(router, "c", success=True, decision_proof_hash="ab" * 32)]
        assert all(a.logged for a in acks), acks
        doc = audit(first, 0, "--verify", "--limit", "1000")
        told = {e["event_id"]: e for e in doc["entries"] if e["kind"] == "outcome"}
        for ack, step in zip(acks, "abc"):
            entry = told[ack.event_id]
            assert entry["step_id"] == step and entry["in_own_log"] and entry["copies"] >= 1, entry
            at = int(ack.event_id.removeprefix(f"outcome_from-4_{step}_"))
            assert before <= at <= int(time.time()), ack.event_id
        failed = told[acks[1].event_id]
        assert (failed["success"], failed["decision"], failed["cause"]) == (False, "FAILURE", "dropped it"), failed
        assert failed["actual_harm"] is None and told[acks[2].event_id]["decision_proof_hash"] == "ab" * 32
        assert doc["verified"] and not doc["findings"], doc["findings"]
        metrics = urllib.request.urlopen(f"http://{first.addr}/metrics", timeout=10 * o.SLOWNESS).read().decode()
        assert re.search(r'^agihpc_outcomes_total{result="success"} [1-9]', metrics, re.M), metrics
    with tap.case("a report that could not be kept whole is refused and says why"):
        try:
            report(router, "s" * 1025)
            raise AssertionError("it was taken")
        except o.grpc.RpcError as e:
            assert e.code() == o.grpc.StatusCode.INVALID_ARGUMENT, e
            assert "step_id: 1025 bytes, at most 1024" in e.details(), e


def audit(node, status, *args):
    return o.run(o.CTL, "-n", node.addr, "-o", "json", "safety", "audit", *args,
                 timeout=60 * o.SLOWNESS).expect(status).json()


def newest_segment(node):
    return sorted(glob.glob(os.path.join(node.data, "audit", "*.audit")))[-1]


def find_last(path, text):
    with open(path, "rb") as f:
        at = f.read().rfind(text)
    assert at > 0, f"{path} does not mention {text}"
    return at


def main():
    tap = Tap()
    plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
    judges = ["erisml", "safety-gateway"]
    with o.Overlay(4, roles={1: judges + ["post-action"], 2: judges + ["post-action"], 3: judges}) as net:
        tap.on_failure = net.logs
        net.start()
        net.wait_met()
        first, second, third, router = net.nodes
        for n in net.nodes:
            o.wait_until(f"node {n.number} allows", lambda n=n: ask(n, plan, "warm")[1] == "ALLOW", 60)

        with tap.case("every answer is in the log of the host that gave it, with copies at others, and all of it holds"):
            seen = [ask(router, plan, "from-4") for _ in range(20)]
            doc = audit(first, 0, "--verify", "--limit", "1000")
            told = {e["nonce"]: e for e in doc["entries"] if e["kind"] == "decision"}
            for nonce, decision in seen:
                assert told[nonce]["decision"] == decision and told[nonce]["plan_id"] == "from-4", (nonce, decision)
                assert told[nonce]["in_own_log"] and told[nonce]["copies"] >= 1, told[nonce]
            assert doc["verified"] and not doc["findings"], doc["findings"]
        test_outcomes(tap, net)
        with tap.case("a host is killed after its clients saw answers, and its directory lost: no answer is"):
            seen += [ask(router, plan, "from-4") for _ in range(5)]
            router.kill()
            shutil.rmtree(router.data)
            doc = audit(first, 0, "--limit", "1000")
            told = {e["nonce"]: e["decision"] for e in doc["entries"] if e["kind"] == "decision"}
            lost = [s for s in seen if told.get(s[0]) != s[1]]
            assert not lost, f"{len(lost)} of {len(seen)} answers are lost"
            assert [h["answered"] for h in doc["hosts"]].count(False) == 1, doc["hosts"]
            assert not audit(first, 4, "--verify")["findings"]
        with tap.case("they can be asked for by decision, host and number"):
            router_id = next(h["node_id"] for h in doc["hosts"] if not h["answered"])
            some = audit(second, 0, "--decision", "ALLOW", "--host", router_id[:12], "--limit", "3")["entries"]
            assert len(some) == 3 and all(e["node_id"] == router_id for e in some), some
            assert audit(second, 0, "--since", "2100-01-01T00:00:00Z")["entries"] == []
            assert "from-4" in o.run(o.CTL, "-n", first.addr, "safety", "audit").expect(0).out
            o.run(o.CTL, "-n", first.addr, "safety", "audit", "--since", "yesterday").expect(2)
        with tap.case("decision proofs go on behind the last one of a host that was killed"):
            last = prove(first).plan_proof
            first.kill()
            net.start([first])
            proof = o.wait_until("its ErisML answers", lambda: prove(first), 60).step_results[0].proof
            assert len(last.proof_hash) == 64 and len(proof.previous_proof_hash) == 64, (last, proof)
            findings = audit(first, 4, "--verify")["findings"]  # 4: the host that is gone does not answer
            assert not findings, findings
        with tap.case("a changed byte and a cut end are named, host and entry"):
            for node in (second, third):
                for _ in range(3):
                    ask(node, plan, f"from-{node.number}")
            ids = {n.number: n.status().node_id for n in (second, third)}
            second.kill()
            path = newest_segment(second)
            with open(path, "r+b") as f:
                f.seek(find_last(path, b"from-2"))
                f.write(b"F")
            third.kill()
            path = newest_segment(third)
            os.truncate(path, find_last(path, b"from-3") - 10)
            net.start([second, third])
            for n in (second, third):
                o.wait_until(f"node {n.number} answers",
                             lambda n=n: all(h["answered"] or h["node_id"] == router_id
                                             for h in audit(n, 0)["hosts"]), 60)
            found = audit(first, 1, "--verify")["findings"]
            tap.diag("; ".join(found))
            assert any(f.startswith(ids[2][:12]) and "not what was written" in f for f in found), found
            assert any(f.startswith(ids[3][:12]) and "truncated" in f for f in found), found
            assert all(f[:12] in (ids[2][:12], ids[3][:12]) for f in found), found
    tap.done()
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
