"""The machine that a benchmark runs on: what it is, and whether it was quiet."""

import os
import platform
import subprocess
import time


class Failed(Exception):
    """The benchmark can't go on."""


class Ticks:
    """What the cores have done so far, in clock ticks: all of it, idle (waiting for a disk included), and taken by the host."""

    def __init__(self):
        with open("/proc/stat", encoding="ascii") as file:
            numbers = [int(field) for field in file.readline().split()[1:9]]
        self.total, self.idle, self.stolen = sum(numbers), numbers[3] + numbers[4], numbers[7]

    def shares_since(self, earlier):
        """Which share of all cores' time was busy since then, and which was taken by the host."""
        total = max(1, self.total - earlier.total)
        return 1 - (self.idle - earlier.idle) / total, (self.stolen - earlier.stolen) / total


def busy_cores(seconds):
    """How many cores were busy, on average, for so long."""
    before = Ticks()
    time.sleep(seconds)
    return Ticks().shares_since(before)[0] * (os.cpu_count() or 1)


def calm(patience, below=1.0):
    """The load averages once the first is below this, or after waiting long enough: what ran before takes its time to go."""
    end = time.monotonic() + patience
    while os.getloadavg()[0] >= below and time.monotonic() < end:
        time.sleep(2)
    return os.getloadavg()


def told(*command):
    """What a command says."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def facts():
    """What every figure depends on."""

    def line(path, key):
        with open(path, encoding="ascii", errors="replace") as file:
            return next((text.split(":", 1)[1].strip() for text in file if text.startswith(key)), "unknown")

    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cores": os.cpu_count(),
        "cpu": line("/proc/cpuinfo", "model name"),
        "memory": int(line("/proc/meminfo", "MemTotal").split()[0]) / 2**20,
        "kernel": f"{platform.system()} {platform.release()}",
    }
