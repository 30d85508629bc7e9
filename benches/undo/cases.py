"""The faults that both tools inject, each as its own users would write it."""

import json

# The zone that is lost, the groups that launch in it, and the one group whose processes are suspended.
ZONE, IN_ZONE, GROUP = "us-east-1c", ("workers-c", "workers-multi"), "workers-a"
ACCOUNT, REGION, CLUSTER = "123456789012", "us-east-1", "squall-testbed"
# Suspended by somebody else before the run, among what the run suspends: it has to be suspended afterwards.
THEIRS = "AZRebalance"
PROCESSES = ("Launch", THEIRS)


class Case:
    """One fault: the step of a Squall experiment, and the activities of a Chaos Toolkit experiment with their rollbacks."""

    def __init__(self, name, what, step, limits, method, rollbacks):
        self.name, self.what = name, what
        self.step, self.limits, self.method, self.rollbacks = step, limits, method, rollbacks

    def squall(self, namespace, hold):
        """The experiment for Squall; JSON is YAML too."""
        url = f"http://web.{namespace}.svc.cluster.local/"
        held = {} if self.name == "kill" else {"for": f"{hold}s"}
        spec = {
            "probes": [{"name": "web", "rate": "40/s", "timeout": "2s", "http": {"url": url, "connection": "fresh"}}],
            "steadyState": [{"probe": "web", "tolerance": "success >= 90%", "when": ["before"]}],
            "method": [{"name": "act", "at": "0s", **held, **self.step}],
            "timing": {"before": "1s", "after": "1s", "heal": "120s"},
            "limits": {**self.limits, "namespaces": [namespace, "kube-system"]},
        }
        if "groups" in self.limits or self.name == "zone":
            spec["aws"] = {"account": ACCOUNT, "region": REGION, "cluster": CLUSTER}
        return json.dumps({"apiVersion": "squall.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": "bench"}, "spec": spec})

    def chaostoolkit(self, namespace, hold):
        """The experiment for Chaos Toolkit: it holds by a pause after its last action."""
        url = f"http://web.{namespace}.svc.cluster.local/"
        check = {"name": "web", "type": "probe", "tolerance": 200, "provider": {"type": "http", "url": url, "timeout": 2}}
        method = [dict(action) for action in self.method]
        if self.rollbacks:
            method[-1]["pauses"] = {"after": hold}
        return json.dumps({
            "version": "1.0.0",
            "title": self.name,
            "description": self.what,
            "configuration": {"aws_region": REGION},
            "steady-state-hypothesis": {"title": "The service answers", "probes": [check]},
            "method": method,
            "rollbacks": self.rollbacks,
        })


def action(name, module, func, /, **arguments):
    """An activity of Chaos Toolkit."""
    provider = {"type": "python", "module": module, "func": func, "arguments": arguments}
    return {"name": name, "type": "action", "provider": provider}


def cases(namespace, node):
    """All faults, from the smallest to the largest."""
    asg = "chaosaws.asg.actions"
    processes = {"asg_names": [GROUP], "process_names": list(PROCESSES)}
    launch = {"asg_names": list(IN_ZONE), "process_names": ["Launch"]}
    pods = {"namespace": namespace, "selector": "app=web", "count": 1}
    return [
        Case(
            "kill", "one of three pods is deleted", {"podKill": {"pods": pods}}, {"pods": 1},
            [action("kill", "chaosk8s.pod.actions", "terminate_pods", label_selector="app=web", ns=namespace, qty=1, rand=True)], [],
        ),
        Case(
            "drain", "one node is drained, held, uncordoned", {"nodeDrain": {"nodes": {"names": [node]}}}, {"nodes": 1},
            [action("drain", "chaosk8s.node.actions", "drain_nodes", name=node, timeout=60)],
            [action("uncordon", "chaosk8s.node.actions", "uncordon_node", name=node)],
        ),
        Case(
            "suspend", f"{' and '.join(PROCESSES)} of one group are suspended, held, resumed; somebody else had suspended {THEIRS} before",
            {"asgSuspend": {"groups": {"names": [GROUP]}, "processes": list(PROCESSES)}}, {"groups": 1},
            [action("suspend", asg, "suspend_processes", **processes)], [action("resume", asg, "resume_processes", **processes)],
        ),
        Case(
            "zone", "a zone's capacity is held, all its instances are terminated, the capacity is given back",
            {"zoneOutage": {"zone": ZONE}}, {"nodes": 2, "groups": 2},
            [
                action("hold", asg, "suspend_processes", **launch),
                action("cut", "chaosaws.ec2.actions", "terminate_instances", az=ZONE),
            ],
            [action("give-back", asg, "resume_processes", **launch)],
        ),
    ]
