# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""Makes machines of instances: reads again and again what the cloud wants, compares it with what is there, and closes the gap.

bridge.py STATE MACHINE.SH

It keeps nothing that it could not find out anew, so it may die and be started again. What runs is known by the bed's own records.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from client import ask

PERIOD = 0.2


def start_time(pid: str) -> str | None:
    """Of a process that is there and no zombie; None otherwise."""
    try:
        fields = Path("/proc", pid, "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Bed:
    """What the bed's records say of its places."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def _read(self, *names: str) -> str:
        try:
            return self.state.joinpath(*names).read_text().strip()
        except OSError:
            return ""

    def power(self, want: dict[str, Any]) -> str:
        """Of this machine: none (another one or nothing is in its place), off, or on."""
        place = f"node{want['slot']}"
        if self._read("name", place) != want["name"]:
            return "none"
        record = self._read("pid", place).split()
        return "on" if len(record) == 3 and start_time(record[0]) == record[1] else "off"

    def by_hand(self, slot: int) -> bool:
        """Whether somebody else switched it off, who wants it to stay off."""
        marker = self.state / "off" / f"node{slot}"
        return marker.exists() and self._read("off", f"node{slot}") != "cloud"


class Bridge:
    """Between the cloud and the bed."""

    def __init__(self, state: Path, script: str) -> None:
        self.socket = str(state / "cloud.sock")
        self.bed = Bed(state)
        self.script = script
        self.jobs: dict[int, subprocess.Popen[bytes]] = {}  # by place: one at a time
        self.cuts: dict[str, str] = {}  # by machine's name: directions in force
        self.powers: dict[str, str] = {}  # by instance, as to be reported

    def turn(self) -> None:
        """Looks at everything once."""
        for slot, job in list(self.jobs.items()):
            if job.poll() is not None:
                del self.jobs[slot]
                if job.returncode:
                    print(f"bridge: {job.args} ended with {job.returncode}", file=sys.stderr, flush=True)
        answer = ask(self.socket, "exchange", self.powers)
        self.powers = {}
        for want in answer["machines"]:
            if want["slot"] not in self.jobs:
                cut = " ".join(answer["cut"].get(want["zone"], []))
                self.powers[want["instance"]] = self._close_gap(want, cut)

    def _close_gap(self, want: dict[str, Any], cut: str) -> str:
        """Starts what is to be done, and gives the power to report."""
        slot, power = want["slot"], self.bed.power(want)
        manner = "abrupt" if want["abrupt"] else "orderly"
        if want["want"] == "gone":
            if power == "none":
                return "gone"
            self._start(slot, "gone", manner)
        elif want["want"] == "off":
            if power == "on":
                self._start(slot, "off", manner)
        elif power == "on":
            if self.cuts.get(want["name"]) != cut:
                self.cuts[want["name"]] = cut
                self._start(slot, "cut", cut)
        elif not self.bed.by_hand(slot):
            self.cuts[want["name"]] = cut
            provider = f"aws:///{want['zone']}/{want['instance']}"
            self._start(slot, "on", want["name"], provider, want["type"], cut)
        return power

    def _start(self, slot: int, verb: str, *words: str) -> None:
        print(f"bridge: {verb} node{slot} {' '.join(words)}", file=sys.stderr, flush=True)
        self.jobs[slot] = subprocess.Popen([self.script, verb, str(slot), *words], stdin=subprocess.DEVNULL)


def main() -> None:
    """Doesn't return."""
    bridge = Bridge(Path(sys.argv[1]), sys.argv[2])
    while True:
        try:
            bridge.turn()
        except (OSError, ValueError) as error:
            print(f"bridge: {error}", file=sys.stderr, flush=True)
        time.sleep(PERIOD)


if __name__ == "__main__":
    main()
