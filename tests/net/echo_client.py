# SPDX-License-Identifier: Apache-2.0
"""What the tests of the gRPC server with grpcio share: messages of agihpc.v1 by hand, and tests/net/grpc_echo."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from tap import skip_all  # noqa: E402

try:
    import grpc
except ImportError:
    skip_all("python3-grpcio is not installed")

BUILDDIR = os.environ.get("AGI_BUILDDIR", ".")
SERVICE = "/agihpc.v1.KvService/"
# The deployment guide's channel options.
GUIDE = [("grpc.keepalive_time_ms", 10000), ("grpc.keepalive_timeout_ms", 5000),
         ("grpc.keepalive_permit_without_calls", True), ("grpc.http2.max_pings_without_data", 0),
         ("grpc.http2.min_time_between_pings_ms", 10000),
         ("grpc.max_send_message_length", 100 << 20), ("grpc.max_receive_message_length", 100 << 20)]


def varint(n):
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def numbers_of(answer):
    """The varint fields of an answer; bytes fields as they are."""
    out, at = {}, 0

    def read():
        nonlocal at
        n = shift = 0
        while True:
            c = answer[at]
            at += 1
            n |= (c & 0x7f) << shift
            shift += 7
            if c < 0x80:
                return n
    while at < len(answer):
        tag = read()
        n = read()
        out[tag >> 3] = n
        if tag & 7 == 2:
            out[tag >> 3] = answer[at:at + n]
            at += n
    return out


def method(channel, name):
    return channel.unary_unary(SERVICE + name)  # bytes in, bytes out


def get(channel, namespace, key=b"", level=0, **how):
    return method(channel, "Get")(field(1, namespace) + field(2, key) + field(3, level), **how)


def error_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e
    raise AssertionError("the call should have failed")


def expect(call, code, details):
    e = error_of(call)
    assert (e.code(), e.details()) == (code, details), (e.code(), e.details())
    return e


def wait_counts(channel, cancelled):
    deadline = time.monotonic() + 10
    while numbers_of(get(channel, b"counts")).get(2, 0) < cancelled:
        assert time.monotonic() < deadline, "the server was not told"
        time.sleep(0.01)


def start_echo(*arguments):
    """A server process that ends with its standard input, and its address."""
    server = subprocess.Popen([os.path.join(BUILDDIR, "tests", "net", "grpc_echo"), *arguments],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return server, f"127.0.0.1:{int(server.stdout.readline())}"
