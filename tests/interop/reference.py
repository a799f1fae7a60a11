# SPDX-License-Identifier: BSD-3-Clause
"""A second, independent reader of guest memory out of a recorded stream.

Slow, simple, and sharing no line with the library: what it rebuilds is what
vmload must rebuild. It starts at the RAM section, believes every byte, and
stops at the first section that is not RAM's.
"""

import collections
import struct

PAGE_SIZE = 4096
ZERO, MEM_SIZE, PAGE, EOS, CONTINUE, XBZRLE = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40
FLUSH = 0x200
NAMES = {ZERO: "zero", PAGE: "normal", XBZRLE: "xbzrle"}


class StreamError(Exception):
    """The stream is not one this reader understands."""


def apply_xbzrle(page, data):
    """Store the runs of DATA in PAGE."""
    def run_length(at):
        value = data[at]
        if value & 0x80:
            return (value & 0x7F) | (data[at + 1] << 7), at + 2
        return value, at + 1

    at = to = 0
    while at < len(data):
        skip, at = run_length(at)
        count, at = run_length(at)
        to += skip
        page[to:to + count] = data[at:at + count]
        to += count
        at += count


class Reader:
    """Rebuilds blocks (name -> bytearray) and counts pages by kind."""

    def __init__(self, data):
        self.data = data
        self.blocks = {}
        self.counts = collections.Counter()
        self.name = None
        self.footers = False
        at = data.find(b"\x03ram\0\0\0\0\0\0\0\4")
        if at < 0:
            raise StreamError("no RAM section")
        self.at = at + 12
        # With this capability every entry of the block list has an address.
        self.addresses = b"x-ignore-shared" in data[:at]
        self.end = None
        while self.section():
            pass

    def take(self, fmt):
        value = struct.unpack_from(fmt, self.data, self.at)[0]
        self.at += struct.calcsize(fmt)
        return value

    def take_name(self):
        length = self.take(">B")
        name = self.data[self.at:self.at + length].decode()
        self.at += length
        return name

    def section(self):
        """One payload; true if the next section is RAM's, too."""
        while True:
            word = self.take(">Q")
            flags, offset = word & (PAGE_SIZE - 1), word & -PAGE_SIZE
            if flags == EOS:
                break
            if flags == MEM_SIZE:
                self.block_list(offset)
            elif flags != FLUSH:
                self.page(flags, offset)
        self.end = self.at
        if self.data[self.at] == 0x7E:
            self.footers = True
            self.at += 5
        if self.data[self.at] == 0x08 and self.data[self.at + 2] == 11:
            self.at += 5                    # switchover-start
        if self.data[self.at] not in (2, 3):
            return False
        self.at += 5
        return True

    def block_list(self, total):
        while total:
            name = self.take_name()
            length = self.take(">Q")
            if self.addresses:
                self.take(">Q")
            self.blocks[name] = bytearray(length)
            total -= length

    def page(self, flags, offset):
        if not flags & CONTINUE:
            self.name = self.take_name()
        kind = flags & ~CONTINUE
        block = self.blocks[self.name]
        if offset >= len(block):
            raise StreamError("page 0x%x beyond %s" % (offset, self.name))
        if kind == ZERO:
            if self.take(">B"):
                raise StreamError("zero page that is not zero")
            block[offset:offset + PAGE_SIZE] = bytes(PAGE_SIZE)
        elif kind == PAGE:
            block[offset:offset + PAGE_SIZE] = self.data[
                self.at:self.at + PAGE_SIZE]
            self.at += PAGE_SIZE
        elif kind == XBZRLE:
            if self.take(">B") != 1:
                raise StreamError("unknown XBZRLE encoding")
            length = self.take(">H")
            page = block[offset:offset + PAGE_SIZE]
            apply_xbzrle(page, self.data[self.at:self.at + length])
            block[offset:offset + PAGE_SIZE] = page
            self.at += length
        else:
            raise StreamError("flags 0x%x at 0x%x" % (flags, self.at - 8))
        self.counts[NAMES[kind]] += 1


def read(path):
    """Rebuild the memory in the stream at PATH."""
    with open(path, "rb") as stream:
        return Reader(stream.read())
