#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vmload inspect, dump, ram and check over recorded streams."""
import hashlib
import json
import random
import re
import struct
import unittest

from cli import Case, INDEX, LOADABLE, REFUSED, data, escape, path, run

HEADER = 8


def described(name, change):
    """A stream whose description went through @change."""
    stream = data(name)
    at = INDEX[name]['vmdesc_offset'] + 5
    root = json.loads(stream[at:])
    change(root)
    text = json.dumps(root).encode()
    return stream[:at - 4] + struct.pack('>I', len(text)) + text


class Usage(Case):
    def test_usage(self):
        for args in ([], ['nothing'], ['inspect'], ['inspect', 'a', 'b'],
                     ['inspect', '--nothing', 'a'], ['ram', 'a'],
                     ['dump', '--limit', 'sections', 'a'],
                     ['dump', '--limit', 'sections=0', 'a'],
                     ['dump', '--limit', 'sections=-1', 'a'],
                     ['dump', '--limit', 'sections=1X', 'a'],
                     ['dump', '--limit', 'nothing=1', 'a'],
                     ['check', '--limit', 'ram-bytes=99999999999T', 'a']):
            code, out, err = run(*args)
            self.assertEqual(code, 2, args)
            self.assertEqual(out, '', args)
            self.assertNotEqual(err, '', args)

    def test_help(self):
        self.assertIn('receive', self.ok('--help'))
        self.assertRegex(self.ok('--version'), r'^vmload \d+\.\d+\.\d+\n$')
        for command in ('receive', 'inspect', 'dump', 'ram', 'check'):
            out = self.ok(command, '--help')
            self.assertIn('vmload ' + command, out)
            self.assertIn('--limit', out)

    def test_no_file(self):
        for args in (['inspect'], ['dump'], ['check'],
                     ['ram', '--out', self.folder]):
            self.assertIn('No such file', self.fails(*args, '/nonexistent'))


class Inspect(Case):
    def test_json(self):
        for name in LOADABLE:
            with self.subTest(name):
                self.check_json(name, self.inspect(path(name)))

    def check_json(self, name, found):
        expected = INDEX[name]
        # Every byte behind the header is in a record, in order.
        end = HEADER
        for record in found['records']:
            self.assertEqual(record['offset'], end)
            end += record['length']
        self.assertEqual(end, expected['size'])
        self.assertEqual(found['configuration'] is not None,
                         expected['configuration'])
        self.assertEqual(found['footers'],
                         'all' if expected['footers'] else 'none')
        self.assertEqual(found['vmdesc']['present'],
                         expected['vmdesc_offset'] is not None)
        if found['vmdesc']['present']:
            self.assertTrue(found['vmdesc']['agrees'])
            self.assertEqual(found['vmdesc']['page_size'], 4096)
            for device in found['devices']:
                self.assertEqual(device['bytes'], device['described_bytes'])
        for kind in ('normal', 'zero', 'xbzrle'):
            self.assertEqual(found['ram']['pages_' + kind],
                             expected['pages'].get(kind, 0))
        self.assertIsNone(found['error'])

    def test_configuration(self):
        found = self.inspect(path('none-capabilities'))['configuration']
        self.assertEqual(found, {
            'machine': 'none', 'capabilities': ['x-ignore-shared'],
            'uuid': '00112233445566778899aabbccddeeff'})

    def test_pipe(self):
        for name in ('pc', 'none', 'pc-2.2'):
            for more in ([], ['--json'], ['--all']):
                self.assertEqual(
                    self.ok('inspect', *more, '-', stdin=data(name)),
                    self.ok('inspect', *more, path(name)))

    def test_text(self):
        out = self.ok('inspect', path('xbzrle'))
        self.assertIn('machine:       isapc', out)
        self.assertRegex(out, r'PART +\d+ ram/0 v4 \(\d+ of them\)')
        self.assertIn('36 XBZRLE', out)
        self.assertIn('footers:       all', out)
        self.assertRegex(out, r'description: .* 21 devices, agrees')
        parts = len(re.findall(r' PART ', self.ok('inspect', '--all',
                                                  path('xbzrle'))))
        self.assertEqual(parts, int(re.search(r'\((\d+) of them', out)[1]))

    def test_refused(self):
        for name in REFUSED:
            self.assertIn('POSTCOPY_ADVISE',
                          self.fails('inspect', path(name)))

    def test_cut_json_is_json(self):
        stream = data('pc')
        for length in (0, 3, 8, 9, 100, 20000, 30000, len(stream) - 1):
            code, out, err = run('inspect', '--json', '-',
                                 stdin=stream[:length])
            self.assertEqual(code, 1, length)
            found = json.loads(out)
            self.assertNotEqual(found['error'], None)
            self.assertEqual(len(err.splitlines()), 1)


class Dump(Case):
    def test_all(self):
        for name in LOADABLE:
            with self.subTest(name):
                devices = json.loads(self.ok('dump', path(name)))
                key = 'raw'
                if INDEX[name]['vmdesc_offset'] is not None:
                    key = 'fields'
                self.assertGreaterEqual(len(devices), 2)
                for device in devices:
                    if device['name'] == 'dirty-bitmap':
                        continue    # nothing describes it
                    self.assertEqual(
                        set(device),
                        {'name', 'instance_id', 'version', key})

    def test_device(self):
        found = json.loads(self.ok('dump', '--device', 'pckbd', path('pc')))
        self.assertEqual(len(found), 1)
        kbd = found[0]['fields']['kbd']
        self.assertEqual(kbd['status'] & 0x18, 0x18)
        self.assertIn('pckbd/extended_state', kbd)
        both = json.loads(self.ok('dump', '--device', 'dma', path('pc')))
        self.assertEqual([d['instance_id'] for d in both], [0, 1])
        one = json.loads(self.ok('dump', '-d', 'dma/1', path('pc')))
        self.assertEqual(one, both[1:])

    def test_device_with_slashes(self):
        found = json.loads(self.ok('dump', '--device', '0000:00:00.0/I440FX',
                                   '-', stdin=data('pc')))
        self.assertEqual(found[0]['name'], '0000:00:00.0/I440FX')
        config = bytes.fromhex(found[0]['fields']['parent_obj']['config[0]'])
        self.assertEqual(config[:4], struct.pack('<HH', 0x8086, 0x1237))
        again = json.loads(self.ok('dump', '--device',
                                   '0000:00:00.0/I440FX/0', path('pc')))
        self.assertEqual(found, again)

    def test_equal_names(self):
        def change(root):
            root['devices'][0]['fields'][2]['name'] = 'cpu_ticks_offset'

        found = json.loads(self.ok('dump', '-d', 'timer', '-',
                                   stdin=described('none', change)))
        self.assertEqual(list(found[0]['fields']),
                         ['cpu_ticks_offset', 'unused', 'cpu_ticks_offset#2'])

    def test_no_device(self):
        for name in ('nothing', 'dma/2', 'dma/1x', '/', ''):
            self.assertIn('no device', self.fails('dump', '-d', name,
                                                  path('pc')))


class Ram(Case):
    def test_content(self):
        for name in LOADABLE:
            with self.subTest(name):
                out = self.folder / name
                text = self.ok('ram', path(name), '--out', out)
                sizes = dict(line.split() for line in text.splitlines())
                self.assertEqual(set(sizes),
                                 {file.name for file in out.iterdir()})
                for block, digest in INDEX[name]['ram_sha256'].items():
                    content = (out / escape(block)).read_bytes()
                    self.assertEqual(len(content), int(sizes[escape(block)]))
                    self.assertEqual(hashlib.sha256(content).hexdigest(),
                                     digest)

    def test_odd_names(self):
        """A block's name stays in the folder, whatever it is."""
        names = [b'.', b'..', b'../../up', b'/', b'a b', b'%41', b'\xff\n',
                 'Größe'.encode(), b'-']
        stream = data('none')
        blocks = b''.join(bytes([len(n)]) + n + struct.pack('>Q', 4096)
                          for n in names)
        head = struct.pack('>Q', 4096 * len(names) | 4)
        empty = struct.pack('>Q', 4)
        # Behind instance 0 and version 4, which look the same.
        at = stream.rindex(empty)
        file = self.write('odd', stream[:at] + head + blocks +
                          stream[at + len(empty):])
        self.ok('ram', file, '--out', self.folder / 'odd-ram')
        found = sorted(f.name for f in (self.folder / 'odd-ram').iterdir())
        self.assertEqual(found, sorted([
            '%2E', '%2E%2E', '..%2F..%2Fup', '%2F', 'a%20b', '%2541',
            '%FF%0A', 'Gr%C3%B6%C3%9Fe', '-']))
        for command in (['inspect'], ['inspect', '--json'], ['check']):
            self.assertNotIn('\xff', self.ok(*command, file))

    def test_failure_leaves_nothing(self):
        self.fails('ram', '-', '--out', self.folder / 'r',
                   stdin=data('pc')[:20000])
        self.assertEqual(list((self.folder / 'r').iterdir()), [])


class Check(Case):
    def problems(self, content):
        """The problems and notes of a stream that has some."""
        file = self.write('stream', content)
        code, out, err = run('check', file)
        self.assertEqual(err, '')
        self.last_output = out
        lines = out.splitlines()
        problems = [line for line in lines if line.startswith('problem: ')]
        self.assertEqual(code, 1 if problems else 0, out)
        if problems:
            self.assertEqual(int(lines[-1].split()[0]), len(problems))
        return problems

    def assertProblem(self, problems, *parts):
        for line in problems:
            if all(part in line for part in parts):
                return
        self.fail('%s in none of %s' % (parts, problems))

    def test_good(self):
        for name in LOADABLE:
            with self.subTest(name):
                self.assertEqual(self.problems(data(name)), [])

    def test_notes(self):
        out = self.ok('check', path('pc-2.2'))
        for part in ('no configuration', 'no footers', 'no description'):
            self.assertIn(part, out)
        self.assertIn('no END', self.ok('check', path('background-snapshot')))

    def test_pipe(self):
        self.assertIn('no problems', self.ok('check', '-', stdin=data('pc')))
        code, out, _ = run('check', '-', stdin=data('pc')[:-1])
        self.assertEqual(code, 1)
        self.assertIn('not a regular file', out)

    def test_trailing_bytes(self):
        found = self.problems(data('pc') + b'\0{x}')
        self.assertEqual(len(found), 1)
        self.assertProblem(found, '4 bytes behind the end')

    def test_two_devices_damaged(self):
        """A version and a subsection's name, far apart: both are named."""
        stream = bytearray(data('pc'))
        record = self.record('pc', 'i8254')
        stream[record['offset'] + 5 + 1 + len('i8254') + 7] ^= 0x40
        at = stream.index(b'pckbd/extended_state')
        stream[at + 8] ^= 1
        found = self.problems(bytes(stream))
        self.assertProblem(found, "'i8254'/0", 'version')
        self.assertProblem(found, "'pckbd'/0", 'kbd.pckbd/extended_state')

    def test_behind_the_first_error(self):
        """The loader stops at a footer; two later devices are bad too."""
        stream = bytearray(data('pc'))
        record = self.record('pc', 'cpu')
        stream[record['offset'] + record['length'] - 1] ^= 0xff
        record = self.record('pc', 'mc146818rtc')
        stream[record['offset'] + record['length'] - 5] = 0
        at = stream.index(b'pckbd/extended_state')
        stream[at + 8] ^= 1
        found = self.problems(bytes(stream))
        self.assertProblem(found, "channel 'main'")
        self.assertProblem(found, "'mc146818rtc'/0", 'footer')
        self.assertProblem(found, "'pckbd'/0", 'extended_state')

    def test_missing_section(self):
        stream = data('pc')
        record = self.record('pc', 'i8254')
        found = self.problems(stream[:record['offset']] +
                              stream[record['offset'] + record['length']:])
        self.assertEqual(len(found), 1)
        self.assertProblem(found, "'i8254'/0", 'no section')

    def test_extra_section(self):
        stream = data('pc')
        record = self.record('pc', 'i8254')
        start, end = record['offset'], record['offset'] + record['length']
        found = self.problems(stream[:end] + stream[start:])
        self.assertEqual(len(found), 1)
        self.assertProblem(found, "'i8254'/0", 'in the description')

    def test_many_missing(self):
        """A long description does not make many searches."""
        def change(root):
            device = root['devices'][0]
            root['devices'][:0] = [dict(device, name='missing%d' % i)
                                   for i in range(30)]

        stream = bytearray(described('none', change))
        record = self.record('none', 'timer')
        stream[record['offset'] + record['length'] - 5] = 0
        found = self.problems(bytes(stream))
        missing = [line for line in found if "'missing" in line]
        self.assertEqual(len(missing), 16)
        self.assertIn('too many', self.last_output)

    def test_section_at_the_very_end(self):
        """The head of a section where its payload cannot be."""
        def change(root):
            root['devices'].append(dict(root['devices'][0], name='x'))

        stream = described('none', change)
        at = INDEX['none']['vmdesc_offset'] - 1
        head = b'\4\0\0\0\x09\1x\0\0\0\0\0\0\0\2'
        for cut in range(len(head) + 1):
            self.problems(stream[:at - 1] + head[:cut] + stream[at:])

    def test_global_state(self):
        stream = data('pc')
        found = self.problems(stream.replace(b'\x08running\0',
                                             b'\x08ruNNing\0'))
        self.assertProblem(found, 'globalstate', 'run state', 'ruNNing')

    def test_bad_description(self):
        stream = data('pc')
        found = self.problems(stream.replace(b'"page_size": 4096',
                                             b'"page_size": -096'))
        self.assertProblem(found, 'vmdesc')
        found = self.problems(stream.replace(
            b'{"name": "nirq", "type": "int32 equal", "size": 4}',
            b'{"name": "nirq", "type": "int32 equal", "size": 3}'))
        self.assertEqual(len(found), 1)
        self.assertProblem(found, "'PCIBUS'", "'nirq'", 'expected size 4')

    def test_cut(self):
        """Cut anywhere but behind EOF there is a problem."""
        for name, every in (('none', 1), ('pc', 997)):
            stream = data(name)
            eof = INDEX[name]['vmdesc_offset']
            for length in range(0, len(stream), every):
                found = self.problems(stream[:length])
                if length != eof:
                    self.assertNotEqual(found, [], (name, length))

    def test_noise(self):
        """Whatever is damaged, check ends by itself and is in its place."""
        stream = data('isapc')
        noise = random.Random(1)
        for _ in range(60):
            damaged = bytearray(stream)
            for _ in range(noise.choice((1, 3, 50))):
                damaged[noise.randrange(len(damaged))] = noise.randrange(256)
            file = self.write('noise', bytes(damaged))
            for command in ('check', 'inspect', 'dump'):
                code, _, err = run(command, file)
                self.assertIn(code, (0, 1), err)


if __name__ == '__main__':
    unittest.main()
