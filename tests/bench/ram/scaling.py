"""How the time of a load grows with memory, blocks and devices.

SPDX-License-Identifier: BSD-3-Clause
"""

import re
import statistics
import sys

import load


def fit(points):
    """Least squares: (offset, slope, largest residual as a part)."""
    n = len(points)
    mean_x = sum(x for x, _ in points) / n
    mean_y = sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = (sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
             if spread else 0)
    offset = mean_y - slope * mean_x
    residual = max(abs(y - offset - slope * x) / y for x, y in points)
    return offset, slope, residual


def series(args, ways, values, shape, unit):
    """One row for each value; SHAPE(value) is (MiB, blocks, devices)."""
    points = []
    watch = load.Watch()
    samples = {value: [] for value in values}
    for turn in range(args.warm_up + args.runs):
        for value in values:
            sample = ways.synth(*shape(value))
            if turn >= args.warm_up:
                samples[value].append(sample["seconds"])
    for value in values:
        points.append([value, statistics.median(samples[value])])
    offset, slope, residual = fit(points)
    return {"unit": unit, "points": points, "offset_s": offset,
            "slope_s": slope, "residual": residual, "foreign": watch.end()}


def that_fit(sizes):
    """Guests for which there is memory, with as much again for others."""
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        free = int(re.search(r"MemAvailable:\s*(\d+)",
                             meminfo.read()).group(1)) // 1024
    return [size for size in sizes if size <= free // 2]


def measure(args, ways):
    result = {}
    ram = args.scaling_ram
    for name, values, shape, unit in (
            ("memory", that_fit(args.scaling_sizes), lambda n: (n, 1, 1), "MiB"),
            ("blocks", args.scaling_blocks, lambda n: (ram, n, 1), "block"),
            ("devices", args.scaling_devices, lambda n: (ram, 1, n),
             "device")):
        result[name] = series(args, ways, values, shape, unit)
        print("scaling: %s done" % name, file=sys.stderr)
    return result
