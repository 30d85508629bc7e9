//! Instances and subnets.

use aws_sdk_ec2::types::InstanceAttributeName;

use super::{Cloud, failed};
use crate::cluster::cloud::{CloudError, Instance, Subnet, again};

/// Ids in one call: far fewer than the service takes, and few calls all the same.
const BATCH: usize = 100;

impl Cloud {
    /// These instances, in the order of their ids. One that is not known (any more) is left out, and the others are still answered.
    ///
    /// # Errors
    ///
    /// When the service refuses, or does not answer in several tries; so for every call here.
    pub async fn instances(&self, ids: &[String]) -> Result<Vec<Instance>, CloudError> {
        let mut found = Vec::new();
        for batch in ids.chunks(BATCH) {
            // By filter: an id that is not known fails a whole call that names it otherwise.
            let filter =
                aws_sdk_ec2::types::Filter::builder().name("instance-id").set_values(Some(batch.to_vec())).build();
            let mut next = None;
            loop {
                let page = again(|| async {
                    let call = self.ec2.describe_instances().filters(filter.clone()).set_next_token(next.clone());
                    call.send().await.map_err(failed("ec2:DescribeInstances"))
                })
                .await?;
                found.extend(
                    page.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances).map(instance),
                );
                next = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
                if next.is_none() {
                    break;
                }
            }
        }
        found.sort_by(|a: &Instance, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Whether the instance is protected from being terminated by this API.
    ///
    /// # Errors
    ///
    /// As [`Cloud::instances`].
    pub async fn is_protected(&self, id: &str) -> Result<bool, CloudError> {
        let answer = again(|| async {
            let call = self.ec2.describe_instance_attribute().instance_id(id);
            let call = call.attribute(InstanceAttributeName::DisableApiTermination);
            call.send().await.map_err(failed("ec2:DescribeInstanceAttribute"))
        })
        .await?;
        Ok(answer
            .disable_api_termination()
            .and_then(aws_sdk_ec2::types::AttributeBooleanValue::value)
            .unwrap_or_default())
    }

    /// Terminates one instance. With `power_loss` its operating system is not shut down first. One at a time: a single protected
    /// instance vetoes every other of its zone in the same call, and an unknown one the whole call.
    ///
    /// # Errors
    ///
    /// As [`Cloud::instances`]; of a dry run always, [`CloudError::would_succeed`] when it would be done.
    pub async fn terminate(&self, id: &str, power_loss: bool, dry_run: bool) -> Result<(), CloudError> {
        again(|| async {
            let call = self.ec2.terminate_instances().instance_ids(id);
            let call = call.set_skip_os_shutdown(power_loss.then_some(true)).set_dry_run(dry_run.then_some(true));
            call.send().await.map(drop).map_err(failed("ec2:TerminateInstances"))
        })
        .await
    }

    /// Has the group terminate one of its instances and start another: lifecycle hooks run, the wanted size stays.
    ///
    /// # Errors
    ///
    /// As [`Cloud::instances`].
    pub async fn scale_in(&self, id: &str) -> Result<(), CloudError> {
        again(|| async {
            let call = self.scaling.terminate_instance_in_auto_scaling_group().instance_id(id);
            let call = call.should_decrement_desired_capacity(false);
            call.send().await.map(drop).map_err(failed("autoscaling:TerminateInstanceInAutoScalingGroup"))
        })
        .await
    }

    /// These subnets, in the order of their ids; one that is not known is left out.
    ///
    /// # Errors
    ///
    /// As [`Cloud::instances`].
    pub async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, CloudError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let filter = aws_sdk_ec2::types::Filter::builder().name("subnet-id").set_values(Some(ids.to_vec())).build();
        let page = again(|| async {
            let call = self.ec2.describe_subnets().filters(filter.clone());
            call.send().await.map_err(failed("ec2:DescribeSubnets"))
        })
        .await?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let mut subnets: Vec<Subnet> = page
            .subnets()
            .iter()
            .map(|subnet| Subnet {
                id: text(subnet.subnet_id()),
                zone: text(subnet.availability_zone()),
                zone_id: text(subnet.availability_zone_id()),
            })
            .collect();
        subnets.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(subnets)
    }
}

fn instance(found: &aws_sdk_ec2::types::Instance) -> Instance {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let tags = found.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), text(tag.value()))));
    let state = found.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned());
    let interfaces = found.network_interfaces().iter().filter_map(|interface| interface.subnet_id());
    let operator = found.operator().filter(|operator| operator.managed().unwrap_or_default());
    Instance {
        id: text(found.instance_id()),
        state: state.unwrap_or_default(),
        zone: text(found.placement().and_then(|placement| placement.availability_zone())),
        subnets: interfaces.chain(found.subnet_id()).map(ToOwned::to_owned).collect(),
        tags: tags.collect(),
        operator: operator.map(|operator| text(operator.principal())),
    }
}
