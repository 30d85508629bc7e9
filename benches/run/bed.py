"""The cluster that the benchmark runs on: namespaces, the workload, and waiting until both are as before a run."""

import json
import os
import subprocess
import threading
import time

from cluster import kubectl, wait_for
from machine import Failed, busy_cores

REPLICAS = 3
# A run begins on a machine where fewer cores than these are busy, if that comes to be within the seconds below.
BUSY_CORES = 1.0
QUIET_PATIENCE = 120.0


class Place:
    """Two namespaces, the workload's and that of Squall's state; whoever started the benchmark removes them by their label."""

    def __init__(self, label):
        self.namespace = f"bench-run-{os.getpid()}"
        self.state = f"{self.namespace}-state"
        for name in (self.namespace, self.state):
            kubectl("create", "namespace", name)
            kubectl("label", "namespace", name, label)

    def deploy(self, manifest):
        """Applies the workload, and waits until it is whole."""
        kubectl("-n", self.namespace, "apply", "-f", manifest)
        self.wait_whole()

    def whole(self):
        """Whether every replica is ready, none is on its way out, and the Service knows exactly these."""
        kinds = "deployments,pods,endpointslices"
        objects = json.loads(kubectl("-n", self.namespace, "get", kinds, "-o", "json"))["items"]
        of = {kind: [o for o in objects if o["kind"] == kind] for kind in ("Deployment", "Pod", "EndpointSlice")}
        if len(of["Deployment"]) != 1 or len(of["Pod"]) != REPLICAS:
            return False
        deployment = of["Deployment"][0]
        status = deployment.get("status", {})
        counted = [deployment["spec"]["replicas"], status.get("replicas"), status.get("readyReplicas")]
        current = status.get("observedGeneration") == deployment["metadata"]["generation"]
        ends = [end["conditions"] for piece in of["EndpointSlice"] for end in piece.get("endpoints") or []]
        return (
            current
            and counted == [REPLICAS] * 3
            and not any("deletionTimestamp" in pod["metadata"] for pod in of["Pod"])
            and len(ends) == REPLICAS
            and all(end.get("ready") and not end.get("terminating") for end in ends)
        )

    def wait_whole(self):
        """Waits until the workload is whole."""
        wait_for(f"{REPLICAS} ready pods in {self.namespace} and none that ends", self.whole)

    def replicas(self):
        """`spec.replicas` of the workload."""
        return int(kubectl("-n", self.namespace, "get", "deployment/web", "-o", "jsonpath={.spec.replicas}"))


class ReplicaWatch:
    """A watch on `spec.replicas` that shares no code with Squall, with the instant at which each change was seen."""

    def __init__(self, namespace):
        self.seen = []
        self.grew = threading.Condition()
        template = '{.spec.replicas}{"\\n"}'
        command = ["kubectl", "-n", namespace, "get", "deployment/web", "--watch", "-o", f"jsonpath={template}"]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        threading.Thread(target=self.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def read(self):
        """Takes in lines until the watch ends."""
        for line in self.child.stdout:
            at = time.monotonic()
            with self.grew:
                self.seen.append((at, int(line)))
                self.grew.notify_all()

    def first(self, replicas, patience=60.0):
        """The instant, on the monotonic clock, at which this number was first seen."""

        def found():
            return next((at for at, number in self.seen if number == replicas), None)

        with self.grew:
            if not self.grew.wait_for(lambda: found() is not None, timeout=patience):
                raise Failed(f"no watch saw {replicas} replicas within {patience:.0f} s")
            return found()


def quiet():
    """Waits for a second in which the machine is quiet; the busy cores of the last second that was looked at."""
    end = time.monotonic() + QUIET_PATIENCE
    while True:
        busy = busy_cores(1.0)
        if busy < BUSY_CORES or time.monotonic() > end:
            return busy
