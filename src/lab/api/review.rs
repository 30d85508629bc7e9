//! Questions about the one who asks: who that is, and what it may do.

use serde_json::{Value, json};

use super::{Answer, Server, USER, no_such_path, wire};
use crate::lab::store::Refused;

impl Server {
    /// Answers a question.
    ///
    /// # Errors
    ///
    /// When it is none that is answered, or can't be read.
    pub(super) fn review(&self, group: &str, resource: &str, content: &str, body: &[u8]) -> Result<Answer, Refused> {
        let mut asked: Value = match content {
            _ if body.is_empty() => json!({}),
            wire::MEDIA_TYPE => wire::read(body)?,
            _ => super::verbs::parsed(body)?,
        };
        if !asked.is_object() {
            return Err(Refused::bad_request("the body is no object"));
        }
        let (kind, status) = match (group, resource) {
            ("authorization.k8s.io", "selfsubjectaccessreviews") => {
                ("SelfSubjectAccessReview", self.access(&asked["spec"]))
            }
            ("authorization.k8s.io", "selfsubjectrulesreviews") => ("SelfSubjectRulesReview", rules()),
            ("authentication.k8s.io", "selfsubjectreviews") => {
                let groups = ["system:masters", "system:authenticated"];
                ("SelfSubjectReview", json!({"userInfo": {"username": USER, "groups": groups}}))
            }
            _ => return Err(no_such_path()),
        };
        asked["kind"] = kind.into();
        asked["apiVersion"] = format!("{group}/v1").into();
        asked["status"] = status;
        Ok(Answer::Json(201, asked))
    }

    fn access(&self, spec: &Value) -> Value {
        let text = |field: &str| spec["resourceAttributes"][field].as_str().unwrap_or_default();
        let (resource, part) = (text("resource"), text("subresource"));
        let resource = if part.is_empty() { resource.to_owned() } else { format!("{resource}/{part}") };
        let allowed = !self.denied.forbids(text("verb"), &resource, text("namespace"));
        json!({"allowed": allowed})
    }
}

/// What may be done where nothing is forbidden.
fn rules() -> Value {
    json!({
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": false,
    })
}
