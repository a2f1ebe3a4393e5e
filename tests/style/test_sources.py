# SPDX-License-Identifier: Apache-2.0
"""The sources keep to the architecture: layers, the core's symbols, licence lines, plain text."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from tap import Skip, Tap  # noqa: E402

SRCDIR = os.environ.get("AGI_SRCDIR") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", ".."))
BUILDDIR = os.environ.get("AGI_BUILDDIR") or os.path.join(SRCDIR, "build")
STYLE = os.path.join(SRCDIR, "tests", "style")
LINES_C, LINES_H = 500, 200  # about: told, not enforced
LINES_HARD = 1000
OURS = ("src", "tests", "proto", "scripts", "conf", "man", "docs", "clients")
TEXT = (".c", ".h", ".py", ".sh", ".inc", ".proto", ".awk", ".def", ".am", ".ac", ".yaml", ".md", ".txt",
        ".1", ".5", ".8")


def files_below(folder, endings):
    for where, folders, names in os.walk(os.path.join(SRCDIR, folder)):
        folders[:] = sorted(f for f in folders if f not in ("__pycache__", "autom4te.cache"))
        for name in sorted(names):
            if name.endswith(endings):
                yield os.path.relpath(os.path.join(where, name), SRCDIR)


def read(path):
    with open(os.path.join(SRCDIR, path), encoding="utf-8") as f:
        return f.read()


def lines_of(name):
    """A list file's lines without comments, continued lines joined."""
    with open(os.path.join(STYLE, name)) as f:
        text = f.read().replace("\\\n", " ")
    return [line.split("#")[0].strip() for line in text.splitlines() if line.split("#")[0].strip()]


def load_layers():
    section, lists, folders = None, {}, {}
    for line in lines_of("layers.txt"):
        if line.startswith("["):
            section = line
            continue
        name, _, rest = line.partition(":")
        if section == "[lists]":
            lists[name] = [x for w in rest.split() for x in lists.get(w, [w])]
        else:
            own, _, other = rest.partition("|")
            folders[name] = (own.split(), [x for w in other.split() for x in lists.get(w, [w])])
    return folders


def forbidden_includes(folder, own, other):
    wrong = []
    for path in files_below(f"src/{folder}", (".c", ".h", ".def")):
        for number, line in enumerate(read(path).splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
            if not found:
                continue
            quote, header = found.groups()
            first = header.split("/")[0]
            if quote == '"' and "/" in header and first in own:
                continue
            if any(fnmatch.fnmatch(header, pattern) for pattern in other):
                continue
            wrong.append(f"{path}:{number}: {header}")
    return wrong


def test_layers(tap):
    layers = load_layers()
    folders = sorted(f for f in os.listdir(os.path.join(SRCDIR, "src"))
                     if os.path.isdir(os.path.join(SRCDIR, "src", f)))
    with tap.case("every folder of src/ has its row in layers.txt"):
        assert set(folders) <= set(layers), set(folders) - set(layers)
    for folder in folders:
        if folder not in layers:
            continue
        with tap.case(f"src/{folder} includes only what its layer may"):
            wrong = forbidden_includes(folder, *layers[folder])
            assert not wrong, "\n".join(wrong)


def load_symbols():
    section, lists = None, {}
    for line in lines_of("core_symbols.txt"):
        if line.startswith("["):
            section = line.strip("[]")
        else:
            lists.setdefault(section, []).extend(line.split())
    return lists


def symbols(library, *flags):
    path = os.path.join(BUILDDIR, library)
    if not os.path.exists(path):
        raise Skip(f"{library} is not built")
    out = subprocess.run(["nm", "-P", *flags, path], stdout=subprocess.PIPE, check=True,
                         universal_newlines=True).stdout
    return {line.split()[0] for line in out.splitlines() if len(line.split()) >= 2}


def test_symbols(tap):
    lists = load_symbols()
    core, base = lists["core"], lists["core"] + lists["base"]
    for library, below, allowed in (("libbase.a", [], base), ("libdht.a", ["libbase.a"], core),
                                    ("libroles.a", ["libbase.a", "libdht.a"], core)):
        with tap.case(f"{library} asks for no I/O, clock, thread or printing"):
            known = symbols(library, "--defined-only")
            for other in below:
                known |= symbols(other, "--defined-only")
            wrong = sorted(s for s in symbols(library, "-u") - known
                           if not any(fnmatch.fnmatchcase(s, p) for p in allowed))
            assert not wrong, f"{library} uses {' '.join(wrong)}"
    for library in ("libbase.a", "libdht.a", "libroles.a"):
        with tap.case(f"{library} has no state of its own: two nodes fit in one process"):
            wrong = sorted(s for s in writable(library) if not s.startswith(
                ("__asan", "__odr_asan", ".L", "__ubsan", "__func__")))
            assert not wrong, f"{library} has writable data: {' '.join(wrong)}"


def writable(library):
    """Names of variables in .data and .bss."""
    if os.environ.get("AGI_SANITIZERS"):
        raise Skip("the sanitizers add data of their own")
    path = os.path.join(BUILDDIR, library)
    if not os.path.exists(path):
        raise Skip(f"{library} is not built")
    out = subprocess.run(["nm", "-P", path], stdout=subprocess.PIPE, check=True,
                         universal_newlines=True).stdout
    rows = (line.split() for line in out.splitlines())
    # Tables of pointers are "d" for the linker's sake but never written: .data.rel.ro counts as d too,
    # so ask objdump for the section.
    suspects = {r[0] for r in rows if len(r) >= 2 and r[1] in "dDbBC"}
    if not suspects:
        return set()
    table = subprocess.run(["objdump", "-t", path], stdout=subprocess.PIPE, check=True,
                           universal_newlines=True).stdout
    fixed = {line.split()[-1] for line in table.splitlines() if ".data.rel.ro" in line}
    return suspects - fixed


def test_headers(tap):
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    packages = "libsodium libevent_core libprotobuf-c libnghttp2 yaml-0.1 jansson"
    with tap.case("every header compiles alone"):
        if not compiler or not shutil.which("pkg-config"):
            raise Skip("no compiler or pkg-config at hand")
        flags = subprocess.run(["pkg-config", "--cflags", *packages.split()], stdout=subprocess.PIPE,
                               universal_newlines=True).stdout.split()
        wrong = []
        for path in files_below("src", (".h",)):
            p = subprocess.run(
                [compiler, "-std=gnu11", "-D_GNU_SOURCE", "-fsyntax-only", "-x", "c", *flags,
                 "-I" + os.path.join(SRCDIR, "src"), "-I" + os.path.join(BUILDDIR, "proto-c"), "-"],
                input=f'#include "{path[4:]}"\nint agi_unused;\n', stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, universal_newlines=True)
            if p.returncode != 0:
                wrong.append(p.stdout)
        assert not wrong, "\n".join(wrong)


def all_text_files():
    for folder in OURS:
        # tests/data holds bytes of others, as they are.
        yield from (f for f in files_below(folder, TEXT) if not f.startswith("tests/data/"))
    for name in ("bootstrap", "quickstart", "check", ".ci/run", "configure.ac", "Makefile.am", "README.md"):
        yield name


def test_text(tap):
    files = sorted(set(all_text_files()))
    with tap.case("every source names its licence in the first three lines"):
        wrong = [f for f in files if not f.endswith(".md") and not f.startswith("conf/")
                 and "SPDX-License-Identifier: Apache-2.0" not in "".join(read(f).splitlines(True)[:3])]
        assert not wrong, " ".join(wrong)
    with tap.case("plain text: UTF-8, no carriage returns, no blanks at line ends, one newline at the end"):
        wrong = []
        for f in files:
            text = read(f)
            for number, line in enumerate(text.split("\n"), 1):
                if line != line.rstrip(" \t\r"):
                    wrong.append(f"{f}:{number}")
            if text and (not text.endswith("\n") or text.endswith("\n\n")):
                wrong.append(f"{f}: end")
        assert not wrong, " ".join(wrong)
    with tap.case("functions that cannot be bounded are not used"):
        banned = re.compile(r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|gets|alloca|strtok|rand|random)\s*\(")
        wrong = [f"{f}:{n}: {line.strip()}" for f in files if f.startswith("src/")
                 and f.endswith((".c", ".h"))
                 for n, line in enumerate(read(f).splitlines(), 1)
                 if banned.search(re.sub(r'"(\\.|[^"\\])*"|/\*.*?\*/|//.*|^\s*\*.*', "", line))]
        assert not wrong, "\n".join(wrong)
    with tap.case(f"no source file is longer than {LINES_HARD} lines"):
        long = [(read(f).count("\n"), f) for f in files if f.endswith((".c", ".h"))]
        for count, f in sorted(long, reverse=True):
            if count > (LINES_H if f.endswith(".h") else LINES_C) and f.startswith("src/"):
                tap.diag(f"long: {f} has {count} lines")
        wrong = [f for count, f in long if count > LINES_HARD]
        assert not wrong, " ".join(wrong)


def rows_of(path):
    """The tables of a Markdown file, without their heads: a list of cells for each row."""
    lines = [line for line in read(path).splitlines() if line.startswith("|")]
    rules = [i for i, line in enumerate(lines) if set(line) <= set("|- ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for i, line in enumerate(lines)
            if i not in rules and i + 1 not in rules]


def file_of_test(name):
    found = [p for p in files_below("tests", (".c", ".py", ".sh")) if os.path.splitext(os.path.basename(p))[0] == name]
    assert len(found) == 1, f"{name}: {found or 'no such test program'}"
    return found[0]


def causes_of(path, enum, prefix):
    text = re.search(r"enum %s \{(.*?)\};" % enum, read(path), re.S).group(1)
    return set(re.findall(r"\b%s([A-Z_]+)\b" % prefix, re.sub(r"/\*.*?\*/", "", text, flags=re.S))) - {"OK", "CAUSES"}


def test_fail_safe(tap):
    rows = rows_of("docs/fail-safe.md")
    gateway = "src/roles/safety_gateway/"
    with tap.case("docs/fail-safe.md: every row names tests that are there"):
        assert len(rows) > 30
        for row in rows:
            assert len(row) == 3 and row[2], row
            for program, name in (t.split(": ", 1) for t in row[2].split("; ")):
                text = read(file_of_test(program))
                assert re.search(rf'cmocka_unit_test\({re.escape(name)}\)|tap\.case\(f?"[^"]*{re.escape(name)}', text), \
                    f"{program}: {name}"
    with tap.case("docs/fail-safe.md: every cause in the code has its row"):
        told = set(re.findall(r"`([A-Z_]+)`", read("docs/fail-safe.md")))
        known = (causes_of(gateway + "gateway.h", "agi_check_cause", "AGI_CHECK_")
                 | causes_of(gateway + "panel.h", "agi_panel_cause", "AGI_PANEL_"))
        assert len(known) > 15 and known <= told, known - told


def main():
    tap = Tap()
    for part in (test_layers, test_symbols, test_headers, test_text, test_fail_safe):
        part(tap)
    tap.done()


if __name__ == "__main__":
    main()
