# SPDX-License-Identifier: Apache-2.0
"""compile_commands.json from what make would run: make -nB V=1 | compile_commands.py DIRECTORY > FILE."""

import json
import os
import re
import shlex
import sys

directory, seen = sys.argv[1], {}
for line in sys.stdin.read().replace("\\\n", " ").splitlines():
    found = re.search(r"(?:^|[;&|] *)((?:gcc|clang|cc)\b[^;&|]* -c -o \S+ [^;&|]*)", line)
    if not found:
        continue
    # Automake writes `test -f 'F' || echo 'DIR/'`F for the source's name.
    command = re.sub(r"`[^`]*echo '([^']*)'`", r"\1", line[found.start(1):].split("&&")[0].strip())
    words = [w for w in shlex.split(command) if not w.startswith("$")]
    source = words[-1]
    if source.endswith(".c"):
        # make -B looks for generated C beside the sources; it is in the build directory.
        if not os.path.exists(source):
            source = words[-1] = "proto-c/" + os.path.basename(source)
        seen[source] = {"directory": directory, "file": source, "arguments": words}
json.dump(list(seen.values()), sys.stdout, indent=1)
print()
