"""The driver: every bout in its order, the plot and the pages. bench-truth.sh starts it."""

import argparse
import json
import os
import signal
import sys

import page
import plot
import truth
from bout import bout
from clients import RATE, Fortio, Hey, Oha, Squall, Wrk, version
from machine import Failed, busy_cores, calm, facts
from markdown import put
from server import listener

# The service takes so many microseconds for each answer, in every scenario that says nothing else.
WORK = 10_000
# The window of trouble in the middle of ten seconds, from the server's start; a tool starts a moment after that.
WINDOW = (5_200, 6_200)
# When a tool is stopped, and for how long.
STALL = (1.5, 1.0)
# Lengths of the bouts that need not be long.
QUIET, STALLED, SHORT = 5, 4, 2
# Bouts that are made again because other work was going on.
AGAIN = 4
PRECISE_RATE, PRECISE_WORK = 1_000, 2_000
BOTH = ("keptAlive", "fresh")


def say(text):
    """Tells whoever waits."""
    print(f"bench-truth: {text}", file=sys.stderr, flush=True)


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("faultserver", "ours", "work", "commit", "docs", "raw"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=int, default=10, help="length of a bout with a rate (default 10)")
    parser.add_argument("--repeats", type=int, default=3, help="bouts of Squall with a freeze, and with a kill (default 3)")
    parser.add_argument("--precise", type=int, default=3, help="bouts against the server's stamps (default 3)")
    parser.add_argument("--awake", type=int, default=2, help="the same with cores that are kept awake (default 2)")
    parser.add_argument("--precise-seconds", type=int, default=20, help="length of each of these (default 20)")
    parser.add_argument("--calm", type=float, default=180, help="most seconds to wait for a load below 0.5 (default 180)")
    return parser.parse_args()


class Bench:
    """What the measurements share."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.versions = {tool: version(tool) for tool in ("wrk", "hey", "fortio", "oha")}
        self.seconds = arguments.seconds
        self.bouts, self.again, self.failed = [], 0, []
        self.plotted = {"ours": None, "fortio": None}

    def squall(self, *kinds, **told):
        """Our own tool, with these streams."""
        return Squall(self.arguments.ours, *kinds, **told)

    def bout(self, what, tool, seconds, listeners, **told):
        """One bout."""
        folder = os.path.join(self.arguments.work, "bout")
        while True:
            done = bout(self.arguments.faultserver, tool, seconds, listeners, folder, **told)
            say(f"{what}, {tool.name}: {done.foreign:.2f} cores busy with other work{', too noisy' if done.noisy else ''}")
            # Chosen by the noise, never by the result. On a machine that is always busy the patience soon ends.
            if not done.noisy or self.again >= AGAIN:
                break
            self.again += 1
        self.bouts.append({"what": f"{what}, {tool.name}", "foreign": done.foreign, "stolen": done.stolen, "noisy": done.noisy})
        return done

    def peers(self, corrected):
        """The other tools that are installed."""
        tools = [Wrk(), Hey(), Fortio(), Oha(), *([Oha(corrected=True)] if corrected else [])]
        return [tool for tool in tools if self.versions[tool.tool]]

    def row(self, tool, done):
        """What a tool said, and what the server saw."""
        seen = done.seen["web"]
        report = tool.report(done.folder)
        # JSON has no infinity.
        report["times"] = [time if time < 1e9 else None for time in report["times"]]
        unanswered = sum(request["last"] is None or request["act"] != "ok" for request in seen.requests)
        server = {"seen": len(seen.requests), "unanswered": unanswered, "connections": len(seen.accepted)}
        return {"tool": tool.name, "noisy": done.noisy, **report, **server}

    def scenario(self, what, script, seconds=None, corrected=False, stalled=None, fresh=False):
        """Every tool in the same trouble, Squall first."""
        rows = []
        ours = [self.squall("keptAlive"), *([self.squall("fresh", name="Squall, fresh")] if fresh else [])]
        for tool in [*ours, *self.peers(corrected)]:
            try:
                done = self.bout(what, tool, seconds or self.seconds, [listener("web", **script)], stalled=stalled)
                rows.append(self.row(tool, done))
            except Failed as error:
                # One tool that did not do its part leaves the others to be compared.
                if tool in ours:
                    raise
                say(f"{what}, {tool.name}: left out: {error}")
                self.failed.append(f"{tool.name} ({what})")
                continue
            if what == "freeze" and tool.name == "Squall":
                self.plotted["ours"] = plot.of_stream(tool.streams(done.folder)[0], done)
            if what == "freeze" and tool.name == "fortio":
                self.plotted["fortio"] = plot.of_fortio(tool, done)
        return rows

    def troubled(self, kind):
        """Squall alone, again and again, in a window of trouble.

        In a kill with both streams at once. In a freeze one after the other: when it ends, every answer that it held comes at once,
        and two streams would wait for each other.
        """
        results = []
        analytic = truth.frozen_quantiles(WORK / 1e6, 1.0, self.seconds)
        together = [(name,) for name in BOTH] if kind == "freeze" else [BOTH]
        for names in together * self.arguments.repeats:
            tool = self.squall(*names)
            listeners = [listener(name, work=WORK, windows=[(kind, *WINDOW)]) for name in names]
            done = self.bout(f"{kind}, {' and '.join(names)}", tool, self.seconds, listeners)
            for stream in tool.streams(done.folder):
                seen = done.seen[stream.kind]
                result = {"stream": stream.kind, "noisy": done.noisy, "edges": truth.edges(stream, seen, WORK)}
                result["bad"] = len(stream.judged()) - len(stream.good())
                if kind == "freeze":
                    result["frozen"] = truth.frozen(stream, seen, analytic)
                results.append(result)
        return results

    def precise(self):
        """Squall alone on both streams against a quiet server, sample by sample."""
        results = []
        for awake in [False] * self.arguments.precise + [True] * self.arguments.awake:
            tool = self.squall(*BOTH, rate=PRECISE_RATE)
            listeners = [listener(stream, work=PRECISE_WORK) for stream in BOTH]
            what = "precision, awake" if awake else "precision"
            done = self.bout(what, tool, self.arguments.precise_seconds, listeners, awake=awake)
            for stream in tool.streams(done.folder):
                result = truth.precision(stream, done.seen[stream.kind])
                results.append({"stream": stream.kind, "awake": awake, "noisy": done.noisy, **result})
        return results


def main():
    """Measures, writes the pages and the plot, and the raw figures into the cache."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = options()
    load = calm(arguments.calm, below=0.5)
    bench = Bench(arguments)
    machine = facts() | {"load": load, "busy": busy_cores(3.0), "commit": arguments.commit}
    say(f"load {load[0]:.2f}, {machine['busy']:.2f} cores busy")
    missing = [tool for tool, told in bench.versions.items() if not told]
    if missing:
        say(f"not installed, and so left out: {', '.join(missing)}")
    results = {
        "machine": machine,
        "versions": bench.versions,
        "seconds": bench.seconds,
        "rate": RATE,
        "work": WORK / 1e6,
        "quiet": bench.scenario("quiet", {"work": WORK}, seconds=QUIET),
        "freeze": bench.scenario("freeze", {"work": WORK, "windows": [("freeze", *WINDOW)]}, corrected=True),
        "kill": bench.scenario("kill", {"work": WORK, "windows": [("kill", *WINDOW)]}),
        "drop": bench.scenario("drop", {"rules": [{"turn": 1, "act": "fin"}]}, seconds=SHORT, fresh=True),
        "connect": bench.scenario("connect", {"rules": [{"share": 0.5, "act": "accept-rst"}]}, seconds=SHORT, fresh=True),
        "stall": bench.scenario("stall", {"work": WORK}, seconds=STALLED, corrected=True, stalled=STALL),
        "lengths": {"quiet": QUIET, "short": SHORT, "stall": STALLED, "stalled": STALL[1], "window": 1.0},
        "frozen": bench.troubled("freeze"),
        "killed": bench.troubled("kill"),
        "precise": bench.precise(),
        "precise_told": {"rate": PRECISE_RATE, "work": PRECISE_WORK / 1e6, "seconds": arguments.precise_seconds},
        "bouts": bench.bouts,
        "again": bench.again,
        "failed": bench.failed,
    }
    results["plotted"] = bench.plotted
    with open(arguments.raw, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    page.write(arguments.docs, results)
    say(f"written: {arguments.docs}; every single figure: {arguments.raw}")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
