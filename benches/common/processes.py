"""Ending what a benchmark started."""

import os
import signal
import subprocess


def end(child):
    """Ends a process with whatever it started, if it still runs: in order where it can, so that a held fault is taken back."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
