# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""The cloud's process: AWS's API for the runner, and a socket for the bridge and for tests.

server.py --listen ADDRESS:PORT --socket PATH --calls FILE [--api URL --token TOKEN --authority FILE]

Without an API server there are no machines either: each instance runs at once, and its node is Ready.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

# Before moto is imported: it reads them then. Its answers to browsers are of no use here.
os.environ.setdefault("MOTO_DISABLE_GLOBAL_CORS", "true")

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from cloud import Cloud
from front import Front
from nodes import Cluster, Controller

TICK = 0.2
LOOK = 1.0


class Quiet(MotoRequestHandler):
    """The calls are in a log of their own."""

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing."""

    def address_string(self) -> str:
        """A Unix socket's peer has no address."""
        return str(self.client_address)


def repeat(period: float, work: Callable[[], object]) -> None:
    """In a thread, for good. What breaks is written down and tried again."""

    def loop() -> None:
        while True:
            try:
                work()
            except Exception:  # the next turn may do better, and a cloud that stands still would say nothing
                traceback.print_exc(file=sys.stderr)
            time.sleep(period)

    threading.Thread(target=loop, daemon=True).start()


def main() -> None:
    """Doesn't return."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--calls", required=True)
    parser.add_argument("--api")
    parser.add_argument("--token")
    parser.add_argument("--authority")
    options = parser.parse_args()

    cloud = Cloud(bridged=options.api is not None)
    log = Path(options.calls).open("a", encoding="utf-8")  # noqa: SIM115 # for as long as the process lives
    front = Front(cloud, DomainDispatcherApplication(create_backend_app), log)
    repeat(TICK, cloud.tick)
    repeat(LOOK, front.look)
    if options.api:
        controller = Controller(cloud, Cluster(options.api, options.token, options.authority))
        threading.Thread(target=controller.run, daemon=True).start()
    Path(options.socket).unlink(missing_ok=True)
    local = make_server(f"unix://{options.socket}", 0, front, threaded=True, request_handler=Quiet)
    threading.Thread(target=local.serve_forever, daemon=True).start()
    host, port = options.listen.rsplit(":", 1)
    make_server(host, int(port), front, threaded=True, request_handler=Quiet).serve_forever()


if __name__ == "__main__":
    main()
