# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by hand (RFC 9113, RFC 7541): a peer that sends whatever a test wants, right or wrong."""

import socket
import ssl
import struct
import threading
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 0x1, 0x1, 0x4, 0x8, 0x20
ERRORS = ("NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
          "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY "
          "HTTP_1_1_REQUIRED").split()
PATH = b"/agihpc.v1.KvService/Put"


def frame(kind, flags, stream, payload=b"", length=None):
    """A frame; length lies about the payload when given."""
    n = len(payload) if length is None else length
    return struct.pack(">I", n)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


# --- HPACK: what an encoder may write, and integers it may not -------------------------------------------------
def integer(value, prefix, first=0):
    top = (1 << prefix) - 1
    if value < top:
        return bytes([first | value])
    out = bytes([first | top])
    value -= top
    while value > 0x7f:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


def text(raw):
    return integer(len(raw), 7) + raw


def literal(name, value, first=0x00):
    """A field with a new name; first 0x40 puts it into the dynamic table."""
    return bytes([first]) + text(name) + text(value)


def block(fields):
    return b"".join(literal(n, v) for n, v in fields)


def message(payload=b""):
    return b"\0" + struct.pack(">I", len(payload)) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


class Wire:
    """What a connection to a server is made of, and a call to it that is answered at once: path, request, answer.
    tls: an ssl.SSLContext."""

    def __init__(self, path=PATH, request=b"\x1a\x01x", answer=b"\x08\x01\x10\x01", tls=None):
        self.path, self.request, self.answer, self.tls = path, request, answer, tls
        self.fields = [(b":method", b"POST"), (b":scheme", b"https" if tls else b"http"), (b":path", path),
                       (b":authority", b"test"), (b"te", b"trailers"), (b"content-type", b"application/grpc")]

    def request_block(self, extra=(), without=(), **instead):
        """Header block of a good call; pseudo-headers replaced by keyword (path=...), others left out or added."""
        fields = [(n, instead.get(n.decode().strip(":"), v)) for n, v in self.fields if n not in without]
        return block(fields + list(extra))

    def headers(self, stream, fields=None, flags=END_HEADERS):
        return frame(HEADERS, flags, stream, self.request_block() if fields is None else fields)

    def call(self, stream, path=None, request=None):
        return (self.headers(stream, self.request_block(path=path or self.path)) +
                frame(DATA, END_STREAM, stream, message(self.request if request is None else request)))

    def open_call(self):
        return self.headers(1)  # the request has begun, its message is missing

    def bare(self, fields):
        """A whole header block of one's own."""
        return self.headers(1, fields, END_HEADERS | END_STREAM)

    def extra(self, name, value):
        return self.bare(self.request_block([(name, value)]))

    def connect(self, address, timeout):
        sock = socket.create_connection(address, timeout=timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls.wrap_socket(sock, server_hostname=address[0]) if self.tls else sock


# --- a connection ---------------------------------------------------------------------------------------------
class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    def error(self):
        at = 4 if self.kind == GOAWAY else 0
        code = struct.unpack(">I", self.payload[at:at + 4])[0]
        return ERRORS[code] if code < len(ERRORS) else str(code)

    def __repr__(self):
        names = ("DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION").split()
        name = names[self.kind] if self.kind < len(names) else str(self.kind)
        code = " " + self.error() if self.kind in (GOAWAY, RST_STREAM) else ""
        return f"{name}({self.stream}{' END' if self.kind < 2 and self.flags & END_STREAM else ''}{code})"


class Conn:
    """A client connection. send() never fails: what the server does shows in what is read."""

    def __init__(self, wire, address, greeting=True, timeout=10):
        self.wire, self.sock, self.timeout = wire, wire.connect(address, timeout), timeout
        self.buffer = b""
        self.frames = []
        self.is_over = False
        self.is_cut = False
        if greeting:
            self.send(PREFACE + settings())

    def send(self, data):
        """False when the server has cut the connection."""
        try:
            self.sock.sendall(data)
            return True
        except (ConnectionError, ssl.SSLError, socket.timeout):
            self.is_cut = True
            return False

    def _more(self, until):
        left = until - time.monotonic()
        if left <= 0:
            return False
        self.sock.settimeout(left)
        try:
            got = self.sock.recv(1 << 16)
        except socket.timeout:
            return False
        except (ConnectionError, ssl.SSLError):
            got = b""
        finally:
            self.sock.settimeout(self.timeout)
        if not got:
            self.is_over = True
        self.buffer += got
        return bool(got)

    def read(self, until=None):
        """The next frame, or None at the end of the connection or of the time."""
        until = until or time.monotonic() + self.timeout
        while True:
            if len(self.buffer) >= 9:
                n = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + n:
                    kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
                    f = Frame(kind, flags, stream & 0x7fffffff, self.buffer[9:9 + n])
                    self.buffer = self.buffer[9 + n:]
                    self.frames.append(f)
                    return f
            if not self._more(until):
                return None

    def read_until(self, want, timeout=None):
        """Frames up to and with the first that want() likes; None when it never comes."""
        until = time.monotonic() + (timeout or self.timeout)
        while True:
            f = self.read(until)
            if f is None or want(f):
                return f

    def read_end(self, timeout=None):
        """Everything up to the end of the connection; False when it does not end in time."""
        self.read_until(lambda f: False, timeout)
        return self.is_over

    def unary(self, stream):
        """A good call; the answer's message bytes. Raises when it does not come."""
        self.send(self.wire.call(stream))
        return self.answer(stream)

    def is_good(self, stream):
        return self.unary(stream) == self.wire.answer

    def answer(self, stream):
        got = b""
        while True:
            f = self.read()
            assert f is not None, f"no answer on stream {stream}: {self.frames[-5:]}"
            if f.kind == SETTINGS and not f.flags & ACK:
                self.send(frame(SETTINGS, ACK, 0))
            if f.kind == GOAWAY or (f.kind == RST_STREAM and f.stream == stream and f.error() != "NO_ERROR"):
                raise AssertionError(f"the call on stream {stream} got {f}")
            if f.stream != stream:
                continue
            if f.kind == DATA:
                got += f.payload
            if f.kind in (DATA, HEADERS) and f.flags & END_STREAM:
                self.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1024)))
                return got[5:]

    def close(self):
        self.sock.close()


class Neighbour(threading.Thread):
    """A well-behaved client that calls all the time: what it sees is what others suffer."""

    def __init__(self, wire, address, pause=0.002):
        super().__init__(daemon=True)
        self.conn, self.pause = Conn(wire, address), pause
        self.lock = threading.Lock()
        self.count, self.worst, self.failure, self.stopping = 0, 0.0, None, False

    def run(self):
        stream = 1
        try:
            while not self.stopping:
                began = time.monotonic()
                assert self.conn.is_good(stream)
                self.conn.frames.clear()
                with self.lock:
                    self.count += 1
                    self.worst = max(self.worst, time.monotonic() - began)
                stream += 2
                time.sleep(self.pause)
        except Exception as e:  # whatever it is, the test wants to know
            self.failure = e

    def mark(self):
        with self.lock:
            self.worst = 0.0
            return self.count

    def check(self, since, limit_s):
        until = time.monotonic() + limit_s
        while self.count < since + 2 and self.failure is None and time.monotonic() < until:
            time.sleep(0.002)
        with self.lock:
            assert self.failure is None, f"a healthy client was disturbed: {self.failure}"
            assert self.count >= since + 2, "a healthy client got no answer"
            assert self.worst < limit_s, f"a healthy client waited {self.worst:.3f} s"
