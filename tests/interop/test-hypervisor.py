#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The example hypervisor accepts a running guest of a real QEMU."""

import os
import re
import signal
import subprocess
import sys

import harness
from harness import Guest, Qemu, check, unix_listens, wait_until

HYPERVISOR = os.environ.get("VMLOAD_HYPERVISOR", "hypervisor")


def start(folder):
    path = os.path.join(folder, "host")
    child = harness.spawn([HYPERVISOR, "unix:" + path],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    wait_until("the hypervisor listens", lambda: unix_listens(path))
    return child, "unix:" + path


def source(folder):
    """Of 24 MiB, rewriting some of them for ever."""
    guest = Guest(folder, 0x100000, 0x900000)
    return Qemu(folder, memory=24, boot="rom", guest=guest)


def test_live_guest(folder):
    child, uri = start(folder)
    with source(folder) as qemu:
        qemu.wait_sweeps()
        qemu.migrate(uri)
        qemu.wait_migration()
    out, err = child.communicate(timeout=harness.TIMEOUT)
    check(child.returncode == 0, "exit %d: %s", child.returncode, err)
    check("the guest runs here" in out, "%s", out)
    check("with the lock held: 0 times" in out, "%s", out)
    ticks = int(re.search(r"(\d+) ticks", out).group(1))
    check(ticks > 0, "the main loop stood still: %s", out)


def test_interrupted(folder):
    """The source goes back to running its guest."""
    child, uri = start(folder)
    with source(folder) as qemu:
        qemu.wait_sweeps()
        qemu.parameters(max_bandwidth=1 << 20)
        qemu.migrate(uri)
        wait_until("the migration is active",
                   lambda: qemu.info().get("status") == "active")
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=harness.TIMEOUT)
        check(child.returncode == 1 and "cancelled" in err, "exit %d: %s",
              child.returncode, err)
        qemu.wait_migration(("failed",))
        wait_until("the guest runs", lambda: qemu.status() == "running")


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
