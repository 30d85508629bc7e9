//! Asking IAM what the caller's policies allow, where no dry run tells.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType};

use super::{Cloud, failed};
use crate::cluster::cloud::{CloudError, Simulated, again};

impl Cloud {
    /// Whether the caller's policies, and what bounds them, allow an action on these resources under these values of condition keys.
    /// `None` where the caller is neither a user nor a role, whose policies alone can be simulated. What the resources' own policies
    /// or a session's say is not looked at.
    ///
    /// # Errors
    ///
    /// When the service refuses (the caller may not simulate, or a role has a path, which its session does not tell), or does not answer in several tries.
    pub async fn simulate(
        &self,
        action: &str,
        resources: &BTreeSet<String>,
        context: &BTreeMap<String, String>,
    ) -> Result<Option<Simulated>, CloudError> {
        let Some(principal) = principal(&self.id().caller) else { return Ok(None) };
        let resources: Vec<String> = resources.iter().cloned().collect();
        let entries: Vec<ContextEntry> = context.iter().map(|(key, value)| entry(key, value)).collect();
        let mut results = Vec::new();
        let mut marker = None;
        loop {
            let page = again(|| async {
                let call = self.iam.simulate_principal_policy().policy_source_arn(&principal).action_names(action);
                let call = call.set_resource_arns((!resources.is_empty()).then(|| resources.clone()));
                let call = call.set_context_entries(Some(entries.clone())).set_marker(marker.clone());
                call.send().await.map_err(failed("iam:SimulatePrincipalPolicy"))
            })
            .await?;
            results.extend(page.evaluation_results().iter().cloned());
            marker = page.marker().filter(|_| page.is_truncated()).map(ToOwned::to_owned);
            if marker.is_none() {
                return Ok(Some(summed(action, &results)));
            }
        }
    }
}

/// The user or role behind who calls: `arn:aws:sts::1:assumed-role/ci/session` is `arn:aws:iam::1:role/ci`.
fn principal(caller: &str) -> Option<String> {
    let parts: Vec<&str> = caller.splitn(6, ':').collect();
    let [_, partition, service, _, account, name] = parts.as_slice() else { return None };
    match (*service, name.split('/').collect::<Vec<_>>().as_slice()) {
        ("sts", ["assumed-role", role, _]) => Some(format!("arn:{partition}:iam::{account}:role/{role}")),
        ("iam", ["user" | "role", ..]) => Some(caller.to_owned()),
        _ => None,
    }
}

/// The value of a condition key. Keys of tags are a list.
fn entry(key: &str, value: &str) -> ContextEntry {
    let kind = if key == "aws:TagKeys" { ContextKeyTypeEnum::StringList } else { ContextKeyTypeEnum::String };
    ContextEntry::builder().context_key_name(key).context_key_values(value).context_key_type(kind).build()
}

fn summed(action: &str, results: &[EvaluationResult]) -> Simulated {
    let is = |result: &EvaluationResult, wanted: &PolicyEvaluationDecisionType| result.eval_decision() == wanted;
    Simulated {
        action: action.to_owned(),
        allowed: !results.is_empty() && results.iter().all(|it| is(it, &PolicyEvaluationDecisionType::Allowed)),
        denied: results.iter().any(|it| is(it, &PolicyEvaluationDecisionType::ExplicitDeny)),
        missing: results.iter().flat_map(|it| it.missing_context_values().iter().cloned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_its_role_and_who_has_no_policies_of_their_own_is_nobody() {
        let of = |caller: &str| principal(caller).unwrap_or_default();
        assert_eq!(of("arn:aws:sts::123456789012:assumed-role/ci/run-7"), "arn:aws:iam::123456789012:role/ci");
        assert_eq!(of("arn:aws-cn:iam::123456789012:user/team/ann"), "arn:aws-cn:iam::123456789012:user/team/ann");
        for nobody in ["arn:aws:iam::123456789012:root", "arn:aws:sts::123456789012:federated-user/ann", "", "moto"] {
            assert_eq!(of(nobody), "", "{nobody}");
        }
    }
}
