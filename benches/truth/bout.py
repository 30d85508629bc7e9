"""One bout: a tool on one core against the fault server on the other, and how quiet the machine was meanwhile."""

import os
import resource
import shutil
import signal
import subprocess
import threading
import time

from machine import Failed, Ticks
from processes import end, used
from server import FaultServer

SERVER_CORE, CLIENT_CORE = 0, 1
# More than these, by anything but server and tool, and a bout is too noisy to be quoted.
FOREIGN_CORES = 0.15
STOLEN_SHARE = 0.005
# A tool may take so long beyond its time.
GRACE = 30.0


class Bout:
    """What came of it."""

    def __init__(self, folder, seen, zero, foreign, stolen):
        self.folder, self.seen, self.zero = folder, seen, zero
        self.foreign, self.stolen = foreign, stolen

    @property
    def noisy(self):
        """Whether other work was going on."""
        return self.foreign > FOREIGN_CORES or self.stolen > STOLEN_SHARE


def pause(child, after, length):
    """Stops a process, as a host that is short of processors does, and lets it go on."""

    def stand_still():
        time.sleep(after)
        if child.poll() is None:
            os.kill(child.pid, signal.SIGSTOP)
            time.sleep(length)
            os.kill(child.pid, signal.SIGCONT)

    thread = threading.Thread(target=stand_still, daemon=True)
    thread.start()
    return thread


class Awake:
    """Keeps both cores from halting, with work that gives way to everything else: a virtual core takes its time to wake up."""

    def __init__(self, wanted):
        self.wanted, self.children = wanted, []

    def __enter__(self):
        for core in (SERVER_CORE, CLIENT_CORE) if self.wanted else ():
            command = ["taskset", "-c", str(core), "chrt", "--idle", "0", "sh", "-c", "while :; do :; done"]
            self.children.append(subprocess.Popen(command, start_new_session=True))
        return self

    def __exit__(self, *_):
        for child in self.children:
            end(child)


def spent(*running):
    """Processor seconds of these processes, and of all that this one has waited for."""
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    return waited.ru_utime + waited.ru_stime + sum(map(used, running))


def bout(binary, tool, seconds, listeners, folder, stalled=None, awake=False):
    """Runs a tool for so long against these listeners; `stalled` is when it is stopped, and for how long."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with Awake(awake) as awake, FaultServer(binary, SERVER_CORE, folder, listeners) as server:
        running = [server.child, *awake.children]
        urls = [server.url(number) for number in range(len(listeners))]
        command = ["taskset", "-c", str(CLIENT_CORE), *tool.command(urls[0], seconds, folder, *urls[1:])]
        ticks, before, begun = Ticks(), spent(*running), time.monotonic()
        with open(os.path.join(folder, "output"), "wb") as output:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            thread = pause(child, *stalled) if stalled else None
            try:
                code = child.wait(seconds + GRACE)
            except subprocess.TimeoutExpired:
                code = "none in time"
            finally:
                end(child)
        if thread:
            thread.join()
        wall = time.monotonic() - begun
        busy, stolen = Ticks().shares_since(ticks)
        # What was busy, and not ours.
        foreign = busy * (os.cpu_count() or 1) - (spent(*running) - before) / wall
        if code:
            with open(os.path.join(folder, "output"), encoding="utf-8", errors="replace") as file:
                raise Failed(f"{' '.join(command)}: exit code {code}: {file.read()[-1000:]}")
        return Bout(folder, server.finish(), server.zero, max(0.0, foreign), stolen)
