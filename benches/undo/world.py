"""Cluster and cloud as a third party sees them: what is set, whether a fault is in place, how many calls were made."""

import json
import os
import subprocess
import urllib.request

import boto3
from cases import GROUP, IN_ZONE, PROCESSES, REGION, THEIRS, ZONE
from cluster import kubectl, wait_for
from machine import Failed

# The access key of both tools, by which the cloud's record knows their calls.
KEY = "tool"


class World:
    """The bed that is up."""

    def __init__(self, bed, namespace, logs):
        self.bed, self.namespace, self.logs = bed, namespace, logs
        self.groups = boto3.client("autoscaling", region_name=REGION)
        self.instances = boto3.client("ec2", region_name=REGION)

    def cloud(self, *verb):
        """What `testbed.sh cloud` prints."""
        done = subprocess.run(["bash", self.bed, "cloud", *verb], capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            raise Failed(f"cloud {' '.join(verb)}: {done.stderr.strip()}")
        return done.stdout

    def reset(self):
        """Everything as it was laid out, with what somebody else has suspended, and the workload whole."""
        for node in self.nodes():
            if node["spec"].get("unschedulable"):
                kubectl("uncordon", node["metadata"]["name"])
        self.cloud("reset")
        self.groups.suspend_processes(AutoScalingGroupName=GROUP, ScalingProcesses=[THEIRS])
        kubectl("-n", self.namespace, "rollout", "status", "deployment/web", "--timeout=90s")
        wait_for("the service to answer", self.answers, 30.0, 0.2)

    def answers(self):
        """Whether the service can be reached from where the tools run: its rules come there later than its pods are ready."""
        try:
            with urllib.request.urlopen(f"http://web.{self.namespace}.svc.cluster.local/", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    @staticmethod
    def nodes():
        """The cluster's nodes."""
        return json.loads(kubectl("get", "nodes", "-o", "json"))["items"]

    def settings(self):
        """What a tool may set and has to give back, as a set of words."""
        words = set()
        for node in self.nodes():
            name = node["metadata"]["name"]
            # A cordon is an object's field; a node that died has another name when it is back, and nobody's notes.
            if node["spec"].get("unschedulable"):
                words.add(f"{name} cordoned")
            words.update(f"{name}: note `{key}`" for key in node["metadata"].get("annotations", {}) if "squall.dev" in key)
        for group in self.groups.describe_auto_scaling_groups()["AutoScalingGroups"]:
            name = group["AutoScalingGroupName"]
            words.update(f"{name}: {process['ProcessName']} suspended" for process in group["SuspendedProcesses"])
            words.update(f"{name}: {subnet} in use" for subnet in group["VPCZoneIdentifier"].split(","))
            words.update(f"{name}: tag `{tag['Key']}`" for tag in group["Tags"] if "squall.dev" in tag["Key"])
        return words

    def in_place(self, case, before):
        """Whether the fault is in place."""
        now = self.settings()
        if case == "drain":
            cordoned = [word.removesuffix(" cordoned") for word in now if word.endswith(" cordoned")]
            pods = json.loads(kubectl("-n", self.namespace, "get", "pods", "-o", "json"))["items"]
            return bool(cordoned) and not any(pod["spec"].get("nodeName") in cordoned for pod in pods)
        if case == "suspend":
            return all(f"{GROUP}: {process} suspended" in now for process in PROCESSES)
        if case == "zone":
            filters = [
                {"Name": "availability-zone", "Values": [ZONE]},
                {"Name": "instance-state-name", "Values": ["pending", "running"]},
            ]
            held = all(any(word.startswith(f"{group}: ") for word in before ^ now) for group in IN_ZONE)
            return held and not self.instances.describe_instances(Filters=filters)["Reservations"]
        raise Failed(f"nobody holds {case}")

    def calls(self):
        """Calls of the tools so far: to AWS by their access key, to Kubernetes by everybody with the administrator's name but kubectl."""
        aws = [json.loads(line)["key"] for line in self.cloud("calls").splitlines()].count(KEY)
        with open(os.path.join(self.logs, "audit.log"), encoding="utf-8") as file:
            asked = [json.loads(line) for line in file]
        ours = [one for one in asked if one["user"]["username"] == "admin" and not one.get("userAgent", "").startswith("kubectl")]
        return aws, len({one["auditID"] for one in ours})

    @staticmethod
    def came(what, condition, patience):
        """Waits for a condition, and says whether it came."""
        try:
            wait_for(what, condition, patience, 0.1)
            return True
        except Failed:
            return False
