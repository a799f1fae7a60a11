"""Is this machine ours? Processor time that somebody else used.

SPDX-License-Identifier: BSD-3-Clause
"""

import os
import resource
import time

# Part of one processor that others may use before a number is marked.
TOLERATED = 0.1


def busy():
    """Seconds of all processors that were not idle, since the start."""
    with open("/proc/stat", encoding="ascii") as stat:
        fields = [int(field) for field in stat.readline().split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    # user nice system (idle iowait) irq softirq steal
    return (sum(fields[:3]) + sum(fields[5:8])) / ticks


def ours():
    """Seconds that this process and its ended children used."""
    total = 0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def idle(seconds=0.5):
    """Busy processors while we do nothing."""
    before = busy()
    time.sleep(seconds)
    return (busy() - before) / seconds


class Watch:
    """From now to end(): processors that somebody else kept busy."""

    def __init__(self):
        self.began = time.monotonic()
        self.busy = busy()
        self.ours = ours()

    def end(self):
        others = busy() - self.busy - (ours() - self.ours)
        return max(0, others / max(time.monotonic() - self.began, 0.01))
