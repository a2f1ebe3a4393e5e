# SPDX-License-Identifier: Apache-2.0
"""proto/agihpc.proto to a serialized FileDescriptorSet, by protoc. When the package is built and, in a checkout, at
the first use. Imports nothing of the package: setup.py loads it alone."""

import os
import shutil
import subprocess
import tempfile

PROTO = "agihpc.proto"
COMPILED = "agihpc.desc"


def descriptor_set(proto):
    protoc = os.environ.get("PROTOC") or shutil.which("protoc")
    if not protoc:
        raise RuntimeError(f"protoc is needed to compile {proto} (Debian: protobuf-compiler)")
    with tempfile.TemporaryDirectory(prefix="agihpc-") as folder:
        out = os.path.join(folder, COMPILED)
        subprocess.run([protoc, "-I" + os.path.dirname(proto), "--descriptor_set_out=" + out, PROTO], check=True)
        with open(out, "rb") as f:
            return f.read()
