//! A layer under the client that refuses every change that nobody asked for: the last line of defence behind the plan and its limits.
//!
//! Reads, access reviews and dry runs always pass. A change passes only if it was let: its own state by whoever keeps it, a plan's
//! targets by the run, a log's targets by a recovery. It is told here, and never sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use super::Call;

/// A kind of change that is let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Let {
    /// RBAC verb; every one without it.
    pub verb: Option<String>,
    /// API group; every one without it.
    pub group: Option<String>,
    /// Resource, with its subresource if it has one; a resource alone stands for its subresources too when `verb` is left out.
    pub resource: String,
    /// Namespace; empty for what is in none.
    pub namespace: String,
    /// Object; every one, also a new one, without it.
    pub name: Option<String>,
}

impl Let {
    fn covers(&self, call: &Call) -> bool {
        let base = call.resource.split('/').next().unwrap_or_default();
        let resource = self.resource == call.resource || (self.verb.is_none() && self.resource == base);
        resource
            && self.namespace == call.namespace
            && self.verb.as_ref().is_none_or(|verb| *verb == call.verb)
            && self.group.as_ref().is_none_or(|group| *group == call.group)
            && self.name.as_ref().is_none_or(|name| *name == call.name)
    }
}

/// A change that was not let through: a mistake of Squall's, and never sent.
#[derive(Debug, thiserror::Error)]
#[error("not sent, because neither the plan nor the undo log names it: {0}")]
pub struct OffLeash(pub(super) Call);

/// What a client may change. Cheap to clone; clones share it. At first nothing.
#[derive(Debug, Clone, Default)]
pub struct Leash(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    lets: Vec<Let>,
    /// Names that nobody can know beforehand, and what each stands for.
    stands: BTreeMap<String, String>,
}

impl Leash {
    /// Lets these changes through from now on.
    pub fn let_through(&self, more: impl IntoIterator<Item = Let>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in more {
            if !inner.lets.contains(&one) {
                inner.lets.push(one);
            }
        }
    }

    /// Lets nothing through any more: what one run was let is nothing to the next.
    pub fn shorten(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }

    /// From now on what may be done to `name` may be done to `other` too, a part of it that has a name of its own: AWS gives a subnet's
    /// association with a network ACL a new one at each change.
    pub fn stand_for(&self, other: &str, name: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.stands.insert(other.to_owned(), name.to_owned());
    }

    pub(super) fn allows(&self, call: &Call) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = |call: &Call| inner.lets.iter().any(|one| one.covers(call));
        let stands_for = || inner.stands.get(&call.name).map(|name| Call { name: name.clone(), ..call.clone() });
        call.is_harmless() || covered(call) || stands_for().is_some_and(|call| covered(&call))
    }
}

impl<S> Layer<S> for Leash {
    type Service = Leashed<S>;

    fn layer(&self, inner: S) -> Leashed<S> {
        Leashed { inner, leash: self.clone() }
    }
}

/// A client service that can't do more than its leash allows.
#[derive(Debug, Clone)]
pub struct Leashed<S> {
    inner: S,
    leash: Leash,
}

impl<S> Service<Request<Body>> for Leashed<S>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Response: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match Call::read(request.method(), request.uri()) {
            Some(call) if !self.leash.allows(&call) => std::future::ready(Err(BoxError::from(OffLeash(call)))).boxed(),
            _ => self.inner.call(request).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use tower::ServiceExt as _;

    use super::super::call::tests::call;
    use super::*;

    fn pods(name: Option<&str>) -> Let {
        Let {
            verb: Some("delete".into()),
            group: Some(String::new()),
            resource: "pods".into(),
            namespace: "shop".into(),
            name: name.map(Into::into),
        }
    }

    #[test]
    fn lets_through_what_was_let_and_nothing_near_it() {
        let leash = Leash::default();
        let delete = call("DELETE", "/api/v1/namespaces/shop/pods/web-1");
        assert!(!leash.allows(&delete));
        leash.let_through([pods(Some("web-1"))]);
        assert!(leash.allows(&delete));
        for (method, uri) in [
            ("DELETE", "/api/v1/namespaces/shop/pods/web-2"),
            ("DELETE", "/api/v1/namespaces/bank/pods/web-1"),
            ("DELETE", "/api/v1/namespaces/shop/pods"),
            ("PATCH", "/api/v1/namespaces/shop/pods/web-1"),
            ("POST", "/api/v1/namespaces/shop/pods/web-1/eviction"),
            ("DELETE", "/apis/metrics.k8s.io/v1/namespaces/shop/pods/web-1"),
        ] {
            assert!(!leash.allows(&call(method, uri)), "{method} {uri}");
        }
    }

    #[test]
    fn without_a_verb_a_resource_stands_for_its_subresources() {
        let leash = Leash::default();
        leash.let_through([pods(None)]);
        leash.shorten();
        leash.let_through([Let { verb: None, ..pods(Some("web-1")) }]);
        assert!(!leash.allows(&call("DELETE", "/api/v1/namespaces/shop/pods/web-2")), "shortened");
        assert!(leash.allows(&call("POST", "/api/v1/namespaces/shop/pods/web-1/eviction")));
        assert!(!leash.allows(&call("POST", "/api/v1/namespaces/shop/pods/web-2/eviction")));
    }

    #[test]
    fn a_part_with_a_name_of_its_own_is_let_through_with_the_whole() {
        let leash = Leash::default();
        let call = |name: &str| Call {
            verb: "ReplaceNetworkAclAssociation".into(),
            group: "ec2.amazonaws.com".into(),
            name: name.into(),
            ..Call::default()
        };
        let subnet = Let {
            verb: None,
            group: None,
            resource: String::new(),
            namespace: String::new(),
            name: Some("subnet-1".into()),
        };
        leash.let_through([subnet]);
        leash.stand_for("aclassoc-1", "subnet-1");
        leash.stand_for("aclassoc-2", "subnet-2");
        assert!(leash.allows(&call("aclassoc-1")));
        assert!(!leash.allows(&call("aclassoc-2")), "nobody let anything be done to its subnet");
        assert!(!leash.allows(&call("aclassoc-3")));
    }

    #[test]
    fn reads_need_no_leave() {
        let leash = Leash::default();
        assert!(leash.allows(&call("GET", "/api/v1/namespaces/shop/pods")));
        assert!(leash.allows(&call("POST", "/api/v1/namespaces/shop/pods/web-1/eviction?dryRun=All")));
    }

    #[tokio::test]
    async fn what_is_refused_is_never_sent() {
        let server =
            tower::service_fn(|_: Request<Body>| async { Err::<Response<Body>, BoxError>("it was sent".into()) });
        let request = Request::delete("/api/v1/namespaces/shop/pods/web-1").body(Body::empty()).unwrap();
        let error = Leash::default().layer(server).oneshot(request).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "not sent, because neither the plan nor the undo log names it: delete pods web-1 in namespace shop"
        );
    }
}
