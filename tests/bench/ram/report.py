"""Results as tables for people and as a plot.

SPDX-License-Identifier: BSD-3-Clause
"""

import statistics

import cases
import load

MIB = 1 << 20
GIB = 1 << 30


# Numbers ----------------------------------------------------------------------

def median(group, way):
    samples = group["samples"].get(way)
    if not samples:
        return None
    return statistics.median(sample["seconds"] for sample in samples)


def base_of(group):
    """The way that the others of a group are compared with."""
    return next(iter(group["samples"]))


def qemu_of(group, way):
    """The QEMU that does what WAY does; the first one, if there are more."""
    threads = way.split(" ")[1:] if way.startswith("vmload ") else []
    for name in group["samples"]:
        if name.startswith("QEMU") and group["samples"][name]:
            if name.split(", ")[1:] == threads:
                return name
    return None


def ratio(group, way, to):
    """How many times as fast as TO a way is."""
    one, other = median(group, way), median(group, to) if to else None
    return other / one if one and other else None


def cpu_per_gib(group, way):
    values = [sample["cpu"] for sample in group["samples"][way]
              if "cpu" in sample]
    if not values:
        return None
    return statistics.median(values) / (group["mib"] * MIB / GIB)


def beyond(group, way):
    values = [sample["beyond"] for sample in group["samples"][way]
              if "beyond" in sample]
    return max(values) if values else None


def judge(result):
    """Targets beside what was found; only of what was measured."""
    groups = {group["name"]: group for group in result["groups"]}
    verdicts = []
    for target in cases.TARGETS:
        group = groups.get(target.group)
        if group is None or target.way not in group["samples"]:
            continue
        to = (qemu_of(group, target.way) if target.to == "QEMU"
              else target.to)
        found = ratio(group, target.way, to)
        if found:
            verdicts.append({"case": target.group, "way": target.way,
                             "to": to, "target": target.least,
                             "found": found, "met": found >= target.least})
    return verdicts


def verdict(result, row):
    if result["quick"]:
        return "not judged"
    return "met" if row["met"] else "MISSED"


def judge_memory(result):
    """The most that a load needed beyond guest RAM."""
    rows = []
    for group in result["groups"]:
        for way in group["samples"]:
            found = beyond(group, way) if way.startswith("vmload") else None
            if found is not None:
                allowed = cases.beyond_allowed(group["name"])
                rows.append({"case": group["name"], "way": way,
                             "found": found, "target": allowed,
                             "met": found <= allowed})
    return rows


# Tables -----------------------------------------------------------------------

def columns(rows, head):
    """A Markdown table."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows + [head])
              for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in
                               zip(row, widths)) + " |"
             for row in [head] + rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def cell(value, form):
    return "" if value is None else form % value


def mark(group):
    """Numbers that somebody else may have disturbed."""
    return " (!)" if group["foreign"] > load.TOLERATED else ""


def group_rows(group):
    base = base_of(group)
    rows = []
    for way, samples in group["samples"].items():
        first = [group["name"] + mark(group) if way == base else "", way]
        if not samples:
            rows.append(first + ["failed"] + [""] * 6)
            continue
        seconds = [sample["seconds"] for sample in samples]
        extra = beyond(group, way)
        rows.append(first + [
            "%.3f" % statistics.median(seconds),
            "%.3f" % min(seconds), "%.3f" % max(seconds),
            cell(ratio(group, way, base), "%.2f"),
            cell(ratio(group, way, qemu_of(group, way))
                 if way.startswith("vmload") else None, "%.2f"),
            cell(cpu_per_gib(group, way), "%.2f"),
            cell(extra / MIB if extra is not None else None, "%.1f")])
    return rows


def main_table(result):
    rows = []
    for group in result["groups"]:
        rows += group_rows(group)
    return columns(rows, ["case", "way", "median s", "min", "max",
                          "of limit", "to QEMU", "CPU s/GiB",
                          "MiB beyond RAM"])


def target_table(result):
    foreign = {group["name"]: mark(group) for group in result["groups"]}
    return columns(
        [[row["case"] + foreign[row["case"]], row["way"], row["to"],
          "%.2f" % row["target"], "%.2f" % row["found"],
          verdict(result, row)] for row in judge(result)],
        ["case", "way", "compared with", "target", "found", ""])


def memory_table(result):
    worst = {}
    for row in judge_memory(result):
        kind = row["case"].split("-")[0]
        if kind == "multifd":
            kind = row["case"]
        if kind not in worst or row["found"] > worst[kind]["found"]:
            worst[kind] = row
    return columns(
        [[kind, "%s, %s" % (row["case"], row["way"]),
          "%.1f" % (row["target"] / MIB), "%.1f" % (row["found"] / MIB),
          verdict(result, row)]
         for kind, row in worst.items()],
        ["loads", "the most in", "allowed, MiB", "found, MiB", ""])


def scaling_table(scaling):
    rows = []
    for name, series in scaling.items():
        rows.append([
            name + (" (!)" if series["foreign"] > load.TOLERATED else ""),
            ", ".join("%d: %.3f" % tuple(point)
                      for point in series["points"]),
            "%.3g s + %.3g us a %s" % (series["offset_s"],
                                       series["slope_s"] * 1e6,
                                       series["unit"]),
            "%.1f %%" % (100 * series["residual"])])
    return columns(rows, ["grows", "seconds", "line", "largest residual"])


def head(result):
    machine = result["machine"]
    lines = ["%d processors (%s), %d MiB, Linux %s, huge pages: %s" % (
        machine["cpus"], machine["cpu"], machine["memory_mib"],
        machine["kernel"], machine["huge_pages"]),
        "%d MiB of guest RAM, medians of %d turns" % (result["size_mib"],
                                                      result["runs"])]
    if result["quick"]:
        lines.append("**quick: these times measure nothing**")
    if result["idle_before"] > load.TOLERATED:
        lines.append("**not a quiet machine: %.1f processors were busy "
                     "before it began**" % result["idle_before"])
    noisy = ["%s %.1f" % (group["name"], group["foreign"])
             for group in result["groups"]
             if group["foreign"] > load.TOLERATED]
    if noisy:
        lines.append("**(!) marks cases during which others kept processors "
                     "busy: %s**" % ", ".join(noisy))
    if "copy" in result:
        copy = result["copy"]
        lines.append("memcpy of %d MiB: %.3f s into fresh memory, %.3f s "
                     "into warm memory" % (copy["bytes"] // MIB,
                                           copy["fresh_s"], copy["warm_s"]))
    return "\n\n".join(lines)


def text(result):
    """All tables."""
    parts = ["# How fast RAM arrives", head(result)]
    if result["groups"]:
        parts += [main_table(result), "## Targets", target_table(result),
                  "## Memory beyond guest RAM", memory_table(result)]
    if "scaling" in result:
        parts += ["## How time grows", scaling_table(result["scaling"])]
    failed = ["- %s, %s: %s" % (group["name"], way, error)
              for group in result["groups"]
              for way, error in group["errors"].items()]
    if failed:
        parts += ["## Failed", "\n".join(failed)]
    return "\n\n".join(parts) + "\n"


# The plot ---------------------------------------------------------------------

LEFT, RIGHT, TOP, ROW, WIDTH = 330, 60, 70, 15, 900
COLOURS = {"vmload": "#1b7837", "QEMU": "#7570b3"}
OTHER = "#bbbbbb"


def svg_text(x, y, content, anchor="start", size=11, fill="#222"):
    return ('<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" '
            'fill="%s">%s</text>' % (x, y, anchor, size, fill, content))


def svg_line(x, top, bottom, colour, width=1):
    return ('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" '
            'stroke-width="%d"/>' % (x, top, x, bottom, colour, width))


class Plot:
    """Bars: how many times as fast as the limit."""

    def __init__(self, result):
        self.result = result
        self.targets = {(row["case"], row["way"]): row
                        for row in judge(result)
                        if not row["to"].startswith("QEMU")}
        ratios = [ratio(group, way, base_of(group))
                  for group in result["groups"] for way in group["samples"]]
        self.high = max([2.0] + [r for r in ratios if r]) * 1.05
        self.body = []
        self.y = TOP

    def x_of(self, value):
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.high

    def bar(self, group, way):
        value = ratio(group, way, base_of(group))
        if value is None:
            return
        colour = COLOURS.get(way.split(" ")[0], OTHER)
        self.body.append(svg_text(LEFT - 8, self.y + 9, way, "end", 10))
        self.body.append(
            '<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>' % (
                LEFT, self.y, self.x_of(value) - LEFT, ROW - 4, colour))
        self.body.append(svg_text(self.x_of(value) + 4, self.y + 9,
                                  "%.2f" % value, size=10))
        target = self.targets.get((group["name"], way))
        if target:
            base = ratio(group, target["to"], base_of(group))
            self.body.append(svg_line(
                self.x_of(target["target"] * base), self.y - 2,
                self.y + ROW - 2, "#d95f02", 3))
        self.y += ROW

    def group(self, group):
        self.body.append(svg_text(10, self.y + 9, group["title"] +
                                  mark(group), fill="#000"))
        for way in group["samples"]:
            self.bar(group, way)
        self.y += ROW // 2

    def grid(self):
        lines = []
        value = 0.0
        while value <= self.high:
            lines.append(svg_line(self.x_of(value), TOP - 8, self.y,
                                  "#222" if value == 1 else "#ddd"))
            lines.append(svg_text(self.x_of(value), self.y + 14,
                                  "%.1f" % value, "middle"))
            value += 0.5
        return lines

    def draw(self):
        for group in self.result["groups"]:
            self.group(group)
        title = [
            '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'font-family="sans-serif">' % (WIDTH, self.y + 30),
            '<rect width="100%" height="100%" fill="#fff"/>',
            svg_text(10, 20, "How fast RAM arrives: times as fast as the "
                     "limit", size=15),
            svg_text(10, 38, "limit: the same bytes read into fresh memory "
                     "by one thread, with multifd by one for each channel",
                     fill="#666"),
            svg_text(10, 52, "orange: what is aimed at", fill="#d95f02"),
        ]
        return "\n".join(title + self.grid() + self.body +
                         ["</svg>"]) + "\n"


def svg(result):
    return Plot(result).draw()
