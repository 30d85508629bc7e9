# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""Talks to the cloud's socket: for the bridge, and for `testbed.sh cloud`."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("cloud", timeout=30)
        self.path = path

    def connect(self) -> None:
        """To a path instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Refused(Exception):
    """The cloud's own words on what was wrong with a request."""


def ask(path: str, verb: str, document: Any = None) -> Any:
    """One request; JSON both ways."""
    connection = _Connection(path)
    try:
        body = None if document is None else json.dumps(document)
        connection.request("POST", f"/_cloud/{verb}", body)
        answer = connection.getresponse()
        result = json.load(answer)
        if answer.status != 200:
            raise Refused(result["error"])
        return result
    finally:
        connection.close()
