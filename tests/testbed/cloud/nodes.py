# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""What a cloud's controllers do in the cluster: it learns which Nodes are Ready, deletes those of instances that are gone, and
taints those of stopped ones. As Kubernetes' cloud node lifecycle controller: only Nodes that are not Ready, looked at every 5 s.
"""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from cloud import Cloud

TAINT = "node.cloudprovider.kubernetes.io/shutdown"
PERIOD = 5.0  # of the lifecycle controller
POLL = 0.5  # for readiness


class Cluster:
    """The API server, as far as it is needed."""

    def __init__(self, server: str, token: str, authority: str) -> None:
        self.server, self.token = server, token
        self.context = ssl.create_default_context(cafile=authority)

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """A request; JSON both ways."""
        request = urllib.request.Request(f"{self.server}{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        data = None
        if document is not None:
            data = json.dumps(document).encode()
            request.add_header("Content-Type", "application/merge-patch+json")
        with urllib.request.urlopen(request, data, timeout=5, context=self.context) as answer:
            return json.load(answer)

    def nodes(self) -> list[dict[str, Any]]:
        """All of them, from the API server's cache."""
        return self.call("GET", "/api/v1/nodes?resourceVersion=0")["items"]


def instance_of(node: dict[str, Any]) -> str:
    """From its provider id."""
    return node["spec"].get("providerID", "").rsplit("/", 1)[-1]


def is_ready(node: dict[str, Any]) -> bool:
    """By its condition."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", []))


def decide(node: dict[str, Any], state: str) -> tuple[str, Any] | None:
    """What the lifecycle controller does about a node, by its instance's state: "delete", "taint" with the new taints, or nothing."""
    if not node["spec"].get("providerID", "").startswith("aws:///"):
        return None  # not of this cloud
    taints = node["spec"].get("taints", [])
    others = [taint for taint in taints if taint["key"] != TAINT]
    if is_ready(node):
        return ("taint", others) if others != taints else None
    if state == "terminated":
        return "delete", None
    if state in ("stopping", "stopped") and others == taints:
        return "taint", [*taints, {"key": TAINT, "effect": "NoSchedule"}]
    return None


class Controller:
    """Looks at the Nodes for as long as the process lives."""

    def __init__(self, cloud: Cloud, cluster: Cluster) -> None:
        self.cloud, self.cluster = cloud, cluster

    def run(self) -> None:
        """Doesn't return. Without the API server nothing is known anew, and nothing is done."""
        due = time.monotonic()
        while True:
            try:
                nodes = self.cluster.nodes()
                self.cloud.nodes = {instance_of(node): is_ready(node) for node in nodes}
                if time.monotonic() >= due:
                    due = time.monotonic() + PERIOD
                    self._care(nodes)
            except (OSError, ValueError, urllib.error.URLError) as error:
                print(f"nodes: {error}", file=sys.stderr)
            time.sleep(POLL)

    def _care(self, nodes: list[dict[str, Any]]) -> None:
        with self.cloud.lock:
            states = self.cloud.moto.states()
        for node in nodes:
            action = decide(node, states.get(instance_of(node), "terminated"))
            if not action:
                continue
            name = node["metadata"]["name"]
            print(f"nodes: {action[0]} {name}", file=sys.stderr)
            if action[0] == "delete":
                self.cluster.call("DELETE", f"/api/v1/nodes/{name}")
            else:
                version = node["metadata"]["resourceVersion"]
                patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": action[1]}}
                self.cluster.call("PATCH", f"/api/v1/nodes/{name}", patch)
