//! A small Auto Scaling service behind the real SDK, for tests: a few groups and subnets, and what others do meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use super::Cloud;
use crate::cluster::Group;
use crate::record::AwsId;

/// One group, which the service changes as it is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeScaling {
    /// The group.
    pub(crate) group: Arc<Mutex<Group>>,
    /// Subnets that exist.
    pub(crate) subnets: Arc<Mutex<BTreeSet<String>>>,
    /// Actions in the order of their calls.
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
    /// Actions that are throttled once each.
    pub(crate) throttled: Arc<Mutex<BTreeSet<String>>>,
}

impl FakeScaling {
    /// A service with this group, whose subnets all exist.
    pub(crate) fn new(group: Group) -> Self {
        let fake = Self::default();
        fake.subnets.lock().unwrap().extend(group.subnets.iter().cloned());
        *fake.group.lock().unwrap() = group;
        fake
    }

    /// The SDK's clients in front of it.
    pub(crate) fn cloud(&self) -> Cloud {
        cloud_of(self.clone())
    }

    fn answer(&self, fields: &BTreeMap<String, String>) -> (u16, String) {
        let action = fields["Action"].clone();
        self.calls.lock().unwrap().push(action.clone());
        if self.throttled.lock().unwrap().remove(&action) {
            let error = "<Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>";
            return (400, format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"));
        }
        let listed = |prefix: &str| -> BTreeSet<String> {
            fields.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, value)| value.clone()).collect()
        };
        let mut group = self.group.lock().unwrap();
        let mut result = String::new();
        match action.as_str() {
            "DescribeAutoScalingGroups" => result = described(&group),
            "DescribeSubnets" => {
                let wanted = listed("Filter.1.Value");
                let there = self
                    .subnets
                    .lock()
                    .unwrap()
                    .intersection(&wanted)
                    .fold(String::new(), |text, id| text + &format!("<item><subnetId>{id}</subnetId></item>"));
                return (
                    200,
                    format!("<DescribeSubnetsResponse><subnetSet>{there}</subnetSet></DescribeSubnetsResponse>"),
                );
            }
            "SuspendProcesses" => group.suspended.extend(listed("ScalingProcesses")),
            "ResumeProcesses" => {
                group.suspended = group.suspended.difference(&listed("ScalingProcesses")).cloned().collect();
            }
            "UpdateAutoScalingGroup" => {
                group.subnets = fields["VPCZoneIdentifier"].split(',').map(ToOwned::to_owned).collect();
            }
            "CreateOrUpdateTags" | "DeleteTags" => {
                for number in 1..=3 {
                    let field = |name: &str| fields.get(&format!("Tags.member.{number}.{name}")).cloned();
                    let Some(key) = field("Key") else { break };
                    match field("Value") {
                        Some(value) if action == "CreateOrUpdateTags" => group.tags.insert(key, value),
                        _ => group.tags.remove(&key),
                    };
                }
            }
            other => panic!("the test's service does not do {other}"),
        }
        (200, format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"))
    }
}

/// The SDK's clients in front of a service.
pub(super) fn cloud_of(service: impl HttpClient + 'static) -> Cloud {
    let config = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("k", "s", None, None, "test")))
        .retry_config(RetryConfig::disabled())
        .http_client(service)
        .build();
    Cloud {
        id: AwsId { cluster: "shop".into(), ..AwsId::default() },
        expiry: None,
        ec2: aws_sdk_ec2::Client::new(&config),
        scaling: aws_sdk_autoscaling::Client::new(&config),
        iam: aws_sdk_iam::Client::new(&config),
        leash: crate::cluster::Leash::default(),
    }
}

fn described(group: &Group) -> String {
    let members =
        |items: Vec<String>| items.iter().fold(String::new(), |text, item| text + "<member>" + item + "</member>");
    let zones = members(group.zones.iter().cloned().collect());
    let tags = group.tags.iter().map(|(key, value)| format!("<Key>{key}</Key><Value>{value}</Value>")).collect();
    let suspended = group.suspended.iter().map(|name| format!("<ProcessName>{name}</ProcessName>")).collect();
    let subnets: Vec<&str> = group.subnets.iter().map(String::as_str).collect();
    format!(
        "<AutoScalingGroups><member><AutoScalingGroupName>{}</AutoScalingGroupName><AutoScalingGroupARN>{}</AutoScalingGroupARN>\
         <DesiredCapacity>{}</DesiredCapacity><AvailabilityZones>{zones}</AvailabilityZones><VPCZoneIdentifier>{}</VPCZoneIdentifier>\
         <SuspendedProcesses>{}</SuspendedProcesses><Tags>{}</Tags></member></AutoScalingGroups>",
        group.name,
        group.arn,
        group.desired,
        subnets.join(","),
        members(suspended),
        members(tags)
    )
}

impl HttpConnector for FakeScaling {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        let (status, text) = self.answer(&form_urlencoded::parse(body).into_owned().collect());
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(text))))
    }
}

impl HttpClient for FakeScaling {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
