#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vmload convert over recorded streams: there, and back again."""
import json
import os
import tempfile
import unittest

import cli


class Convert(unittest.TestCase):
    """What comes back is what was there."""

    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = self.scratch.name
        self.addCleanup(self.scratch.cleanup)

    def path(self, name):
        return os.path.join(self.folder, name)

    def ok(self, *args):
        code, out, err = cli.run(*args)
        self.assertEqual((code, err), (0, ''), args)
        return out

    def ram(self, stream, name):
        """All blocks of a stream."""
        folder = self.path(name)
        self.ok('ram', stream, '--out', folder)
        blocks = {}
        for block in sorted(os.listdir(folder)):
            with open(os.path.join(folder, block), 'rb') as content:
                blocks[block] = content.read()
        return blocks

    def round_trip(self, name):
        stream = cli.path(name)
        mapped = self.path('mapped')
        plain = self.path('plain')
        again = self.path('again')
        self.ok('convert', stream, mapped)
        self.ok('convert', '--plain', mapped, plain)
        self.ok('convert', plain, again)
        expected = self.ram(stream, 'ram')
        self.assertEqual(self.ram(mapped, 'ram-mapped'), expected)
        self.assertEqual(self.ram(plain, 'ram-plain'), expected)
        with open(mapped, 'rb') as one, open(again, 'rb') as two:
            self.assertEqual(one.read(), two.read())
        for path in (mapped, plain):
            self.assertEqual(self.ok('dump', path), self.ok('dump', stream))
            self.ok('check', path)
        found = json.loads(self.ok('inspect', '--json', mapped))
        for block in found['ram']['blocks']:
            self.assertEqual(block['mapped']['pages_offset'] % (1 << 20), 0)
            self.assertEqual(block['mapped']['version'], 1)

    def test_pc(self):
        self.round_trip('pc')

    def test_xbzrle(self):
        self.round_trip('xbzrle')

    def test_without_ram(self):
        self.round_trip('none')

    def refused(self, word, *args):
        out = self.path('out')
        code, _, err = cli.run('convert', *args, out)
        self.assertEqual(code, 1)
        self.assertIn(word, err)
        self.assertEqual(err.count('\n'), 1)
        self.assertFalse(os.path.exists(out))

    def test_refused(self):
        self.refused('configuration', cli.path('pc-2.2'))
        self.refused('x-ignore-shared', cli.path('isapc-ignore-shared'))
        self.refused('plain stream', '--plain', cli.path('pc'))

    def test_same_file(self):
        copy = self.path('copy')
        with open(copy, 'wb') as out:
            out.write(cli.data('none'))
        code, _, err = cli.run('convert', copy, copy)
        self.assertEqual(code, 1)
        self.assertIn('another file', err)
        with open(copy, 'rb') as kept:
            self.assertEqual(kept.read(), cli.data('none'))

    def test_usage(self):
        self.assertEqual(cli.run('convert', 'one')[0], 2)
        self.assertEqual(cli.run('convert', '--plain', '-', 'out')[0], 2)
        self.assertEqual(cli.run('receive', '--threads', '-1', 'file:x')[0], 2)


if __name__ == '__main__':
    unittest.main()
