# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl at test time."""

import os
import shutil
import subprocess

from tap import skip_all

OPENSSL = shutil.which("openssl") or skip_all("openssl is missing")


class Certs:
    """A directory with an authority and what it has signed."""

    def __init__(self, folder):
        self.dir = folder
        os.makedirs(folder)
        self.authority("ca")
        self.authority("other-ca")

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def openssl(self, *args):
        subprocess.run([OPENSSL, *args], check=True, cwd=self.dir, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def key(self, name):
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")

    def authority(self, name):
        self.key(name)
        self.openssl("req", "-x509", "-new", "-key", name + ".key", "-subj", f"/CN={name}", "-days", "30",
                     "-out", name + ".crt")

    def sign(self, name, cn, san, ca="ca", days=30):
        self.key(name)
        with open(self.path(name + ".ext"), "w") as f:
            f.write(f"subjectAltName={san}\nbasicConstraints=CA:FALSE\n")
        self.openssl("req", "-new", "-key", name + ".key", "-subj", f"/CN={cn}", "-out", name + ".csr")
        self.openssl("x509", "-req", "-in", name + ".csr", "-CA", ca + ".crt", "-CAkey", ca + ".key",
                     "-CAcreateserial", "-days", str(days), "-extfile", name + ".ext", "-out", name + ".crt")

    def replace(self, old, new):
        """As certificate tools do it: written beside it, then renamed."""
        shutil.copy(self.path(new), self.path(old + ".new"))
        os.rename(self.path(old + ".new"), self.path(old))
