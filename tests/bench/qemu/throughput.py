#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How fast destinations load guest RAM.

Usage: throughput.py NAME=QEMU[,VAR=VALUE]... [--ram MIB] [--turns N]
                     [--cases LIST]

Side by side, in one run, turn by turn. The first QEMU is the source of all.
All pages have content that does not compress. Cases:

  unix     a recorded stream, sent from the page cache over a unix socket
  tcp      the same over TCP on this machine
  file     a stream in a file (in the page cache)
  mapped   a mapped-ram file (in the page cache)
  multifd  a live source with 2 channels over a unix socket, which is most of
           the work

Shown for each: the best and the median of all turns in MiB/s, from the
`migrate-incoming` (or the first byte) to `completed`; processor seconds of the
destination; and from the glue's report holds of the big lock, the total and
the longest, waits for bytes with it held, and pages that the library placed.
"""

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time

import latency

CASES = 'unix,tcp,file,mapped,multifd'


def parameters(qemu, case):
    qemu.ask('migrate-set-parameters', **{'max-bandwidth': 1 << 40})
    if case == 'mapped':
        qemu.capabilities('mapped-ram')
    if case == 'multifd':
        qemu.capabilities('multifd')
        qemu.ask('migrate-set-parameters', **{'multifd-channels': 2})


def start(binary, folder, name, case, arguments, env=None):
    qemu = latency.Monitor(binary, folder, name, arguments, env)
    parameters(qemu, case)
    return qemu


def await_end(qemu):
    end = time.monotonic() + 170
    while time.monotonic() < end:
        status = qemu.ask('query-migrate')['return'].get('status')
        if status == 'completed':
            return
        if status == 'failed' or qemu.process.poll() is not None:
            raise SystemExit('throughput.py: a load failed')
        time.sleep(0.002)
    raise SystemExit('throughput.py: a load did not end')


def start_source(binary, folder, ram, case):
    return start(binary, folder, 'source', case, [
        '-object', 'memory-backend-file,id=m,share=off,size=%dM,mem-path=%s'
        % (latency.RAM_MIB, ram), '-machine', 'memory-backend=m'])


def record(binary, folder, ram, case):
    """A stream in a file."""
    path = os.path.join(folder, case)
    source = start_source(binary, folder, ram, case)
    source.ask('migrate', uri='file:' + path)
    await_end(source)
    source.end()
    return path


def send(path, family, address):
    """The peer of a socket: a file, then silence until it is closed."""
    peer = socket.socket(family)
    peer.connect(address)
    with open(path, 'rb') as file:
        left = os.fstat(file.fileno()).st_size
        offset = 0
        while left > offset:
            offset += os.sendfile(peer.fileno(), file.fileno(), offset,
                                  left - offset)
    peer.shutdown(socket.SHUT_WR)
    peer.recv(1)
    peer.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def feed(qemu, case, folder, stream, source):
    """Lets the stream come; when it began."""
    path = os.path.join(folder, 'target')
    if os.path.exists(path):
        os.remove(path)
    if case in ('file', 'mapped'):
        begin = time.monotonic()
        qemu.ask('migrate-incoming', uri='file:' + stream)
        return begin
    uri, family, address = 'unix:' + path, socket.AF_UNIX, path
    if case == 'tcp':
        port = free_port()
        uri = 'tcp:127.0.0.1:%d' % port
        family, address = socket.AF_INET, ('127.0.0.1', port)
    qemu.ask('migrate-incoming', uri=uri)
    begin = time.monotonic()
    if source:
        source.ask('migrate', uri=uri)
    else:
        threading.Thread(target=send, args=(stream, family, address),
                         daemon=True).start()
    return begin


def cpu_seconds(process):
    with open('/proc/%d/stat' % process.pid, encoding='ascii') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def read_report(path):
    try:
        with open(path, encoding='utf-8') as file:
            return json.loads(file.readlines()[-1])
    except (OSError, IndexError):
        return {}


def load(binary, env, folder, case, stream, source):
    """One load: seconds, processor seconds, the glue's report."""
    report = os.path.join(folder, 'report')
    if os.path.exists(report):
        os.remove(report)
    qemu = start(binary, folder, 'target-qemu', case, [
        '-object', 'memory-backend-ram,id=m,size=%dM' % latency.RAM_MIB,
        '-machine', 'memory-backend=m', '-incoming', 'defer'],
        dict({'VMLOAD_REPORT': report}, **env))
    before = cpu_seconds(qemu.process)
    begin = feed(qemu, case, folder, stream, source)
    await_end(qemu)
    seconds = time.monotonic() - begin
    spent = cpu_seconds(qemu.process) - before
    qemu.end()
    return seconds, spent, read_report(report)


def measure(names, case, folder, ram, turns):
    """Lines of one case, all QEMUs in each turn."""
    first = next(iter(names.values()))[0]
    stream = None
    if case != 'multifd':
        stream = record(first, folder, ram,
                        'mapped' if case == 'mapped' else 'stream')
    done = {name: [] for name in names}
    for _ in range(turns):
        for name, (binary, env) in names.items():
            source = None
            if case == 'multifd':
                source = start_source(first, folder, ram, case)
            done[name].append(load(binary, env, folder, case, stream,
                                   source))
            if source:
                source.end()
    for name, loads in done.items():
        rates = [latency.RAM_MIB / seconds for seconds, _, _ in loads]
        reports = [report for _, _, report in loads if report]
        line = '%-8s %-11s %6.0f %6.0f MiB/s  %5.2f s of processor' % (
            case, name, max(rates), statistics.median(rates),
            statistics.median(spent for _, spent, _ in loads))
        if reports and reports[-1].get('mode') == 'thread':
            line += '  %d holds, %.1f ms, longest %.1f ms, %d waits, ' \
                '%d pages' % (
                    reports[-1]['lock_holds'],
                    statistics.median(r['held_ns'] for r in reports) / 1e6,
                    max(r['held_max_ns'] for r in reports) / 1e6,
                    sum(r['lock_io_waits'] + r['locked_fills']
                        for r in reports), reports[-1].get('ram_pages', 0))
        print(line, flush=True)
    if stream:
        os.remove(stream)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('qemu', nargs='+', help='NAME=QEMU[,VAR=VALUE]')
    parser.add_argument('--ram', type=int, default=1024, metavar='MIB')
    parser.add_argument('--turns', type=int, default=3)
    parser.add_argument('--cases', default=CASES)
    options = parser.parse_args()
    names = {}
    for word in options.qemu:
        name, binary = word.split('=', 1)
        binary, *variables = binary.split(',')
        names[name] = (binary, dict(v.split('=', 1) for v in variables))
    latency.RAM_MIB = options.ram
    print('case     QEMU          best median        processor   locks')
    with tempfile.TemporaryDirectory() as folder:
        ram = latency.fill_ram(folder)
        for case in options.cases.split(','):
            measure(names, case, folder, ram, options.turns)
    return 0


if __name__ == '__main__':
    sys.exit(main())
