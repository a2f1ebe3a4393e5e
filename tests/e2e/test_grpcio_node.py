# SPDX-License-Identifier: Apache-2.0
"""A node as gRPC's own Python client sees it: the deployment guide's channel options, kept open without calls;
metadata, deadlines, many calls at once. Then as our own Python client (clients/python) and dig see it."""

import os
import sys
import time

import dns_cases
import overlay as o
import python_client
from overlay import grpc, pb, wait_until
from tap import Tap

# As the guide prints them.
GUIDE = [("grpc.keepalive_time_ms", 10000), ("grpc.keepalive_timeout_ms", 5000),
         ("grpc.keepalive_permit_without_calls", True), ("grpc.http2.max_pings_without_data", 0),
         ("grpc.http2.min_time_between_pings_ms", 10000),
         ("grpc.max_send_message_length", 100 * 1024 * 1024), ("grpc.max_receive_message_length", 100 * 1024 * 1024)]
# Three keepalive pings; a server that minds them closes the connection at the third.
QUIET_S = 35 if o.LEVEL == "full" else 3
KV = "/agihpc.v1.KvService/"


def unary(channel, method, request_type, response_type):
    return channel.unary_unary(KV + method, request_serializer=request_type.SerializeToString,
                               response_deserializer=response_type.FromString)


def put_of(channel):
    return unary(channel, "Put", pb.agihpc.PutRequest, pb.agihpc.PutResponse)


def get_of(channel):
    return unary(channel, "Get", pb.agihpc.GetRequest, pb.agihpc.GetResponse)


def error_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e
    raise AssertionError("the call should have failed")


def test_calls(tap, channel):
    put, get = put_of(channel), get_of(channel)
    with tap.case("100 calls at once are all answered"):
        calls = [put.future(pb.agihpc.PutRequest(key=b"k%d" % i, value=b"v%d" % i), timeout=30) for i in range(100)]
        assert all(c.result().acks >= 1 for c in calls)
        calls = [get.future(pb.agihpc.GetRequest(key=b"k%d" % i), timeout=30) for i in range(100)]
        assert [c.result().value for c in calls] == [b"v%d" % i for i in range(100)]
    with tap.case("metadata of every kind is taken"):
        metadata = (("x-text", "a, b; c"), ("x-bytes-bin", bytes(range(256))), ("x-same", "1"), ("x-same", "2"))
        assert get(pb.agihpc.GetRequest(key=b"k1"), timeout=10, metadata=metadata).value == b"v1"
    with tap.case("more metadata than a server takes ends that call, and the connection goes on"):
        e = error_of(lambda: get(pb.agihpc.GetRequest(key=b"k1"), timeout=10, metadata=(("x-large", "m" * 20000),)))
        assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
        assert get(pb.agihpc.GetRequest(key=b"k1"), timeout=10).value == b"v1"
    with tap.case("a deadline ends a stream that would go on"):
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch",
                                     request_serializer=pb.health.HealthCheckRequest.SerializeToString,
                                     response_deserializer=pb.health.HealthCheckResponse.FromString)
        began = time.monotonic()
        e = error_of(lambda: list(watch(pb.health.HealthCheckRequest(), timeout=0.5)))
        assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED, e
        assert 0.4 < time.monotonic() - began < 3 * o.SLOWNESS
    with tap.case("an error has its details"):
        e = error_of(lambda: get(pb.agihpc.GetRequest(key=b""), timeout=10))
        assert e.code() == grpc.StatusCode.INVALID_ARGUMENT, e
        details = dict(e.trailing_metadata())["grpc-status-details-bin"]
        assert b"google.rpc.ErrorInfo" in details, details
    with tap.case("gzip both ways"):
        value = b"compressible " * 10000
        assert put(pb.agihpc.PutRequest(key=b"gz", value=value), timeout=10, compression=grpc.Compression.Gzip).acks
        assert get(pb.agihpc.GetRequest(key=b"gz"), timeout=10, compression=grpc.Compression.Gzip).value == value
    with tap.case("a request above the node's limit is refused by its size, and the connection goes on"):
        e = error_of(lambda: put(pb.agihpc.PutRequest(key=b"k", value=bytes(5 << 20)), timeout=30))
        assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
        assert get(pb.agihpc.GetRequest(key=b"k1"), timeout=10).value == b"v1"


def test_check_plan(tap, net, channel):
    plan = o.load_plan(os.path.join(o.SRCDIR, "conf", "examples", "harmless.json"))
    check = channel.unary_unary("/agi.safety.v1.PreActionSafetyService/CheckPlan",
                                request_serializer=pb.safety.CheckPlanRequest.SerializeToString,
                                response_deserializer=pb.safety.CheckPlanResponse.FromString)
    with tap.case("100 safety checks at once, each decided"):
        wait_until("ALLOW", lambda: net.nodes[0].check_plan(plan)[0] == "ALLOW")
        calls = [check.future(pb.safety.CheckPlanRequest(plan=plan), timeout=10) for _ in range(100)]
        decisions = {o.decision_name(c.result()) for c in calls}
        assert decisions <= {"ALLOW", "BLOCK"} and "ALLOW" in decisions, decisions


def test_keepalive(tap, channel, states):
    with tap.case(f"the guide's keepalive without calls: {QUIET_S} s on one connection"):
        assert states and states[-1] == grpc.ChannelConnectivity.READY, states
        before = len(states)
        time.sleep(QUIET_S)  # nothing must happen: there is nothing to wait for
        assert get_of(channel)(pb.agihpc.GetRequest(key=b"k1"), timeout=10).value == b"v1"
        assert len(states) == before, states


def main():
    tap = Tap()
    roles = ["erisml", "safety-gateway"]
    with o.Overlay(3, roles={n: roles for n in (1, 2, 3)}) as net:
        tap.on_failure = net.logs
        dns_cases.configure(net)
        net.start()
        states = []
        channel = grpc.insecure_channel(net.nodes[0].addr, options=GUIDE + [("grpc.use_local_subchannel_pool", 1)])
        channel.subscribe(states.append, try_to_connect=True)
        test_calls(tap, channel)
        test_check_plan(tap, net, channel)
        test_keepalive(tap, channel, states)
        channel.close()
        python_client.test_services(tap, net)
        python_client.test_memory(tap, net)
        python_client.test_install(tap, net.dir)
        dns_cases.test_dns(tap, net)
        python_client.test_failover(tap, net)
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
