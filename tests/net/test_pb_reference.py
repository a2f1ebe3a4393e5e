# SPDX-License-Identifier: Apache-2.0
"""Mutated messages are accepted, refused and read exactly as Google's own runtime does it."""

import importlib
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from tap import Tap, skip_all  # noqa: E402

try:
    from google.protobuf.internal import api_implementation
except ImportError:
    skip_all("python3-protobuf is not installed")
if api_implementation.Type() == "python":
    skip_all("the runtime in pure Python takes some malformed messages")

SRCDIR = os.environ.get("AGI_SRCDIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILDDIR = os.environ.get("AGI_BUILDDIR", ".")
FILES = ["plan", "erisml", "overlay"]
MESSAGES = 9000
REFUSED = 0xffffffff
SPICE = [0, 1, 0x0b, 0x0c, 0x10, 0x12, 0x7b, 0x7c, 0x80, 0xff]  # groups, tags, ends of varints


def load(folder):
    """The generated modules: plan, erisml, overlay."""
    protoc = os.environ.get("PROTOC") or shutil.which("protoc")
    if not protoc:
        skip_all("protoc is missing (Debian: protobuf-compiler)")
    proto = os.path.join(SRCDIR, "proto")
    subprocess.run([protoc, "-I" + proto, "--python_out=" + folder] +
                   [os.path.join(proto, f + ".proto") for f in FILES], check=True)
    sys.path.insert(0, folder)
    return [importlib.import_module(f + "_pb2") for f in FILES]


def seed(kind, plan, erisml, overlay):
    if kind == 0:
        p = plan.PlanGraphProto(plan_id="p1", goal_text="gé", schema_version=2)
        s = p.steps.add(step_id="s1", index=-3, level=2, tool_id="x", requires_simulation=True)
        s.safety_tags.append("a")
        s.params["k"] = "v"
        p.metadata["m"] = "n"
        return p
    if kind == 1:
        return erisml.MoralTensorProto(shape=[1, 2, 300], rank=2, data=[1.5, 0, 2], axis_names=["a", "b"],
                                       is_sparse=True, sparse_coords=[1, 2], sparse_fill_value=3)
    e = overlay.Envelope(version=1, trace_id=b"\x01\x02")
    if random.random() < 0.5:
        e.dht.kind = 3
        e.dht.contact.zone = "z"
        e.dht.sources.append(b"s")
        e.dht.view.members.append(b"m")
    else:
        e.vote_reply.rpc_id = 7
        e.vote_reply.error = "err"
    return e


def mutate(wire):
    b = bytearray(wire)
    for _ in range(random.choice([0, 1, 1, 1, 2, 3])):
        how = random.random()
        if how < 0.5 and b:
            b[random.randrange(len(b))] = random.choice(SPICE + [random.randrange(256)])
        elif how < 0.65 and b:
            del b[random.randrange(len(b)):]
        elif how < 0.8:
            at = random.randrange(len(b) + 1)
            b[at:at] = random.randbytes(random.randrange(1, 4))
        else:
            b = b + bytes(b)  # every singular field twice
    return bytes(b)


def ours(cases):
    """What our reader makes of every (type, bytes): packed again, or None."""
    wire = b"".join(bytes([t]) + struct.pack("<I", len(b)) + b for t, b in cases)
    out = subprocess.run([os.path.join(BUILDDIR, "tests", "net", "pb_roundtrip")], input=wire,
                         stdout=subprocess.PIPE, check=True).stdout
    at = 0
    for _ in cases:
        n, = struct.unpack_from("<I", out, at)
        at += 4
        if n == REFUSED:
            yield None
        else:
            yield out[at:at + n]
            at += n


def theirs(kind, wire):
    m = kind()
    try:
        with warnings.catch_warnings(record=True) as odd:  # a stray end of a group is only a warning here
            warnings.simplefilter("always")
            m.ParseFromString(wire)
    except Exception:
        return None
    return None if odd else m


def settled(m):
    """Canonical bytes (two NaNs are not equal). A map in the C++ runtime is a list until it is looked at."""
    if hasattr(m, "metadata"):
        len(m.metadata)
        for step in m.steps:
            len(step.params)
    return m.SerializeToString(deterministic=True)


def compare(kinds, cases):
    n_read = 0
    for (t, wire), packed in zip(cases, ours(cases)):
        m = theirs(kinds[t], wire)
        assert (m is None) == (packed is None), f"type {t}: {wire.hex()}: we {'refuse' if m else 'accept'} it"
        if m is None:
            continue
        n_read += 1
        again = kinds[t].FromString(packed)
        assert settled(again) == settled(m), f"type {t}: {wire.hex()}: we read {packed.hex()}"
    return n_read


def quiet():
    """The runtime writes a line for each string that is not UTF-8."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def main():
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder:
        plan, erisml, overlay = load(folder)
    quiet()
    kinds = [plan.PlanGraphProto, erisml.MoralTensorProto, overlay.Envelope]
    random.seed(20261123)
    with tap.case("nesting is refused at the same depth"):
        cases = [(t, open_ * d + close * d) for t in range(3) for d in (99, 100, 101, 102)
                 for open_, close in ((b"\x0b", b"\x0c"), (b"\x7b", b"\x7c"))]
        assert compare(kinds, cases) == len(cases) // 2
    with tap.case(f"{MESSAGES} mutated messages are read alike"):
        cases = [(i % 3, mutate(seed(i % 3, plan, erisml, overlay).SerializeToString())) for i in range(MESSAGES)]
        n_read = compare(kinds, cases)
        assert MESSAGES // 5 < n_read < MESSAGES * 4 // 5, n_read
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
