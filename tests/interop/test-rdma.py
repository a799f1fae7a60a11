#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A real QEMU migrates over rdma: into vmload. Runs inside the RDMA lab:

  scripts/rdma-lab/lab run --time 600 tests/interop/test-rdma.py [TEST...]

Environment, besides that of the harness:
  VMLOAD_RDMA_TOOLS   folder with rdma-peer and librdma-fault.so
  VMLOAD_QEMU_NEWER   a QEMU from 10.0 on, for the return path
"""

import mmap
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import harness
from harness import (Guest, Qemu, Receiver, check, check_cancelled,
                     check_decoded, check_failed, check_loaded, wait_until)

ADDRESS = os.environ.get("VMLOAD_RDMA_ADDRESS", "192.0.2.1")
ADDRESS6 = os.environ.get("VMLOAD_RDMA_ADDRESS6", "2001:db8::1")
TOOLS = os.environ.get("VMLOAD_RDMA_TOOLS",
                       os.path.join(harness.TOP, "build", "tests", "interop"))
PEER = os.path.join(TOOLS, "rdma-peer")
FAULT = os.path.join(TOOLS, "librdma-fault.so")
STREAMS = os.path.join(harness.TESTS, "streams")

# An emulated processor emulates another: prompt is not very prompt there.
PROMPT = 30
MEMORY = 16                             # MiB; what the guest has
SWEPT_END = 0x500000                    # 4 MiB of it are written all the time

# Places of rdma-fault.c: control messages, and what it makes of them.
BLOCKS_REQUEST, REGISTER_REQUEST, REGISTER_FINISHED = 4, 7, 9
WRITE, DEVICES = 12, 13


class Fault:
    """The file through which rdma-fault.c is told what to do."""

    FIELDS = 4 + 14

    def __init__(self, folder):
        self.path = os.path.join(folder, "fault")
        with open(self.path, "wb") as new:
            new.write(bytes(4 * self.FIELDS))
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 4 * self.FIELDS)

    def environment(self):
        return {"LD_PRELOAD": FAULT, "VMLOAD_FAULT": self.path}

    def arm(self, signum, kind, number=1):
        self.memory[:] = struct.pack("=4I", 0, kind, number, 0) + bytes(
            4 * (self.FIELDS - 4))
        struct.pack_into("=I", self.memory, 0, signum)

    def disarm(self):
        self.arm(0, 0)

    def fired(self):
        return struct.unpack_from("=I", self.memory, 12)[0] == 1

    def posted(self, kind):
        """Work requests of a kind since arm()."""
        return struct.unpack_from("=I", self.memory, 16 + 4 * kind)[0]


class Source(Qemu):
    """A pc whose guest sweeps over its memory, migrated more than once."""

    port = 4440

    def __init__(self, folder, fault=None, **kwargs):
        kwargs.setdefault("name", "source")
        super().__init__(folder, memory=MEMORY, boot="rom",
                         guest=Guest(folder, end=SWEPT_END),
                         env=fault.environment() if fault else None, **kwargs)
        self.wait_sweeps(2)

    @classmethod
    def uri(cls, address=ADDRESS):
        """A new one: a port may be busy for a while after its use."""
        cls.port += 1
        if ":" in address:
            address = "[%s]" % address
        return "rdma:%s:%d" % (address, cls.port)

    def prepare(self, pin_all=False, return_path=False, bandwidth=0):
        self.capabilities(rdma_pin_all=pin_all, return_path=return_path)
        self.parameters(max_bandwidth=bandwidth)

    def go_on(self):
        """After a migration: the guest runs here again."""
        self.cmd("cont")
        self.wait_sweeps(2)

    def wait_running_again(self):
        """It has given up, and its guest goes on."""
        info = self.wait_migration(("failed", "cancelled"), PROMPT)
        wait_until("the source runs again",
                   lambda: self.status() == "running", PROMPT)
        self.wait_sweeps(2)
        return info

    def resume(self):
        """After SIGSTOP by a fault."""
        self.child.send_signal(signal.SIGCONT)


def stopped(child):
    with open("/proc/%d/stat" % child.pid) as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


def wait_fired(qemu, fault):
    """The source stands at the place that was set."""
    wait_until("the source is there", lambda: fault.fired() and
               stopped(qemu.child), PROMPT)


# Loads ----------------------------------------------------------------------

def iterate(qemu, rounds):
    """Let the source go over its memory several times, then finish."""
    def enough():
        info = qemu.info()
        if info["status"] in ("device", "completed"):
            return True
        check(info["status"] in ("setup", "active"), "source is %s: %s",
              info["status"], info.get("error-desc", qemu.log()))
        return (info["status"] == "active" and
                info["ram"]["dirty-sync-count"] >= rounds)
    wait_until("source has iterated enough", enough)
    qemu.parameters(max_bandwidth=0, downtime_limit=5000)
    return qemu.wait_migration()


def load(folder, qemu, pin_all=False, return_path=False, options=(),
         rounds=3):
    """One migration of a guest that dirties memory, and all that is said of
    it afterwards. A guest without processor time dirties nothing: again."""
    for attempt in range(6):
        qemu.prepare(pin_all, return_path, (6 << 20) >> attempt)
        qemu.parameters(downtime_limit=1)
        uri = qemu.uri()
        receiver = Receiver(folder, uri, *options)
        qemu.migrate(uri)
        info = iterate(qemu, rounds)
        result = receiver.finish(PROMPT)
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)
        if info["ram"]["dirty-sync-count"] >= rounds:
            return info, result
        qemu.go_on()
    raise AssertionError("the source converged 6 times")


def loads(folder, return_path=False, **kwargs):
    with Source(folder, **kwargs) as qemu:
        info, _ = load(folder, qemu, return_path=return_path)
        check(info["ram"]["duplicate"] > 1000, "%d zero pages",
              info["ram"]["duplicate"])
        qemu.go_on()
        load(folder, qemu, pin_all=True, return_path=return_path)
        qemu.go_on()
        load(folder, qemu, return_path=return_path,
             options=["--commit", "atomic"])


def test_two_qemus(folder):
    """No vmload: does the lab carry what two QEMUs say to each other?"""
    with Source(folder) as qemu:
        uri = qemu.uri()
        with Qemu(folder, memory=MEMORY, boot="rom", guest=Guest(folder),
                  name="target", incoming=uri, paused=True) as target:
            qemu.prepare()
            qemu.migrate(uri)
            qemu.wait_migration()
            wait_until("the target is there",
                       lambda: target.status() != "inmigrate")
            at = harness.same_files(qemu.ram, target.ram)
            check(at is None, "RAM differs at 0x%x", at or 0)


def test_loads(folder):
    """On request, everything pinned, atomic: RAM is what the source has."""
    loads(folder)


def test_loads_return_path(folder):
    """Sources from 10.0 on make a second connection for it."""
    newer = os.environ.get("VMLOAD_QEMU_NEWER")
    if not newer:
        check(not os.environ.get("CI"), "VMLOAD_QEMU_NEWER is not set")
        raise harness.Skip("VMLOAD_QEMU_NEWER is not set")
    loads(folder, return_path=True, binary=newer)


def test_ipv6(folder):
    """QEMU refuses RoCE over IPv6, so a stream without RAM, by our peer."""
    uri = Source.uri(ADDRESS6)
    receiver = Receiver(folder, uri)
    peer(uri, "file:" + os.path.join(STREAMS, "none.stream"), "gone")
    check_loaded(receiver.finish(PROMPT))


# The source goes away -------------------------------------------------------

def killed(folder, kind, number, pin_all=False):
    fault = Fault(folder)
    with Source(folder, fault) as qemu:
        qemu.prepare(pin_all)
        uri = qemu.uri()
        receiver = Receiver(folder, uri)
        fault.arm(signal.SIGKILL, kind, number)
        qemu.migrate(uri)
        wait_until("the source is dead",
                   lambda: qemu.child.poll() is not None, PROMPT)
        check(fault.fired(), "it died of something else")
        check_failed(receiver.finish(PROMPT))


def test_source_killed_in_ram(folder):
    killed(folder, WRITE, 3)


def test_source_killed_in_ram_pin_all(folder):
    killed(folder, WRITE, 3, True)


def test_source_killed_in_devices(folder):
    killed(folder, DEVICES, 2)


def test_source_cancels(folder):
    """migrate_cancel, and the same source comes again. A 7.2 says that it has
    cancelled, and keeps the connection: only the stall timeout tells."""
    with Source(folder) as qemu:
        qemu.prepare(bandwidth=100000)
        uri = qemu.uri()
        receiver = Receiver(folder, uri, "--stall-timeout", "3")
        qemu.migrate(uri)
        wait_until("memory is sent", lambda: qemu.info().get(
            "ram", {}).get("transferred", 0) > 100000)
        qemu.cmd("migrate_cancel")
        check_failed(receiver.finish(PROMPT))
        qemu.wait_running_again()
        load(folder, qemu)


# The receiver goes away -----------------------------------------------------

PHASES = [
    # where the source stands, (kind, number), rdma-pin-all
    ("setup", (BLOCKS_REQUEST, 1), False),
    ("registration", (REGISTER_REQUEST, 2), False),
    ("memory", (WRITE, 4), False),
    ("end of a round", (REGISTER_FINISHED, 3), False),
    ("memory, pinned", (WRITE, 4), True),
    ("devices", (DEVICES, 1), False),
    ("description", (DEVICES, 2), False),
]


def cancel(receiver, signum=signal.SIGINT):
    """Returns its result and the seconds from the signal to its end."""
    started = time.monotonic()
    receiver.interrupt(signum)
    result = receiver.finish(PROMPT)
    took = time.monotonic() - started
    check_cancelled(result)
    return result, took


def test_cancel_in_each_phase(folder):
    """The source stands still at an exact place; afterwards it runs on."""
    fault = Fault(folder)
    uri = Source.uri()
    _, took = cancel(Receiver(folder, uri))
    print("  cancelled in %-16s %4.0f ms" % ("listening", took * 1e3))
    with Source(folder, fault) as qemu:
        for name, (kind, number), pin_all in PHASES:
            qemu.prepare(pin_all)
            uri = qemu.uri()
            receiver = Receiver(folder, uri)
            fault.arm(signal.SIGSTOP, kind, number)
            qemu.migrate(uri)
            wait_fired(qemu, fault)
            _, took = cancel(receiver)
            print("  cancelled in %-16s %4.0f ms" % (name, took * 1e3))
            fault.disarm()
            qemu.resume()
            qemu.wait_running_again()
        load(folder, qemu)


def test_receiver_killed(folder):
    with Source(folder) as qemu:
        qemu.prepare(bandwidth=100000)
        uri = qemu.uri()
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        wait_until("memory is sent", lambda: qemu.info().get(
            "ram", {}).get("transferred", 0) > 100000)
        receiver.interrupt(signal.SIGKILL)
        receiver.finish(PROMPT)
        qemu.wait_running_again()


# Peers that are not sources -------------------------------------------------

def split(uri):
    """Address and port."""
    address, port = uri.split(":", 1)[1].rsplit(":", 1)
    return address.strip("[]"), port


def peer(uri, *actions, private=None, status=0):
    """Run rdma-peer to its end; what it printed, a line an item."""
    options = [] if private is None else ["-p", private]
    child = subprocess.run([PEER, *options, *split(uri), *actions],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=harness.TIMEOUT, check=False)
    lines = child.stdout.decode().splitlines()
    check(child.returncode == status, "the peer ended with %d: %s",
          child.returncode, lines)
    return lines


def connected(uri):
    """A peer that is connected, and waits until the other side ends it."""
    child = harness.spawn([PEER, *split(uri), "gone"], stdout=subprocess.PIPE)
    check(select.select([child.stdout], [], [], PROMPT)[0] and
          child.stdout.readline() == b"connected\n", "no connection")
    return child


def other_program(command):
    """A client of something else, for a while: how it fares is its own
    business."""
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        pass


def test_strangers_first(folder):
    """Whoever is no source is turned away, and does no harm."""
    uri = Source.uri()
    address, port = split(uri)
    receiver = Receiver(folder, uri)
    for private in ("", "00", "00000000" * 2, "0000000200000000",
                    "47455420" * 8):
        lines = peer(uri, private=private, status=3)
        check(lines == ["rejected"], "private data %s: %s", private, lines)
    for tool in ("rping", "ib_write_bw"):
        check(shutil.which(tool), "%s is missing", tool)
    other_program(["rping", "-c", "-a", address, "-p", port, "-C", "1"])
    other_program(["ib_write_bw", "-R", "-F", "-p", port, address])
    # A port scan: other protocols, and the port that RoCE itself listens on.
    with socket.socket() as sock:
        sock.settimeout(1)
        check(sock.connect_ex((address, int(port))) != 0, "TCP connects")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for size in (0, 1, 12, 40, 1400):
            sock.sendto(os.urandom(size), (address, 4791))
            sock.sendto(os.urandom(size), (address, int(port)))
    check(receiver.child.poll() is None, "vmload has ended: %s",
          receiver.stderr())
    with Source(folder) as qemu:
        qemu.prepare()
        qemu.migrate(uri)
        qemu.wait_migration()
        check_loaded(receiver.finish(PROMPT), qemu, pattern=True)


def test_more_connections(folder):
    """A source makes its connections before it begins. Whoever comes later
    is turned away, and the load is not harmed."""
    fault = Fault(folder)
    with Source(folder, fault) as qemu:
        qemu.prepare()
        uri = qemu.uri()
        receiver = Receiver(folder, uri)
        fault.arm(signal.SIGSTOP, WRITE, 2)
        qemu.migrate(uri)
        wait_fired(qemu, fault)
        for _ in range(2):
            lines = peer(uri, "gone", status=3)
            check(lines == ["rejected"], "another one is told %s", lines)
        fault.disarm()
        qemu.resume()
        qemu.wait_migration()
        result = receiver.finish(PROMPT)
        check_loaded(result, qemu, pattern=True)
        check(result.stats["connections_refused"] == 2, "%s were counted",
              result.stats["connections_refused"])


# (what is sent, words of the message). READY has come before.
HOSTILE = [
    ("message:00", "16|short|length"),
    ("message:" + "ff" * 16, "type|length"),
    # READY, then a type that does not exist
    ("message:00000000000000020000000100000000", "READY"),
    ("message:0000000000000063" + "0000000100000000", "99|type"),
    # QEMU_FILE that promises more, and less, than there is
    ("message:00000010000000030000000000000000", "16|length|bytes"),
    ("message:00000001000000030000000000000000" + "5145564d", "length|bytes"),
    # REGISTER_REQUEST where bytes of the stream belong
    ("message:0000001800000007000000010000000000000000000000000000000000000000"
     "0000000000000000", "REGISTER"),
    ("message:0000000000000001" + "0000000100000000", "ERROR|gave up|source"),
    ("message:000000140000000300000000000000000" + "0" * 39, "magic|header"),
]


def refused(receiver, words):
    """The receiver says that it has sent somebody away."""
    wait_until("it is refused", lambda: re.search(
        "refused connection.*(%s)" % words, receiver.stderr(), re.I), PROMPT)


def check_loaded_aloud(result):
    """As check_loaded(), of a receiver that was not quiet."""
    result.stderr = ""
    check_loaded(result)


def test_hostile_messages(folder):
    """As the first thing that is said: no source. The message says what came;
    the peer is disconnected, and the source is awaited."""
    for part in (HOSTILE[:5], HOSTILE[5:]):     # vmload tells of eight
        uri = Source.uri()
        receiver = Receiver(folder, uri, quiet=False)
        for action, words in part:
            peer(uri, action, "gone")
            refused(receiver, words)
        peer(uri, "file:" + os.path.join(STREAMS, "none.stream"), "gone")
        check_loaded_aloud(receiver.finish(PROMPT))


def test_cut_streams(folder):
    """A source without RAM that leaves at any place."""
    stream = os.path.join(STREAMS, "none.stream")
    for length in (8, os.path.getsize(stream) // 2):
        uri = Source.uri()
        path = os.path.join(folder, str(length))
        os.mkdir(path)
        receiver = Receiver(path, uri)
        peer(uri, "part:%d:%s" % (length, stream))
        check_failed(receiver.finish(PROMPT))
    # Less than its magic: that may have been anybody.
    uri = Source.uri()
    receiver = Receiver(folder, uri, quiet=False)
    for length in (0, 1):
        peer(uri, "part:%d:%s" % (length, stream))
    refused(receiver, "end of the connection|1 bytes")
    peer(uri, "file:" + stream, "gone")
    check_loaded_aloud(receiver.finish(PROMPT))


def test_silent_peer(folder):
    """Connected, and nothing comes: it is sent away, or the user ends it."""
    uri = Source.uri()
    receiver = Receiver(folder, uri, "--stall-timeout", "3", quiet=False)
    peer(uri, "gone")
    refused(receiver, "beginning of a stream")
    peer(uri, "file:" + os.path.join(STREAMS, "none.stream"), "gone")
    check_loaded_aloud(receiver.finish(PROMPT))
    uri = Source.uri()
    receiver = Receiver(folder, uri)
    silent = connected(uri)
    _, took = cancel(receiver)
    print("  cancelled in %-16s %4.0f ms" % ("silence", took * 1e3))
    check(silent.wait(PROMPT) == 0, "the peer ended with %d",
          silent.returncode)


# Locked memory --------------------------------------------------------------

def limited(kib):
    """A command that runs another with little memory to lock, and without
    the right to lock more. The driver counts what each process has pinned."""
    return ["setpriv", "--bounding-set", "-ipc_lock", "--inh-caps",
            "-ipc_lock", "sh", "-c", 'ulimit -l %d; exec "$@"' % kib, "sh"]


def test_locked_memory(folder):
    """Too little of it: told with what to raise, and the source runs on."""
    with Source(folder) as qemu:
        for kib, pin_all in ((8192, True), (2048, False)):
            qemu.prepare(pin_all)
            uri = qemu.uri()
            receiver = Receiver(folder, uri, wrapper=limited(kib))
            qemu.migrate(uri)
            result = receiver.finish(PROMPT)
            check_failed(result)
            check(re.search("RLIMIT_MEMLOCK|ulimit -l", result.stderr),
                  "what to raise is not said: %s", result.stderr)
            qemu.wait_running_again()
        load(folder, qemu, pin_all=True)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
