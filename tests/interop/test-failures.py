#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What happens when one side goes away, or is not what it should be.
"""

import os
import random
import re
import select
import signal
import socket
import sys
import threading
import time

import harness
from harness import (Guest, Qemu, Receiver, check, check_cancelled,
                     check_decoded, check_failed, check_loaded, wait_until)

SLOW = 2 << 20                          # bytes per second: takes over 5 s
PROMPT = 10                             # seconds; far more than it takes
PONG = "0002000400000001"
SHUT_FAILED = "0001000400000001"


def source(folder, return_path=False, bandwidth=SLOW, name="source"):
    """A pc with a running guest and 15 MiB that do not compress away."""
    guest = Guest(folder, end=0x1000000)
    qemu = Qemu(folder, memory=24, boot="rom", guest=guest, name=name)
    qemu.wait_sweeps(2)
    qemu.capabilities(return_path=return_path)
    if bandwidth:
        qemu.parameters(max_bandwidth=bandwidth)
    return qemu


def wait_sent(qemu, amount):
    """Wait until the source has sent AMOUNT bytes and is still at it."""
    def sent():
        info = qemu.info()
        check(info["status"] in ("setup", "active"), "source is %s: %s",
              info["status"], info.get("error-desc"))
        return info.get("ram", {}).get("transferred", 0) >= amount
    wait_until("source has sent %d bytes" % amount, sent)


def wait_running_again(qemu):
    """The source has given up, and its guest goes on."""
    info = qemu.wait_migration(("failed", "cancelled"))
    wait_until("the source runs again", lambda: qemu.status() == "running",
               PROMPT)
    qemu.wait_sweeps(2)
    return info


# The source goes away -------------------------------------------------------

def killed_in_ram(folder, return_path, options=()):
    uri = "unix:%s/socket" % folder
    with source(folder, return_path) as qemu:
        receiver = Receiver(folder, uri, *options)
        qemu.migrate(uri)
        wait_sent(qemu, 1 << 20)
        qemu.kill()
        result = receiver.finish(PROMPT)
        check_failed(result)


def test_source_killed_in_ram(folder):
    killed_in_ram(folder, False)


def test_source_killed_in_ram_return_path(folder):
    killed_in_ram(folder, True)


def test_source_killed_in_ram_atomic(folder):
    killed_in_ram(folder, True, ["--commit", "atomic"])


def test_source_killed_over_tcp(folder):
    uri = "tcp:127.0.0.1:%d" % harness.free_port()
    with source(folder, True) as qemu:
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        wait_sent(qemu, 1 << 20)
        qemu.kill()
        check_failed(receiver.finish(PROMPT))


def test_source_cancels(folder):
    """migrate_cancel: looks like a crash, and the guest goes on."""
    uri = "unix:%s/socket" % folder
    with source(folder, True) as qemu:
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        wait_sent(qemu, 1 << 20)
        qemu.cmd("migrate_cancel")
        check_failed(receiver.finish(PROMPT))
        wait_running_again(qemu)


class Proxy(threading.Thread):
    """Forwards a migration, but keeps the last HOLD bytes until told.

    The hold is as long as the device state and the vmdescription, so that a
    live source can be made to die at any place inside of them.
    """

    def __init__(self, listen, connect, hold):
        super().__init__(daemon=True)
        self.hold = hold
        self.held = b""
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(listen)
        self.server.listen(1)
        self.connect_to = connect
        self.back = b""
        self.stop = False

    def run(self):
        self.source = self.server.accept()[0]
        self.target = socket.socket(socket.AF_UNIX)
        self.target.connect(self.connect_to)
        while not self.stop:
            ready = select.select([self.source, self.target], [], [], 0.05)[0]
            if self.source in ready:
                data = self.source.recv(1 << 20)
                if not data:
                    break
                self.held += data
                if len(self.held) > self.hold:
                    at = len(self.held) - self.hold
                    self.target.sendall(self.held[:at])
                    self.held = self.held[at:]
            if self.target in ready:
                data = self.target.recv(4096)
                if not data:
                    break
                self.back += data
                self.source.sendall(data)

    def finish(self, cut):
        """Send the held bytes up to offset CUT, then end.

        Collects what the receiver still has to say to its source.
        """
        self.stop = True
        self.join()
        self.target.settimeout(PROMPT)
        try:
            self.target.sendall(self.held[:cut])
            self.target.shutdown(socket.SHUT_WR)
            while True:
                data = self.target.recv(4096)
                if not data:
                    break
                self.back += data
        except (BrokenPipeError, ConnectionResetError):
            pass                        # it has hung up
        self.target.close()
        self.source.close()


def held_places(held):
    """Offsets in the end of a stream: device sections and vmdescription.

    None if the end has not come.
    """
    if not held.endswith(b"}"):
        return None
    sections = [match.start() for match in re.finditer(
        rb"\x04\0\0\0.[\x01-\x40][a-zA-Z0-9_:/.-]+\0\0\0", held, re.S)]
    for match in re.finditer(rb"\x06(....)\{\"", held, re.S):
        length = int.from_bytes(match.group(1), "big")
        if match.end() - 2 + length == len(held):
            return sections, match.start()
    return None


def killed_in_devices(folder, where, options=()):
    """WHERE: function of (sections, vmdescription) giving the cut."""
    entry = os.path.join(folder, "entry")
    uri = "unix:%s/socket" % folder
    with source(folder, True, bandwidth=0) as qemu:
        receiver = Receiver(folder, uri, *options)
        proxy = Proxy(entry, uri[5:], 300000)
        proxy.start()
        qemu.migrate("unix:" + entry)
        sections, vmdesc = wait_until("all bytes are there",
                                      lambda: held_places(proxy.held))
        check(len(sections) > 20, "only %d sections held", len(sections))
        qemu.kill()
        proxy.finish(where(sections, vmdesc))
        check(proxy.back.hex() == PONG + SHUT_FAILED,
              "the return path was %s", proxy.back.hex())
        result = receiver.finish(PROMPT)
        check_failed(result)
        return result


def test_source_killed_after_ram(folder):
    killed_in_devices(folder, lambda sections, vmdesc: sections[0])


def test_source_killed_in_first_device(folder):
    killed_in_devices(folder, lambda sections, vmdesc: sections[0] + 3)


def test_source_killed_inside_cpu(folder):
    killed_in_devices(folder, lambda sections, vmdesc: sections[2] + 1000)


def test_source_killed_between_devices(folder):
    killed_in_devices(folder, lambda sections, vmdesc: sections[10])


def test_source_killed_in_last_device(folder):
    killed_in_devices(folder, lambda sections, vmdesc: vmdesc - 20)


def test_source_killed_before_eof(folder):
    killed_in_devices(folder, lambda sections, vmdesc: vmdesc - 1)


def test_source_killed_in_devices_atomic(folder):
    killed_in_devices(folder, lambda sections, vmdesc: sections[-1] + 20,
                      ["--commit", "atomic"])


def test_source_killed_in_devices_streaming(folder):
    killed_in_devices(folder, lambda sections, vmdesc: sections[-1] + 20,
                      ["--commit", "streaming"])


def test_second_source_after_one_killed_in_devices(folder):
    """The first dies inside its devices; the same process takes the second."""
    entry = os.path.join(folder, "entry")
    second = os.path.join(folder, "second")
    uri = "unix:%s/socket" % folder
    os.mkdir(second)
    with source(folder, True, bandwidth=0) as qemu:
        receiver = Receiver(folder, uri, "--retry", "--commit", "atomic")
        proxy = Proxy(entry, uri[5:], 300000)
        proxy.start()
        qemu.migrate("unix:" + entry)
        sections, _ = wait_until("all bytes are there",
                                 lambda: held_places(proxy.held))
        qemu.kill()
        proxy.finish(sections[len(sections) // 2] + 3)
        check(proxy.back.hex() == PONG + SHUT_FAILED,
              "the return path was %s", proxy.back.hex())
    wait_until("the failure is told",
               lambda: "channel 'main'" in receiver.stderr(), PROMPT)
    check(receiver.child.poll() is None, "vmload has ended")
    check(os.listdir(receiver.ram_dir) == [], "RAM is left behind")
    with source(second, True, bandwidth=0) as qemu:
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        lines = result.stderr.splitlines()
        check(len(lines) == 1, "stderr is %r", result.stderr)
        result.stderr = ""
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)


# The receiver goes away -----------------------------------------------------

def cancelled(folder, return_path, signum=signal.SIGINT, uri=None):
    uri = uri or "unix:%s/socket" % folder
    with source(folder, return_path) as qemu:
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        wait_sent(qemu, 1 << 20)
        started = time.monotonic()
        receiver.interrupt(signum)
        result = receiver.finish(PROMPT)
        took = time.monotonic() - started
        check_cancelled(result)
        check(took < 2, "it took %.1f s to cancel", took)
        wait_running_again(qemu)
        retry(folder, qemu, result)


def retry(folder, qemu, result):
    """The same source migrates to a second receiver, as if nothing was."""
    uri = "unix:%s/again" % folder
    qemu.parameters(max_bandwidth=0)
    receiver = Receiver(folder, uri)
    qemu.migrate(uri)
    qemu.wait_migration()
    result = receiver.finish()
    check_loaded(result, qemu, pattern=True)
    check_decoded(result)


def test_receiver_interrupted(folder):
    cancelled(folder, False)


def test_receiver_interrupted_return_path(folder):
    cancelled(folder, True)


def test_receiver_terminated_return_path(folder):
    cancelled(folder, True, signal.SIGTERM)


def test_receiver_interrupted_tcp(folder):
    cancelled(folder, True, uri="tcp:127.0.0.1:%d" % harness.free_port())


def once_at_random(folder, qemu, channels, after):
    """A load at full speed, cancelled AFTER seconds. None: it was over."""
    uri = "unix:%s/socket" % folder
    qemu.capabilities(return_path=True, multifd=channels > 0)
    options = ["--channels", str(channels)] if channels else []
    receiver = Receiver(folder, uri, *options)
    started = time.monotonic()
    qemu.migrate(uri)
    if after is not None:
        time.sleep(after)
        receiver.interrupt()
        asked = time.monotonic()
    result = receiver.finish(PROMPT)
    ended = time.monotonic()
    if result.code == 0:
        # Before the interrupt: the source has let its guest go.
        qemu.wait_migration()
        qemu.cmd("cont")
        return ended - started, None
    check(after is not None, "the load failed: %s", result.stderr)
    check_cancelled(result)
    wait_running_again(qemu)
    return ended - started, ended - asked


def test_receiver_interrupted_at_random(folder):
    """VMLOAD_LIVE_CANCELS times, anywhere in a load at full speed."""
    count = int(os.environ.get("VMLOAD_LIVE_CANCELS", "6"))
    seed = int(os.environ.get("VMLOAD_SEED", time.time_ns() % 1000000))
    chance = random.Random(seed)
    took = []
    with source(folder, True, bandwidth=0) as qemu:
        qemu.parameters(multifd_channels=2)
        whole = [once_at_random(folder, qemu, channels, None)[0]
                 for channels in (0, 2)]
        for turn in range(count):
            which = turn % 2
            cancel = once_at_random(folder, qemu, 2 * which,
                                    chance.uniform(0, whole[which]))[1]
            took += [cancel] if cancel is not None else []
    print("seed %d: %d of %d cancelled, at most %.0f ms with the process" % (
        seed, len(took), count, 1000 * max(took, default=0)))


def test_receiver_cancelled_in_devices(folder):
    """The source has sent everything and waits for the answer."""
    entry = os.path.join(folder, "entry")
    uri = "unix:%s/socket" % folder
    with source(folder, True, bandwidth=0) as qemu:
        receiver = Receiver(folder, uri)
        proxy = Proxy(entry, uri[5:], 300000)
        proxy.start()
        qemu.migrate("unix:" + entry)
        wait_until("all bytes are there", lambda: held_places(proxy.held))
        receiver.interrupt()
        result = receiver.finish(PROMPT)
        check_cancelled(result)
        proxy.join(PROMPT)
        proxy.finish(0)
        wait_running_again(qemu)


def test_receiver_killed(folder):
    """SIGKILL at the receiver: the source goes on, too."""
    uri = "unix:%s/socket" % folder
    with source(folder, True) as qemu:
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        wait_sent(qemu, 1 << 20)
        receiver.interrupt(signal.SIGKILL)
        receiver.finish()
        wait_running_again(qemu)


def without_connection(folder, uri, signum):
    receiver = Receiver(folder, uri)
    time.sleep(0.2)
    started = time.monotonic()
    receiver.interrupt(signum)
    result = receiver.finish(PROMPT)
    check_cancelled(result)
    check(time.monotonic() - started < 2, "it took %.1f s",
          time.monotonic() - started)


def test_no_connection_interrupted(folder):
    without_connection(folder, "unix:%s/socket" % folder, signal.SIGINT)


def test_no_connection_terminated(folder):
    without_connection(folder, "tcp:127.0.0.1:%d" % harness.free_port(),
                       signal.SIGTERM)


def test_silent_pipe_interrupted(folder):
    ours, theirs = os.pipe()
    receiver = Receiver(folder, "fd:%d" % ours, pass_fds=[ours])
    os.close(ours)
    time.sleep(0.2)
    receiver.interrupt()
    result = receiver.finish(PROMPT)
    check_cancelled(result)
    os.close(theirs)


def test_command_interrupted(folder):
    """exec: the command is not left behind."""
    pid_file = os.path.join(folder, "pid")
    receiver = Receiver(folder, "exec:echo $$ > '%s'; exec sleep 600" %
                        pid_file)
    pid = wait_until("the command runs", lambda: os.path.exists(pid_file) and
                     open(pid_file).read().strip())
    receiver.interrupt()
    result = receiver.finish(PROMPT)
    check_cancelled(result)

    def gone():
        try:
            with open("/proc/%s/stat" % pid) as stat:
                return stat.read().split()[2] == "Z"
        except FileNotFoundError:
            return True
    wait_until("the command is gone", gone, PROMPT)


# Peers that are not sources -------------------------------------------------

def connect(folder):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.path.join(folder, "socket"))
    sock.settimeout(PROMPT)
    return sock


def peer_sends(folder, data, close=True, options=()):
    receiver = Receiver(folder, "unix:%s/socket" % folder, *options)
    with connect(folder) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass                        # it may have had enough already
        if close:
            sock.shutdown(socket.SHUT_WR)
        result = receiver.finish(PROMPT)
    check_failed(result)
    return result


def stranger_first(folder, greeting, options=()):
    """It is closed and counted; the source that comes then is loaded."""
    uri = "unix:%s/socket" % folder
    with source(folder, True, bandwidth=0) as qemu:
        receiver = Receiver(folder, uri, *options)
        with connect(folder) as stranger:
            try:
                stranger.sendall(greeting)
                answer = stranger.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                answer = b""            # it may have had enough already
            check(answer == b"", "the stranger was told %r", answer)
            qemu.migrate(uri)
            qemu.wait_migration()
            result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        check(result.stats["connections_refused"] == 1,
              "%s connections were refused",
              result.stats["connections_refused"])


def test_garbage(folder):
    stranger_first(folder, b"GET / HTTP/1.0\r\n\r\n" * 1000)


def test_garbage_from_open_connection(folder):
    stranger_first(folder, b"SSH-2.0-x\r\n")


def test_random_bytes(folder):
    stranger_first(folder, b"\xff" + os.urandom(100000))


def test_garbage_after_header(folder):
    peer_sends(folder, b"QEVM\0\0\0\3" + b"\xff" * 1000, close=False)


def test_old_version(folder):
    peer_sends(folder, b"QEVM\0\0\0\2" + bytes(100), close=False)


def test_short_greeting(folder):
    for length in (4, 7, 8, 12):
        os.mkdir(os.path.join(folder, str(length)))
        peer_sends(os.path.join(folder, str(length)),
                   b"QEVM\0\0\0\3\7\0\0\0"[:length])


def test_port_scan_first(folder):
    """Connections that come and go without a word do no harm."""
    uri = "unix:%s/socket" % folder
    with source(folder, True, bandwidth=0) as qemu:
        receiver = Receiver(folder, uri)
        for _ in range(3):
            connect(folder).close()
        silent = connect(folder)
        qemu.migrate(uri)
        qemu.wait_migration()
        check_loaded(receiver.finish(), qemu, pattern=True)
        silent.close()


def test_tls_greeting(folder):
    stranger_first(folder, bytes.fromhex("16030100c8010000c40303") +
                   bytes(200))


def test_multifd_greeting(folder):
    """A channel of a feature that is off."""
    peer_sends(folder, bytes.fromhex("1122334400000001") + bytes(56),
               close=False)


def test_silent_peer(folder):
    """Connected, but nothing comes: it has a second, and the load goes on."""
    stranger_first(folder, b"", ["--stall-timeout", "1"])


def test_stalled_peer(folder):
    """A good beginning, then nothing."""
    peer_sends(folder, bytes.fromhex("5145564d00000003 07 00000002 7063 01"),
               close=False, options=["--stall-timeout", "1"])


def second_connection(folder, data):
    """Connect while a load is under way: refused, the load unharmed."""
    uri = "unix:%s/socket" % folder
    with source(folder, True) as qemu:
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        wait_sent(qemu, 1 << 20)
        refused = False
        try:
            other = connect(folder)
        except OSError:
            refused = True              # nobody listens any more
        if not refused:
            try:
                other.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                refused = True
        wait_sent(qemu, 2 << 20)
        qemu.parameters(max_bandwidth=0)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        if not refused:
            try:
                answer = other.recv(100)
            except ConnectionResetError:
                answer = b""
            check(answer == b"", "the second connection was told %r", answer)
            other.close()


def test_second_connection(folder):
    second_connection(folder, b"QEVM\0\0\0\3")


def test_second_connection_multifd(folder):
    second_connection(folder, bytes.fromhex("1122334400000001") + bytes(56))


def test_second_connection_garbage(folder):
    second_connection(folder, os.urandom(5000))


def test_second_connection_silent(folder):
    second_connection(folder, b"")


# Features that are refused by name -----------------------------------------

def refuses(folder, capabilities, words, parameters=None, options=()):
    """Refused by name; the source's guest goes on."""
    uri = "unix:%s/socket" % folder
    with source(folder, True) as qemu:
        try:
            qemu.capabilities(**capabilities)
        except harness.QmpError as error:
            raise harness.Skip(str(error)) from error
        qemu.parameters(**(parameters or {}))
        receiver = Receiver(folder, uri, *options)
        qemu.migrate(uri)
        result = receiver.finish(PROMPT)
        check_failed(result)
        check(re.search(words, result.stderr, re.I),
              "%s is not named: %s", words, result.stderr)
        wait_running_again(qemu)


def test_refuses_postcopy(folder):
    refuses(folder, dict(postcopy_ram=True), "postcopy.advise")


def test_refuses_multifd(folder):
    # QEMU 7.2 says nothing more when its other channels are refused, or
    # closes the main channel, with our bytes unread.
    refuses(folder, dict(multifd=True),
            "multifd|without a byte|within|Connection reset",
            dict(multifd_channels=2), ["--stall-timeout", "2"])


# Usage ----------------------------------------------------------------------

def refused(folder, uri, code):
    result = Receiver(folder, uri).finish(PROMPT)
    check(result.code == code, "%s: vmload ended with %d: %s", uri,
          result.code, result.stderr)
    check(result.stderr, "%s: nothing on stderr", uri)


def test_unusable_addresses(folder):
    refused(folder, "file:%s/none" % folder, 1)
    refused(folder, "fd:987", 1)
    refused(folder, "exec:exit 3", 1)
    refused(folder, "nonsense", 2)
    refused(folder, "gopher:host", 2)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
