#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""agihpc-ctl against fake nodes: what every command prints, asks, and exits with. TAP on standard output."""
import base64
import hashlib
import json
import os
import pty
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time

BUILD = os.environ["AGI_BUILDDIR"]
CTL = os.path.join(BUILD, "agihpc-ctl")
FAKE = os.path.join(BUILD, "tests/ctl/fake_node")
IP = "127.3.0.1"
WAIT_S = 30  # far above what any command here may take, also under sanitizers
ID_A, ID_B, ID_C = "a" * 64, "b" * 64, "c" * 64
VERSION = "116916733474897921"


class Node:
    """A fake node that is asked, and the log of what it was asked."""

    def __init__(self, folder, letter, *peers):
        self.log_path = os.path.join(folder, letter + ".log")
        self.process = subprocess.Popen([FAKE, IP, letter, self.log_path, *peers], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError("fake_node did not start")

    def last(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read().splitlines()[-1]

    def stop(self):
        self.process.stdin.close()
        return self.process.wait(WAIT_S)


class Run:
    """One run of agihpc-ctl."""

    def __init__(self, *args, node=None, stdin=b"", env=None):
        environ = {k: v for k, v in os.environ.items() if k not in ("AGIHPC_NODE", "NO_COLOR")}
        environ.update(env or {})
        words = ["-n", node] if node else []
        began = time.monotonic()
        done = subprocess.run([CTL, *words, *args], input=stdin, capture_output=True, env=environ, timeout=WAIT_S)
        self.took_s = time.monotonic() - began
        self.code, self.raw = done.returncode, done.stdout
        self.out, self.err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def expect(self, code, *err):
        """The exit code, and the words that standard error holds; none = it is empty."""
        assert self.code == code, f"exit {self.code}, not {code}; stderr: {self.err!r}"
        for word in err:
            assert word in self.err, f"{word!r} is not in {self.err!r}"
        if err:
            assert self.err.startswith("agihpc-ctl: "), self.err
            assert "\x1b" not in self.err, self.err
        else:
            assert self.err == "", self.err
        return self

    def rows(self, *want):
        """Lines as lists of words."""
        got = [line.split() for line in self.out.splitlines()]
        for row in want:
            assert row.split() in got, f"{row!r} is not in\n{self.out}"
        for line in self.out.splitlines():
            assert line == line.rstrip(), f"spaces at the end of {line!r}"
        return self

    def json(self):
        return json.loads(self.out)


def silent_port():
    """A port that accepts and never says a word."""
    s = socket.socket()
    s.bind((IP, 0))
    s.listen(8)
    return s, f"{IP}:{s.getsockname()[1]}"


def closed_port():
    s, address = silent_port()
    s.close()
    return address


class Tests:
    def __init__(self, folder):
        self.folder = folder
        self.b = Node(folder, "b")
        self.closed = closed_port()
        self.a = Node(folder, "a", f"b=up={self.b.address}", f"c=down={self.closed}")
        self.node = self.a.address

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "wb") as f:
                f.write(content)
        return path

    def run(self, *args, **more):
        return Run(*args, node=more.pop("node", self.node), **more)

    def doc(self, *args, **more):
        return self.run("-o", "json", *args, **more).expect(0).json()

    # --- the overlay ---
    def test_status_says_how_the_node_is(self):
        r = self.run("status").expect(0)
        r.rows(f"node {ID_A}", "ready yes", "phase joined",
               "version 0.1.0, start 4, up for 1h 02m", "WARNING two members are down",
               "roles erisml, safety-gateway")
        assert "4.1 MiB resident" in r.out, r.out
        d = self.doc("status")
        assert d["ready"] is True and d["uptime_ms"] == 3723000 and d["roles"] == ["erisml", "safety-gateway"], d
        assert d["members"] == {"up": 3, "suspect": 0, "down": 0} and d["slots"]["active"] == 1365, d

    def test_members_are_listed_with_state_and_round_trip(self):
        self.run("members").expect(0).rows(
            "NODE ADDRESS ZONE STATE FOR RTT WEIGHT", f"{'a' * 12} {self.node} - self 5.00 s 0.000 ms 1",
            f"{'c' * 12} {self.closed} - down 5.00 s - 1")
        d = self.doc("members")["members"]
        assert [m["state"] for m in d] == ["self", "up", "down"] and d[2]["rtt_ms"] is None, d
        assert d[0]["node_id"] == ID_A, d

    def test_slots_of_one_node(self):
        d = self.doc("slots", "-v")
        assert (d["slots_total"], d["active"], d["unreported"], d["elsewhere"]) == (8, 6, 2, 0), d
        assert d["under_replicated"] == 8 and len(d["slots"]) == 8, d
        assert self.doc("slots", "--replicas", "2")["under_replicated"] == 2
        assert self.a.last() == "Slots held_only=0"
        self.run("slots").expect(0).rows("slots 8", "active 6", "unreported 2", "under-replicated (below 3) 8",
                                         f"{'a' * 12} {self.node} self 6 75.0 %")

    def test_slots_of_all_members_merge_by_highest_epoch(self):
        d = self.doc("slots", "--all", "-v", "--replicas", "2")
        assert (d["active"], d["sealed"], d["joining"], d["unreported"]) == (5, 1, 1, 1), d
        assert d["members_silent"] == 0 and d["all"] is True, d
        assert d["slots"][4] == {"slot": 4, "epoch": 3, "state": "sealed", "live": 1, "members": [ID_B, ID_C]}, d
        assert d["under_replicated"] == 3, d  # 4 and 6 count on c, which is down; nobody knows 7
        assert [h["slots"] for h in d["hosts"]] == [5, 7, 2], d
        assert self.b.last() == "Slots held_only=1"
        self.run("slots", "--all", "-v").expect(0).rows(
            f"4 3 sealed 1 {'b' * 12} {'c' * 12}", "7 0 unreported 0")

    def test_rebalance_adds_up_what_members_report(self):
        r = Node(self.folder, "r", f"b=up={Node(self.folder, 's').address}", f"c=down={self.closed}")
        d = self.doc("rebalance", node=r.address)
        assert (d["slots_to_move"], d["in_work"], d["bytes_moved"], d["settled"]) == (40, 8, 6 << 20, False), d
        assert (d["bytes_left_estimate"], d["eta_s"], d["pause_mean_ms"]) == (40 << 20, 10.0, 2.5), d
        assert len(d["nodes"]) == 2 and d["members_silent"] == 0, d
        text = self.run("rebalance", "--local", node=r.address).expect(0).out
        assert text.startswith("10 slots to move (4 in work), about 10.0 MiB; 512.0 KiB/s; 5.00 s.\n"), text
        r.stop()

    def test_rebalance_watches_until_nothing_moves(self):
        r = Node(self.folder, "w")
        out = self.run("rebalance", "--watch", node=r.address).expect(0).out.splitlines()
        assert out[0].startswith("[........") and out[0].endswith(" 0 %  0/20 slots  512.0 KiB/s  10.00 s left"), out
        assert out[1].endswith("] 50 %  10/20 slots  512.0 KiB/s  5.00 s left") and "#" in out[1], out
        assert out[2].endswith("] 100 %  20/20 slots  0 B/s") and "." not in out[2].split("]")[0], out
        assert out[3].startswith("Every slot is where it should be."), out
        r.stop()
        r = Node(self.folder, "x")
        lines = self.run("-o", "json", "rebalance", "-w", "-l", node=r.address).expect(0).out.splitlines()
        assert [json.loads(line)["slots_to_move"] for line in lines] == [20, 10, 0], lines
        r.stop()

    def test_a_bar_of_progress_stays_on_its_line_of_a_terminal(self):
        d = Node(self.folder, "t")
        master, slave = pty.openpty()
        subprocess.run([CTL, "-n", d.address, "drain", "--wait"], stdout=slave, timeout=WAIT_S)
        os.close(slave)
        out = b""
        while b"100 %" not in out or not out.endswith(b"\n"):
            out += os.read(master, 4096)
        os.close(master)
        bars = out.split(b"\r\n")[1].split(b"\r\x1b[K")
        assert bars[0] == b"" and len(bars) >= 3 and bars[-1].startswith(b"[" + b"#" * 40 + b"]"), bars
        assert all(len(bar) < 80 for bar in bars), bars
        d.stop()

    def test_backup_is_started_and_shown_to_its_end(self):
        done = self.run("backup", "nightly").expect(0)
        assert "64 of 64 slots are whole; every node's part is in its /srv/backups/x.\n" in done.out, done.out
        done.rows(f"{'a' * 12} {self.a.address} done 7 2.0 MiB")
        assert self.a.last() == "Backup name=nightly start=0"
        d = self.doc("backup", "nightly")
        assert (d["state"], d["slots_whole"], d["parts"][0]["bytes"]) == ("done", 64, 2 << 20), d
        self.run("backup", "lost").expect(1, "3 of 64 slots are not whole")
        self.run("backup", "forgotten").expect(1, "has forgotten it")
        self.run("backup", "../x").expect(2, "no name of a backup")
        self.run("backup", "later", "--no-wait").expect(0)
        assert self.a.last() == "Backup name=later start=1"
        self.run("backup", "later").expect(0)  # finds it
        assert self.a.last() == "Backup name=later start=0"

    def test_restore_tells_what_was_written_and_what_was_kept(self):
        done = self.run("restore", "nightly", "--partial").expect(0)
        assert "100 written" in done.out and "4 were there already and stay" in done.out, done.out
        with open(self.a.log_path, encoding="ascii") as f:
            assert "Restore name=nightly start=1 partial=1\n" in f.read()
        d = self.doc("restore", "nightly")
        assert (d["items"], d["registers"], d["registers_kept"], d["expired"]) == (100, 20, 4, 2), d
        self.run("restore", "lost").expect(1, "slot 5 of the backup cannot be written", "the same command goes on")

    def test_verify_compares_replicas(self):
        assert "64 the same on all members, 0 not" in self.run("verify").expect(0).out
        bad = self.run("verify", node=self.b.address).expect(1, "members of 1 slots do not hold the same")
        bad.rows(f"9 {'b' * 12} 5 0 0123456789ab", f"9 {'b' * 12} - - UNREACHABLE")
        self.run("verify", "--backup", self.path("nothing")).expect(3, "no backup")

    def test_drain_goes_to_the_node_that_is_named(self):
        self.run("drain").expect(1, "2 hosts would remain for 3 replicas")
        assert "120 slots will move" in self.run("drain", "--force").expect(0).out
        assert self.a.last() == "Drain force=1"
        assert self.b.address in self.run("drain", "bbbb").expect(0).out and self.b.last() == "Drain force=0"
        self.run("undrain", self.b.address).expect(0)
        assert self.b.last() == "Undrain"
        self.run("drain", "nobody").expect(3, "no member has the id or address nobody")
        assert self.doc("leave", "--force") == {"address": self.node, "order": "leaves the cluster for good", "slots": 120}

    def test_drain_waits_until_the_slots_have_moved(self):
        d = Node(self.folder, "d")
        out = self.run("drain", "--wait", node=d.address).expect(0).out
        assert " 33 %  40/120 slots" in out and " 100 %  120/120 slots" in out, out
        d.stop()

    def test_slot_recover_asks_twice_and_tells_what_was_done(self):
        self.run("slot", "recover", "1").expect(2, "--unsafe is missing")
        self.run("slot", "recover", "--unsafe", "1").expect(2, "--yes is missing: there is no terminal")
        self.run("slot", "recover", "--unsafe", "--yes").expect(2, "give the number of a slot or --all-lost")
        self.run("slot", "recover", "--unsafe", "--yes", "x").expect(2, "SLOT")
        assert "1 slots recovered" in self.run("slot", "recover", "--unsafe", "--yes", "1").expect(0).out
        assert self.b.last() == "RecoverUnsafe slot=1 all=0"  # everybody is asked
        self.run("slot", "recover", "--unsafe", "--yes", "2").expect(1, "refused", "3 of its 3 members answer")
        self.run("slot", "recover", "--unsafe", "--yes", "5").expect(3, "no member that answers holds anything")
        assert self.doc("slot", "recover", "--unsafe", "--yes", "--all-lost")["recovered"] == 3

    def test_slots_of_all_name_the_members_that_do_not_report(self):
        lonely = Node(self.folder, "d", f"c=up={self.closed}")
        r = self.run("slots", "--all", "-o", "json", node=lonely.address).expect(0, "warning: " + self.closed, "did not report")
        assert r.json()["members_silent"] == 1, r.out
        assert [h["live"] for h in r.json()["hosts"] if h["node_id"] == ID_C] == [False], r.out
        assert lonely.stop() == 0

    def test_roles(self):
        self.run("roles").expect(0).rows("ROLE ADDRESS NODE STATE RTT LOAD NOTE",
                                         f"safety-gateway 10.0.0.1:50055 {'a' * 12} serving 0.200 ms 0.00")
        assert self.doc("roles")["roles"][0]["role"] == "safety-gateway"

    def test_lookup_prints_hops_by_round(self):
        r = self.run("lookup", "0" * 64).expect(0)
        r.rows(f"target {'0' * 64}", f"1 {'a' * 12} {self.node} 0.300 ms 2^255",
               f"{'a' * 12} {self.node} no answer 2^254", f"2 {'a' * 12} {self.node} 0.300 ms 2^253")
        d = self.doc("lookup", "--key", "k", "--namespace", "ns")
        assert self.a.last() == "Lookup target= ns=ns key=k"
        assert [(h["round"], h["answered"]) for h in d["hops"]] == [(1, True), (1, False), (2, True)], d
        assert d["nearest"][0]["node_id"] == ID_A, d

    def test_lookup_takes_one_target(self):
        self.run("lookup").expect(2, "either a target of 64 hex digits or --key")
        self.run("lookup", "0" * 64, "--key", "k").expect(2, "either")
        self.run("lookup", "xyz").expect(2, "'xyz'", "64 hex digits")
        self.run("lookup", "0" * 64, "--namespace", "n").expect(2, "--namespace belongs to --key")

    def test_health(self):
        assert self.run("health").expect(0).out == "SERVING\n"
        assert self.run("health", "sick").expect(4).out == "NOT_SERVING\n"
        self.run("health", "missing").expect(3, "NOT_FOUND")
        d = self.run("health", "sick", "-o", "json").expect(4).json()
        assert d["status"] == "NOT_SERVING" and d["node"] == self.node and d["service"] == "sick", d

    # --- services ---
    def test_register_sends_the_check(self):
        r = self.run("register", "web", "10.0.0.7:80").expect(0)
        assert r.out == f"registered web at 10.0.0.7:80 on node {'a' * 12} (tcp check every 5.00 s)\n", r.out
        assert self.a.last() == "Register web 10.0.0.7:80 check=tcp interval=5000 path="
        d = self.doc("register", "web", "web.local:80", "--check", "http", "--interval", "500ms", "--path", "/up")
        assert self.a.last() == "Register web web.local:80 check=http interval=500 path=/up"
        assert d == {"service": "web", "address": "web.local:80", "check": "http", "interval_ms": 500, "node_id": ID_A}, d
        assert self.doc("register", "web", "10.0.0.7:80", "--check=none")["interval_ms"] is None

    def test_register_refuses_what_makes_no_sense(self):
        for words, says in ((["Web", "1.2.3.4:5"], "'Web' is not a service name"),
                            (["-", "1.2.3.4:5"], "is not a service name"),
                            (["w" * 64, "1.2.3.4:5"], "at most 63"),
                            (["web", "1.2.3.4"], "is not an address"), (["web", "name"], "no port"),
                            (["web", "1.2.3.4:0"], "is not an address"), (["web", "h:99999"], "1 to 65535"),
                            (["web", "1.2.3.4:5", "--check", "tpc"], "did you mean 'tcp'?"),
                            (["web", "1.2.3.4:5", "--interval", "5"], "write a number and a unit"),
                            (["web", "1.2.3.4:5", "--interval", "2h"], "outside 1 ms to 1h 00m"),
                            (["web", "1.2.3.4:5", "--path", "/"], "--path belongs to"),
                            (["web", "1.2.3.4:5", "--check", "exec"], "needs --path PROGRAM"),
                            (["web", "1.2.3.4:5", "--args", "a"], "--args belongs to --check exec"),
                            (["web", "1.2.3.4:5", "--check", "exec", "--path", "/x", "--args", " a" * 17], "at most 16 words"),
                            (["web", "1.2.3.4:5", "--check", "ttl", "--check-timeout", "1s"], "--check-timeout has no meaning"),
                            (["web"], "an argument is missing"), (["web", "1.2.3.4:5", "x"], "'x' is one argument too many")):
            self.run("register", *words).expect(2, says)

    def test_deregister(self):
        assert self.run("deregister", "web", "1.2.3.4:5").expect(0).out == "deregistered web at 1.2.3.4:5\n"
        assert self.doc("deregister", "web", "1.2.3.4:5") == {"service": "web", "address": "1.2.3.4:5"}
        self.run("deregister", "missing", "1.2.3.4:5").expect(3, "NOT_FOUND: NOT_FOUND: no such thing")

    def test_heartbeat_refuses_what_cannot_be_meant(self):
        self.run("heartbeat", "web", "1.2.3.4:5", "--load", "1.5").expect(2, "--load '1.5': expected 0 to 1")
        self.run("heartbeat", "web", "1.2.3.4:5", "--load", "x").expect(2, "--load 'x'")
        self.run("heartbeat", "Web", "1.2.3.4:5").expect(2, "is not a service name")

    def test_discover_lists_instances(self):
        self.run("discover", "web").expect(0).rows("ADDRESS NODE ZONE RTT LOAD NOTE",
                                                   f"10.0.0.7:8080 {'a' * 12} - 0.412 ms 0.25",
                                                   f"10.0.0.8:8080 {'a' * 12} - - 0.25 stale")
        d = self.doc("discover", "web")["instances"]
        assert d[0]["rtt_ms"] == 0.412 and d[1]["rtt_ms"] is None and d[1]["stale"] is True, d
        assert '"rtt_ms": 0.412,' in self.run("discover", "web", "-o", "json").out
        assert len(self.doc("discover", "web", "--limit", "1")["instances"]) == 1
        self.run("discover", "web", "--prefer", "zonne").expect(2, "did you mean 'zone'?")
        self.run("discover", "web", "--limit", "0").expect(2, "--limit '0' is not a whole number")

    def test_a_service_without_instances_is_not_found(self):
        assert self.run("discover", "nobody").expect(3, "no healthy instance of nobody").out == ""
        assert self.run("discover", "nobody", "-o", "json").expect(3, "no healthy").json() == {"service": "nobody", "instances": []}
        self.run("nearest", "nobody").expect(3, "no healthy instance of nobody")
        self.run("nearest", "missing").expect(3, "NOT_FOUND")

    def test_nearest(self):
        self.run("nearest", "web").expect(0).rows(f"10.0.0.7:8080 {'a' * 12} - 0.412 ms 0.25")
        assert self.doc("nearest", "web")["instance"]["address"] == "10.0.0.7:8080"

    # --- memory ---
    def test_put_sends_the_bytes(self):
        def sent(value):
            return f"bytes={len(value)} sha256={hashlib.sha256(value).hexdigest()}"

        r = self.run("put", "k", "green").expect(0)
        assert r.out == f"stored 5 B on 2 replicas (slot 7, version {VERSION})\n", r.out
        assert self.a.last() == f"Put ns= key=k {sent(b'green')} level=0 ttl=0"
        every = bytes(range(256)) * 4096  # 1 MiB, the limit
        self.run("put", "k", "-", "--level", "all", "--ttl", "10s", stdin=every).expect(0)
        assert self.a.last() == f"Put ns= key=k {sent(every)} level=3 ttl=10000"
        file = self.path("value", b"\0\xff")
        self.run("put", "--file", file, "--namespace", "ns", "--level=one", "k").expect(0)
        assert self.a.last() == f"Put ns=ns key=k {sent(bytes((0, 255)))} level=1 ttl=0"
        self.run("put", "k", "").expect(0)
        self.run("put", "--", "-k", "--level").expect(0)
        assert self.a.last() == f"Put ns= key=-k {sent(b'--level')} level=0 ttl=0"
        d = self.doc("put", "k", "v")
        assert d == {"namespace": "default", "key": "k", "bytes": 1, "version": VERSION, "acks": 2, "slot": 7}, d

    def test_put_refuses_what_cannot_be_stored(self):
        file = self.path("big", b"x" * (2**20 + 1))
        self.run("put", "k", "--file", file).expect(1, "larger than the limit of 1048576 bytes")
        self.run("put", "k", "-", stdin=b"x" * (2**20 + 1)).expect(1, "standard input is larger")
        self.run("put", "k", "--file", self.path("none")).expect(1, "cannot open", "No such file")
        self.run("put", "k", "--file", self.folder).expect(1, "cannot read", "Is a directory")
        self.run("put", "k").expect(2, "no value")
        self.run("put", "k", "v", "--file", file).expect(2, "given twice")
        self.run("put", "", "v").expect(2, "the key has 0 bytes")
        self.run("put", "k" * 1025, "v").expect(2, "the key has 1025 bytes")
        self.run("put", "k", "v", "--level", "most").expect(2, "--level 'most'", "one, quorum, all")
        self.run("put", "k", "v", "--ttl", "0s").expect(2, "--ttl")
        self.run("put", "k", "v", "--namespace", "n" * 64).expect(2, "--namespace")

    def test_get_writes_the_value_and_nothing_else(self):
        assert self.run("get", "k").expect(0).raw == b"green"
        assert self.run("get", "binary", "--level", "quorum").expect(0).raw == b"\xff\0\xfe"
        assert self.a.last() == "Get ns= key=binary level=2"
        d = self.doc("get", "k")
        assert d == {"namespace": "default", "key": "k", "value": "green", "version": VERSION, "acks": 2, "slot": 7}, d
        d = self.doc("get", "binary")
        assert "value" not in d and base64.b64decode(d["value_base64"]) == b"\xff\0\xfe", d
        assert self.run("get", "missing").expect(3, "get: NOT_FOUND").raw == b""

    def test_get_ends_the_line_on_a_terminal(self):
        master, slave = pty.openpty()
        done = subprocess.run([CTL, "-n", self.node, "get", "k"], stdout=slave, timeout=WAIT_S)
        os.close(slave)
        assert done.returncode == 0 and os.read(master, 100) == b"green\r\n"
        os.close(master)

    def test_states_are_coloured_only_on_a_terminal(self):
        for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            master, slave = pty.openpty()
            subprocess.run([CTL, "-n", self.node, "health"], stdout=slave, timeout=WAIT_S, env={**os.environ, **env})
            os.close(slave)
            assert (b"\x1b[32mSERVING\x1b[0m" in os.read(master, 100)) == coloured
            os.close(master)
        assert "\x1b" not in self.run("members").out

    def test_del_and_owners(self):
        assert self.run("del", "k").expect(0).out == "deleted on 1 replica (slot 0, version 5)\n"
        assert self.doc("del", "k") == {"namespace": "default", "key": "k", "version": "5", "acks": 1, "slot": 0}
        r = self.run("owners", "k").expect(0)
        r.rows("NODE ADDRESS ZONE STATE SLOT EPOCH", f"{'a' * 12} {self.node} rack-\\x1b[2J self 7 3")
        d = self.doc("owners", "k")
        assert d["owners"][0]["zone"] == "rack-\x1b[2J" and d["epoch"] == 3 and d["key_hash"] == ID_A, d
        self.run("owners", "k", "--level", "one").expect(2, "unknown option '--level'")

    def test_a_condition_makes_a_write_strong(self):
        version = 116916733474897921
        r = self.run("put", "held", "v", "--if-version", str(version)).expect(0)
        assert r.out == f"stored 1 B (slot 7, version {version + 1})\n", r
        assert self.a.last() == f"CompareAndSet ns= key=held bytes=1 expected={version} delete=0"
        self.run("put", "held", "v", "--if-absent").expect(5, f"the item is there, with version {version}: nothing was done")
        self.run("put", "held", "v", "--if-version", "7").expect(5, f"the item has version {version}")
        self.run("put", "free", "v", "--if-version", "7").expect(5, "there is no such item")
        self.run("put", "free", "v", "--if-absent", "--namespace", "n", "--level", "strong").expect(0)
        d = self.run("-o", "json", "put", "held", "v", "--if-absent").expect(5).json()
        assert d == {"namespace": "default", "key": "held", "succeeded": False, "value": "green", "version": str(version), "slot": 7}, d
        assert self.run("del", "held", "--if-version", str(version)).expect(0).out == f"deleted (slot 7, version {version + 1})\n"
        assert self.a.last() == f"CompareAndSet ns= key=held bytes=0 expected={version} delete=1"

    def test_conditions_that_make_no_sense_are_refused(self):
        self.run("put", "k", "v", "--if-absent", "--if-version", "7").expect(2, "exclude each other")
        self.run("put", "k", "v", "--if-version", "0").expect(2, "--if-absent is meant")
        self.run("del", "k", "--if-version", "0").expect(2, "no item has version 0")
        self.run("put", "k", "v", "--if-version", "-1").expect(2, "is not a version")
        self.run("put", "k", "v", "--if-version", "99999999999999999999").expect(2, "is not a version")
        self.run("put", "k", "v", "--if-absent", "--ttl", "1s").expect(2, "--ttl")
        self.run("put", "k", "v", "--if-absent", "--level", "one").expect(2, "leave --level out")

    def test_incr_prints_the_sum(self):
        assert self.run("incr", "n").expect(0).out == "1\n"
        assert self.run("incr", "n", "--by=-9223372036854775808").expect(0).out == "-9223372036854775808\n"
        assert self.doc("incr", "n", "--by", "5")["value"] == 5
        self.run("incr", "n", "--by", "1.5").expect(2, "is not a whole number")
        self.run("incr", "n", "--by", "9223372036854775808").expect(2, "is not a whole number")

    def test_scan_joins_pages_and_sorts(self):
        r = self.run("scan").expect(0)
        v = "116916733474897921"
        r.rows("KEY VERSION SIZE VALUE", f"a\\x1b[2J {v} 5 B green", f"b {v} 5 B green", f"c {v} 5 B green")
        assert self.a.last() == "Scan ns= prefix= limit=10000 keys=0 count=0 token=two"
        assert self.run("scan", "p", "--keys-only", "--namespace", "n").expect(0).out == "a\x1b[2J\nb\nc\n"
        assert self.a.last() == "Scan ns=n prefix=p limit=10000 keys=1 count=0 token=two"
        assert self.run("scan", "--count").expect(0).out == "3\n"
        d = self.doc("scan", "p", "--limit", "2")
        assert d["complete"] is False and d["count"] == 2 and [i["key"] for i in d["items"]] == ["a\x1b[2J", "b"], d
        assert self.doc("scan", "--limit", "9")["complete"] is True
        self.run("scan", "--limit", "0").expect(2, "--limit")
        self.run("scan", "--limit", "1", "--count").expect(2, "--count stands alone")
        self.run("scan", "noquorum").expect(4, "scan: UNAVAILABLE")

    def test_batch_sends_lines_together(self):
        text = b'# comment\n\nput a 1\n  del "b c"\r\nput "q\\"\\\\\\x41" "two\\nlines" \nput e ""'
        assert self.run("batch", "--ttl", "5s", "--namespace", "n", stdin=text).expect(0).out == "stored 3, deleted 1, failed 0\n"
        with open(self.a.log_path, encoding="utf-8") as f:
            assert 'Batch ns=n level=0 put:a=1/5000 del:b c=/0 put:q"\\A=two\nlines/5000 put:e=/5000\n' in f.read()
        r = self.run("batch", self.path("lines", b"put a 1\nput bad 2\nput a 3\n")).expect(4)
        assert r.out == "line 2: put bad: UNAVAILABLE: no\\x1b quorum\nstored 2, deleted 0, failed 1\n", r
        assert self.a.last() == "Batch ns= level=0 put:a=3/0"
        d = self.run("-o", "json", "batch", stdin=b"del bad\ndel ok\n").expect(4).json()
        assert d["deleted"] == 1 and d["failed"] == 1 and d["results"][0]["code"] == 14, d
        assert d["results"][1] == {"line": 2, "operation": "del", "key": "ok", "code": 0, "version": "116916733474897921", "slot": 0}
        self.run("batch", stdin=b"".join(b"put k%d v\n" % i for i in range(200))).expect(0)
        assert self.a.last().count("put:") == 200 - 3 * 64

    def test_batch_names_the_line_that_is_wrong(self):
        for text, says in ((b"put a\n", "1: the value is missing"), (b"\nget a", "2: expected put KEY VALUE or del KEY"), (b"del", "1: the key"),
                           (b"put a b c", "1: words too many"), (b'put a "b', "1: a quote that does not end"),
                           (b'put a "\\q"', "1: an escape that is none"), (b'put "a"b', "1: a blank is missing"), (b"put a \0", "zero byte")):
            self.run("batch", stdin=text).expect(1, says)

    def test_watch_refuses_what_cannot_be_meant(self):
        self.run("watch").expect(2, "no key: give KEY, or --prefix")
        self.run("watch", "k", "--prefix", "--from-version", "3").expect(2, "--from-version is for a single key")
        self.run("watch", "k", "--count", "0").expect(2, "--count")
        self.run("watch", "k", "--for", "soon").expect(2, "--for")
        self.run("watch", "--service", "Not-One").expect(2, "'Not-One' is not a service name")
        self.run("watch", "k", "--service", "s").expect(2, "two different watches")
        self.run("watch", "--service", "s", "--prefix").expect(2, "--prefix is for keys")
        self.run("watch", "--service", "s", "--count", "0").expect(2, "--count")

    def test_a_value_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([CTL, "-n", self.node, "get", "k"], stdout=full, stderr=subprocess.PIPE, timeout=WAIT_S)
        assert done.returncode == 1 and b"cannot write to standard output" in done.stderr, done

    # --- errors of the node ---
    def test_errors_say_what_to_do(self):
        self.run("put", "noquorum", "v").expect(4, "put: UNAVAILABLE: NO_QUORUM: 1 of 2 replicas answered", f"[{self.node}]",
                                                "agihpc-ctl members")
        self.run("get", "refused").expect(1, "get: INVALID_ARGUMENT: no \\x1b[31mthank you")
        self.run("del", "broken").expect(1, "del: INTERNAL: broken")

    def test_an_unreachable_node_is_exit_4_in_time(self):
        r = self.run("status", "-t", "2", node=self.closed).expect(4, "status: UNAVAILABLE", self.closed, "is agihpc-node running")
        assert r.took_s < 2, r.took_s

    def test_a_silent_node_is_exit_4_in_time(self):
        listening, address = silent_port()
        r = self.run("status", "-t", "500ms", node=address).expect(4, "DEADLINE_EXCEEDED", address)
        assert 0.4 < r.took_s < 5, r.took_s
        listening.close()
        r = self.run("get", "hang", "-t", "0.5").expect(4, "DEADLINE_EXCEEDED", "-t gives it longer")
        assert 0.4 < r.took_s < 5, r.took_s

    def test_the_first_node_that_answers_is_asked(self):
        listening, silent = silent_port()
        several = f"{self.closed},{silent},{self.node}"
        r = self.run("health", "-t", "3", "-o", "json", node=several).expect(0)
        assert r.json()["node"] == self.node, r.out
        assert Run("get", "k", env={"AGIHPC_NODE": f"{self.closed},{self.node}"}).expect(0).raw == b"green"
        self.run("status", "-t", "1", node=f"{self.closed},{silent}").expect(4, "none of", "answers")
        listening.close()

    # --- safety ---
    def plan(self, plan_id):
        text = json.dumps({"planId": plan_id, "goalText": "x", "steps": [{"stepId": "s1", "toolId": "observe", "params": {"k": "v"}}]})
        return self.path("plan.json", text.encode())

    def test_the_exit_code_is_the_decision(self):
        for plan_id, code in (("allow", 0), ("block", 10), ("revise", 11), ("defer", 12)):
            r = self.run("safety", "check", self.plan(plan_id)).expect(code)
            r.rows(f"decision {plan_id.upper()}", "risk 0.30", "reasons said so", "quorum 3 of 3 voted")
            d = self.run("safety", "check", self.plan(plan_id), "-o", "json").expect(code).json()
            assert d["decision"] == plan_id.upper() and d["plan_approved"] == (code == 0) and d["doubt"] is None, d
            assert d["risk_score"] == 0.3 and d["metadata"] == {"quorum": "3 of 3 voted"}, d
        self.run("safety", "check", self.plan("block")).rows("steps s1: BLOCK")

    def test_the_plan_comes_from_a_file_or_standard_input(self):
        self.run("safety", "check", self.plan("allow"), "--profile", "p", "--proofs").expect(0)
        assert self.a.last() == "CheckPlan plan=allow steps=1 profile=p proofs=1"
        self.run("safety", "check", "-", stdin=b'{"plan_id": "allow"}').expect(0)
        assert self.a.last() == "CheckPlan plan=allow steps=0 profile= proofs=0"

    def test_only_a_plain_allow_is_exit_0(self):
        for plan_id, doubt in (("liar", "does not approve"), ("vague", "no known decision"), ("empty", "no result")):
            r = self.run("safety", "check", self.plan(plan_id)).expect(10)
            assert "decision     BLOCK" in r.out and doubt in r.out, r.out

    def test_no_decision_says_treat_it_as_blocked(self):
        for plan_id, code in (("noquorum", 4), ("broken", 4), ("missing", 3), ("refused", 1)):
            self.run("safety", "check", self.plan(plan_id)).expect(code, "treat the plan as BLOCK")
        self.run("safety", "check", "-t", "500ms", self.plan("hang")).expect(4, "DEADLINE_EXCEEDED", "treat the plan as BLOCK")
        self.run("safety", "check", self.plan("allow"), node=self.closed).expect(4, "UNAVAILABLE", "treat the plan as BLOCK")

    def test_what_is_no_plan_is_never_sent(self):
        before = self.a.last()
        for text in (b"", b"{", b"[]", b"null", b'{"steps": 5}', b'{"no_such_field": 1}', b'{"planId": "\xff"}', b"\0"):
            self.run("safety", "check", self.path("bad.json", text)).expect(1, "bad.json", "treat the plan as BLOCK")
        self.run("safety", "check", self.path("none.json")).expect(1, "cannot open", "treat the plan as BLOCK")
        assert self.a.last() == before

    # --- without a node ---
    def test_keygen_makes_a_private_file_once(self):
        path = self.path("key")
        assert self.run("keygen", "--out", path).expect(0).out == ""
        with open(path, encoding="ascii") as f:
            key = f.read()
        assert re.fullmatch("[0-9a-f]{64}\n", key), key
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        self.run("keygen", "--out", path).expect(1, "exists")
        with open(path, encoding="ascii") as f:
            assert f.read() == key
        self.run("keygen", "--out", os.path.join(self.folder, "no", "key")).expect(1, "cannot create", "No such file")
        os.symlink(self.path("elsewhere"), self.path("link"))
        self.run("keygen", "--out", self.path("link")).expect(1, "exists")
        assert not os.path.exists(self.path("elsewhere"))
        first, second = self.run("keygen").expect(0).out, self.run("keygen").expect(0).out
        assert re.fullmatch("[0-9a-f]{64}\n", first) and first != second

    def test_token_new_prints_a_token_and_the_line_that_lets_it_in(self):
        made = self.doc("token", "new", "planner", "--scope", "read,write")
        assert re.fullmatch("agi_[A-Za-z0-9_-]{43}", made["token"]), made
        assert re.fullmatch("planner read,write blake2b:[0-9a-f]{64}", made["line"]), made
        assert made["token"] not in made["line"]
        text = self.run("token", "new", "x", "--scope", "admin").expect(0).out
        assert re.search(r"^  agi_\S{43}$", text, re.M) and re.search("^  x admin blake2b:", text, re.M), text
        self.run("token", "new", "x").expect(2, "--scope is missing")
        self.run("token", "new", "x", "--scope", "read,reed").expect(2, "'read,reed'", "read, write, safety or admin")
        self.run("token", "new", "x", "--scope", "read,read").expect(2, "expected read")
        self.run("token", "new", "two words", "--scope", "read").expect(2, "the name")

    def test_tls_files_and_tokens_are_checked_before_anything_is_sent(self):
        self.run("--tls-ca", self.path("none.pem"), "status").expect(2, "none.pem: No such file")
        self.run("--tls-cert", self.path("c.pem", b"x"), "status").expect(2, "the key is missing")
        self.run("--token-file", self.path("none.token"), "status").expect(1, "none.token")
        self.run("--token-file", self.path("bad.token", b"secret\n"), "status").expect(2, "holds no token")
        self.run("status", node="unix:relative").expect(2, "absolute path")
        self.run("status", node="unix:" + self.path("no.sock")).expect(4, "No such file")

    def test_config_check(self):
        good = self.path("good.yaml", b"dht:\n  replication_factor: 3\n")
        assert f"{good}: valid" in self.run("config", "check", good).expect(0).out
        assert self.doc("config", "check", good)["valid"] is True
        assert "replication_factor: 3" in self.run("config", "check", "--effective", good).expect(0).out
        bad = self.path("bad.yaml", b"dht:\n  replication_facto: 3\n")
        self.run("config", "check", bad).expect(1, f"{bad}:2", "replication_facto")
        self.run("config", "check", self.path("none.yaml")).expect(1, "none.yaml")
        self.run("config", "check").expect(2, "an argument is missing: config check FILE...")

    def test_version_and_help(self):
        assert re.fullmatch(r"agihpc-ctl \d+\.\d+\.\d+\n", Run("version").expect(0).out)
        assert Run("--version").expect(0).out == Run("version").out
        assert self.doc("version")["version"] in Run("version").out
        overview = Run("help").expect(0).out
        assert Run("--help").expect(0).out == overview
        commands = re.findall(r"^  ([a-z ]*[a-z])  ", overview.split("Options")[0], re.M)
        assert len(commands) >= 22 and len(set(commands)) == len(commands), commands
        for command in commands:
            assert f"Usage: agihpc-ctl [OPTION...] {command}" in Run("help", *command.split()).expect(0).out
        assert Run("put", "--help").expect(0).out == Run("help", "put").out
        assert "safety check" in Run("help", "safety").expect(0).out
        Run("help", "pu").expect(2, "unknown command 'pu'", "did you mean 'put'?")

    def test_wrong_command_lines_are_named(self):
        for words, says in (([], "no command given"), (["staus"], "did you mean 'status'?"),
                            (["frobnicate"], "valid are status, members"), (["safety"], "Did you mean 'safety check'?"),
                            (["safety", "chekc", "f"], "did you mean 'safety check'?"), (["status", "x"], "one argument too many"),
                            (["status", "--al"], "unknown option '--al'"), (["-o", "yaml", "status"], "table, json"),
                            (["-t", "0", "status"], "--timeout"), (["-t", "soon", "status"], "is not a duration"),
                            (["-n", "a b", "status"], "is not an address"), (["-n", "a,,b", "status"], "is not an address"),
                            (["-n", "", "status"], "is not an address"), (["-n"], "--node needs a value"),
                            (["-t", "1", "-t", "2", "status"], "given twice"), (["completion", "zsh"], "did you mean 'completion bash'?")):
            Run(*words).expect(2, *([says, "shows how"] if words else [says]))

    def test_bash_completes_commands_options_and_values(self):
        script = self.path("completion", Run("completion", "bash").expect(0).raw)

        def complete(line):
            words = line.split(" ")
            ask = (f"source {script}; COMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}; "
                   "compopt() { :; }; _agihpc_ctl; printf '%s\\n' \"${COMPREPLY[@]}\"")
            done = subprocess.run(["bash", "--norc", "-c", ask], capture_output=True, text=True, timeout=WAIT_S)
            assert done.stderr == "", done.stderr
            return done.stdout.split()

        assert complete("agihpc-ctl sta") == ["status"]
        assert complete("agihpc-ctl de") == ["deregister", "del"]
        assert complete("agihpc-ctl -n host:1 safety ") == ["check"]
        assert complete("agihpc-ctl put --lev") == ["--level"]
        assert complete("agihpc-ctl put --level q") == ["quorum"]
        assert complete("agihpc-ctl -o j") == ["json"]
        assert complete("agihpc-ctl help no") == []
        assert complete("agihpc-ctl help own") == ["owners"]
        assert complete(f"agihpc-ctl safety check {script[:-3]}") == [script]


def main():
    names = [n for n in dir(Tests) if n.startswith("test_")]
    failed = 0
    print(f"1..{len(names)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        tests = Tests(folder)
        for i, name in enumerate(names, 1):
            try:
                getattr(tests, name)()
                print(f"ok {i} - {name[5:]}", flush=True)
            except Exception as e:  # a test that breaks is a test that fails
                failed += 1
                print(f"not ok {i} - {name[5:]}")
                print("\n".join("# " + line for line in f"{type(e).__name__}: {e}".splitlines()), flush=True)
        codes = tests.a.stop(), tests.b.stop()
    return 1 if failed or any(codes) else 0


sys.exit(main())
