"""The section of docs/benchmarks.md that the results make; nothing in it is written by hand."""

from markdown import about, put, table

NAMED_PINS = ("chaostoolkit", "chaostoolkit-lib", "chaostoolkit-kubernetes", "chaostoolkit-aws", "boto3")
TOOLS = ("Squall", "Chaos Toolkit", "Chaos Toolkit, always")
HEADS = ("Squall", "Chaos Toolkit", "Chaos Toolkit, `--rollback-strategy=always`")


def cell(found):
    """What was left, or how long it took until nothing was."""
    if found is None:
        return "–"
    if found["left"]:
        return "left: " + "; ".join(found["left"])
    seconds = found.get("seconds")
    return "nothing left" if seconds is None else f"nothing left, after {seconds:.1f} s"


def calls(found):
    """Calls of a run that nobody disturbed."""
    return "AWS {}, Kubernetes {}".format(*found["its end"]["calls"]) if "its end" in found else "–"


def write(path, results):
    """Puts the section into the page."""
    rows = []
    for name, fault in results["faults"].items():
        found = fault["tools"]
        for ending in ("its end", "SIGINT", "kill -9"):
            if any(ending in one for one in found.values()):
                rows.append([f"`{name}`, {ending}", *(cell(found[tool].get(ending)) for tool in TOOLS)])
        rows.append([f"`{name}`, calls", *(calls(found[tool]) for tool in TOOLS)])
    what = "\n".join(f"- `{name}`: {fault['what']}." for name, fault in results["faults"].items())
    machine = results["machine"]
    surroundings = [
        *about(machine),
        ["Kubernetes", f"{machine['kubernetes']}, the test bed with its AWS (moto and its reconciler)"],
        ["Squall", machine["squall"]],
        ["Chaos Toolkit", ", ".join(f"{name} {version}" for name, version in machine["pins"].items())],
    ]
    section = f"""## What is left behind, beside Chaos Toolkit

By `make bench-undo`. Each fault by both tools on the same bed: a run to its end, one that gets SIGINT in its hold, and one that is killed with
`kill -9` in its hold, each a single run. Chaos Toolkit's experiments hold by a pause and have the rollbacks that its extensions offer. "Left" is what a third
party reads from the cluster and from AWS that was otherwise before: cordons, suspended processes, subnets of groups, notes, tags. Looked for until it was
gone, or until the process had ended and 40 s had passed. After `kill -9` nobody lent a hand: Squall's guard is a process of the run itself.
Killed pods and terminated instances come back by their controllers, with either tool.

{what}

{table(["", *HEADS], rows)}

The calls are those of the run to its end, by AWS's record and the API server's audit log. Squall makes more: it looks before it acts, writes the undo
down first, watches the workload, and asks whether the fault bit and healed.

{table(["", ""], surroundings)}
"""
    put(path, "bench-undo", section)
