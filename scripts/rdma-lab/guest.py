# SPDX-License-Identifier: BSD-3-Clause
"""Boot the lab's image and run one command of the outer machine inside."""

import ctypes
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from image import LabError, require

ADDRESSES = [
    # device, driver, on, IPv4, IPv6
    ("rxe0", "rxe", "dummy0", "192.0.2.1", "2001:db8::1"),
    ("siw0", "siw", "dummy1", "198.51.100.1", "2001:db8:1::1"),
]
# The outer machine's own, wherever it comes from: no folders of a user.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
JOB = "/run/lab"                # where the folder of the job is, inside

# Each device needs an interface of its own: loopback does not carry RDMA.
# With the addresses there first, the device's table of them is complete when
# it appears. A large MTU lets rxe send 4 KiB in a packet.
DEVICES = """\
fail()
{
    echo "lab: $1" >&2
    exit 125
}

device()
{
    [ -d "/sys/module/$2" ] || [ -d "/sys/module/rdma_$2" ] || return 0
    ip link show "$3" >/dev/null 2>&1 || ip link add "$3" type dummy ||
        return 1
    ip link set "$3" mtu 5000 up &&
        ip address add "$4/24" dev "$3" &&
        ip address add "$5/64" dev "$3" nodad &&
        rdma link add "$1" type "$2" netdev "$3"
}

ip link set lo up || fail "ip (package iproute2) does not work"
"""

# Run by whoever starts the guest, needed inside of it.
TOOLS = ("ip", "rdma")


def accelerator():
    """KVM only where it is the processor's own: a KVM made for nested guests
    (kvm_pvm) does not run this kernel."""
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        for name in ("kvm_intel", "kvm_amd"):
            if os.path.isdir("/sys/module/" + name):
                return "kvm"
    return "tcg"


def job_script(command, writable):
    lines = ["PATH=%s" % PATH, "ulimit -l unlimited", DEVICES]
    for device in ADDRESSES:
        lines.append("device %s || fail 'no RDMA device %s'" % (
            " ".join(device), device[0]))
    for number, path in enumerate(writable):
        lines.append("mount -t 9p -o trans=virtio,version=9p2000.L,cache=mmap,"
                     "msize=262144 keep%d %s || fail 'cannot write to %s'" % (
                         number, shlex.quote(path), number))
    for name, value in os.environ.items():
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            lines.append("export %s=%s" % (name, shlex.quote(value)))
    lines += ["export PATH=%s TMPDIR=/dev/shm HOME=/root" % PATH,
              "cd %s || fail 'no folder'" % shlex.quote(os.getcwd()),
              "exec " + " ".join(map(shlex.quote, command)), ""]
    return "\n".join(lines)


def pump(sock, target):
    """Copy what the guest says to TARGET, a descriptor, until it ends."""
    while True:
        data = sock.recv(65536)
        if not data:
            return
        while data:
            data = data[os.write(target, data):]


def comma(path):
    """A path in an option of QEMU."""
    return path.replace(",", ",,")


class Machine:
    """The command line of QEMU and the sockets it talks through."""

    def __init__(self, folder, cpus, memory, accel):
        kernel, initramfs, _ = require()
        accel = accel or accelerator()
        self.descriptors = []
        self.pumps = []
        self.console = os.path.join(folder, "console")
        self.args = [
            os.environ.get("VMLOAD_RDMA_LAB_QEMU", "qemu-system-x86_64"),
            "-machine", "pc", "-cpu", "max", "-smp", str(cpus),
            "-m", str(memory), "-nodefaults", "-no-user-config",
            "-no-reboot", "-display", "none", "-accel",
            "tcg,thread=multi" if accel == "tcg" else accel,
            "-kernel", kernel, "-initrd", initramfs, "-append",
            "console=ttyS0 quiet panic=-1 oops=panic cryptomgr.notests",
            "-chardev", "file,id=console,path=" + comma(self.console),
            "-serial", "chardev:console", "-device", "virtio-serial-pci"]
        self.share("outer", "/", "on")
        self.share("job", folder)

    def share(self, tag, path, readonly="off"):
        self.args += [
            "-fsdev", "local,id=%s,path=%s,security_model=none,readonly=%s,"
            "multidevs=remap" % (tag, comma(path), readonly),
            "-device", "virtio-9p-pci,fsdev=%s,mount_tag=%s" % (tag, tag)]

    def port(self, name, target):
        """A virtio-serial port. QEMU gets a socket: what it is given becomes
        non-blocking, and that must not happen to our own output."""
        ours, theirs = socket.socketpair()
        self.args += [
            "-chardev", "socket,id=%s,fd=%d" % (name, theirs.fileno()),
            "-device", "virtserialport,chardev=%s,name=%s" % (name, name)]
        self.descriptors.append(theirs)
        self.pumps.append(threading.Thread(target=pump, args=(ours, target),
                                           daemon=True))

    def run(self, seconds, log):
        """To the end. Returns QEMU's status; None if the time was over."""
        try:
            child = subprocess.Popen(
                self.args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent,
                pass_fds=[sock.fileno() for sock in self.descriptors])
        except FileNotFoundError:
            raise LabError("no %s here" % self.args[0]) from None
        for sock in self.descriptors:
            sock.close()
        for thread in self.pumps:
            thread.start()
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            for thread in self.pumps:
                thread.join(10)


def read(path):
    try:
        with open(path, errors="replace") as source:
            return source.read()
    except FileNotFoundError:
        return ""


def explain(folder, status, seconds):
    """No status came out: say why. Returns ours."""
    sys.stderr.write("\n".join(
        read(os.path.join(folder, "console")).splitlines()[-60:]) + "\n")
    sys.stderr.write(read(os.path.join(folder, "qemu")))
    if status is None:
        print("lab: the command has not ended after %g s" % seconds,
              file=sys.stderr)
        return 124
    print("lab: the guest ended without a status (QEMU's was %d)" % status,
          file=sys.stderr)
    return 125


def die_with_parent():
    """Runs in the child: the guest must not outlive us, however we end."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def stop(number, _):
    sys.exit(128 + number)


def run(command, cpus=2, memory=1024, seconds=300, writable=(), accel=None,
        verbose=False):
    """Run COMMAND inside; returns its exit status, 124 when the time is
    over, 125 when the guest failed. Raises NoImage."""
    require()
    for tool in TOOLS:
        if not shutil.which(tool, path=PATH):
            raise LabError("%s is missing (package iproute2)" % tool)
    writable = [os.path.realpath(path) for path in writable]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    with tempfile.TemporaryDirectory(prefix="vmload-lab-") as folder:
        with open(os.path.join(folder, "job"), "w") as job:
            job.write(job_script(command, writable))
        machine = Machine(folder, cpus, memory, accel)
        for number, path in enumerate(writable):
            machine.share("keep%d" % number, path)
        machine.port("stdout", 1)
        machine.port("stderr", 2)
        with open(os.path.join(folder, "qemu"), "wb") as log:
            status = machine.run(seconds, log)
        if verbose:
            sys.stderr.write(read(machine.console))
        told = read(os.path.join(folder, "status")).strip()
        if told.isdigit():
            return int(told)
        return explain(folder, status, seconds)
