# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""Where instances run: the bed's places for nodes, and what the bridge is to make of them.

An instance needs a place (slot) in its zone. The bridge reads what is wanted of each and says what it found; nothing here waits.
"""

from __future__ import annotations

from dataclasses import dataclass

SLOTS_PER_ZONE = 3


@dataclass
class Machine:
    """An instance's place and power."""

    instance: str
    zone: str
    slot: int
    kind: str
    abrupt: bool = False  # terminated with SkipOsShutdown: its power goes without a word
    power: str = "none"  # as the bridge saw it last: none, on, off (its disk is kept) or gone

    @property
    def name(self) -> str:
        """Its Node's name: that of the place, and the end of the instance's id, for another instance is another machine."""
        return f"node{self.slot}-{self.instance[-5:]}"


class Machines:
    """The places, numbered as nodes are: the zones in turn."""

    def __init__(self, zones: list[str]) -> None:
        self.zones = zones
        self.by_instance: dict[str, Machine] = {}
        self._left: list[int] = []  # places that machines left, the latest last

    def slots(self, zone: str) -> list[int]:
        """A zone's places."""
        first = self.zones.index(zone) + 1
        return [first + turn * len(self.zones) for turn in range(SLOTS_PER_ZONE)]

    def free(self, zone: str) -> list[int]:
        """A zone's places where nothing is, the one that was left longest ago first: what was there stays silent for a while."""
        if zone not in self.zones:
            return []
        taken = {machine.slot for machine in self.by_instance.values()}
        there = [slot for slot in self.slots(zone) if slot not in taken]
        return sorted(there, key=lambda slot: self._left.index(slot) if slot in self._left else -1)

    def take(self, instance: str, zone: str, slot: int, kind: str) -> Machine:
        """Gives the place to an instance."""
        machine = Machine(instance, zone, slot, kind)
        self.by_instance[instance] = machine
        return machine

    def release(self, instance: str) -> None:
        """The machine is gone, its place is free."""
        machine = self.by_instance.pop(instance, None)
        if machine:
            self._left = [slot for slot in self._left if slot != machine.slot] + [machine.slot]

    def report(self, powers: dict[str, str]) -> None:
        """What the bridge found, by instance."""
        for instance, power in powers.items():
            if instance in self.by_instance:
                self.by_instance[instance].power = power

    def wanted(self, states: dict[str, str]) -> list[dict[str, object]]:
        """What the bridge is to do, from the instances' states."""
        wants = []
        for machine in self.by_instance.values():
            state = states.get(machine.instance, "terminated")
            want = {"pending": "on", "running": "on", "stopping": "off", "stopped": "off"}.get(state, "gone")
            wants.append(
                {
                    "instance": machine.instance,
                    "slot": machine.slot,
                    "zone": machine.zone,
                    "name": machine.name,
                    "type": machine.kind,
                    "want": want,
                    "abrupt": machine.abrupt,
                }
            )
        return wants


def address(zones: list[str], slot: int) -> str:
    """A place's address: lib/common.sh computes the same."""
    return f"10.89.{16 * ((slot - 1) % len(zones) + 1)}.{10 + slot}"
