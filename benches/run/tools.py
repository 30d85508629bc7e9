"""The two tools: one whole run of each as a process, and what their own records say of it."""

import datetime
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from cluster import kubectl, wait_for
from machine import Failed
from processes import end

HERE = os.path.dirname(os.path.abspath(__file__))
# Longer than any run lasts.
PATIENCE = 120.0
TIME = "/usr/bin/time"


class Miscarried(Exception):
    """A run that did not do what is timed; it is not counted."""


def instant(text):
    """Seconds since the epoch of an RFC 3339 time in UTC, with as many digits as it has."""
    whole, _, fraction = text.removesuffix("Z").removesuffix("+00:00").partition(".")
    seconds = datetime.datetime.fromisoformat(whole + "+00:00").timestamp()
    return seconds + (float(f"0.{fraction}") if fraction else 0.0)


def exit_code(child):
    """Waits for the end of a process; one that takes too long is killed.

    By a timer, because `wait` with a timeout looks only every 50 ms, and that would be most of what is measured here.
    """
    timer = threading.Timer(PATIENCE, os.killpg, (child.pid, signal.SIGKILL))
    timer.start()
    try:
        return child.wait()
    finally:
        timer.cancel()
        end(child)


def timed(command, folder):
    """Runs a command to its end: exit code, wall and processor seconds, peak MiB, and the wall clock at its start and end.

    GNU time stands between, because a process that is forked from a larger one inherits its peak: this interpreter's would be
    counted as Squall's. It costs a millisecond, the same for both.
    """
    usage = os.path.join(folder, "usage")
    with open(os.path.join(folder, "output"), "wb") as output:
        started, begun = time.time(), time.monotonic()
        child = subprocess.Popen(
            [TIME, "--format=%M %U %S", f"--output={usage}", *command],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )
        code = exit_code(child)
        wall = time.monotonic() - begun
    with open(usage, encoding="ascii") as file:
        # The last line: one that tells of an exit code may stand above it.
        peak, user, system = (float(field) for field in file.read().split()[-3:])
    return {"code": code, "wall": wall, "cpu": user + system, "peak": peak / 1024, "started": started, "ended": started + wall}


def fresh(folder):
    """The folder, empty: every run writes its record for the first time."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def output_of(folder):
    """What a run printed, in one line."""
    with open(os.path.join(folder, "output"), encoding="utf-8", errors="replace") as file:
        return " | ".join(file.read().split("\n"))[-2000:]


class ChaosToolkit:
    """Chaos Toolkit with its Kubernetes extension."""

    name = "Chaos Toolkit"

    def __init__(self, chaos, place, work):
        self.chaos, self.place, self.folder = chaos, place, os.path.join(work, "chaostoolkit")

    def pod_kill(self, grace):
        """One run: a check, a deletion, a check."""
        folder = fresh(self.folder)
        # Without the version check, which asks a server that can't be reached from here.
        command = [
            self.chaos, "--no-version-check", "run", "--journal-path=journal.json",
            f"--var=namespace={self.place.namespace}", f"--var=grace:int={grace}",
            os.path.join(HERE, "pod-kill.chaostoolkit.yaml"),
        ]
        run = timed(command, folder)
        try:
            with open(os.path.join(folder, "journal.json"), encoding="utf-8") as file:
                journal = json.load(file)
            acts = [*(journal["steady_states"][side]["probes"][0] for side in ("before", "after")), journal["run"][0]]
        except (OSError, KeyError, IndexError, TypeError) as error:
            raise Miscarried(f"no journal ({error!r}): {output_of(folder)}") from error
        told = (run["code"], journal["status"], journal["deviated"], [act["status"] for act in acts])
        if told != (0, "completed", False, ["succeeded"] * 3) or len(acts[2]["output"]) != 1:
            raise Miscarried(f"{told}: {output_of(folder)}")
        run["first_probe"] = instant(acts[0]["start"]) - run["started"]
        return run


class Record:
    """The events of a Squall run."""

    def __init__(self, reports):
        self.reports = reports

    def run_id(self):
        """The id of the one run; none as long as it has no folder."""
        runs = os.listdir(self.reports) if os.path.isdir(self.reports) else []
        return runs[0] if runs else None

    def events(self):
        """All complete lines so far."""
        try:
            with open(os.path.join(self.reports, self.run_id() or "", "events.jsonl"), encoding="utf-8") as file:
                lines = file.read().split("\n")[:-1]
        except OSError:
            return []
        return [json.loads(line) for line in lines]

    def of(self, kind):
        """The events of a type."""
        return [event for event in self.events() if event["what"]["type"] == kind]

    def wall(self, event):
        """The wall clock of an event: the run's zero, and its own microseconds on the monotonic clock."""
        zero = self.events()[0]
        return instant(zero["wall"]) + (event["at"] - zero["at"]) / 1e6


class Squall:
    """Squall, with its Lease, access review, undo log and fsync, as always."""

    name = "Squall"

    def __init__(self, squall, context, place, work):
        self.squall, self.place, self.folder = squall, place, os.path.join(work, "squall")
        self.common = ["--context", context, "--state-namespace", place.state]

    def command(self, experiment, *sets):
        """The command line of a run."""
        variables = [f"--set={one}" for one in (f"namespace={self.place.namespace}", *sets)]
        return [self.squall, "run", os.path.join(HERE, experiment), *self.common, *variables]

    def pod_kill(self, grace):
        """One run: a check, a deletion, a check."""
        folder = fresh(self.folder)
        run = timed(self.command("pod-kill.yaml", f"grace={grace}s"), folder)
        record = Record(os.path.join(folder, "reports"))
        told = {kind: [event["what"] for event in record.of(kind)] for kind in ("injected", "effect", "healed", "judged")}
        good = (
            run["code"] == 5
            and [one["outcome"] for one in told["injected"]] == ["injected"]
            and [one["seen"] for one in told["effect"]] == [True]
            and [one["healed"] for one in told["healed"]] == [False]
            and sorted(one["phase"] for one in told["judged"] if one["verdict"] == "held") == ["after", "before"]
        )
        if not good:
            raise Miscarried(f"exit code {run['code']}: {output_of(folder)}")
        run.update(self.parts(run, record))
        return run

    @staticmethod
    def parts(run, record):
        """Where the time went, by the run's own record; the parts add up to the whole."""
        phase = {event["what"]["phase"]: record.wall(event) for event in record.of("phaseStarted")}
        stop = record.wall(record.of("probesStopped")[0])
        deleted, gone = (record.wall(record.of(kind)[0]) for kind in ("injected", "effect"))
        marks = [
            ("planned", record.wall(record.events()[0])),
            ("prepared", phase["before"]),
            ("before", phase["during"]),
            ("deleted", deleted),
            ("proved", gone),
            ("closed", phase["after"]),
            ("after", stop),
            ("ended", run["ended"]),
        ]
        spent, last = {}, run["started"]
        for name, at in marks:
            spent[name], last = at - last, at
        return {
            "parts": spent,
            "first_probe": phase["before"] - run["started"],
            "outside": run["wall"] - (stop - phase["before"]),
        }

    def held(self, *options):
        """Starts a run of scale.yaml, and returns it with its record once its effect is seen: it holds the fault from then on."""
        folder = fresh(self.folder)
        with open(os.path.join(folder, "output"), "wb") as output:
            child = subprocess.Popen(
                [*self.command("scale.yaml"), *options], cwd=folder,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )
        record = Record(os.path.join(folder, "reports"))

        def shown():
            if child.poll() is not None:
                raise Miscarried(f"exit code {child.returncode} before its hold: {output_of(folder)}")
            return [event for event in record.of("effect") if event["what"]["seen"]]

        try:
            wait_for("the effect of `scale`", shown, pause=0.05)
        except BaseException:
            end(child)
            raise
        return child, record

    def await_guard(self, record):
        """Waits until the guard of a killed run is through: it would write into the record of the next one."""
        log = os.path.join(record.reports, record.run_id(), "guard.log")

        def through():
            with open(log, encoding="utf-8") as file:
                return ": clean" in file.read()

        wait_for("the end of the guard", through, pause=0.05)

    def forget(self, run):
        """Removes the cluster's copy of a run's undo log, so that only this machine's files are left."""
        kubectl("-n", self.place.state, "delete", "configmap", f"squall-run-{run}")

    def recover(self, run, force):
        """Starts `recover` of one run, in the folder of its record."""
        command = [self.squall, "recover", run, *self.common, *(["--force"] if force else [])]
        with open(os.path.join(self.folder, "output"), "wb") as output:
            return subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def ended(self, child, expected):
        """Waits for the end of a process, with this exit code."""
        code = exit_code(child)
        if code != expected:
            raise Failed(f"{child.args[:2]}: exit code {code} instead of {expected}: {output_of(self.folder)}")
