"""What was true, by the fault server's own stamps, and how far Squall's samples are from it. Instants are in nanoseconds."""

import math

from clients import SLOW, quantiles, rank
from server import MS



def slow_ns():
    """From here on an answer counts as held back."""
    return int(SLOW.removesuffix("ms")) * MS


def frozen_quantiles(work, freeze, length):
    """p50, p95, p99 and the longest time, in seconds, of users who come evenly, where the answers of a part of `length` are held.

    Whoever comes so early that the answer would fall into the freeze, and not later, waits for its end: a share of freeze ÷ length
    waits between `work` and `work + freeze`, evenly; the others wait for `work`.
    """
    share = freeze / length
    return [work + freeze * max(0.0, 1 - (1 - q) / share) for q in (0.50, 0.95, 0.99, 1.0)]


def killed_quantiles(work, kill, length):
    """The same where a part of `length` is not answered at all: beyond every answer."""
    share = (kill + work) / length
    return [work if q <= 1 - share else math.inf for q in (0.50, 0.95, 0.99, 1.0)]


class Pair:
    """A request as both sides saw it."""

    def __init__(self, sample, begun, departed):
        self.planned, self.sent, self.done = sample[:3]
        self.begun, self.departed = begun, departed


def pairs(stream, seen):
    """Each good answer with the server's entry for it, and how many have none.

    The server's interval lies inside the client's. Where requests overlap there is more than one way to pair them: the one sent last
    has the fewest entries to choose from, so it chooses first, and takes the one that departed last, which suits the fewest others.
    """
    entries = [
        (request["arrived"] if request["turn"] else seen.accepted[request["connection"]], request["first"])
        for request in seen.requests
        if request["first"] is not None
    ]
    entries.sort()
    open_entries, found, lost = [], [], 0
    for sample in sorted(stream.good(), key=lambda one: one[1], reverse=True):
        while entries and entries[-1][0] >= sample[1]:
            open_entries.append(entries.pop())
        inside = [entry for entry in open_entries if entry[1] <= sample[2]]
        if inside:
            best = max(inside, key=lambda entry: entry[1])
            open_entries.remove(best)
            found.append(Pair(sample, *best))
        else:
            lost += 1
    return found, lost


def spread_of(nanos):
    """p50, p99 and the largest, in microseconds."""
    ordered = sorted(nanos)
    return {"p50": rank(ordered, 0.50) / 1e3, "p99": rank(ordered, 0.99) / 1e3, "max": ordered[-1] / 1e3}


def precision(stream, seen):
    """Of a quiet run: the error of the service time, and how late requests were, by Squall's account and by the server's."""
    both, lost = pairs(stream, seen)
    return {
        "requests": len(both),
        "lost": lost,
        "error": spread_of([(one.done - one.sent) - (one.departed - one.begun) for one in both]),
        "there": spread_of([one.begun - one.sent for one in both]),
        "back": spread_of([one.done - one.departed for one in both]),
        "late": spread_of([one.sent - one.planned for one in both]),
        "arrived": spread_of([one.begun - one.planned for one in both]),
    }


def edges(stream, seen, work):
    """The edges of the outage, as Squall dates them, less the server's, in milliseconds; and how many more outages it saw.

    A freeze begins with the first arrival that the server kept for longer than `SLOW`, and ends with the first one after the last of
    these. How many planned instants lie inside is counted too. What is refused never arrives: a kill begins one service time before its window, because it takes those with it that are
    under way, and ends with its window.
    """
    trouble = seen.windows[0]
    if trouble["kind"] == "freeze":
        kept = [one["first"] is None or one["first"] - one["arrived"] > slow_ns() for one in seen.requests]
        last = len(kept) - 1 - kept[::-1].index(True)
        begin, end = (seen.requests[index]["arrived"] for index in (kept.index(True), last + 1))
    else:
        begin, end = trouble["begun"] - work * 1000, trouble["ended"]
    ours = [one for one in stream.windows if one["to"] and one["from"] < trouble["ended"] and one["to"] > trouble["begun"]]
    if not ours:
        return None
    window = ours[0]
    inside = sum(begin <= one[0] < end for one in stream.samples)
    offsets = {"begin": (window["from"] - begin) / MS, "end": (window["to"] - end) / MS}
    length = (window["to"] - window["from"]) / 1e9
    return offsets | {"more": len(stream.windows) - 1, "inside": inside, "length": length}


def frozen(stream, seen, analytic):
    """Of a run with a freeze: p95 and p99 as a share of what they are by calculation, and by the server's departures."""
    ours = quantiles(sorted((one[2] - one[0]) / 1e9 for one in stream.good()))
    both, lost = pairs(stream, seen)
    server = quantiles(sorted((one.departed - one.planned) / 1e9 for one in both))
    return {
        "p95": ours[1] / analytic[1] - 1,
        "p99": ours[2] / analytic[2] - 1,
        "p95_server": ours[1] / server[1] - 1,
        "p99_server": ours[2] / server[2] - 1,
        "lost": lost,
    }
