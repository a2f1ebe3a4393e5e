# SPDX-License-Identifier: Apache-2.0
"""Node.js packages for tests of third-party clients. They are installed into the build tree when a test first needs
them and never committed; without npm, or without a registry to be reached, the test is skipped."""

import fcntl
import os
import shutil
import subprocess

import tap

BUILDDIR = os.environ.get("AGI_BUILDDIR") or os.getcwd()
FOLDER = os.path.join(BUILDDIR, "tests", "npm")


def install(*packages):
    """The folder that holds node_modules with all of the packages ("name@version")."""
    if not shutil.which("npm"):
        tap.skip_all("npm is not installed (Debian: npm)")
    folder = os.path.join(FOLDER, "-".join(p.strip("@").replace("/", "_") for p in packages))
    os.makedirs(folder, exist_ok=True)
    done = os.path.join(folder, "done")
    with open(os.path.join(folder, "lock"), "w") as lock:  # several tests may need the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(done):
            return folder
        try:
            p = subprocess.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts",
                                *packages], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        except subprocess.TimeoutExpired:
            tap.skip_all("npm install does not come to an end: no registry?")
        if p.returncode != 0:
            tap.skip_all(f"npm cannot install {' '.join(packages)}: {p.stdout.decode(errors='replace')[-200:]!r}")
        open(done, "w").close()
    return folder
