# SPDX-License-Identifier: Apache-2.0
"""One bootstrap node: its channel, and whether it can be reached now."""

import threading
import time

import grpc

from agihpc import _messages as messages

PORT = 5000  # of a node, where an address names none
METHODS = {
    "RegisterService": ("RegistryService", "RegisterRequest", "RegisterResponse"),
    "DeregisterService": ("RegistryService", "DeregisterRequest", "DeregisterResponse"),
    "Discover": ("RegistryService", "DiscoverRequest", "DiscoverResponse"),
    "Nearest": ("RegistryService", "NearestRequest", "NearestResponse"),
    "Put": ("KvService", "PutRequest", "PutResponse"),
    "Get": ("KvService", "GetRequest", "GetResponse"),
    "Delete": ("KvService", "DeleteRequest", "DeleteResponse"),
}
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    # A node that was away is tried again soon; how long is waited for it now is connect()'s matter.
    ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000),
    # A host that vanished without a word is noticed while nothing is asked of it.
    ("grpc.keepalive_time_ms", 10000), ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.max_receive_message_length", 16 << 20),
]
UP, DOWN = grpc.ChannelConnectivity.READY, (grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                                            grpc.ChannelConnectivity.SHUTDOWN)


def with_port(address):
    """HOST, HOST:PORT, [IPV6]:PORT or unix:PATH; what is no address raises ValueError."""
    if not isinstance(address, str) or not address or address != address.strip():
        raise ValueError(f"a bootstrap node is HOST:PORT, not {address!r}")
    if address.startswith("unix:"):
        return address
    if address.startswith("["):
        host, bracket, rest = address.partition("]")
        host += bracket
    else:
        host, colon, rest = address.partition(":")
        rest = colon + rest
    if rest == "":
        rest = f":{PORT}"
    if not host.strip("[]") or not (rest[0] == ":" and rest[1:].isdecimal() and 0 < int(rest[1:]) < 65536):
        raise ValueError(f"a bootstrap node is HOST:PORT (IPv6: [ADDRESS]:PORT), not {address!r}")
    return host + rest


class Node:
    def __init__(self, address, credentials, server_name):
        self.address = address
        options = list(OPTIONS)
        if server_name:
            options.append(("grpc.ssl_target_name_override", server_name))
        self._channel = (grpc.secure_channel(address, credentials, options) if credentials
                         else grpc.insecure_channel(address, options))
        self._stubs = {}
        self._asking = threading.Lock()
        self._changed = threading.Condition()
        self._state = None  # None: not yet told
        self._watching = False
        for name, (service, request, response) in METHODS.items():
            self._stubs[name] = self._channel.unary_unary(
                f"/{messages.PACKAGE}.{service}/{name}",
                request_serializer=messages.message(request).SerializeToString,
                response_deserializer=messages.message(response).FromString)

    def _on_state(self, state):
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def connect(self, seconds):
        """True as soon as there is a connection, False as soon as there can be none, or after so many seconds."""
        if self._state is UP:
            return True
        with self._asking:  # gRPC connects only for a call or a new subscriber that wants it
            if self._watching:
                self._channel.unsubscribe(self._on_state)
            self._watching, self._state = True, None
            self._channel.subscribe(self._on_state, try_to_connect=True)
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._state is not UP and self._state not in DOWN:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return False
            return self._state is UP

    def call(self, method, request, seconds, metadata):
        return self._stubs[method](request, timeout=seconds, metadata=metadata)

    def close(self):
        self._channel.close()
