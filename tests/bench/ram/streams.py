"""The streams that are loaded: recorded from a real QEMU once, and kept.

SPDX-License-Identifier: BSD-3-Clause
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "interop"))

import harness  # noqa: E402

MIB = 1 << 20
PAGE = 4096
# Part of the folder's name: other content, other folder.
FORMAT = 1
# Known to every QEMU from 7.2 on, so that newer ones load it too.
MACHINE = "pc-i440fx-7.2"


# What is in guest memory ------------------------------------------------------

def random_pages(rng, _):
    return rng.randbytes(MIB)


def half_pages(rng, _):
    """Each page is random or zero, by a coin."""
    data = bytearray(rng.randbytes(MIB))
    coins = rng.getrandbits(MIB // PAGE)
    for page in range(MIB // PAGE):
        if coins >> page & 1:
            data[page * PAGE:(page + 1) * PAGE] = bytes(PAGE)
    return data


def compressible_pages(rng, state):
    """Records of 64 bytes, 16 of which are random and the others one of 256
    texts: to about a third."""
    if not state:
        state["texts"] = [rng.randbytes(48) for _ in range(256)]
        state["chunks"] = [b"".join(
            word + state["texts"][word[0]] for word in
            (rng.randbytes(16) for _ in range(MIB // 64)))
            for _ in range(16)]
    # Far apart enough that no compressor sees the same twice.
    return state["chunks"][rng.randrange(len(state["chunks"]))]


CONTENTS = {"random": random_pages, "half": half_pages,
            "compressible": compressible_pages}


def fill(path, mib, content):
    """The same bytes each time."""
    rng = random.Random("%s-%d" % (content, FORMAT))
    state = {}
    with open(path, "r+b") as memory:
        for _ in range(mib):
            memory.write(CONTENTS[content](rng, state))


# Recording --------------------------------------------------------------------

class Recorder:
    """Takes main and multifd connections and keeps what each one says."""

    def __init__(self, folder, channels):
        self.folder = folder
        self.path = os.path.join(folder, "socket")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(channels + 1)
        self.threads = [threading.Thread(target=self.take, daemon=True)
                        for _ in range(channels + 1)]
        self.files = {}
        for thread in self.threads:
            thread.start()

    def take(self):
        """One connection, until it ends."""
        with self.listener.accept()[0] as peer:
            head = b""
            while len(head) < 25:
                data = peer.recv(25 - len(head))
                if not data:
                    return
                head += data
            kind = "main" if head[:4] == b"QEVM" else head[24]
            path = os.path.join(self.folder, "channel-%s" % kind)
            buffer = memoryview(bytearray(MIB))
            with open(path, "wb", buffering=0) as out:
                out.write(head)
                while True:
                    count = peer.recv_into(buffer)
                    if count == 0:
                        break
                    out.write(buffer[:count])
            self.files[kind] = path

    def finish(self):
        """Paths: main first, then the channels by their number."""
        for thread in self.threads:
            thread.join(harness.TIMEOUT)
        self.listener.close()
        os.unlink(self.path)
        wanted = ["main"] + list(range(len(self.threads) - 1))
        missing = [kind for kind in wanted if kind not in self.files]
        if missing:
            raise harness.HarnessError("channels are missing: %s" % missing)
        return [self.files[kind] for kind in wanted]


def sync_file(path):
    """What is dirty cannot be dropped from the cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Cache:
    """Streams in a folder. What is there is not made again."""

    def __init__(self, folder, limit, vmload):
        version = subprocess.run([harness.qemu_binary(), "--version"],
                                 check=True, stdout=subprocess.PIPE)
        version = version.stdout.decode().split()[3]
        self.folder = os.path.join(folder, "%d-%s" % (FORMAT, version))
        self.limit = limit
        self.vmload = vmload
        os.makedirs(self.folder, exist_ok=True)

    def get(self, name, make):
        """The folder NAME with its index; MAKE(folder) fills it."""
        path = os.path.join(self.folder, name)
        index = os.path.join(path, "index.json")
        if not os.path.exists(index):
            print("making %s" % name, file=sys.stderr)
            part = tempfile.mkdtemp(prefix="part-", dir=self.folder)
            try:
                entry = make(part)
                for item in os.listdir(part):
                    sync_file(os.path.join(part, item))
                with open(os.path.join(part, "index.json"), "w",
                          encoding="utf-8") as out:
                    json.dump(entry, out, indent=1)
                shutil.rmtree(path, ignore_errors=True)
                os.rename(part, path)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        with open(index, encoding="utf-8") as stream:
            entry = json.load(stream)
        entry["files"] = [os.path.join(path, name)
                          for name in entry["files"]]
        return entry

    def record(self, folder, mib, content, how):
        """HOW(qemu) migrates; an entry without its files."""
        scratch = tempfile.mkdtemp(prefix="source-", dir=folder)
        try:
            with harness.Qemu(scratch, machine=MACHINE, memory=mib,
                              paused=True, serial=False) as qemu:
                fill(qemu.ram, mib, content)
                qemu.parameters(max_bandwidth=0)
                how(qemu)
                info = qemu.wait_migration()
                ram = subprocess.run([self.limit, "sum", qemu.ram],
                                     check=True, stdout=subprocess.PIPE)
                return {"mib": mib, "content": content,
                        "pages": info["ram"]["normal"],
                        "sum": json.loads(ram.stdout)["sum"]}
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def plain(self, mib, content):
        def make(folder):
            path = os.path.join(folder, "stream")
            entry = self.record(
                folder, mib, content,
                lambda qemu: qemu.migrate("exec:cat > '%s'" % path))
            # QEMU may be done before cat is.
            harness.wait_until("stream is written",
                               lambda: stable_size(path))
            return {**entry, "files": ["stream"]}
        return self.get("plain-%s-%d" % (content, mib), make)

    def mapped(self, mib, content):
        """Made of the plain one, since old QEMUs cannot write it."""
        plain = self.plain(mib, content)

        def make(folder):
            subprocess.run([self.vmload, "convert", plain["files"][0],
                            os.path.join(folder, "mapped")], check=True,
                           stdout=subprocess.DEVNULL)
            return {**plain, "files": ["mapped"]}
        return self.get("mapped-%s-%d" % (content, mib), make)

    def multifd(self, mib, content, channels, method):
        def make(folder):
            recorder = Recorder(folder, channels)

            def how(qemu):
                qemu.capabilities(multifd=True)
                qemu.parameters(multifd_channels=channels,
                                multifd_compression=method)
                qemu.migrate("unix:" + recorder.path)
            entry = self.record(folder, mib, content, how)
            files = [os.path.basename(path) for path in recorder.finish()]
            return {**entry, "files": files}
        return self.get("multifd-%s-%s-%d-%d" % (method, content, channels,
                                                 mib), make)


def stable_size(path):
    """The file ends as a stream with a description does."""
    with open(path, "rb") as stream:
        stream.seek(max(0, os.path.getsize(path) - 1))
        return stream.read() == b"}"
