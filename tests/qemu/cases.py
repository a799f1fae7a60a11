#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What QEMU's own tests leave out, on any QEMU, unmodified or adopted.

Usage: cases.py QEMU QEMU_IMG [--list] [--case NAME] [--log FILE]

Prints "ok NAME", "not ok NAME: why" or "skip NAME: why" for each case. Each
runs a source and a destination (or one QEMU, for snapshots) of the same binary
with the guest's firmware running.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

LIMIT_S = 40.0
MIB = 1 << 20


class Failed(Exception):
    """What a case expected and did not find."""


class Skipped(Exception):
    """Why a case cannot be run here."""


class Machine:
    """A QEMU with a monitor."""

    def __init__(self, case, name, *arguments, machine='q35', ram=64):
        path = os.path.join(case.folder, name + '.qmp')
        self.log = os.path.join(case.folder, name + '.log')
        self.trace = os.path.join(case.folder, name + '.trace')
        self.events = []
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                [case.qemu, '-machine', machine, '-accel', 'tcg', '-display',
                 'none', '-nodefaults', '-m', str(ram), '-qmp',
                 'unix:%s,server=on,wait=off' % path, '-D', self.trace,
                 '-trace', 'colo*', *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        case.machines.append(self)
        self.socket = socket.socket(socket.AF_UNIX)
        self.until(lambda: self.connects(path), 'a monitor')
        self.socket.settimeout(LIMIT_S)
        self.file = self.socket.makefile('rw')
        self.file.readline()
        self.ask('qmp_capabilities')

    def connects(self, path):
        try:
            self.socket.connect(path)
            return True
        except OSError:
            return False

    def until(self, condition, what, limit=LIMIT_S):
        end = time.monotonic() + limit
        while not condition():
            if self.process.poll() is not None:
                raise Failed('QEMU ended (%d) instead of %s: %s' % (
                    self.process.returncode, what, self.text()))
            if time.monotonic() > end:
                raise Failed('no %s in %d s' % (what, limit))
            time.sleep(0.02)

    def text(self):
        with open(self.log, encoding='utf-8', errors='replace') as file:
            return ' '.join(file.read().split())[-300:]

    def try_(self, command, **arguments):
        """The whole answer; events go to a list."""
        self.file.write(json.dumps({'execute': command,
                                    'arguments': arguments}) + '\n')
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                self.process.wait(LIMIT_S)
                raise Failed('QEMU ended (%d) in %s: %s' % (
                    self.process.returncode, command, self.text()))
            answer = json.loads(line)
            if 'return' in answer or 'error' in answer:
                return answer
            self.events.append(answer['event'])

    def ask(self, command, **arguments):
        answer = self.try_(command, **arguments)
        if 'error' in answer:
            raise Failed('%s: %s' % (command, answer['error']['desc']))
        return answer['return']

    def hmp(self, line):
        return self.ask('human-monitor-command', **{'command-line': line})

    def capabilities(self, *names):
        self.ask('migrate-set-capabilities', capabilities=[
            {'capability': name, 'state': True} for name in names])

    def status(self):
        return self.ask('query-migrate').get('status')

    def wait_status(self, *wanted):
        def there():
            status = self.status()
            if status == 'failed' and 'failed' not in wanted:
                raise Failed('the migration failed: ' + self.text())
            return status in wanted
        self.until(there, ' or '.join(wanted))

    def bitmaps(self, name):
        """How much is dirty in each bitmap of a node."""
        for node in self.ask('query-named-block-nodes'):
            if node['node-name'] == name:
                return [b['count'] for b in node.get('dirty-bitmaps', [])]
        return []

    def running(self):
        return self.ask('query-status')['running']

    def traced(self, text):
        try:
            with open(self.trace, encoding='utf-8', errors='replace') as file:
                return file.read().count(text)
        except OSError:
            return 0

    def end(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()


class Case:
    """A folder and machines that go away with it."""

    def __init__(self, options, folder):
        self.qemu = options.qemu
        self.qemu_img = options.qemu_img
        self.folder = folder
        self.machines = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def machine(self, name, *arguments, **options):
        return Machine(self, name, *arguments, **options)

    def image(self, name, size=16 * MIB):
        path = self.path(name)
        subprocess.run([self.qemu_img, 'create', '-q', '-f', 'qcow2', path,
                        str(size)], check=True, stdout=subprocess.DEVNULL)
        return path

    def pair(self, *arguments, **options):
        """Source and destination, the latter listening."""
        source = self.machine('source', *arguments, **options)
        target = self.machine('target', *arguments, '-incoming', 'defer',
                              **options)
        return source, target

    def uri(self):
        return 'unix:' + self.path('socket')

    def end(self):
        for machine in self.machines:
            machine.end()


# ---- COLO ----

def colo_pair(case, checkpoints):
    """Two machines in COLO that have been through some checkpoints.

    The primary of QEMU 10.0 may lose its big lock after some: then it stays
    where it is, and so does the secondary, which is what this is about.
    """
    source, target = case.pair(machine='pc')
    for machine in (source, target):
        machine.capabilities('x-colo')
    source.ask('migrate-set-parameters', **{'x-checkpoint-delay': 300,
                                            'max-bandwidth': 1 << 34})
    target.ask('migrate-incoming', uri=case.uri())
    source.ask('migrate', uri=case.uri())
    source.wait_status('colo')
    target.wait_status('colo')
    target.until(lambda: target.traced("'vmstate-loaded'") >= checkpoints,
                 '%d checkpoints' % checkpoints)
    return source, target


def colo_secondary(case):
    """The primary dies after a checkpoint; the secondary takes over."""
    source, target = colo_pair(case, 1)
    source.end()
    target.ask('x-colo-lost-heartbeat')
    target.until(target.running, 'a guest that runs')
    target.until(lambda: target.status() in ('completed', 'failed', None),
                 'the end of COLO')
    target.until(lambda: target.ask('query-colo-status')['mode'] == 'none',
                 'no COLO any more')


def colo_quit(case):
    """A secondary that is told to quit between checkpoints does."""
    _, target = colo_pair(case, 1)
    target.ask('quit')
    try:
        target.process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Failed('it does not end') from None


# ---- snapshots ----

def snapshot_machine(case, *arguments, name='one', image=None):
    image = image or case.image('disk.qcow2')
    return image, case.machine(
        name, '-device', 'e1000e', '-drive',
        'if=none,id=d,format=qcow2,file=' + image, '-device',
        'virtio-blk-pci,drive=d', *arguments)


def hmp_quiet(machine, line):
    text = machine.hmp(line)
    if text:
        raise Failed('%s: %s' % (line, text.strip()))


def snapshot_running(case):
    """savevm and loadvm in a running guest, three times."""
    _, machine = snapshot_machine(case)
    for i in range(3):
        hmp_quiet(machine, 'savevm s%d' % i)
    for i in (1, 0, 2):
        hmp_quiet(machine, 'loadvm s%d' % i)
        if not machine.running():
            raise Failed('the guest does not run after loadvm')


def snapshot_qmp(case):
    """snapshot-save and snapshot-load, as jobs."""
    machine = case.machine(
        'one', '-blockdev', 'qcow2,node-name=d,file.driver=file,'
        'file.filename=' + case.image('disk.qcow2'))
    for i, command in enumerate(('snapshot-save', 'snapshot-load')):
        job = 'j%d' % i
        machine.ask(command, **{'job-id': job, 'tag': 's', 'vmstate': 'd',
                                'devices': ['d']})

        def concluded(job=job):
            jobs = {j['id']: j for j in machine.ask('query-jobs')}
            return jobs[job]['status'] == 'concluded'
        machine.until(concluded, 'end of ' + command)
        jobs = {j['id']: j for j in machine.ask('query-jobs')}
        if 'error' in jobs[job]:
            raise Failed('%s: %s' % (command, jobs[job]['error']))
        machine.ask('job-dismiss', id=job)


def snapshot_option(case):
    """-loadvm at start."""
    image, machine = snapshot_machine(case)
    hmp_quiet(machine, 'savevm s')
    machine.ask('quit')
    machine.process.wait(LIMIT_S)
    _, machine = snapshot_machine(case, '-loadvm', 's', name='two',
                                  image=image)
    if not machine.running():
        raise Failed('the guest does not run')


def snapshot_unknown(case):
    """A snapshot that is not there: refused, and others still work."""
    _, machine = snapshot_machine(case)
    hmp_quiet(machine, 'savevm s')
    if 'rror' not in machine.hmp('loadvm nothing'):
        raise Failed('it was not refused')
    hmp_quiet(machine, 'loadvm s')


def snapshot_other(case):
    """A snapshot of another machine: loadvm fails, the monitor answers."""
    image, machine = snapshot_machine(case, '-device', 'virtio-rng-pci')
    hmp_quiet(machine, 'savevm s')
    machine.ask('quit')
    machine.process.wait(LIMIT_S)
    _, machine = snapshot_machine(case, name='two', image=image)
    text = machine.hmp('loadvm s')
    if 'rror' not in text:
        raise Failed('it was not refused: ' + text)
    machine.running()
    hmp_quiet(machine, 'savevm again')
    hmp_quiet(machine, 'loadvm again')


def snapshot_option_other(case):
    """-loadvm of another machine's: QEMU ends with 1 and says why."""
    image, machine = snapshot_machine(case, '-device', 'virtio-rng-pci')
    hmp_quiet(machine, 'savevm s')
    machine.ask('quit')
    machine.process.wait(LIMIT_S)
    result = subprocess.run(
        [case.qemu, '-machine', 'q35', '-accel', 'tcg', '-display', 'none',
         '-nodefaults', '-m', '64', '-device', 'e1000e', '-drive',
         'if=none,id=d,format=qcow2,file=' + image, '-device',
         'virtio-blk-pci,drive=d', '-loadvm', 's'], check=False,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=LIMIT_S)
    if result.returncode != 1 or b'virtio-rng' not in result.stderr:
        raise Failed('it ended with %d: %s' % (result.returncode,
                                               result.stderr[-200:]))


# ---- device state alone, as Xen's tools use it ----

def xen_state(case):
    """xen-save-devices-state and xen-load-devices-state, without Xen.

    As on Xen: no configuration section, no footers. Without Xen QEMU insists
    on an incoming migration when it is done, so there is one.
    """
    arguments = ['-global', 'migration.send-configuration=off', '-global',
                 'migration.send-section-footer=off']
    source = case.machine('source', *arguments, machine='pc')
    source.ask('stop')
    path = case.path('state')
    source.ask('xen-save-devices-state', filename=path)
    target = case.machine('target', *arguments, '-incoming', 'defer',
                          machine='pc')
    target.ask('migrate-incoming', uri=case.uri())
    target.ask('xen-load-devices-state', filename=path)
    target.ask('query-status')


# ---- dirty bitmaps ----

WRITTEN = [4 * MIB] * 3


def bitmaps(case, postcopy, nodes):
    """Bitmaps of some nodes, with shared storage."""
    arguments = []
    for i in range(nodes):
        image = case.image('d%d.qcow2' % i)
        arguments += ['-blockdev', 'qcow2,node-name=d%d,file.driver=file,'
                      'file.locking=off,file.filename=%s' % (i, image)]
    source, target = case.pair(*arguments)
    names = ['dirty-bitmaps', 'events']
    if postcopy:
        names.append('postcopy-ram')
    for machine in (source, target):
        machine.capabilities(*names)
    for i in range(nodes):
        for k in range(3):
            source.ask('block-dirty-bitmap-add', node='d%d' % i,
                       name='b%d' % k, granularity=512)
        source.hmp('qemu-io d%d "write 0 4M"' % i)
        if source.bitmaps('d%d' % i) != WRITTEN:
            raise Failed('qemu-io wrote nothing')
    source.ask('migrate-set-parameters', **{'max-bandwidth': 1 << 26})
    target.ask('migrate-incoming', uri=case.uri())
    source.ask('migrate', uri=case.uri())
    if postcopy:
        answer = source.try_('migrate-start-postcopy')
        if 'error' in answer:
            raise Failed(answer['error']['desc'])
    source.wait_status('completed')
    target.wait_status('completed')
    for i in range(nodes):
        found = target.bitmaps('d%d' % i)
        if found != WRITTEN:
            raise Failed('d%d: the bitmaps have %s' % (i, found))


def bitmaps_precopy(case):
    """Dirty bitmaps of two nodes, precopy."""
    bitmaps(case, False, 2)


def bitmaps_postcopy_one(case):
    """Dirty bitmaps of one node, postcopy."""
    bitmaps(case, True, 1)


def bitmaps_postcopy(case):
    """Dirty bitmaps of two nodes, postcopy."""
    bitmaps(case, True, 2)




# ---- transports ----

def exec_(case):
    """Through a command on both sides."""
    source, target = case.pair('-device', 'e1000e')
    path = case.path('file')
    source.ask('migrate', uri='exec:cat > ' + path)
    source.wait_status('completed')
    target.ask('migrate-incoming', uri='exec:cat ' + path)
    target.wait_status('completed')


def exec_broken(case):
    """A command that ends in the middle: the load fails, QEMU ends with 1."""
    source, target = case.pair('-device', 'e1000e')
    path = case.path('file')
    source.ask('migrate', uri='exec:cat > ' + path)
    source.wait_status('completed')
    size = os.path.getsize(path)
    target.ask('migrate-incoming',
               uri='exec:head -c %d %s' % (size // 2, path))
    try:
        code = target.process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Failed('it does not end') from None
    if code != 1:
        raise Failed('it ended with %d' % code)


CASES = [colo_secondary, colo_quit, snapshot_running,
         snapshot_qmp, snapshot_option, snapshot_unknown, snapshot_other,
         snapshot_option_other, xen_state, bitmaps_precopy,
         bitmaps_postcopy_one, bitmaps_postcopy, exec_, exec_broken]


def run(function, options):
    name = function.__name__.strip('_').replace('_', '-')
    with tempfile.TemporaryDirectory() as folder:
        case = Case(options, folder)
        try:
            function(case)
            word, why = 'ok', ''
        except Skipped as error:
            word, why = 'skip', ': %s' % error
        except (Failed, OSError, ValueError,
                subprocess.TimeoutExpired) as error:
            codes = [m.process.poll() for m in case.machines]
            died = [signal.Signals(-c).name for c in codes if c and c < 0]
            word, why = 'not ok', ': %s%s' % (error, ' '.join([''] + died))
        finally:
            case.end()
    print('%s %s%s' % (word, name, why), flush=True)
    return word != 'not ok'


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('qemu', nargs='?')
    parser.add_argument('qemu_img', nargs='?')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--case', action='append')
    options = parser.parse_args()
    cases = {function.__name__.strip('_').replace('_', '-'): function
             for function in CASES}
    if options.list:
        print('\n'.join(cases))
        return 0
    good = [run(cases[name], options) for name in options.case or cases]
    return 0 if all(good) else 1


if __name__ == '__main__':
    sys.exit(main())
