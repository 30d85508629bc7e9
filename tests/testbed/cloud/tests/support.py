# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""A cloud without machines, asked over HTTP as any client asks it, on a clock that stands still until a test moves it."""

from __future__ import annotations

import io
import json
import threading
import unittest
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from cloud import Cloud
from front import Front
from server import Quiet


class Clock:
    """Stands still."""

    def __init__(self) -> None:
        self.instant = 1000.0

    def __call__(self) -> float:
        return self.instant


class World:
    """One for all tests, because moto is one for the whole process; each test begins with a reset."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cloud = Cloud(bridged=False, clock=self.clock)
        self.log = io.StringIO()
        self.slept: list[float] = []
        self.front = Front(self.cloud, DomainDispatcherApplication(create_backend_app), self.log, self.slept.append)
        self.server = make_server("127.0.0.1", 0, self.front, threaded=True, request_handler=Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.clients: dict[tuple[str, str], Any] = {}

    def client(self, service: str, key: str = "tests") -> Any:
        """Of boto3, which asks once."""
        if (service, key) not in self.clients:
            self.clients[service, key] = boto3.client(
                service,
                endpoint_url=f"http://127.0.0.1:{self.server.server_address[1]}",
                region_name="us-east-1",
                aws_access_key_id=key,
                aws_secret_access_key="secret",
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self.clients[service, key]


_world: list[World] = []


class Case(unittest.TestCase):
    """A test with the cloud as it is laid out: four groups, six instances."""

    def setUp(self) -> None:
        """Back to the layout."""
        if not _world:
            _world.append(World())
        self.world = _world[0]
        self.cloud = self.world.cloud
        self.control("reset")
        self.pass_time(5)
        self.assertTrue(self.cloud.settled(), self.cloud.state())
        self.cloud.activities.clear()
        self.world.slept.clear()
        self.ec2 = self.world.client("ec2")
        self.scaling = self.world.client("autoscaling")

    def control(self, verb: str, document: Any = None) -> Any:
        """What `testbed.sh cloud` does."""
        head: list[str] = []
        body = b"" if document is None else json.dumps(document).encode()
        environ = {"PATH_INFO": f"/_cloud/{verb}", "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        answer = json.loads(b"".join(self.world.front(environ, lambda status, _: head.append(status))))
        if not head[0].startswith("200"):
            raise ValueError(answer["error"])
        return answer

    def pass_time(self, seconds: float = 0.0) -> None:
        """Moves the clock, and lets happen what is due, in small steps as the server's thread does."""
        end = self.world.clock.instant + seconds
        while True:
            for _ in range(3):
                self.cloud.tick()
            if self.world.clock.instant >= end:
                return
            self.world.clock.instant = min(end, self.world.clock.instant + 0.25)

    def refused(self, code: str, call: Any, **arguments: Any) -> ClientError:
        """The call fails with this code."""
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code, str(caught.exception))
        return caught.exception

    def group(self, name: str) -> dict[str, Any]:
        """As DescribeAutoScalingGroups has it."""
        return self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]

    def members(self, name: str) -> list[str]:
        """Their ids."""
        return [member["InstanceId"] for member in self.group(name)["Instances"]]

    def zones(self, name: str) -> list[str]:
        """Of the members, sorted; only the last letter."""
        return sorted(member["AvailabilityZone"][-1] for member in self.group(name)["Instances"])

    def state(self, instance: str) -> str:
        """Of an instance."""
        described = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return described["State"]["Name"]

    def activities(self, name: str) -> list[dict[str, Any]]:
        """Newest first."""
        return self.scaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
