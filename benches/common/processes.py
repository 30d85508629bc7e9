"""Ending what a benchmark started."""

import os
import signal
import subprocess


def used(child):
    """Processor seconds that a running process has used so far."""
    with open(f"/proc/{child.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end(child):
    """Ends a process with whatever it started, if it still runs: in order where it can, so that a held fault is taken back."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
