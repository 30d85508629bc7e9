# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""What tests make go wrong: which calls fail, how and how often; who may do what; how old answers are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from model import AwsError, Settings

# Status and text of errors by code. "throttle" is the service's own word for too many calls.
ERRORS: dict[str, tuple[int, str]] = {
    "RequestLimitExceeded": (503, "Request limit exceeded."),
    "Throttling": (400, "Rate exceeded"),
    "ExpiredToken": (403, "The security token included in the request is expired"),
    "InternalError": (500, "An internal error has occurred"),
    "InternalFailure": (500, "The request processing has failed because of an unknown error, exception or failure."),
    "Unavailable": (503, "The server is overloaded and can't handle the request."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "ScalingActivityInProgress": (400, "Activity is in progress."),
    "ResourceContention": (
        500,
        "You already have a pending update to an Auto Scaling resource (for example, a group, instance, or load balancer).",
    ),
    "UnauthorizedOperation": (403, "You are not authorized to perform this operation."),
    "AccessDenied": (403, "User is not authorized to perform this operation."),
}
THROTTLED = {"ec2": "RequestLimitExceeded"}
DENIED = {"ec2": "UnauthorizedOperation"}


@dataclass
class Request:
    """A call to AWS, as far as faults care."""

    service: str
    action: str
    key: str

    @property
    def permission(self) -> str:
        """As a policy names it."""
        return f"{self.service}:{self.action}"


class Refusal(AwsError):
    """An error made up here, with its HTTP status."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(code, message)
        self.status = status


@dataclass
class Rule:
    """Calls that go wrong: those of `actions` (patterns; all, if none), from `key` if given. After `skip` calls, for `first` calls."""

    actions: list[str] = field(default_factory=list)
    key: str | None = None
    error: str | None = None
    message: str | None = None
    status: int | None = None
    delay: float = 0.0
    skip: int = 0
    first: int | None = None
    seen: int = 0

    def meets(self, request: Request) -> bool:
        """Whether it is this one's turn."""
        if self.key is not None and self.key != request.key:
            return False
        names = (request.action, request.permission)
        if self.actions and not any(fnmatchcase(name, pattern) for pattern in self.actions for name in names):
            return False
        self.seen += 1
        turn = self.seen - self.skip
        return turn > 0 and (self.first is None or turn <= self.first)

    def refusal(self, request: Request) -> Refusal | None:
        """The error, if there is one."""
        if not self.error:
            return None
        code = THROTTLED.get(request.service, "Throttling") if self.error == "throttle" else self.error
        status, message = ERRORS.get(code, (400, code))
        return Refusal(code, self.message or message, self.status or status)


@dataclass
class Faults:
    """All that is in force. One document sets it whole: what is left out is as if nobody had asked for it."""

    rules: list[Rule] = field(default_factory=list)
    stale: float = 0.0  # Describe* answers as things were so many seconds ago
    accounts: dict[str, str] = field(default_factory=dict)  # access key to account
    policies: dict[str, Any] = field(default_factory=dict)  # access key to IAM policy; others may do everything

    @classmethod
    def read(cls, document: dict[str, Any]) -> tuple[Faults, Settings]:
        """From JSON. A word that is not known is the test's mistake."""
        settings = {one.name for one in fields(Settings)}
        known = {one.name for one in fields(cls)}
        unknown = document.keys() - settings - known
        if unknown:
            raise ValueError(f"not known: {', '.join(sorted(unknown))}; known are {', '.join(sorted(settings | known))}")
        values = {key: value for key, value in document.items() if key in known}
        values["rules"] = [Rule(**rule) for rule in document.get("rules", [])]
        chosen = {key: frozenset(value) if key == "ice" else value for key, value in document.items() if key in settings}
        return cls(**values), Settings(**chosen)

    def meet(self, request: Request) -> list[Rule]:
        """The rules whose turn it is, up to the first that refuses the call. Counts it, so one call at a time."""
        self._permit(request)
        met: list[Rule] = []
        for rule in self.rules:
            if rule.meets(request):
                met.append(rule)
                if rule.error:
                    break
        return met

    def decide(self, key: str, permission: str) -> str:
        """What the policy behind a key says of an action, in IAM's words. Resources and conditions are not looked at."""
        policy = self.policies.get(key)
        if policy is None:
            return "allowed"
        statements = policy["Statement"]
        verdicts = {
            one["Effect"]
            for one in (statements if isinstance(statements, list) else [statements])
            if any(fnmatchcase(permission.lower(), pattern.lower()) for pattern in _listed(one.get("Action", [])))
        }
        if "Deny" in verdicts:
            return "explicitDeny"
        return "allowed" if "Allow" in verdicts else "implicitDeny"

    def _permit(self, request: Request) -> None:
        if request.permission == "sts:GetCallerIdentity":
            return
        if self.decide(request.key, request.permission) != "allowed":
            code = DENIED.get(request.service, "AccessDenied")
            status, message = ERRORS[code]
            raise Refusal(code, f"{message} It needs {request.permission}.", status)


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
