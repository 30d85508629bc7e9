# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""What every part of the cloud speaks of: errors as AWS names them, scaling activities, settings that tests turn."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

ACCOUNT = "123456789012"
REGION = "us-east-1"
CLUSTER_TAG = "kubernetes.io/cluster/squall-testbed"

# AWS suspends and resumes these and no others.
PROCESSES = (
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
)


class AwsError(Exception):
    """A refusal that the caller sees under this code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass
class Settings:
    """What a test may turn; a reset makes it anew. Times are in seconds."""

    replace: float = 1.0  # from the moment a member is seen unhealthy until it is replaced
    retry: float = 5.0  # until a zone without capacity is tried again; minutes on AWS
    forget: float = 180.0  # terminated instances are described for so long; about an hour on AWS
    ice: frozenset[str] = frozenset()  # zones without capacity


def now() -> datetime:
    """The time that answers carry."""
    return datetime.now(UTC).replace(microsecond=0)


def stamp() -> str:
    """The time as AWS writes it into causes and reasons."""
    return now().strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Activity:
    """A scaling activity, under the names of the API."""

    group: str
    description: str
    cause: str
    details: dict[str, str]
    instance: str | None = None
    status: str = "InProgress"
    message: str | None = None
    started: datetime = field(default_factory=now)
    ended: datetime | None = None
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))

    def finish(self, status: str, message: str | None = None) -> None:
        """Ends it. Only one that runs can end."""
        if self.status == "InProgress":
            self.status, self.message, self.ended = status, message, now()

    def answer(self) -> dict[str, object]:
        """As DescribeScalingActivities gives it."""
        shape: dict[str, object] = {
            "ActivityId": self.identity,
            "AutoScalingGroupName": self.group,
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": self.started,
            "StatusCode": self.status,
            "Progress": 50 if self.status == "InProgress" else 100,
            "Details": json.dumps(self.details),
        }
        if self.ended:
            shape["EndTime"] = self.ended
        if self.message:
            shape["StatusMessage"] = self.message
        return shape


class Activities:
    """All activities since the last reset, newest first, as the API lists them."""

    def __init__(self) -> None:
        self._all: list[Activity] = []

    def add(self, activity: Activity) -> Activity:
        """Lists it, and gives it back."""
        self._all.insert(0, activity)
        return activity

    def of(self, group: str | None, identities: Iterable[str] = ()) -> list[Activity]:
        """Those of one group, or of all; of these only the named ones, if any are."""
        wanted = set(identities)
        return [
            activity for activity in self._all if (group is None or activity.group == group) and (not wanted or activity.identity in wanted)
        ]

    def running(self, instance: str) -> list[Activity]:
        """Those of an instance that have not ended."""
        return [activity for activity in self._all if activity.instance == instance and activity.status == "InProgress"]

    def clear(self) -> None:
        """Forgets all."""
        self._all.clear()
