"""Results as a table for people and as a plot.

SPDX-License-Identifier: BSD-3-Clause
"""

import math

CASES = {
    "a": "RAM at full speed",
    "b": "stall inside a device",
    "c": "trickling device phase",
    "d": "many slow devices",
    "e": "silent peer",
    "f": "one byte of the magic",
}
COLOURS = {"control": "#999999", "libvmload": "#1b7837", "series": "#d95f02",
           "lock_is_wanted": "#66c2a5"}
QEMU_COLOURS = ("#7570b3", "#a6761d", "#e7298a", "#66a61e")


def duration(ns):
    """Three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return "%.3g %s" % (ns / size, unit)
    return "%d ns" % ns


def columns(rows, head):
    """A Markdown table."""
    widths = [max(len(str(row[i])) for row in rows + [head])
              for i in range(len(head))]
    lines = ["| " + " | ".join(str(cell).ljust(width) for cell, width in
                               zip(row, widths)) + " |"
             for row in [head] + rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def case_row(result):
    name = result["case"]
    if result["error"]:
        return [name, result["rule"], "failed: " + result["error"]] + \
            [""] * 9
    row = [name, result["rule"], result["late"]["n"],
           duration(result["window_ns"] / result["loads"])]
    row += [duration(result["late"][k]) for k in ("p50", "p99", "p999",
                                                  "max")]
    if "by_lock" in result:
        row += [duration(result["by_lock"]["p99"]),
                duration(result["by_lock"]["max"]),
                duration(result["lock_held_max_ns"]),
                result["lock_io_wait_ns"]]
    else:
        row += ["", "", "", ""]
    return row


def case_table(results):
    return columns([case_row(result) for result in results],
                   ["case", "who", "turns", "load", "p50", "p99", "p99.9",
                    "max", "lock p99", "lock max", "longest hold",
                    "io wait"])


def cancel_table(results):
    return columns([[r["wait"], r["took"]["n"]] +
                    ([duration(r["took"][k]) for k in ("p50", "p99", "max")]
                     if not r["error"] else [r["error"], "", ""])
                    for r in results],
                   ["wait", "cancels", "p50", "p99", "max"])


def staging_rows(result):
    """Each way, and by how much it is slower than reading the stream."""
    base = {}
    rows = []
    for way in result["ways"]:
        took = way["took"]["p50"]
        base.setdefault(way["callback_ns"], took)
        percent = 100 * (took / base[way["callback_ns"]] - 1)
        rows.append([way["rule"], duration(way["callback_ns"]),
                     way["took"]["n"], duration(took), "%+.1f %%" % percent,
                     "%+.0f ns" % ((took - base[way["callback_ns"]]) /
                                   result["devices"])])
    return rows


def staging_table(result):
    return "%d devices, %d bytes\n\n" % (result["devices"],
                                         result["bytes"]) + columns(
        staging_rows(result),
        ["way", "callback", "loads", "median", "slower", "a device"])


def text(results):
    """All tables."""
    parts = []
    for key, title, table in (
            ("cases", "How late the main loop gets the lock", case_table),
            ("cancel", "From cancel() until wait() has returned",
             cancel_table),
            ("staging", "What staging costs", staging_table)):
        if results.get(key):
            parts.append("## %s\n\n%s\n" % (title, table(results[key])))
    return "\n".join(parts)


# The plot --------------------------------------------------------------------

LEFT, RIGHT, ROW, TOP = 250, 30, 16, 60
LOW, HIGH = 1e4, 1e10
WIDTH = 860


def x_of(ns):
    span = WIDTH - LEFT - RIGHT
    ns = min(max(ns, LOW), HIGH)
    return LEFT + span * math.log10(ns / LOW) / math.log10(HIGH / LOW)


def colour_of(rule, rules):
    if rule in COLOURS:
        return COLOURS[rule]
    others = [r for r in rules if r not in COLOURS]
    return QEMU_COLOURS[others.index(rule) % len(QEMU_COLOURS)]


def svg_text(x, y, content, anchor="start", size=11, fill="#222"):
    return ('<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" '
            'fill="%s">%s</text>' % (x, y, anchor, size, fill, content))


def svg_grid(bottom):
    """Vertical lines at each power of ten."""
    lines = []
    value = LOW
    while value <= HIGH:
        x = x_of(value)
        lines.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" '
                     'stroke="#ddd"/>' % (x, TOP - 8, x, bottom))
        lines.append(svg_text(x, bottom + 14, duration(value), "middle"))
        value *= 10
    return lines


def svg_row(y, result, colour):
    """p50 a ring, p99 a disc, max a bar, on one line."""
    late = result["late"]
    p50, p99, top = (x_of(late[k]) for k in ("p50", "p99", "max"))
    return [
        '<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" '
        'stroke-width="2"/>' % (p50, y, top, y, colour),
        '<circle cx="%.1f" cy="%d" r="3.5" fill="#fff" stroke="%s" '
        'stroke-width="2"/>' % (p50, y, colour),
        '<circle cx="%.1f" cy="%d" r="3.5" fill="%s"/>' % (p99, y, colour),
        '<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" '
        'stroke-width="3"/>' % (top, y - 6, top, y + 6, colour),
    ]


def svg(results):
    """One line for each case and destination, time on a logarithmic axis."""
    done = [r for r in results if not r["error"]]
    rules = list(dict.fromkeys(r["rule"] for r in done))
    body = []
    y = TOP
    case = None
    for result in done:
        if result["case"] != case:
            case = result["case"]
            y += ROW // 2
            body.append(svg_text(10, y + 4, "%s: %s" % (
                case, CASES.get(case, "")), fill="#000"))
        colour = colour_of(result["rule"], rules)
        body.append(svg_text(LEFT - 12, y + 4, result["rule"], "end",
                             fill=colour))
        body += svg_row(y, result, colour)
        y += ROW
    head = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
        'font-family="sans-serif">' % (WIDTH, y + 30),
        '<rect width="100%" height="100%" fill="#fff"/>',
        svg_text(10, 20, "How late a main loop gets its big lock while a "
                 "guest arrives", size=15),
        svg_text(10, 38, "ring: median, disc: 99th percentile, bar: worst; "
                 "QEMU: how late its monitor answers", fill="#666"),
    ]
    return "\n".join(head + svg_grid(y) + body + ["</svg>"]) + "\n"
