# SPDX-License-Identifier: BSD-3-Clause
"""What the interop tests share: QEMU as source, vmload as destination.

Python 3.9 and its standard library only. Linux only (pdeathsig, /proc/net).

Environment:
  VMLOAD_BINARY   path of vmload (default: the one in build/)
  VMLOAD_QEMU     path or name of the source (default: qemu-system-x86_64)
  VMLOAD_WRAPPER  a command that runs vmload, as "valgrind --quiet"
  VMLOAD_KEEP     keep the scratch folder when a test fails
  CI              a missing QEMU is a failure, not a skip
"""

import array
import atexit
import contextlib
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

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
    """The sweeping guest of tests/guest, set to a range, in a folder.

    VMLOAD_GUEST names the folder where the build put it; without that it is
    assembled here.
    """

    def __init__(self, folder, start=0x100000, end=0x3000000, delay=0):
        self.sector = os.path.join(folder, "sweep.bin")
        self.rom = os.path.join(folder, "sweep.rom")
        self.disk = os.path.join(folder, "sweep.img")
        built = os.environ.get("VMLOAD_GUEST")
        if built:
            for path in (self.sector, self.rom):
                shutil.copyfile(os.path.join(built, os.path.basename(path)),
                                path)
        else:
            subprocess.run([os.path.join(GUEST, "build"), self.sector,
                            self.rom], check=True)
        for path in (self.sector, self.rom):
            self.patch(path, struct.pack("<III", start, end, delay))
        shutil.copyfile(self.sector, self.disk)
        # AHCI firmware does not boot from a disk of one sector.
        os.truncate(self.disk, 1 << 20)

    @staticmethod
    def patch(path, values):
        with open(path, "r+b") as image:
            data = image.read()
            at = data.index(check_pattern.MARK) + len(check_pattern.MARK)
            image.seek(at)
            image.write(values)

    def boot_args(self, how):
        """QEMU arguments for HOW: "rom", "disk" or None."""
        if how == "rom":
            return ["-bios", self.rom]
        if how == "disk":
            return ["-drive", "file=%s,format=raw,if=none,id=boot,"
                    "snapshot=on" % self.disk,
                    "-device", "ide-hd,drive=boot,bus=ide.0,bootindex=0"]
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

# QEMU 7.2 (not 10.0) loses writes of a TCG guest while it migrates: where a
# RAM block is a multiple of 64 pages, it clears dirty bits without telling
# the TLB, so that later writes to the page go unseen (docs/interop.md). Blocks
# of another size take a path that is right. So every guest has this on top.
EXTRA_KIB = 8


class Qemu:
    """A QEMU with a monitor, a serial log and shared guest memory."""

    def __init__(self, folder, machine="pc", memory=64, args=(), boot=None,
                 guest=None, shared=True, cpu=None, name="source",
                 accel="tcg", incoming=None, paused=False, serial=True,
                 binary=None, env=None):
        """MEMORY in MiB (see EXTRA_KIB); BOOT as in Guest.boot_args(); ENV is
        added to the environment."""
        self.name = name
        self.serial = os.path.join(folder, name + ".serial")
        self.log_path = os.path.join(folder, name + ".log")
        self.ram = None
        ours, theirs = socket.socketpair()
        command = [binary or qemu_binary(), "-accel", accel, "-nodefaults",
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
                               stderr=log, pass_fds=[theirs.fileno()],
                               env=dict(os.environ, **(env or {})))
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

    def pmemsave(self, address, length, path):
        """Guest physical memory into a file."""
        self.hmp('pmemsave 0x%x 0x%x "%s"' % (address, length, path))

    def port(self, number):
        """Read a byte from an I/O port of the guest."""
        return int(re.search(r"= (?:0x)?([0-9a-f]+)",
                             self.hmp("i /xb 0x%x" % number)).group(1), 16)

    def set_port(self, number, value):
        self.hmp("o /b 0x%x 0x%x" % (number, value))


# vmload ---------------------------------------------------------------------

def unix_listens(path):
    """Does somebody listen on the socket PATH? (Without connecting.)"""
    with open("/proc/net/unix") as table:
        for line in table:
            field = line.split()
            if len(field) == 8 and field[7] == path:
                return int(field[3], 16) & 0x10000 != 0
    return False


def tcp_listens(port):
    """Does somebody listen on the TCP port? (Without connecting.)"""
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/net/" + name) as table:
                for line in table:
                    field = line.split()
                    if (field[3] == "0A" and
                            int(field[1].rsplit(":", 1)[1], 16) == port):
                        return True
        except FileNotFoundError:
            pass
    return False


def free_port(host="127.0.0.1"):
    """A TCP port that nobody uses (right now)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


def rdma_listens(port):
    """Does somebody listen on the RDMA port? (Needs root, and rdma(8).)"""
    shown = subprocess.run(["rdma", "-j", "resource", "show", "cm_id"],
                           stdout=subprocess.PIPE, check=True).stdout
    return any(entry.get("state") == "LISTEN" and
               entry["src-addr"].rsplit(":", 1)[1] == str(port)
               for entry in json.loads(shown or b"[]"))


class Result:
    """What vmload left: exit status, stderr, statistics, devices, RAM."""

    def __init__(self, code, stderr, ram_dir, stats, devices):
        self.code = code
        self.stderr = stderr
        self.ram_dir = ram_dir
        self.stats = stats
        self.devices = devices

    def stat(self, name):
        """A statistic by its name with dots."""
        if name in self.stats:
            return self.stats[name]
        value = self.stats
        for part in name.split("."):
            value = value[part]
        return value

    def device(self, name, instance=0):
        for device in self.devices:
            if device["name"] == name and device["instance_id"] == instance:
                return device
        raise AssertionError("no device %s/%d among %s" % (
            name, instance, [d["name"] for d in self.devices]))

    def ram(self, block="pc.ram"):
        """Path of the file with a block's content."""
        return os.path.join(self.ram_dir, escape(block))


def escape(name):
    """The file name of a block, as the manual says."""
    return "".join(
        chr(c) if re.match(rb"[A-Za-z0-9._:-]", bytes([c])) else "%%%02X" % c
        for c in name.encode())


class Receiver:
    """A vmload receive that is running."""

    serial = 0

    def __init__(self, folder, uri, *options, pass_fds=(), visible=False,
                 wrapper=(), quiet=True):
        """VISIBLE: its output goes where ours goes; else it is QUIET.
        WRAPPER: a command that runs it."""
        Receiver.serial += 1
        base = os.path.join(folder, "vmload%d" % Receiver.serial)
        self.ram_dir = base + ".ram"
        self.stats_path = base + ".stats"
        self.devices_path = base + ".devices"
        self.stderr_path = base + ".stderr"
        self.uri = uri
        os.mkdir(self.ram_dir)
        wrapper = [*wrapper,
                   *shlex.split(os.environ.get("VMLOAD_WRAPPER", ""))]
        command = [*wrapper, vmload_binary(), "receive", "--ram-dir", self.ram_dir,
                   "--devices", self.devices_path,
                   "--stats", self.stats_path]
        if quiet and not visible:
            command.append("--quiet")
        command += [*options, uri]
        with open(self.stderr_path, "wb") as stderr:
            self.child = spawn(
                command, stdin=subprocess.DEVNULL,
                stdout=None if visible else subprocess.DEVNULL,
                stderr=None if visible else stderr, pass_fds=pass_fds)
        if uri.startswith(("unix:", "tcp:", "rdma:")):
            self.wait_listening()

    def wait_listening(self):
        rest = self.uri.split(":", 1)[1]
        if self.uri.startswith("unix:"):
            def listens():
                return unix_listens(rest)
        elif self.uri.startswith("rdma:"):
            def listens():
                return rdma_listens(rest.rsplit(":", 1)[1])
        else:
            port = int(rest.rsplit(":", 1)[1])

            def listens():
                return tcp_listens(port)
        wait_until("vmload listens on " + self.uri,
                   lambda: self.child.poll() is not None or listens(), 30)
        if self.child.poll() is not None:
            raise AssertionError("vmload ended with %d instead of listening: "
                                 "%s" % (self.child.returncode,
                                         self.stderr()))

    def stderr(self):
        with open(self.stderr_path, errors="replace") as stream:
            return stream.read()

    def interrupt(self, signum=signal.SIGINT):
        self.child.send_signal(signum)

    def finish(self, timeout=TIMEOUT):
        """Wait for the end; returns a Result."""
        try:
            code = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError("vmload still runs after %gs: %s" % (
                timeout, self.stderr())) from None
        finally:
            reap(self.child)
        return Result(code, self.stderr(), self.ram_dir,
                      read_json(self.stats_path),
                      read_json(self.devices_path))


def read_json(path):
    try:
        with open(path) as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None


# What must be true ----------------------------------------------------------

def check(condition, message, *arguments):
    """assert that survives python -O and says what it found."""
    if not condition:
        raise AssertionError(message % arguments if arguments else message)


def same_files(left, right):
    """None, or the offset at which two files differ."""
    step = 1 << 20
    at = 0
    with open(left, "rb") as one, open(right, "rb") as two:
        while True:
            a, b = one.read(step), two.read(step)
            if a != b:
                for i, (x, y) in enumerate(zip(a, b)):
                    if x != y:
                        return at + i
                return at + min(len(a), len(b))
            if not a:
                return None
            at += len(a)


def check_no_io_wait(result):
    """The promise of the library: no wait for bytes with the lock held."""
    if result.stats is not None:
        check(result.stat("lock.io_wait_ns") == 0,
              "waited %s ns for bytes with the lock held",
              result.stat("lock.io_wait_ns"))


def check_loaded(result, source=None, pattern=False, block="pc.ram"):
    """The load succeeded, and RAM is what the (stopped) source has."""
    check(result.code == 0, "vmload ended with %d: %s", result.code,
          result.stderr.strip())
    check(result.stderr == "", "vmload --quiet wrote to stderr: %s",
          result.stderr)
    check(result.stats is not None, "no statistics were written")
    check(result.devices is not None, "no devices were written")
    check(result.stat("status") == "completed", "status is %s",
          result.stat("status"))
    check_no_io_wait(result)
    if source is not None:
        check(source.status() == "postmigrate", "source is %s",
              source.status())
        if source.ram:
            at = same_files(source.ram, result.ram(block))
            check(at is None, "RAM differs from the source's at 0x%x",
                  at or 0)
    if pattern:
        check_pattern.check_file(result.ram(block))


def check_failed(result, code=1):
    """The load failed as it should: status, one line on stderr."""
    check(result.code == code, "vmload ended with %d instead of %d: %s",
          result.code, code, result.stderr.strip())
    lines = result.stderr.splitlines()
    check(len(lines) == 1, "stderr has %d lines instead of one: %r",
          len(lines), result.stderr)
    check_nothing_left(result)
    check_no_io_wait(result)


def check_nothing_left(result):
    """No partial success: neither memory nor devices of a failed load."""
    check(os.listdir(result.ram_dir) == [], "RAM is left behind: %s",
          os.listdir(result.ram_dir))
    check(result.devices is None, "devices were written")
    check(result.stats is None or result.stat("status") != "completed",
          "status is completed")


def check_cancelled(result):
    """The load was cancelled, which is told by the exit status."""
    check(result.code == 130, "vmload ended with %d: %s", result.code,
          result.stderr)
    check(result.stats is None or result.stat("status") == "cancelled",
          "status is not cancelled")
    check_no_io_wait(result)
    check_nothing_left(result)


def find_fields(tree, name):
    """All values called NAME anywhere in a device's fields."""
    found = []
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == name:
                found.append(value)
            found += find_fields(value, name)
    elif isinstance(tree, list):
        for value in tree:
            found += find_fields(value, name)
    return found


def find_field(tree, name):
    """The one value called NAME."""
    found = find_fields(tree, name)
    check(len(found) == 1, "%d fields are called %s", len(found), name)
    return found[0]


def check_decoded(result):
    """Every device came out as fields, none as a lump of bytes."""
    check(result.devices, "no devices")
    for device in result.devices:
        check(isinstance(device.get("fields"), dict) and device["fields"] and
              "hex" not in device,
              "%s/%s is not decoded: %.200s", device.get("name"),
              device.get("instance_id"), device)


# Running the tests of a file ------------------------------------------------

class Skip(Exception):
    """This test can not run here."""


def main(namespace, qemu=True):
    """Run every test_*(folder) of a module, or those named as arguments."""
    if qemu:
        require_qemu()
    tests = {name: value for name, value in namespace.items()
             if name.startswith("test_")}
    failed = 0
    for name in sys.argv[1:] or tests:
        started = time.monotonic()
        verdict = "ok"
        try:
            with scratch_dir(name.replace("_", "-")) as folder:
                tests[name](folder)
        except Skip as reason:
            verdict = "skipped: %s" % reason
        except (AssertionError, HarnessError, OSError, KeyError, ValueError,
                subprocess.SubprocessError, check_pattern.PatternError) as error:
            verdict = "FAILED: %s: %s" % (type(error).__name__, error)
            if os.environ.get("VMLOAD_TRACEBACK"):
                traceback.print_exc()
            failed += 1
        print("%-40s %6.1f s  %s" % (name, time.monotonic() - started,
                                     verdict), flush=True)
    return 1 if failed else 0
