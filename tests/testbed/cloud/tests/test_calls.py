# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""Calls that moto answers otherwise than AWS: what the cloud makes of them, over the wire."""

from __future__ import annotations

from typing import Any

from support import Case

from model import PROCESSES

MULTI = "workers-multi"
NOBODY = "i-0123456789abcdef0"


class Groups(Case):
    """Auto Scaling."""

    def test_an_unknown_group_is_a_validation_error_everywhere(self) -> None:
        name = {"AutoScalingGroupName": "nobody"}
        calls: list[tuple[Any, dict[str, Any]]] = [
            (self.scaling.suspend_processes, {"ScalingProcesses": ["Launch"]}),
            (self.scaling.resume_processes, {}),
            (self.scaling.set_desired_capacity, {"DesiredCapacity": 1}),
            (self.scaling.update_auto_scaling_group, {"MinSize": 1}),
            (self.scaling.delete_auto_scaling_group, {}),
            (self.scaling.detach_instances, {"InstanceIds": [NOBODY], "ShouldDecrementDesiredCapacity": False}),
            (self.scaling.enter_standby, {"InstanceIds": [NOBODY], "ShouldDecrementDesiredCapacity": False}),
            (self.scaling.exit_standby, {"InstanceIds": [NOBODY]}),
            (self.scaling.attach_instances, {"InstanceIds": [NOBODY]}),
            (self.scaling.set_instance_protection, {"InstanceIds": [NOBODY], "ProtectedFromScaleIn": True}),
            (self.scaling.describe_scaling_activities, {}),
            (self.scaling.describe_instance_refreshes, {}),
            (self.scaling.describe_lifecycle_hooks, {}),
        ]
        for call, arguments in calls:
            error = self.refused("ValidationError", call, **name, **arguments)
            self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
            self.assertIn("AutoScalingGroup name not found - AutoScalingGroup 'nobody' not found", str(error))
        tag = {"ResourceId": "nobody", "ResourceType": "auto-scaling-group", "Key": "k", "Value": "v", "PropagateAtLaunch": False}
        self.refused("ValidationError", self.scaling.create_or_update_tags, Tags=[tag])
        self.refused("ValidationError", self.scaling.delete_tags, Tags=[tag])
        self.assertEqual(self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["nobody"])["AutoScalingGroups"], [])

    def suspended(self) -> dict[str, str]:
        """Of one group, with reasons."""
        return {one["ProcessName"]: one["SuspensionReason"] for one in self.group("workers-a")["SuspendedProcesses"]}

    def test_processes(self) -> None:
        name = {"AutoScalingGroupName": "workers-a"}
        self.refused("ValidationError", self.scaling.suspend_processes, **name, ScalingProcesses=["Launch", "Lunch"])
        self.assertEqual(self.suspended(), {})
        self.scaling.suspend_processes(**name, ScalingProcesses=["AZRebalance"])
        self.assertRegex(self.suspended()["AZRebalance"], r"^User suspended at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.scaling.suspend_processes(**name, ScalingProcesses=[])
        self.assertEqual(set(self.suspended()), set(PROCESSES))
        self.scaling.resume_processes(**name, ScalingProcesses=["Launch", "Terminate"])
        self.assertEqual(set(self.suspended()), set(PROCESSES) - {"Launch", "Terminate"})
        self.scaling.resume_processes(**name)
        self.assertEqual(self.suspended(), {})
        types = self.scaling.describe_scaling_process_types()["Processes"]
        self.assertEqual({one["ProcessName"] for one in types}, set(PROCESSES))

    def test_sizes(self) -> None:
        name = {"AutoScalingGroupName": "workers-a"}
        self.refused("ValidationError", self.scaling.set_desired_capacity, **name, DesiredCapacity=4)
        self.refused("ValidationError", self.scaling.update_auto_scaling_group, **name, MinSize=4)
        self.refused("ValidationError", self.scaling.update_auto_scaling_group, **name, DesiredCapacity=4)
        self.scaling.update_auto_scaling_group(**name, MinSize=1)
        self.refused("ValidationError", self.scaling.set_desired_capacity, **name, DesiredCapacity=0)
        self.scaling.update_auto_scaling_group(**name, MinSize=2)
        self.assertEqual(self.group("workers-a")["DesiredCapacity"], 2)
        self.scaling.update_auto_scaling_group(**name, MinSize=0, MaxSize=1)
        self.assertEqual(self.group("workers-a")["DesiredCapacity"], 1)
        self.refused("ValidationError", self.scaling.update_auto_scaling_group, **name, VPCZoneIdentifier="subnet-0123")

    def test_terminate_in_group(self) -> None:
        (old,) = self.members("workers-a")
        call = self.scaling.terminate_instance_in_auto_scaling_group
        self.refused("ValidationError", call, InstanceId=NOBODY, ShouldDecrementDesiredCapacity=False)
        activity = call(InstanceId=old, ShouldDecrementDesiredCapacity=False)["Activity"]
        self.assertEqual((activity["StatusCode"], activity["AutoScalingGroupName"]), ("InProgress", "workers-a"))
        self.assertEqual(self.group("workers-a")["Instances"][0]["LifecycleState"], "Terminating")
        self.pass_time(3)
        (new,) = self.members("workers-a")
        self.assertNotEqual(new, old)
        call(InstanceId=new, ShouldDecrementDesiredCapacity=True)
        self.pass_time(3)
        self.assertEqual((self.members("workers-a"), self.group("workers-a")["DesiredCapacity"]), ([], 0))

    def test_terminate_in_group_never_goes_below_the_minimum(self) -> None:
        (old,) = self.members("workers-a")
        self.scaling.update_auto_scaling_group(AutoScalingGroupName="workers-a", MinSize=1)
        error = self.refused(
            "ValidationError", self.scaling.terminate_instance_in_auto_scaling_group, InstanceId=old, ShouldDecrementDesiredCapacity=True
        )
        self.assertIn("desiredSize equals minSize (1)", str(error))
        self.assertEqual(self.group("workers-a")["Instances"][0]["LifecycleState"], "InService")

    def test_several_at_once_by_the_newer_form(self) -> None:
        members = self.members(MULTI)
        self.scaling.terminate_instance_in_auto_scaling_group(
            AutoScalingGroupName=MULTI, InstanceIds=members[:2], ShouldDecrementDesiredCapacity=True
        )
        self.pass_time(3)
        self.assertEqual(self.members(MULTI), members[2:])

    def test_detach_and_standby(self) -> None:
        name, (old,) = {"AutoScalingGroupName": "workers-a"}, self.members("workers-a")
        self.scaling.enter_standby(**name, InstanceIds=[old], ShouldDecrementDesiredCapacity=True)
        self.pass_time(3)
        self.assertEqual([one["LifecycleState"] for one in self.group("workers-a")["Instances"]], ["Standby"])
        self.scaling.exit_standby(**name, InstanceIds=[old])
        self.pass_time(3)
        self.assertEqual((self.members("workers-a"), self.group("workers-a")["DesiredCapacity"]), ([old], 1))
        self.scaling.detach_instances(**name, InstanceIds=[old], ShouldDecrementDesiredCapacity=False)
        self.pass_time(3)
        self.assertEqual((len(self.members("workers-a")), self.state(old)), (1, "running"))
        self.assertNotEqual(self.members("workers-a"), [old])

    def test_activities_come_in_pages(self) -> None:
        for _ in range(2):
            self.ec2.terminate_instances(InstanceIds=self.members("workers-a"))
            self.pass_time(3)
        pages = list(
            self.scaling.get_paginator("describe_scaling_activities").paginate(
                AutoScalingGroupName="workers-a", PaginationConfig={"PageSize": 3}
            )
        )
        self.assertEqual([len(page["Activities"]) for page in pages], [3, 1])

    def test_a_group_goes_only_empty_or_by_force(self) -> None:
        self.refused("ResourceInUse", self.scaling.delete_auto_scaling_group, AutoScalingGroupName="workers-a")
        (old,) = self.members("workers-a")
        self.scaling.delete_auto_scaling_group(AutoScalingGroupName="workers-a", ForceDelete=True)
        self.pass_time(1)
        self.assertEqual(self.state(old), "terminated")
        self.control("reset")
        self.pass_time(3)
        self.assertEqual(len(self.members("workers-a")), 1)


class Instances(Case):
    """EC2."""

    def test_ids(self) -> None:
        (member,) = self.members("workers-a")
        self.refused("InvalidInstanceID.NotFound", self.ec2.terminate_instances, InstanceIds=[member, NOBODY])
        self.refused("InvalidInstanceID.Malformed", self.ec2.terminate_instances, InstanceIds=[member, "i-nobody"])
        self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[NOBODY])
        self.assertEqual(self.state(member), "running")

    def test_dry_run_does_nothing(self) -> None:
        (member,) = self.members("workers-a")
        for call in (self.ec2.terminate_instances, self.ec2.stop_instances, self.ec2.start_instances):
            error = self.refused("DryRunOperation", call, InstanceIds=[member], DryRun=True)
            self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], 412)
        self.pass_time(3)
        self.assertEqual(self.state(member), "running")

    def test_a_protected_instance_spares_its_zone_in_that_call(self) -> None:
        (a,), (b,) = self.members("workers-a"), self.members("workers-b")
        other = next(one["InstanceId"] for one in self.group(MULTI)["Instances"] if one["AvailabilityZone"] == "us-east-1a")
        self.ec2.modify_instance_attribute(InstanceId=a, DisableApiTermination={"Value": True})
        error = self.refused("OperationNotPermitted", self.ec2.terminate_instances, InstanceIds=[a, other, b])
        self.assertIn(f"The instance '{a}' may not be terminated", str(error))
        self.assertEqual([self.state(one) for one in (a, other, b)], ["running", "running", "shutting-down"])
        # Auto Scaling is not bound by it.
        self.scaling.terminate_instance_in_auto_scaling_group(InstanceId=a, ShouldDecrementDesiredCapacity=False)
        self.assertEqual(self.state(a), "shutting-down")

    def test_states(self) -> None:
        (member,) = self.members("workers-a")
        self.scaling.suspend_processes(AutoScalingGroupName="workers-a")
        change = self.ec2.stop_instances(InstanceIds=[member])["StoppingInstances"][0]
        self.assertEqual((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("running", "stopping"))
        self.refused("IncorrectInstanceState", self.ec2.start_instances, InstanceIds=[member])
        self.pass_time(0.5)
        change = self.ec2.start_instances(InstanceIds=[member])["StartingInstances"][0]
        self.assertEqual((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("stopped", "pending"))
        self.pass_time(0.5)
        self.ec2.terminate_instances(InstanceIds=[member])
        self.pass_time(0.5)
        for call in (self.ec2.start_instances, self.ec2.stop_instances):
            self.refused("IncorrectInstanceState", call, InstanceIds=[member])
        again = self.ec2.terminate_instances(InstanceIds=[member])["TerminatingInstances"][0]
        self.assertEqual((again["PreviousState"]["Name"], again["CurrentState"]["Name"]), ("terminated", "terminated"))

    def test_terminated_instances_are_forgotten(self) -> None:
        (member,) = self.members("workers-a")
        self.ec2.terminate_instances(InstanceIds=[member])
        self.pass_time(170)
        self.assertEqual(self.state(member), "terminated")
        self.pass_time(15)
        self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[member])

    def test_how_a_machine_goes_is_what_the_call_said(self) -> None:
        (a,), (b,) = self.members("workers-a"), self.members("workers-b")
        self.cloud.bridged = True
        self.addCleanup(setattr, self.cloud, "bridged", False)
        self.ec2.terminate_instances(InstanceIds=[a], SkipOsShutdown=True)
        self.ec2.terminate_instances(InstanceIds=[b])
        wants = {one["instance"]: (one["want"], one["abrupt"]) for one in self.control("exchange", {})["machines"]}
        self.assertEqual((wants[a], wants[b]), (("gone", True), ("gone", False)))
        self.assertEqual(sorted(want for want, _ in wants.values()).count("on"), 4)
        self.control("exchange", {a: "gone"})
        self.assertEqual((self.state(a), self.state(b)), ("terminated", "shutting-down"))

    def test_instances_of_no_group(self) -> None:
        subnet = self.cloud.layout.subnets["us-east-1a"]
        image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        run = {"ImageId": image, "InstanceType": "m5.large", "SubnetId": subnet, "MinCount": 1, "MaxCount": 1}
        one = self.ec2.run_instances(**run)["Instances"][0]["InstanceId"]
        self.pass_time(0.5)
        self.assertEqual(self.state(one), "running")
        error = self.refused("InsufficientInstanceCapacity", self.ec2.run_instances, **run)
        self.assertIn("(us-east-1a)", str(error))


class Acls(Case):
    """Network ACLs."""

    def association(self, zone: str) -> tuple[str, str]:
        """Of the zone's subnet: its id, and the ACL's."""
        subnet = self.cloud.layout.subnets[zone]
        found = self.ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["NetworkAcls"]
        (association,) = [one for acl in found for one in acl["Associations"] if one["SubnetId"] == subnet]
        return association["NetworkAclAssociationId"], association["NetworkAclId"]

    def create(self) -> str:
        """One of our own."""
        acl = self.ec2.create_network_acl(VpcId=self.cloud.layout.vpc)["NetworkAcl"]
        self.assertEqual([(one["RuleNumber"], one["RuleAction"]) for one in acl["Entries"]], [(32767, "deny")] * 2)
        return acl["NetworkAclId"]

    def test_exchange_and_back(self) -> None:
        before, default = self.association("us-east-1a")
        acl = self.create()
        new = self.ec2.replace_network_acl_association(AssociationId=before, NetworkAclId=acl)["NewAssociationId"]
        self.assertNotEqual(new, before)
        self.assertEqual(self.association("us-east-1a"), (new, acl))
        self.assertEqual(self.control("state")["cuts"], {"us-east-1a": ["in", "out"]})
        self.refused("InvalidAssociationID.NotFound", self.ec2.replace_network_acl_association, AssociationId=before, NetworkAclId=acl)
        self.refused("DependencyViolation", self.ec2.delete_network_acl, NetworkAclId=acl)
        self.ec2.replace_network_acl_association(AssociationId=new, NetworkAclId=default)
        self.assertEqual(self.control("state")["cuts"], {})
        self.ec2.delete_network_acl(NetworkAclId=acl)
        self.refused("InvalidNetworkAclID.NotFound", self.ec2.describe_network_acls, NetworkAclIds=[acl])
        self.refused("InvalidParameterValue", self.ec2.delete_network_acl, NetworkAclId=default)

    def test_the_first_rule_for_all_traffic_decides(self) -> None:
        acl = self.create()
        association, _ = self.association("us-east-1b")
        self.ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=acl)
        rule = {"NetworkAclId": acl, "Protocol": "-1", "CidrBlock": "0.0.0.0/0"}
        self.ec2.create_network_acl_entry(**rule, RuleNumber=100, RuleAction="allow", Egress=True)
        self.assertEqual(self.control("state")["cuts"], {"us-east-1b": ["in"]})
        self.ec2.create_network_acl_entry(**rule, RuleNumber=99, RuleAction="deny", Egress=True)
        self.assertEqual(self.control("state")["cuts"], {"us-east-1b": ["in", "out"]})
        self.ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=99, Egress=True)
        self.refused("InvalidNetworkAclEntry.NotFound", self.ec2.delete_network_acl_entry, NetworkAclId=acl, RuleNumber=99, Egress=True)
        self.assertEqual(self.control("state")["cuts"], {"us-east-1b": ["in"]})
        self.control("reset")
        self.assertEqual(self.control("state")["cuts"], {})

    def test_dry_run_does_nothing(self) -> None:
        acl = self.create()
        association, _ = self.association("us-east-1a")
        rule = {"NetworkAclId": acl, "Protocol": "-1", "CidrBlock": "0.0.0.0/0", "RuleNumber": 1, "RuleAction": "deny", "Egress": True}
        before = self.ec2.describe_network_acls()["NetworkAcls"]
        for call, arguments in (
            (self.ec2.create_network_acl, {"VpcId": self.cloud.layout.vpc}),
            (self.ec2.create_network_acl_entry, rule),
            (self.ec2.replace_network_acl_association, {"AssociationId": association, "NetworkAclId": acl}),
            (self.ec2.delete_network_acl_entry, {"NetworkAclId": acl, "RuleNumber": 32767, "Egress": True}),
            (self.ec2.delete_network_acl, {"NetworkAclId": acl}),
        ):
            self.refused("DryRunOperation", call, **arguments, DryRun=True)
        self.assertEqual(self.ec2.describe_network_acls()["NetworkAcls"], before)
