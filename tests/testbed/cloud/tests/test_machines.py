# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""What happens to machines and their Nodes: the bridge's and the lifecycle controller's decisions."""

from __future__ import annotations

import os
import re
import tempfile
import unittest
from pathlib import Path
from typing import Any

import moto

from bridge import Bridge, start_time
from machines import Machines, address
from nodes import TAINT, decide


def node(ready: str, *taints: str, provider: str = "aws:///us-east-1a/i-1") -> dict[str, Any]:
    """As the API server has it."""
    return {
        "metadata": {"name": "node1-abcde"},
        "spec": {"providerID": provider, "taints": [{"key": key, "effect": "NoSchedule"} for key in taints]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


class Lifecycle(unittest.TestCase):
    """Of Nodes, as Kubernetes' controller has it."""

    def test_only_the_node_of_a_gone_instance_is_deleted_and_only_when_it_is_not_ready(self) -> None:
        self.assertEqual(decide(node("Unknown"), "terminated"), ("delete", None))
        for state in ("running", "pending", "shutting-down"):
            self.assertIsNone(decide(node("Unknown"), state))
        self.assertIsNone(decide(node("True"), "terminated"))
        self.assertIsNone(decide(node("Unknown", provider="kind://docker/a/b"), "terminated"))

    def test_a_stopped_one_is_tainted_until_it_is_ready_again(self) -> None:
        self.assertIsNone(decide(node("True"), "stopped"))
        action = decide(node("Unknown", "other"), "stopped")
        self.assertEqual(action, ("taint", [{"key": "other", "effect": "NoSchedule"}, {"key": TAINT, "effect": "NoSchedule"}]))
        self.assertIsNone(decide(node("Unknown", TAINT), "stopped"))
        self.assertEqual(decide(node("True", TAINT, "other"), "running"), ("taint", [{"key": "other", "effect": "NoSchedule"}]))


class Places(unittest.TestCase):
    """Of machines."""

    def test_places_are_numbered_as_nodes_are(self) -> None:
        machines = Machines(["a", "b", "c"])
        self.assertEqual([machines.slots(zone) for zone in "abc"], [[1, 4, 7], [2, 5, 8], [3, 6, 9]])
        self.assertEqual(machines.free("d"), [])
        self.assertEqual([address(["a", "b", "c"], slot) for slot in (1, 6, 8)], ["10.89.16.11", "10.89.48.16", "10.89.32.18"])

    def test_the_place_left_last_is_taken_last(self) -> None:
        machines = Machines(["a", "b", "c"])
        machines.take("i-1", "a", 1, "t")
        machines.take("i-2", "a", 4, "t")
        machines.release("i-2")
        machines.release("i-1")
        self.assertEqual(machines.free("a"), [7, 4, 1])


class Decisions(unittest.TestCase):
    """Of the bridge."""

    def setUp(self) -> None:
        """The bed's records, and a bridge that notes down what it would do."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = Path(folder.name)
        for part in ("name", "pid", "off"):
            (self.state / part).mkdir()
        self.bridge = Bridge(self.state, "unused")
        self.done: list[tuple[Any, ...]] = []
        self.bridge._start = lambda *words: self.done.append(words)  # type: ignore[method-assign]

    def record(self, *, running: bool, name: str = "node1-abcde", off: str | None = None) -> None:
        """What the bed's scripts leave."""
        (self.state / "name/node1").write_text(f"{name}\n")
        pid = str(os.getpid())
        (self.state / "pid/node1").write_text(f"{pid} {start_time(pid) if running else 1} boot\n")
        if off is not None:
            (self.state / "off/node1").write_text(off)

    def turn(self, want: str, cut: str = "", abrupt: bool = False) -> tuple[str, list[tuple[Any, ...]]]:
        """The power that it reports, and what it does."""
        machine = {
            "instance": "i-abcde",
            "slot": 1,
            "zone": "us-east-1a",
            "name": "node1-abcde",
            "type": "t",
            "want": want,
            "abrupt": abrupt,
        }
        self.done.clear()
        return self.bridge._close_gap(machine, cut), list(self.done)

    def test_a_new_machine_boots_with_the_cut_of_its_zone(self) -> None:
        boot = (1, "on", "node1-abcde", "aws:///us-east-1a/i-abcde", "t", "in out")
        self.assertEqual(self.turn("on", "in out"), ("none", [boot]))
        self.record(running=False, name="node1-other")
        self.assertEqual(self.turn("on", "in out"), ("none", [boot]))
        self.record(running=True)
        self.assertEqual(self.turn("on", "in out"), ("on", []))
        self.assertEqual(self.turn("on"), ("on", [(1, "cut", "")]))
        self.assertEqual(self.turn("on"), ("on", []))

    def test_what_somebody_switched_off_stays_off(self) -> None:
        self.record(running=False, off="")
        self.assertEqual(self.turn("on"), ("off", []))
        self.record(running=False, off="cloud\n")
        self.assertEqual([word[1] for word in self.turn("on")[1]], ["on"])

    def test_off_and_gone(self) -> None:
        self.record(running=True)
        self.assertEqual(self.turn("off"), ("on", [(1, "off", "orderly")]))
        self.assertEqual(self.turn("gone", abrupt=True), ("on", [(1, "gone", "abrupt")]))
        self.record(running=False)
        self.assertEqual(self.turn("off"), ("off", []))
        self.assertEqual(self.turn("gone"), ("off", [(1, "gone", "orderly")]))
        (self.state / "name/node1").unlink()
        self.assertEqual(self.turn("gone"), ("gone", []))


class Versions(unittest.TestCase):
    """Of what the shim was written for."""

    def test_moto_is_the_pinned_one(self) -> None:
        pinned = re.search(r"^moto==(.*)$", (Path(__file__).parent.parent / "requirements.txt").read_text(), re.MULTILINE)
        self.assertIsNotNone(pinned)
        self.assertEqual(moto.__version__, pinned.group(1) if pinned else "")
