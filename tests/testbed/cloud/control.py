# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""`testbed.sh cloud VERB …`, for tests and people.

control.py SOCKET VERB [JSON]
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from client import Refused, ask

RESET_SECONDS = 180
BRIDGE_SECONDS = 20


def reset(path: str) -> None:
    """Puts everything back, and waits until it is."""
    await_bridge(path)
    ask(path, "reset")
    wait(path, RESET_SECONDS)


def await_bridge(path: str) -> None:
    """Until it has looked at all machines once more: only then the cloud knows of one that was switched off."""
    seen = ask(path, "state")["exchanges"]
    end = time.monotonic() + BRIDGE_SECONDS
    # The first of the two may carry what was seen before.
    while seen is not None and ask(path, "state")["exchanges"] < seen + 2:
        if time.monotonic() > end:
            fail("the bridge is not heard of (up starts it again)")
        time.sleep(0.1)


def wait(path: str, seconds: float) -> None:
    """Until every group has what it wants on Ready nodes."""
    end = time.monotonic() + seconds
    while True:
        state = ask(path, "state")
        if state["settled"]:
            return
        if time.monotonic() > end:
            fail(f"not settled after {seconds:.0f} s: {json.dumps(state)}")
        time.sleep(0.5)


def fail(text: str) -> None:
    """Says what went wrong, and ends."""
    print(f"testbed: cloud: {text}", file=sys.stderr)
    sys.exit(1)


def show(answer: Any) -> None:
    """A list line by line, so that it can be searched; the rest for reading."""
    if isinstance(answer, list):
        for line in answer:
            print(json.dumps(line))
    else:
        print(json.dumps(answer, indent=2))


def main() -> None:
    """One verb."""
    path, verb, *rest = sys.argv[1:]
    try:
        if verb == "reset" and not rest:
            reset(path)
        elif verb == "wait" and len(rest) < 2:
            wait(path, float(rest[0]) if rest else RESET_SECONDS)
        elif verb == "faults" and len(rest) < 2:
            show(ask(path, verb, json.loads(rest[0]) if rest else None))
        elif verb in ("calls", "state") and not rest:
            show(ask(path, verb))
        else:
            fail(
                f"no such verb, or too many words: {' '.join([verb, *rest])}; there are faults [JSON], calls, state, wait [SECONDS], reset"
            )
    except Refused as refused:
        fail(str(refused))
    except json.JSONDecodeError as error:
        fail(f"that is no JSON: {error}")
    except OSError as error:
        fail(f"it does not answer: {error}")


if __name__ == "__main__":
    main()
