"""What the interop tests share: QEMU as source, vmload as destination.

Python 3.9 and its standard library only. Linux only (pdeathsig, /proc/net).

Environment:
  VMLOAD_BINARY   path of vmload (default: the one in build/)
  VMLOAD_QEMU     path or name of the source (default: qemu-system-x86_64)
  VMLOAD_KEEP     keep the scratch folder when a test fails
  CI              a missing QEMU is a failure, not a skip

SPDX-License-Identifier: BSD-3-Clause
"""

import array
import atexit
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOP = os.path.dirname(TESTS)
GUEST = os.path.join(TESTS, "guest")
sys.path.insert(0, GUEST)

import check_pattern  # noqa: E402  (a module of tests/guest)

SKIP = 77
PR_SET_PDEATHSIG = 1
# Generous: the machines that run this are slow, shared and may be emulated.
TIMEOUT = float(os.environ.get("VMLOAD_TEST_TIMEOUT", "120"))


class HarnessError(Exception):
    """The surroundings failed: QEMU did not start, did not answer, ..."""


def qemu_binary():
    """The QEMU to use, or None."""
    return shutil.which(os.environ.get("VMLOAD_QEMU", "qemu-system-x86_64"))


def vmload_binary():
    """The vmload to test."""
    path = os.environ.get("VMLOAD_BINARY")
    if not path:
        path = os.path.join(TOP, "build", "examples", "vmload", "vmload")
    if not os.access(path, os.X_OK):
        raise HarnessError("no vmload at %s (set VMLOAD_BINARY)" % path)
    return path


def require_qemu():
    """Leave with "skipped" where there is no QEMU; in CI that is a failure."""
    if qemu_binary():
        return
    print("no %s here" % os.environ.get("VMLOAD_QEMU", "qemu-system-x86_64"))
    sys.exit(1 if os.environ.get("CI") else SKIP)


def wait_until(what, condition, timeout=TIMEOUT, step=0.02):
    """Call CONDITION until it returns something true; return that."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise HarnessError("timed out after %gs: %s" % (timeout, what))
        time.sleep(step)


# Processes ------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)
_children = set()


def _die_with_parent():
    """Runs in the child: it must not outlive us, however we end."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def spawn(command, **kwargs):
    """Popen whose child is killed with us and known to reap_all()."""
    child = subprocess.Popen(command, preexec_fn=_die_with_parent, **kwargs)
    _children.add(child)
    return child


def reap(child):
    """Make sure that CHILD is gone."""
    if child.poll() is None:
        child.kill()
    child.wait()
    _children.discard(child)


def reap_all():
    """Make sure that none of our processes is left."""
    for child in list(_children):
        reap(child)


atexit.register(reap_all)


@contextlib.contextmanager
def scratch_dir(name="vmload"):
    """A folder that is removed afterwards, kept on failure if asked."""
    path = tempfile.mkdtemp(prefix=name + "-")
    try:
        yield path
    except BaseException:
        if os.environ.get("VMLOAD_KEEP"):
            print("scratch folder kept: %s" % path, file=sys.stderr)
        else:
            shutil.rmtree(path, ignore_errors=True)
        raise
    else:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        reap_all()


# The guest ------------------------------------------------------------------

class Guest:
    """The sweeping guest of tests/guest, built into a scratch folder."""

    def __init__(self, folder, start=0x100000, end=0x3000000, delay=0):
        self.sector = os.path.join(folder, "sweep.bin")
        self.rom = os.path.join(folder, "sweep.rom")
        self.disk = os.path.join(folder, "sweep.img")
        subprocess.run(
            [os.path.join(GUEST, "build"), "-s", hex(start), "-e", hex(end),
             "-d", str(delay), self.sector, self.rom], check=True)
        shutil.copyfile(self.sector, self.disk)
        # AHCI firmware does not boot from a disk of one sector.
        os.truncate(self.disk, 1 << 20)

    def boot_args(self, how):
        """QEMU arguments for HOW: "rom", "disk" or None."""
        if how == "rom":
            return ["-bios", self.rom]
        if how == "disk":
            return ["-drive", "file=%s,format=raw,if=ide,snapshot=on" %
                    self.disk]
        return []


# QEMU -----------------------------------------------------------------------

class QmpError(HarnessError):
    """QEMU answered with an error."""


class Qmp:
    """QMP over one end of a socket pair."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.events = []

    def start(self):
        greeting = self.read()
        if "QMP" not in greeting:
            raise HarnessError("no QMP greeting: %r" % (greeting,))
        self.command("qmp_capabilities")
        return greeting["QMP"]["version"]

    def read(self, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise HarnessError("QEMU does not answer on QMP")
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                continue
            except OSError as error:
                raise HarnessError("QMP: %s" % error) from error
            if not data:
                raise HarnessError("QEMU closed its monitor")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, arguments=None, fds=()):
        message = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        data = json.dumps(message).encode() + b"\n"
        ancillary = []
        if fds:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                          array.array("i", fds))]
        self.sock.sendmsg([data], ancillary)
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError("%s: %s" % (name, answer["error"]["desc"]))
            else:
                return answer["return"]


FINAL = ("completed", "failed", "cancelled")

# QEMU before 9.0 loses writes of a TCG guest while it migrates: where a RAM
# block is a multiple of 64 pages, it clears dirty bits without telling the
# TLB, so that later writes to the page go unseen (seen with 7.2.22: pages on
# the source differ from the last ones it sent). Blocks of another size take
# a path that is right. So every guest has this much memory on top.
EXTRA_KIB = 8


class Qemu:
    """A QEMU with a monitor, a serial log and shared guest memory."""

    def __init__(self, folder, machine="pc", memory=64, args=(), boot=None,
                 guest=None, shared=True, cpu=None, name="source",
                 accel="tcg", incoming=None, paused=False, serial=True):
        """MEMORY in MiB (see EXTRA_KIB); BOOT as in Guest.boot_args()."""
        self.name = name
        self.serial = os.path.join(folder, name + ".serial")
        self.log_path = os.path.join(folder, name + ".log")
        self.ram = None
        ours, theirs = socket.socketpair()
        command = [qemu_binary(), "-accel", accel, "-nodefaults",
                   "-no-user-config", "-display", "none", "-name", name,
                   "-chardev", "socket,id=qmp,fd=%d" % theirs.fileno(),
                   "-mon", "chardev=qmp,mode=control"]
        size = "%dK" % (memory * 1024 + EXTRA_KIB)
        if memory:
            command += ["-m", size]
        if memory and shared:
            self.ram = os.path.join(folder, name + ".ram")
            with open(self.ram, "wb"):
                pass            # never the memory of an earlier one
            command += ["-object", "memory-backend-file,id=pc.ram,"
                        "size=%s,mem-path=%s,share=on" % (size, self.ram)]
            machine += ",memory-backend=pc.ram"
        command += ["-machine", machine]
        if serial and machine.split(",")[0] != "none":
            command += ["-serial", "file:" + self.serial]
        if cpu:
            command += ["-cpu", cpu]
        if boot:
            command += guest.boot_args(boot)
        if incoming:
            command += ["-incoming", incoming]
        if paused:
            command += ["-S"]
        command += list(args)
        self.command_line = command
        with open(self.log_path, "wb") as log:
            self.child = spawn(command, stdin=subprocess.DEVNULL, stdout=log,
                               stderr=log, pass_fds=[theirs.fileno()])
        theirs.close()
        self.sock = ours
        self.qmp = Qmp(ours)
        try:
            self.version = self.qmp.start()
        except HarnessError as error:
            self.kill()
            raise HarnessError("%s: %s" % (error, self.log())) from error

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.kill()

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read().strip()

    def kill(self):
        """SIGKILL, as a host that loses power."""
        reap(self.child)
        self.sock.close()

    def cmd(self, name, **arguments):
        """QMP command; underscores in names of arguments become hyphens."""
        return self.qmp.command(
            name, {k.replace("_", "-"): v for k, v in arguments.items()})

    def hmp(self, line):
        return self.cmd("human-monitor-command",
                        **{"command_line": line}).replace("\r\n", "\n")

    def give_fd(self, name, fd):
        """Hand a descriptor over under NAME (migrate fd:NAME)."""
        self.qmp.command("getfd", {"fdname": name}, [fd])

    def status(self):
        return self.cmd("query-status")["status"]

    def capabilities(self, **on):
        """Switch migration capabilities: return_path=True, ..."""
        self.cmd("migrate-set-capabilities", capabilities=[
            {"capability": k.replace("_", "-"), "state": v}
            for k, v in on.items()])

    def parameters(self, **values):
        self.cmd("migrate-set-parameters", **values)

    def migrate(self, uri):
        self.cmd("migrate", uri=uri)

    def info(self):
        return self.cmd("query-migrate")

    def wait_migration(self, wanted=("completed",), timeout=TIMEOUT):
        """Wait for a status in WANTED; fail at once on another final one."""
        def reached():
            info = self.info()
            status = info.get("status")
            if status in wanted:
                return info
            if status in FINAL:
                raise HarnessError("source is %s: %s %s" % (
                    status, info.get("error-desc", ""), self.log()))
            return None
        return wait_until("source reaches %s" % (wanted,), reached, timeout)

    def wait_sweeps(self, count=1, timeout=TIMEOUT):
        """Wait until the guest has printed COUNT more characters."""
        def printed():
            try:
                return os.path.getsize(self.serial)
            except FileNotFoundError:
                return 0
        base = printed()
        wait_until("guest sweeps %d times" % count,
                   lambda: printed() >= base + count, timeout)

    def record(self, path):
        """Migrate into a file; returns when all of it is there."""
        part = path + ".part"
        self.migrate("exec:cat > '%s' && mv '%s' '%s'" % (part, part, path))
        info = self.wait_migration()
        wait_until("stream is written", lambda: os.path.exists(path))
        return info
