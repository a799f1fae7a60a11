"""What is measured: groups of ways that take turns, and what is aimed at.

SPDX-License-Identifier: BSD-3-Clause
"""

import os

PIPE_ROOM = 1 << 20
PLAIN = ("file", "unix", "tcp", "pipe")


class Group:
    """One stream, and the ways to load it.

    ways: names and functions, in the order of a turn. Names say what they
    are: "limit", "limit small", "N readers", "vmload", "vmload N", "QEMU x",
    and for the limits of their own kind what they do.
    before: called before each way.
    """

    def __init__(self, name, title, stream, ways, before=None):
        self.name = name
        self.title = title
        self.stream = stream
        self.ways = ways
        self.before = before


class Target:
    """GROUP's WAY is to be at least LEAST times as fast as TO."""

    def __init__(self, group, way, to, least):
        self.group = group
        self.way = way
        self.to = to
        self.least = least


# TO "QEMU" is the QEMU of the same number of threads, where there are several.
TARGETS = [
    Target("plain-file-random", "vmload", "limit", 1.5),
    Target("plain-file-random", "vmload", "QEMU", 1.7),
    Target("plain-unix-random", "vmload", "limit", 1.05),
    Target("plain-unix-random", "vmload", "QEMU", 1.25),
    Target("plain-tcp-random", "vmload", "limit", 0.95),
    Target("plain-tcp-random", "vmload", "QEMU", 1.5),
    Target("plain-file-half", "vmload", "limit", 1.2),
    Target("plain-file-half", "vmload", "QEMU", 1.6),
    Target("plain-unix-half", "vmload", "limit", 0.95),
    Target("plain-unix-half", "vmload", "QEMU", 1.6),
    Target("plain-pipe-random", "vmload", "limit", 0.95),
    Target("plain-pipe-random", "vmload", "QEMU", 2.2),
    Target("mapped-warm-random", "vmload 2", "limit", 1.75),
    Target("mapped-warm-random", "vmload 2", "QEMU", 1.6),
    Target("mapped-warm-half", "vmload 2", "2 readers", 0.9),
    Target("mapped-warm-half", "vmload 2", "QEMU", 2.5),
    Target("multifd-none-2", "vmload", "receivers", 0.95),
    Target("multifd-none-2", "vmload", "QEMU", 1.2),
]
for _method in ("zlib", "zstd"):
    for _channels in (1, 2):
        TARGETS += [
            Target("multifd-%s-%d" % (_method, _channels), "vmload",
                   "decompressors", 0.95),
            Target("multifd-%s-%d" % (_method, _channels), "vmload",
                   "QEMU", 1.2)]


def beyond_allowed(group):
    """Bytes beyond guest RAM: 8 MiB, and 1 MiB a channel."""
    channels = 0
    if group.startswith("multifd"):
        channels = int(group.rsplit("-", 1)[1])
    return (8 + channels) << 20


def drop(stream):
    """Out of the page cache, as far as the file system does that."""
    for path in stream["files"]:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


class Cases:
    """Makes groups as they are asked for; streams are made then, too."""

    def __init__(self, args, cache, ways, qemus):
        self.args = args
        self.cache = cache
        self.ways = ways
        self.qemus = qemus      # [(name, binary, knows mapped-ram)]

    def names(self):
        names = ["plain-%s-%s" % (transport, content)
                 for content in ("random", "half") for transport in PLAIN]
        names += ["mapped-%s-%s" % (heat, content)
                  for heat in ("warm", "cold")
                  for content in ("random", "half")]
        names += ["multifd-%s-%d" % (method, channels)
                  for method in ("none", "zlib", "zstd")
                  for channels in self.args.channels]
        return names

    def make(self, name):
        words = name.split("-")
        return {"plain": self.plain, "mapped": self.mapped,
                "multifd": self.multifd}[words[0]](name, *words[1:])

    def plain(self, name, transport, content):
        ways = self.ways
        stream = self.cache.plain(self.args.size, content)
        # The library makes a pipe larger: so does what it is compared with.
        room = PIPE_ROOM if transport == "pipe" else None
        all_ways = [
            ("limit", lambda _: ways.limit(transport, stream, room=room)),
            ("limit small",
             lambda _: ways.limit(transport, stream, "small", room=room)),
        ]
        if room:
            all_ways.append(("limit, pipe as it is",
                             lambda _: ways.limit(transport, stream)))
        if transport == "file":
            all_ways.append(("2 readers", lambda _: ways.limit(
                transport, stream, threads=2)))
        all_ways.append(("vmload", lambda check: ways.load(
            transport, stream, check)))
        for label, binary, _ in self.qemus:
            all_ways.append((label, lambda _, binary=binary: ways.qemu(
                binary, transport, stream)))
        return Group(name, "plain stream, %s, %s" % (transport, content),
                     stream, all_ways)

    def mapped(self, name, heat, content):
        """The limit reads the plain stream: the same pages, and no holes."""
        ways = self.ways
        plain = self.cache.plain(self.args.size, content)
        stream = self.cache.mapped(self.args.size, content)
        all_ways = []
        for n in self.args.threads:
            all_ways.append((
                "limit" if n == 1 else "%d readers" % n,
                lambda _, n=n: ways.limit("file", plain, threads=n)))
        if 1 not in self.args.threads:
            all_ways.insert(0, ("limit",
                                lambda _: ways.limit("file", plain)))
        for n in self.args.threads:
            all_ways.append(("vmload %d" % n,
                             lambda check, n=n: ways.load(
                                 "file", stream, check, threads=n)))
        for label, binary, knows in self.qemus:
            for n in self.args.threads if knows else ():
                def prepare(qemu, n=n):
                    qemu.capabilities(mapped_ram=True, multifd=n > 1)
                    if n > 1:
                        qemu.parameters(multifd_channels=n)
                all_ways.append((
                    "%s, %d" % (label, n),
                    lambda _, binary=binary, prepare=prepare: ways.qemu(
                        binary, "file", stream, prepare)))

        def before():
            drop(plain)
            drop(stream)
        return Group(name, "mapped-ram, %s, %s" % (heat, content), stream,
                     all_ways, before if heat == "cold" else None)

    def multifd(self, name, method, channels):
        ways = self.ways
        n = int(channels)
        if method == "none":
            stream = self.cache.multifd(self.args.size, "random", n, method)
            all_ways = [
                ("receivers", lambda _: ways.receivers(stream, n)),
                ("receivers small",
                 lambda _: ways.receivers(stream, n, "small"))]
        else:
            size = min(self.args.size, self.args.compressed_size)
            stream = self.cache.multifd(size, "compressible", n, method)
            all_ways = [
                ("decompressors",
                 lambda _: ways.decompressors(stream, n, method)),
                ("decompressors, barriers",
                 lambda _: ways.decompressors(stream, n, method,
                                              "--barriers")),
                ("decompressors, no sender",
                 lambda _: ways.decompressors_file(stream, method))]
        all_ways.append(("vmload", lambda check: ways.load(
            "unix", stream, check, channels=n)))

        def prepare(qemu):
            qemu.capabilities(multifd=True)
            qemu.parameters(multifd_channels=n, multifd_compression=method)
        for label, binary, _ in self.qemus:
            all_ways.append((label, lambda _, binary=binary: ways.qemu(
                binary, "unix", stream, prepare)))
        return Group(name, "multifd, %s, %d channels" % (method, n), stream,
                     all_ways)
