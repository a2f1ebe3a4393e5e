# SPDX-License-Identifier: Apache-2.0
"""The gRPC server against peers that break HTTP/2 (h2cases.py), as a test server of its own: one loop, nothing else."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
from tap import Tap  # noqa: E402
import h2cases  # noqa: E402

BUILDDIR = os.environ.get("AGI_BUILDDIR", ".")


class Echo(h2cases.Target):
    def __init__(self):
        self.process = subprocess.Popen([os.path.join(BUILDDIR, "tests", "net", "grpc_echo")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        self.address = ("127.0.0.1", int(self.process.stdout.readline()))

    def stop(self):
        self.process.stdin.close()
        return self.process.wait(60)


def main():
    tap, echo = Tap(), Echo()
    trial = h2cases.Trial(tap, echo)
    trial.attacks()
    trial.end()
    with tap.case("the server ends in order"):
        assert echo.stop() == 0
    tap.done()
    sys.exit(1 if tap.failed else 0)


main()
