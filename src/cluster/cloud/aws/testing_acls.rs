//! Network ACLs and the subnets under them behind the real SDK, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use super::Cloud;
use super::testing::cloud_of;
use crate::cluster::NetworkAcl;

/// One network, which the service changes as it is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeAcls {
    /// Its ACLs by their ids.
    pub(crate) acls: Arc<Mutex<BTreeMap<String, NetworkAcl>>>,
    /// How many deletions are refused first, because a subnet still counts as being under the ACL.
    pub(crate) lags: Arc<Mutex<u32>>,
    /// How many ids were given.
    given: Arc<Mutex<u32>>,
}

impl FakeAcls {
    /// A service with these ACLs of `vpc-1`, each with the subnets under it. The first is the default one.
    pub(crate) fn new(acls: &[(&str, &[&str])]) -> Self {
        let fake = Self::default();
        for (number, (id, subnets)) in acls.iter().enumerate() {
            let associations = subnets.iter().map(|subnet| ((*subnet).to_owned(), fake.id("aclassoc"))).collect();
            let acl = NetworkAcl {
                id: (*id).to_owned(),
                vpc: "vpc-1".into(),
                is_default: number == 0,
                associations,
                ..NetworkAcl::default()
            };
            fake.acls.lock().unwrap().insert((*id).to_owned(), acl);
        }
        fake
    }

    /// The SDK's clients in front of it.
    pub(crate) fn cloud(&self) -> Cloud {
        cloud_of(self.clone())
    }

    /// What a subnet is under.
    pub(crate) fn under(&self, subnet: &str) -> String {
        let acls = self.acls.lock().unwrap();
        acls.values().find(|acl| acl.associations.contains_key(subnet)).map(|acl| acl.id.clone()).unwrap_or_default()
    }

    /// Puts a subnet under an ACL, as somebody would.
    pub(crate) fn put(&self, subnet: &str, acl: &str) {
        let id = self.id("aclassoc");
        let mut acls = self.acls.lock().unwrap();
        acls.values_mut().for_each(|one| drop(one.associations.remove(subnet)));
        acls.get_mut(acl).unwrap().associations.insert(subnet.to_owned(), id);
    }

    fn id(&self, kind: &str) -> String {
        let mut given = self.given.lock().unwrap();
        *given += 1;
        format!("{kind}-{given}")
    }

    fn answer(&self, fields: &BTreeMap<String, String>) -> Result<String, &'static str> {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let body = match fields["Action"].as_str() {
            "DescribeNetworkAcls" => {
                let acls = self.acls.lock().unwrap();
                let (filter, value, id) = (field("Filter.1.Name"), field("Filter.1.Value.1"), field("NetworkAclId.1"));
                let matches = |acl: &&NetworkAcl| match filter.as_str() {
                    "association.subnet-id" => acl.associations.contains_key(&value),
                    "tag-key" => acl.tags.contains_key(&value),
                    "vpc-id" => acl.vpc == value,
                    _ => acl.id == id,
                };
                let found: Vec<String> = acls.values().filter(matches).map(described).collect();
                if found.is_empty() && !id.is_empty() {
                    return Err("InvalidNetworkAclID.NotFound");
                }
                format!("<networkAclSet>{}</networkAclSet>", found.concat())
            }
            "CreateNetworkAcl" => {
                let tag = |number: usize| {
                    let part = |part: &str| fields.get(&format!("TagSpecification.1.Tag.{number}.{part}")).cloned();
                    Some((part("Key")?, part("Value")?))
                };
                let (id, tags) = (self.id("acl"), (1..=9).map_while(tag).collect());
                let acl = NetworkAcl { id: id.clone(), vpc: field("VpcId"), tags, ..NetworkAcl::default() };
                self.acls.lock().unwrap().insert(id.clone(), acl);
                format!("<networkAcl><networkAclId>{id}</networkAclId></networkAcl>")
            }
            "ReplaceNetworkAclAssociation" => {
                let association = field("AssociationId");
                let acls = self.acls.lock().unwrap().clone();
                let subnet = acls.values().flat_map(|acl| &acl.associations).find(|(_, id)| **id == association);
                self.put(subnet.ok_or("InvalidAssociationID.NotFound")?.0, &field("NetworkAclId"));
                String::new()
            }
            "DeleteNetworkAcl" => {
                let (id, mut lags, mut acls) =
                    (field("NetworkAclId"), self.lags.lock().unwrap(), self.acls.lock().unwrap());
                if *lags > 0 || !acls[&id].associations.is_empty() {
                    *lags = lags.saturating_sub(1);
                    return Err("DependencyViolation");
                }
                acls.remove(&id);
                String::new()
            }
            other => panic!("the test's service does not do {other}"),
        };
        Ok(format!("<{0}Response>{body}</{0}Response>", fields["Action"]))
    }
}

fn described(acl: &NetworkAcl) -> String {
    let associations = acl.associations.iter().map(|(subnet, id)| {
        format!("<item><networkAclAssociationId>{id}</networkAclAssociationId><subnetId>{subnet}</subnetId></item>")
    });
    let tags = acl.tags.iter().map(|(key, value)| format!("<item><key>{key}</key><value>{value}</value></item>"));
    format!(
        "<item><networkAclId>{}</networkAclId><vpcId>{}</vpcId><default>{}</default><associationSet>{}</associationSet><tagSet>{}</tagSet></item>",
        acl.id,
        acl.vpc,
        acl.is_default,
        associations.collect::<String>(),
        tags.collect::<String>()
    )
}

impl HttpConnector for FakeAcls {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        let (status, text) = match self.answer(&form_urlencoded::parse(body).into_owned().collect()) {
            Ok(text) => (200, text),
            Err(code) => (
                400,
                format!(
                    "<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"
                ),
            ),
        };
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(text))))
    }
}

impl HttpClient for FakeAcls {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
