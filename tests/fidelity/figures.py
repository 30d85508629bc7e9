"""The figures of one run, out of its report: the same for the lab and for the bed."""

import json
import re
import statistics

# In the order of the page. Seconds.
FIGURES = ("outage", "detection", "recovery", "downtime", "whole", "refused")
# How far the lab may be off: a share of what the bed took, or so many seconds, whichever is larger.
SHARE, SECONDS = 0.10, 1.0


def read(path):
    """The figures of a report: `None` where there is none, as of a recovery that did not come."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    figures = {name: judged(report, name) for name in ("outage", "recovery", "downtime")}
    impacts = report["impacts"]
    figures["detection"] = slowest([*(impact["toDetectionUs"] for impact in impacts), *lost_nodes(report)])
    figures["whole"] = slowest(impact["toHealUs"] for impact in impacts)
    figures["refused"] = refused(report)
    return {
        "verdict": report["verdict"],
        "reason": report["reason"],
        "lost": lost(report),
        "figures": {name: figures[name] for name in FIGURES},
        "detectedBy": sorted({impact["detectedBy"] for impact in impacts if impact["detectedBy"]}),
    }


def judged(report, measure):
    """A measure by the stream that shows it worst; phase by phase it adds up."""
    by_stream = {}
    for one in report["hypotheses"]:
        if re.match(rf"{measure}\b", one["tolerance"]) and one["verdict"] != "unproven":
            by_stream.setdefault(one["stream"], []).append(one.get("value"))
    if not by_stream or any(value is None for values in by_stream.values() for value in values):
        return None
    return max(sum(values) for values in by_stream.values())


def lost_nodes(report):
    """From the loss of each node's machine until the cluster called the node NotReady, which is that fault's proof of effect."""
    nodes = [target for step in report["steps"] for target in step["targets"] if target["target"]["kind"] == "node"]
    lost = [node for node in nodes if node["injection"] and node["effect"] and "not Ready" in node["effect"]["detail"]]
    return [node["effect"]["at"] - node["injection"]["answered"] for node in lost]


def slowest(times):
    """The longest of some times in microseconds."""
    return max((time / 1e6 for time in times if time is not None), default=None)


def refused(report):
    """How long a fault was tried that was refused in the end."""
    injections = [target["injection"] for step in report["steps"] for target in step["targets"] if target["injection"]]
    return slowest(one["answered"] - one["sent"] for one in injections if one["outcome"] == "refused")


def lost(report):
    """The largest share of a stream's requests that say nothing: sent too late, or not at all."""
    streams = {}
    for one in report["summaries"]:
        planned, nothing = streams.get((one["probe"], one["stream"]), (0, 0))
        without = one["unknown"] + one["clientLate"] + one["capped"]
        streams[(one["probe"], one["stream"])] = (planned + one["planned"], nothing + without)
    return max((nothing / max(1, planned) for planned, nothing in streams.values()), default=0.0)


def values(runs, figure):
    """One figure of several runs, where they have it."""
    return [run["figures"][figure] for run in runs if run["figures"][figure] is not None]


def usual(runs):
    """The verdict that most runs came to, and of how many."""
    verdicts = [run["verdict"] for run in runs]
    most = statistics.mode(sorted(verdicts))
    return most, verdicts.count(most), len(verdicts)


def compared(lab, bed, figure):
    """The lab's median, the bed's, and whether they are near enough; `None` where neither has one."""
    ours, theirs = values(lab, figure), values(bed, figure)
    if not ours and not theirs:
        return None
    if not ours or not theirs:
        return (median(ours), median(theirs), False)
    difference = abs(median(ours) - median(theirs))
    return (median(ours), median(theirs), difference <= max(SECONDS, SHARE * median(theirs)))


def possible(lab, bed, figure):
    """Whether rehearsals came to less than the bed's median and to more, as the seed would have it."""
    ours, theirs = values(lab, figure), values(bed, figure)
    return bool(ours and theirs) and min(ours) <= median(theirs) <= max(ours)


def median(numbers):
    """Their median; of none `None`."""
    return statistics.median(numbers) if numbers else None
