# SPDX-License-Identifier: Apache-2.0
"""Puts the compiled messages (agihpc.desc, made of proto/agihpc.proto by protoc) into the package when it is built."""

import os
import shutil
import sys

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "agihpc"))
import _compile  # noqa: E402


def find_proto():
    """Beside this file in a source package, two folders up in a checkout."""
    for folder in (os.path.join(HERE, "proto"), os.path.join(HERE, "..", "..", "proto")):
        path = os.path.join(folder, _compile.PROTO)
        if os.path.exists(path):
            return path
    raise SystemExit(f"{_compile.PROTO} is neither in {HERE}/proto nor in the checkout's proto/")


class BuildWithMessages(build_py):
    def run(self):
        super().run()
        with open(os.path.join(self.build_lib, "agihpc", _compile.COMPILED), "wb") as f:
            f.write(_compile.descriptor_set(find_proto()))


class SourceWithProto(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        os.makedirs(os.path.join(base_dir, "proto"), exist_ok=True)
        shutil.copy(find_proto(), os.path.join(base_dir, "proto"))


setup(cmdclass={"build_py": BuildWithMessages, "sdist": SourceWithProto})
