#!/usr/bin/env python3
"""RAM over several connections, with a guest that dirties its memory.

SPDX-License-Identifier: BSD-3-Clause
"""

import sys

import harness
from harness import (Guest, Qemu, Receiver, Skip, check, check_decoded,
                     check_failed, check_loaded, wait_until)


def prepare(qemu, channels, parameters):
    """Switch multifd on; skip what this QEMU does not have."""
    try:
        qemu.capabilities(multifd=True)
        qemu.parameters(multifd_channels=channels, **parameters)
    except harness.HarnessError as error:
        raise Skip("this QEMU has no such thing: %s" % error) from error


def iterate(qemu, rounds):
    """Let the source go over its memory several times, then finish."""
    def reached():
        info = qemu.info()
        if info["status"] in ("device", "completed"):
            return True         # a guest without processor time: no matter
        check(info["status"] in ("setup", "active"), "source is %s: %s",
              info["status"], info.get("error-desc", qemu.log()))
        return (info["status"] == "active" and
                info["ram"]["dirty-sync-count"] >= rounds)
    wait_until("source has iterated enough", reached)
    qemu.parameters(max_bandwidth=0, downtime_limit=5000)
    return qemu.wait_migration()


def migrate(folder, channels, option="auto", tcp=False, rounds=4,
            machine="pc", return_path=True, **parameters):
    guest = Guest(folder, end=0xc00000)
    uri = "unix:%s/socket" % folder
    if tcp:
        uri = "tcp:127.0.0.1:%d" % harness.free_port()
    with Qemu(folder, memory=32, boot="rom", guest=guest,
              machine=machine) as qemu:
        qemu.wait_sweeps(2)
        prepare(qemu, channels, parameters)
        qemu.capabilities(return_path=return_path)
        qemu.parameters(max_bandwidth=40 << 20, downtime_limit=1)
        receiver = Receiver(folder, uri, "--channels", option)
        qemu.migrate(uri)
        info = iterate(qemu, rounds)
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)
        check(result.stat("multifd.channels") == channels,
              "%d channels instead of %d", result.stat("multifd.channels"),
              channels)
        check(result.stat("multifd.bytes") > 1 << 20,
              "only %d bytes over multifd", result.stat("multifd.bytes"))
        check(info["ram"]["normal"] > 3000, "only %d pages",
              info["ram"]["normal"])
        return info, result


def test_one_channel(folder):
    migrate(folder, 1, option="1")


def test_two_channels(folder):
    migrate(folder, 2, option="2")


def test_two_channels_auto(folder):
    migrate(folder, 2)


def test_four_channels_tcp(folder):
    migrate(folder, 4, option="4", tcp=True)


def test_four_channels_tcp_auto(folder):
    migrate(folder, 4, tcp=True)


def test_no_return_path(folder):
    migrate(folder, 2, option="2", return_path=False)


def test_sixteen_channels(folder):
    migrate(folder, 16, option="16")


def test_zlib_one(folder):
    migrate(folder, 1, option="1", multifd_compression="zlib")


def test_zlib_two(folder):
    migrate(folder, 2, multifd_compression="zlib")


def test_zlib_four_tcp(folder):
    migrate(folder, 4, option="4", tcp=True, multifd_compression="zlib",
            multifd_zlib_level=9)


def test_zstd_one(folder):
    migrate(folder, 1, option="1", multifd_compression="zstd")


def test_zstd_two(folder):
    migrate(folder, 2, multifd_compression="zstd")


def test_zstd_four_tcp(folder):
    migrate(folder, 4, option="4", tcp=True, multifd_compression="zstd",
            multifd_zstd_level=20)


def test_zero_pages_multifd(folder):
    migrate(folder, 2, zero_page_detection="multifd")


def test_zero_pages_multifd_zstd(folder):
    migrate(folder, 2, zero_page_detection="multifd",
            multifd_compression="zstd")


def test_zero_pages_legacy(folder):
    migrate(folder, 2, zero_page_detection="legacy")


def test_zero_pages_none(folder):
    migrate(folder, 2, zero_page_detection="none")


def test_old_machine(folder):
    """Up to 8.0 channels wait for each other at each section's end."""
    migrate(folder, 2, machine="pc-i440fx-7.2")


def test_plain_source(folder):
    """As many channels as come may be none."""
    guest = Guest(folder, end=0x400000)
    uri = "unix:%s/socket" % folder
    with Qemu(folder, memory=16, boot="rom", guest=guest) as qemu:
        qemu.wait_sweeps(2)
        receiver = Receiver(folder, uri, "--channels", "auto")
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        check(result.stat("multifd.channels") == 0, "channels from nowhere")


def test_mapped_ram(folder):
    """A file has no channels, though its source had multifd."""
    guest = Guest(folder, end=0x400000)
    path = "%s/file" % folder
    with Qemu(folder, memory=16, boot="rom", guest=guest) as qemu:
        qemu.wait_sweeps(2)
        try:
            qemu.capabilities(mapped_ram=True)
        except harness.HarnessError as error:
            raise Skip("no mapped-ram: %s" % error) from error
        prepare(qemu, 2, {})
        qemu.migrate("file:" + path)
        qemu.wait_migration()
        for option in ("2", "auto"):
            result = Receiver(folder, "file:" + path, "--channels",
                              option).finish()
            check_loaded(result, qemu, pattern=True)


def refuse(folder, channels, options, words):
    uri = "unix:%s/socket" % folder
    with Qemu(folder, memory=8, paused=True) as qemu:
        prepare(qemu, channels, {})
        receiver = Receiver(folder, uri, "--stall-timeout", "2", *options)
        qemu.migrate(uri)
        result = receiver.finish()
        check_failed(result)
        check(words in result.stderr, "expected '%s' in: %s", words,
              result.stderr.strip())


def test_not_enabled(folder):
    refuse(folder, 2, [], "multifd is not enabled")


def test_too_few(folder):
    refuse(folder, 2, ["--channels", "3"], "missing: 2")


def test_too_many(folder):
    refuse(folder, 3, ["--channels", "2"], "expected 0 to 1, found 2")


def test_source_dies(folder):
    """In the middle of memory, with all its channels."""
    guest = Guest(folder, end=0xc00000)
    uri = "unix:%s/socket" % folder
    with Qemu(folder, memory=32, boot="rom", guest=guest) as qemu:
        qemu.wait_sweeps(2)
        prepare(qemu, 2, {})
        qemu.parameters(max_bandwidth=4 << 20, downtime_limit=1)
        receiver = Receiver(folder, uri, "--channels", "2")
        qemu.migrate(uri)
        wait_until("some memory is sent",
                   lambda: qemu.info().get("ram", {}).get("normal", 0) > 200)
        qemu.kill()
        check_failed(receiver.finish())


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
