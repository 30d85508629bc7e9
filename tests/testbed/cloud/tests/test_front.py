# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""The record of calls, and the faults that tests ask for."""

from __future__ import annotations

import json

from support import Case

NOBODY = "i-0123456789abcdef0"


class Record(Case):
    """Of every call."""

    def test_calls_are_written_down(self) -> None:
        (member,) = self.members("workers-a")
        self.control("reset")
        self.refused("DryRunOperation", self.world.client("ec2", "somebody").terminate_instances, InstanceIds=[member], DryRun=True)
        self.scaling.suspend_processes(AutoScalingGroupName="workers-a", ScalingProcesses=["Launch"])
        calls = self.control("calls")
        self.assertEqual(
            [(one["service"], one["action"], one["key"], one["status"], one["error"], one["dry_run"]) for one in calls],
            [
                ("ec2", "TerminateInstances", "somebody", 412, "DryRunOperation", True),
                ("autoscaling", "SuspendProcesses", "tests", 200, None, False),
            ],
        )
        self.assertEqual(calls[1]["params"], {"AutoScalingGroupName": "workers-a", "ScalingProcesses.member.1": "Launch"})
        self.assertEqual([json.loads(line) for line in self.world.log.getvalue().splitlines()[-2:]], calls)

    def test_what_moto_can_not_do_is_no_error_of_aws(self) -> None:
        error = self.refused("TestbedNotImplemented", self.scaling.start_instance_refresh, AutoScalingGroupName="workers-a")
        self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
        self.refused("TestbedNotImplemented", self.ec2.describe_instances, Filters=[{"Name": "no-such-filter", "Values": ["x"]}])


class Faults(Case):
    """Of calls."""

    def test_throttling_by_service(self) -> None:
        self.control("faults", {"rules": [{"error": "throttle", "first": 2}]})
        error = self.refused("RequestLimitExceeded", self.ec2.describe_instances)
        self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], 503)
        self.refused("Throttling", self.scaling.describe_auto_scaling_groups)
        self.ec2.describe_instances()

    def test_named_actions_after_some_calls(self) -> None:
        rule = {"actions": ["Terminate*", "autoscaling:SuspendProcesses"], "error": "ResourceContention", "skip": 1, "first": 1}
        self.control("faults", {"rules": [rule]})
        suspend = {"AutoScalingGroupName": "workers-a", "ScalingProcesses": ["Launch"]}
        self.ec2.describe_instances()
        self.scaling.suspend_processes(**suspend)
        self.refused("ResourceContention", self.scaling.suspend_processes, **suspend)
        self.scaling.suspend_processes(**suspend)

    def test_errors_by_name(self) -> None:
        for code, status in (("ExpiredToken", 403), ("ScalingActivityInProgress", 400), ("InternalError", 500), ("Unavailable", 503)):
            self.control("faults", {"rules": [{"error": code, "key": "tests"}]})
            error = self.refused(code, self.world.client("sts").get_caller_identity)
            self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], status)
            self.world.client("sts", "somebody").get_caller_identity()

    def test_a_refused_call_changes_nothing(self) -> None:
        (member,) = self.members("workers-a")
        self.control("faults", {"rules": [{"error": "InternalError", "actions": ["TerminateInstances"]}]})
        self.refused("InternalError", self.ec2.terminate_instances, InstanceIds=[member])
        self.assertEqual(self.state(member), "running")

    def test_delays(self) -> None:
        self.control("faults", {"rules": [{"delay": 7, "actions": ["sts:*"]}]})
        self.world.client("sts").get_caller_identity()
        self.ec2.describe_instances()
        self.assertEqual(self.world.slept, [7])
        self.control("faults", {"rules": [{"delay": 1}, {"delay": 2, "error": "throttle"}, {"delay": 4}]})
        self.refused("RequestLimitExceeded", self.ec2.describe_instances)
        self.assertEqual(self.world.slept, [7, 1, 2])

    def test_stale_answers(self) -> None:
        (member,) = self.members("workers-a")
        self.control("faults", {"stale": 10})
        self.scaling.suspend_processes(AutoScalingGroupName="workers-a")
        self.ec2.terminate_instances(InstanceIds=[member])
        seen = []
        for _ in range(3):
            seen.append((self.state(member), len(self.group("workers-a")["SuspendedProcesses"])))
            self.pass_time(5.5)
            self.world.front.look()
        self.assertEqual(seen, [("running", 0), ("running", 0), ("running", 0)])
        self.assertEqual((self.state(member), len(self.group("workers-a")["SuspendedProcesses"])), ("terminated", 9))

    def test_accounts(self) -> None:
        self.control("faults", {"accounts": {"stranger": "999988887777"}})
        self.assertEqual(self.world.client("sts", "stranger").get_caller_identity()["Account"], "999988887777")
        self.assertEqual(self.world.client("sts").get_caller_identity()["Account"], "123456789012")
        self.assertEqual(self.world.client("autoscaling", "stranger").describe_auto_scaling_groups()["AutoScalingGroups"], [])
        (member,) = self.members("workers-a")
        self.refused("InvalidInstanceID.NotFound", self.world.client("ec2", "stranger").terminate_instances, InstanceIds=[member])

    def test_policies(self) -> None:
        allowed = {"Effect": "Allow", "Action": ["ec2:Describe*", "autoscaling:SuspendProcesses"], "Resource": "*"}
        denied = {"Effect": "Deny", "Action": "ec2:DescribeVpcs", "Resource": "*"}
        self.control("faults", {"policies": {"limited": {"Version": "2012-10-17", "Statement": [allowed, denied]}}})
        ec2, scaling = self.world.client("ec2", "limited"), self.world.client("autoscaling", "limited")
        ec2.describe_instances()
        scaling.suspend_processes(AutoScalingGroupName="workers-a", ScalingProcesses=["Launch"])
        self.world.client("sts", "limited").get_caller_identity()
        self.refused("UnauthorizedOperation", ec2.describe_vpcs)
        error = self.refused("UnauthorizedOperation", ec2.terminate_instances, InstanceIds=[NOBODY], DryRun=True)
        self.assertIn("ec2:TerminateInstances", str(error))
        self.refused("AccessDenied", scaling.resume_processes, AutoScalingGroupName="workers-a")
        self.ec2.describe_vpcs()

    def test_simulated_policies(self) -> None:
        simulate = {"Effect": "Allow", "Action": ["iam:SimulatePrincipalPolicy", "ec2:Describe*"], "Resource": "*"}
        denied = {"Effect": "Deny", "Action": "ec2:DescribeVpcs", "Resource": "*"}
        self.control("faults", {"policies": {"limited": {"Statement": [simulate, denied]}, "mute": {"Statement": [denied]}}})
        caller = self.world.client("sts", "limited").get_caller_identity()["Arn"]
        actions = {"ec2:DescribeSubnets": "allowed", "ec2:DescribeVpcs": "explicitDeny", "ec2:RunInstances": "implicitDeny"}
        ask = {"PolicySourceArn": caller, "ActionNames": list(actions), "ResourceArns": ["*", "arn:aws:ec2:us-east-1:1:vpc/vpc-1"]}
        results = self.world.client("iam", "limited").simulate_principal_policy(**ask)["EvaluationResults"]
        self.assertEqual(len(results), 6)
        for result in results:
            self.assertEqual(result["EvalDecision"], actions[result["EvalActionName"]])
        self.refused("AccessDenied", self.world.client("iam", "mute").simulate_principal_policy, **ask)

    def test_one_document_is_all_that_is_in_force(self) -> None:
        self.control("faults", {"rules": [{"error": "throttle"}], "ice": ["us-east-1a"]})
        self.assertEqual(self.control("faults"), {"rules": [{"error": "throttle"}], "ice": ["us-east-1a"]})
        self.control("faults", {"replace": 3})
        self.ec2.describe_instances()
        self.assertEqual((self.cloud.settings.ice, self.cloud.settings.replace), (frozenset(), 3))
        for wrong in ({"rulez": []}, {"rules": [{"actoins": ["X"]}]}):
            with self.assertRaises(ValueError):
                self.control("faults", wrong)
        self.assertEqual(self.cloud.settings.replace, 3)
