# SPDX-License-Identifier: Apache-2.0
"""Streams, metadata and large messages of the gRPC server as the reference client (grpcio) sees them."""

import itertools
import os
import queue
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from echo_client import GUIDE, error_of, field, method, numbers_of, start_echo  # noqa: E402
from tap import Tap  # noqa: E402

import grpc  # noqa: E402

SERVICE = "/test.Streams/"
LARGE = 100 << 20


def key(value):
    return field(2, value)


def test_server_streams(tap, channel):
    count = channel.unary_stream(SERVICE + "Count")
    with tap.case("5000 messages arrive in order"):
        answers = [numbers_of(a).get(2, 0) for a in count(key(b"5000 10"))]
        assert answers == list(range(5000))
    with tap.case("200 MB stream through without being held anywhere"):
        assert sum(len(numbers_of(a)[1]) for a in count(key(b"2000 100000"))) == 200000000
    with tap.case("an error after messages arrives after them"):
        call, n = count(key(b"10 10 fail")), 0
        try:
            for _ in call:
                n += 1
        except grpc.RpcError as e:
            assert (e.code(), e.details(), n) == (grpc.StatusCode.DATA_LOSS, "enough", 10)
        else:
            raise AssertionError("it should have failed")
    with tap.case("a stream that is not read is cancelled at its deadline"):
        call = count(key(b"100000 10000"), timeout=0.3)
        next(call)
        time.sleep(0.5)
        e = error_of(lambda: list(call))
        assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED, e
    with tap.case("a cancelled stream ends at once"):
        call = count(key(b"100000 10000"))
        next(call)
        call.cancel()
        assert error_of(lambda: list(call)).code() == grpc.StatusCode.CANCELLED


def test_client_streams(tap, channel):
    sums = channel.stream_unary(SERVICE + "Sum")
    with tap.case("a stream of requests is taken whole"):
        answer = numbers_of(sums(key(bytes(i % 500)) for i in range(5000)))
        assert answer == {2: sum(i % 500 for i in range(5000)), 3: 5000}, answer
    with tap.case("no request at all is a stream too"):
        assert numbers_of(sums(iter(()))) == {}
    with tap.case("compressed streams are understood"):
        answer = numbers_of(sums((key(bytes(50000)) for _ in range(100)), compression=grpc.Compression.Gzip))
        assert answer == {2: 5000000, 3: 100}
    with tap.case("a message that does not decode ends the stream"):
        e = error_of(lambda: sums(iter([key(b"x"), b"\x0f"])))
        assert (e.code(), e.details()) == (grpc.StatusCode.INTERNAL, "Exception deserializing request!")


def test_talks(tap, channel):
    chat = channel.stream_stream(SERVICE + "Chat")
    with tap.case("a talk goes back and forth"):
        said = queue.Queue()
        call = chat(iter(said.get, None))
        assert call.initial_metadata() is not None
        for i in range(200):
            said.put(key(b"word %d" % i))
            assert numbers_of(next(call))[1] == b"word %d" % i
        said.put(None)
        assert list(call) == [] and call.code() == grpc.StatusCode.OK
    with tap.case("both sides may talk at once"):
        value = bytes(20000)
        assert sum(1 for _ in chat(key(value) for _ in range(2000))) == 2000
    with tap.case("the server may end first"):
        call = chat(itertools.chain([key(b"a"), key(b"bye")], (key(b"x") for _ in range(1000))))
        assert len(list(call)) == 1 and call.code() == grpc.StatusCode.OK


def test_metadata(tap, channel):
    with tap.case("text and bytes go both ways, in headers and trailers"):
        sent = [("x-a", "text"), ("x-b-bin", b"\0\xff,="), ("t-a", "more"), ("t-b-bin", bytes(range(256)))]
        _, call = method(channel, "Put").with_call(field(3, b"abc"), metadata=sent)
        assert set(sent[:2]) <= set(call.initial_metadata()), call.initial_metadata()
        assert set(sent[2:]) <= set(call.trailing_metadata()), call.trailing_metadata()
    with tap.case("an error of ours brings google.rpc.ErrorInfo"):
        e = error_of(lambda: method(channel, "Owners")(b""))
        details = dict(e.trailing_metadata())["grpc-status-details-bin"]
        assert b"google.rpc.ErrorInfo" in details and b"STALE_EPOCH" in details and details[:2] == b"\x08\x0a"


def test_large(tap, channel):
    chat = channel.stream_stream(SERVICE + "Chat")
    message = key(bytes(LARGE - 16))
    for how in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with tap.case(f"100 MiB there and back ({how.name})"):
            answers = list(chat(iter([message]), compression=how, timeout=60))
            assert [len(numbers_of(a)[1]) for a in answers] == [LARGE - 16]
    with tap.case("several large unary requests at once"):
        calls = [method(channel, "Put").future(field(3, bytes(30 << 20)), timeout=60) for _ in range(4)]
        assert {numbers_of(c.result())[1] for c in calls} == {30 << 20}


def run(tap, tests, *arguments):
    server, target = start_echo(*arguments)
    with grpc.insecure_channel(target, options=GUIDE) as channel:
        for test in tests:
            test(tap, channel)
    server.stdin.close()
    with tap.case("the server ends in order"):
        assert server.wait(10) == 0


def main():
    tap = Tap()
    run(tap, (test_server_streams, test_client_streams, test_talks, test_metadata))
    run(tap, (test_large,), str(LARGE))
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
