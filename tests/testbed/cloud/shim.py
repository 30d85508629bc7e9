# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""The only file that knows moto from within: its private names, and where its own behaviour is taken out.

moto speaks AWS's wire format and keeps the resources. It also launches and terminates by itself, at once and in the same call; that
is what `install` removes, so that the reconciler does it in its own time. A new version of moto has to pass tests/test_shim.py.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from moto.autoscaling import autoscaling_backends
from moto.autoscaling import models as asg_models
from moto.autoscaling import responses as asg_responses
from moto.autoscaling.exceptions import AutoscalingClientError
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ec2 import ec2_backends
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.network_acls import NetworkAclAssociation
from moto.ec2.responses import EC2Response

from model import ACCOUNT, REGION, AwsError

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
Handler = Callable[["Call"], "dict[str, Any] | None"]


class Member:
    """An instance in a group."""

    def __init__(self, state: asg_models.InstanceState) -> None:
        self._state = state
        self.id: str = state.instance_id
        self.zone: str = state.availability_zone

    @property
    def lifecycle(self) -> str:
        """Pending, InService, Terminating, Standby."""
        return self._state.lifecycle_state

    @lifecycle.setter
    def lifecycle(self, value: str) -> None:
        self._state.lifecycle_state = value

    @property
    def healthy(self) -> bool:
        """As the group thinks of it."""
        return self._state.health_status == "Healthy"

    @healthy.setter
    def healthy(self, value: bool) -> None:
        self._state.health_status = "Healthy" if value else "Unhealthy"

    @property
    def protected(self) -> bool:
        """From scale-in."""
        return bool(self._state.protected_from_scale_in)

    @protected.setter
    def protected(self, value: bool) -> None:
        self._state.protected_from_scale_in = value

    @property
    def ec2_state(self) -> str:
        """Of the instance."""
        return self._state.instance.state

    @property
    def launched(self) -> datetime:
        """When."""
        return self._state.instance.launch_time


class Group:
    """An Auto Scaling group."""

    def __init__(self, group: asg_models.FakeAutoScalingGroup) -> None:
        self._group = group
        self.name: str = group.name

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Minimum, desired, maximum."""
        return self._group.min_size or 0, self._group.desired_capacity or 0, self._group.max_size or 0

    @sizes.setter
    def sizes(self, sizes: tuple[int, int, int]) -> None:
        self._group.min_size, self._group.desired_capacity, self._group.max_size = sizes

    @property
    def subnets(self) -> list[str]:
        """Where it launches."""
        return [subnet for subnet in (self._group.vpc_zone_identifier or "").split(",") if subnet]

    @subnets.setter
    def subnets(self, subnets: list[str]) -> None:
        self._group._set_azs_and_vpcs([], ",".join(subnets))

    @property
    def suspensions(self) -> dict[str, str]:
        """Suspended processes and why."""
        return self._group._suspensions

    @property
    def members(self) -> list[Member]:
        """In the order in which they were launched."""
        return [Member(state) for state in self._group.instance_states]

    @property
    def kind(self) -> str:
        """The type of its instances."""
        return self._group.instance_type

    @property
    def tags(self) -> list[dict[str, Any]]:
        """As the API has them."""
        return self._group.tags

    @tags.setter
    def tags(self, tags: list[dict[str, Any]]) -> None:
        self._group.tags = tags

    def drop(self, instance: str) -> None:
        """Makes it a member no more."""
        self._group.instance_states = [one for one in self._group.instance_states if one.instance_id != instance]

    def launch(self, subnet: str, private_ip: str) -> str:
        """Starts an instance as a member, pending; gives its id."""
        group = self._group
        tags = group.get_propagated_tags() | {asg_models.ASG_NAME_TAG: group.name} | group.instance_tags
        reservation = group.autoscaling_backend.ec2_backend.run_instances(
            group.image_id,
            1,
            group.user_data,
            group.security_groups,
            instance_type=group.instance_type,
            tags={"instance": tags},
            launch_config=group.launch_config,
            launch_template=group.ec2_launch_template and {"LaunchTemplateId": group.ec2_launch_template.id},
            is_instance_type_default=False,
            associate_public_ip=False,
            subnet_id=subnet,
            private_ip=private_ip,
        )
        instance = reservation.instances[0]
        instance.autoscaling_group = group
        set_state(instance, "pending")
        protected = group.new_instances_protected_from_scale_in
        group.instance_states.append(asg_models.InstanceState(instance, "Pending", protected_from_scale_in=protected))
        return instance.id


def set_state(instance: Any, state: str) -> dict[str, Any]:
    """Moves an instance to a state, and gives the one before, as the API writes it."""
    before = {"Code": instance._state.code, "Name": instance._state.name}
    instance._state.name, instance._state.code = state, STATES[state]
    return before


class Moto:
    """One account's resources in one region."""

    def __init__(self, account: str = ACCOUNT, region: str = REGION) -> None:
        self.account, self.region = account, region

    @property
    def ec2(self) -> Any:
        """moto's EC2."""
        return ec2_backends[self.account][self.region]

    @property
    def autoscaling(self) -> Any:
        """moto's Auto Scaling."""
        return autoscaling_backends[self.account][self.region]

    def groups(self) -> list[Group]:
        """All groups."""
        return [Group(group) for group in self.autoscaling.autoscaling_groups.values()]

    def group(self, name: str | None) -> Group:
        """The one of that name, or what AWS says when there is none."""
        group = self.autoscaling.autoscaling_groups.get(name)
        if group is None:
            raise AwsError("ValidationError", f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        return Group(group)

    def forget_group(self, name: str) -> None:
        """Deletes it; its members stay."""
        self.autoscaling.autoscaling_groups.pop(name, None)

    def member(self, instance: str) -> tuple[Group, Member]:
        """The member of whatever group, or what AWS says when there is none."""
        for group in self.groups():
            for member in group.members:
                if member.id == instance:
                    return group, member
        raise AwsError("ValidationError", f"Instance Id not found - No managed instance found for instance ID {instance}")

    def instances(self) -> list[Any]:
        """All instances, the terminated ones too."""
        return self.ec2.all_instances()

    def states(self) -> dict[str, str]:
        """The instances' states by id."""
        return {instance.id: instance.state for instance in self.instances()}

    def by_id(self, identities: Iterable[str]) -> list[Any]:
        """These instances, or what AWS says when one of them is none."""
        there = {instance.id: instance for instance in self.instances()}
        wanted = list(dict.fromkeys(identities))
        for identity in wanted:
            if not re.fullmatch(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})", identity):
                raise AwsError("InvalidInstanceID.Malformed", f'Invalid id: "{identity}"')
        missing = [identity for identity in wanted if identity not in there]
        if missing:
            text = f"The instance ID '{missing[0]}' does not exist"
            if len(missing) > 1:
                text = f"The instance IDs '{', '.join(missing)}' do not exist"
            raise AwsError("InvalidInstanceID.NotFound", text)
        return [there[identity] for identity in wanted]

    def end(self, instance: Any) -> None:
        """Terminated: its volumes go, and its address is free again."""
        instance.terminate()
        subnet = self.ec2.get_subnet(instance.subnet_id)
        for address in instance._private_ips:
            subnet.del_subnet_ip(address)
        instance._private_ips.clear()

    def forget(self, instance: str) -> None:
        """Describes it no more."""
        for identity, reservation in list(self.ec2.reservations.items()):
            reservation.instances = [one for one in reservation.instances if one.id != instance]
            if not reservation.instances:
                del self.ec2.reservations[identity]

    def subnet_zone(self, subnet: str) -> str:
        """The zone of a subnet."""
        return self.ec2.get_subnet(subnet).availability_zone

    def acls(self) -> list[Any]:
        """All network ACLs."""
        return list(self.ec2.network_acls.values())

    def associate(self, acl: Any, subnet: str) -> str:
        """Puts a subnet under an ACL; gives the new association's id."""
        old = next((key, one) for one in self.acls() for key in one._associations if one._associations[key].subnet_id == subnet)
        return self.ec2.replace_network_acl_association(old[0], acl.id).id

    def associated(self) -> list[tuple[str, str, Any]]:
        """Association id, subnet, ACL."""
        found: list[tuple[str, str, Any]] = []
        for acl in self.acls():
            association: NetworkAclAssociation
            for key, association in acl._associations.items():
                found.append((key, association.subnet_id or "", acl))
        return found

    def deny_by_default(self, acl: str) -> None:
        """The last rule of every ACL, which moto gives to default ones only."""
        for egress in (True, False):
            self.ec2.create_network_acl_entry(acl, 32767, "-1", "deny", egress, "0.0.0.0/0", None, None, None, None, None)

    def snapshot(self) -> tuple[Any, Any]:
        """All of it, to be shown later as it was."""
        return copy.deepcopy((self.ec2, self.autoscaling))

    def show(self, backends: tuple[Any, Any]) -> tuple[Any, Any]:
        """Puts other backends in place, and gives those that were there."""
        before = self.ec2, self.autoscaling
        dict.__setitem__(ec2_backends[self.account], self.region, backends[0])
        dict.__setitem__(autoscaling_backends[self.account], self.region, backends[1])
        return before


class Call:
    """A request that moto has parsed."""

    def __init__(self, cloud: Any, response: Any) -> None:
        self.cloud = cloud
        self.moto = Moto(response.current_account, response.region)
        self.params: dict[str, Any] = response.params  # what a check writes here, moto reads
        self.managed = (self.moto.account, self.moto.region) == (ACCOUNT, REGION)

    def dry_run(self) -> None:
        """The answer to a request that only asks."""
        if self.params.get("DryRun"):
            raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")


_answers: list[Any] = []  # the cloud that does, alone


def install(
    cloud: Any,
    replaced: dict[str, dict[str, Handler]],
    checked: dict[str, dict[str, Handler]],
    completed: dict[str, dict[str, Callable[[Call, Any], None]]],
) -> None:
    """Makes `cloud` the one that answers. Handlers, by service and method: instead of moto's, before it, and after it."""
    patched = bool(_answers)
    _answers[:] = [cloud]
    if patched:
        return
    _take_out()
    for service, response in (("autoscaling", asg_responses.AutoScalingResponse), ("ec2", EC2Response)):
        for method, handler in replaced[service].items():
            setattr(response, method, _answering(handler))
        for method in checked[service].keys() | completed[service].keys():
            original = getattr(response, method)
            check = checked[service].get(method)
            setattr(response, method, _around(original, check, completed[service].get(method)))


def _take_out() -> None:
    def set_desired_capacity(group: Any, capacity: int | None) -> None:
        group.desired_capacity = group.min_size if capacity is None else capacity

    def suspended(group: Any) -> list[dict[str, str]]:
        return [{"ProcessName": name, "SuspensionReason": reason} for name, reason in sorted(group._suspensions.items())]

    def suspend(group: Any, names: list[str]) -> None:
        group._suspensions = dict.fromkeys(names, "")

    fake = asg_models.FakeAutoScalingGroup
    fake.set_desired_capacity = set_desired_capacity  # type: ignore[method-assign]
    fake.suspended_processes = property(suspended, suspend)  # type: ignore[method-assign, assignment]


def _refuse(response: Any, error: AwsError) -> ServiceException:
    # moto looks up the error's shape by the module of its class.
    kind = EC2ClientError if isinstance(response, EC2Response) else AutoscalingClientError
    return kind(error.code, error.message)


def _answering(handler: Handler) -> Callable[[Any], ActionResult]:
    def answer(response: Any) -> ActionResult:
        try:
            return ActionResult(handler(Call(_answers[0], response)) or {})
        except AwsError as error:
            raise _refuse(response, error) from error

    return answer


def _around(original: Any, check: Handler | None, complete: Callable[[Call, Any], None] | None) -> Callable[[Any], Any]:
    def answer(response: Any) -> Any:
        call = Call(_answers[0], response)
        try:
            if check:
                check(call)
            result = original(response)
            if complete:
                complete(call, result.result)
            return result
        except AwsError as error:
            raise _refuse(response, error) from error

    return answer
