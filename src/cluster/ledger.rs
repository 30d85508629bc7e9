//! A layer under the client that records every call, so that the declared permissions can be proved to be the calls made.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::Request;
use kube::client::Body;
use tower::{Layer, Service};

/// One call as RBAC sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// RBAC verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource with its subresource: `pods/eviction`.
    pub resource: String,
    /// Namespace; empty for the whole cluster.
    pub namespace: String,
    /// Object; empty for lists.
    pub name: String,
}

/// Every call made through a client. Cheap to clone; clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<Call>>>);

impl Ledger {
    /// The calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record<B>(&self, request: &Request<B>) {
        if let Some(call) = read(request.method(), request.uri()) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        }
    }
}

/// Reads a request as RBAC would; `None` for what is not a resource (`/version`, `/readyz`).
fn read(method: &http::Method, uri: &http::Uri) -> Option<Call> {
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
    let watching = uri.query().is_some_and(|q| q.split('&').any(|p| p == "watch=true" || p == "watch=1"));
    let verb = match *method {
        http::Method::GET if watching => "watch",
        http::Method::GET if name.is_empty() => "list",
        http::Method::GET => "get",
        http::Method::POST => "create",
        http::Method::PUT => "update",
        http::Method::PATCH => "patch",
        http::Method::DELETE => "delete",
        _ => return None,
    };
    Some(Call { verb: verb.to_owned(), group, resource, namespace, name: name.to_owned() })
}

impl<S> Layer<S> for Ledger {
    type Service = Recorded<S>;

    fn layer(&self, inner: S) -> Recorded<S> {
        Recorded { inner, ledger: self.clone() }
    }
}

/// A client service whose calls are recorded.
#[derive(Debug, Clone)]
pub struct Recorded<S> {
    inner: S,
    ledger: Ledger,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Recorded<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.ledger.record(&request);
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_requests_as_rbac_does() {
        let call = |method: &str, uri: &str| {
            let c = read(&method.parse().unwrap(), &uri.parse().unwrap()).unwrap();
            format!("{} {}/{} {}/{}", c.verb, c.group, c.resource, c.namespace, c.name)
        };
        assert_eq!(call("POST", "/api/v1/namespaces/shop/pods/web-1/eviction?"), "create /pods/eviction shop/web-1");
        assert_eq!(
            call("GET", "/apis/apps/v1/namespaces/shop/deployments?&watch=true"),
            "watch apps/deployments shop/"
        );
        assert_eq!(call("GET", "/api/v1/namespaces/kube-system"), "get /namespaces kube-system/kube-system");
        assert_eq!(call("GET", "/api/v1/nodes?limit=5"), "list /nodes /");
        assert!(read(&http::Method::GET, &"/version".parse().unwrap()).is_none());
    }
}
