"""The tables of docs/fidelity.md; what stands around them is written by hand."""

import figures
from causes import CAUSES, CHANCE
from figures import FIGURES, compared, median, possible, usual, values
from markdown import about, put, table

HEADS = {
    "outage": "outage",
    "detection": "detection",
    "recovery": "recovery",
    "downtime": "downtime",
    "whole": "whole again",
    "refused": "refused after",
}


def seconds(value):
    """A time, as exact as it is worth."""
    if value is None:
        return "none"
    milliseconds = round(value * 1000)
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{value:.2f} s"


def verdicts(runs):
    """What runs came to."""
    if not runs:
        return "not measured"
    verdict, times, of = usual(runs)
    return verdict if times == of else f"{verdict} ({times} of {of})"


def title(name):
    """A scenario's number and name."""
    number, rest = name.split("-", 1)
    return f"{int(number)}. `{rest}`"


def measured(known):
    """Whether a scenario was measured on both sides."""
    return bool(known.get("lab")) and bool(known.get("bed"))


def misses(known):
    """In what a scenario differs by more than it may."""
    if not measured(known):
        return []
    lab, bed = known["lab"], known["bed"]
    found = [] if usual(lab)[0] == usual(bed)[0] else ["verdict"]
    for figure in FIGURES:
        both = compared(lab, bed, figure)
        if both and not both[2]:
            found.append(figure)
    return found


def unexplained(everything):
    """Differences that nobody has named a cause for, and those that are called chance and are none: a line each."""
    lines = []
    for name, known in everything["scenarios"].items():
        if not known.get("lacks") and not measured(known):
            lines.append(f"{name}: measured on one side only")
        for figure in misses(known):
            cause = CAUSES.get(name, {}).get(figure)
            if not cause:
                lines.append(f"{name}: the {figure} differs by more than it may, and docs/fidelity.md does not say why")
            elif cause is CHANCE and not possible(known["lab"], known["bed"], figure):
                lines.append(f"{name}: no rehearsal came as far as the bed's {figure}: that is no chance")
    return lines


def cell(known, figure):
    """The lab's median beside the bed's."""
    if known.get("lab") and known.get("bed"):
        both = compared(known["lab"], known["bed"], figure)
        if both is None:
            return "–"
        text = f"{seconds(both[0])} / {seconds(both[1])}"
        return text if both[2] else f"**{text}**"
    one = values(known.get("bed") or [], figure)
    return f"? / {seconds(median(one))}" if one else "–"


def overview(everything):
    """A row for each scenario."""
    shown = [figure for figure in FIGURES if figure != "refused"]
    rows = []
    for name, known in everything["scenarios"].items():
        lab = "can't be rehearsed" if known.get("lacks") else verdicts(known.get("lab"))
        within = "–"
        if measured(known):
            found = misses(known)
            within = "yes" if not found else "**no**: " + ", ".join(found)
        rows.append([title(name), lab, verdicts(known.get("bed")), *(cell(known, figure) for figure in shown), within])
    return table(["scenario", "lab", "bed", *(HEADS[figure] for figure in shown), "within"], rows)


def span(numbers, of):
    """Least, median and most; and of how many runs, where not all have it."""
    if not numbers:
        return "none"
    text = seconds(median(numbers))
    if len(numbers) > 1:
        text += f" ({seconds(min(numbers))} to {seconds(max(numbers))})"
    return text if len(numbers) == of else f"{text}, in {len(numbers)} of {of}"


def details(everything):
    """A row for each figure of each scenario."""
    rows = []
    for name, known in everything["scenarios"].items():
        lab, bed = known.get("lab") or [], known.get("bed") or []
        for figure in FIGURES:
            ours, theirs = values(lab, figure), values(bed, figure)
            if not ours and not theirs:
                continue
            difference = f"{median(ours) - median(theirs):+.2f} s" if ours and theirs else "–"
            both = compared(lab, bed, figure) if measured(known) else None
            within = "–" if both is None else ("yes" if both[2] else "**no**")
            left = span(ours, len(lab)) if lab else "?"
            right = span(theirs, len(bed)) if bed else "?"
            rows.append([title(name), HEADS[figure], left, right, difference, within])
    return table(["scenario", "figure", "lab", "bed", "difference", "within"], rows)


def tally(everything):
    """How many of them the lab met, in a sentence."""
    scenarios = everything["scenarios"]
    both = [known for known in scenarios.values() if measured(known)]
    verdict = sum("verdict" not in misses(known) for known in both)
    within = sum(not misses(known) for known in both)
    pairs = [compared(known["lab"], known["bed"], figure) for known in both for figure in FIGURES]
    pairs = [pair for pair in pairs if pair]
    near = sum(pair[2] for pair in pairs)
    lacking = sum(bool(known.get("lacks")) for known in scenarios.values())
    text = (
        f"Of {len(scenarios)} scenarios {len(both)} were measured on both sides. The verdict is the same in {verdict} of these, "
        f"{near} of {len(pairs)} figures are within 10 % or 1 s, and {within} scenarios are so in every figure."
    )
    return text + (f" {lacking} can't be rehearsed yet." if lacking else "")


def reasons(everything):
    """The causes of what is not within, and what the lab lacks."""
    lines = []
    for name, known in everything["scenarios"].items():
        if known.get("lacks"):
            lines.append(f"- {title(name)} can't be rehearsed: {known['lacks']}.")
        causes = {}
        for figure in misses(known):
            why = CAUSES.get(name, {}).get(figure, "**nobody knows why yet.**")
            causes.setdefault(why, []).append(HEADS.get(figure, figure))
        lines += [f"- {title(name)}, {' and '.join(found)}: {why}" for why, found in causes.items()]
    return "\n".join(lines) or "Nothing."


def often(everything, side):
    """How many runs there are of a scenario."""
    counts = sorted({len(known[side]) for known in everything["scenarios"].values() if known.get(side)}) or [0]
    return f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def surroundings(everything):
    """Where and how it was measured."""
    lab, machine, rows = everything.get("lab"), everything.get("machine"), []
    if lab:
        rows += [["lab", f"Squall {lab['commit']}"], ["seeds of each scenario on it", often(everything, "lab")]]
    if machine:
        rows += [
            ["bed", f"Kubernetes {machine['kubernetes']}, six nodes in three zones, AWS's API, fast node monitor"],
            ["runs of each scenario on it", often(everything, "bed")],
            ["bed's runner", f"Squall {machine['commit']}"],
            *about(machine),
            ["busy cores before", f"{machine['busy']:.2f}"],
        ]
    return table(["", ""], rows)


def write(path, everything):
    """Puts the tables between their markers."""
    lost = [run["lost"] for known in everything["scenarios"].values() for run in known.get("bed") or []]
    late = f"\n\nRequests that the bed's runs sent too late to count: {max(lost):.2%} of a stream's at most." if lost else ""
    section = f"""{tally(everything)}

Each cell is lab / bed. Where they are further apart than {figures.SHARE:.0%} of the bed's or {figures.SECONDS:.0f} s, whichever is larger, it is **bold**.

{overview(everything)}

### What is not within, and why

{reasons(everything)}

### Every figure

Median, and least to most.

{details(everything)}

### Where this was measured

{surroundings(everything)}{late}
"""
    put(path, "fidelity", section)
