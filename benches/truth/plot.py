"""The plot of the freeze: how long users waited, by the instant at which they came, above what a closed loop recorded."""

import time

# Seconds around the beginning of the freeze, and the longest wait that is drawn.
FROM, TO, TOP = -0.5, 2.0, 1.1
WIDTH, PANEL, LEFT, RIGHT = 860, 190, 64, 24
TOPS = (52, 318)
STYLE = """
  svg { font: 13px system-ui, sans-serif; --back: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --band: #fff0d9;
    --ours: #0969da; --theirs: #bc4c00; }
  @media (prefers-color-scheme: dark) { svg { --back: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --band: #3a2a12;
    --ours: #4493f8; --theirs: #f0883e; } }
  .back { fill: var(--back); } .band { fill: var(--band); } text { fill: var(--ink); } .soft { fill: var(--soft); }
  .title { font-size: 15px; font-weight: 600; } .axis { stroke: var(--line); fill: none; }
  .dots { stroke-width: 3.2; stroke-linecap: round; fill: none; }
  .p99 { stroke-width: 1.6; stroke-dasharray: 7 4; } .label { font-weight: 600; }
  .ours { stroke: var(--ours); } .theirs { stroke: var(--theirs); } .ours-ink { fill: var(--ours); } .theirs-ink { fill: var(--theirs); }
"""


def around(points, seen):
    """Points of (instant in ns of the monotonic clock, seconds), by seconds from the beginning of the freeze."""
    begun, ended = seen.windows[0]["begun"], seen.windows[0]["ended"]
    inside = sum(begun <= at < ended for at, _ in points)
    near = [((at - begun) / 1e9, wait) for at, wait in points]
    near = [(round(at, 4), round(wait, 4)) for at, wait in near if FROM <= at <= TO]
    return {"points": near, "inside": inside, "length": (ended - begun) / 1e9}


def of_stream(stream, done):
    """What users waited, by Squall's samples of a bout."""
    points = [(planned, (end - planned) / 1e9) for planned, _, end, kind, _ in stream.samples if kind == "good"]
    return around(points, done.seen["web"]) | {"p99": stream.report()["times"][2]}


def of_fortio(tool, done):
    """What fortio recorded in a bout. Its log has the wall clock."""
    ahead = time.time_ns() - time.monotonic_ns()
    points = [(at * 1e9 - ahead, wait) for at, wait in tool.calls(done.folder)]
    return around(points, done.seen["web"]) | {"p99": tool.report(done.folder)["times"][2]}


def across(at):
    """Where an instant is drawn."""
    return LEFT + (at - FROM) / (TO - FROM) * (WIDTH - LEFT - RIGHT)


def up(wait, top):
    """Where a time is drawn, in the panel that begins at `top`."""
    return top + PANEL * (1 - min(wait, TOP) / TOP)


def panel(data, top, kind, title):
    """One panel: the freeze as a band, a dot for each request, the p99 as a line."""
    left, right, bottom = across(FROM), across(TO), top + PANEL
    begin, end = across(0), across(data["length"])
    parts = [
        f'<text class="title" x="{left:.0f}" y="{top - 14}">{title}</text>',
        f'<rect class="band" x="{begin:.1f}" y="{top}" width="{end - begin:.1f}" height="{PANEL}"/>',
        f'<text class="soft" x="{end - 10:.0f}" y="{up(0.76, top):.0f}" text-anchor="end">service frozen:</text>',
        f'<text class="soft" x="{end - 10:.0f}" y="{up(0.66, top):.0f}" text-anchor="end">{data["inside"]:,} requests begun</text>',
    ]
    for wait in (0.0, 0.5, 1.0):
        y = up(wait, top)
        parts.append(f'<path class="axis" d="M{left:.0f} {y:.1f}H{right:.0f}"/>')
        parts.append(f'<text class="soft" x="{left - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{wait:.1f} s</text>')
    for half in range(int(FROM * 2), int(TO * 2) + 1):
        x = across(half / 2)
        parts.append(f'<text class="soft" x="{x:.0f}" y="{bottom + 20}" text-anchor="middle">{half / 2:g} s</text>')
    dots = "".join(f"M{across(at):.1f} {up(wait, top):.1f}h0" for at, wait in data["points"])
    parts.append(f'<path class="dots {kind}" d="{dots}"/>')
    y, p99 = up(data["p99"], top), data["p99"]
    parts.append(f'<path class="p99 {kind}" d="M{left:.0f} {y:.1f}H{right:.0f}"/>')
    text = f"{p99:.2f} s" if p99 >= 0.1 else f"{p99 * 1000:.1f} ms"
    parts.append(
        f'<text class="label {kind}-ink" x="{right:.0f}" y="{y - 7:.1f}" text-anchor="end">p99 of the whole run: {text}</text>'
    )
    return parts


def svg(ours, theirs):
    """The picture, or the upper half of it where there is no fortio."""
    parts = panel(ours, TOPS[0], "ours", "What users waited, by the instant at which they came (Squall)")
    top = TOPS[0]
    if theirs:
        top = TOPS[1]
        parts += panel(theirs, top, "theirs", "What fortio recorded, by the instant at which it sent (20 connections)")
    height = top + PANEL + 56
    parts.append(
        f'<text class="soft" x="{across((FROM + TO) / 2):.0f}" y="{height - 14}" text-anchor="middle">'
        "seconds from the beginning of the freeze; both are told to send 500 requests a second for 10 s</text>"
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        'aria-label="Waiting time of every request around a freeze of one second: as users felt it, and as a closed loop recorded it">'
        f'\n<style>{STYLE}</style>\n<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>\n{body}\n</svg>\n'
    )


def write(path, plotted):
    """Draws it into a file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(svg(plotted["ours"], plotted["fortio"]))
