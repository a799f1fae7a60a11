#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The recorded streams of tests/streams, as files and through pipes.

Needs no QEMU: what must come out is in index.json.
"""

import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading

import harness
import reference
from harness import (Receiver, check, check_decoded, check_failed,
                     check_loaded, escape)

STREAMS = os.path.join(harness.TESTS, "streams")

# Announces a postcopy, which is not supported yet.
REFUSED = {"none-postcopy-advise": "POSTCOPY_ADVISE"}


def streams():
    with open(os.path.join(STREAMS, "index.json")) as index:
        for name, entry in json.load(index).items():
            entry["path"] = os.path.join(STREAMS, entry["file"])
            yield name, entry


def good_streams():
    return ((name, entry) for name, entry in streams()
            if name not in REFUSED)


def digest(path):
    with open(path, "rb") as content:
        return hashlib.sha256(content.read()).hexdigest()


def check_ram(folder, name, entry):
    """Every block is there, and has the content it must have."""
    memory = reference.read(entry["path"])
    names = {escape(block) for block in memory.blocks}
    check(set(os.listdir(folder)) == names, "%s: blocks %s instead of %s",
          name, sorted(os.listdir(folder)), sorted(names))
    for block, content in memory.blocks.items():
        check(digest(os.path.join(folder, escape(block))) ==
              hashlib.sha256(content).hexdigest(),
              "%s: %s is not what the stream holds", name, block)
    for block, expected in entry["ram_sha256"].items():
        check(digest(os.path.join(folder, escape(block))) == expected,
              "%s: %s is not what the source had", name, block)
    if entry["range"] and memory.counts and "ignore" not in name:
        block = [b for b in memory.blocks if b.endswith("pc.ram")][0]
        harness.check_pattern.check_file(os.path.join(folder, escape(block)))


def check_result(name, entry, result):
    check_loaded(result)
    memory = reference.read(entry["path"])
    for kind in ("normal", "zero", "xbzrle"):
        check(result.stat("ram.pages_" + kind) == memory.counts[kind],
              "%s: %d %s pages instead of %d", name,
              result.stat("ram.pages_" + kind), kind, memory.counts[kind])
    check(result.stat("bytes_total") == entry["size"],
          "%s: %d bytes instead of %d", name, result.stat("bytes_total"),
          entry["size"])
    check_ram(result.ram_dir, name, entry)
    if entry["vmdesc_offset"] and name != "none-dirty-bitmaps":
        check_decoded(result)


def receive(folder, name, entry, uri, options=(), **kwargs):
    result = Receiver(folder, uri, *options, **kwargs).finish()
    try:
        check_result(name, entry, result)
    except AssertionError as error:
        raise AssertionError("%s: %s" % (name, error)) from error


def test_receive_files(folder):
    for name, entry in good_streams():
        for commit in ("atomic", "streaming"):
            receive(folder, name, entry, "file:" + entry["path"],
                    ["--commit", commit])


def test_receive_pipes(folder):
    for name, entry in good_streams():
        # The second cat is there for what goes back.
        receive(folder, name, entry,
                "exec:cat '%s'; exec cat >/dev/null" % entry["path"])


def test_receive_descriptors(folder):
    for name, entry in good_streams():
        with open(entry["path"], "rb") as stream:
            receive(folder, name, entry, "fd:%d" % stream.fileno(),
                    pass_fds=[stream.fileno()])


def test_refused(folder):
    """What is not supported yet is refused by name."""
    for name, entry in streams():
        if name in REFUSED:
            result = Receiver(folder, "file:" + entry["path"]).finish()
            check_failed(result)
            check(REFUSED[name].replace("_", "-").lower() in
                  result.stderr.replace("_", "-").lower(),
                  "%s is not named: %s", REFUSED[name], result.stderr)


def run(*arguments, stdin=None):
    """Run vmload; returns (exit status, stdout, stderr)."""
    done = subprocess.run([harness.vmload_binary(), *arguments], stdin=stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=harness.TIMEOUT, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_check(folder):
    """Good streams have no problems; a cut one has."""
    for name, entry in good_streams():
        code, out, err = run("check", entry["path"])
        check(code == 0, "%s: %d, %s%s", name, code, out, err)
        with open(entry["path"], "rb") as stream:
            data = stream.read()
        cut = os.path.join(folder, name)
        with open(cut, "wb") as stream:
            stream.write(data[:len(data) * 2 // 3])
        # The vmdescription may end early without harm.
        if not entry["vmdesc_offset"] or \
                entry["vmdesc_offset"] > len(data) * 2 // 3:
            code, out, err = run("check", cut)
            check(code == 1, "%s, cut: %d, %s%s", name, code, out, err)
            check(out + err, "%s, cut: no problem named", name)


def test_ram(folder):
    for name, entry in good_streams():
        out = os.path.join(folder, name)
        code, _, err = run("ram", entry["path"], "--out", out)
        check(code == 0, "%s: %d, %s", name, code, err)
        check_ram(out, name, entry)


def test_inspect(folder):
    """Text and JSON, from the file and from a pipe."""
    for name, entry in good_streams():
        code, out, err = run("inspect", entry["path"])
        check(code == 0 and out, "%s: %d, %s", name, code, err)
        code, from_file, err = run("inspect", "--json", entry["path"])
        check(code == 0, "%s: %d, %s", name, code, err)
        json.loads(from_file)
        cat = subprocess.Popen(["cat", entry["path"]],
                               stdout=subprocess.PIPE)
        code, from_pipe, err = run("inspect", "--json", "-", stdin=cat.stdout)
        cat.stdout.close()
        cat.wait()
        check(code == 0, "%s from a pipe: %d, %s", name, code, err)
        json.loads(from_pipe)


def test_dump(folder):
    """Every device by itself."""
    for name, entry in good_streams():
        if not entry["vmdesc_offset"]:
            continue
        code, out, err = run("dump", entry["path"])
        check(code == 0, "%s: %d, %s", name, code, err)
        devices = json.loads(out)
        check(len(devices) >= 2, "%s: %d devices", name, len(devices))
        device = devices[-1]["name"]
        code, out, err = run("dump", entry["path"], "--device", device)
        check(code == 0 and device in out, "%s %s: %d, %s", name, device,
              code, err)
        code, out, err = run("dump", entry["path"], "--device", "no-such")
        check(code == 1, "%s: a device that is not there: %d", name, code)


# Multifd and mapped-ram ---------------------------------------------------------

def recorded_channels(kind):
    folder = os.path.join(STREAMS, "channels")
    with open(os.path.join(folder, "index.json")) as index:
        for name, entry in json.load(index).items():
            if name.startswith(kind):
                parts = {suffix: os.path.join(folder, name + "." + suffix)
                         for suffix in entry["parts"]}
                yield name, entry, parts


def check_blocks(name, entry, result):
    for block, expected in entry["ram_sha256"].items():
        check(digest(result.ram(block)) == expected,
              "%s: %s is not what the source had", name, block)


# A channel's handshake and its first SYNC.
HANDSHAKE = 64
PACKET = 1344  # without data
FIRST = HANDSHAKE + PACKET


def send_channel(sock, data):
    """It may be closed before all is sent."""
    with sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            # Until the other side is done with it.
            sock.recv(1)
        except OSError:
            pass


def send_channels(path, streams):
    """All connect, in this order, and multifd channels say their first SYNC:
    no source comes to a barrier before that."""
    threads = []
    rest = []
    for stream in streams:
        with open(stream, "rb") as source:
            data = source.read()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        first = 0 if data.startswith(b"QEVM") else FIRST
        sock.sendall(data[:first])
        rest.append((sock, data[first:]))
    for sock, data in rest:
        threads.append(threading.Thread(target=send_channel,
                                        args=(sock, data), daemon=True))
        threads[-1].start()
    return threads


def test_multifd(folder):
    """Main first, last and in between; channels told and found."""
    for number, (name, entry, parts) in enumerate(
            recorded_channels("multifd")):
        order = [parts["main"], parts["multifd0"], parts["multifd1"]]
        order = order[number % 3:] + order[:number % 3]
        for option in ("2", "auto"):
            uri = "unix:%s/%s-%s" % (folder, name, option)
            receiver = Receiver(folder, uri, "--channels", option)
            threads = send_channels(uri[5:], order)
            result = receiver.finish()
            for thread in threads:
                thread.join(harness.TIMEOUT)
            check_loaded(result)
            check_blocks(name, entry, result)
            check(result.stat("multifd.channels") == 2,
                  "%s: %d channels", name, result.stat("multifd.channels"))
            sent = sum(entry["parts"][part] for part in ("multifd0",
                                                         "multifd1"))
            # Handshakes are not counted. Old sources may leave an empty
            # packet behind the last barrier, where nobody waits for it.
            unread = sent - 2 * HANDSHAKE - result.stat("multifd.bytes")
            check(0 <= unread <= 2 * PACKET, "%s: %d bytes of %d", name,
                  result.stat("multifd.bytes"), sent)


def test_multifd_cut(folder):
    """A channel that ends in a packet fails the load."""
    for name, _, parts in recorded_channels("multifd"):
        cut = os.path.join(folder, name)
        with open(parts["multifd0"], "rb") as stream:
            data = stream.read()
        with open(cut, "wb") as stream:
            # Not at its end: behind the last barrier nobody waits for it.
            stream.write(data[:len(data) // 2])
        uri = "unix:%s/%s-cut" % (folder, name)
        receiver = Receiver(folder, uri, "--channels", "2",
                            "--stall-timeout", "5")
        threads = send_channels(uri[5:], [parts["main"], cut,
                                          parts["multifd1"]])
        check_failed(receiver.finish())
        for thread in threads:
            thread.join(harness.TIMEOUT)


def test_mapped(folder):
    for name, entry, parts in recorded_channels("mapped"):
        path = os.path.join(folder, name)
        with gzip.open(parts["mapped.gz"]) as packed:
            with open(path, "wb") as stream:
                stream.write(packed.read())
        for options in ([], ["--threads", "1"], ["--threads", "3"]):
            result = Receiver(folder, "file:" + path, *options).finish()
            check_loaded(result)
            check_blocks(name, entry, result)
            check_decoded(result)
        code, out, _ = run("inspect", path)
        check(code == 0 and "mapped-ram v1" in out, "%s: %s", name, out)


def test_dirty_bitmaps(_):
    """inspect names them."""
    entry = dict(streams())["none-dirty-bitmaps"]
    code, out, err = run("inspect", "--json", entry["path"])
    check(code == 0, "%d: %s", code, err)
    found = {item["name"]: item for item in json.loads(out)["dirty_bitmaps"]}
    check(set(found) == {"bm0", "bm1"}, "bitmaps: %s", found)
    check(found["bm0"]["node"] == "drv0" and
          found["bm0"]["granularity"] == 65536 and
          found["bm0"]["bits_set"] == 2, "bm0: %s", found["bm0"])
    check(found["bm1"]["granularity"] == 32768 and
          not found["bm1"]["enabled"] and found["bm1"]["bits_set"] == 0,
          "bm1: %s", found["bm1"])
    code, out, _ = run("inspect", entry["path"])
    check(code == 0 and "bm0" in out and "drv0" in out, "no names: %s", out)


if __name__ == "__main__":
    sys.exit(harness.main(globals(), qemu=False))
