# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""The cloud as a whole: moto's resources, the machines they stand for, and what happens by itself. All of it under one lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import calls_autoscaling
import calls_ec2
import shim
from layout import ZONES, Layout
from machines import Machines, address
from model import Activities, AwsError, Settings
from reconciler import Reconciler
from shim import Group, Moto


class Cloud:
    """One account in one region, with its machines."""

    def __init__(self, bridged: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a bridge every machine does at once what is wanted of it, and its node is Ready."""
        self.lock = threading.RLock()
        self.clock = clock
        self.bridged = bridged
        self.settings = Settings()
        self.activities = Activities()
        self.moto = Moto()
        self.machines = Machines(list(ZONES))
        self.exchanges = 0  # with the bridge
        self.nodes: dict[str, bool] = {}  # by instance: whether its Node is Ready
        self.reconciler = Reconciler(self)
        self._ended: dict[str, float] = {}  # terminated instances, and when
        shim.install(
            self,
            {"autoscaling": calls_autoscaling.REPLACED, "ec2": calls_ec2.REPLACED},
            {"autoscaling": calls_autoscaling.CHECKED, "ec2": calls_ec2.CHECKED},
            {"autoscaling": {}, "ec2": calls_ec2.COMPLETED},
        )
        self.layout = Layout(self.moto)

    def tick(self) -> None:
        """Looks once at everything, and does what is due."""
        with self.lock:
            if not self.bridged:
                self._obey()
            self._advance()
            self.reconciler.tick()

    def _obey(self) -> None:
        for want in self.machines.wanted(self.moto.states()):
            self.machines.report({str(want["instance"]): str(want["want"])})
        self.nodes = {one.instance: one.power == "on" for one in self.machines.by_instance.values() if one.power != "gone"}

    def _advance(self) -> None:
        """Instances follow their machines."""
        for instance in self.moto.instances():
            machine = self.machines.by_instance.get(instance.id)
            power = machine.power if machine else "gone"
            if (instance.state, power) == ("pending", "on"):
                shim.set_state(instance, "running")
            elif (instance.state, power) == ("stopping", "off"):
                shim.set_state(instance, "stopped")
            elif (instance.state, power) == ("shutting-down", "gone"):
                self.moto.end(instance)
                self.machines.release(instance.id)
                self._ended[instance.id] = self.clock()
        for identity, ended in list(self._ended.items()):
            if self.clock() >= ended + self.settings.forget:
                self.moto.forget(identity)
                del self._ended[identity]

    # ---- for calls and the reconciler ----

    def address(self, slot: int) -> str:
        """Of a place."""
        return address(self.machines.zones, slot)

    def is_ready(self, instance: str) -> bool:
        """Whether its Node is."""
        return self.nodes.get(instance, False)

    def check_capacity(self, zone: str, count: int, kind: str) -> None:
        """Whether a zone has room, or what EC2 says when not."""
        if zone in self.settings.ice or len(self.machines.free(zone)) < count:
            others = ", ".join(one for one in self.machines.zones if one != zone)
            raise AwsError(
                "InsufficientInstanceCapacity",
                f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}). Our system will be "
                f"working on provisioning additional capacity. You can currently get {kind} capacity by not specifying an Availability "
                f"Zone in your request or choosing {others}.",
            )

    def launch(self, group: Group, subnet: str, zone: str) -> str:
        """A new member."""
        self.check_capacity(zone, 1, group.kind)
        slot = self.machines.free(zone)[0]
        instance = group.launch(subnet, self.address(slot))
        self.machines.take(instance, zone, slot, group.kind)
        return instance

    def shut_down(self, instance: str, abrupt: bool) -> None:
        """How its machine goes off."""
        machine = self.machines.by_instance.get(instance)
        if machine:
            machine.abrupt = abrupt

    def terminate(self, instance: str, abrupt: bool, moto: Moto | None = None) -> None:
        """Unless it is on its way already. An abrupt one stays abrupt."""
        found = (moto or self.moto).by_id([instance])[0]
        if found.state in ("shutting-down", "terminated"):
            return
        shim.set_state(found, "shutting-down")
        self.shut_down(instance, abrupt)

    # ---- for the bridge ----

    def exchange(self, powers: dict[str, str]) -> dict[str, Any]:
        """Takes what the bridge found, and gives what it is to do."""
        with self.lock:
            self.exchanges += 1
            self.machines.report(powers)
            self._advance()
            return {"machines": self.machines.wanted(self.moto.states()), "cut": self.cuts()}

    def cuts(self) -> dict[str, list[str]]:
        """Zones whose subnet lets no traffic in or out. Only rules for all traffic count: the first of these decides."""
        cuts: dict[str, list[str]] = {}
        for _, subnet, acl in self.moto.associated():
            if subnet not in self.layout.subnets.values():
                continue
            for direction, egress in (("in", False), ("out", True)):
                rules = sorted(
                    (rule for rule in acl.network_acl_entries if bool(rule.egress) == egress), key=lambda rule: int(rule.rule_number)
                )
                whole = [rule for rule in rules if rule.cidr_block == "0.0.0.0/0" and str(rule.protocol) == "-1"]
                if not whole or whole[0].rule_action != "allow":
                    cuts.setdefault(self.moto.subnet_zone(subnet), []).append(direction)
        return cuts

    # ---- for tests ----

    def state(self) -> dict[str, Any]:
        """Everything, for a person or a test to look at."""
        with self.lock:
            groups = {}
            for group in self.moto.groups():
                members = {
                    member.id: {"zone": member.zone, "lifecycle": member.lifecycle, "healthy": member.healthy, "ec2": member.ec2_state}
                    for member in group.members
                }
                groups[group.name] = {"sizes": group.sizes, "suspended": sorted(group.suspensions), "members": members}
            machines = {
                one.instance: {"node": one.name, "zone": one.zone, "power": one.power, "ready": self.is_ready(one.instance)}
                for one in self.machines.by_instance.values()
            }
            return {
                "groups": groups,
                "machines": machines,
                "cuts": self.cuts(),
                "settled": self.settled(),
                "exchanges": self.exchanges if self.bridged else None,
            }

    def settled(self) -> bool:
        """Whether every group has what it wants, on Ready nodes, and there are no other machines or nodes."""
        members = {member.id for group in self.moto.groups() for member in group.members}
        return (
            all(self.reconciler.settled(group) for group in self.moto.groups())
            and members == set(self.machines.by_instance) == set(self.nodes)
            and all(self.nodes.values())
            and all(machine.power == "on" for machine in self.machines.by_instance.values())
        )

    def reset(self) -> None:
        """Puts everything back to how it was laid out; what that needs in time, `settled` tells."""
        with self.lock:
            self.settings = Settings()
            self.layout.restore()
            kept = {member.id for group in self.moto.groups() for member in group.members}
            for instance in self.moto.instances():
                instance.disable_api_termination = instance.disable_api_stop = False
                if instance.id not in kept:
                    self.terminate(instance.id, abrupt=True)
            for group in self.moto.groups():
                for member in group.members:
                    member.protected = False
                    if member.lifecycle == "Standby":
                        member.lifecycle = "InService"
                    # A machine that was switched off behind the cloud's back is replaced too.
                    if member.lifecycle == "InService":
                        machine = self.machines.by_instance.get(member.id)
                        member.healthy = member.healthy and self.is_ready(member.id) and machine is not None and machine.power == "on"
            self.reconciler.paces.clear()
            self.activities.clear()
