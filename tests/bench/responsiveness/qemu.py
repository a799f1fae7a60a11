"""A real QEMU beside the library: records the stream that everybody loads,
and is asked, every few milliseconds while it loads, how it is.

SPDX-License-Identifier: BSD-3-Clause
"""

import gc
import json
import os
import select
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "interop"))

import harness  # noqa: E402

PERIOD = 0.005
# What every QEMU from 7.2 on can be.
MACHINE = "pc-q35-7.2"
DEVICES = (
    ["VGA", "e1000e", "qemu-xhci,p2=15,p3=15", "virtio-balloon-pci",
     "ich9-intel-hda", "virtio-scsi-pci", "virtio-serial-pci"] +
    ["usb-tablet"] * 15 +
    ["virtio-rng-pci"] * 8 +
    ["pcie-root-port,id=p%d,chassis=%d,addr=%x.%x,multifunction=on" % (
        i, i, 0x10 + i // 8, i % 8) for i in range(32)])
# Flags of RAM records (docs/format.md).
ZERO, MEM_SIZE, PAGE, EOS, CONTINUE = 0x02, 0x04, 0x08, 0x10, 0x20
PAGE_SIZE = 4096


def start(binary, folder, name, memory, **more):
    """A paused guest. harness finds its binary in the environment."""
    os.environ["VMLOAD_QEMU"] = binary
    args = [word for device in DEVICES for word in ("-device", device)]
    return harness.Qemu(folder, machine=MACHINE, memory=memory, args=args,
                        shared=False, serial=False, paused=True, name=name,
                        **more)


def version(binary):
    text = subprocess.run([binary, "--version"], capture_output=True,
                          text=True, check=True).stdout
    return text.split()[3]


# The stream ------------------------------------------------------------------

class Thinner:
    """Leaves out zero pages of a RAM payload: fresh memory has them."""

    def __init__(self, data, at):
        self.data = data
        self.at = at
        self.block = None
        self.written = None
        self.out = bytearray()

    def take(self, length):
        piece = self.data[self.at:self.at + length]
        self.at += length
        return piece

    def page(self, word):
        if not word & CONTINUE:
            self.block = self.take(1 + self.data[self.at])
        body = self.take(PAGE_SIZE if word & PAGE else 1)
        if word & ZERO:
            return
        word &= ~CONTINUE
        if self.block == self.written:
            word |= CONTINUE
        self.out += struct.pack(">Q", word)
        self.out += b"" if word & CONTINUE else self.block
        self.out += body
        self.written = self.block

    def run(self):
        """The payload without zero pages; self.at is behind it."""
        while True:
            word, = struct.unpack(">Q", self.take(8))
            if word & (PAGE | ZERO):
                self.page(word)
            elif word == EOS:
                self.out += struct.pack(">Q", word)
                return bytes(self.out)
            elif word not in (0x200,):
                raise harness.HarnessError("RAM record %#x" % word)


def thin(data, records):
    """DATA with its RAM sections thinned. Names are written anew in each."""
    out = bytearray()
    at = 0
    for record in records:
        if record["name"] != "ram" or record["type"] not in (2, 3):
            continue
        out += data[at:record["payload"]]
        thinner = Thinner(data, record["payload"])
        thinner.block = thin.block
        out += thinner.run()
        thin.block = thinner.block
        at = thinner.at
    return bytes(out + data[at:])


thin.block = None


def read_records(bench, path):
    text = subprocess.run([bench, "--stream=" + path, "records"], check=True,
                          capture_output=True, text=True).stdout
    names = ("offset", "payload", "length", "type", "id", "instance",
             "version", "name")
    records = []
    for line in text.splitlines():
        if not line.startswith("#"):
            fields = line.split(" ", 7)
            records.append(dict(zip(names, [int(f) for f in fields[:7]] +
                                    fields[7:])))
    return records


def record(binary, bench, folder, memory):
    """The path of a recorded stream of the machine."""
    raw = os.path.join(folder, "raw.stream")
    path = os.path.join(folder, "machine.stream")
    with start(binary, folder, "source", memory) as source:
        source.record(raw)
    with open(raw, "rb") as stream:
        data = stream.read()
    data = thin(data, read_records(bench, raw))
    os.unlink(raw)
    with open(path, "wb") as stream:
        stream.write(data)
    return path


# The destination -------------------------------------------------------------

class Asker:
    """query-status every PERIOD, and how late each answer comes."""

    def __init__(self, qemu):
        self.sock = qemu.qmp.sock
        self.buffer = qemu.qmp.buffer
        self.late = []
        self.status = None

    def line(self):
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise harness.HarnessError("QEMU is gone")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def ask(self, due):
        """One question that is due at DUE; the clock runs from then."""
        self.sock.sendall(b'{"execute":"query-status"}\n')
        while True:
            answer = self.line()
            if "return" in answer:
                self.late.append(time.monotonic() - due)
                return
            self.note(answer)

    def note(self, answer):
        if answer.get("event") == "MIGRATION":
            self.status = answer["data"]["status"]
        elif "error" in answer:
            raise harness.HarnessError(answer["error"]["desc"])

    def run(self, timeout, window=None):
        """Asks until the load has ended, or all that is due in WINDOW
        seconds. Missed turns are made up for."""
        self.sock.settimeout(timeout)
        begin = due = time.monotonic()
        while self.status not in ("completed", "failed"):
            if window and due - begin >= window:
                break
            wait = due - time.monotonic()
            if wait > 0 and select.select([self.sock], [], [], wait)[0]:
                self.note(self.line())
                continue
            self.ask(due)
            due += PERIOD
            if due - begin > timeout:
                raise harness.HarnessError("the load does not end")
        return time.monotonic() - begin


def quantile(values, fraction):
    return values[min(int(fraction * len(values)), len(values) - 1)]


def summary(seconds):
    values = sorted(int(s * 1e9) for s in seconds)
    return {"n": len(values), "p50": quantile(values, 0.5),
            "p99": quantile(values, 0.99), "p999": quantile(values, 0.999),
            "max": values[-1]}


def histogram(seconds):
    """[upper bound, count] pairs, as the host program has them."""
    counts = {}
    for value in seconds:
        bound = max(1024, 1 << int(value * 1e9).bit_length())
        counts[bound] = counts.get(bound, 0) + 1
    return sorted(counts.items())


def load(binary, bench, folder, memory, case, options, window=None):
    """One load of CASE; a result like the host program's. With WINDOW the
    destination expects multifd, and is only looked at for that long."""
    path = os.path.join(folder, "socket")
    log = open(os.path.join(folder, "sender.log"), "wb")
    with log, start(binary, folder, "destination", memory,
                    incoming="defer") as qemu:
        qemu.capabilities(events=True, multifd=window is not None)
        qemu.cmd("migrate-incoming", uri="unix:" + path)
        asker = Asker(qemu)
        harness.wait_until("the socket", lambda: os.path.exists(path))
        sender = harness.spawn([bench, *options, "--cases=" + case,
                                "--connect=" + path, "send"],
                               stdout=subprocess.PIPE, stderr=log)
        sender.stdout.readline()
        gc.disable()
        try:
            took = asker.run(harness.TIMEOUT, window)
        finally:
            gc.enable()
            harness.reap(sender)
    if not window and asker.status != "completed":
        raise harness.HarnessError("the load failed")
    return {"window_ns": int(took * 1e9), "late": summary(asker.late),
            "histogram": histogram(asker.late)}


def run_case(binary, bench, folder, memory, case, options, window=None):
    """A row of the results. With WINDOW seconds: see load()."""
    rule = "QEMU " + version(binary) + (" multifd" if window else "")
    result = {"case": case, "rule": rule, "error": None, "loads": 1}
    try:
        result.update(load(binary, bench, folder, memory, case, options,
                           window))
    except (harness.HarnessError, OSError) as error:
        result["error"] = str(error)
    if os.path.exists(os.path.join(folder, "socket")):
        os.unlink(os.path.join(folder, "socket"))
    return result
