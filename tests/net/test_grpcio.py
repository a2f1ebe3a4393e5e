# SPDX-License-Identifier: Apache-2.0
"""The gRPC server as the reference client (grpcio) sees it."""

import concurrent.futures
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from echo_client import GUIDE, error_of, expect, field, get, method, numbers_of, start_echo, wait_counts  # noqa: E402
from tap import Tap  # noqa: E402

import grpc  # noqa: E402


def test_answers(tap, channel):
    with tap.case("bytes come back as they were sent"):
        assert numbers_of(get(channel, b"", bytes(range(256))))[1] == bytes(range(256))
    with tap.case("metadata goes both ways"):
        answer, call = method(channel, "Put").with_call(field(3, b"abc"), metadata=[("x-echo", "a, b; c")])
        assert numbers_of(answer)[1] == 3
        assert ("x-echo", "a, b; c") in call.initial_metadata()
    with tap.case("an answer may be larger than 4 MiB when the client permits it"):
        assert len(numbers_of(get(channel, b"large", b"20000000"))[1]) == 20000000


def test_statuses(tap, channel):
    text = "50% of it\nüñï \x07\x7f"
    for code in grpc.StatusCode:
        number = code.value[0]
        if number == 0:
            continue
        with tap.case(f"status {code.name} and its text arrive"):
            expect(lambda n=number: get(channel, b"status", text.encode(), n), code, text)
    with tap.case("an error of ours arrives with its name"):
        expect(lambda: method(channel, "Owners")(b""), grpc.StatusCode.ABORTED, "STALE_EPOCH: why")
    with tap.case("unknown and unwritten methods are told apart"):
        expect(lambda: method(channel, "Nope")(b""), grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        expect(lambda: method(channel, "Delete")(b""), grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")


def test_bad_requests(tap, channel):
    bad = {"cut short": b"\x0a\x05ab", "wire type 7": b"\x0f", "field number 0": b"\x02\x01",
           "invalid UTF-8": b"\x0a\x02\xff\xfe", "a group that does not end": b"\x7b\x08\x01"}
    for name, wire in bad.items():
        with tap.case(f"a request with {name} is refused"):
            expect(lambda w=wire: method(channel, "Get")(w), grpc.StatusCode.INTERNAL,
                   "Exception deserializing request!")
    with tap.case("unknown fields, groups and wrong wire types are tolerated"):
        method(channel, "Get")(b"\x7b\x08\x01\x7c" + field(99, b"x") + b"\x08\x01" + field(2, b"k"))
    with tap.case("4 MiB pass and one byte more is refused with both numbers"):
        value = bytes((4 << 20) - 5)  # tag and length take 5 bytes
        assert numbers_of(method(channel, "Put")(field(3, value)))[1] == len(value)
        expect(lambda: method(channel, "Put")(field(3, value + b"x")), grpc.StatusCode.RESOURCE_EXHAUSTED,
               "Received message larger than max (4194305 vs. 4194304)")


def test_compression(tap, channel):
    for name in ("Gzip", "Deflate"):
        with tap.case(f"a request compressed with {name} is understood"):
            answer = method(channel, "Put")(field(3, bytes(100000)), compression=grpc.Compression[name])
            assert numbers_of(answer)[1] == 100000
    with tap.case("a large answer comes compressed when the request was"):
        answer = get(channel, b"large", b"1000000", compression=grpc.Compression.Gzip)
        assert numbers_of(answer)[1] == bytes(1000000)
    with tap.case("a bomb is refused when it has grown to the limit"):
        e = error_of(lambda: method(channel, "Put")(field(3, bytes(64 << 20)), compression=grpc.Compression.Gzip))
        assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
        assert e.details() == "Received message larger than max after decompression (4194304)", e.details()


def test_deadlines(tap, channel):
    with tap.case("a deadline ends the call and the handler is told"):
        before = numbers_of(get(channel, b"counts")).get(2, 0)
        began = time.monotonic()
        e = error_of(lambda: get(channel, b"hang", timeout=0.1))
        assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED, e
        assert 0.08 < time.monotonic() - began < 5
        wait_counts(channel, before + 1)
    with tap.case("the handler knows the time that is left"):
        assert 25000 < numbers_of(get(channel, b"left", timeout=30))[2] < 31000  # grpcio rounds up
    with tap.case("a cancelled call tells its handler"):
        before = numbers_of(get(channel, b"counts")).get(2, 0)
        call = method(channel, "Get").future(field(1, b"hang"))
        while numbers_of(get(channel, b"counts")).get(3, 0) == 0:
            time.sleep(0.01)
        call.cancel()
        wait_counts(channel, before + 1)
    with tap.case("a channel that goes away cancels its calls"):
        before = numbers_of(get(channel, b"counts")).get(2, 0)
        other = grpc.insecure_channel(TARGET, options=[("grpc.use_local_subchannel_pool", 1)])
        calls = [method(other, "Get").future(field(1, b"hang")) for _ in range(20)]
        while numbers_of(get(channel, b"counts")).get(3, 0) < 20:
            time.sleep(0.01)
        other.close()
        wait_counts(channel, before + 20)
        assert all(c.done() for c in calls)


def test_load(tap, channel):
    with tap.case("2000 calls from 32 threads are all answered, in whatever order they end"):
        def one(i):
            return numbers_of(get(channel, b"later" if i % 3 else b"", b"%d" % i))
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(one, range(2000)))
        assert all(a == ({2: 1} if i % 3 else {1: b"%d" % i}) for i, a in enumerate(answers))
    with tap.case("large requests on many streams at once are all answered"):
        value = bytes(1 << 20)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            sizes = pool.map(lambda _: numbers_of(method(channel, "Put")(field(3, value)))[1], range(64))
            assert set(sizes) == {1 << 20}
    with tap.case("keepalive pings without calls are answered, not punished"):
        states = []
        fast = [("grpc.keepalive_time_ms", 50), ("grpc.keepalive_timeout_ms", 1000),
                ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0),
                ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(TARGET, options=fast) as other:
            ready = threading.Event()
            other.subscribe(lambda s: (states.append(s), ready.set() if s is grpc.ChannelConnectivity.READY else None),
                            try_to_connect=True)
            assert ready.wait(10)
            time.sleep(1)
            assert states[-1] is grpc.ChannelConnectivity.READY, states
            get(other, b"")


def main():
    global TARGET
    tap = Tap()
    server, TARGET = start_echo()
    with grpc.insecure_channel(TARGET, options=GUIDE) as channel:
        for test in (test_answers, test_statuses, test_bad_requests, test_compression, test_deadlines, test_load):
            test(tap, channel)
        server.stdin.close()
        with tap.case("the server ends in order"):
            assert server.wait(10) == 0
        with tap.case("a server that has gone is unavailable"):
            assert error_of(lambda: get(channel, b"", timeout=10)).code() == grpc.StatusCode.UNAVAILABLE
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
