# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""EC2's calls, where moto's answer is not AWS's."""

from __future__ import annotations

from typing import Any

from model import AwsError
from shim import STATES, Call, set_state

Answer = dict[str, Any]


def _state(name: str) -> dict[str, Any]:
    return {"Code": STATES[name], "Name": name}


def _named(call: Call) -> list[Any]:
    call.dry_run()
    if not call.params.get("InstanceIds"):
        raise AwsError("MissingParameter", "The request must contain the parameter InstanceIds")
    return call.moto.by_id(call.params["InstanceIds"])


def terminate_instances(call: Call) -> Answer:
    """A bad id keeps all from going, a protected instance those of its own zone; the others go, and the caller gets the error."""
    instances = _named(call)
    guarded = [instance for instance in instances if instance.disable_api_termination]
    spared = {instance.placement.zone for instance in guarded}
    changes = []
    for instance in instances:
        if instance.placement.zone in spared:
            continue
        before = {"Code": instance.state_code, "Name": instance.state}
        call.cloud.terminate(instance.id, abrupt=bool(call.params.get("SkipOsShutdown")), moto=call.moto)
        changes.append({"InstanceId": instance.id, "CurrentState": _state(instance.state), "PreviousState": before})
    if guarded:
        raise AwsError(
            "OperationNotPermitted",
            f"The instance '{guarded[0].id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.",
        )
    return {"TerminatingInstances": changes}


def stop_instances(call: Call) -> Answer:
    """Only what runs, or is stopped already."""
    instances = _named(call)
    for instance in instances:
        if instance.state not in ("pending", "running", "stopping", "stopped"):
            raise _wrong_state(instance, "stopped")
        if instance.disable_api_stop:
            raise AwsError(
                "OperationNotPermitted",
                f"The instance '{instance.id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.",
            )
    changes = []
    for instance in instances:
        if instance.state in ("stopping", "stopped"):
            before = _state(instance.state)
        else:
            before = set_state(instance, "stopping")
            call.cloud.shut_down(instance.id, abrupt=bool(call.params.get("SkipOsShutdown")))
        changes.append({"InstanceId": instance.id, "CurrentState": _state(instance.state), "PreviousState": before})
    return {"StoppingInstances": changes}


def start_instances(call: Call) -> Answer:
    """Only what is stopped, or runs already."""
    instances = _named(call)
    for instance in instances:
        if instance.state not in ("pending", "running", "stopped"):
            raise _wrong_state(instance, "started")
    changes = []
    for instance in instances:
        before = _state(instance.state) if instance.state != "stopped" else set_state(instance, "pending")
        changes.append({"InstanceId": instance.id, "CurrentState": _state(instance.state), "PreviousState": before})
    return {"StartingInstances": changes}


def _wrong_state(instance: Any, verb: str) -> AwsError:
    return AwsError("IncorrectInstanceState", f"The instance '{instance.id}' is not in a state from which it can be {verb}.")


def check_run(call: Call) -> None:
    """A place for it, or no capacity."""
    call.dry_run()
    if not call.managed:
        return
    count = int(call.params.get("MaxCount", 1))
    subnet = call.params.get("SubnetId")
    zone = (
        call.moto.subnet_zone(subnet) if subnet else call.params.get("Placement", {}).get("AvailabilityZone", call.cloud.machines.zones[0])
    )
    call.cloud.check_capacity(zone, count, call.params.get("InstanceType", "m5.large"))
    call.params["MinCount"] = count
    if subnet and count == 1:
        call.params["PrivateIpAddress"] = call.cloud.address(call.cloud.machines.free(zone)[0])


def complete_run(call: Call, reservation: Any) -> None:
    """They boot, as those of groups do."""
    if call.managed:
        for instance in reservation.instances:
            set_state(instance, "pending")
            call.cloud.machines.take(
                instance.id, instance.placement.zone, call.cloud.machines.free(instance.placement.zone)[0], instance.instance_type
            )


def check_ids(call: Call) -> None:
    """Malformed ids are told from unknown ones."""
    call.moto.by_id(call.params.get("InstanceIds", []))


# ---- network ACLs ----


def check_dry_run(call: Call) -> None:
    """moto would do it."""
    call.dry_run()


def check_acls(call: Call) -> None:
    """moto speaks of a route table when there is no such ACL."""
    for identity in call.params.get("NetworkAclIds", []):
        call.moto.ec2.get_network_acl(identity)


def complete_create_acl(call: Call, result: dict[str, Any]) -> None:
    """A new ACL denies all, and says so."""
    call.moto.deny_by_default(result["NetworkAcl"].id)


def check_replace_association(call: Call) -> None:
    """The association is the one of now; that of before an exchange is none any more."""
    call.dry_run()
    identity = call.params["AssociationId"]
    if identity not in [key for key, _, _ in call.moto.associated()]:
        raise AwsError("InvalidAssociationID.NotFound", f"The association ID '{identity}' does not exist")
    call.moto.ec2.get_network_acl(call.params["NetworkAclId"])


def check_delete_entry(call: Call) -> None:
    """moto fails on one that is not there."""
    call.dry_run()
    acl = call.moto.ec2.get_network_acl(call.params["NetworkAclId"])
    number, egress = call.params["RuleNumber"], call.params["Egress"]
    if not any(entry.rule_number == number and entry.egress == egress for entry in acl.network_acl_entries):
        raise AwsError("InvalidNetworkAclEntry.NotFound", f"The network acl entry identified by {number} does not exist.")


def check_delete_acl(call: Call) -> None:
    """The default one stays."""
    call.dry_run()
    acl = call.moto.ec2.get_network_acl(call.params["NetworkAclId"])
    if acl.default:
        raise AwsError("InvalidParameterValue", f"cannot delete default network ACL {acl.id}")


REPLACED = {
    "terminate_instances": terminate_instances,
    "stop_instances": stop_instances,
    "start_instances": start_instances,
}
CHECKED = {
    "run_instances": check_run,
    "describe_instances": check_ids,
    "describe_instance_status": check_ids,
    "describe_network_acls": check_acls,
    "create_network_acl": check_dry_run,
    "create_network_acl_entry": check_dry_run,
    "replace_network_acl_entry": check_delete_entry,
    "delete_network_acl_entry": check_delete_entry,
    "delete_network_acl": check_delete_acl,
    "replace_network_acl_association": check_replace_association,
    "create_tags": check_dry_run,
    "delete_tags": check_dry_run,
}
COMPLETED = {"run_instances": complete_run, "create_network_acl": complete_create_acl}
