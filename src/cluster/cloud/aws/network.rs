//! Network ACLs, and what has an interface in a subnet.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    Filter, NetworkAcl as SdkAcl, NetworkInterface, ResourceType, RuleAction, Tag, TagSpecification,
};

use super::{Cloud, failed};
use crate::cluster::cloud::{CloudError, Interface, NetworkAcl, again};

impl Cloud {
    /// Every interface in these subnets, in the order of their ids.
    ///
    /// # Errors
    ///
    /// When the service refuses, or does not answer in several tries; so for every call here.
    pub async fn interfaces(&self, subnets: &[String]) -> Result<Vec<Interface>, CloudError> {
        let filter = Filter::builder().name("subnet-id").set_values(Some(subnets.to_vec())).build();
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let page = again(|| async {
                let call = self.ec2.describe_network_interfaces().filters(filter.clone()).set_next_token(next.clone());
                call.send().await.map_err(failed("ec2:DescribeNetworkInterfaces"))
            })
            .await?;
            found.extend(page.network_interfaces().iter().map(interface));
            next = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if next.is_none() {
                found.sort_by(|a: &Interface, b| a.id.cmp(&b.id));
                return Ok(found);
            }
        }
    }

    /// The network ACLs that pass a filter of the service (`association.subnet-id`, `tag-key`, `vpc-id`), in the order of their ids.
    /// An association that is read, and an ACL that carries the note `of`, stand for their subnet from then on: what may be done to
    /// the subnet may be done to them.
    ///
    /// # Errors
    ///
    /// As [`Cloud::interfaces`].
    pub async fn acls(&self, filter: &str, values: &[String], of: &str) -> Result<Vec<NetworkAcl>, CloudError> {
        let filter = Filter::builder().name(filter).set_values(Some(values.to_vec())).build();
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let page = again(|| async {
                let call = self.ec2.describe_network_acls().filters(filter.clone()).set_next_token(next.clone());
                call.send().await.map_err(failed("ec2:DescribeNetworkAcls"))
            })
            .await?;
            found.extend(page.network_acls().iter().map(acl));
            next = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if next.is_none() {
                break;
            }
        }
        for acl in &found {
            for (subnet, association) in &acl.associations {
                self.leash.stand_for(association, subnet);
            }
            if let Some(subnet) = acl.tags.get(of) {
                self.leash.stand_for(&acl.id, subnet);
            }
        }
        found.sort_by(|a: &NetworkAcl, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Whether there is a network ACL of this id.
    ///
    /// # Errors
    ///
    /// As [`Cloud::interfaces`].
    pub async fn has_acl(&self, id: &str) -> Result<bool, CloudError> {
        let answer = again(|| async {
            let call = self.ec2.describe_network_acls().network_acl_ids(id);
            call.send().await.map_err(failed("ec2:DescribeNetworkAcls"))
        });
        match answer.await {
            Ok(page) => Ok(!page.network_acls().is_empty()),
            Err(e) if e.is_unknown_acl() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Makes a network ACL, which denies everything as every new one does, with these tags from its first instant. It stands for `subnet`
    /// from then on. The same token makes it once, however often the call is repeated. Its id.
    ///
    /// # Errors
    ///
    /// As [`Cloud::interfaces`]; of a dry run always, [`CloudError::would_succeed`] when it would be done.
    pub async fn create_acl(
        &self,
        vpc: &str,
        subnet: &str,
        tags: &BTreeMap<String, String>,
        token: &str,
        dry_run: bool,
    ) -> Result<String, CloudError> {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let tags = TagSpecification::builder().resource_type(ResourceType::NetworkAcl).set_tags(Some(tags)).build();
        let answer = again(|| async {
            let call = self.ec2.create_network_acl().vpc_id(vpc).tag_specifications(tags.clone());
            let call = call.client_token(token).set_dry_run(dry_run.then_some(true));
            call.send().await.map_err(failed("ec2:CreateNetworkAcl"))
        })
        .await?;
        let id = answer.network_acl().and_then(|acl| acl.network_acl_id()).unwrap_or_default().to_owned();
        self.leash.stand_for(&id, subnet);
        Ok(id)
    }

    /// Puts a subnet under another network ACL. The association has another id afterwards; so a call that arrived although its answer
    /// did not is refused when it is repeated.
    ///
    /// # Errors
    ///
    /// As [`Cloud::interfaces`]; of a dry run always, [`CloudError::would_succeed`] when it would be done.
    pub async fn associate_acl(&self, association: &str, acl: &str, dry_run: bool) -> Result<(), CloudError> {
        again(|| async {
            let call = self.ec2.replace_network_acl_association().association_id(association).network_acl_id(acl);
            let call = call.set_dry_run(dry_run.then_some(true));
            call.send().await.map(drop).map_err(failed("ec2:ReplaceNetworkAclAssociation"))
        })
        .await
    }

    /// Deletes a network ACL that no subnet is under. One that is gone is fine.
    ///
    /// # Errors
    ///
    /// As [`Cloud::interfaces`].
    pub async fn delete_acl(&self, id: &str) -> Result<(), CloudError> {
        let answer = again(|| async {
            let call = self.ec2.delete_network_acl().network_acl_id(id);
            call.send().await.map(drop).map_err(failed("ec2:DeleteNetworkAcl"))
        });
        match answer.await {
            Err(e) if e.is_unknown_acl() => Ok(()),
            answer => answer,
        }
    }
}

fn interface(found: &NetworkInterface) -> Interface {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let attachment = found.attachment();
    Interface {
        id: text(found.network_interface_id()),
        subnet: text(found.subnet_id()),
        description: text(found.description()),
        kind: found.interface_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        instance: attachment.and_then(|attachment| attachment.instance_id()).map(ToOwned::to_owned),
        owner: attachment.and_then(|attachment| attachment.instance_owner_id()).map(ToOwned::to_owned),
        attached: attachment.is_some(),
    }
}

fn acl(found: &SdkAcl) -> NetworkAcl {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let tags = found.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), text(tag.value()))));
    let associations = found.associations().iter();
    NetworkAcl {
        id: text(found.network_acl_id()),
        vpc: text(found.vpc_id()),
        is_default: found.is_default().unwrap_or_default(),
        allows: found.entries().iter().any(|entry| entry.rule_action() == Some(&RuleAction::Allow)),
        tags: tags.collect(),
        associations: associations
            .filter_map(|one| Some((one.subnet_id()?.to_owned(), text(one.network_acl_association_id()))))
            .collect(),
    }
}
