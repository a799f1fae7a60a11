#!/usr/bin/env python3
"""mapped-ram: files of QEMU 9.0 and later, and files that we write.

The QEMU that VMLOAD_QEMU names, else the one that scripts/fetch-qemu has
fetched before; skipped where neither knows the capability.

SPDX-License-Identifier: BSD-3-Clause
"""

import os
import subprocess
import sys

import harness
from harness import (Guest, Qemu, Receiver, check, check_decoded,
                     check_failed, check_loaded, same_files, wait_until)

FETCHED = os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
    "libvmload", "qemu-backports", "qemu-system-x86_64")
MEMORY = 16
END = 0x900000


def knows_mapped_ram():
    """Does the QEMU at hand have it?"""
    with harness.scratch_dir("probe") as folder:
        with Qemu(folder, machine="none", memory=0, paused=True) as qemu:
            try:
                qemu.capabilities(mapped_ram=True)
            except harness.QmpError:
                return False
    return True


def vmload(*arguments, code=0, stdin=None):
    result = subprocess.run([harness.vmload_binary(), *arguments],
                            stdin=stdin or subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            timeout=harness.TIMEOUT, check=False)
    check(result.returncode == code, "vmload %s ended with %d: %s",
          arguments[0], result.returncode, result.stderr.decode())
    return result.stdout.decode()


def save(folder, path, offset=0, stop=False, mapped=True, **more):
    """A guest that sweeps, into a file; its memory is left in the folder."""
    guest = Guest(folder, end=END)
    with Qemu(folder, memory=MEMORY, boot="rom", guest=guest) as qemu:
        qemu.wait_sweeps(2)
        qemu.capabilities(mapped_ram=mapped, **more)
        if more.get("multifd"):
            qemu.parameters(multifd_channels=3)
        if stop:
            qemu.cmd("stop")
        else:
            qemu.parameters(max_bandwidth=30 << 20, downtime_limit=1)
        qemu.migrate("file:%s%s" % (path, ",offset=%d" % offset if offset
                                    else ""))
        if not stop:
            # Pages change after they were written.
            wait_until("rounds", lambda: qemu.info().get("ram", {}).get(
                "dirty-sync-count", 0) >= 4)
            qemu.parameters(max_bandwidth=0, downtime_limit=5000)
        qemu.wait_migration()
        return qemu.ram


def receive(folder, path, ram, *options, uri=""):
    receiver = Receiver(folder, "file:" + path + uri, *options)
    result = receiver.finish()
    check_loaded(result, pattern=True)
    check_decoded(result)
    at = same_files(ram, result.ram())
    check(at is None, "RAM differs from the source's at 0x%x", at or 0)
    return result


def restore(folder, path, ram, **capabilities):
    """QEMU loads it, has the same memory, and the guest goes on."""
    guest = Guest(folder, end=END)
    with Qemu(folder, memory=MEMORY, boot="rom", guest=guest, name="dest",
              incoming="defer", paused=True) as qemu:
        qemu.capabilities(**capabilities)
        qemu.cmd("migrate-incoming", uri="file:" + path)
        qemu.wait_migration()
        at = same_files(ram, qemu.ram)
        check(at is None, "QEMU's RAM differs at 0x%x", at or 0)
        qemu.cmd("cont")
        qemu.wait_sweeps(2)


def test_running(folder):
    path = os.path.join(folder, "save")
    ram = save(folder, path)
    result = receive(folder, path, ram)
    pages = result.stat("ram.pages_normal") + result.stat("ram.pages_zero")
    check(pages * 4096 == result.stat("ram.bytes_expected"),
          "%d pages for %d bytes", pages, result.stat("ram.bytes_expected"))
    check("no problems" in vmload("check", path), "problems")


def test_stopped(folder):
    path = os.path.join(folder, "save")
    receive(folder, path, save(folder, path, stop=True))


def test_multifd(folder):
    path = os.path.join(folder, "save")
    receive(folder, path, save(folder, path, multifd=True))


def test_offset(folder):
    path = os.path.join(folder, "save")
    ram = save(folder, path, offset=0x1234)
    receive(folder, path, ram, uri=",offset=0x1234")


def test_threads(folder):
    """Into memory, which cannot be compared: only the counters can."""
    path = os.path.join(folder, "save")
    ram = save(folder, path)
    counted = receive(folder, path, ram).stats["ram"]
    for options in ([], ["--threads", "1"], ["--threads", "5"],
                    ["--direct-io"], ["--direct-io", "--threads", "1"]):
        stats = os.path.join(folder, "stats")
        vmload("receive", "--quiet", "--stats", stats, *options,
               "file:" + path)
        found = harness.read_json(stats)["ram"]
        check(found == counted, "%s: %s instead of %s", options, found,
              counted)


def test_pipe_is_refused(folder):
    path = os.path.join(folder, "save")
    save(folder, path)
    result = Receiver(folder, "exec:cat " + path).finish()
    check_failed(result)
    check("mapped-ram" in result.stderr and "file" in result.stderr,
          "not named: %s", result.stderr)


def test_cut(folder):
    """QEMU's own file, cut in a page, fails with the page's name."""
    path = os.path.join(folder, "save")
    save(folder, path)
    os.truncate(path, 0x123456)
    result = Receiver(folder, "file:" + path).finish()
    check_failed(result)
    check("RAM block 'pc.ram' page 0x" in result.stderr and
          "file offset 0x" in result.stderr, "no place: %s", result.stderr)
    check("problem" in vmload("check", path, code=1), "no problem")


def test_convert_to_mapped(folder):
    path = os.path.join(folder, "save")
    mapped = os.path.join(folder, "mapped")
    ram = save(folder, path, mapped=False)
    vmload("convert", path, mapped)
    check("no problems" in vmload("check", mapped), "problems")
    receive(folder, mapped, ram)
    restore(folder, mapped, ram, mapped_ram=True)
    restore(folder, mapped, ram, mapped_ram=True, multifd=True)
    with open(path, "rb") as stream:
        vmload("convert", "-", mapped + "2", stdin=stream)
    check(same_files(mapped, mapped + "2") is None, "a pipe makes a difference")


def test_convert_to_plain(folder):
    path = os.path.join(folder, "save")
    plain = os.path.join(folder, "plain")
    ram = save(folder, path)
    vmload("convert", "--plain", path, plain)
    check("no problems" in vmload("check", plain), "problems")
    receive(folder, plain, ram)
    restore(folder, plain, ram)
    # And there again: what is in RAM does not change on the way.
    vmload("convert", plain, path + "2")
    receive(folder, path + "2", ram)


if __name__ == "__main__":
    if "VMLOAD_QEMU" not in os.environ and os.access(FETCHED, os.X_OK):
        os.environ["VMLOAD_QEMU"] = FETCHED
    harness.require_qemu()
    if not knows_mapped_ram():
        print("this QEMU has no mapped-ram; see scripts/fetch-qemu")
        sys.exit(harness.SKIP)
    sys.exit(harness.main(globals()))
