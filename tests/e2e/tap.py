# SPDX-License-Identifier: Apache-2.0
"""Test output in the Test Anything Protocol, one line per promise."""

import contextlib
import sys
import traceback


class Skip(Exception):
    """Raised in a case that cannot be tried here; the text says why."""


class Tap:
    """Counts cases; `with tap.case("a promise"):` is ok unless it raises."""

    def __init__(self):
        self.count = 0
        self.failed = 0
        self.on_failure = None

    @contextlib.contextmanager
    def case(self, name):
        self.count += 1
        try:
            yield
        except Skip as why:
            self._line(f"ok {self.count} - {name} # SKIP {why}")
        except Exception:
            self.failed += 1
            self._line(f"not ok {self.count} - {name}")
            self.diag(traceback.format_exc())
            if self.on_failure is not None:
                self.diag(self.on_failure())
        else:
            self._line(f"ok {self.count} - {name}")

    def done(self):
        self._line(f"1..{self.count}")

    def diag(self, text):
        for line in str(text).rstrip().splitlines():
            self._line("# " + line)

    @staticmethod
    def _line(text):
        print(text, flush=True)


def skip_all(why):
    """Ends the program: nothing of this file can be tried here."""
    print(f"1..0 # SKIP {why}", flush=True)
    sys.exit(0)
