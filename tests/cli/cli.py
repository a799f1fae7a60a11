# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the vmload binary share.

Environment: VMLOAD_BINARY, VMLOAD_STREAMS; by default those of this tree.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = os.environ.get('VMLOAD_BINARY',
                        str(TOP / 'build' / 'examples' / 'vmload' / 'vmload'))
STREAMS = pathlib.Path(os.environ.get('VMLOAD_STREAMS',
                                      str(TOP / 'tests' / 'streams')))
INDEX = json.loads((STREAMS / 'index.json').read_text())

# A command that the library refuses by name.
REFUSED = {'none-postcopy-advise'}
LOADABLE = sorted(set(INDEX) - REFUSED)
TIMEOUT = 60


def path(name):
    return str(STREAMS / INDEX[name]['file'])


def data(name):
    return pathlib.Path(path(name)).read_bytes()


def escape(block):
    """The file name of a RAM block."""
    return ''.join(chr(c) if re.match(rb'[A-Za-z0-9._:-]', bytes([c]))
                   else '%%%02X' % c for c in block.encode())


def run(*args, stdin=None):
    """Runs vmload; returns exit code, stdout, stderr."""
    result = subprocess.run([BINARY, *map(str, args)], input=stdin,
                            stdin=None if stdin is not None
                            else subprocess.DEVNULL,
                            capture_output=True, timeout=TIMEOUT)
    return (result.returncode, result.stdout.decode(),
            result.stderr.decode())


class Case(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='vmload-cli-'))
        self.addCleanup(shutil.rmtree, self.folder)

    def ok(self, *args, stdin=None):
        """Runs vmload, which must succeed in silence; returns stdout."""
        code, out, err = run(*args, stdin=stdin)
        self.assertEqual((code, err), (0, ''), args)
        return out

    def fails(self, *args, stdin=None, code=1):
        """Runs vmload, which must fail with one line; returns that line."""
        got, _, err = run(*args, stdin=stdin)
        self.assertEqual(got, code, (args, err))
        self.assertEqual(len(err.splitlines()), 1, (args, err))
        self.assertTrue(err.startswith('vmload: '), err)
        return err

    def write(self, name, content):
        file = self.folder / name
        file.write_bytes(content)
        return file

    def inspect(self, file):
        return json.loads(self.ok('inspect', '--json', file))

    def record(self, name, device):
        """The FULL record of a device, by inspect."""
        for record in self.inspect(path(name))['records']:
            if record['type'] == 'FULL' and record['name'] == device:
                return record
        raise AssertionError('no section of ' + device)
