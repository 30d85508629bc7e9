# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""What Auto Scaling does by itself: health checks, replacement, scaling, rebalancing; each as far as its process is not suspended.

`tick` looks once and does what is due. It never waits: what takes time is seen to be finished at a later tick.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model import Activity, AwsError, stamp
from shim import Group, Member

if TYPE_CHECKING:
    from cloud import Cloud

RUNNING = ("pending", "running")


@dataclass
class Pace:
    """What is remembered of a group from tick to tick. Instants are of the cloud's clock."""

    sick_since: dict[str, float] = field(default_factory=dict)  # by instance
    hold_until: float = 0.0  # no launch before
    retry_at: dict[str, float] = field(default_factory=dict)  # by zone, after a launch without capacity
    moving: tuple[str, str] | None = None  # the instance that came, and the one that goes for it


class Reconciler:
    """Of all groups."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.paces: dict[str, Pace] = {}

    def tick(self) -> None:
        """Does what is due."""
        groups = self.cloud.moto.groups()
        for group in groups:
            pace = self.paces.setdefault(group.name, Pace())
            self._finish(group)
            self._check_health(group, pace)
            self._replace(group, pace)
            self._scale_in(group, pace)
            self._scale_out(group, pace)
            self._rebalance(group, pace)
        names = {group.name for group in groups}
        self.paces = {name: pace for name, pace in self.paces.items() if name in names}

    def remove(self, group: Group, member: Member, why: str) -> Activity:
        """Terminates a member; it leaves the group when its machine is gone."""
        group_member = next(one for one in group.members if one.id == member.id)
        group_member.lifecycle = "Terminating"
        pace = self.paces.setdefault(group.name, Pace())
        pace.hold_until = self.cloud.clock() + self.cloud.settings.replace
        pace.sick_since.pop(member.id, None)
        activity = Activity(
            group=group.name,
            description=f"Terminating EC2 instance: {member.id}",
            cause=f"At {stamp()} {why}",
            details=self._details(group, member.zone),
            instance=member.id,
        )
        for launch in self.cloud.activities.running(member.id):
            launch.finish("Cancelled", "The instance was terminated before it was in service.")
        self.cloud.terminate(member.id, abrupt=False)
        return self.cloud.activities.add(activity)

    def settled(self, group: Group) -> bool:
        """Whether nothing is left to do."""
        members = group.members
        good = all(member.lifecycle == "InService" and member.healthy and member.ec2_state == "running" for member in members)
        zones = self._zones(group)
        return good and len(members) == group.sizes[1] and all(member.zone in zones for member in members) and not self._lopsided(group)

    # ---- what was begun ----

    def _finish(self, group: Group) -> None:
        states = self.cloud.moto.states()
        for member in group.members:
            if member.lifecycle == "Pending" and member.ec2_state == "running" and self.cloud.is_ready(member.id):
                member.lifecycle = "InService"
                self._end(member.id, "Successful")
            elif member.lifecycle == "Terminating" and states.get(member.id, "terminated") == "terminated":
                group.drop(member.id)
                self._end(member.id, "Successful")

    def _end(self, instance: str, status: str) -> None:
        for activity in self.cloud.activities.running(instance):
            activity.finish(status)

    # ---- health ----

    def _check_health(self, group: Group, pace: Pace) -> None:
        there = group.members
        if "HealthCheck" not in group.suspensions:
            for member in there:
                if member.lifecycle in ("Pending", "InService") and member.ec2_state not in RUNNING:
                    member.healthy = False
        for member in there:
            if member.healthy or member.lifecycle not in ("Pending", "InService"):
                pace.sick_since.pop(member.id, None)
            else:
                pace.sick_since.setdefault(member.id, self.cloud.clock())
        identities = {member.id for member in there}
        pace.sick_since = {key: since for key, since in pace.sick_since.items() if key in identities}

    def _replace(self, group: Group, pace: Pace) -> None:
        if {"ReplaceUnhealthy", "Terminate"} & group.suspensions.keys():
            return
        for member in group.members:
            since = pace.sick_since.get(member.id)
            if since is None or self.cloud.clock() < since + self.cloud.settings.replace:
                continue
            check = "a user health-check."
            if member.ec2_state not in RUNNING:
                check = "an EC2 health check indicating it has been terminated or stopped."
            self.remove(group, member, f"an instance was taken out of service in response to {check}")
            pace.hold_until = self.cloud.clock()  # the delay is over already

    # ---- size ----

    def _counted(self, group: Group) -> list[Member]:
        return [member for member in group.members if member.lifecycle in ("Pending", "InService")]

    def _zones(self, group: Group) -> dict[str, str]:
        """Of the group's subnets: zone to subnet."""
        return {self.cloud.moto.subnet_zone(subnet): subnet for subnet in reversed(group.subnets)}

    def _scale_in(self, group: Group, pace: Pace) -> None:
        if "Terminate" in group.suspensions or pace.moving:
            return
        while len(counted := self._counted(group)) > group.sizes[1]:
            crowd = Counter(member.zone for member in counted)
            candidates = [member for member in counted if not member.protected]
            if not candidates:
                return
            # The fullest zone's oldest; what is outside the group's zones goes first.
            inside = self._zones(group)
            victim = min(candidates, key=lambda one: (one.zone in inside, -crowd[one.zone], one.zone, one.launched))
            self.remove(
                group,
                victim,
                "an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the "
                f"capacity from {len(counted)} to {len(counted) - 1}.  At {stamp()} instance {victim.id} was selected for termination.",
            )

    def _scale_out(self, group: Group, pace: Pace) -> None:
        if "Launch" in group.suspensions or self.cloud.clock() < pace.hold_until:
            return
        while len(counted := self._counted(group)) < group.sizes[1]:
            cause = (
                "an instance was started in response to a difference between desired and actual capacity, increasing the capacity "
                f"from {len(counted)} to {len(counted) + 1}."
            )
            if not any(self._launch(group, pace, zone, cause) for zone in self._emptiest_first(group)):
                return

    def _emptiest_first(self, group: Group) -> list[str]:
        crowd = Counter(member.zone for member in self._counted(group))
        return sorted(self._zones(group), key=lambda zone: (crowd[zone], zone))

    def _launch(self, group: Group, pace: Pace, zone: str, why: str) -> str | None:
        """Tries one zone. Without capacity it is let alone for a while, and the attempt is listed as failed."""
        if self.cloud.clock() < pace.retry_at.get(zone, 0.0):
            return None
        activity = Activity(
            group=group.name,
            description="Launching a new EC2 instance",
            cause=f"At {stamp()} {why}",
            details=self._details(group, zone),
        )
        try:
            instance = self.cloud.launch(group, self._zones(group)[zone], zone)
        except AwsError as error:
            pace.retry_at[zone] = self.cloud.clock() + self.cloud.settings.retry
            activity.description += f".  Status Reason: {error.message} Launching EC2 instance failed."
            activity.finish("Failed", f"{error.message} Launching EC2 instance failed.")
            self.cloud.activities.add(activity)
            return None
        pace.retry_at.pop(zone, None)
        activity.instance = instance
        activity.description += f": {instance}"
        self.cloud.activities.add(activity)
        return instance

    def _details(self, group: Group, zone: str) -> dict[str, str]:
        return {"Subnet ID": self._zones(group).get(zone, ""), "Availability Zone": zone}

    # ---- zones ----

    def _lopsided(self, group: Group) -> bool:
        crowd = Counter(member.zone for member in self._counted(group))
        sizes = [crowd[zone] for zone in self._zones(group)]
        return bool(sizes) and max(sizes) - min(sizes) > 1

    def _rebalance(self, group: Group, pace: Pace) -> None:
        """One at a time, first the new one and then the old one, as AWS does. What has begun ends even when it is suspended since."""
        counted = self._counted(group)
        if pace.moving:
            self._end_move(group, pace, counted)
            return
        busy = len(group.members) != len(counted) or any(member.lifecycle == "Pending" or not member.healthy for member in counted)
        if {"AZRebalance", "Launch"} & group.suspensions.keys() or busy or len(counted) != group.sizes[1]:
            return
        zones = self._zones(group)
        crowd = Counter(member.zone for member in counted)
        moved = [member for member in counted if member.zone not in zones]
        if not moved and self._lopsided(group):
            fullest = max(zones, key=lambda zone: crowd[zone])
            moved = [member for member in counted if member.zone == fullest]
        moved = [member for member in moved if not member.protected]
        if moved and zones:
            target = self._emptiest_first(group)[0]
            counts = " ".join(str(crowd[zone]) for zone in sorted(crowd))
            text = f"availability zones {' '.join(sorted(crowd))} had {counts} instances respectively."
            new = self._launch(group, pace, target, f"{text}  An instance was launched to aid in balancing the group's zones.")
            if new:
                pace.moving = new, min(moved, key=lambda one: one.launched).id

    def _end_move(self, group: Group, pace: Pace, counted: list[Member]) -> None:
        by_id = {member.id: member for member in counted}
        new, old = (by_id.get(instance) for instance in pace.moving or ("", ""))
        if new is None or old is None or not new.healthy:
            pace.moving = None  # one of them went by itself; what is too many or too few now is scaling's
        elif new.lifecycle == "InService" and "Terminate" not in group.suspensions:
            pace.moving = None
            self.remove(group, old, f"instance {old.id} was taken out of service to aid in balancing the group's zones.")
