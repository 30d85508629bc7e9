//! A request to the API server as RBAC sees it, or one to AWS as IAM does.

use serde::{Deserialize, Serialize};

/// How the "group" of a call to AWS ends.
const AWS: &str = ".amazonaws.com";

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Call {
    /// RBAC verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; of a call to AWS its action.
    pub verb: String,
    /// API group; empty for the core group. Of a call to AWS its service: `ec2.amazonaws.com`.
    pub group: String,
    /// Resource with its subresource: `pods/eviction`. Empty of a call to AWS.
    pub resource: String,
    /// Namespace; empty for the whole cluster.
    pub namespace: String,
    /// Object; empty for lists and for what is created.
    pub name: String,
    /// Whether the server is asked to check it only, and to change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl Call {
    /// Reads a request as RBAC would; `None` for what is not a resource (`/version`, `/readyz`).
    pub(super) fn read(method: &http::Method, uri: &http::Uri) -> Option<Self> {
        let mut parts = uri.path().trim_matches('/').split('/');
        let group = match parts.next()? {
            "api" => {
                parts.next()?;
                String::new()
            }
            "apis" => {
                let group = parts.next()?.to_owned();
                parts.next()?;
                group
            }
            _ => return None,
        };
        let mut rest: Vec<&str> = parts.collect();
        let mut namespace = String::new();
        if rest.first() == Some(&"namespaces") && rest.len() > 2 {
            rest[1].clone_into(&mut namespace);
            rest.drain(..2);
        }
        let resource = *rest.first()?;
        let name = rest.get(1).copied().unwrap_or_default();
        if resource == "namespaces" {
            // RBAC asks for a namespace object within that namespace, so that a Role there is enough.
            name.clone_into(&mut namespace);
        }
        let resource = rest.get(2).map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}"));
        let query = |wanted: &[&str]| uri.query().is_some_and(|q| q.split('&').any(|p| wanted.contains(&p)));
        let verb = match *method {
            http::Method::GET if query(&["watch=true", "watch=1"]) => "watch",
            http::Method::GET if name.is_empty() => "list",
            http::Method::GET => "get",
            http::Method::POST => "create",
            http::Method::PUT => "update",
            http::Method::PATCH => "patch",
            http::Method::DELETE if name.is_empty() => "deletecollection",
            http::Method::DELETE => "delete",
            // Nothing else is a verb that RBAC knows; the leash refuses it by this name.
            _ => method.as_str(),
        };
        let (verb, name) = (verb.to_owned(), name.to_owned());
        Some(Self { verb, group, resource, namespace, name, dry_run: query(&["dryRun=All"]) })
    }

    /// Whether the call changes nothing: it reads, asks what is allowed, or is a dry run.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        if let Some(service) = self.group.strip_suffix(AWS) {
            let reads = ["Describe", "Get", "Simulate"].iter().any(|word| self.verb.starts_with(word));
            return service != "unknown" && (reads || self.dry_run);
        }
        matches!(self.verb.as_str(), "get" | "list" | "watch")
            || self.dry_run
            || matches!(self.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(service) = self.group.strip_suffix(AWS) {
            return write!(f, "{service}:{} {}", self.verb, self.name);
        }
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in namespace {}", self.namespace)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cluster) fn call(method: &str, uri: &str) -> Call {
        Call::read(&method.parse().unwrap(), &uri.parse().unwrap()).unwrap()
    }

    #[test]
    fn reads_requests_as_rbac_does() {
        let read = |method: &str, uri: &str| {
            let c = call(method, uri);
            format!("{} {}/{} {}/{}", c.verb, c.group, c.resource, c.namespace, c.name)
        };
        assert_eq!(read("POST", "/api/v1/namespaces/shop/pods/web-1/eviction?"), "create /pods/eviction shop/web-1");
        assert_eq!(
            read("GET", "/apis/apps/v1/namespaces/shop/deployments?&watch=true"),
            "watch apps/deployments shop/"
        );
        assert_eq!(read("GET", "/api/v1/namespaces/kube-system"), "get /namespaces kube-system/kube-system");
        assert_eq!(read("GET", "/api/v1/nodes?limit=5"), "list /nodes /");
        assert_eq!(read("DELETE", "/api/v1/namespaces/shop/pods"), "deletecollection /pods shop/");
        assert!(Call::read(&http::Method::GET, &"/version".parse().unwrap()).is_none());
    }

    #[test]
    fn knows_what_changes_nothing() {
        assert!(call("GET", "/api/v1/nodes").is_harmless());
        assert!(call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").is_harmless());
        assert!(call("POST", "/api/v1/namespaces/shop/pods/web-1/eviction?&dryRun=All").is_harmless());
        assert!(!call("POST", "/api/v1/namespaces/shop/pods/web-1/eviction").is_harmless());
        assert!(!call("DELETE", "/api/v1/namespaces/shop/pods/web-1").is_harmless());
        assert!(!call("PURGE", "/api/v1/namespaces/shop/pods/web-1").is_harmless());
    }

    #[test]
    fn says_what_it_is() {
        assert_eq!(
            call("DELETE", "/api/v1/namespaces/shop/pods/web-1").to_string(),
            "delete pods web-1 in namespace shop"
        );
        assert_eq!(call("GET", "/api/v1/nodes").to_string(), "list nodes");
    }
}
