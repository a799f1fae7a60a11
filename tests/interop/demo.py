#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Boots a guest in a real QEMU and migrates it, running, into vmload.

Started by scripts/demo; shows what is going on and ends with a summary.
"""

import argparse
import os
import sys
import time
import urllib.parse

import harness
from harness import Guest, Qemu, Receiver, check, check_pattern

MIB = 1 << 20


def say(text):
    print(text, flush=True)


def migrate(folder, machine, seconds):
    """Returns (source, its last query-migrate, vmload's result, time)."""
    guest = Guest(folder)
    uri = "unix:%s/migrate.sock" % folder
    say("Booting a guest on %s that rewrites 35 of its 64 MiB for ever ..." %
        machine)
    qemu = Qemu(folder, machine=machine, memory=64, boot="disk", guest=guest)
    qemu.wait_sweeps(5)
    say("It runs; its serial port says: %s" % serial(qemu))
    qemu.capabilities(return_path=True, xbzrle=True)
    # Slow at first, so that there is something to see and the guest keeps
    # dirtying what has been sent; then at full speed.
    qemu.parameters(max_bandwidth=40 * MIB, downtime_limit=300)
    receiver = Receiver(folder, uri, "--progress", visible=True)
    say("Migrating it over %s into vmload ..." % uri)
    started = time.monotonic()
    qemu.migrate(uri)
    lifted = False
    while receiver.child.poll() is None:
        info = qemu.info()
        if info["status"] in harness.FINAL:
            break
        if not lifted and time.monotonic() - started > seconds:
            qemu.parameters(max_bandwidth=0)
            lifted = True
        time.sleep(0.05)
    result = receiver.finish()
    check(result.code == 0, "vmload ended with %d", result.code)
    info = qemu.wait_migration()
    return qemu, info, result, time.monotonic() - started


def serial(qemu):
    with open(qemu.serial) as stream:
        return "..." + stream.read()[-16:]


def human(count):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 10240 or unit == "GiB":
            return "%d %s" % (count, unit) if unit == "bytes" else \
                "%.1f %s" % (count, unit)
        count /= 1024
    return ""


def line(name, text):
    say("  %-14s %s" % (name, text))


def summary(qemu, info, result, elapsed):
    version = "%(major)d.%(minor)d.%(micro)d" % qemu.version["qemu"]
    total = result.stat("bytes_total")
    say("")
    say("Summary")
    line("source", "QEMU %s, %s, now %s" % (
        version, info["status"], qemu.status()))
    line("time", "total %d ms, setup %d ms, downtime %d ms (the source's "
         "figures)" % (info["total-time"], info["setup-time"],
                       info["downtime"]))
    line("stream", "%s in %.2f s, %.1f MB/s; %d rounds over the memory" % (
        human(total), elapsed, total / elapsed / 1e6,
        info["ram"]["dirty-sync-count"]))
    line("pages", "%d normal, %d zero, %d XBZRLE" % tuple(
        result.stat("ram.pages_" + kind)
        for kind in ("normal", "zero", "xbzrle")))
    say("  RAM blocks")
    for name in sorted(os.listdir(result.ram_dir)):
        status = os.stat(os.path.join(result.ram_dir, name))
        line("", "%-32s %10s, %s on disk" % (
            urllib.parse.unquote(name), human(status.st_size),
            human(status.st_blocks * 512)))
    say("  devices        %d, the largest:" % len(result.devices))
    ledger = [entry for entry in result.stat("devices")
              if entry["name"] != "ram"]
    for entry in sorted(ledger, key=lambda e: -e["bytes"])[:5]:
        line("", "%-32s %10s, lock held %.1f us" % (
            "%(name)s/%(instance_id)d" % entry, human(entry["bytes"]),
            entry["lock_held_ns"] / 1e3))
    line("big lock", "held %.1f us in total, %.1f us at most; waited for "
         "bytes with it: %d ns" % (
             result.stat("lock.held_total_ns") / 1e3,
             result.stat("lock.held_max_ns") / 1e3,
             result.stat("lock.io_wait_ns")))


def verify(qemu, result):
    """Byte for byte, and by what the guest meant to write."""
    at = harness.same_files(qemu.ram, result.ram())
    check(at is None, "RAM differs from the source's at 0x%x", at or 0)
    pattern = check_pattern.check_file(result.ram())
    line("guest", "was in sweep %d, at 0x%x; every word before is of that "
         "sweep, every word behind of the one before" % (
             pattern["sweep"], pattern["break_at"]))
    harness.check_no_io_wait(result)
    say("")
    say("RAM verified: identical")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machine", default="q35", help="QEMU's machine")
    parser.add_argument("--seconds", type=float, default=4,
                        help="how long to hold the source back (default 4)")
    args = parser.parse_args()
    if not harness.qemu_binary():
        print("no QEMU: install qemu-system-x86 or set VMLOAD_QEMU",
              file=sys.stderr)
        return 1
    try:
        with harness.scratch_dir("vmload-demo") as folder:
            qemu, info, result, elapsed = migrate(folder, args.machine,
                                                  args.seconds)
            summary(qemu, info, result, elapsed)
            verify(qemu, result)
    except KeyboardInterrupt:
        return 130
    except (AssertionError, harness.HarnessError,
            check_pattern.PatternError, OSError) as error:
        print("demo failed: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
