# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""What is there at the start and again after a reset: a VPC, a subnet and a group per zone, and a group over all zones."""

from __future__ import annotations

from typing import Any

from model import CLUSTER_TAG
from shim import Moto

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
KIND = "m5.large"
# Sizes are minimum, desired and maximum; zones are indices.
GROUPS = {
    "workers-a": ((0, 1, 3), (0,)),
    "workers-b": ((0, 1, 3), (1,)),
    "workers-c": ((0, 1, 3), (2,)),
    "workers-multi": ((0, 3, 6), (0, 1, 2)),
}


class Layout:
    """Made through moto's own calls, once per account."""

    def __init__(self, moto: Moto) -> None:
        self.moto = moto
        ec2 = moto.ec2
        # Its addresses are the nodes' own, so that what DescribeInstances says is where a node answers.
        self.vpc: str = ec2.create_vpc("10.89.0.0/16").id
        ec2.create_tags([self.vpc], {"Name": "squall-testbed", CLUSTER_TAG: "owned"})
        self.subnets: dict[str, str] = {}
        for number, zone in enumerate(ZONES):
            subnet = ec2.create_subnet(self.vpc, f"10.89.{16 * (number + 1)}.0/20", availability_zone=zone)
            ec2.create_tags([subnet.id], {"Name": f"squall-testbed-{zone}", CLUSTER_TAG: "owned"})
            self.subnets[zone] = subnet.id
        image = ec2.describe_images()[0].id
        self.template: str = ec2.create_launch_template("workers", "", {"ImageId": image, "InstanceType": KIND}, {}).id
        self.default_acl = next(acl for acl in moto.acls() if acl.default and acl.vpc_id == self.vpc)
        for name in GROUPS:
            self._create(name)

    def _create(self, name: str) -> None:
        (least, wanted, most), zones = GROUPS[name]
        self.moto.autoscaling.create_auto_scaling_group(
            name=name,
            availability_zones=[],
            desired_capacity=wanted,
            max_size=most,
            min_size=least,
            launch_config_name="",
            launch_template={"LaunchTemplateId": self.template, "Version": "$Latest"},
            vpc_zone_identifier=",".join(self.subnets[ZONES[zone]] for zone in zones),
            default_cooldown=None,
            health_check_period=None,
            health_check_type=None,
            load_balancers=[],
            target_group_arns=[],
            placement_group=None,
            termination_policies=[],
            tags=self._tags(),
        )

    def _tags(self) -> list[dict[str, Any]]:
        return [{"Key": CLUSTER_TAG, "Value": "owned", "PropagateAtLaunch": True}]

    def restore(self) -> None:
        """Groups, ACLs and their associations as at the start. Members are the reconciler's."""
        names = {group.name for group in self.moto.groups()}
        for name in names - GROUPS.keys():
            self.moto.forget_group(name)
        for name in GROUPS.keys() - names:
            self._create(name)
        for group in self.moto.groups():
            group.sizes, zones = GROUPS[group.name]
            group.subnets = [self.subnets[ZONES[zone]] for zone in zones]
            group.suspensions.clear()
            group.tags = self._tags()
        for _, subnet, acl in self.moto.associated():
            if subnet in self.subnets.values() and acl is not self.default_acl:
                self.moto.associate(self.default_acl, subnet)
        for acl in self.moto.acls():
            if not acl.default:
                self.moto.ec2.delete_network_acl(acl.id)
