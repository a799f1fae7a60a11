#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How long a destination's monitor takes to answer while it loads.

Usage: latency.py NAME=QEMU... [--ram MIB] [--cases LIST]

Side by side, in one run: each QEMU is source and destination. NAME=QEMU may
end in ",VAR=VALUE" for the destination's environment. Firmware: as the QEMU
finds it. Cases:

  unix     RAM with content, over a unix socket, as fast as it goes
  file     the same from a file
  stall    4 s of silence in the middle of a device's section (e1000e)
  silent   a peer that connects and says nothing (multifd on)
  one      a peer that sends one byte (multifd on)
  idle     nothing comes in

The control is another QEMU of the same kind, asked at the same time and in the
same way, into which nothing is loaded: what it is late is the machine's, not
the load's. "hold" is the longest hold of the big lock by the loading thread,
as the glue reports it.
"""

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

STALL_S = 4.0
WATCH_S = 3.0
ONE_ANSWER_S = 10.0


class Monitor:
    """A QEMU and its QMP connection."""

    def __init__(self, binary, folder, name, arguments, env=None):
        path = os.path.join(folder, name + '.qmp')
        self.process = subprocess.Popen(
            [binary, '-machine', 'q35', '-accel', 'tcg', '-display', 'none',
             '-nodefaults', '-S', '-device', 'e1000e', '-m', str(RAM_MIB),
             '-qmp', 'unix:%s,server=on,wait=off' % path, *arguments],
            env=dict(os.environ, **(env or {})), stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 20
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.socket.settimeout(ONE_ANSWER_S)
        self.file = self.socket.makefile('rw')
        self.file.readline()
        self.ask('qmp_capabilities')

    def ask(self, command, **arguments):
        self.file.write(json.dumps({'execute': command,
                                    'arguments': arguments}) + '\n')
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if 'return' in answer or 'error' in answer:
                return answer

    def capabilities(self, *names):
        if names:
            self.ask('migrate-set-capabilities', capabilities=[
                {'capability': name, 'state': True} for name in names])

    def end(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()


def watch(monitor, done):
    """Latencies of query-status in ms, until done() says so."""
    found = []
    while not done():
        begin = time.monotonic()
        try:
            monitor.ask('query-status')
        except (OSError, ValueError):
            found.append((time.monotonic() - begin) * 1e3)
            break
        found.append((time.monotonic() - begin) * 1e3)
        time.sleep(0.001)
    return found


class Proxy(threading.Thread):
    """Between source and destination; may stall in a section."""

    def __init__(self, path, target, marker):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.target = target
        self.marker = marker
        self.stalled = False

    def run(self):
        source, _ = self.listener.accept()
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(self.target)
        threading.Thread(target=self.back, args=(peer, source),
                         daemon=True).start()
        tail = b''
        while True:
            data = source.recv(1 << 16)
            if not data:
                break
            at = (tail + data).find(self.marker)
            if self.marker and not self.stalled and at >= 0:
                at = max(0, at - len(tail)) + 600
                peer.sendall(data[:at])
                self.stalled = True
                time.sleep(STALL_S)
                data = data[at:]
            peer.sendall(data)
            tail = data[-64:]
        peer.shutdown(socket.SHUT_WR)

    @staticmethod
    def back(peer, source):
        while True:
            try:
                data = peer.recv(4096)
                if not data:
                    return
                source.sendall(data)
            except OSError:
                return


def fill_ram(folder):
    """A file of guest RAM whose pages all have content."""
    path = os.path.join(folder, 'ram')
    block = os.urandom(1 << 20)
    with open(path, 'wb') as file:
        for _ in range(RAM_MIB):
            file.write(block)
    return path


def migrate(binary, env, folder, case, ram):
    """One load; latencies and seconds."""
    target = os.path.join(folder, 'target')
    through = os.path.join(folder, 'through')
    memory = []
    if case in ('unix', 'file'):
        memory = ['-object', 'memory-backend-file,id=m,share=off,size=%dM,'
                  'mem-path=%s' % (RAM_MIB, ram), '-machine',
                  'memory-backend=m']
    source = Monitor(binary, folder, 'source', memory)
    empty = []
    if memory:
        empty = ['-object', 'memory-backend-ram,id=m,size=%dM' % RAM_MIB,
                 '-machine', 'memory-backend=m']
    uri = 'unix:' + target
    if case == 'file':
        uri = 'file:' + target
    source.ask('migrate-set-parameters', **{'max-bandwidth': 1 << 40})
    if case == 'file':
        source.ask('migrate', uri=uri)
        while source.ask('query-migrate')['return'].get('status') not in (
                'completed', 'failed'):
            time.sleep(0.05)
    target_qemu = Monitor(binary, folder, 'target-qemu',
                          [*empty, '-incoming', 'defer'], env)
    begin = time.monotonic()
    target_qemu.ask('migrate-incoming', uri=uri)
    if case == 'stall':
        Proxy(through, target, b'/e1000e\0').start()
        source.ask('migrate', uri='unix:' + through)
    elif case != 'file':
        source.ask('migrate', uri=uri)
    end = time.monotonic() + 60

    def done():
        if time.monotonic() > end:
            raise SystemExit('latency.py: a load did not end')
        return target_qemu.process.poll() is not None or ended[0]

    ended = [False]
    latencies = []
    while not ended[0]:
        latencies += watch_some(target_qemu)
        status = target_qemu.ask('query-migrate')['return'].get('status')
        ended[0] = status in ('completed', 'failed') or done()
    seconds = time.monotonic() - begin
    failed = status != 'completed'
    source.end()
    target_qemu.end()
    return latencies, seconds, failed


def watch_some(monitor):
    """A few answers in a row."""
    end = time.monotonic() + 0.05
    return watch(monitor, lambda: time.monotonic() > end)


def control(binary, folder, ready, stop, queue):
    """In a process of its own: a QEMU that is idle, asked all the time."""
    qemu = Monitor(binary, folder, 'control', ['-incoming', 'defer'])
    ready.set()
    queue.put(watch(qemu, stop.is_set))
    qemu.end()


class Control:
    """Latencies of the control while the context lasts."""

    def __init__(self, binary, folder):
        self.ready = multiprocessing.Event()
        self.stop = multiprocessing.Event()
        self.queue = multiprocessing.Queue()
        self.latencies = []
        self.process = multiprocessing.Process(
            target=control, args=(binary, folder, self.ready, self.stop,
                                  self.queue))

    def __enter__(self):
        self.process.start()
        self.ready.wait(30)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.latencies = self.queue.get(timeout=30)
        self.process.join()


def quantiles(latencies):
    """Median, p99, worst."""
    latencies = sorted(latencies) or [0.0]
    last = len(latencies) - 1
    return '%7.2f %7.2f %8.1f' % (
        latencies[last // 2], latencies[min(last, int(len(latencies) * 0.99))],
        latencies[-1])


def longest_hold(report):
    """The glue's line about the load, if there is one."""
    try:
        with open(report, encoding='utf-8') as file:
            loads = [json.loads(line) for line in file]
    except OSError:
        return ''
    loads = [load for load in loads if load['held_max_ns']]
    if not loads:
        return ''
    worst = max(loads, key=lambda load: load['held_max_ns'])
    return '  hold %.2f ms (%s)' % (worst['held_max_ns'] / 1e6,
                                    worst['held_max_site'])


def idle(binary, env, folder):
    """No peer at all."""
    qemu = Monitor(binary, folder, 'target-qemu', ['-incoming', 'defer'], env)
    begin = time.monotonic()
    latencies = watch(qemu, lambda: time.monotonic() > begin + WATCH_S)
    qemu.end()
    return latencies, time.monotonic() - begin, False


def strange_peer(binary, env, folder, data):
    """A peer that connects and sends next to nothing."""
    target = os.path.join(folder, 'target')
    qemu = Monitor(binary, folder, 'target-qemu', ['-incoming', 'defer'], env)
    qemu.capabilities('multifd')
    qemu.ask('migrate-incoming', uri='unix:' + target)
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(target)
    peer.sendall(data)
    begin = time.monotonic()
    latencies = watch(qemu, lambda: time.monotonic() > begin + WATCH_S)
    peer.close()
    qemu.end()
    return latencies, time.monotonic() - begin, False


def measure(name, binary, env, case, ram):
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, 'report')
        env = dict({'VMLOAD_REPORT': report}, **env)
        with Control(binary, folder) as other:
            if case == 'idle':
                latencies, seconds, failed = idle(binary, env, folder)
            elif case in ('silent', 'one'):
                latencies, seconds, failed = strange_peer(
                    binary, env, folder, b'Q' if case == 'one' else b'')
            else:
                latencies, seconds, failed = migrate(binary, env, folder,
                                                     case, ram)
        hold = longest_hold(report)
    print('%-7s %-11s %6d %s | %s | %6.2f s%s%s'
          % (case, name, len(latencies), quantiles(latencies),
             quantiles(other.latencies), seconds, hold,
             '  FAILED' if failed else ''), flush=True)


def main():
    global RAM_MIB
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('qemu', nargs='+', help='NAME=QEMU[,VAR=VALUE]')
    parser.add_argument('--ram', type=int, default=2048, metavar='MIB')
    parser.add_argument('--cases', default='idle,unix,file,stall,silent,one')
    options = parser.parse_args()
    print('case    QEMU       answers, ms: median    p99    worst | control:'
          ' median, p99, worst | load')
    with tempfile.TemporaryDirectory() as folder:
        for case in options.cases.split(','):
            RAM_MIB = options.ram if case in ('unix', 'file') else 64
            ram = fill_ram(folder) if case in ('unix', 'file') else None
            for word in options.qemu:
                name, binary = word.split('=', 1)
                binary, *variables = binary.split(',')
                env = dict(v.split('=', 1) for v in variables)
                measure(name, binary, env, case, ram)
    return 0


RAM_MIB = 64

if __name__ == '__main__':
    sys.exit(main())
