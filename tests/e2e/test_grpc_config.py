# SPDX-License-Identifier: Apache-2.0
"""What node.grpc sets is what clients meet."""

import os
import sys

import overlay as o
from overlay import grpc
from tap import Tap

CONFIG = """
node:
  grpc:
    max_receive_message_size: 100MiB
    max_header_list_size: 2KiB
    max_connection_age: 1500ms
    compression: accepted
"""


def refusal(call):
    try:
        call()
    except grpc.RpcError as e:
        return e
    raise AssertionError("the call should have been refused")


def main():
    tap = Tap()
    with o.Overlay(1) as net:
        tap.on_failure = net.logs
        path = os.path.join(net.dir, "grpc.yaml")
        with open(path, "w") as f:
            f.write(CONFIG)
        net.configs.append(path)
        net.start()
        node = net.nodes[0]
        with tap.case("a message of 60 MB reaches its method, which says what it thinks of it"):
            e = refusal(lambda: node.put(b"k", bytes(60000000), timeout=30))
            assert e.code() == grpc.StatusCode.INVALID_ARGUMENT, e
        with tap.case("headers above the limit are refused"):
            put = node.rpc("kv_service").Get
            e = refusal(lambda: put(o.pb.agihpc.GetRequest(key=b"k"), metadata=[("x", "y" * 3000)], timeout=10))
            assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
        with tap.case("answers are compressed and come back as they were"):
            value = b"text " * 100000
            node.put(b"text", value)
            assert node.value(b"text") == value
        with tap.case("calls go on while connections are sent away and made anew"):
            channel, states = node.channel(), []
            channel.subscribe(states.append)
            o.wait_until("a connection has gone", lambda: node.value(b"text") and
                         grpc.ChannelConnectivity.IDLE in states, every=0.01)
            assert node.value(b"text") == value
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
