#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Check guest memory against the pattern of tests/guest/sweep.S.

The guest writes strictly upwards, word by word, so at any instant its range
holds sweep n up to some word and sweep n - 1 from there on. This program
computes both and compares every word: one that is lost, stale or misplaced
is found and named.
"""

import argparse
import array
import json
import struct
import sys

PAGE_SIZE = 4096
PAGE_WORDS = 1024
MASK = 0xFFFFFFFF
SEED_SWEEP = 0x9E3779B1
SEED_PAGE = 0x85EBCA6B
FILL_PAGE = 0xC2B2AE35
ZERO_PAGE = bytes(PAGE_SIZE)

SECTOR = 0x7C00
MARK = b"VMSWEEP1"
MARK_OFFSET = 4


class PatternError(Exception):
    """The memory does not hold what the guest wrote."""


def pack_page(words):
    """A page of little-endian words; the last one is the sum of the rest."""
    words.append(sum(words) & MASK)
    return struct.pack("<%dI" % PAGE_WORDS, *words)


def random_page(sweep, frame, seed):
    """Kinds 0 and 1: xorshift32, does not compress."""
    words = [sweep, frame]
    state = seed
    append = words.append
    for _ in range(PAGE_WORDS - 3):
        state ^= (state << 13) & MASK
        state ^= state >> 17
        state ^= (state << 5) & MASK
        append(state)
    return pack_page(words)


def sparse_page(sweep, frame, seed):
    """Kinds 2 to 5: six words differ from one sweep to the next."""
    words = [(FILL_PAGE * frame) & MASK] * (PAGE_WORDS - 1)
    words[0] = sweep
    words[1] = frame
    for i in range(0x80, PAGE_WORDS - 1, 0x100):
        words[i] = seed
    return pack_page(words)


def expected_page(sweep, frame):
    """What sweep number SWEEP leaves in page frame FRAME."""
    kind = frame & 7
    if sweep == 0 or kind >= 6 or (kind == 5 and not sweep & 1):
        return ZERO_PAGE
    seed = ((SEED_SWEEP * sweep) ^ (SEED_PAGE * frame)) & MASK | 1
    if kind < 2:
        return random_page(sweep, frame, seed)
    return sparse_page(sweep, frame, seed)


def find_range(read):
    """The guest's own range, from the boot sector in its memory."""
    sector = read(SECTOR, 512)
    if sector[MARK_OFFSET:MARK_OFFSET + len(MARK)] != MARK:
        raise PatternError("no boot sector of ours at 0x%x" % SECTOR)
    start, end = struct.unpack_from("<II", sector, MARK_OFFSET + len(MARK))
    if start % PAGE_SIZE or end % PAGE_SIZE or start >= end:
        raise PatternError("bad range 0x%x..0x%x" % (start, end))
    return start, end


def find_sweep(read, start, end):
    """The sweep that was running: that of the first page always written."""
    for frame in range(start >> 12, end >> 12):
        if frame & 7 < 5:
            return struct.unpack("<I", read(frame * PAGE_SIZE, 4))[0]
    raise PatternError("range holds no page that is always written")


def first_difference(have, want):
    """Index of the first word in which two pages differ."""
    left, right = array.array("I", have), array.array("I", want)
    for i, (a, b) in enumerate(zip(left, right)):
        if a != b:
            return i
    return PAGE_WORDS


def check(read):
    """Check a memory image given by read(offset, length).

    Returns a dict: sweep, break_at (byte offset at which the writer was),
    pages by kind. Raises PatternError at the first wrong word.
    """
    start, end = find_range(read)
    sweep = find_sweep(read, start, end)
    result = {"start": start, "end": end, "sweep": sweep, "break_at": None,
              "random": 0, "sparse": 0, "zero": 0}
    if sweep == 0:
        result["break_at"] = start
    for frame in range(start >> 12, end >> 12):
        at = frame * PAGE_SIZE
        have = read(at, PAGE_SIZE)
        if len(have) != PAGE_SIZE:
            raise PatternError("memory ends at 0x%x" % (at + len(have)))
        behind = result["break_at"] is not None
        want = expected_page(max(sweep - 1, 0) if behind else sweep, frame)
        if have != want:
            check_break(have, want, sweep, frame, result)
        if have == ZERO_PAGE:
            result["zero"] += 1
        elif frame & 7 < 2:
            result["random"] += 1
        else:
            result["sparse"] += 1
    if result["break_at"] is None:
        result["break_at"] = end
    return result


def check_break(have, want, sweep, frame, result):
    """A page that is not WANT: the one with the break point, or wrong."""
    word = first_difference(have, want)
    at = frame * PAGE_SIZE + 4 * word
    if result["break_at"] is None:
        before = expected_page(max(sweep - 1, 0), frame)
        if have[4 * word:] == before[4 * word:]:
            result["break_at"] = at
            return
        bad = word + first_difference(
            have[4 * word:] + want[:4 * word], before[4 * word:] +
            want[:4 * word])
        at = frame * PAGE_SIZE + 4 * bad
        want = before
    offset = at % PAGE_SIZE
    raise PatternError(
        "page 0x%x (kind %d), offset 0x%x: found %s, expected %s of sweep %d"
        "%s" % (frame, frame & 7, offset, have[offset:offset + 4].hex(),
                want[offset:offset + 4].hex(), sweep,
                "" if result["break_at"] is None else
                " - 1 (writer was at 0x%x)" % result["break_at"]))


def check_file(path):
    """check() on a file that is guest memory from physical address 0 on."""
    with open(path, "rb") as image:
        def read(offset, length):
            image.seek(offset)
            return image.read(length)
        return check(read)


def main():
    parser = argparse.ArgumentParser(
        description="Check a RAM image of the sweeping guest.")
    parser.add_argument("image", help="RAM from guest physical address 0 on")
    args = parser.parse_args()
    try:
        result = check_file(args.image)
    except (PatternError, OSError) as error:
        print("%s: %s" % (args.image, error), file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
