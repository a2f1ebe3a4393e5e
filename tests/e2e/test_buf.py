# SPDX-License-Identifier: Apache-2.0
"""buf curl, a gRPC client that knows a node only by reflection: lists, describes and calls."""

import json
import os
import sys

import npm
import overlay as o
from tap import Tap

FOLDER = npm.install("@bufbuild/buf@1")
BUF = os.path.join(FOLDER, "node_modules", ".bin", "buf")
KV = "agihpc.v1.KvService"


def buf(*arguments):
    os.environ["BUF_CACHE_DIR"] = os.path.join(FOLDER, "cache")
    return o.run(BUF, "curl", "--protocol", "grpc", *arguments, timeout=60)


def main():
    tap = Tap()
    with o.Overlay(1, roles={1: ["erisml"]}) as net:
        tap.on_failure = net.logs
        net.start()
        node = net.nodes[0]
        url = f"http://{node.addr}"
        with tap.case("buf curl lists the services"):
            found = buf("--list-services", url).expect(0).out.split()
            assert {KV, "agihpc.v1.NodeService", "grpc.health.v1.Health"} <= set(found), found
        with tap.case("buf curl lists the methods"):
            found = buf("--list-methods", url).expect(0).out.split()
            assert {f"{KV}/Put", f"{KV}/Get", "grpc.health.v1.Health/Watch"} <= set(found), found
        with tap.case("buf curl calls with JSON"):
            key, value = "YnVm", "Y3VybA=="  # "buf", "curl"
            buf("-d", json.dumps({"key": key, "value": value}), f"{url}/{KV}/Put").expect(0)
            answer = buf("-d", json.dumps({"key": key}), f"{url}/{KV}/Get").expect(0).json()
            assert answer["value"] == value, answer
        with tap.case("buf curl checks health, of a role too"):
            for address in (node.addr, f"{node.ip}:{o.ERISML_PORT}"):
                answer = buf(f"http://{address}/grpc.health.v1.Health/Check").expect(0).json()
                assert answer == {"status": "SERVING"}, answer
        with tap.case("the older reflection serves it too"):
            found = buf("--reflect-protocol", "grpc-v1alpha", "--list-services", url).expect(0).out.split()
            assert KV in found
        with tap.case("an error arrives with its status and details"):
            answer = buf("-d", "{}", f"{url}/{KV}/Get").expect(8 * 3)  # INVALID_ARGUMENT
            error = json.loads(answer.err)
            assert error["code"] == "invalid_argument" and "key: 0 bytes" in error["message"], error
            assert error["details"][0]["type"] == "google.rpc.ErrorInfo", error
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
