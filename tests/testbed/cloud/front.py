# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""What stands before moto: it writes down every call, lets faults have their turn, and answers what tests and the bridge ask."""

from __future__ import annotations

import io
import json
import re
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from cloud import Cloud
from faults import Faults, Refusal, Request
from model import ACCOUNT

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
SCOPE = re.compile(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/aws4_request")


class Front:
    """A WSGI application around moto's."""

    def __init__(self, cloud: Cloud, moto: App, log: IO[str] | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self.cloud = cloud
        self.moto = moto
        self.log = log
        self.sleep = sleep
        self.faults = Faults()
        self.document: dict[str, Any] = {}  # the faults as they were asked for
        self.calls: list[dict[str, Any]] = []  # since the last reset
        self.past: list[tuple[float, Any]] = []  # snapshots, while answers are stale

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """A request."""
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size) if size else b""
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_cloud/"):
            return self._control(path.removeprefix("/_cloud/"), body, start_response)
        environ["wsgi.input"] = io.BytesIO(body)
        return self._aws(environ, body, start_response)

    # ---- AWS ----

    def _aws(self, environ: Environ, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
        scope = SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        key, region, service = scope.groups() if scope else ("", "", "")
        params = dict(parse_qsl(environ.get("QUERY_STRING", "")) + parse_qsl(body.decode("utf-8", "replace")))
        request = Request(service, params.pop("Action", ""), key)
        params.pop("Version", None)
        began = time.time()
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.faults.accounts.get(key, ACCOUNT)
        try:
            with self.cloud.lock:
                met = self.faults.meet(request)
            for rule in met:
                # Others go on meanwhile.
                self.sleep(rule.delay)
                refusal = rule.refusal(request)
                if refusal:
                    raise refusal
            if request.permission == "iam:SimulatePrincipalPolicy":
                status, headers, answer = 200, [("Content-Type", "text/xml")], _simulated(self.faults, params, key)
            else:
                status, headers, answer = self._ask(environ, request)
            if request.permission == "sts:GetCallerIdentity":
                # moto's own user has an ARN that no user of AWS has.
                answer = answer.replace(b":sts::" + ACCOUNT.encode() + b":user/", b":iam::" + ACCOUNT.encode() + b":user/")
        except Refusal as refusal:
            status, headers, answer = refusal.status, [("Content-Type", "text/xml")], _error(service, refusal.code, refusal.message)
        code = re.search(rb"<Code>([^<]+)</Code>", answer) if status >= 400 else None
        self._record(
            {
                "time": datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
                "service": service,
                "region": region,
                "action": request.action,
                "params": params,
                "key": key,
                "status": status,
                "error": code.group(1).decode() if code else None,
                "dry_run": params.get("DryRun", "").lower() == "true",
                "ms": round((time.time() - began) * 1000),
            }
        )
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(f"{status} -", [*headers, ("Content-Length", str(len(answer)))])
        return [answer]

    def _ask(self, environ: Environ, request: Request) -> tuple[int, list[tuple[str, str]], bytes]:
        """moto's answer. What it can't do it says with a page of HTML or by breaking: the caller gets an error that it won't retry."""
        head: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            head[:] = [int(status.split(" ", 1)[0]), headers]

        with self.cloud.lock:
            before = self.cloud.moto.show(self._as_of()) if self.faults.stale and request.action.startswith("Describe") else None
            try:
                answer = b"".join(self.moto(environ, start))
                if head[0] >= 500 and b"<!doctype html" in answer.lower():
                    raise RuntimeError(f"moto answered {head[0]}")
            except Exception as error:  # whatever it is, the caller has to see that it is not AWS's
                traceback.print_exc(file=sys.stderr)
                text = f"the test bed's cloud does not do this {request.permission}: {type(error).__name__}: {str(error)[:200]}"
                return 400, [("Content-Type", "text/xml")], _error(request.service, "TestbedNotImplemented", text)
            finally:
                if before:
                    self.cloud.moto.show(before)
        return head[0], head[1], answer

    def _record(self, line: dict[str, Any]) -> None:
        with self.cloud.lock:
            self.calls.append(line)
            if self.log:
                self.log.write(json.dumps(line) + "\n")
                self.log.flush()

    # ---- stale answers ----

    def look(self) -> None:
        """Keeps how things are, as long as somebody wants to see them late. Called again and again."""
        with self.cloud.lock:
            if not self.faults.stale:
                self.past.clear()
                return
            instant = self.cloud.clock()
            self.past.append((instant, self.cloud.moto.snapshot()))
            # The newest that is old enough stays, and all after it.
            while len(self.past) > 1 and self.past[1][0] <= instant - self.faults.stale:
                self.past.pop(0)

    def _as_of(self) -> Any:
        limit = self.cloud.clock() - self.faults.stale
        old_enough = [snapshot for instant, snapshot in self.past if instant <= limit]
        return old_enough[-1] if old_enough else self.past[0][1]

    # ---- tests and the bridge ----

    def _control(self, verb: str, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
        status = 200
        try:
            answer = self._obey(verb, json.loads(body) if body.strip() else None)
        except (ValueError, TypeError, KeyError) as error:
            status, answer = 400, {"error": str(error)}
        text = json.dumps(answer).encode() + b"\n"
        start_response(f"{status} -", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
        return [text]

    def _obey(self, verb: str, document: Any) -> Any:
        if verb == "exchange":
            return self.cloud.exchange(document)
        if verb == "state":
            return self.cloud.state()
        if verb == "faults":
            return self.document if document is None else self._set(document)
        if verb == "calls":
            with self.cloud.lock:
                return self.calls
        if verb == "reset":
            self._set({})
            with self.cloud.lock:
                self.calls = []
            self.cloud.reset()
            return {}
        raise ValueError(f"no such verb: {verb}")

    def _set(self, document: dict[str, Any]) -> dict[str, Any]:
        faults, settings = Faults.read(document)
        with self.cloud.lock:
            self.faults, self.document = faults, document
            self.cloud.settings = settings
            self.past.clear()
        self.look()  # the first call is late already
        return document


def _simulated(faults: Faults, params: dict[str, str], key: str) -> bytes:
    """What the policy of whoever asks says of the actions that are named, on each resource that is."""
    actions = [value for name, value in params.items() if name.startswith("ActionNames.member.")]
    resources = [value for name, value in params.items() if name.startswith("ResourceArns.member.")] or ["*"]
    members = "".join(
        f"<member><EvalActionName>{escape(action)}</EvalActionName><EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{faults.decide(key, action)}</EvalDecision></member>"
        for action in actions
        for resource in resources
    )
    result = f"<IsTruncated>false</IsTruncated><EvaluationResults>{members}</EvaluationResults>"
    name = "SimulatePrincipalPolicy"
    text = (
        f'<{name}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><{name}Result>{result}</{name}Result>'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{name}Response>"
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _error(service: str, code: str, message: str) -> bytes:
    request = uuid.uuid4()
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if service == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>{request}</RequestID></Response>"
    else:
        text = f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error><RequestId>{request}</RequestId></ErrorResponse>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
