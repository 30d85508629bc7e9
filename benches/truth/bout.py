"""One bout: a tool on one core against the fault server on the other, and how quiet the machine was meanwhile."""

import os
import resource
import shutil
import signal
import subprocess
import threading
import time

from machine import Failed, Ticks
from processes import end
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


def spent(server):
    """Processor seconds of the server, and of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime + server.used()


def bout(binary, tool, seconds, listeners, folder, stalled=None):
    """Runs a tool for so long against these listeners; `stalled` is when it is stopped, and for how long."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with FaultServer(binary, SERVER_CORE, folder, listeners) as server:
        urls = [server.url(number) for number in range(len(listeners))]
        command = ["taskset", "-c", str(CLIENT_CORE), *tool.command(urls[0], seconds, folder, *urls[1:])]
        ticks, before, begun = Ticks(), spent(server), time.monotonic()
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
        # What was busy, and neither the tool nor the server.
        foreign = busy * (os.cpu_count() or 1) - (spent(server) - before) / wall
        if code:
            with open(os.path.join(folder, "output"), encoding="utf-8", errors="replace") as file:
                raise Failed(f"{' '.join(command)}: exit code {code}: {file.read()[-1000:]}")
        return Bout(folder, server.finish(), server.zero, max(0.0, foreign), stolen)
