//! Auto Scaling groups: read, held, given back.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::{AutoScalingGroup, Filter, Tag};

use super::{Cloud, failed};
use crate::cluster::cloud::{Activity, CloudError, Group, Member, again};

impl Cloud {
    /// The groups that carry the cluster's tag.
    ///
    /// # Errors
    ///
    /// When the service refuses, or does not answer in several tries; so for every call here.
    pub async fn groups(&self) -> Result<Vec<Group>, CloudError> {
        let filter = Filter::builder().name("tag-key").values(self.id().tag()).build();
        let mut groups = Vec::new();
        let mut next = None;
        loop {
            let page = again(|| async {
                let call =
                    self.scaling.describe_auto_scaling_groups().filters(filter.clone()).set_next_token(next.clone());
                call.send().await.map_err(failed("autoscaling:DescribeAutoScalingGroups"))
            })
            .await?;
            groups.extend(page.auto_scaling_groups().iter().map(group));
            next = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if next.is_none() {
                groups.sort_by(|a: &Group, b| a.name.cmp(&b.name));
                return Ok(groups);
            }
        }
    }

    /// One group; `None` when there is none of this name.
    ///
    /// # Errors
    ///
    /// As [`Cloud::groups`].
    pub async fn group(&self, name: &str) -> Result<Option<Group>, CloudError> {
        let page = again(|| async {
            let call = self.scaling.describe_auto_scaling_groups().auto_scaling_group_names(name);
            call.send().await.map_err(failed("autoscaling:DescribeAutoScalingGroups"))
        })
        .await?;
        Ok(page.auto_scaling_groups().iter().map(group).find(|group| group.name == name))
    }

    /// Suspends these processes of a group. An empty set is nothing to do here, where it would mean *all* to the service.
    ///
    /// # Errors
    ///
    /// As [`Cloud::groups`].
    pub async fn suspend(&self, name: &str, processes: &BTreeSet<String>) -> Result<(), CloudError> {
        if processes.is_empty() {
            return Ok(());
        }
        again(|| async {
            let call = self.scaling.suspend_processes().auto_scaling_group_name(name);
            let call = call.set_scaling_processes(Some(processes.iter().cloned().collect()));
            call.send().await.map(drop).map_err(failed("autoscaling:SuspendProcesses"))
        })
        .await
    }

    /// Resumes these processes of a group. An empty set is nothing to do here, where it would mean *all* to the service.
    ///
    /// # Errors
    ///
    /// As [`Cloud::groups`].
    pub async fn resume(&self, name: &str, processes: &BTreeSet<String>) -> Result<(), CloudError> {
        if processes.is_empty() {
            return Ok(());
        }
        again(|| async {
            let call = self.scaling.resume_processes().auto_scaling_group_name(name);
            let call = call.set_scaling_processes(Some(processes.iter().cloned().collect()));
            call.send().await.map(drop).map_err(failed("autoscaling:ResumeProcesses"))
        })
        .await
    }

    /// Sets the subnets in which a group launches.
    ///
    /// # Errors
    ///
    /// As [`Cloud::groups`].
    pub async fn set_subnets(&self, name: &str, subnets: &BTreeSet<String>) -> Result<(), CloudError> {
        let list = subnets.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        again(|| async {
            let call =
                self.scaling.update_auto_scaling_group().auto_scaling_group_name(name).vpc_zone_identifier(&list);
            call.send().await.map(drop).map_err(failed("autoscaling:UpdateAutoScalingGroup"))
        })
        .await
    }

    /// Puts tags on a group, all in one call; its instances don't get them.
    ///
    /// # Errors
    ///
    /// As [`Cloud::groups`].
    pub async fn tag(&self, name: &str, tags: &BTreeMap<String, String>) -> Result<(), CloudError> {
        let tags: Vec<Tag> = tags.iter().map(|(key, value)| tag(name, key).value(value).build()).collect();
        again(|| async {
            let call = self.scaling.create_or_update_tags().set_tags(Some(tags.clone()));
            call.send().await.map(drop).map_err(failed("autoscaling:CreateOrUpdateTags"))
        })
        .await
    }

    /// Removes tags from a group.
    ///
    /// # Errors
    ///
    /// As [`Cloud::groups`].
    pub async fn untag(&self, name: &str, keys: &BTreeSet<String>) -> Result<(), CloudError> {
        if keys.is_empty() {
            return Ok(());
        }
        let tags: Vec<Tag> = keys.iter().map(|key| tag(name, key).build()).collect();
        again(|| async {
            let call = self.scaling.delete_tags().set_tags(Some(tags.clone()));
            call.send().await.map(drop).map_err(failed("autoscaling:DeleteTags"))
        })
        .await
    }

    /// What a group did last, the newest first; at most 20.
    ///
    /// # Errors
    ///
    /// As [`Cloud::groups`].
    pub async fn activities(&self, name: &str) -> Result<Vec<Activity>, CloudError> {
        let page = again(|| async {
            let call = self.scaling.describe_scaling_activities().auto_scaling_group_name(name).max_records(20);
            call.send().await.map_err(failed("autoscaling:DescribeScalingActivities"))
        })
        .await?;
        Ok(page
            .activities()
            .iter()
            .map(|activity| Activity {
                status: activity.status_code().map(|code| code.as_str().to_owned()).unwrap_or_default(),
                description: activity.description().unwrap_or_default().to_owned(),
                message: activity.status_message().unwrap_or_default().to_owned(),
                started: activity.start_time().and_then(|at| jiff::Timestamp::from_second(at.secs()).ok()),
            })
            .collect())
    }

    /// Whether an instance refresh of the group goes on, or is about to.
    ///
    /// # Errors
    ///
    /// As [`Cloud::groups`].
    pub async fn is_refreshing(&self, name: &str) -> Result<bool, CloudError> {
        let page = again(|| async {
            let call = self.scaling.describe_instance_refreshes().auto_scaling_group_name(name);
            call.send().await.map_err(failed("autoscaling:DescribeInstanceRefreshes"))
        })
        .await?;
        let going = ["Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"];
        Ok(page.instance_refreshes().iter().filter_map(|r| r.status()).any(|status| going.contains(&status.as_str())))
    }
}

fn tag(group: &str, key: &str) -> aws_sdk_autoscaling::types::builders::TagBuilder {
    Tag::builder().resource_id(group).resource_type("auto-scaling-group").propagate_at_launch(false).key(key)
}

fn group(found: &AutoScalingGroup) -> Group {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let tags = found.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), text(tag.value()))));
    let members = found.instances().iter().map(|instance| Member {
        id: text(instance.instance_id()),
        zone: text(instance.availability_zone()),
        lifecycle: instance.lifecycle_state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
        protected: instance.protected_from_scale_in().unwrap_or_default(),
    });
    let subnets = found.vpc_zone_identifier().unwrap_or_default().split(',').map(str::trim);
    Group {
        name: text(found.auto_scaling_group_name()),
        arn: text(found.auto_scaling_group_arn()),
        min: found.min_size().unwrap_or_default().into(),
        max: found.max_size().unwrap_or_default().into(),
        desired: found.desired_capacity().unwrap_or_default().into(),
        zones: found.availability_zones().iter().cloned().collect(),
        subnets: subnets.filter(|subnet| !subnet.is_empty()).map(ToOwned::to_owned).collect(),
        suspended: found.suspended_processes().iter().filter_map(|p| Some(p.process_name()?.to_owned())).collect(),
        tags: tags.collect(),
        members: members.collect(),
    }
}
