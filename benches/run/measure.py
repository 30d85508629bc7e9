"""The driver: every measurement in its order, and the page. bench-run.sh starts it inside the test bed."""

import argparse
import json
import os
import signal
import sys
import time

import page
from bed import REPLICAS, Place, ReplicaWatch, quiet
from cluster import kubectl
from machine import Failed, busy_cores, calm, facts, told
from processes import end
from tools import HERE, ChaosToolkit, Miscarried, Squall

# Runs of one series that may miscarry, and are made again, before the benchmark gives up.
MISCARRIAGES = 3
# How long a fault is held before the signal: long enough that nothing else goes on.
HOLD = 0.5


def say(text):
    """Tells whoever waits."""
    print(f"bench-run: {text}", file=sys.stderr, flush=True)


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("squall", "chaos", "work", "label", "commit", "page"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--context", default="squall-testbed")
    parser.add_argument("--pairs", type=int, default=10, help="runs of each tool in each series (default 10)")
    parser.add_argument("--interrupts", type=int, default=5, help="runs that are ended by SIGINT (default 5)")
    parser.add_argument("--recoveries", type=int, default=3, help="recoveries of each kind, after kill -9 (default 3)")
    parser.add_argument("--calm", type=float, default=180, help="most seconds to wait for a load below 1 (default 180)")
    return parser.parse_args()


class Bench:
    """What the measurements share."""

    def __init__(self, place, squall, chaos):
        self.place, self.squall, self.chaos = place, squall, chaos
        self.busy, self.miscarried = [], []

    def ready(self):
        """Waits, outside of what is timed, until the workload is whole and the machine quiet."""
        self.place.wait_whole()
        self.busy.append(quiet())

    def once(self, what, measure):
        """One measurement; made again when the run did not do what is timed."""
        while True:
            self.ready()
            try:
                return measure()
            except Miscarried as error:
                self.miscarried.append(what)
                say(f"{what}: not counted: {error}")
                if self.miscarried.count(what) > MISCARRIAGES:
                    raise Failed(f"{what}: miscarried more than {MISCARRIAGES} times") from error

    def pairs(self, grace, count):
        """Runs of the two tools by turns, after one of each that is not counted."""
        runs = {tool.name: [] for tool in (self.squall, self.chaos)}
        for number in range(count + 1):
            for tool in (self.squall, self.chaos):
                what = f"{tool.name}, grace {grace} s"
                run = self.once(what, lambda tool=tool: tool.pod_kill(grace))
                say(f"{what}, {number or 'warm-up'}: {run['wall']:.3f} s, {run['peak']:.1f} MiB")
                if number:
                    runs[tool.name].append(run)
        return runs

    def interrupt(self):
        """SIGINT while `scale` is held: seconds until the replicas were back, until the undo was recorded, until the exit."""
        child, record = self.squall.held()
        try:
            with ReplicaWatch(self.place.namespace) as watch:
                watch.first(1)
                time.sleep(HOLD)
                clock, sent = time.time(), time.monotonic()
                child.send_signal(signal.SIGINT)
                restored = watch.first(REPLICAS) - sent
                self.squall.ended(child, 6)
                ended = time.monotonic() - sent
        finally:
            end(child)
        undone = record.of("undone")
        if [event["what"]["outcome"] for event in undone] != ["undone"] or self.place.replicas() != REPLICAS:
            raise Failed(f"SIGINT did not undo: {undone}")
        return {"restored": restored, "recorded": record.wall(undone[-1]) - clock, "ended": ended}

    def guarded(self):
        """kill -9 while `scale` is held: seconds until the replicas were back, by the run's own guard."""
        child, record = self.squall.held()
        with ReplicaWatch(self.place.namespace) as watch:
            try:
                watch.first(1)
                time.sleep(HOLD)
                sent = time.monotonic()
            finally:
                child.kill()
                child.wait()
            restored = watch.first(REPLICAS) - sent
        self.squall.await_guard(record)
        return {"restored": restored}

    def recovery(self, force):
        """kill -9 without a guard, and `recover` from this machine's files: seconds until the replicas were back, and the exit."""
        child, record = self.squall.held("--no-guard")
        try:
            time.sleep(HOLD)
        finally:
            child.kill()
            child.wait()
        run = record.run_id()
        self.squall.forget(run)
        if self.place.replicas() != 1:
            raise Failed("the fault of the killed run is not there any more")
        self.busy.append(quiet())
        with ReplicaWatch(self.place.namespace) as watch:
            watch.first(1)
            started = time.monotonic()
            recover = self.squall.recover(run, force)
            try:
                restored = watch.first(REPLICAS) - started
                self.squall.ended(recover, 0)
            finally:
                end(recover)
            ended = time.monotonic() - started
        return {"restored": restored, "ended": ended}

    def repeat(self, what, count, measure):
        """So many of one measurement."""
        results = []
        for number in range(1, count + 1):
            results.append(self.once(what, measure))
            say(f"{what}, {number}: " + ", ".join(f"{name} {value:.3f} s" for name, value in results[-1].items()))
        return results


def surroundings(arguments, load, busy):
    """What the figures depend on."""
    with open(os.path.join(HERE, "requirements.txt"), encoding="utf-8") as file:
        pins = dict(text.strip().split("==") for text in file if "==" in text)
    return facts() | {
        "kubernetes": json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"],
        "nodes": len(kubectl("get", "nodes", "-o", "name").split()),
        "squall": f"{told(arguments.squall, '--version')}, commit {arguments.commit}",
        "size": os.path.getsize(arguments.squall),
        "static": "statically linked" in told("sh", "-c", 'ldd "$1" 2>&1 || true', "ldd", arguments.squall),
        "python": told(os.path.join(os.path.dirname(arguments.chaos), "python"), "--version"),
        "pins": {name: pins[name] for name in page.NAMED_PINS},
        "load": load,
        "busy": busy,
    }


def main():
    """Measures, writes the page, and the raw figures beside the cache."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = options()
    load = calm(arguments.calm)
    machine = surroundings(arguments, load, busy_cores(3.0))
    say(f"load {load[0]:.2f}, {machine['busy']:.2f} cores busy")
    place = Place(arguments.label)
    place.deploy(os.path.join(HERE, "workload.yaml"))
    squall = Squall(arguments.squall, arguments.context, place, arguments.work)
    bench = Bench(place, squall, ChaosToolkit(arguments.chaos, place, arguments.work))
    results = {
        "machine": machine,
        "forced": bench.pairs(0, arguments.pairs),
        "graceful": bench.pairs(30, arguments.pairs),
        "interrupts": bench.repeat("SIGINT", arguments.interrupts, bench.interrupt),
        "guarded": bench.repeat("kill -9", arguments.recoveries, bench.guarded),
        "forced_recoveries": bench.repeat("recover --force", arguments.recoveries, lambda: bench.recovery(True)),
        "recoveries": bench.repeat("recover", arguments.recoveries, lambda: bench.recovery(False)),
        "miscarried": bench.miscarried,
        "busy": bench.busy,
    }
    raw = os.path.join(os.path.dirname(arguments.work), "last.json")
    with open(raw, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    page.write(arguments.page, results)
    say(f"written: {arguments.page}; every single figure: {raw}")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
