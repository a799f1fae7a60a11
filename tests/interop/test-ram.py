#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Guest memory: dirtied while it migrates, XBZRLE, several blocks, sizes.
"""

import os
import sys

import harness
from harness import (Guest, Qemu, Receiver, check, check_decoded,
                     check_loaded, wait_until)


ATTEMPTS = 6


class Converged(Exception):
    """The source was done before it had iterated enough."""


def hold(qemu, condition):
    """Let the source iterate until CONDITION(info), then let it finish."""
    def reached():
        info = qemu.info()
        if info["status"] in ("device", "completed"):
            raise Converged()
        check(info["status"] in ("setup", "active"), "source is %s: %s",
              info["status"], info.get("error-desc", qemu.log()))
        return info["status"] == "active" and condition(info)
    wait_until("source has iterated enough", reached)
    qemu.parameters(max_bandwidth=0, downtime_limit=5000)
    return qemu.wait_migration()


def iterate_once(folder, condition, capabilities, end, memory, bandwidth):
    guest = Guest(folder, end=end)
    path = "unix:%s/socket" % folder
    with Qemu(folder, memory=memory, boot="rom", guest=guest) as qemu:
        qemu.wait_sweeps(2)
        qemu.capabilities(**capabilities)
        qemu.parameters(max_bandwidth=bandwidth, downtime_limit=1)
        receiver = Receiver(folder, path)
        qemu.migrate(path)
        try:
            info = hold(qemu, condition)
        except Converged:
            receiver.finish()
            raise
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)
        return info, result


def iterate(folder, condition, capabilities, end=0x900000, memory=16,
            bandwidth=30 << 20):
    """A guest that gets no processor time dirties nothing: try again."""
    for attempt in range(ATTEMPTS):
        attempt_folder = os.path.join(folder, str(attempt))
        os.mkdir(attempt_folder)
        try:
            return iterate_once(attempt_folder, condition, capabilities, end,
                                memory, bandwidth >> attempt)
        except Converged:
            continue
    raise AssertionError("the source converged %d times" % ATTEMPTS)


def test_dirtying_guest(folder):
    """Many rounds over memory that changes all the time."""
    info, result = iterate(
        folder, lambda info: info["ram"]["dirty-sync-count"] >= 8,
        dict(return_path=True))
    sent = info["ram"]["normal"]
    check(result.stat("ram.pages_normal") == sent,
          "%d normal pages, source sent %d",
          result.stat("ram.pages_normal"), sent)
    check(result.stat("ram.pages_zero") == info["ram"]["duplicate"],
          "%d zero pages, source sent %d", result.stat("ram.pages_zero"),
          info["ram"]["duplicate"])
    check(result.stat("ram.pages_xbzrle") == 0, "XBZRLE pages")


def xbzrle(folder, return_path):
    def enough(info):
        # "pages" counts those, too, whose delta was too long to be sent.
        cache = info["xbzrle-cache"]
        return cache["pages"] - cache["overflow"] > 1500 and cache["overflow"]

    info, result = iterate(
        folder, enough, dict(xbzrle=True, return_path=return_path))
    received = result.stat("ram.pages_xbzrle")
    cache = info["xbzrle-cache"]
    check(1000 < received <= cache["pages"] - cache["overflow"],
          "%d XBZRLE pages, the source says %s", received, cache)


def test_xbzrle(folder):
    xbzrle(folder, False)


def test_xbzrle_return_path(folder):
    xbzrle(folder, True)


def test_compressed_pages(folder):
    """Capability compress, of sources up to QEMU 9.0."""
    try:
        _, result = iterate(
            folder, lambda info: info["ram"]["dirty-sync-count"] >= 4,
            dict(compress=True, return_path=True))
    except harness.QmpError as error:
        raise harness.Skip(str(error)) from error
    check(result.stat("ram.pages_normal") > 0, "no pages")


def test_zero_after_normal(folder):
    """Pages that were sent with content become zero, and back (kind 5)."""
    _, result = iterate(
        folder, lambda info: info["ram"]["dirty-sync-count"] >= 20,
        dict(return_path=True), end=0x200000, memory=4,
        bandwidth=2 << 20)
    check(result.stat("ram.pages_zero") > 0, "no zero pages")


def test_several_blocks(folder):
    """Firmware, tables, video memory and a second backend."""
    guest = Guest(folder, end=0x800000)
    uri = "unix:%s/socket" % folder
    extra = os.path.join(folder, "extra.ram")
    with Qemu(folder, memory=16, boot="disk", guest=guest, args=[
            "-device", "VGA", "-device", "ramfb", "-object",
            "memory-backend-file,id=extra,size=4M,share=on,mem-path=" + extra,
            "-device", "ivshmem-plain,memdev=extra,master=on"]) as qemu:
        qemu.wait_sweeps(2)
        with open(extra, "r+b") as shared:
            shared.write(os.urandom(1 << 20))
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        second = result.ram("0000:00:03.0/extra")
        check(harness.same_files(extra, second) is None,
              "second backend differs: %s", os.listdir(result.ram_dir))
        bios = os.path.join(folder, "bios")
        length = os.path.getsize(result.ram("pc.bios"))
        qemu.pmemsave((1 << 32) - length, length, bios)
        check(harness.same_files(bios, result.ram("pc.bios")) is None,
              "firmware differs")
        names = sorted(os.listdir(result.ram_dir))
        for name in ("0000:00:02.0%2Fvga.vram", "%2From%40etc%2Facpi%2Ftables",
                     "pc.rom"):
            check(name in names, "no %s among %s", name, names)


def test_sparse_files(folder):
    """Zero pages take no room in the files."""
    guest = Guest(folder, end=0x200000)
    uri = "unix:%s/socket" % folder
    with Qemu(folder, memory=256, boot="rom", guest=guest) as qemu:
        qemu.wait_sweeps(2)
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        used = os.stat(result.ram()).st_blocks * 512
        check(used < 8 << 20, "256 MiB of mostly zeros take %d bytes", used)


def test_background_snapshot(folder):
    """The guest goes on while its memory is sent; there is no RAM END."""
    guest = Guest(folder, end=0x800000)
    uri = "unix:%s/socket" % folder
    with Qemu(folder, memory=16, boot="rom", guest=guest,
              shared=False) as qemu:
        qemu.wait_sweeps(2)
        try:
            qemu.capabilities(background_snapshot=True)
        except harness.QmpError as error:
            raise harness.Skip(str(error)) from error
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, pattern=True)
        check_decoded(result)
        check(qemu.status() == "running", "source is %s", qemu.status())
        qemu.wait_sweeps(2)


def test_paused_guest(folder):
    """A guest that does not run, and one that never ran."""
    guest = Guest(folder, end=0x400000)
    uri = "unix:%s/socket" % folder
    with Qemu(folder, memory=8, boot="rom", guest=guest) as qemu:
        qemu.wait_sweeps(3)
        qemu.cmd("stop")
        qemu.capabilities(return_path=True)
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        qemu.wait_migration()
        check_loaded(receiver.finish(), qemu, pattern=True)
    uri += "2"
    with Qemu(folder, memory=8, boot="rom", guest=guest, name="new",
              paused=True) as qemu:
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        qemu.wait_migration()
        check_loaded(receiver.finish(), qemu)


def test_no_memory_at_all(folder):
    """-M none: the RAM section is there and empty."""
    uri = "unix:%s/socket" % folder
    with Qemu(folder, machine="none", memory=0, paused=True) as qemu:
        qemu.capabilities(return_path=True)
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu)
        check(os.listdir(result.ram_dir) == [], "blocks out of nothing: %s",
              os.listdir(result.ram_dir))


def test_ignore_shared(folder):
    """Memory that both sides share is listed and not sent."""
    guest = Guest(folder, end=0x400000)
    path = "unix:%s/socket" % folder
    with Qemu(folder, memory=16, boot="rom", guest=guest) as qemu:
        qemu.wait_sweeps(2)
        qemu.capabilities(x_ignore_shared=True)
        receiver = Receiver(folder, path)
        qemu.migrate(path)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result)
        check_decoded(result)
        length = os.path.getsize(qemu.ram)
        check(result.stat("ram.bytes_expected") > length,
              "pc.ram is not in the list")
        pages = result.stat("ram.pages_normal") + \
            result.stat("ram.pages_zero")
        check(0 < pages * 4096 <=
              result.stat("ram.bytes_expected") - length,
              "%d pages came", pages)
        with open(result.ram(), "rb") as memory:
            check(memory.read() == bytes(length), "pc.ram came")


def test_dirty_bitmaps(folder):
    """Of a disk, beside a guest that runs; with RAM over multifd, too."""
    for channels in ("none", "2"):
        guest = Guest(folder, end=0x400000)
        path = "unix:%s/socket-%s" % (folder, channels)
        disk = ["-blockdev", "driver=null-co,node-name=drv0,size=67108864"]
        with Qemu(folder, memory=16, boot="rom", guest=guest,
                  args=disk) as qemu:
            qemu.wait_sweeps(2)
            qemu.qmp.command("block-dirty-bitmap-add",
                             {"node": "drv0", "name": "bm0"})
            qemu.hmp('qemu-io drv0 "write 1M 128k"')
            qemu.capabilities(dirty_bitmaps=True, multifd=channels != "none")
            options = [] if channels == "none" else ["--channels", channels]
            receiver = Receiver(folder, path, *options)
            qemu.migrate(path)
            qemu.wait_migration()
            result = receiver.finish()
            check_loaded(result, qemu, pattern=True)
            sections = [d for d in result.devices
                        if d["name"] == "dirty-bitmap"]
            check(sections, "no bitmaps came")


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
