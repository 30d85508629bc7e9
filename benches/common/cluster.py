"""The cluster that a benchmark runs on."""

import subprocess
import time

from machine import Failed

# How long anything in it may take to be whole again.
PATIENCE = 90.0


def kubectl(*arguments):
    """What kubectl prints."""
    command = ["kubectl", "--request-timeout=20s", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def wait_for(what, condition, patience=PATIENCE, pause=0.2):
    """Waits until a condition holds, and returns what it returned."""
    end = time.monotonic() + patience
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"waited {patience:.0f} s in vain for: {what}")
        time.sleep(pause)
