#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The recorded streams of tests/streams, as files and through pipes.

Needs no QEMU: what must come out is in index.json.
"""

import hashlib
import json
import os
import subprocess
import sys

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
    if entry["vmdesc_offset"]:
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


if __name__ == "__main__":
    sys.exit(harness.main(globals(), qemu=False))
