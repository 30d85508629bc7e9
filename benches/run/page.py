"""The section of docs/benchmarks.md that the figures make; nothing in it is written by hand."""

import statistics

from bed import BUSY_CORES
from markdown import about, put, spread, table

NAMED_PINS = ("chaostoolkit", "chaostoolkit-lib", "chaostoolkit-kubernetes", "kubernetes")
# What is aimed for, as a share of Chaos Toolkit's.
AIM = {"wall": 0.10, "peak": 0.50}
# In the order in which they happen: name, what it is.
PARTS = (
    ("planned", "start to the run's zero: kubeconfig, discovery, targets, limits, access review"),
    ("prepared", "to the first probe slot: Lease, undo log, watches, one request ahead, 20 ms lead"),
    ("before", "*before* (10 ms as written), until its last request is judged"),
    ("deleted", "to the deletion accepted: undo record synced here and written to the cluster, then the call"),
    ("proved", "to the proof that the pod is gone"),
    ("closed", "to the end of *during*: outcome to the undo log, one look for healing that is not waited for"),
    ("after", "*after* (20 ms as written)"),
    ("ended", "to the exit: last requests, verdict, undo log closed, Lease given back, report files"),
)


def seconds(value):
    """A time in seconds, to the millisecond."""
    return f"{value:.3f} s"


def mebibytes(value):
    """A size."""
    return f"{value:.1f} MiB"


def ratio(runs, key):
    """Squall's median as a share of Chaos Toolkit's."""
    ours, theirs = (statistics.median(run[key] for run in runs[tool]) for tool in ("Squall", "Chaos Toolkit"))
    return ours / theirs


def compared(runs, aims):
    """Time, memory and first probe of both tools; with the aims where these are for such runs."""
    rows = []
    for key, what, form in (
        ("wall", "wall time, start to exit", seconds),
        ("cpu", "processor time, user and system", seconds),
        ("peak", "peak resident memory", mebibytes),
        ("first_probe", "start to first probe", seconds),
    ):
        for tool in ("Squall", "Chaos Toolkit"):
            rows.append([f"{what}, {tool}", *spread([run[key] for run in runs[tool]], form)])
        share, aim = ratio(runs, key), ""
        if key in aims:
            aim = f"aim: {aims[key]:.2f}, {'met' if share <= aims[key] else 'missed'}"
        rows.append([f"Squall ÷ Chaos Toolkit, {what}", "", f"**{share:.2f}**", aim])
    outside = [run["outside"] for run in runs["Squall"]]
    rows.append(["Squall outside of its phases", *spread(outside, seconds)])
    return table(["", "min", "median", "max"], rows)


def parts(results):
    """Where Squall's time went, in both series."""
    rows = []
    for name, what in PARTS:
        medians = [
            statistics.median(run["parts"][name] for run in results[series]["Squall"]) for series in ("forced", "graceful")
        ]
        rows.append([what, *(seconds(median) for median in medians)])
    return table(["part", "grace 0 s", "grace 30 s"], rows)


def safety(results):
    """How fast a fault is taken back."""
    rows = []

    def row(what, runs, key):
        rows.append([what, str(len(runs)), *spread([run[key] for run in runs], seconds)])

    interrupts = results["interrupts"]
    row("SIGINT to `spec.replicas` as before, as a watch of its own sees it", interrupts, "restored")
    row("SIGINT to the `undone` event: the undo answered, and in the undo log here and in the cluster", interrupts, "recorded")
    row("SIGINT to exit", interrupts, "ended")
    row("kill -9 to `spec.replicas` as before, by the run's guard", results["guarded"], "restored")
    plain, forced = results["recoveries"], results["forced_recoveries"]
    row("`recover` after kill -9, start to `spec.replicas` as before", plain, "restored")
    row("`recover` after kill -9, start to exit", plain, "ended")
    row("`recover --force` after kill -9, start to `spec.replicas` as before", forced, "restored")
    row("`recover --force` after kill -9, start to exit", forced, "ended")
    return table(["", "runs", "min", "median", "max"], rows)


def bed(facts, results):
    """The machine, and what ran on it."""
    pins = ", ".join(f"{name} {version}" for name, version in facts["pins"].items())
    load = " ".join(f"{value:.2f}" for value in facts["load"])
    busy = results["busy"]
    above = sum(one >= BUSY_CORES for one in busy)
    rows = [
        *about(facts),
        ["cluster", f"the test bed: Kubernetes {facts['kubernetes']}, {facts['nodes']} nodes on the same machine"],
        ["Squall", facts["squall"]],
        ["Chaos Toolkit", f"{pins}, {facts['python']}; everything pinned in `benches/run/requirements.txt`"],
        ["load average before", f"{load} (1, 5, 15 min); busy, the idle cluster's own work included: {facts['busy']:.2f} cores"],
        ["busy in the second before each run", f"median {statistics.median(busy):.2f} cores, most {max(busy):.2f}; {above} of {len(busy)} at {BUSY_CORES:.0f} or more"],
        ["runs made again", ", ".join(results["miscarried"]) or "none"],
    ]
    return table(["", ""], rows)


def caveat(facts, results):
    """Said first when other work was going on."""
    if facts["load"][0] < 1 and max(results["busy"]) < BUSY_CORES:
        return ""
    return "**Not to be quoted: the machine was busy with other work (see the load below).**\n\n"


def section(results):
    """The whole section."""
    facts, forced, graceful = results["machine"], results["forced"], results["graceful"]
    count = len(forced["Squall"])
    kind = "static" if facts["static"] else "NOT static"
    return f"""## A whole run beside Chaos Toolkit

{caveat(facts, results)}By `make bench-run`. One of three ready pods is deleted, with one HTTP check on each side; nothing is held, and nobody waits for the
replacement. {count} runs of each tool by turns, after one that is not counted; between two runs the workload is whole and the machine
quiet. The files are in `benches/run/`. Lease, access review, undo log and fsync are on, as always. Nothing is subtracted.

### Same stop point: the deletion accepted (grace 0 s)

With no grace a pod is out of the API when its deletion is accepted, so both tools stop at the same point. Squall checks more than
once on each side: one request ahead of the run, and 100 a second from the start of *before* to the end of *after*. It can't be told
not to care for healing: with `heal: 0s` it does not wait, and ends as deviated (exit code 5); Chaos Toolkit ends with 0.

{compared(forced, AIM)}

### Ordinary deletion (grace 30 s, the application drains for 1 s)

Not the same stop point: Squall always waits for the proof that its fault bit, here until the pod's containers have ended. Chaos Toolkit
goes on once the deletion is accepted, and doesn't look.

{compared(graceful, {})}

"Start to first probe" is the beginning of the first planned slot for Squall (its request is due within the next 10 ms; the one
request ahead of the run is earlier), and the start of the first check in Chaos Toolkit's journal. "Outside of its phases" is the
wall time without *before*, *during* and *after* as they really lasted.

### Where Squall's time goes

Medians, by the run's own record (`events.jsonl`).

{parts(results)}

### Taking back

A Deployment held at one replica of three by `scale`; the signal comes in the hold. For `recover` the run has no guard
(`--no-guard`), and the cluster's copy of the undo log is removed first, so that this machine's files have to do; plain
`recover` watches the dead run's Lease for 15 s before it takes it.

{safety(results)}

### Binary

{facts["size"] / 2**20:.1f} MiB ({facts["size"]:,} bytes), {kind}, stripped, release profile.

### Where this was measured

{bed(facts, results)}
"""


def write(path, results):
    """Puts the section between its markers."""
    put(path, "bench-run", section(results))
