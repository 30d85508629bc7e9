# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""What Auto Scaling does by itself, and what it leaves when a process is suspended."""

from __future__ import annotations

from support import Case

MULTI = "workers-multi"


class Layout(Case):
    """The start."""

    def test_two_instances_in_each_zone(self) -> None:
        self.assertEqual([self.zones(f"workers-{zone}") for zone in "abc"], [["a"], ["b"], ["c"]])
        self.assertEqual(self.zones(MULTI), ["a", "b", "c"])
        instances = [
            one
            for page in self.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])["Reservations"]
            for one in page["Instances"]
        ]
        self.assertEqual(len(instances), 6)
        for instance in instances:
            tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
            self.assertEqual(tags["kubernetes.io/cluster/squall-testbed"], "owned")
            self.assertIn(instance["InstanceId"], self.members(tags["aws:autoscaling:groupName"]))
            slot = self.cloud.machines.by_instance[instance["InstanceId"]].slot
            self.assertEqual(instance["PrivateIpAddress"], self.cloud.address(slot))


class Replacement(Case):
    """Of members that are lost."""

    def test_a_terminated_member_is_replaced_after_the_delay(self) -> None:
        (old,) = self.members("workers-a")
        self.control("faults", {"replace": 10})
        self.ec2.terminate_instances(InstanceIds=[old])
        self.assertEqual(self.state(old), "shutting-down")
        self.pass_time(9.5)
        self.assertEqual([(one["InstanceId"], one["HealthStatus"]) for one in self.group("workers-a")["Instances"]], [(old, "Unhealthy")])
        self.pass_time(1)
        (new,) = self.members("workers-a")
        self.assertNotEqual(new, old)
        self.assertEqual([one["StatusCode"] for one in self.activities("workers-a")], ["Successful", "Successful"])

    def test_what_a_call_to_the_group_terminates_is_replaced_after_the_delay(self) -> None:
        (old,) = self.members("workers-a")
        self.control("faults", {"replace": 10})
        self.scaling.terminate_instance_in_auto_scaling_group(InstanceId=old, ShouldDecrementDesiredCapacity=False)
        self.pass_time(9.5)
        self.assertEqual(self.members("workers-a"), [])
        self.pass_time(1)
        self.assertEqual(len(self.members("workers-a")), 1)

    def test_a_stopped_member_is_terminated_and_replaced(self) -> None:
        (old,) = self.members("workers-a")
        self.ec2.stop_instances(InstanceIds=[old])
        self.pass_time(0.5)
        self.assertEqual(self.state(old), "stopped")
        self.pass_time(2)
        self.assertEqual(self.state(old), "terminated")
        self.assertNotIn(old, self.members("workers-a"))

    def test_a_member_called_unhealthy_is_replaced(self) -> None:
        (old,) = self.members("workers-a")
        self.scaling.set_instance_health(InstanceId=old, HealthStatus="Unhealthy")
        self.pass_time(2)
        self.assertNotIn(old, self.members("workers-a"))
        self.assertIn("user health-check", self.activities("workers-a")[1]["Cause"])

    def test_without_health_checks_nothing_is_noticed(self) -> None:
        (old,) = self.members("workers-a")
        self.scaling.suspend_processes(AutoScalingGroupName="workers-a", ScalingProcesses=["HealthCheck"])
        self.ec2.stop_instances(InstanceIds=[old])
        self.pass_time(10)
        self.assertEqual(self.members("workers-a"), [old])
        self.ec2.start_instances(InstanceIds=[old])
        self.scaling.resume_processes(AutoScalingGroupName="workers-a", ScalingProcesses=["HealthCheck"])
        self.pass_time(10)
        self.assertEqual((self.members("workers-a"), self.state(old)), ([old], "running"))

    def test_without_replacement_the_unhealthy_stays(self) -> None:
        for process in ("ReplaceUnhealthy", "Terminate"):
            (old,) = self.members("workers-b")
            self.scaling.suspend_processes(AutoScalingGroupName="workers-b", ScalingProcesses=[process])
            self.scaling.set_instance_health(InstanceId=old, HealthStatus="Unhealthy")
            self.pass_time(10)
            self.assertEqual(self.members("workers-b"), [old])
            self.scaling.resume_processes(AutoScalingGroupName="workers-b")
            self.pass_time(2)
            self.assertNotIn(old, self.members("workers-b"))


class Launching(Case):
    """And not."""

    def test_suspended_launch_holds_until_it_is_resumed(self) -> None:
        (old,) = self.members("workers-a")
        self.scaling.suspend_processes(AutoScalingGroupName="workers-a", ScalingProcesses=["Launch"])
        self.ec2.terminate_instances(InstanceIds=[old])
        self.pass_time(60)
        self.assertEqual((self.members("workers-a"), self.group("workers-a")["DesiredCapacity"]), ([], 1))
        self.assertNotIn("Failed", [one["StatusCode"] for one in self.activities("workers-a")])
        self.scaling.resume_processes(AutoScalingGroupName="workers-a", ScalingProcesses=["Launch"])
        self.pass_time(0.5)
        self.assertEqual(len(self.members("workers-a")), 1)

    def test_growth_is_balanced_over_the_zones(self) -> None:
        self.scaling.set_desired_capacity(AutoScalingGroupName=MULTI, DesiredCapacity=5)
        self.pass_time(1)
        self.assertEqual(self.zones(MULTI), ["a", "a", "b", "b", "c"])

    def test_a_zone_without_capacity_is_a_failed_activity_and_tried_again(self) -> None:
        self.control("faults", {"ice": ["us-east-1a"], "retry": 30})
        self.scaling.set_desired_capacity(AutoScalingGroupName="workers-a", DesiredCapacity=2)
        self.pass_time(29)
        failed = self.activities("workers-a")
        self.assertEqual([one["StatusCode"] for one in failed], ["Failed"])
        self.assertIn(
            "We currently do not have sufficient m5.large capacity in the Availability Zone you requested (us-east-1a)",
            failed[0]["StatusMessage"],
        )
        self.pass_time(2)
        self.assertEqual(len(self.activities("workers-a")), 2)
        self.control("faults", {"retry": 30})
        self.pass_time(31)
        self.assertEqual(len(self.members("workers-a")), 2)

    def test_without_capacity_in_one_zone_another_is_taken(self) -> None:
        old = next(one["InstanceId"] for one in self.group(MULTI)["Instances"] if one["AvailabilityZone"] == "us-east-1a")
        self.control("faults", {"ice": ["us-east-1a"], "retry": 600})
        self.ec2.terminate_instances(InstanceIds=[old])
        self.pass_time(5)
        self.assertEqual(self.zones(MULTI), ["b", "b", "c"])
        self.assertIn("Failed", [one["StatusCode"] for one in self.activities(MULTI)])

    def test_a_full_zone_has_no_capacity(self) -> None:
        self.scaling.set_desired_capacity(AutoScalingGroupName="workers-a", DesiredCapacity=3)
        self.pass_time(1)
        self.assertEqual(len(self.members("workers-a")), 2)  # the third place is that of the group over all zones
        self.assertEqual(self.activities("workers-a")[0]["StatusCode"], "Failed")

    def test_pending_until_the_node_is_ready(self) -> None:
        self.cloud.bridged = True
        self.addCleanup(setattr, self.cloud, "bridged", False)
        self.scaling.set_desired_capacity(AutoScalingGroupName="workers-a", DesiredCapacity=2)
        self.pass_time(5)
        new = self.members("workers-a")[1]

        def seen() -> tuple[str, str, str]:
            return self.state(new), self.group("workers-a")["Instances"][1]["LifecycleState"], self.activities("workers-a")[0]["StatusCode"]

        self.assertEqual(seen(), ("pending", "Pending", "InProgress"))
        self.control("exchange", {new: "on"})
        self.pass_time(5)
        self.assertEqual(seen(), ("running", "Pending", "InProgress"))
        self.cloud.nodes = {**self.cloud.nodes, new: True}
        self.pass_time(0.5)
        self.assertEqual(seen(), ("running", "InService", "Successful"))

    def test_a_new_machine_has_another_name_and_place(self) -> None:
        (old,) = self.members("workers-a")
        before = self.cloud.machines.by_instance[old]
        self.ec2.terminate_instances(InstanceIds=[old])
        self.pass_time(3)
        after = self.cloud.machines.by_instance[self.members("workers-a")[0]]
        self.assertNotEqual((after.name, after.slot), (before.name, before.slot))
        self.assertTrue(after.name.startswith(f"node{after.slot}-"))


class Reset(Case):
    """Back to the start."""

    def test_all_that_a_test_may_have_left(self) -> None:
        subnet = self.cloud.layout.subnets["us-east-1a"]
        (kept,), (lost,), (cut,) = (self.members(f"workers-{zone}") for zone in "abc")
        self.scaling.suspend_processes(AutoScalingGroupName=MULTI)
        self.scaling.update_auto_scaling_group(AutoScalingGroupName=MULTI, VPCZoneIdentifier=subnet, MinSize=1, MaxSize=2)
        self.scaling.detach_instances(AutoScalingGroupName="workers-b", InstanceIds=[lost], ShouldDecrementDesiredCapacity=True)
        self.ec2.modify_instance_attribute(InstanceId=lost, DisableApiTermination={"Value": True})
        self.scaling.enter_standby(AutoScalingGroupName="workers-a", InstanceIds=[kept], ShouldDecrementDesiredCapacity=True)
        self.scaling.delete_auto_scaling_group(AutoScalingGroupName="workers-c", ForceDelete=True)
        self.control("faults", {"ice": ["us-east-1b"], "rules": [{"error": "throttle", "actions": ["Describe*"]}]})
        self.pass_time(3)
        self.control("reset")
        self.assertFalse(self.cloud.settled())
        self.pass_time(5)
        self.assertTrue(self.cloud.settled(), self.cloud.state())
        self.assertEqual(self.zones(MULTI), ["a", "b", "c"])
        self.assertEqual(self.members("workers-a"), [kept])
        self.assertEqual([self.state(one) for one in (kept, lost, cut)], ["running", "terminated", "terminated"])
        self.assertEqual(self.group(MULTI)["SuspendedProcesses"], [])
        self.assertEqual([self.group(MULTI)[size] for size in ("MinSize", "DesiredCapacity", "MaxSize")], [0, 3, 6])

    def test_a_machine_that_somebody_switched_off_is_replaced(self) -> None:
        (old,) = self.members("workers-a")
        self.cloud.bridged = True
        self.addCleanup(setattr, self.cloud, "bridged", False)
        self.control("exchange", {old: "off"})
        self.pass_time(10)
        self.assertEqual(self.members("workers-a"), [old])
        self.assertFalse(self.cloud.settled())
        self.control("reset")
        self.pass_time(3)
        self.assertNotEqual(self.members("workers-a")[-1], old)


class Shrinking(Case):
    """Of groups."""

    def test_the_fullest_zone_and_there_the_oldest_goes_first(self) -> None:
        first = self.members(MULTI)
        self.scaling.set_desired_capacity(AutoScalingGroupName=MULTI, DesiredCapacity=4)
        self.pass_time(1)
        self.scaling.set_desired_capacity(AutoScalingGroupName=MULTI, DesiredCapacity=3)
        self.pass_time(1)
        self.assertEqual(self.zones(MULTI), ["a", "b", "c"])
        self.assertEqual(len(set(first) - set(self.members(MULTI))), 1)

    def test_protected_members_stay(self) -> None:
        members = self.members(MULTI)
        self.scaling.set_instance_protection(AutoScalingGroupName=MULTI, InstanceIds=members[:2], ProtectedFromScaleIn=True)
        self.scaling.set_desired_capacity(AutoScalingGroupName=MULTI, DesiredCapacity=0)
        self.pass_time(5)
        self.assertEqual(self.members(MULTI), members[:2])

    def test_suspended_terminate_keeps_all(self) -> None:
        members = self.members(MULTI)
        self.scaling.suspend_processes(AutoScalingGroupName=MULTI, ScalingProcesses=["Terminate"])
        self.scaling.set_desired_capacity(AutoScalingGroupName=MULTI, DesiredCapacity=1)
        self.pass_time(5)
        self.assertEqual(self.members(MULTI), members)


class Rebalancing(Case):
    """Between zones."""

    def drop_zone_a(self) -> list[str]:
        """Takes it out of the group over all zones; gives all its subnets."""
        subnets = self.group(MULTI)["VPCZoneIdentifier"].split(",")
        kept = [subnet for subnet in subnets if subnet != self.cloud.layout.subnets["us-east-1a"]]
        self.scaling.update_auto_scaling_group(AutoScalingGroupName=MULTI, VPCZoneIdentifier=",".join(kept))
        return subnets

    def test_a_dropped_zone_is_left_with_the_new_member_first(self) -> None:
        subnets = self.drop_zone_a()
        self.assertEqual(self.group(MULTI)["AvailabilityZones"], ["us-east-1b", "us-east-1c"])
        self.pass_time(5)
        self.assertEqual(len(self.zones(MULTI)), 3)
        self.assertNotIn("a", self.zones(MULTI))
        causes = [one["Cause"] for one in reversed(self.activities(MULTI))]
        self.assertIn("An instance was launched to aid in balancing", causes[0])
        self.assertIn("taken out of service to aid in balancing", causes[1])
        self.scaling.update_auto_scaling_group(AutoScalingGroupName=MULTI, VPCZoneIdentifier=",".join(subnets))
        self.pass_time(5)
        self.assertEqual(self.zones(MULTI), ["a", "b", "c"])

    def test_the_old_member_stays_until_the_new_one_is_in_service(self) -> None:
        before = self.members(MULTI)
        self.cloud.bridged = True
        self.addCleanup(setattr, self.cloud, "bridged", False)
        self.drop_zone_a()
        self.pass_time(10)
        members = self.group(MULTI)["Instances"]
        self.assertEqual([one["LifecycleState"] for one in members], ["InService", "InService", "InService", "Pending"])
        self.assertEqual([one["InstanceId"] for one in members[:3]], before)

    def test_suspended_it_keeps_the_members(self) -> None:
        members = self.members(MULTI)
        self.scaling.suspend_processes(AutoScalingGroupName=MULTI, ScalingProcesses=["AZRebalance"])
        self.drop_zone_a()
        self.pass_time(10)
        self.assertEqual(self.members(MULTI), members)
        gone = next(one["InstanceId"] for one in self.group(MULTI)["Instances"] if one["AvailabilityZone"] == "us-east-1a")
        self.ec2.terminate_instances(InstanceIds=[gone])
        self.pass_time(5)
        self.assertNotIn("a", self.zones(MULTI))
        self.assertEqual(len(self.zones(MULTI)), 3)

    def test_suspended_terminate_grows_the_group_by_one(self) -> None:
        self.scaling.suspend_processes(AutoScalingGroupName=MULTI, ScalingProcesses=["Terminate"])
        self.drop_zone_a()
        self.pass_time(10)
        self.assertEqual(len(self.zones(MULTI)), 4)
        self.scaling.resume_processes(AutoScalingGroupName=MULTI)
        self.pass_time(5)
        self.assertEqual((len(self.zones(MULTI)), "a" in self.zones(MULTI)), (3, False))

    def test_resumed_it_evens_out_what_an_outage_left(self) -> None:
        old = next(one["InstanceId"] for one in self.group(MULTI)["Instances"] if one["AvailabilityZone"] == "us-east-1c")
        self.scaling.suspend_processes(AutoScalingGroupName=MULTI, ScalingProcesses=["AZRebalance"])
        self.control("faults", {"ice": ["us-east-1c"]})
        self.ec2.terminate_instances(InstanceIds=[old])
        self.pass_time(5)
        self.assertEqual(self.zones(MULTI), ["a", "a", "b"])
        self.control("faults", {})
        self.pass_time(20)
        self.assertEqual(self.zones(MULTI), ["a", "a", "b"])
        self.scaling.resume_processes(AutoScalingGroupName=MULTI)
        self.pass_time(10)
        self.assertEqual(self.zones(MULTI), ["a", "b", "c"])
