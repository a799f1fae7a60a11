#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vmload receive, from everything that needs no QEMU."""
import errno
import hashlib
import json
import os
import pty
import re
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
import unittest

from cli import (BINARY, Case, INDEX, LOADABLE, TIMEOUT, data, escape, path,
                 run)

OPEN_RETURN_PATH = bytes.fromhex('0800010000')
SHUT_OK = bytes.fromhex('0001000400000000')
SHUT_FAILED = bytes.fromhex('0001000400000001')


class Files(Case):
    """What a load leaves behind."""

    def receive(self, uri, *more):
        return self.ok('receive', '--quiet', '--ram-dir', self.folder / 'ram',
                       '--devices', self.folder / 'devices', '--stats',
                       self.folder / 'stats', *more, uri)

    def load(self, name):
        return json.loads((self.folder / name).read_text())

    def test_all(self):
        for commit in ('streaming', 'atomic'):
            for name in LOADABLE:
                with self.subTest((name, commit)):
                    out = self.receive('file:' + path(name), '--commit',
                                       commit)
                    self.assertEqual(out, '')
                    self.check_stats(name)
                    self.check_ram(name)
                    self.check_devices(name)

    def check_stats(self, name):
        stats = self.load('stats')
        self.assertEqual(stats['status'], 'completed')
        self.assertEqual(stats['bytes_total'], INDEX[name]['size'])
        for kind in ('normal', 'zero', 'xbzrle'):
            self.assertEqual(stats['ram']['pages_' + kind],
                             INDEX[name]['pages'].get(kind, 0))
        for key in ('io_wait_ns', 'held_max_ns', 'held_total_ns'):
            self.assertIsInstance(stats['lock'][key], int)
        self.assertEqual(stats['lock']['io_wait_ns'], 0)
        for device in stats['devices']:
            for key in ('instance_id', 'bytes', 'staging_ns', 'lock_wait_ns',
                        'lock_held_ns'):
                self.assertIsInstance(device[key], int)
        self.assertIn('timer', [d['name'] for d in stats['devices']])

    def check_ram(self, name):
        for block, digest in INDEX[name]['ram_sha256'].items():
            content = (self.folder / 'ram' / escape(block)).read_bytes()
            self.assertEqual(hashlib.sha256(content).hexdigest(), digest)

    def check_devices(self, name):
        devices = self.load('devices')
        self.assertEqual(devices, json.loads(self.ok('dump', path(name))))

    def test_sources(self):
        """The same stream over each transport."""
        self.receive('file:' + path('pc'))
        expected = self.load('devices')
        self.receive('exec:cat ' + path('pc'))
        self.assertEqual(self.load('devices'), expected)
        shifted = self.write('shifted', b'x' * 77 + data('pc'))
        self.receive('file:%s,offset=77' % shifted)
        self.assertEqual(self.load('devices'), expected)

    def test_failure(self):
        """One line, statistics that say so, and no RAM and no devices."""
        cut = self.write('cut', data('pc')[:40000])
        err = self.fails('receive', '--quiet', '--ram-dir',
                         self.folder / 'ram', '--devices',
                         self.folder / 'devices', '--stats',
                         self.folder / 'stats', 'file:%s' % cut)
        self.assertRegex(err, r"channel 'main'.*offset 0x")
        stats = self.load('stats')
        self.assertEqual(stats['status'], 'failed')
        self.assertIn(stats['error'], err)
        self.assertEqual(list((self.folder / 'ram').iterdir()), [])
        self.assertFalse((self.folder / 'devices').exists())

    def test_description_that_lies(self):
        lie = data('pc').replace(b'pckbd/extended_state"',
                                 b'pckbd/extended_stare"')
        file = self.write('lie', lie)
        for commit in ('streaming', 'atomic'):
            err = self.fails('receive', '--quiet', '--commit', commit,
                             'file:%s' % file)
            self.assertIn("'pckbd'/0", err)
            self.assertIn('extended_stare', err)

    def test_limit(self):
        for limit in ('sections=3', 'ram-bytes=64K', 'section-bytes=16',
                      'vmdesc-bytes=1K', 'ram-blocks=1', 'nesting=1',
                      'elements=2'):
            err = self.fails('receive', '--quiet', '--limit', limit,
                             'file:' + path('pc'))
            name = limit.split('=')[0]
            self.assertIn(name.replace('-', '_'), err.replace('-', '_'))

    def test_prefault(self):
        page = bytes(range(1, 129)) * 32
        size = 16 << 20
        stream = [b'QEVM\0\0\0\3', b'\1\0\0\0\2\3ram', struct.pack('>II', 0, 4),
                  struct.pack('>QB', size | 4, 6), b'pc.ram',
                  struct.pack('>QQ', size, 0x10), b'\2\0\0\0\2']
        for offset in range(0, size, 4096):
            stream.append(struct.pack('>QB', 8, 6) + b'pc.ram' if offset == 0
                          else struct.pack('>Q', offset | 0x28))
            stream.append(page)
        stream += [struct.pack('>Q', 0x10), b'\3\0\0\0\2',
                   struct.pack('>Q', 0x10), b'\0']
        file = self.write('stream', b''.join(stream))
        for value in ('auto', 'off', '4M', '1G'):
            self.ok('receive', '--quiet', '--threads', '1', '--prefault',
                    value, '--stats', self.folder / 'stats',
                    'file:%s' % file)
            ram = self.load('stats')['ram']
            self.assertEqual(ram['pages_normal'], size // 4096)
            # How much is a matter of who is faster; off is off.
            self.assertLessEqual(ram['bytes_prefaulted'],
                                 0 if value == 'off' else size)

    def test_cannot_write(self):
        for option in ('--devices', '--stats'):
            err = self.fails('receive', '--quiet', option,
                             self.folder / 'no' / 'folder',
                             'file:' + path('none'))
            self.assertIn('No such file', err)
        self.write('file', b'')
        self.fails('receive', '--quiet', '--ram-dir', self.folder / 'file',
                   'file:' + path('none'))

    def test_summary(self):
        code, out, err = run('receive', 'file:' + path('xbzrle'))
        self.assertEqual(code, 0)
        for part in ('completed', '36 XBZRLE', 'blocks', 'MB/s', 'devices',
                     'longest hold'):
            self.assertIn(part, out)
        worst = re.findall(r'^  (\S+)/\d+: lock held ([0-9.]+) us, staged in '
                           r'[0-9.]+ us, .*B$', out, re.M)
        self.assertEqual(len(worst), 5, out)
        held = [float(us) for _, us in worst]
        self.assertEqual(held, sorted(held, reverse=True))
        self.assertRegex(out, r"longest hold \S+ [um]s \(\w+ '.*' instance \d+\)")
        self.assertNotIn('\r', err)


class Usage(Case):
    def test_usage(self):
        for args in ([], ['a:', 'b:'], ['foo:bar'], ['nonsense'],
                     ['--commit', 'never', 'tcp::0'],
                     ['--stall-timeout', '-1', 'tcp::0'],
                     ['--stall-timeout', 'nan', 'tcp::0'],
                     ['--channels', '0', 'tcp::0'],
                     ['--channels', '256', 'tcp::0'],
                     ['--channels', '2x', 'tcp::0'],
                     ['--channels', '', 'tcp::0'],
                     ['--prefault', 'on', 'tcp::0'],
                     ['--prefault', '0', 'tcp::0'],
                     ['--prefault', '-1', 'tcp::0'],
                     ['--prefault', '1025M', 'tcp::0'],
                     ['--quiet', '--progress', 'tcp::0'],
                     ['--limit', 'x', 'tcp::0']):
            code, out, err = run('receive', *args)
            self.assertEqual((code, out), (2, ''), args)
            self.assertNotEqual(err, '', args)


class Live(Case):
    """vmload that listens, and we as the source."""

    def start(self, *args, stderr=subprocess.PIPE):
        child = subprocess.Popen([BINARY, 'receive', *map(str, args)],
                                 stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=stderr)
        self.addCleanup(self.reap, child)
        return child

    @staticmethod
    def reap(child):
        if child.poll() is None:
            child.kill()
        child.communicate()

    @staticmethod
    def listening(child):
        """What it listens on, by the first line of stderr."""
        line = child.stderr.readline().decode()
        return re.fullmatch(r'listening on (\S+)\n', line)[1]

    def connect(self, child):
        kind, rest = self.listening(child).split(':', 1)
        if kind == 'unix':
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(rest)
        else:
            host, port = rest.rsplit(':', 1)
            peer = socket.create_connection((host.strip('[]'), int(port)))
        peer.settimeout(TIMEOUT)
        self.addCleanup(peer.close)
        return peer

    def end(self, child):
        out, err = child.communicate(timeout=TIMEOUT)
        return child.returncode, out.decode(), err.decode()

    def test_tcp(self):
        child = self.start('tcp:127.0.0.1:0')
        peer = self.connect(child)
        peer.sendall(data('pc'))
        peer.shutdown(socket.SHUT_WR)
        code, out, err = self.end(child)
        self.assertEqual(code, 0, err)
        self.assertIn('completed', out)

    def test_unix_return_path(self):
        name = self.folder / 'socket'
        child = self.start('unix:%s' % name)
        self.assertTrue(child.stderr.readable())
        peer = self.connect(child)
        self.assertTrue(stat.S_ISSOCK(os.stat(name).st_mode))
        peer.sendall(data('none-return-path'))
        answer = b''
        while len(answer) < 16:
            more = peer.recv(100)
            self.assertNotEqual(more, b'')
            answer += more
        self.assertEqual(answer[:8].hex(), '0002000400000001')
        self.assertEqual(answer[8:], SHUT_OK)
        self.assertEqual(self.end(child)[0], 0)
        self.assertFalse(name.exists())

    def connect_quietly(self, child):
        """With --quiet nothing says when it listens."""
        while True:
            peer = socket.socket(socket.AF_UNIX)
            self.addCleanup(peer.close)
            peer.settimeout(TIMEOUT)
            try:
                peer.connect(str(self.folder / 'socket'))
                return peer
            except (FileNotFoundError, ConnectionRefusedError):
                # Not there yet, or bound and not listening yet.
                self.assertIsNone(child.poll())
                time.sleep(0.01)

    def test_source_is_told(self):
        """A failure found behind the last byte still reaches the source."""
        child = self.start('--quiet', 'unix:%s/socket' % self.folder)
        peer = self.connect_quietly(child)
        lie = data('none-return-path').replace(b'"timer"', b'"tymer"')
        peer.sendall(lie)
        answer = b''
        while not answer.endswith(SHUT_FAILED):
            more = peer.recv(100)
            self.assertNotEqual(more, b'', answer.hex())
            answer += more
        code, _, err = self.end(child)
        self.assertEqual(code, 1)
        self.assertEqual(len(err.splitlines()), 1)

    def again(self, child, address):
        peer = socket.create_connection(address)
        peer.settimeout(TIMEOUT)
        self.addCleanup(peer.close)
        return peer

    def check_ram(self, name):
        for block, digest in INDEX[name]['ram_sha256'].items():
            content = (self.folder / 'ram' / escape(block)).read_bytes()
            self.assertEqual(hashlib.sha256(content).hexdigest(), digest)

    def test_retry(self):
        """Two sources fail, each in its way; the third one's state counts."""
        child = self.start('--retry', '--ram-dir', self.folder / 'ram',
                           '--devices', self.folder / 'devices', '--stats',
                           self.folder / 'stats', 'tcp:127.0.0.1:0')
        peer = self.connect(child)
        address = peer.getpeername()
        peer.sendall(data('q35')[:-2000])
        # Waits its turn, and is not refused.
        second = self.again(child, address)
        peer.close()
        second.sendall(b'QEVM, but not a migration stream')
        third = self.again(child, address)
        second.close()
        third.sendall(data('pc'))
        third.shutdown(socket.SHUT_WR)
        code, out, err = self.end(child)
        self.assertEqual(code, 0, err)
        failures = [line for line in err.splitlines()
                    if line.startswith('vmload: ')]
        self.assertEqual(len(failures), 2, err)
        self.assertIn("channel 'main'", failures[0])
        self.assertEqual(out.count('completed'), 1)
        stats = json.loads((self.folder / 'stats').read_text())
        self.assertEqual(stats['status'], 'completed')
        self.assertEqual(json.loads((self.folder / 'devices').read_text()),
                         json.loads(self.ok('dump', path('pc'))))
        self.check_ram('pc')

    def test_strangers_first(self):
        """They go one by one; the source behind them is loaded."""
        child = self.start('--stall-timeout', '1', '--stats',
                           self.folder / 'stats', 'tcp:127.0.0.1:0')
        silent = self.connect(child)
        address = silent.getpeername()
        for greeting in (b'GET / HTTP/1.0\r\n\r\n', b'SSH-2.0-x\r\n',
                         bytes.fromhex('16030100c8010000c40303'), b'QEV', b''):
            stranger = self.again(child, address)
            stranger.sendall(greeting)
            try:
                stranger.shutdown(socket.SHUT_WR)
                self.assertEqual(stranger.recv(1), b'')
            except OSError as error:    # closed before it was read out
                self.assertIn(error.errno,
                              (errno.ECONNRESET, errno.ENOTCONN))
        # The silent one has a second; the source comes behind that.
        self.assertEqual(silent.recv(1), b'')
        self.assertIsNone(child.poll())
        peer = self.again(child, address)
        peer.sendall(data('pc'))
        peer.shutdown(socket.SHUT_WR)
        code, out, err = self.end(child)
        self.assertEqual(code, 0, err)
        self.assertIn('completed', out)
        refused = re.findall(r'^refused connection \d+ from tcp:\S+: (.*)$',
                             err, re.M)
        self.assertEqual(len(refused), 6, err)
        for part in ('47455420', 'a TLS handshake', 'within'):
            self.assertEqual(sum(part in line for line in refused), 1, err)
        stats = json.loads((self.folder / 'stats').read_text())
        self.assertEqual(stats['connections_refused'], 6)
        self.assertEqual(stats['status'], 'completed')

    def test_crowd_of_strangers(self):
        """There may be any number; what is said of them is bounded."""
        child = self.start('tcp:127.0.0.1:0')
        first = self.connect(child)
        address = first.getpeername()
        first.close()
        for _ in range(30):
            stranger = self.again(child, address)
            stranger.sendall(b'GET / HTTP/1.0\r\n\r\n')
            stranger.close()
        peer = self.again(child, address)
        peer.sendall(data('none'))
        peer.shutdown(socket.SHUT_WR)
        code, _, err = self.end(child)
        self.assertEqual(code, 0, err)
        self.assertEqual(len(re.findall('^refused ', err, re.M)), 8, err)

    def test_retry_cancelled(self):
        """Between two loads, too."""
        child = self.start('--retry', 'unix:%s/socket' % self.folder)
        peer = self.connect(child)
        peer.sendall(data('pc')[:1000])
        peer.close()
        self.assertIn(b"channel 'main'", child.stderr.readline())
        child.send_signal(signal.SIGTERM)
        self.assertEqual(self.end(child)[0], 130)
        self.assertFalse((self.folder / 'socket').exists())

    def test_retry_needs_a_listener(self):
        for uri in ('exec:true', 'file:' + path('pc')):
            code, _, err = run('receive', '--retry', uri)
            self.assertEqual(code, 2, err)
        code, _, err = run('receive', '--retry', '--commit', 'streaming',
                           'tcp:127.0.0.1:0')
        self.assertEqual(code, 2)

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            for connected in (False, True):
                child = self.start('--ram-dir', self.folder / 'ram',
                                   'tcp:127.0.0.1:0')
                if connected:
                    peer = self.connect(child)
                    peer.sendall(data('pc')[:20000])
                    peer.sendall(b'')
                    while not list(self.folder.glob('ram/pc.ram')):
                        time.sleep(0.01)
                else:
                    self.listening(child)
                started = time.monotonic()
                child.send_signal(number)
                code, out, err = self.end(child)
                self.assertEqual((code, out), (130, ''), err)
                self.assertIn('cancelled', err)
                self.assertLess(time.monotonic() - started, 5)
                self.assertEqual(list(self.folder.glob('ram/*')), [])

    def test_signal_is_told(self):
        """A source with a return path hears that it keeps its guest."""
        child = self.start('--quiet', 'unix:%s/socket' % self.folder)
        peer = self.connect_quietly(child)
        stream = data('none-return-path')
        peer.sendall(stream[:stream.index(b'timer') - 6])
        # PONG: it is in the middle of the stream now.
        self.assertEqual(peer.recv(8).hex(), '0002000400000001')
        child.send_signal(signal.SIGTERM)
        self.assertEqual(peer.recv(8), SHUT_FAILED)
        self.assertEqual(peer.recv(8), b'')
        code, out, err = self.end(child)
        self.assertEqual((code, out), (130, ''), err)
        self.assertEqual(len(err.splitlines()), 1, err)

    def test_stall(self):
        child = self.start('--quiet', '--stall-timeout', '0.2',
                           'exec:head -c 20000 %s; exec sleep 60' % path('pc'))
        code, _, err = self.end(child)
        self.assertEqual(code, 1)
        self.assertEqual(len(err.splitlines()), 1, err)

    def test_exec_return_path(self):
        """The child reads our answers on its stdin."""
        answer = self.folder / 'answer'
        child = self.start('--quiet', 'exec:cat %s; head -c 16 >%s' % (
            path('none-return-path'), answer))
        code, _, err = self.end(child)
        self.assertEqual((code, err), (0, ''))
        self.assertEqual(answer.read_bytes()[8:], SHUT_OK)

    def test_lines_without_a_terminal(self):
        child = self.start('tcp:127.0.0.1:0')
        peer = self.connect(child)
        stream = data('pc')
        peer.sendall(stream[:10000])
        time.sleep(1.5)
        peer.sendall(stream[10000:])
        peer.shutdown(socket.SHUT_WR)
        code, _, err = self.end(child)
        self.assertEqual(code, 0, err)
        self.assertRegex(err, r'^active: \d+%, .*/s\n')
        self.assertNotIn('\r', err)

    def test_bar_on_a_terminal(self):
        leader, terminal = pty.openpty()
        seen = []

        def read():
            try:
                while True:
                    more = os.read(leader, 4096)
                    if not more:
                        return
                    seen.append(more)
            except OSError:
                return

        child = self.start('exec:head -c 20000 %s; sleep 0.5; '
                           'tail -c +20001 %s' % (path('pc'), path('pc')),
                           stderr=terminal)
        os.close(terminal)
        reader = threading.Thread(target=read)
        reader.start()
        out, _ = child.communicate(timeout=TIMEOUT)
        reader.join(TIMEOUT)
        os.close(leader)
        self.assertEqual(child.returncode, 0)
        text = b''.join(seen)
        self.assertIn(b'\r[', text)
        self.assertIn(b'100%', text)
        self.assertIn(b'completed', out)


if __name__ == '__main__':
    unittest.main()
