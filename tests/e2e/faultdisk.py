# SPDX-License-Identifier: Apache-2.0
"""Nodes on disks that fail, fill up, or lose power (faultdisk.c), and hands that damage files."""

import os
import random
import shutil
import subprocess
import tempfile

import overlay as o

LIBRARY = os.path.join(o.BUILDDIR, "tests", "e2e", "faultdisk.so")
# A sanitizer's library must be loaded first and knows nothing of ours.
WHY_NOT = "built with sanitizers" if o.SANITIZERS else None if os.path.exists(LIBRARY) else "faultdisk.so is not built"


class FaultNode(o.Node):
    """A node whose data directory can be given faults while it runs."""

    def __init__(self, *args):
        super().__init__(*args)
        self.rules = os.path.join(self.dir, "rules")
        self.shadow = os.path.join(self.dir, "shadow")
        self.has_shadow = False

    def argv(self):
        env = ["env", f"LD_PRELOAD={LIBRARY}", f"FAULTDISK_ROOT={self.data}", f"FAULTDISK_RULES={self.rules}"]
        if self.has_shadow:
            env.append(f"FAULTDISK_SHADOW={self.shadow}")
        return env + super().argv() if WHY_NOT is None else super().argv()

    def fail(self, *rules):
        """From now on: "sync EIO", "write ENOSPC"; nothing: the disk works."""
        with open(self.rules + ".new", "w", encoding="ascii") as f:
            f.write("".join(rule + "\n" for rule in rules))
        os.rename(self.rules + ".new", self.rules)

    def keep_shadow(self):
        """Before it is started for the first time: cut_power() will be possible."""
        self.has_shadow = True
        return self

    def cut_power(self, dice=None):
        """Kills the node; its disk then holds what was synced. With dice, the newest log also keeps some sectors
        of what was being written, as disks do."""
        self.kill()
        lost = tempfile.mkdtemp(prefix="lost-", dir=self.dir)
        os.rename(self.data, os.path.join(lost, "data"))
        shutil.copytree(self.shadow, self.data, ignore=shutil.ignore_patterns(".files"))
        os.chmod(self.data, 0o700)
        torn = dice is not None and _tear(os.path.join(lost, "data", "store"), os.path.join(self.data, "store"), dice)
        shutil.rmtree(self.shadow)
        # What the disk holds now is where the next life begins.
        shutil.copytree(self.data, self.shadow)
        shutil.rmtree(lost)
        return torn


def _tear(before, after, dice):
    """Gives the newest log a random part of its unsynced end, some of its sectors blank. True when there was one."""
    logs = sorted(n for n in os.listdir(after) if n.endswith(".log"))
    if not logs or not os.path.exists(os.path.join(before, logs[-1])):
        return False
    path = os.path.join(after, logs[-1])
    with open(os.path.join(before, logs[-1]), "rb") as f:
        f.seek(os.path.getsize(path))
        rest = bytearray(f.read())
    if not rest:
        return False
    del rest[dice.randrange(1, len(rest) + 1):]
    for at in range(0, len(rest), 512):
        if dice.random() < 0.3:
            rest[at:at + 512] = bytes(len(rest[at:at + 512]))
    with open(path, "ab") as f:
        f.write(rest)
    return True


class FaultOverlay(o.Overlay):
    node_class = FaultNode


def files(node, ending):
    store = os.path.join(node.data, "store")
    return sorted(os.path.join(store, n) for n in os.listdir(store) if n.endswith(ending))


def flip(path, at):
    """One bit of one byte becomes another."""
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x40]))


def run_to_its_end(node, *extra):
    """Starts the node in the foreground and waits until it refuses: status and what it said."""
    p = subprocess.run(node.argv() + list(extra), capture_output=True, timeout=60 * o.SLOWNESS, check=False)
    return p.returncode, p.stderr.decode("utf-8", "replace")


def dice_of(tap):
    seed = int(os.environ.get("AGI_SEED") or random.randrange(1 << 31))
    tap.diag(f"AGI_SEED={seed}")
    return random.Random(seed)
