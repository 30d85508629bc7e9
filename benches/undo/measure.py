"""The driver: every fault with every ending, by both tools, and the page. bench-undo.sh starts it inside the test bed."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import page
from cases import cases
from cluster import kubectl
from machine import Failed, facts, told
from processes import end
from world import KEY, World

NAMESPACE, STATE = "bench-undo", "bench-undo-state"
HERE = os.path.dirname(os.path.abspath(__file__))
# How long a run that nobody disturbs holds its fault, and one that is ended in its hold. The cluster misses a zone after 8 s.
SHORT, SHORT_ZONE, LONG = 5, 30, 60
# The longest that a fault may take to be in place; a drain asks every budget, and a zone has instances to end.
PATIENCE = 120.0
# For as long after the end of a tool's process anything of it may still take something back.
GRACE = 40.0
# How long after that the signal comes: in the hold, when nothing else goes on.
HOLD = 3.0
# What a terminal sends, what an impatient orchestrator does.
SIGNALS = {"SIGINT": signal.SIGINT, "kill -9": signal.SIGKILL}


def say(text):
    """Tells whoever waits."""
    print(f"bench-undo: {text}", file=sys.stderr, flush=True)


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bed", "squall", "chaos", "work", "commit", "page"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--context", default="squall-testbed")
    parser.add_argument("--logs", default=os.path.expanduser("~/.cache/squall/testbed/bed/logs"), help="the test bed's logs")
    parser.add_argument("--only", help="one fault, for trying; nothing is written")
    return parser.parse_args()


class Bench:
    """What the measurements share."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.world = World(arguments.bed, NAMESPACE, arguments.logs)

    def deploy(self):
        """Namespaces and workload."""
        for name in (NAMESPACE, STATE):
            kubectl("create", "namespace", name)
        kubectl("-n", NAMESPACE, "apply", "-f", os.path.join(HERE, "workload.yaml"))

    def case(self, name):
        """A fault as it is to be injected now: the node is one with a pod of the workload."""
        node = kubectl("-n", NAMESPACE, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].spec.nodeName}")
        return next(case for case in cases(NAMESPACE, node) if case.name == name)

    def command(self, tool, case, hold):
        """The command line of a run, whose experiment is written now."""
        arguments = self.arguments
        path = os.path.join(arguments.work, f"{case.name}.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(case.squall(NAMESPACE, hold) if tool == "Squall" else case.chaostoolkit(NAMESPACE, hold))
        if tool == "Squall":
            return [arguments.squall, "run", path, "--context", arguments.context, "--state-namespace", STATE]
        always = ["--rollback-strategy=always"] if tool.endswith("always") else []
        # Without the version check, which asks a server that can't be reached from here.
        return [arguments.chaos, "--no-version-check", "run", *always, path]

    def start(self, tool, case, hold):
        """Starts a run in a session of its own, as a terminal would."""
        with open(os.path.join(self.arguments.work, "output"), "wb") as output:
            return subprocess.Popen(
                self.command(tool, case, hold), cwd=self.arguments.work, env={**os.environ, "AWS_ACCESS_KEY_ID": KEY},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )

    def output(self):
        """What the run printed, in one line."""
        with open(os.path.join(self.arguments.work, "output"), encoding="utf-8", errors="replace") as file:
            return " | ".join(file.read().split("\n"))[-3000:]

    def undisturbed(self, tool, name):
        """A run to its end: calls made, and what is left then."""
        self.world.reset()
        before, calls, case = self.world.settings(), self.world.calls(), self.case(name)
        child = self.start(tool, case, SHORT_ZONE if name == "zone" else SHORT)
        try:
            code = child.wait(300)
        finally:
            end(child)
        now = self.world.calls()
        if code:
            raise Failed(f"{tool}, {name}: exit code {code}: {self.output()}")
        return {"left": self.left(before), "calls": [now[0] - calls[0], now[1] - calls[1]]}

    def disturbed(self, tool, name, kind):
        """A run that is ended in its hold: whether and when everything was as before."""
        self.world.reset()
        before, case = self.world.settings(), self.case(name)
        child = self.start(tool, case, LONG)
        try:
            if not self.world.came(f"{name} to be in place", lambda: self.world.in_place(name, before), PATIENCE):
                raise Failed(f"{tool}, {name}: never in place: {self.output()}")
            time.sleep(HOLD)
            sent = time.monotonic()
            child.send_signal(SIGNALS[kind])
            # A tool may give back only when its hold is over; that is late, and it is not nothing.
            while time.monotonic() < sent + LONG + GRACE:
                if not self.left(before):
                    return {"left": [], "seconds": time.monotonic() - sent}
                if child.poll() is not None and time.monotonic() > sent + GRACE:
                    break
                time.sleep(0.1)
            return {"left": self.left(before), "seconds": None}
        finally:
            end(child)

    def left(self, before):
        """What is not as it was before, in words."""
        now = self.world.settings()
        return sorted(now - before) + [f"{word} by somebody else before: no longer" for word in sorted(before - now)]


def surroundings(arguments):
    """What the results depend on."""
    with open(os.path.join(HERE, "requirements.txt"), encoding="utf-8") as file:
        pins = dict(text.strip().split("==") for text in file if "==" in text)
    return facts() | {
        "kubernetes": json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"],
        "squall": f"{told(arguments.squall, '--version')}, commit {arguments.commit}",
        "pins": {name: pins[name] for name in page.NAMED_PINS},
    }


def main():
    """Measures, writes the page, and the raw results beside the cache."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = options()
    bench = Bench(arguments)
    bench.deploy()
    bench.world.reset()
    results = {"machine": surroundings(arguments), "faults": {}}
    for name in [case.name for case in cases(NAMESPACE, "")]:
        if arguments.only not in (None, name):
            continue
        told_of = results["faults"].setdefault(name, {"what": bench.case(name).what, "tools": {}})
        for tool in ("Squall", "Chaos Toolkit", "Chaos Toolkit, always"):
            found = told_of["tools"].setdefault(tool, {})
            if not tool.endswith("always"):
                found["its end"] = bench.undisturbed(tool, name)
            for kind in () if name == "kill" else SIGNALS:
                if kind == "SIGINT" or not tool.endswith("always"):
                    found[kind] = bench.disturbed(tool, name, kind)
            say(f"{name}, {tool}: {json.dumps(found)}")
    if arguments.only:
        return
    raw = os.path.join(os.path.dirname(arguments.work), "undo.json")
    with open(raw, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    page.write(arguments.page, results)
    say(f"written: {arguments.page}; raw: {raw}")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
