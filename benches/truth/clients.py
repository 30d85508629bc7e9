"""The tools: how each is told to send, and what it says afterwards. Times are in seconds."""

import json
import math
import os
import re
import subprocess

from machine import Failed

HERE = os.path.dirname(os.path.abspath(__file__))
RATE = 500
# Of the tools that share a fixed number of connections: four times what the quiet service needs at this rate.
CONNECTIONS = 20
# Enough that no request waits for a connection while the service is frozen for a second.
CONNECTIONS_MANY = 600
# A closed loop has no rate. So many connections, each of them busy for 10 ms per request, come to the same one.
CONNECTIONS_CLOSED = 5
# Nobody gives up on a request before a window of one second is over.
TIMEOUT = 3
# From here on an answer counts as held back. Far from the service time, and from what 500 answers at once take when a freeze ends.
SLOW = "100ms"


def output(folder, name="output"):
    """What a tool printed, or wrote into a file."""
    with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def found(pattern, text):
    """The group of a pattern; a tool that does not say what it always says has failed."""
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise Failed(f"no `{pattern}` in: {text[-500:]}")
    return match.group(1)


def said(requests, failures, times, note=""):
    """A report: counts, p50, p95, p99 and the longest time, and what has to be said beside the counts."""
    return {"requests": requests, "failures": failures, "times": list(times), "note": note}


class Wrk:
    """wrk, which can't be told a rate."""

    name, tool = "wrk", "wrk"

    def command(self, url, seconds, _folder):
        """The command line."""
        script = os.path.join(HERE, "report.lua")
        return [
            "wrk", "--threads=1", f"--connections={CONNECTIONS_CLOSED}", f"--duration={seconds}s", f"--timeout={TIMEOUT}s",
            f"--script={script}", url,
        ]

    def report(self, folder):
        """What it says."""
        told = json.loads(found(r"^REPORT (.*)$", output(folder)))
        kinds = ("connect", "read", "write", "status", "timeout")
        failures = sum(told[kind] for kind in kinds)
        return said(told["requests"], failures, [told[key] / 1e6 for key in ("p50", "p95", "p99", "max")])


class Hey:
    """hey, whose workers each keep a rate as long as they are free."""

    name, tool = "hey", "hey"

    def command(self, url, seconds, _folder):
        """The command line."""
        return ["hey", "-z", f"{seconds}s", "-c", str(CONNECTIONS), "-q", str(RATE // CONNECTIONS), "-t", str(TIMEOUT), url]

    def report(self, folder):
        """What it says."""
        text = output(folder)
        codes = {int(code): int(count) for code, count in re.findall(r"^  \[(\d+)\]\t(\d+) responses", text, re.MULTILINE)}
        errors = sum(int(count) for count in re.findall(r"^  \[(\d+)\]\t(?!\d+ responses)", text, re.MULTILINE))
        failures = errors + sum(count for code, count in codes.items() if code >= 400)
        times = [float(found(rf"^  {share}% in ([0-9.]+) secs", text)) for share in (50, 95, 99)]
        return said(sum(codes.values()) + errors, failures, [*times, float(found(r"Slowest:\s+([0-9.]+) secs", text))])


class Fortio:
    """fortio, whose threads each keep a rate and catch up when they fall behind."""

    name, tool = "fortio", "fortio"

    def command(self, url, seconds, folder):
        """The command line. Threads evenly spread in time, fine buckets: at its best."""
        return [
            "fortio", "load", "-quiet", "-uniform", "-qps", str(RATE), "-c", str(CONNECTIONS), "-t", f"{seconds}s",
            "-timeout", f"{TIMEOUT}s", "-r", "0.0001", "-p", "50,95,99", "-log-errors=false", "-allow-initial-errors",
            "-json", os.path.join(folder, "fortio.json"), "-access-log-file", os.path.join(folder, "fortio.log"), url,
        ]

    def report(self, folder):
        """What it says."""
        told = json.loads(output(folder, "fortio.json"))
        histogram, codes = told["DurationHistogram"], told["RetCodes"]
        times = [one["Value"] for one in histogram["Percentiles"]] + [histogram["Max"]]
        failures = sum(count for code, count in codes.items() if not code.startswith("2"))
        warm = found(r"plus (\d+) warmup", output(folder))
        return said(histogram["Count"], failures, times, f"and {warm} to warm up")

    @staticmethod
    def calls(folder):
        """Every call, by its access log: wall clock of its start, and how long it took."""
        lines = (json.loads(line) for line in output(folder, "fortio.log").splitlines())
        return [(line["timestamp"] / 1e9, line["latency"]) for line in lines]


class Oha:
    """oha: one queue of due requests, and as many workers as connections."""

    name, tool = "oha", "oha"

    def __init__(self, corrected=False):
        self.connections, self.options = CONNECTIONS, []
        if corrected:
            self.name, self.connections, self.options = "oha, corrected", CONNECTIONS_MANY, ["--latency-correction"]

    def command(self, url, seconds, _folder):
        """The command line."""
        return [
            "oha", "--no-tui", "--no-color", "-z", f"{seconds}s", "-c", str(self.connections), "-q", str(RATE),
            "-t", f"{TIMEOUT}s", "--output-format", "json", *self.options, url,
        ]

    def report(self, folder):
        """What it says. What it gave up at its own end is in neither of its counts."""
        told = json.loads(output(folder))
        codes, errors = told["statusCodeDistribution"], dict(told["errorDistribution"])
        errors.pop("aborted due to deadline", None)
        failures = sum(errors.values()) + sum(count for code, count in codes.items() if int(code) >= 400)
        times = [told["latencyPercentiles"][key] for key in ("p50", "p95", "p99")] + [told["summary"]["slowest"]]
        return said(sum(codes.values()) + sum(errors.values()), failures, times)


class Stream:
    """One stream of Squall's engine: its account, its samples, and its outages as it dates them. Instants in nanoseconds."""

    def __init__(self, head):
        self.kind, self.windows, self.samples = head["stream"], head["windows"], []

    def judged(self):
        """The samples that say something about the service."""
        return [one for one in self.samples if one[3] not in ("unknown", "client-late", "capped")]

    def good(self):
        """The samples with the expected answer."""
        return [one for one in self.samples if one[3] == "good"]

    def report(self):
        """Counts and quantiles as Squall's reports have them: a failure ranks above every answer."""
        judged = self.judged()
        waits = sorted((done - planned) / 1e9 if kind == "good" else math.inf for planned, _, done, kind, _ in judged)
        unseen = len(self.samples) - len(judged)
        note = f"{unseen:,} unknown: the probe itself stood still" if unseen else ""
        return said(len(self.samples), len(judged) - len(self.good()), quantiles(waits), note)


class Squall:
    """Squall's engine, through its public interface."""

    tool = None

    def __init__(self, binary, *streams, name="Squall", rate=RATE, slow=SLOW):
        self.name, self.binary, self.kinds, self.rate, self.slow = name, binary, streams, rate, slow

    def command(self, url, seconds, _folder, *urls):
        """The command line: a URL for each stream."""
        streams = [f"{kind}={url}" for kind, url in zip(self.kinds, (url, *urls))]
        return [self.binary, f"{self.rate}/s", f"{seconds}s", f"{TIMEOUT}s", self.slow, *streams]

    def streams(self, folder):
        """What it measured."""
        streams = []
        for line in map(json.loads, output(folder).splitlines()):
            if isinstance(line, dict):
                streams.append(Stream(line))
            else:
                streams[-1].samples.append(line)
        return streams

    def report(self, folder):
        """What it says of its first stream."""
        return self.streams(folder)[0].report()


def rank(sorted_values, share):
    """The nearest rank."""
    return sorted_values[min(len(sorted_values), max(1, math.ceil(share * len(sorted_values)))) - 1]


def quantiles(sorted_values):
    """p50, p95, p99 and the largest."""
    return [*(rank(sorted_values, share) for share in (0.50, 0.95, 0.99)), sorted_values[-1]]


def version(tool):
    """The version of a tool, or nothing where it is not installed."""
    ask = {"wrk": ["wrk", "-v"], "fortio": ["fortio", "version"], "oha": ["oha", "--version"], "hey": ["hey", "-h"]}[tool]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    if tool == "hey":
        # It does not know its own.
        asked = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "hey"], capture_output=True, text=True, check=False)
        return f"hey {asked.stdout or '(version unknown)'}"
    first = (done.stdout + done.stderr).splitlines()[0]
    return " ".join(first.split("Copyright")[0].split()) if tool != "fortio" else f"fortio {first}"
