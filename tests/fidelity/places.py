"""Where a scenario runs: on the lab, and on the test bed."""

import glob
import os
import re
import shutil
import subprocess
import time

import figures
from cluster import kubectl, wait_for
from machine import Failed
from processes import end

# The bed's shape and its controller manager's, which the lab is told.
SHAPE = ["--nodes", "6", "--zones", "3", "--groups", "both", "--node-monitor-grace-period", "8s"]
# Its cloud is quick where EC2 is not: who ends an instance has it terminated at once, and a machine is up within seconds.
CLOUD = ("pending=500ms", "boot=3300ms", "shut-down=1s", "termination=0s", "replacement=1s", "scaling=500ms")
SHAPE += [word for figure in CLOUD for word in ("--assume", figure)]
NAMESPACE, STATE = "fidelity", "fidelity-state"
# A run ends by itself long before.
LONGEST = 900
# Longer than any scenario's application takes from its process' start until it works: nothing else tells of one without a readiness probe.
QUIET = 10.0
# A run of which more requests than this say nothing, or that was not steady before anything was done, tells of the machine, not of the
# cluster. It is made again so often at most.
LOST, AGAIN = 0.01, 2
# The kernel leads a client's port for so long to where a connection got no answer. Each scenario's Service has an address of its own for
# that reason, but a run that is made again has the same.
TRACKED = 125.0


def squall(command):
    """What the binary answers: its exit code and what it said."""
    environment = dict(os.environ, NO_COLOR="1")
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, start_new_session=True, **output) as child:
        try:
            said, _ = child.communicate(timeout=LONGEST)
        finally:
            # In order, whatever the driver is stopped by: a fault that is held is taken back.
            end(child)
    return child.returncode, said


def told(command, records):
    """Runs the binary and reads the one record that it left."""
    shutil.rmtree(records, ignore_errors=True)
    code, said = squall([*command, "--reports", records, "--quiet"])
    found = glob.glob(os.path.join(records, "*", "report.json"))
    if len(found) != 1:
        raise Failed(f"{' '.join(command)}: exit code {code} and no report: {said.strip()[-800:]}")
    return figures.read(found[0])


class Lab:
    """Rehearsals, one for each seed."""

    def __init__(self, binary, work):
        self.binary, self.records = binary, os.path.join(work, "lab")

    def command(self, folder, seed):
        """The command that rehearses a scenario."""
        files = (f"{folder}/experiment.yaml", "--manifest", f"{folder}/manifest.yaml")
        return [self.binary, "rehearse", *files, *SHAPE, "--seed", str(seed)]

    def lacks(self, folder):
        """Why the lab can't rehearse a scenario, in its own words; `None`: it can."""
        code, said = squall([*self.command(folder, 1), "--reports", self.records, "--quiet"])
        why = re.search(r"can't be rehearsed: (.+)", said)
        return why.group(1).strip() if code == 3 and why else None

    def runs(self, folder, seeds):
        """The figures of each seed."""
        return [told(self.command(folder, seed), self.records) for seed in range(1, seeds + 1)]


class Bed:
    """The real cluster. What a scenario brought is gone before the next one begins."""

    def __init__(self, binary, script, work):
        self.binary, self.script, self.records = binary, script, os.path.join(work, "bed")
        self.clear()
        kubectl("create", "namespace", STATE)

    def clear(self):
        """Removes what a scenario brought."""
        kubectl("delete", "namespace", NAMESPACE, STATE, "--ignore-not-found", "--timeout=110s")

    def reset(self):
        """Groups, machines and the cluster's DNS as at the start."""
        subprocess.run([self.script, "cloud", "reset"], stdout=subprocess.DEVNULL, check=True, timeout=300)

    def furnish(self, folder):
        """Applies the manifest and waits until all of it is there and quiet."""
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=110s")
        self.reset()
        kubectl("apply", "-f", f"{folder}/manifest.yaml")
        for deployment in kubectl("-n", NAMESPACE, "get", "deployments", "-o", "name").split():
            kubectl("-n", NAMESPACE, "rollout", "status", deployment, "--timeout=100s")
        wait_for("endpoints that are all ready", self.whole)
        time.sleep(QUIET)

    def whole(self):
        """Whether the Service has endpoints, and all of them are ready."""
        ready = kubectl("-n", NAMESPACE, "get", "endpointslices", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}").split()
        return ready and all(one == "true" for one in ready)

    def run(self, folder, seed):
        """The figures of one run; one that the machine spoilt is made again."""
        files = [self.binary, "run", f"{folder}/experiment.yaml", "--context", "squall-testbed", "--state-namespace", STATE]
        for attempt in range(AGAIN + 1):
            self.furnish(folder)
            ran = told([*files, "--seed", str(seed)], self.records)
            if (ran["lost"] <= LOST and ran["verdict"] != "unsteady") or attempt == AGAIN:
                return ran
            time.sleep(TRACKED)
        raise AssertionError
