"""The fault server of tests/truth as a process, and its log: what really happened."""

import json
import os
import subprocess

from machine import Failed
from processes import end

# Longer than it takes to see off what is under way and to write the log.
PATIENCE = 30.0
MS = 1_000_000


def first():
    """What a command begins with so that it runs before all ordinary processes; nothing where that is not allowed.

    The server is the instrument: its stamps have to say when something arrived, not when it got its turn.
    """
    command = ["chrt", "--fifo", "1"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, timeout=10, check=False).returncode == 0
    except OSError:
        allowed = False
    return command if allowed else []


FIRST = first()


def listener(name, work=None, windows=(), rules=()):
    """A listener of the script: `work` in microseconds before each answer, windows as (kind, from, to) in milliseconds."""
    script = {"name": name, "protocol": "http", "rules": list(rules)}
    script["windows"] = [{"kind": kind, "fromMs": start, "toMs": stop} for kind, start, stop in windows]
    if work:
        script["delay"] = {"fixed": {"us": work}}
    return script


class Seen:
    """What the server saw on one listener. Instants are nanoseconds of `CLOCK_MONOTONIC`."""

    def __init__(self):
        self.accepted, self.requests, self.windows = {}, [], []


class FaultServer:
    """A running server on a core of its own; `with` ends it."""

    def __init__(self, binary, core, folder, listeners):
        self.log = os.path.join(folder, "server.jsonl")
        script = json.dumps({"seed": 1, "listeners": listeners})
        command = ["taskset", "-c", str(core), *FIRST, binary, "--script", script, "--log", self.log]
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        greeting = self.child.stdout.readline()
        if not greeting:
            end(self.child)
            raise Failed("the fault server did not start")
        self.zero, self.ports = (json.loads(greeting)[key] for key in ("zero", "ports"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.child)

    def url(self, number=0):
        """Where a listener is."""
        return f"http://127.0.0.1:{self.ports[number]}/"

    def finish(self):
        """Ends the server, and reads its log by listener."""
        self.child.stdin.close()
        if self.child.wait(PATIENCE):
            raise Failed("the fault server failed")
        seen = {}
        with open(self.log, encoding="utf-8") as file:
            for event in map(json.loads, file):
                one = seen.setdefault(event["listener"], Seen())
                if event["event"] == "connection":
                    one.accepted[event["connection"]] = event["accepted"]
                elif event["event"] == "request":
                    one.requests.append(event)
                else:
                    one.windows.append(event)
        for one in seen.values():
            one.requests.sort(key=lambda request: request["arrived"])
        return seen
