# SPDX-License-Identifier: Apache-2.0
"""A node as the gRPC of Node.js sees it: @grpc/grpc-js with @grpc/proto-loader (tests/npm/client.js)."""

import json
import os
import sys

import npm
import overlay as o
from tap import Tap

HERE = os.path.join(o.SRCDIR, "tests", "npm")
ROLES = ["erisml", "safety-gateway"]


def packages():
    with open(os.path.join(HERE, "package.json")) as f:
        return [f"{name}@{version}" for name, version in json.load(f)["dependencies"].items()]


def plan_as_json(net):
    """The harmless example with the .proto's names, as proto-loader keeps them."""
    from google.protobuf import json_format
    plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
    path = os.path.join(net.dir, "plan.json")
    with open(path, "w") as f:
        f.write(json_format.MessageToJson(plan, preserving_proto_field_name=True))
    return plan, path


def main():
    folder = npm.install(*packages())
    tap = Tap()
    with o.Overlay(3, roles={n: ROLES for n in (1, 2, 3)}) as net:
        tap.on_failure = net.logs
        net.start()
        node = net.nodes[0]
        plan, path = plan_as_json(net)
        o.wait_until("the panel is there", lambda: node.check_plan(plan)[0] == "ALLOW")
        result = o.run("node", os.path.join(HERE, "client.js"), os.path.join(folder, "node_modules"),
                       os.path.join(o.SRCDIR, "proto"), node.addr, f"{node.ip}:{o.GATEWAY_PORT}", path, timeout=120)
        for line in result.out.splitlines():
            told = json.loads(line)
            with tap.case("grpc-js: " + told["case"]):
                assert told["error"] is None, told["error"]
        with tap.case("grpc-js: the client came to its end"):
            result.expect(0)
            assert tap.count > 10, result
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
