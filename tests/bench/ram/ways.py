"""The ways to read a stream: the library, the bare machine, a real QEMU.

Each way is a function that returns a sample: seconds, and where it can be
known CPU seconds and the peak of memory beyond the guest's.

SPDX-License-Identifier: BSD-3-Clause
"""

import json
import os
import re
import subprocess
import time

import harness
from streams import MACHINE

# How long any single load may take.
PATIENCE = 600


class Failed(Exception):
    """A load that went wrong."""


class Programs:
    """Where the build has put them."""

    def __init__(self, build):
        folder = os.path.join(build, "tests", "bench", "ram")
        for name in ("load", "limit", "feed", "synth"):
            setattr(self, name, os.path.join(folder, "ram-" + name))
        self.vmload = os.path.join(build, "examples", "vmload", "vmload")


class Sender:
    """Feeds files to an address, or to the other end of a pipe."""

    def __init__(self, command, **kwargs):
        self.child = harness.spawn(command, stdout=subprocess.PIPE, **kwargs)

    def begin(self):
        """When it began to connect, in seconds of the monotonic clock."""
        return json.loads(self.child.stdout.readline())["begin_ns"] / 1e9

    def end(self):
        harness.reap(self.child)


class Ways:
    def __init__(self, programs, folder, pages="huge"):
        self.programs = programs
        self.folder = folder
        self.pages = pages
        self.serial = 0

    def socket_path(self):
        self.serial += 1
        return os.path.join(self.folder, "s%d" % self.serial)

    def feed(self, address, files, **kwargs):
        return Sender([self.programs.feed, address, *files], **kwargs)

    # The programs of ours ----------------------------------------------------

    def addresses(self, transport):
        """(for the library, for the others, descriptors of a pipe)"""
        if transport == "unix":
            address = "unix:" + self.socket_path()
            return address, address, None
        if transport == "tcp":
            port = harness.free_port()
            return "tcp:127.0.0.1:%d" % port, "tcp:%d" % port, None
        if transport == "pipe":
            fds = os.pipe()
            return "fd:%d" % fds[0], "fd:%d" % fds[0], fds
        raise ValueError(transport)

    def run(self, command, sender=None, fds=None):
        """COMMAND says "ready", then SENDER() begins; a sample."""
        # Unbuffered: what follows the line is communicate()'s.
        child = harness.spawn(command, bufsize=0, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE,
                              pass_fds=fds[:1] if fds else ())
        try:
            if child.stdout.readline() != b"ready\n":
                raise Failed("%s: %s" % (" ".join(command),
                                         child.communicate()[1].decode()))
            feeding = sender() if sender else None
            if fds:
                os.close(fds[0])
                os.close(fds[1])
            output, errors = child.communicate(timeout=PATIENCE)
            if feeding:
                feeding.end()
        finally:
            harness.reap(child)
        if child.returncode != 0:
            raise Failed("%s: %s" % (" ".join(command), errors.decode()))
        return self.sample(json.loads(output))

    @staticmethod
    def sample(values):
        sample = dict(values, seconds=values["ns"] / 1e9)
        if "cpu_ns" in values:
            sample["cpu"] = values["cpu_ns"] / 1e9
            sample["beyond"] = max(0, values["rss_peak"] -
                                   values["rss_before"] -
                                   values["rss_memory"])
        return sample

    def over(self, transport, files, command):
        """COMMAND(ours, theirs) with FILES fed to it over a transport."""
        ours, theirs, fds = self.addresses(transport)
        if fds:
            return self.run(command(ours, theirs), lambda: self.feed(
                "fd:%d" % fds[1], files, pass_fds=fds[1:]), fds)
        return self.run(command(ours, theirs),
                        lambda: self.feed(theirs, files))

    def load_command(self, uri, channels=0, threads=0, check=False):
        command = [self.programs.load, "--pages=" + self.pages]
        if channels:
            command.append("--channels=%d" % channels)
        if threads:
            command.append("--threads=%d" % threads)
        if check:
            command.append("--sum")
        return command + [uri]

    def load(self, transport, stream, check=False, **options):
        """The library."""
        files = stream["files"]
        if transport == "file":
            sample = self.run(self.load_command("file:" + files[0],
                                                check=check, **options))
        else:
            sample = self.over(transport, files,
                               lambda ours, _: self.load_command(
                                   ours, check=check, **options))
        if sample["lock_io_wait_ns"] != 0:
            raise Failed("waited for bytes with the lock held")
        if check and stream.get("sum") not in (None, sample["sum"]):
            raise Failed("what arrived is not what was sent")
        return sample

    def limit(self, transport, stream, pages="huge", threads=1, room=None):
        """The same bytes by reads of 1 MiB; ROOM: of a pipe, in bytes."""
        command = [self.programs.limit, "--pages=" + pages,
                   "--threads=%d" % threads]
        if room:
            command.append("--room=%d" % room)
        command.append("read")
        path = stream["files"][0]
        if transport == "file":
            return self.run(command + ["file:" + path])
        return self.over(transport, [path],
                         lambda _, theirs: command + [theirs])

    def receivers(self, stream, channels, pages="huge"):
        """As many threads as channels, each reads its connection."""
        return self.over("unix", stream["files"], lambda _, theirs: [
            self.programs.limit, "--pages=" + pages, "recv", str(channels),
            theirs])

    def decompressors(self, stream, channels, method, *options):
        return self.over("unix", stream["files"], lambda _, theirs: [
            self.programs.limit, *options, "inflate", method, str(channels),
            theirs])

    def decompressors_file(self, stream, method):
        """The same without connections and without a sender."""
        return self.run([self.programs.limit, "inflate", method,
                         *stream["files"][1:]])

    def touch(self, mib):
        """A virtual machine's free memory may be with its hypervisor."""
        subprocess.run([self.programs.limit, "touch", str(mib)], check=True)

    def copy(self, mib):
        return self.run([self.programs.limit, "copy", str(mib)])

    # Streams without a file, see synth.c -------------------------------------

    def synth(self, mib, blocks, devices):
        ours, theirs, _ = self.addresses("unix")
        command = [self.programs.synth, str(mib), str(blocks), str(devices)]

        def sender():
            return Sender(command + [theirs])
        return self.run(self.load_command(ours), sender)

    # A real QEMU -------------------------------------------------------------

    def qemu(self, binary, transport, stream, prepare=None):
        """PREPARE(qemu) sets capabilities."""
        os.environ["VMLOAD_QEMU"] = binary
        files = stream["files"]
        with harness.Qemu(self.folder, machine=MACHINE, memory=stream["mib"],
                          name="target", incoming="defer", paused=True,
                          shared=False, serial=False) as qemu:
            qemu.capabilities(events=True)
            if prepare:
                prepare(qemu)
            before = Process(qemu.child.pid)
            begin, sender = self.begin(qemu, transport, files)
            wait_completed(qemu)
            seconds = time.monotonic() - begin
            after = Process(qemu.child.pid)
            if sender:
                sender.end()
        # What has grown most is the guest's memory.
        guest = max(rss - before.mappings.get(start, 0)
                    for start, rss in after.mappings.items())
        return {"seconds": seconds, "cpu": after.cpu - before.cpu,
                "beyond": max(0, after.peak - before.rss - guest)}

    def begin(self, qemu, transport, files):
        """Starts the load: (when, sender)."""
        if transport in ("file", "pipe"):
            return self.begin_fd(qemu, transport, files)
        ours, theirs, _ = self.addresses(transport)
        qemu.cmd("migrate-incoming", uri=ours)
        sender = self.feed(theirs, files)
        return sender.begin(), sender

    def begin_fd(self, qemu, transport, files):
        version = qemu.version["qemu"]
        if transport == "file" and (version["major"],
                                    version["minor"]) >= (8, 2):
            begin = time.monotonic()
            qemu.cmd("migrate-incoming", uri="file:" + files[0])
            return begin, None
        sender = None
        if transport == "pipe":
            read_end, write_end = os.pipe()
        else:
            read_end = os.open(files[0], os.O_RDONLY)
        qemu.give_fd("stream", read_end)
        os.close(read_end)
        begin = time.monotonic()
        if transport == "pipe":
            sender = self.feed("fd:%d" % write_end, files,
                               pass_fds=[write_end])
            os.close(write_end)
            begin = sender.begin()
        qemu.cmd("migrate-incoming", uri="fd:stream")
        return begin, sender


class Process:
    """What a process has used so far."""

    def __init__(self, pid):
        with open("/proc/%d/stat" % pid, encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks = os.sysconf("SC_CLK_TCK")
        self.cpu = (int(fields[11]) + int(fields[12])) / ticks
        with open("/proc/%d/status" % pid, encoding="utf-8") as status:
            text = status.read()
        self.rss = self.kib(text, "VmRSS") * 1024
        self.peak = self.kib(text, "VmHWM") * 1024
        with open("/proc/%d/smaps" % pid, encoding="utf-8") as smaps:
            self.mappings = self.resident(smaps.read())

    @staticmethod
    def kib(text, name):
        return int(re.search(r"^%s:\s+(\d+) kB" % name, text, re.M).group(1))

    @staticmethod
    def resident(text):
        """Resident bytes of each mapping, by its address."""
        return {start: int(rss) * 1024 for start, rss in re.findall(
            r"^([0-9a-f]+)-[0-9a-f]+ .*?^Rss:\s+(\d+) kB", text,
            re.M | re.S)}


def wait_completed(qemu):
    """By events: polling would take the main loop's time."""
    while True:
        event = (qemu.qmp.events.pop(0) if qemu.qmp.events
                 else qemu.qmp.read(PATIENCE))
        status = event.get("data", {}).get("status")
        if status == "failed":
            raise Failed("QEMU: " + qemu.log())
        if event.get("event") == "MIGRATION" and status == "completed":
            return
