# SPDX-License-Identifier: Apache-2.0
"""A server against peers that break HTTP/2, from the MUSTs of RFC 9113 and RFC 7541 and from published attacks.

Every case names the section it comes from. In every case a well-behaved neighbour keeps calling on a connection of
its own and must not notice; the memory of the server is watched. Which server: see Target; the test server of
test_h2_conformance.py, or a node (tests/e2e/test_h2_node.py)."""

import os
import struct
import time

import h2raw as h2
from h2raw import frame, literal, settings

IS_SLOW = bool(os.environ.get("AGI_SANITIZERS"))
IS_FAR = "AGI_ECHO_FAR" in os.environ         # see echo_service.h; answers then come as they are ready: the
PEAK_BYTES = (256 if IS_SLOW else 128 if IS_FAR else 24) << 20  # bound is conn_bytes_max, and what is on the way
KEPT_BYTES = (256 if IS_SLOW else 16) << 20   # that all of them together may leave behind
NEIGHBOUR_S = 10 if IS_SLOW else 2            # longest wait of the neighbour: a busy machine is no bug
HANG = b"\x0a\x04hang"


def u32(n):
    return struct.pack(">I", n)


class Target:
    """A server that is tried: where it is, what a good call to it is, what memory it has."""
    wire = h2.Wire()                                 # what a connection is made of, and a good call
    hangs = (h2.PATH.replace(b"/Put", b"/Get"), HANG)  # path and request of a call that stays open
    large = (h2.PATH.replace(b"/Put", b"/Get"), b"\x0a\x05large\x12\x072000000")  # of one with a large answer
    peak_bytes, kept_bytes = PEAK_BYTES, KEPT_BYTES
    address, pid = None, None

    def memory(self, what="VmRSS"):
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith(what):
                    return int(line.split()[1]) * 1024
        raise AssertionError("the server has gone")

    def forget_peak(self):
        try:
            with open(f"/proc/{self.pid}/clear_refs", "w") as f:
                f.write("5")
        except OSError:
            pass  # not everywhere permitted; the peak then is the one since the start


# --- verdicts ---------------------------------------------------------------------------------------------------
def connection_error(*codes, may_just_close=False):
    """GOAWAY with one of the codes, then the connection is closed (5.4.1)."""
    def verdict(c, _stream):
        assert c.read_end(), f"the connection stays open: {c.frames[-6:]}"
        said = [f.error() for f in c.frames if f.kind == h2.GOAWAY]
        if not said and may_just_close:
            return
        assert said and said[-1] in codes, f"expected GOAWAY {' or '.join(codes)}, got {c.frames[-6:]}"
    return verdict


def stream_error(*codes, also_connection=False):
    """RST_STREAM with one of the codes (5.4.2); the connection goes on."""
    def verdict(c, stream):
        f = c.read_until(lambda f: f.kind == h2.GOAWAY or
                         f.kind == h2.RST_STREAM and f.stream == stream and f.error() != "NO_ERROR")
        assert f is not None and f.error() in codes, f"expected {' or '.join(codes)}, got {c.frames[-6:]}"
        if f.kind == h2.GOAWAY:
            assert also_connection, f"the whole connection ended: {f}"
        else:
            c.frames.clear()
            assert c.is_good(101)
    return verdict


def goes_on():
    """Nothing happens: the next call is answered."""
    def verdict(c, _stream):
        assert c.is_good(101)
        wrong = [f for f in c.frames if f.kind in (h2.RST_STREAM, h2.GOAWAY)]
        assert not wrong, wrong
    return verdict


PROTOCOL = connection_error("PROTOCOL_ERROR")
SIZE = connection_error("FRAME_SIZE_ERROR")
CLOSED = connection_error("STREAM_CLOSED")
FLOW = connection_error("FLOW_CONTROL_ERROR")
COMPRESSION = connection_error("COMPRESSION_ERROR")
CALM = connection_error("ENHANCE_YOUR_CALM")
MALFORMED = stream_error("PROTOCOL_ERROR")


# --- what is sent -----------------------------------------------------------------------------------------------
def setting(key, value):
    return settings((key, value))


def frames(t):
    """Section, what, bytes after the greeting, verdict."""
    w = t.wire
    request_block, open_call, bare, extra = w.request_block, w.open_call, w.bare, w.extra
    headers, hanging = w.headers, w.call(1, *t.hangs)
    return [
        ("4.1", "unknown frame types are ignored", frame(0xee, 0xff, 0, b"x" * 100) + frame(0xef, 0, 7, b""), goes_on()),
        ("4.1", "the reserved bit of a stream identifier is ignored",
         frame(h2.PING, 0, 0x80000000, b"12345678"), goes_on()),
        ("4.1", "unknown flags are ignored", frame(h2.PING, 0xf6, 0, b"12345678"), goes_on()),
        ("4.2", "DATA above SETTINGS_MAX_FRAME_SIZE", open_call() + frame(h2.DATA, 0, 1, bytes(16385)),
         stream_error("FRAME_SIZE_ERROR", also_connection=True)),
        ("4.2", "HEADERS above SETTINGS_MAX_FRAME_SIZE", frame(h2.HEADERS, 4, 1, bytes(16385)), SIZE),
        ("4.2", "a frame that announces 16 MiB", frame(h2.DATA, 0, 1, b"", length=0xffffff),
         connection_error("FRAME_SIZE_ERROR", "PROTOCOL_ERROR")),
        ("4.3", "a header block that does not decode", headers(1, b"\xff" * 20), COMPRESSION),
        ("5.1", "DATA on an idle stream", frame(h2.DATA, 0, 1, b"x"), PROTOCOL),
        ("5.1", "WINDOW_UPDATE on an idle stream", frame(h2.WINDOW_UPDATE, 0, 1, u32(1)), PROTOCOL),
        ("5.1", "RST_STREAM on an idle stream", frame(h2.RST_STREAM, 0, 1, u32(8)), PROTOCOL),
        ("5.1", "CONTINUATION on an idle stream", frame(h2.CONTINUATION, 4, 1, request_block()), PROTOCOL),
        ("5.1", "PRIORITY on an idle stream is harmless", frame(h2.PRIORITY, 0, 9, u32(0) + b"\x10"), goes_on()),
        ("5.1", "DATA on a half-closed stream", hanging + frame(h2.DATA, 0, 1, b"x"),
         stream_error("STREAM_CLOSED", also_connection=True)),
        ("5.1", "HEADERS on a half-closed stream", hanging + headers(1),
         stream_error("STREAM_CLOSED", also_connection=True)),
        ("5.1.1", "an even stream identifier", headers(2), PROTOCOL),
        ("5.1.1", "stream identifiers that go down", w.call(7) + w.call(5), PROTOCOL),
        ("5.5", "an unknown frame inside a header block", headers(1, flags=0) + frame(0xee, 0, 1, b"x"), PROTOCOL),
        ("6.1", "DATA on stream 0", frame(h2.DATA, 0, 0, b"x"), PROTOCOL),
        ("6.1", "DATA with more padding than payload", open_call() + frame(h2.DATA, h2.PADDED, 1, b"\x05x"), PROTOCOL),
        ("6.1", "DATA whose padding is missing", open_call() + frame(h2.DATA, h2.PADDED, 1, b""),
         connection_error("PROTOCOL_ERROR", "FRAME_SIZE_ERROR")),
        ("6.2", "HEADERS on stream 0", headers(0), PROTOCOL),
        ("6.2", "HEADERS with more padding than payload",
         frame(h2.HEADERS, h2.PADDED | 4, 1, b"\xff" + request_block()), PROTOCOL),
        ("6.2", "HEADERS without END_HEADERS, then PING", headers(1, flags=0) + frame(h2.PING, 0, 0, bytes(8)), PROTOCOL),
        ("6.2", "HEADERS without END_HEADERS, then DATA", headers(1, flags=0) + frame(h2.DATA, 1, 1, b"x"), PROTOCOL),
        ("6.2", "HEADERS without END_HEADERS, then another stream's", headers(1, flags=0) + headers(3), PROTOCOL),
        ("6.3", "PRIORITY on stream 0", frame(h2.PRIORITY, 0, 0, u32(1) + b"\x10"), PROTOCOL),
        ("6.3", "PRIORITY of 4 bytes", open_call() + frame(h2.PRIORITY, 0, 1, u32(0)),
         stream_error("FRAME_SIZE_ERROR", also_connection=True)),
        ("6.4", "RST_STREAM on stream 0", frame(h2.RST_STREAM, 0, 0, u32(8)), PROTOCOL),
        ("6.4", "RST_STREAM of 3 bytes", open_call() + frame(h2.RST_STREAM, 0, 1, b"\0\0\0"), SIZE),
        ("6.5", "SETTINGS on a stream", frame(h2.SETTINGS, 0, 1, b""), PROTOCOL),
        ("6.5", "SETTINGS of 5 bytes", frame(h2.SETTINGS, 0, 0, bytes(5)), SIZE),
        ("6.5", "SETTINGS ACK with a payload", frame(h2.SETTINGS, h2.ACK, 0, bytes(6)), SIZE),
        ("6.5.2", "SETTINGS_ENABLE_PUSH 2", setting(2, 2), PROTOCOL),
        ("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE 2^31", setting(4, 1 << 31), FLOW),
        ("6.5.2", "SETTINGS_MAX_FRAME_SIZE 16383", setting(5, 16383), PROTOCOL),
        ("6.5.2", "SETTINGS_MAX_FRAME_SIZE 2^24", setting(5, 1 << 24), PROTOCOL),
        ("6.5.2", "unknown settings are ignored", setting(0xbeef, 7), goes_on()),
        ("6.6", "PUSH_PROMISE from a client", open_call() + frame(h2.PUSH_PROMISE, 4, 1, u32(2) + request_block()),
         PROTOCOL),
        ("6.7", "PING on a stream", frame(h2.PING, 0, 1, bytes(8)), PROTOCOL),
        ("6.7", "PING of 7 bytes", frame(h2.PING, 0, 0, bytes(7)), SIZE),
        ("6.8", "GOAWAY on a stream", frame(h2.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
        ("6.8", "GOAWAY of 7 bytes", frame(h2.GOAWAY, 0, 0, bytes(7)), SIZE),
        ("6.9", "WINDOW_UPDATE of 3 bytes", frame(h2.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
        ("6.9", "a connection's WINDOW_UPDATE by 0", frame(h2.WINDOW_UPDATE, 0, 0, u32(0)), PROTOCOL),
        ("6.9", "a stream's WINDOW_UPDATE by 0", open_call() + frame(h2.WINDOW_UPDATE, 0, 1, u32(0)),
         stream_error("PROTOCOL_ERROR", also_connection=True)),
        ("6.9.1", "a connection's window above 2^31-1", frame(h2.WINDOW_UPDATE, 0, 0, u32(0x7fffffff)), FLOW),
        ("6.9.1", "a stream's window above 2^31-1", open_call() + frame(h2.WINDOW_UPDATE, 0, 1, u32(0x7fffffff)),
         FLOW),  # as permitted by 5.4.1
        ("6.9.2", "an initial window that lifts a stream's above 2^31-1",
         open_call() + frame(h2.WINDOW_UPDATE, 0, 1, u32(0x7fffffff - 65535)) + setting(4, 65536), FLOW),
        ("6.10", "CONTINUATION without HEADERS", w.call(1) + frame(h2.CONTINUATION, 4, 1, b""), PROTOCOL),
        ("6.10", "CONTINUATION on stream 0", headers(1, flags=0) + frame(h2.CONTINUATION, 4, 0, b""), PROTOCOL),
        ("6.10", "CONTINUATION of another stream", headers(1, flags=0) + frame(h2.CONTINUATION, 4, 3, b""), PROTOCOL),
        ("6.10", "CONTINUATION after END_HEADERS", open_call() + frame(h2.CONTINUATION, 4, 1, b""), PROTOCOL),
        ("8.1", "a second HEADERS without END_STREAM", open_call() + headers(1, h2.block([(b"x", b"y")])), MALFORMED),
        ("8.1", "a pseudo-header among trailers",
         open_call() + headers(1, h2.block([(b":path", b"/")]), 5), MALFORMED),
        ("8.1.1", "content-length that is not the length of DATA",
         headers(1, request_block([(b"content-length", b"100")])) + frame(h2.DATA, 1, 1, h2.message()), MALFORMED),
        ("8.2", "an upper-case field name", extra(b"X-Loud", b"1"), MALFORMED),
        ("8.2.1", "a space in a field name", extra(b"x y", b"1"), MALFORMED),
        ("8.2.1", "a colon in a field name", extra(b"x:y", b"1"), MALFORMED),
        ("8.2.1", "a field without a name", extra(b"", b"1"), MALFORMED),
        ("8.2.1", "NUL in a field value", extra(b"x", b"a\0b"), MALFORMED),
        ("8.2.1", "a line break in a field value", extra(b"x", b"a\r\nb: c"), MALFORMED),
        ("8.2.2", "the field connection", extra(b"connection", b"close"), MALFORMED),
        ("8.2.2", "the field transfer-encoding", extra(b"transfer-encoding", b"chunked"), MALFORMED),
        ("8.2.2", "the field upgrade", extra(b"upgrade", b"websocket"), MALFORMED),
        ("8.2.2", "the field keep-alive", extra(b"keep-alive", b"1"), MALFORMED),
        ("8.2.2", "te other than trailers", bare(request_block(without=(b"te",), extra=[(b"te", b"gzip")])), MALFORMED),
        ("8.3", "an unknown pseudo-header", bare(h2.block([(b":what", b"1")]) + request_block()), MALFORMED),
        ("8.3", "a response's pseudo-header", bare(h2.block([(b":status", b"200")]) + request_block()), MALFORMED),
        ("8.3", "a pseudo-header after a field",
         bare(request_block(without=(b":path",), extra=[(b":path", w.path)])), MALFORMED),
        ("8.3", "a pseudo-header twice", bare(h2.block([(b":path", b"/")]) + request_block()), MALFORMED),
        ("8.3.1", "no :method", bare(request_block(without=(b":method",))), MALFORMED),
        ("8.3.1", "no :scheme", bare(request_block(without=(b":scheme",))), MALFORMED),
        ("8.3.1", "no :path", bare(request_block(without=(b":path",))), MALFORMED),
        ("8.3.1", "an empty :path", bare(request_block(path=b"")), MALFORMED),
        ("RFC 7541 2.3.3", "index 0", bare(b"\x80" + request_block()), COMPRESSION),
        ("RFC 7541 2.3.3", "an index beyond both tables", bare(b"\xff\x40" + request_block()), COMPRESSION),
        ("RFC 7541 4.2", "a table size update above the setting", bare(h2.integer(1 << 16, 5, 0x20) + request_block()),
         COMPRESSION),
        ("RFC 7541 4.2", "a table size update after a field", bare(request_block() + b"\x20"), COMPRESSION),
        ("RFC 7541 5.1", "an integer that does not end", bare(b"\xff" + b"\x80" * 30), COMPRESSION),
        ("RFC 7541 5.1", "an integer of 2^63", bare(h2.integer(1 << 63, 7, 0x80)), COMPRESSION),
        ("RFC 7541 5.2", "a string longer than the block", bare(b"\x00\x7f\x80\x7fabc"), COMPRESSION),
        ("RFC 7541 5.2", "Huffman padding of more than 7 bits", bare(b"\x00\x01x\x82\xff\xff"), COMPRESSION),
        ("RFC 7541 5.2", "Huffman padding that is not ones", bare(b"\x00\x01x\x81\x00"), COMPRESSION),
        ("RFC 7541 5.2", "the Huffman symbol EOS", bare(b"\x00\x01x\x84\xff\xff\xff\xff"), COMPRESSION),
    ]


class Bench:
    """One server, one neighbour; runs a case with both under watch."""

    def __init__(self, tap, target):
        self.tap, self.server, self.wire = tap, target, target.wire
        self.neighbour = h2.Neighbour(target.wire, target.address)
        self.neighbour.start()
        until = time.monotonic() + 30
        while self.neighbour.count < 10 and time.monotonic() < until and not self.neighbour.failure:
            time.sleep(0.01)
        self.before = self.server.memory()

    def connect(self, **how):
        return h2.Conn(self.wire, self.server.address, timeout=60 if IS_SLOW else 20, **how)

    def watched(self, name, attack):
        with self.tap.case(name):
            self.server.forget_peak()
            begin, since = self.server.memory(), self.neighbour.mark()
            attack()
            self.neighbour.check(since, NEIGHBOUR_S)
            peak = self.server.memory("VmHWM") - begin
            assert peak < self.server.peak_bytes, f"the server grew by {peak >> 10} KiB"

    def attack(self, name, sends, verdict, **how):
        def run():
            c = self.connect(**how)
            c.send(sends) if isinstance(sends, bytes) else sends(c)
            verdict(c, 1)
            c.close()
        self.watched(name, run)


# --- greetings --------------------------------------------------------------------------------------------------
def test_greetings(b):
    closed = connection_error("PROTOCOL_ERROR", may_just_close=True)
    for what, sends in (("another protocol", b"POST / HTTP/1.1\r\nhost: x\r\n\r\n"),
                        ("a preface with one wrong byte", h2.PREFACE[:-1] + b"x" + settings()),
                        ("random bytes", bytes(range(256)))):
        b.attack(f"3.4: {what} instead of the preface", sends, closed, greeting=False)
    b.attack("3.4: a first frame that is not SETTINGS", h2.PREFACE + frame(h2.PING, 0, 0, bytes(8)), PROTOCOL,
             greeting=False)
    b.attack("3.4: a first frame that is an acknowledgement", h2.PREFACE + frame(h2.SETTINGS, h2.ACK, 0), PROTOCOL,
             greeting=False)
    b.attack("3.4: the preface byte by byte is as good",
             lambda c: [c.send(bytes([x])) for x in h2.PREFACE + settings()], goes_on(), greeting=False)

    def acknowledged():
        c = b.connect()
        f = c.read_until(lambda f: f.kind == h2.SETTINGS and f.flags & h2.ACK)
        assert f is not None and f.payload == b"" and c.frames[0].kind == h2.SETTINGS, c.frames
        c.close()
    b.watched("6.5.3: the server begins with SETTINGS and acknowledges ours", acknowledged)

    def ping():
        c = b.connect()
        c.send(frame(h2.PING, h2.ACK, 0, b"not mine") + frame(h2.PING, 0, 0, b"payload!"))
        f = c.read_until(lambda f: f.kind == h2.PING)
        assert f.flags & h2.ACK and f.payload == b"payload!", f
        c.close()
    b.watched("6.7: PING comes back with its payload, an acknowledgement does not", ping)


def test_closed_streams(b):
    def after_end(what, sends, verdict):
        def run(c):
            c.unary(1)
            c.frames.clear()
            c.send(sends)
        b.attack(f"5.1: {what} after the call has ended", run, verdict)
    after_end("DATA (dropped, its window given back)", frame(h2.DATA, 0, 1, bytes(10000)) * 2000, goes_on())
    after_end("HEADERS", b.wire.headers(1), connection_error("STREAM_CLOSED", "PROTOCOL_ERROR"))
    after_end("WINDOW_UPDATE (harmless)", frame(h2.WINDOW_UPDATE, 0, 1, u32(5)), goes_on())
    after_end("RST_STREAM (harmless)", frame(h2.RST_STREAM, 0, 1, u32(8)), goes_on())

    def window(c):
        c.send(settings((4, 0)) + b.wire.call(1))
        f = c.read_until(lambda f: f.kind == h2.HEADERS)
        assert f is not None and not f.flags & h2.END_STREAM
        assert c.read_until(lambda f: f.kind == h2.DATA, 0.2) is None, "DATA without a window"
        c.send(frame(h2.WINDOW_UPDATE, 0, 1, u32(3)))
        f = c.read_until(lambda f: f.kind == h2.DATA)
        assert f is not None and len(f.payload) == 3, f
        c.send(settings((4, 100)))  # 6.9.2: the change reaches open streams
        assert len(c.answer(1)) == max(0, len(b.wire.answer) - 3), "the rest of the answer"  # 3 bytes came before
        c.frames.clear()
        c.send(settings((4, 65535)))
    b.attack("6.9: DATA waits for the stream's window, to the byte", window, goes_on())

    def concurrent(c):
        first = c.read_until(lambda f: f.kind == h2.SETTINGS and not f.flags & h2.ACK)
        pairs = dict(struct.unpack(">HI", first.payload[i:i + 6]) for i in range(0, len(first.payload), 6))
        limit = pairs[3]
        c.send(b"".join(b.wire.headers(i * 2 + 1) for i in range(limit + 1)))
        over = limit * 2 + 1
        f = c.read_until(lambda f: f.kind == h2.RST_STREAM and f.stream == over or f.kind == h2.GOAWAY)
        assert f is not None and f.error() in ("REFUSED_STREAM", "PROTOCOL_ERROR"), f
        c.frames.clear()
        c.send(frame(h2.RST_STREAM, 0, 1, u32(8)))
        assert c.is_good(over + 2)
    b.attack("5.1.2: a stream above the announced limit is refused, the others live", concurrent, lambda c, s: None)


# --- floods -----------------------------------------------------------------------------------------------------
def flood(make, count, batch=200):
    """Sends make(i) for i < count, or until the server cuts the connection."""
    def run(c):
        for i in range(0, count, batch):
            if not c.send(b"".join(make(k) for k in range(i, min(i + batch, count)))):
                return
    return run


def test_floods(b):
    w, ping, empty = b.wire, frame(h2.PING, 0, 0, bytes(8)), settings()
    b.attack("CVE-2019-9512: a flood of PING", flood(lambda i: ping, 200000), CALM)
    b.attack("CVE-2019-9515: a flood of SETTINGS", flood(lambda i: empty, 200000), CALM)
    b.attack("10.5: a flood of changing SETTINGS", flood(lambda i: setting(4, 65535 + i % 2), 100000), CALM)
    b.attack("CVE-2019-9513: a flood of PRIORITY", flood(lambda i: frame(h2.PRIORITY, 0, 2 * i + 1, u32(0) + b"\x10"),
                                                       200000), CALM)
    b.attack("10.5: a flood of unknown frames", flood(lambda i: frame(0xee, 0, 0, b""), 400000), CALM)
    b.attack("CVE-2019-9518: a flood of empty DATA",
             lambda c: c.send(w.open_call()) and flood(lambda i: frame(h2.DATA, 0, 1, b""), 400000)(c), CALM)
    b.attack("CVE-2019-9518: a flood of DATA that is all padding",
             lambda c: c.send(w.open_call()) and flood(lambda i: frame(h2.DATA, h2.PADDED, 1, b"\0"), 60000)(c), CALM)
    b.attack("10.5: a flood of WINDOW_UPDATE", flood(lambda i: frame(h2.WINDOW_UPDATE, 0, 0, u32(1)), 400000), CALM)
    b.attack("CVE-2023-44487: rapid reset",
             flood(lambda i: w.headers(2 * i + 1) + frame(h2.RST_STREAM, 0, 2 * i + 1, u32(8)), 50000, 50), CALM)
    b.attack("CVE-2025-8671: resets that the server is made to send",
             flood(lambda i: w.headers(2 * i + 1, w.request_block([(b"content-length", b"1")])) +
                   frame(h2.DATA, 1, 2 * i + 1, h2.message()), 50000, 50), CALM)
    b.attack("CVE-2025-8671: the same by malformed requests",
             flood(lambda i: w.headers(2 * i + 1, w.request_block([(b"X", b"")]), 5), 50000, 50), CALM)
    part = frame(h2.CONTINUATION, 0, 1, literal(b"x", b"y" * 100) * 100)
    b.attack("CVE-2024-28182: a flood of CONTINUATION",
             lambda c: c.send(w.headers(1, flags=0)) and flood(lambda i: part, 2000, 10)(c),
             connection_error("ENHANCE_YOUR_CALM"))
    b.attack("CVE-2024-28182: a flood of empty CONTINUATION",
             lambda c: c.send(w.headers(1, flags=0)) and flood(lambda i: frame(h2.CONTINUATION, 0, 1), 100000)(c),
             connection_error("ENHANCE_YOUR_CALM"))

    def unread(c):  # CVE-2019-9517: answers are wanted but not read
        c.send(settings((4, 0x7fffffff)) + frame(h2.WINDOW_UPDATE, 0, 0, u32(0x7fffffff - 65535)))
        for i in range(200):
            c.send(w.call(2 * i + 1, *b.server.large))
    b.attack("CVE-2019-9517: answers that nobody reads", unread, lambda c, s: None)
    b.attack("CVE-2019-9517: acknowledgements that nobody reads",
             lambda c: [c.sock.settimeout(2), flood(lambda i: ping, 300000, 2000)(c)],
             lambda c, s: connection_error("ENHANCE_YOUR_CALM")(c, s))


def test_header_bombs(b):
    w = b.wire
    refused = "the call is refused and the connection lives"

    def refusal(c, _stream):
        f = c.read_until(lambda f: f.stream == 1 and f.kind in (h2.HEADERS, h2.RST_STREAM) or f.kind == h2.GOAWAY)
        assert f is not None and f.kind != h2.GOAWAY, c.frames
        assert f.kind == h2.HEADERS or f.error() in ("ENHANCE_YOUR_CALM", "INTERNAL_ERROR"), f
        c.frames.clear()
        assert c.is_good(101)
    big = literal(b"x", b"b" * 4000, 0x40)
    b.attack(f"10.5.1: 12000 references to a field of 4000 bytes (HPACK bomb): {refused}",
             w.headers(1, w.request_block() + big + b"\xbe" * 12000, 5), refusal)
    fields = w.request_block([(b"x-%d" % i, b"v" * 90) for i in range(170)])
    b.attack(f"10.5.1: a header list of 20000 bytes in two frames: {refused}",
             frame(h2.HEADERS, h2.END_STREAM, 1, fields[:16000]) +
             frame(h2.CONTINUATION, h2.END_HEADERS, 1, fields[16000:]), refusal)
    b.attack("10.5.1: 3000 fields without content (CVE-2019-9516)",
             w.headers(1, w.request_block([(b"a", b"")] * 3000), 5), refusal)
    b.attack("RFC 7541 4.3: the dynamic table emptied and filled a thousand times",
             lambda c: [c.send(w.headers(2 * i + 1, h2.integer(0, 5, 0x20) + h2.integer(4096, 5, 0x20) +
                                         w.request_block() + literal(b"x", b"b" * 3000, 0x40), 5)) for i in range(50)],
             goes_on())


# --- slow peers: begun first, looked at last ----------------------------------------------------------------------
class Quiet:
    """Connections that sent what the server ignores, and are silent then: nothing is wrong with them."""

    def __init__(self, b):
        self.b, w = b, b.wire
        late = frame(h2.DATA, 0, 1, b"x" * 1000)
        refused = w.headers(1, w.request_block(path=b"/no.such/Method"))
        self.conns = {
            "5.5: a frame of an unknown type": (self.begin(), frame(0xee, 0, 0, b"x" * 100)),
            "RFC 9218 7.1: PRIORITY_UPDATE": (self.begin(), frame(0x10, 0, 0, u32(1) + b"u=1")),
            "5.1: DATA of a call that has ended": (self.begin(), late),
            "5.1: DATA of a call that was refused before": (b.connect(), refused + late)}
        for c, sends in self.conns.values():
            c.send(sends)

    def begin(self):
        c = self.b.connect()
        assert c.is_good(1)
        return c

    def check(self):
        for name, (c, _) in self.conns.items():
            def answers(c=c):
                c.frames.clear()
                assert c.is_good(3)
            self.b.watched(f"{name}, then silence: the connection lives", answers)


class Slow:
    """Connections that hold on to what they have while saying next to nothing."""
    LIMIT_S = 30

    def __init__(self, b):
        self.b, self.began, w = b, time.monotonic(), b.wire
        cases = {"3.4: nothing at all": (b"", False), "3.4: half a preface": (h2.PREFACE[:10], False),
                 "3.4: a preface without SETTINGS": (h2.PREFACE, False),
                 "10.5: HEADERS that never end": (w.headers(1, w.request_block()[:30], 0), True),
                 "10.5: a HEADERS frame that is not whole": (w.headers(1)[:40], True)}
        self.conns = {name: [b.connect(greeting=greet) for _ in range(20)] for name, (_, greet) in cases.items()}
        self.dribblers = self.conns["10.5: a header block of one byte a second"] = [b.connect() for _ in range(20)]
        for name, (sends, _) in cases.items():
            for c in self.conns[name]:
                c.send(sends)
        for c in self.dribblers:
            c.send(frame(h2.HEADERS, 4, 1, b"", length=1000))

    def dribble(self):
        for c in self.dribblers:
            c.send(b"\x00")

    def check(self):
        for name, conns in self.conns.items():
            self.b.watched(f"{name}: closed in time, slow peers hold nothing", lambda: self.wait(conns))

    def wait(self, conns):
        for c in conns:
            c.read_until(lambda f: False, 0.01)
        while not all(c.is_over for c in conns):
            assert time.monotonic() < self.began + self.LIMIT_S, \
                f"{sum(not c.is_over for c in conns)} of {len(conns)} are still open"
            self.dribble()
            for c in conns:
                if not c.is_over:
                    c.read_until(lambda f: False, 0.05)


class Trial:
    """Every case against one target, or every step-th of those that differ by a frame only. Slow peers are begun
    first and looked at last."""

    def __init__(self, tap, target):
        self.tap, self.target, self.bench = tap, target, Bench(tap, target)
        self.quiet, self.slow = Quiet(self.bench), Slow(self.bench)

    def attacks(self, step=1):
        b = self.bench
        test_greetings(b)
        for section, what, sends, verdict in frames(self.target)[::step]:
            b.attack(f"{section}: {what}", sends, verdict)
        test_closed_streams(b)
        test_floods(b)
        test_header_bombs(b)

    def end(self):
        b = self.bench
        self.slow.check()
        self.quiet.check()  # older than those that were just found out
        with self.tap.case("memory after all of it is what it was before"):
            kept = self.target.memory() - b.before
            assert kept < self.target.kept_bytes, f"{kept >> 10} KiB more than at the start"
        b.neighbour.stopping = True
        b.neighbour.join(10)
        with self.tap.case("the healthy client was served from the beginning to the end"):
            assert b.neighbour.failure is None and b.neighbour.count > 100, b.neighbour.failure
