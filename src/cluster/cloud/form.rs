//! Reading an AWS request as the ledger and the leash need it: which action, on what.
//!
//! EC2, Auto Scaling, STS and IAM all speak the query protocol, a form whose `Version` tells the service and whose `Action` the call.

use crate::cluster::Call;

/// Parameters that name what is acted on. Numbered lists (`InstanceId.1`, `Tags.member.2.ResourceId`) are cut down to these.
const NAMES: [&str; 9] = [
    "AutoScalingGroupName",
    "AutoScalingGroupNames",
    "InstanceId",
    "InstanceIds",
    "ResourceId",
    "NetworkAclId",
    "AssociationId",
    "SubnetId",
    "VpcId",
];

/// The calls that a form comes to: one for each object that it names, or one without a name.
pub(super) fn read(body: &[u8]) -> Vec<Call> {
    let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let service = match field("Version") {
        Some("2016-11-15") => "ec2",
        Some("2011-01-01") => "autoscaling",
        Some("2011-06-15") => "sts",
        Some("2010-05-08") => "iam",
        _ => "unknown",
    };
    let call = |name: &str| Call {
        verb: field("Action").unwrap_or_default().to_owned(),
        group: format!("{service}.amazonaws.com"),
        resource: String::new(),
        namespace: String::new(),
        name: name.to_owned(),
        dry_run: field("DryRun") == Some("true"),
    };
    // What is changed is the association; the ACL only comes to stand at its other end.
    let changed = |key: &str| field("Action") != Some("ReplaceNetworkAclAssociation") || key == "AssociationId";
    let mut names: Vec<&str> =
        fields.iter().filter(|(key, _)| is_name(key) && changed(key)).map(|(_, value)| value.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { vec![call("")] } else { names.into_iter().map(call).collect() }
}

fn is_name(key: &str) -> bool {
    let last = key.rsplit('.').find(|part| *part != "member" && part.parse::<u32>().is_err());
    last.is_some_and(|last| NAMES.contains(&last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> Vec<String> {
        read(body.as_bytes()).iter().map(|call| format!("{} {} {}", call.group, call.verb, call.name)).collect()
    }

    #[test]
    fn one_call_for_each_object_named() {
        assert_eq!(
            shown(
                "Action=SuspendProcesses&Version=2011-01-01&AutoScalingGroupName=workers-a&ScalingProcesses.member.1=Launch"
            ),
            ["autoscaling.amazonaws.com SuspendProcesses workers-a"]
        );
        assert_eq!(
            shown("Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-2&InstanceId.2=i-1"),
            ["ec2.amazonaws.com TerminateInstances i-1", "ec2.amazonaws.com TerminateInstances i-2"]
        );
        assert_eq!(
            shown(
                "Action=CreateOrUpdateTags&Version=2011-01-01&Tags.member.1.ResourceId=workers-a&Tags.member.2.ResourceId=workers-a"
            ),
            ["autoscaling.amazonaws.com CreateOrUpdateTags workers-a"]
        );
        assert_eq!(
            shown("Action=ReplaceNetworkAclAssociation&Version=2016-11-15&AssociationId=aclassoc-1&NetworkAclId=acl-2"),
            ["ec2.amazonaws.com ReplaceNetworkAclAssociation aclassoc-1"]
        );
        assert_eq!(shown("Action=GetCallerIdentity&Version=2011-06-15"), ["sts.amazonaws.com GetCallerIdentity "]);
    }

    #[test]
    fn knows_what_changes_nothing() {
        let harmless = |body: &str| read(body.as_bytes()).iter().all(Call::is_harmless);
        assert!(harmless("Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-1"));
        assert!(harmless("Action=GetCallerIdentity&Version=2011-06-15"));
        assert!(harmless("Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1&DryRun=true"));
        assert!(!harmless("Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1&DryRun=false"));
        assert!(harmless("Action=SimulatePrincipalPolicy&Version=2010-05-08&ActionNames.member.1=ec2:StopInstances"));
        assert!(!harmless("Action=DescribeInstances&InstanceId.1=i-1"), "a service that nobody knows");
    }
}
