//! The API server: what a client asks for over HTTP, done to the store.
//!
//! It stands where the network would be under the real client. Each request is read (`path`, `query`), permitted or not, carried out
//! (`verbs`, `patch`, `delete`, `evict`, `scale`, `watch`), and answered in the words of the real server, which programs rely on.

mod access;
mod apply;
mod binding;
pub(in crate::lab) mod defaults;
mod delete;
mod discovery;
mod evict;
mod fields;
mod list;
mod metrics;
mod names;
mod openapi;
mod patch;
mod path;
pub(in crate::lab) mod quantity;
mod query;
mod review;
mod scale;
mod schema;
mod select;
mod strategic;
mod table;
#[cfg(test)]
mod tests;
mod validate;
mod verbs;
mod watch;
mod wire;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::request::Parts;
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;
use tokio::time::sleep;
use tower::{BoxError, Service};

use self::access::Denied;
use self::path::{Place, Route};
use self::query::{Form, Query};
use self::watch::Events;
pub(in crate::lab) use self::watch::in_pieces;
use super::model;
use super::store::Refused;
use super::world::{Shared, World};

/// Who every client is to the server.
const USER: &str = "lab";

/// The server, as a service for [`kube::Client`]. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Server {
    shared: Shared,
    denied: Arc<Denied>,
}

/// What a request comes to when it succeeds.
enum Answer {
    /// An HTTP status, and the object.
    Json(u16, Value),
    /// The same, written already.
    Written(u16, Bytes),
    Text(String),
    Events(Events),
}

/// A request as the verbs see it.
struct Asked {
    place: Place,
    query: Query,
    /// Media type of the body.
    content: String,
    body: Bytes,
    form: Form,
    /// Who manages the fields that are written.
    manager: String,
}

impl Server {
    pub(in crate::lab) fn new(shared: Shared) -> Self {
        Self { shared, denied: Arc::default() }
    }

    /// Forbids a verb on a resource (`pods`, `pods/eviction`), in one namespace or in all.
    #[cfg(test)]
    pub(in crate::lab) fn deny(&self, verb: &str, resource: &str, namespace: Option<&str>) {
        self.denied.add(verb, resource, namespace);
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let way = self.shared.read(|world| world.settings.answer) / 2;
        sleep(way).await;
        let answer = self.carry_out(&parts, body);
        sleep(way).await;
        match answer {
            Ok(Answer::Json(code, json)) => written(code, json.to_string().into(), None),
            Ok(Answer::Written(code, json)) => written(code, json, None),
            Ok(Answer::Text(text)) => {
                let response = Response::builder().header(CONTENT_TYPE, "text/plain; charset=utf-8");
                Ok(response.body(Body::from(Bytes::from(text)))?)
            }
            Ok(Answer::Events(events)) => events.stream().await,
            Err(refused) => {
                let after = refused.details.get("retryAfterSeconds").and_then(Value::as_u64);
                written(refused.code, refused.status().to_string().into(), after)
            }
        }
    }

    fn carry_out(&self, parts: &Parts, body: Bytes) -> Result<Answer, Refused> {
        let route = path::read(parts.uri.path())?;
        let content = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content = content.split(';').next().unwrap_or_default().trim().to_owned();
        if let Route::Review(group, resource) = &route {
            let is_post = parts.method == Method::POST;
            return if is_post { self.review(group, resource, &content, &body) } else { Err(not_allowed()) };
        }
        let Route::Place(place) = route else {
            if route == Route::Metrics {
                return Ok(Answer::Text(self.shared.read(metrics::all)));
            }
            return if parts.method == Method::GET { discovery::answer(&route, parts) } else { Err(not_allowed()) };
        };
        let query = Query::read(parts.uri.query());
        let verb = verb(&parts.method, &place, &query).ok_or_else(not_allowed)?;
        self.denied.permit(verb, &place)?;
        let now = self.shared.read(World::wall);
        let form = Form::of(&parts.headers, &query, now)?;
        let manager = manager(&query, parts);
        self.act(verb, &Asked { place, query, content, body, form, manager })
    }

    /// Leases of nodes are written when somebody looks at them.
    fn show_leases(&self, verb: &str, asked: &Asked) {
        let place = &asked.place;
        let of_nodes = place.namespace.is_empty() || place.namespace == "kube-node-lease";
        if !of_nodes || place.kind().kind != "Lease" {
            return;
        }
        let seconds = asked.query.number("timeoutSeconds").ok().flatten().and_then(|long| u64::try_from(long).ok());
        let long = seconds.filter(|seconds| *seconds > 0).map_or(watch::TIMEOUT, Duration::from_secs);
        self.shared.with(|world| model::show_leases(world, (verb == "watch").then_some(long)));
    }

    fn act(&self, verb: &str, asked: &Asked) -> Result<Answer, Refused> {
        self.show_leases(verb, asked);
        match verb {
            "get" => self.shared.read(|world| verbs::get(world, asked)),
            "list" => self.shared.read(|world| list::list(world, asked)),
            "watch" => Events::open(&self.shared, asked).map(Answer::Events),
            "delete" => self.shared.with(|world| delete::one(world, asked)),
            "deletecollection" => self.shared.with(|world| delete::all(world, asked)),
            _ => self.shared.with(|world| match (verb, asked.place.subresource.as_str()) {
                ("create", "eviction") => evict::evict(world, asked),
                ("create", "binding") => binding::bind(world, asked),
                ("create", _) => verbs::create(world, asked),
                ("update", "scale") => scale::update(world, asked),
                ("update", _) => verbs::update(world, asked),
                (_, "scale") => scale::patch(world, asked),
                _ => verbs::patch(world, asked),
            }),
        }
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().answer(request).boxed()
    }
}

/// Who a writer says that it is, or what program it is.
fn manager(query: &Query, parts: &Parts) -> String {
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = query.text("fieldManager");
    if said.is_empty() { agent.split('/').next().unwrap_or_default() } else { said }.to_owned()
}

/// What a request does, as rules of access name it. `None`: nothing that there is.
fn verb(method: &Method, place: &Place, query: &Query) -> Option<&'static str> {
    let collection = place.name.is_empty();
    let whole_cluster = place.kind().namespaced && place.namespace.is_empty();
    let posted_to = matches!(place.subresource.as_str(), "eviction" | "binding");
    match *method {
        Method::POST if posted_to || (collection && !whole_cluster) => Some("create"),
        _ if posted_to => None,
        Method::GET if query.flag("watch") && place.subresource.is_empty() => Some("watch"),
        Method::GET if collection => Some("list"),
        Method::GET => Some("get"),
        Method::PUT if !collection => Some("update"),
        Method::PATCH if !collection => Some("patch"),
        Method::DELETE if !place.subresource.is_empty() || (collection && whole_cluster) => None,
        Method::DELETE if collection && place.kind().kind == "Namespace" => None,
        Method::DELETE => Some(if collection { "deletecollection" } else { "delete" }),
        _ => None,
    }
}

fn written(code: u16, json: Bytes, retry_after: Option<u64>) -> Result<Response<Body>, BoxError> {
    let mut response = Response::builder().status(code).header(CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after.filter(|seconds| *seconds > 0) {
        response = response.header(RETRY_AFTER, seconds);
    }
    Ok(response.body(Body::from(json))?)
}

/// Nothing is served at this path.
fn no_such_path() -> Refused {
    let details = Value::Object(serde_json::Map::new());
    Refused { details, ..Refused::new(404, "NotFound", "the server could not find the requested resource") }
}

/// Something is, but not by this method.
fn not_allowed() -> Refused {
    let details = Value::Object(serde_json::Map::new());
    let message = "the server does not allow this method on the requested resource";
    Refused { details, ..Refused::new(405, "MethodNotAllowed", message) }
}
