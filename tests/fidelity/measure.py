"""The driver: every scenario on the lab and on the bed, what they measured, and the page. fidelity.sh starts it.

What was measured is kept in `measured.json`, so that a scenario can be measured anew without the others, and the lab without the bed.
"""

import argparse
import glob
import json
import os
import signal
import sys
import time

import page
from machine import Failed, busy_cores, facts, told
from places import Bed, Lab

HERE = os.path.dirname(os.path.abspath(__file__))
MEASURED = os.path.join(HERE, "measured.json")
PAGE = os.path.join("docs", "fidelity.md")


def say(text):
    """Tells whoever waits."""
    print(f"fidelity: {text}", file=sys.stderr, flush=True)


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("squall", "bed", "work", "commit"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--only", default="*", metavar="GLOB", help="folders of the scenarios to measure (default all)")
    parser.add_argument("--seeds", type=int, default=20, help="rehearsals of each scenario; 0: the lab's figures stay (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each scenario on the bed (default 3)")
    parser.add_argument("--more", action="store_true", help="keep the bed's runs that there are, and add to them")
    parser.add_argument("--lab", action="store_true", help="measure the lab alone; the bed's figures stay as they are")
    return parser.parse_args()


class Measured:
    """What is known so far, on disk after every step."""

    def __init__(self):
        self.all = {}
        if os.path.exists(MEASURED):
            with open(MEASURED, encoding="utf-8") as file:
                self.all = json.load(file)

    def of(self, scenario):
        """What is known of a scenario."""
        return self.all.setdefault("scenarios", {}).setdefault(scenario, {})

    def write(self):
        """Writes it down, and the page that it makes."""
        there = {os.path.basename(folder) for folder in folders("*")}
        self.all["scenarios"] = {name: self.all["scenarios"][name] for name in sorted(self.all["scenarios"]) if name in there}
        with open(MEASURED, "w", encoding="utf-8") as file:
            json.dump(self.all, file, indent=1, sort_keys=True)
            file.write("\n")
        page.write(PAGE, self.all)


def folders(only):
    """The folders of the scenarios, in order."""
    return sorted(os.path.dirname(path) for path in glob.glob(os.path.join("tests", "fidelity", only, "experiment.yaml")))


def rehearse(lab, measured, chosen, asked):
    """The lab's half."""
    measured.all["lab"] = {"commit": asked.commit}
    for folder in chosen:
        name = os.path.basename(folder)
        known = measured.of(name)
        known["lacks"] = lab.lacks(folder)
        known["lab"] = [] if known["lacks"] else lab.runs(folder, asked.seeds)
        say(f"{name}: lab: {known['lacks'] or page.verdicts(known['lab'])}")


def run(bed, measured, chosen, asked):
    """The bed's half: round by round, so that what the machine did meanwhile meets all scenarios alike."""
    machine = measured.all["machine"] = facts()
    machine["kubernetes"] = json.loads(told("kubectl", "version", "-o", "json"))["serverVersion"]["gitVersion"]
    machine["commit"], machine["busy"] = asked.commit, busy_cores(2.0)
    for number in range(asked.rounds):
        for folder in chosen:
            name = os.path.basename(folder)
            known = measured.of(name)
            if number == 0 and not asked.more:
                known["bed"] = []
            began = time.monotonic()
            try:
                ran = bed.run(folder, 1 + len(known.setdefault("bed", [])))
            except Failed as error:
                say(f"{name}: on the bed: {error}")
                continue
            known["bed"].append(ran)
            measured.write()
            numbers = {key: value for key, value in ran["figures"].items() if value is not None}
            say(f"{name}: bed: {ran['verdict']} {numbers} in {time.monotonic() - began:.0f} s")


def main():
    """All of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked, measured = options(), Measured()
    chosen = folders(asked.only)
    if not chosen:
        raise Failed(f"no scenario is called {asked.only}")
    if asked.seeds:
        rehearse(Lab(asked.squall, asked.work), measured, chosen, asked)
        measured.write()
    if not asked.lab:
        bed = Bed(asked.squall, asked.bed, asked.work)
        try:
            run(bed, measured, chosen, asked)
        finally:
            bed.clear()
    missing = page.unexplained(measured.all)
    for line in missing:
        say(line)
    return 1 if missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        say(failure)
        sys.exit(1)
