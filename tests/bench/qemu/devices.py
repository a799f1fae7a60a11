#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How long each device's load callback takes, on any QEMU.

Usage: devices.py NAME=QEMU... [--loads N] [--arguments ARGS] [--top N]

Side by side, load by load: each QEMU is source and destination, and QEMU's own
trace event vmstate_downtime_load says how long a device took. Unmodified, all
of it is in the main loop with the big lock held; with the library it is a hold
of its own in the loading thread.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
import time

import latency

EVENT = re.compile(rb'vmstate_downtime_load type=(\S+) idstr=(\S+) '
                   rb'instance_id=(\d+) downtime=(\d+)')


def load(binary, env, folder, arguments):
    """One load; microseconds by device."""
    target = os.path.join(folder, 'target')
    log = os.path.join(folder, 'log')
    source = latency.Monitor(binary, folder, 'source', arguments)
    destination = latency.Monitor(
        binary, folder, 'destination',
        [*arguments, '-incoming', 'unix:' + target, '-D', log, '-trace',
         'vmstate_downtime_load'], env)
    source.ask('migrate', uri='unix:' + target)
    status = None
    while status not in ('completed', 'failed'):
        status = destination.ask('query-migrate')['return'].get('status')
        time.sleep(0.02)
    source.end()
    destination.end()
    if status != 'completed':
        raise SystemExit('devices.py: a load failed')
    with open(log, 'rb') as file:
        found = EVENT.findall(file.read())
    return {'%s %s' % (name.decode(), instance.decode()): int(us)
            for _, name, instance, us in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('qemu', nargs='+', help='NAME=QEMU[,VAR=VALUE]')
    parser.add_argument('--loads', type=int, default=10)
    parser.add_argument('--arguments', default='', help='more, for both QEMUs')
    parser.add_argument('--top', type=int, default=12)
    options = parser.parse_args()
    found = {}
    totals = {}
    for _ in range(options.loads):
        for word in options.qemu:
            name, binary = word.split('=', 1)
            binary, *variables = binary.split(',')
            env = dict(v.split('=', 1) for v in variables)
            with tempfile.TemporaryDirectory() as folder:
                devices = load(binary, env, folder, options.arguments.split())
            totals.setdefault(name, []).append(sum(devices.values()))
            for device, us in devices.items():
                found.setdefault(device, {}).setdefault(name, []).append(us)
    names = list(totals)
    print('us: median, worst of %d loads' % options.loads)
    print('%-40s' % 'device', '  '.join('%-18s' % name for name in names))
    order = sorted(found, key=lambda device: -max(
        statistics.median(times) for times in found[device].values()))
    for device in order[:options.top] + [None]:
        row = totals if device is None else found[device]
        print('%-40s' % (device or 'all devices'), '  '.join(
            '%8d %8d ' % (statistics.median(row.get(name, [0])),
                          max(row.get(name, [0]))) for name in names))
    return 0


if __name__ == '__main__':
    sys.exit(main())
