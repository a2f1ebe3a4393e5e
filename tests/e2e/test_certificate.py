#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decisions of real gateways come with certificates that hold without the cluster, and no longer when a byte changes."""

import base64
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import overlay as o  # noqa: E402
from tap import Tap  # noqa: E402


def main():
    tap = Tap()
    plans = os.path.join(o.SRCDIR, "conf", "examples")
    with o.Overlay(4, roles={i: ["erisml", "safety-gateway"] for i in (1, 2, 3)}) as net:
        tap.on_failure = net.logs
        net.start()
        net.wait_met()
        node = net.nodes[3]
        o.wait_until("gateways are found", lambda: len(node.discover("safety-gateway")) == 3)
        o.wait_until("the plan is allowed",
                     lambda: node.check_plan(o.load_plan(os.path.join(plans, "harmless.json")))[0] == "ALLOW")
        ids = [m["node_id"] for m in node.ctl_json("members")["members"]]
        gateways = [n.status().node_id for n in net.nodes[:3]]
        files = {}
        for name, status in (("harmless", 0), ("banned-tool", 10)):
            path = os.path.join(net.dir, name + ".json")
            out = o.run(o.CTL, "-n", node.addr, "-o", "json", "safety", "check", os.path.join(plans, name + ".json"))
            out.expect(status)
            with open(path, "w", encoding="utf-8") as f:
                f.write(out.out)
            files[name] = path
        for n in net.nodes:
            n.stop()

        with tap.case("with every node stopped, the decisions are proved by their certificates"):
            for name, decision in (("harmless", "ALLOW"), ("banned-tool", "BLOCK")):
                doc = o.run(o.CTL, "-o", "json", "safety", "verify", files[name]).expect(0).json()
                assert doc["proved"] and doc["decision"] == decision and doc["valid_votes"] >= 2, doc
                assert doc["electorate"] == 3 and doc["needed"] == 2, doc
                assert {v["gateway"] for v in doc["votes"]} <= set(gateways), doc
        keys = os.path.join(net.dir, "keys")
        with tap.case("against a list of ids: the cluster's hold, others do not"):
            with open(keys, "w", encoding="utf-8") as f:
                f.write("# ids\n" + "".join(f"{i} a remark\n" for i in ids))
            o.run(o.CTL, "safety", "verify", files["harmless"], "--keys", keys).expect(0)
            with open(keys, "w", encoding="utf-8") as f:
                f.write(f"{gateways[0]}\n{'0' * 64}\n")
            bad = o.run(o.CTL, "safety", "verify", files["harmless"], "--keys", keys).expect(1)
            assert "not among the known ones" in bad.out and "NOT PROVED" in bad.out, bad
        with tap.case("a changed byte anywhere in an ALLOW's votes leaves nothing proved, or nothing changed"):
            with open(files["harmless"], encoding="utf-8") as f:
                doc = json.load(f)
            raw = base64.b64decode(doc["metadata"]["certificate"])
            refused = 0
            for at in range(0, len(raw), 37):
                forged = bytearray(raw)
                forged[at] ^= 1
                result = o.run(o.CTL, "-o", "json", "safety", "verify", "-",
                               stdin=base64.b64encode(bytes(forged)))
                if result.status == 0:  # one vote more than needed was spoilt, or a note beside the votes
                    assert result.json()["valid_votes"] >= 2
                refused += result.status != 0
            tap.diag(f"{refused} of {len(range(0, len(raw), 37))} single changes refused the whole")
            assert refused > 0
        with tap.case("what is no certificate is named"):
            bad = o.run(o.CTL, "safety", "verify", "-", stdin=b"{}").expect(1)
            assert "no certificate" in bad.err, bad
    tap.done()
    return tap.failed != 0


if __name__ == "__main__":
    sys.exit(main())
