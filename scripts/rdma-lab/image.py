# SPDX-License-Identifier: BSD-3-Clause
"""The lab's image: a kernel of Debian and an initramfs, in a cache.

Nothing is installed and root is not needed: packages are downloaded and
unpacked into the cache. Python 3.9 and its standard library only.
"""

import gzip
import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# Drivers read files of ours at run time, so they are loaded with all they
# depend on. The CRC modules are asked for by name, and nobody would load them.
MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay",
           "crc32_generic", "crc32c_generic", "ib_uverbs", "rdma_ucm",
           "rdma_rxe", "siw", "dummy"]
# Some may be built in or called otherwise; without these there is no lab.
NEEDED = {"9p", "overlay", "ib_uverbs", "rdma_ucm", "rdma_rxe"}


class LabError(Exception):
    """The lab cannot do what was asked."""


class NoImage(LabError):
    """There is no image yet."""


def cache_dir():
    """Where the image and all that it is made of are kept."""
    path = os.environ.get("VMLOAD_RDMA_LAB")
    if not path:
        path = os.path.join(os.environ.get("XDG_CACHE_HOME") or
                            os.path.expanduser("~/.cache"),
                            "libvmload", "rdma-lab")
    return os.path.abspath(path)


def files():
    """Kernel, initramfs and stamp."""
    return [os.path.join(cache_dir(), name)
            for name in ("vmlinux", "initramfs", "stamp")]


def require():
    """The image's files, or NoImage."""
    found = files()
    if not all(os.path.exists(path) for path in found):
        raise NoImage("no image in %s: run 'scripts/rdma-lab/lab build'" %
                      cache_dir())
    return found


def recipe(siw):
    """Changes when an image must be made again."""
    digest = hashlib.sha256()
    for name in ("image.py", "init"):
        with open(os.path.join(HERE, name), "rb") as source:
            digest.update(source.read())
    digest.update(os.environ.get("VMLOAD_RDMA_LAB_KERNEL", "").encode())
    return "%s siw=%s" % (digest.hexdigest()[:16], "yes" if siw else "no")


def up_to_date(siw):
    """Is there an image of this recipe? One with siw does for both."""
    paths = files()
    if not all(os.path.exists(path) for path in paths):
        return False
    with open(paths[2]) as stamp:
        have = stamp.readline().strip()
    return have == recipe(True) or (not siw and have == recipe(False))


# Packages -------------------------------------------------------------------

def call(*command, cwd=None):
    """Run a program; its output, or a LabError with what it said."""
    try:
        child = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL,
                               capture_output=True, check=False)
    except FileNotFoundError:
        raise LabError("%s is missing" % command[0]) from None
    if child.returncode:
        raise LabError("'%s' ended with %d:\n%s" % (
            " ".join(command), child.returncode,
            child.stderr.decode(errors="replace").strip()))
    return child.stdout.decode(errors="replace")


class Packages:
    """apt's packages, unpacked. If the system has no package lists, or they
    are too old, lists of our own are fetched into the cache."""

    def __init__(self, cache):
        self.cache = cache
        self.debs = os.path.join(cache, "packages")
        self.options = ["-o", "APT::Sandbox::User=root"]
        self.own_lists = False
        os.makedirs(self.debs, exist_ok=True)

    def fetch_lists(self):
        lists = os.path.join(self.cache, "lists")
        os.makedirs(os.path.join(lists, "partial"), exist_ok=True)
        self.options += ["-o", "Dir::State::lists=" + lists,
                         "-o", "Dir::Cache::pkgcache=",
                         "-o", "Dir::Cache::srcpkgcache="]
        self.own_lists = True
        call("apt-get", *self.options, "-q", "update")

    def with_lists(self, function, *arguments):
        try:
            return function(*arguments)
        except LabError:
            if self.own_lists:
                raise
            self.fetch_lists()
            return function(*arguments)

    def depends(self, package, start):
        """The first package that PACKAGE needs whose name begins so."""
        def ask():
            text = call("apt-cache", *self.options, "depends", package)
            found = re.search(r"Depends: (%s\S*)" % re.escape(start), text)
            if not found:
                raise LabError("%s depends on no %s..." % (package, start))
            return found.group(1)
        return self.with_lists(ask)

    def file(self, package):
        """Path of the package's file, which is downloaded if need be."""
        def get():
            line = call("apt-get", *self.options, "download", "--print-uris",
                        package).split()
            if len(line) < 3:
                raise LabError("apt knows no package " + package)
            path = os.path.join(self.debs, line[1])
            # apt writes to the last name at once: an interrupted download
            # has another size.
            if (not os.path.exists(path) or
                    os.path.getsize(path) != int(line[2])):
                print("lab: downloading %s" % line[1], file=sys.stderr)
                call("apt-get", *self.options, "-q", "download", package,
                     cwd=self.debs)
            return path
        return self.with_lists(get)

    def unpack(self, package, folder):
        path = self.file(package)
        call("dpkg-deb", "-x", path, folder)
        return call("dpkg-deb", "-f", path, "Version").strip()


# The kernel -----------------------------------------------------------------

def bare_kernel(path):
    """The ELF file inside of a bzImage (x86 boot protocol 2.08).

    QEMU starts it by its PVH note. That saves decompressing it inside, which
    would take longer than everything else.
    """
    with open(path, "rb") as source:
        data = source.read()
    sectors, = struct.unpack_from("<B", data, 0x1f1)
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (sectors + 1) * 512 + offset
    packed = data[start:start + length]
    if packed.startswith(b"\xfd7zXZ"):
        kernel = lzma.LZMADecompressor().decompress(packed)
    elif packed.startswith(b"\x1f\x8b"):
        # The size that follows is no part of it.
        kernel = gzip.decompress(packed[:-4])
    elif packed.startswith(b"\x28\xb5\x2f\xfd"):
        kernel = subprocess.run(["zstd", "-dcq"], input=packed[:-4],
                                capture_output=True, check=True).stdout
    else:
        return data             # boots, slower
    if not kernel.startswith(b"\x7fELF"):
        raise LabError("%s has no ELF file inside" % path)
    return kernel


def module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def read_module(path):
    with open(path, "rb") as source:
        data = source.read()
    return lzma.decompress(data) if path.endswith(".xz") else data


def modules(folder):
    """[(name, bytes)] of MODULES and what they need, in order of loading."""
    available = {}
    for where, _, names in os.walk(folder):
        for name in names:
            if name.endswith((".ko", ".ko.xz")):
                available[module_name(name)] = os.path.join(where, name)
    chosen = {}

    def choose(name):
        if name in chosen or name not in available:
            return              # there already, or part of the kernel
        data = read_module(available.pop(name))
        found = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in found.group(1).decode().split(",") if found else ():
            choose(other.replace("-", "_"))
        chosen[name] = data

    for name in MODULES:
        choose(name)
    missing = NEEDED - set(chosen)
    if missing:
        raise LabError("the kernel has no %s (a cloud kernel?)" %
                       ", ".join(sorted(missing)))
    return list(chosen.items())


def build_siw(packages, kernel, version, folder, work):
    """The module siw, from the kernel's own source."""
    release = kernel.split("linux-image-", 1)[1]
    kept = os.path.join(packages.cache, "siw-%s-%s.ko" % (release, version))
    if not os.path.exists(kept):
        for tool in ("gcc", "make"):
            if not shutil.which(tool):
                raise LabError("siw needs %s" % tool)
        headers = "linux-headers-" + release
        tree = os.path.join(work, "headers")
        packages.unpack(headers, tree)
        for start in ("linux-headers-", "linux-kbuild-"):
            packages.unpack(packages.depends(headers, start), tree)
        makefile = os.path.join(tree, "usr/src", headers, "Makefile")
        with open(makefile) as source:
            text = source.read()
        with open(makefile, "w") as target:
            target.write(text.replace("/usr/src/", tree + "/usr/src/"))
        series = ".".join(release.split(".")[:2])
        source_package = "linux-source-" + series
        packages.unpack("%s=%s" % (source_package, version), tree)
        call("tar", "-xJf", "usr/src/%s.tar.xz" % source_package,
             source_package + "/drivers/infiniband/sw/siw", cwd=tree)
        siw = os.path.join(tree, source_package, "drivers/infiniband/sw/siw")
        call("make", "-s", "-C", os.path.dirname(makefile), "M=" + siw,
             "CONFIG_RDMA_SIW=m", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules")
        call("strip", "-g", "-o", kept + ".part",
             os.path.join(siw, "siw.ko"))
        os.rename(kept + ".part", kept)
    shutil.copy(kept, os.path.join(folder, "siw.ko"))


# The initramfs --------------------------------------------------------------

class Archive:
    """cpio, format "newc"."""

    def __init__(self):
        self.parts = []
        self.number = 0

    def add(self, name, mode, data=b""):
        self.number += 1
        encoded = name.encode() + b"\0"
        fields = [self.number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                  len(encoded), 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (head + encoded, data):
            self.parts.append(part + bytes(-len(part) % 4))

    def folder(self, name):
        self.add(name, 0o040755)

    def file(self, name, data, mode=0o644):
        self.add(name, 0o100000 | mode, data)

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)


def initramfs(busybox, loaded):
    archive = Archive()
    for name in ("bin", "dev", "proc", "sys", "modules", "outer", "layer",
                 "root"):
        archive.folder(name)
    archive.file("bin/busybox", busybox, 0o755)
    for name, data in loaded:
        archive.file("modules/%s.ko" % name, data)
    archive.file("modules/order",
                 "".join(name + "\n" for name, _ in loaded).encode())
    with open(os.path.join(HERE, "init"), "rb") as source:
        archive.file("init", source.read(), 0o755)
    return archive.bytes()


def build(siw=False, force=False):
    """Make the image, unless it is there."""
    if up_to_date(siw) and not force:
        print("lab: %s is up to date" % cache_dir())
        return
    cache = cache_dir()
    os.makedirs(cache, exist_ok=True)
    packages = Packages(cache)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as work:
        kernel = os.environ.get("VMLOAD_RDMA_LAB_KERNEL")
        if not kernel:
            kernel = packages.depends("linux-image-amd64", "linux-image-")
        tree = os.path.join(work, "kernel")
        version = packages.unpack(kernel, tree)
        if siw:
            build_siw(packages, kernel, version, tree, work)
        packages.unpack("busybox-static", os.path.join(work, "busybox"))
        busybox = [os.path.join(work, "busybox", name)
                   for name in ("bin/busybox", "usr/bin/busybox")]
        with open(next(filter(os.path.exists, busybox)), "rb") as source:
            program = source.read()
        loaded = modules(tree)
        boot = os.path.join(tree, "boot")
        vmlinuz = [name for name in os.listdir(boot)
                   if name.startswith("vmlinuz-")]
        contents = [bare_kernel(os.path.join(boot, vmlinuz[0])),
                    initramfs(program, loaded),
                    ("%s\n%s %s\n" % (recipe(siw), kernel, version)).encode()]
        if os.path.exists(files()[2]):
            os.unlink(files()[2])       # nothing half new is up to date
        for path, data in zip(files(), contents):
            part = os.path.join(work, os.path.basename(path))
            with open(part, "wb") as target:
                target.write(data)
            os.rename(part, path)
    print("lab: %s %s, modules: %s" % (kernel, version, " ".join(
        name for name, _ in loaded)))
