"""The pages: the section of docs/benchmarks.md with every figure, and the tables of docs/measuring.md; nothing is written by hand."""

import os
import statistics

import plot
import truth
from bout import FOREIGN_CORES, STOLEN_SHARE
from clients import CONNECTIONS, CONNECTIONS_CLOSED, CONNECTIONS_MANY, TIMEOUT
from markdown import about, put, table
from prose import SECTION

# What is aimed for.
ERROR_AIM_US, QUANTILE_AIM = 100, 0.01
STREAMS = (("keptAlive", "kept-alive"), ("fresh", "fresh"))
PICTURE = "images/freeze.svg"
NOISY = " †"
# With more noisy bouts than these nothing on the page is to be quoted; fewer are marked one by one.
NOISY_SHARE = 0.2


def seconds(value):
    """A time, with three digits."""
    if value is None:
        return "failed"
    if value >= 0.1:
        return f"{value:.3f} s"
    return f"{value * 1e3:.1f} ms" if value >= 0.00995 else f"{value * 1e3:.2f} ms"


def name_of(row):
    """A tool's name, and a mark where other work was going on."""
    return row["tool"] + (NOISY if row["noisy"] else "")


def counted(row):
    """The requests, by the tool's own account."""
    return f"{row['requests']:,}" + (f" ({row['note']})" if row["note"] else "")


# The columns of the tables, by name: what stands above, and what of a row stands below.
COLUMNS = {
    "tool": ("", name_of),
    "requests": ("requests, it says", counted),
    "failures": ("failures, it says", lambda row: f"{row['failures']:,}"),
    "p50": ("p50", lambda row: seconds(row["times"][0])),
    "p95": ("p95", lambda row: seconds(row["times"][1])),
    "p99": ("p99", lambda row: seconds(row["times"][2])),
    "max": ("longest", lambda row: seconds(row["times"][3])),
    "seen": ("requests, the server says", lambda row: f"{row['seen']:,}" if "seen" in row else ""),
    "unanswered": ("of these not answered", lambda row: f"{row['unanswered']:,}" if "seen" in row else ""),
    "connections": ("connections, the server says", lambda row: f"{row['connections']:,}" if "seen" in row else ""),
}
ALL = ("tool", "requests", "failures", "p50", "p95", "p99", "max", "seen", "unanswered")


def true_row(requests, failures, times):
    """What was true."""
    times = [time if time < 1e9 else None for time in times]
    return {"tool": "**what was true**", "noisy": False, "note": "", "requests": requests, "failures": failures, "times": times}


def said(rows, columns, true=None):
    """The table of a scenario."""
    rows = ([true] if true else []) + rows
    cells = [[COLUMNS[column][1](row) for column in columns] for row in rows]
    return table([COLUMNS[column][0] for column in columns], cells)


def truths(results):
    """What was true in each scenario that can be calculated."""
    rate, work, length = results["rate"], results["work"], results["seconds"]
    told = results["lengths"]
    killed = round(rate * (told["window"] + work))
    return {
        "quiet": true_row(rate * told["quiet"], 0, [work] * 4),
        "freeze": true_row(rate * length, 0, truth.frozen_quantiles(work, told["window"], length)),
        "kill": true_row(rate * length, killed, truth.killed_quantiles(work, told["window"], length)),
        "stall": true_row(rate * told["stall"], 0, [work] * 4),
    }


def ranged(values, form):
    """Median, least and most, in one cell."""
    least, median, most = min(values), statistics.median(values), max(values)
    return f"{form(median)} ({form(least)} to {form(most)})" if least != most else form(median)


def micros(value):
    """Microseconds."""
    return f"{value:,.0f} µs"


def millis(value):
    """Milliseconds, with a sign."""
    return f"{value:+.2f} ms"


def percent(value):
    """A share, with a sign."""
    return f"{value * 100:+.2f} %"


def verdict(met):
    """Of an aim."""
    return "met" if met else "missed"


# Of the bouts against the server's stamps: what is compared, and what it is called.
PRECISE = (
    ("error", "service time less the server's"),
    ("there", "of this, until the server has it"),
    ("back", "of this, from the answer until we have it"),
    ("late", "lateness, by Squall"),
    ("arrived", "lateness, by arrival at the server"),
)


def precise(results):
    """Service time and lateness against the server's stamps."""
    series = [(label + (", awake" if awake else ""), name, awake) for awake in (False, True) for name, label in STREAMS]
    runs = [[run for run in results["precise"] if (run["stream"], run["awake"]) == (name, awake)] for _, name, awake in series]
    rows = []
    for key, what in PRECISE:
        for share in ("p50", "p99", "max"):
            found = [[run[key][share] for run in one] for one in runs]
            cells, aim = [ranged(values, micros) if values else "" for values in found], ""
            if (key, share) == ("error", "p99"):
                aim = f"{ERROR_AIM_US} µs: " + ", ".join(verdict(statistics.median(one) <= ERROR_AIM_US) for one in found if one)
            rows.append([f"{what}, {share}", *cells, aim])
    rows.append(["answers without a place in the server's log", *(str(sum(run["lost"] for run in one)) for one in runs), "0"])
    return table(["", *(label for label, *_ in series), "aim"], rows)


def dated(results):
    """The edges of outages, the count of failures, and the quantiles in the freeze."""
    bound = 1000 / results["rate"] + 1
    rows = []

    def of(key, name):
        return [run for run in results[key] if run["stream"] == name]

    for kind, key in (("freeze", "frozen"), ("kill", "killed")):
        for edge in ("begin", "end"):
            cells, met = [], []
            for name, _ in STREAMS:
                found = [run["edges"][edge] for run in of(key, name) if run["edges"]]
                cells.append(ranged(found, millis) if found else "not seen")
                met.append(bool(found) and max(map(abs, found)) <= bound)
            rows.append([f"{kind}, {edge}, less the server's", *cells, f"±{bound:g} ms: " + ", ".join(map(verdict, met))])
    for key in ("frozen", "killed"):
        cells = [str(sum(run["edges"]["more"] for run in of(key, name) if run["edges"])) for name, _ in STREAMS]
        rows.append([f"outages seen beside the {'freeze' if key == 'frozen' else 'kill'}", *cells, "0"])
    over = [[run["bad"] - run["edges"]["inside"] for run in of("killed", name) if run["edges"]] for name, _ in STREAMS]
    cells = [ranged(found, lambda count: f"{count:+g}") if found else "not seen" for found in over]
    rows.append(["kill, failures less the planned instants inside it", *cells, ""])
    for share in ("p95", "p99"):
        for suffix, than in (("", "the calculated one"), ("_server", "that of the server's departures")):
            cells, met = [], []
            for name, _ in STREAMS:
                found = [run["frozen"][share + suffix] for run in of("frozen", name)]
                cells.append(ranged(found, percent))
                met.append(max(map(abs, found)) <= QUANTILE_AIM)
            aim = f"±{QUANTILE_AIM * 100:g} %: " + ", ".join(map(verdict, met))
            rows.append([f"freeze, {share} against {than}", *cells, aim])
    return table(["", *(label for _, label in STREAMS), "aim"], rows)


def place(results):
    """The machine, the tools, and what else was going on."""
    facts, bouts = results["machine"], results["bouts"]
    load = " ".join(f"{value:.2f}" for value in facts["load"])
    foreign, stolen = [one["foreign"] for one in bouts], [one["stolen"] for one in bouts]
    noisy = sum(one["noisy"] for one in bouts)
    tools = [told or f"{tool}: not installed, and left out" for tool, told in results["versions"].items()]
    rows = [
        *about(facts),
        ["Squall", f"commit {facts['commit']}, release profile"],
        ["other tools", "; ".join(tools)],
        ["load average before", f"{load} (1, 5, 15 min); busy: {facts['busy']:.2f} cores"],
        ["other work during a bout", f"median {statistics.median(foreign):.2f} cores, most {max(foreign):.2f}"],
        ["taken by the host", f"median {statistics.median(stolen) * 100:.2f} %, most {max(stolen) * 100:.2f} %"],
        ["bouts too noisy to be quoted", f"{noisy} of {len(bouts)}, and {results['again']} that were made again"],
        ["left out because the tool failed", ", ".join(results["failed"]) or "none"],
    ]
    return table(["", ""], rows)


def caveat(results):
    """Said first where other work was going on."""
    noisy = sum(one["noisy"] for one in results["bouts"])
    if noisy <= NOISY_SHARE * len(results["bouts"]):
        return ""
    return f"**Not to be quoted: the machine was busy with other work in {noisy} of {len(results['bouts'])} bouts.**\n\n"


def tables(results):
    """Every table of the section, by its name in the prose."""
    true = truths(results)
    whole = {name: said(results[name], ALL, true.get(name)) for name in ("quiet", "freeze", "kill", "stall")}
    counts = ("tool", "requests", "failures", "seen", "unanswered", "connections")
    fewer = ("tool", "requests", "failures", "connections")
    return whole | {
        "drop": said(results["drop"], counts),
        "connect": said(results["connect"], fewer),
        "precise": precise(results),
        "dated": dated(results),
        "place": place(results),
    }


def section(results):
    """The section of docs/benchmarks.md."""
    told = results["lengths"]
    return SECTION.format(
        **tables(results), caveat=caveat(results), rate=results["rate"], length=results["seconds"],
        work=f"{results['work'] * 1e3:g} ms",
        connections=CONNECTIONS, closed=CONNECTIONS_CLOSED, many=CONNECTIONS_MANY, timeout=TIMEOUT,
        slow=f"{truth.slow_ns() / 1e6:g} ms", foreign=FOREIGN_CORES, stolen=f"{STOLEN_SHARE * 100:g} %",
        quiet_length=told["quiet"], short=told["short"],
        stall_length=told["stall"], repeats=len(results["frozen"]) // 2, precise_runs=sum(not run["awake"] for run in results["precise"]) // 2,
        awake_runs=sum(run["awake"] for run in results["precise"]) // 2,
        precise_rate=f"{results['precise_told']['rate']:,}", precise_work=f"{results['precise_told']['work'] * 1e3:g} ms",
        precise_length=results["precise_told"]["seconds"],
    )


def phases(results):
    """One kill of a second, told by a share over longer and longer phases, and by its outage."""
    length = results["seconds"]
    run = next((run for run in results["killed"] if run["edges"]), None)
    if not run:
        return ""
    bad, rate = run["bad"], results["rate"]
    rows = [[f"{of} s", f"{100 - 100 * bad / (rate * of):.2f} %", f"{run['edges']['length']:.3f} s"] for of in (length, 60, 600)]
    return table(["length of the phase", "success", "outage"], rows)


def snippets(results):
    """The tables of docs/measuring.md, by marker."""
    true = truths(results)
    mark = caveat(results)
    return {
        "picture": f"![Waiting times around a freeze: as users felt them, and as a closed loop recorded them]({PICTURE})\n",
        "freeze": mark + said(results["freeze"], ("tool", "requests", "p50", "p95", "p99", "max"), true["freeze"]),
        "kill": mark + said(results["kill"], ("tool", "requests", "failures", "p50", "p95", "p99"), true["kill"]),
        "drop": mark + said(results["drop"], ("tool", "requests", "failures", "seen", "unanswered")),
        "stall": mark + said(results["stall"], ("tool", "requests", "failures", "p95", "p99", "max"), true["stall"]),
        "connect": mark + said(results["connect"], ("tool", "requests", "failures", "connections")),
        "phases": mark + phases(results),
    }


def write(docs, results):
    """Writes both pages and the picture."""
    os.makedirs(os.path.join(docs, os.path.dirname(PICTURE)), exist_ok=True)
    plot.write(os.path.join(docs, PICTURE), results["plotted"])
    put(os.path.join(docs, "benchmarks.md"), "bench-truth", section(results))
    for name, text in snippets(results).items():
        put(os.path.join(docs, "measuring.md"), f"bench-truth:{name}", text.rstrip() + "\n")
