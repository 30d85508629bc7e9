"""Rehearsals on the embedded cluster, timed from start to exit, and the section of docs/benchmarks.md that they make."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request

from cluster import wait_for
from machine import Failed, calm, facts, told
from markdown import about, put, spread, table

# How long all pods may take to serve, in seconds.
START = 180
HERE = pathlib.Path(__file__).parent
NODES, WORKLOADS, REPLICAS = 200, 100, 50
WORKLOAD = """apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{lab.squall.dev/serves-on: 5s}}
    spec:
      containers:
        - name: app
          image: app:1
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 5}}
          resources: {{requests: {{cpu: 100m, memory: 128Mi}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: {name}, namespace: shop}}
spec: {{maxUnavailable: 20%, selector: {{matchLabels: {{app: {name}}}}}}}
---
"""


def cluster(path):
    """The manifest of a cluster with 5,000 pods."""
    workloads = (WORKLOAD.format(name=f"app-{number}", replicas=REPLICAS) for number in range(WORKLOADS))
    path.write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n" + "".join(workloads), "utf-8")


def twin(options, manifest):
    """A twin of that cluster, as it is once all pods serve: it is served on loopback, and read as any other."""
    path, kubeconfig = options.work / "twin.yaml", options.work / "kubeconfig"
    served = ["lab", "serve", "--json", "--kubeconfig-out", kubeconfig, "--manifest", manifest, "--nodes", str(NODES)]
    child = subprocess.Popen([options.squall, *served], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        listens = next((json.loads(line) for line in child.stdout if b'"api"' in line), None)
        if listens is None:
            raise Failed("`squall lab serve` ended before it listened")
        wait_for(f"{WORKLOADS * REPLICAS} available replicas", lambda: serve(listens["api"]), START, 1)
        save = [options.squall, "twin", "save", "--kubeconfig", kubeconfig, "--out", path]
        subprocess.run(save, check=True, stdout=subprocess.DEVNULL, timeout=60)
    finally:
        child.terminate()
        child.wait()
    return path


def serve(api):
    """Whether every replica is available."""
    with urllib.request.urlopen(f"{api}/apis/apps/v1/namespaces/shop/deployments", timeout=30) as answer:
        items = json.load(answer)["items"]
    return sum(item.get("status", {}).get("availableReplicas", 0) for item in items) == WORKLOADS * REPLICAS


def once(command, reports):
    """Wall and processor time in seconds, and the most memory in MB, of one rehearsal."""
    shutil.rmtree(reports, ignore_errors=True)
    with open(os.devnull, "wb") as nowhere:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=nowhere, stderr=subprocess.PIPE)
        said = child.stderr.read()
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit code {child.returncode}\n{said.decode(errors='replace')}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


def measure(options):
    """Each rehearsal so many times, after one that is not counted."""
    manifest = options.work / "cluster.yaml"
    cluster(manifest)
    game_day = HERE / "game-day.yaml"
    cases = {
        "pod kill": (["experiments/pod-kill.yaml"], 0.150),
        "game day, on a twin": ([game_day, "--twin", twin(options, manifest)], 5.0),
        "game day, from manifests": ([game_day, "--manifest", manifest, "--nodes", str(NODES)], None),
    }
    found = {}
    for name, (arguments, aim) in cases.items():
        reports = options.work / "reports"
        command = [options.squall, "rehearse", *arguments, "--seed", "1", "--reports", reports]
        runs = [once(command, reports) for _ in range(options.runs + 1)][1:]
        found[name] = {"runs": runs, "aim": aim}
        print(f"{name}: {min(run[0] for run in runs):.3f} s at least", file=sys.stderr)
    return found


def rows(name, found):
    """The figures of one rehearsal."""
    walls, processors, memories = zip(*found["runs"], strict=True)
    seconds, megabytes = (lambda value: f"{value:.3f} s"), (lambda value: f"{value:.0f} MB")
    aim = ""
    if found["aim"] is not None:
        met = "met" if sorted(walls)[len(walls) // 2] < found["aim"] else "missed"
        aim = f"{found['aim']:g} s: {met}"
    return [
        [f"{name}, wall time, start to exit", *spread(walls, seconds), aim],
        [f"{name}, processor time", *spread(processors, seconds), ""],
        [f"{name}, most memory", *spread(memories, megabytes), f"200 MB: {'met' if max(memories) < 200 else 'missed'}"],
    ]


def write(options, found, machine):
    """Puts the section into the page."""
    figures = [row for name, one in found.items() for row in rows(name, one)]
    load = " ".join(f"{load:.2f}" for load in machine["load"])
    surroundings = [
        *about(machine),
        ["Squall", f"{told(options.squall, '--version')}, commit {options.commit}"],
        ["load average before", f"{load} (1, 5, 15 min)"],
    ]
    section = f"""## Rehearsals on the embedded cluster

By `make bench-lab`. `squall rehearse` from start to exit, its report included; {options.runs} runs each, after one that is not counted. The files
are in `benches/lab/`.

- pod kill: `experiments/pod-kill.yaml` on the shop, three nodes: 110 s, 44,000 requests.
- game day: `benches/lab/game-day.yaml`, an hour on {NODES} nodes with {WORKLOADS * REPLICAS:,} pods: kills, evictions, a drain, a scale; 72,000 requests. On a
  [twin](twin.md) of such a cluster, whose pods run already; and from manifests, whose pods have to be scheduled and started first.

{table(["", "min", "median", "max", "aim"], figures)}

{table(["", ""], surroundings)}
"""
    put(options.page, "bench-lab", section)


def main():
    """Measures and writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--squall", required=True)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--page", required=True)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for a quiet machine")
    options = parser.parse_args()
    machine = {**facts(), "load": calm(options.patience)}
    write(options, measure(options), machine)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"bench-lab: {failed}")
