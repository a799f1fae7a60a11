#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every transport a QEMU can migrate over, with a guest that runs.
"""

import os
import socket
import sys

import harness
from harness import Guest, Qemu, Receiver, check, check_decoded, check_loaded


def source(folder, **kwargs):
    """A pc whose guest sweeps over 15 MiB."""
    guest = Guest(folder, end=0x1000000)
    qemu = Qemu(folder, memory=24, boot="rom", guest=guest, **kwargs)
    qemu.wait_sweeps(2)
    return qemu


def migrate(folder, uri, return_path, receiver_uri=None, options=()):
    with source(folder) as qemu:
        qemu.capabilities(return_path=return_path)
        receiver = Receiver(folder, receiver_uri or uri, *options)
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)
        check(result.stat("ram.pages_normal") > 0, "no normal pages")
        check(result.stat("ram.pages_zero") > 0, "no zero pages")
        return result


def test_unix(folder):
    migrate(folder, "unix:%s/socket" % folder, False)


def test_unix_return_path(folder):
    migrate(folder, "unix:%s/socket" % folder, True)


def test_unix_atomic(folder):
    migrate(folder, "unix:%s/socket" % folder, True,
            options=["--commit", "atomic"])


def test_unix_streaming(folder):
    migrate(folder, "unix:%s/socket" % folder, True,
            options=["--commit", "streaming"])


def test_tcp_ipv4(folder):
    migrate(folder, "tcp:127.0.0.1:%d" % harness.free_port(), False)


def test_tcp_ipv4_return_path(folder):
    migrate(folder, "tcp:127.0.0.1:%d" % harness.free_port(), True)


def test_tcp_any_address(folder):
    port = harness.free_port()
    migrate(folder, "tcp:127.0.0.1:%d" % port, True,
            receiver_uri="tcp::%d" % port)


def test_tcp_ipv6_return_path(folder):
    try:
        port = harness.free_port("::1")
    except OSError as error:
        raise harness.Skip("no IPv6 here: %s" % error) from error
    migrate(folder, "tcp:[::1]:%d" % port, True)


def migrate_fd(folder, theirs, ours, return_path):
    """Give one descriptor to each side and migrate."""
    with source(folder) as qemu:
        qemu.capabilities(return_path=return_path)
        receiver = Receiver(folder, "fd:%d" % ours, pass_fds=[ours])
        qemu.give_fd("peer", theirs)
        os.close(theirs)
        os.close(ours)
        qemu.migrate("fd:peer")
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)


def test_fd_socket(folder):
    one, two = socket.socketpair()
    migrate_fd(folder, one.detach(), two.detach(), False)


def test_fd_socket_return_path(folder):
    one, two = socket.socketpair()
    migrate_fd(folder, one.detach(), two.detach(), True)


def test_fd_pipe(folder):
    ours, theirs = os.pipe()
    migrate_fd(folder, theirs, ours, False)


def test_exec(folder):
    """The stream is the output of a command; the source writes to a FIFO."""
    fifo = os.path.join(folder, "fifo")
    os.mkfifo(fifo)
    migrate(folder, "exec:cat > '%s'" % fifo, False,
            receiver_uri="exec:cat '%s'" % fifo)


def test_switchover_ack(folder):
    """The source keeps its guest running until the receiver agrees (8.1)."""
    uri = "unix:%s/socket" % folder
    with source(folder) as qemu:
        try:
            qemu.capabilities(return_path=True, switchover_ack=True)
        except harness.QmpError as error:
            raise harness.Skip(str(error)) from error
        receiver = Receiver(folder, uri, "--switchover-ack")
        qemu.migrate(uri)
        qemu.wait_migration()
        check_loaded(receiver.finish(), qemu, pattern=True)


BRIDGE = """
import os, socket, sys, threading
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1]); server.listen(1)
peer = server.accept()[0]
def back():
    while True:
        data = os.read(0, 65536)
        if not data:
            break
        peer.sendall(data)
threading.Thread(target=back, daemon=True).start()
while True:
    data = peer.recv(65536)
    if not data:
        break
    while data:
        data = data[os.write(1, data):]
"""


def test_exec_return_path(folder):
    """The return path goes to the standard input of the command."""
    path = os.path.join(folder, "socket")
    script = os.path.join(folder, "bridge.py")
    with open(script, "w") as bridge:
        bridge.write(BRIDGE)
    with source(folder) as qemu:
        qemu.capabilities(return_path=True)
        receiver = Receiver(folder, "exec:exec '%s' '%s' '%s'" % (
            sys.executable, script, path))
        harness.wait_until("bridge listens",
                           lambda: harness.unix_listens(path))
        qemu.migrate("unix:" + path)
        qemu.wait_migration()
        check_loaded(receiver.finish(), qemu, pattern=True)


def load_file(folder, prefix, uri):
    path = os.path.join(folder, "stream")
    with source(folder) as qemu:
        qemu.record(path)
        if prefix:
            with open(path, "rb") as stream:
                data = stream.read()
            with open(path, "wb") as stream:
                stream.write(prefix + data)
        result = Receiver(folder, uri % path).finish()
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)


def test_file(folder):
    load_file(folder, b"", "file:%s")


def test_file_offset(folder):
    load_file(folder, b"QEVM" * 1025, "file:%s,offset=4100")


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
