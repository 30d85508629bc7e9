# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""Auto Scaling's calls, where moto's answer is not AWS's."""

from __future__ import annotations

from typing import Any

from model import PROCESSES, AwsError, stamp
from shim import Call, Group

Answer = dict[str, Any]


def invalid(message: str) -> AwsError:
    """AWS's one code for what is wrong with a request to Auto Scaling."""
    return AwsError("ValidationError", message)


# ---- processes ----


def _processes(call: Call) -> tuple[Group, list[str]]:
    group = call.moto.group(call.params.get("AutoScalingGroupName"))
    names = call.params.get("ScalingProcesses") or list(PROCESSES)  # none named: all
    unknown = [name for name in names if name not in PROCESSES]
    if unknown:
        raise invalid(f"Invalid scaling process name(s): {', '.join(unknown)}")
    return group, names


def suspend_processes(call: Call) -> None:
    """What is suspended already keeps its reason."""
    group, names = _processes(call)
    for name in names:
        group.suspensions.setdefault(name, f"User suspended at {stamp()}")


def resume_processes(call: Call) -> None:
    """What is not suspended is no error."""
    group, names = _processes(call)
    for name in names:
        group.suspensions.pop(name, None)


def describe_scaling_process_types(_: Call) -> Answer:
    """The nine."""
    return {"Processes": [{"ProcessName": name} for name in sorted(PROCESSES)]}


# ---- sizes ----


def set_desired_capacity(call: Call) -> None:
    """Between minimum and maximum."""
    group = call.moto.group(call.params.get("AutoScalingGroupName"))
    least, _, most = group.sizes
    wanted = int(call.params["DesiredCapacity"])
    if wanted > most:
        raise invalid(f"New SetDesiredCapacity value {wanted} is above max value {most} for the AutoScalingGroup.")
    if wanted < least:
        raise invalid(f"New SetDesiredCapacity value {wanted} is below min value {least} for the AutoScalingGroup.")
    group.sizes = least, wanted, most


def check_update(call: Call) -> None:
    """Sizes fit each other, and what is left out follows, as on AWS; every subnet is there."""
    group = call.moto.group(call.params.get("AutoScalingGroupName"))
    least, wanted, most = group.sizes
    least = call.params.get("MinSize", least)
    most = call.params.get("MaxSize", most)
    wanted = call.params.get("DesiredCapacity", min(max(wanted, least), most))
    check_sizes(least, wanted, most)
    if "VPCZoneIdentifier" in call.params:
        check_subnets(call)
    call.params["DesiredCapacity"] = wanted


def check_create(call: Call) -> None:
    """As an update, and the name is free."""
    name = call.params.get("AutoScalingGroupName")
    if name in [group.name for group in call.moto.groups()]:
        raise AwsError("AlreadyExists", f"AutoScalingGroup by this name already exists - A group by the name {name} already exists")
    least, most = call.params["MinSize"], call.params["MaxSize"]
    check_sizes(least, call.params.get("DesiredCapacity", least), most)
    if "VPCZoneIdentifier" in call.params:
        check_subnets(call)


def check_sizes(least: int, wanted: int, most: int) -> None:
    """Whether a group may have them."""
    if least > most:
        raise invalid(f"Max bound, {most}, must be greater than or equal to min bound, {least}")
    if not least <= wanted <= most:
        raise invalid(f"Desired capacity:{wanted} must be between the specified min size:{least} and max size:{most}")


def check_subnets(call: Call) -> None:
    """At least one, and all of them there."""
    named = [subnet for subnet in call.params["VPCZoneIdentifier"].split(",") if subnet]
    there = {subnet.id for subnet in call.moto.ec2.describe_subnets()}
    missing = [subnet for subnet in named if subnet not in there]
    if missing:
        raise invalid(f"The subnet ID '{missing[0]}' does not exist")
    if not named:
        raise invalid("At least one Availability Zone or VPC Subnet is required.")


def delete_auto_scaling_group(call: Call) -> None:
    """With members only by force, and then they go too."""
    group = call.moto.group(call.params.get("AutoScalingGroupName"))
    members = group.members
    if members and not call.params.get("ForceDelete"):
        raise AwsError(
            "ResourceInUse",
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.",
        )
    for member in members:
        call.cloud.terminate(member.id, abrupt=False)
    call.moto.forget_group(group.name)


def check_describe(call: Call) -> None:
    """AWS's bound for a page."""
    if call.params.get("MaxRecords", 1) > 100:
        problem = "Value at 'maxRecords' failed to satisfy constraint: Member must have value less than or equal to 100"
        raise invalid(f"1 validation error detected: {problem}")


# ---- members ----


def terminate_instance(call: Call) -> Answer:
    """One, or with the newer form several of one group. Neither protection nor health matter."""
    params = call.params
    if params.get("InstanceIds"):
        group = call.moto.group(params.get("AutoScalingGroupName"))
        chosen = [(group, _member(group, identity)) for identity in dict.fromkeys(params["InstanceIds"])]
    elif params.get("InstanceId"):
        chosen = [call.moto.member(params["InstanceId"])]
    else:
        raise invalid("Either InstanceId or InstanceIds must be specified")
    shrink = bool(params.get("ShouldDecrementDesiredCapacity"))
    group = chosen[0][0]
    leaving = [member for _, member in chosen if not member.lifecycle.startswith("Terminating")]
    if shrink:
        shrink_by(group, len(leaving))
    activities = []
    for member in leaving:
        reason = "was taken out of service in response to a user request"
        if shrink:
            desired = group.sizes[1]
            reason += f", shrinking the capacity from {desired + len(leaving)} to {desired}"
        activity = call.cloud.reconciler.remove(group, member, f"instance {member.id} {reason}.")
        activities.append(activity.answer())
    return {"Activity": activities[0], "Activities": activities} if activities else {}


def _member(group: Group, identity: str) -> Any:
    for member in group.members:
        if member.id == identity:
            return member
    raise invalid(f"The instance {identity} is not part of Auto Scaling group {group.name}.")


def shrink_by(group: Group, count: int) -> None:
    """Wants so many fewer, but never below the minimum."""
    least, wanted, most = group.sizes
    if wanted - count < least:
        raise invalid(
            f"Currently, desiredSize equals minSize ({least}). Terminating instance without replacement will violate group's min "
            "size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
        )
    group.sizes = least, wanted - count, most


def set_instance_health(call: Call) -> None:
    """Marks it; the reconciler sees."""
    _, member = call.moto.member(call.params["InstanceId"])
    if call.params["HealthStatus"] not in ("Healthy", "Unhealthy"):
        raise invalid("Valid instance health states are: [Healthy, Unhealthy].")
    member.healthy = call.params["HealthStatus"] == "Healthy"


def check_members(call: Call) -> None:
    """The group is there, and the instances are its own."""
    group = call.moto.group(call.params.get("AutoScalingGroupName"))
    for identity in call.params.get("InstanceIds", []):
        _member(group, identity)


def check_leaving(call: Call) -> None:
    """Detach and Standby may not shrink a group below its minimum either."""
    check_members(call)
    group = call.moto.group(call.params.get("AutoScalingGroupName"))
    least, wanted, most = group.sizes
    if call.params.get("ShouldDecrementDesiredCapacity") and wanted - len(call.params.get("InstanceIds", [])) < least:
        raise invalid(
            f"AutoScalingGroup {group.name} has min-size={least}, max-size={most}, and desired-size={wanted}. To place into standby or "
            "detach, adjust the AutoScalingGroup sizes as needed."
        )


def check_joining(call: Call) -> None:
    """Nothing joins while Launch is suspended."""
    group = call.moto.group(call.params.get("AutoScalingGroupName"))
    if "Launch" in group.suspensions:
        raise invalid(f"Launch process is suspended for AutoScalingGroup {group.name}.")


def check_group(call: Call) -> None:
    """The group is there."""
    call.moto.group(call.params.get("AutoScalingGroupName"))


def check_tags(call: Call) -> None:
    """Every group that is named is there."""
    for tag in call.params.get("Tags", []):
        call.moto.group(tag.get("ResourceId"))


# ---- activities ----


def describe_scaling_activities(call: Call) -> Answer:
    """Newest first, page by page."""
    name = call.params.get("AutoScalingGroupName")
    if name is not None:
        call.moto.group(name)
    listed = call.cloud.activities.of(name, call.params.get("ActivityIds", [])) if call.managed else []
    start = int(call.params.get("NextToken", "0"))
    end = start + call.params.get("MaxRecords", 100)
    answer: Answer = {"Activities": [activity.answer() for activity in listed[start:end]]}
    if end < len(listed):
        answer["NextToken"] = str(end)
    return answer


def describe_instance_refreshes(call: Call) -> Answer:
    """There never is one."""
    check_group(call)
    return {"InstanceRefreshes": []}


REPLACED = {
    "suspend_processes": suspend_processes,
    "resume_processes": resume_processes,
    "describe_scaling_process_types": describe_scaling_process_types,
    "set_desired_capacity": set_desired_capacity,
    "delete_auto_scaling_group": delete_auto_scaling_group,
    "terminate_instance_in_auto_scaling_group": terminate_instance,
    "set_instance_health": set_instance_health,
    "describe_scaling_activities": describe_scaling_activities,
    "describe_instance_refreshes": describe_instance_refreshes,
}
CHECKED = {
    "update_auto_scaling_group": check_update,
    "create_auto_scaling_group": check_create,
    "describe_auto_scaling_groups": check_describe,
    "set_instance_protection": check_members,
    "detach_instances": check_leaving,
    "enter_standby": check_leaving,
    "attach_instances": check_joining,
    "exit_standby": check_joining,
    "put_lifecycle_hook": check_group,
    "describe_lifecycle_hooks": check_group,
    "create_or_update_tags": check_tags,
    "delete_tags": check_tags,
}
