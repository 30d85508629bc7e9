//! Watches: what changes, as it changes, until the client or the clock ends it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::Body;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tower::BoxError;

use super::Asked;
use super::list::parse;
use super::query::Form;
use super::select::Filter;
use crate::lab::store::{Change, KINDS, Listener, Object, Refused, Store};
use crate::lab::world::Shared;

/// How long a watch may take that names no time: the middle of what the server chooses from.
pub(super) const TIMEOUT: Duration = Duration::from_mins(45);
/// Between two bookmarks.
const BOOKMARKS: Duration = Duration::from_mins(1);
/// How long before its end a watch has its last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// On the bookmark that ends the list with which a watch began.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// A watch that goes on.
pub(super) struct Events {
    shared: Shared,
    told: Listener,
    filter: Filter,
    kind: usize,
    form: Form,
    /// Up to where it has been told.
    version: u64,
    /// Lines that are not sent yet.
    waiting: VecDeque<Bytes>,
    bookmark: Option<Instant>,
    end: Instant,
    over: bool,
}

impl Events {
    /// Begins a watch.
    ///
    /// # Errors
    ///
    /// When what it asks for can't be read.
    pub(super) fn open(shared: &Shared, asked: &Asked) -> Result<Self, Refused> {
        let (query, kind) = (&asked.query, asked.place.kind);
        let filter = Filter::read(&asked.place, query)?;
        let from = parse(query.text("resourceVersion"))?;
        let initial = query.flag("sendInitialEvents");
        if initial && query.text("resourceVersionMatch") != "NotOlderThan" {
            let why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            let message = format!("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: {why}");
            return Err(Refused::new(422, "Invalid", message));
        }
        let seconds = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        let timeout = seconds.filter(|seconds| *seconds > 0).map_or(TIMEOUT, Duration::from_secs);
        let now = Instant::now();
        let bookmarks = query.flag("allowWatchBookmarks");
        Ok(shared.read(|world| {
            let store = &world.store;
            let whole = initial || from == 0;
            let mut events = Self {
                shared: shared.clone(),
                told: store.told(),
                filter,
                kind,
                form: asked.form,
                version: if whole { store.version() } else { from },
                waiting: VecDeque::new(),
                bookmark: None,
                end: now + timeout,
                over: false,
            };
            if whole {
                events.begin(store, initial && bookmarks);
            }
            if bookmarks {
                events.bookmark = Some(now);
                events.plan_bookmark();
            }
            events
        }))
    }

    /// Tells what is there.
    fn begin(&mut self, store: &Store, mark: bool) {
        for object in store.objects(self.kind, None).filter(|object| self.filter.takes(object)) {
            self.waiting.push_back(line("ADDED", &self.form.written(object)));
            self.form = self.form.headless();
        }
        if mark {
            let mark = self.marked(true);
            self.waiting.push_back(mark);
        }
    }

    fn plan_bookmark(&mut self) {
        let (now, last) = (Instant::now(), self.end.checked_sub(LAST_BOOKMARK));
        self.bookmark = match last {
            Some(last) if last > now => Some((now + BOOKMARKS).min(last)),
            _ => None,
        };
    }

    /// Says up to where the watch has come.
    fn marked(&mut self, first: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if first {
            metadata["annotations"] = json!({INITIAL_END: "true"});
        }
        let kind = &KINDS[self.kind];
        let object = json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata});
        let line = line("BOOKMARK", self.form.shape(&object).to_string().as_bytes());
        self.form = self.form.headless();
        line
    }

    /// Takes up what changed since it was last told.
    fn catch_up(&mut self) {
        let shared = self.shared.clone();
        shared.read(|world| {
            let Some(changes) = world.store.since(self.version) else {
                let message = format!("too old resource version: {} ({})", self.version, world.store.version());
                self.waiting
                    .push_back(line("ERROR", Refused::new(410, "Expired", message).status().to_string().as_bytes()));
                self.over = true;
                return;
            };
            let mut form = self.form.at(world.wall());
            for change in changes {
                if let Some(line) = self.event(change, form) {
                    self.waiting.push_back(line);
                    form = form.headless();
                }
            }
            self.form = form;
            self.version = self.version.max(world.store.version());
        });
    }

    /// What a change is to this watch: to one that selects, an object begins and ends at the edge of its selection.
    fn event(&self, change: &Change, form: Form) -> Option<Bytes> {
        let takes = |object: &Object| self.filter.takes(object);
        let before = change.before.as_deref().filter(|object| takes(object));
        let after = change.after.as_deref().filter(|object| takes(object));
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some(line("ADDED", &form.written(after))),
            (Some(_), Some(after)) => Some(line("MODIFIED", &form.written(after))),
            // What is gone was last written with the version at which it went.
            (Some(before), None) if change.after.is_none() => Some(line("DELETED", &form.written(before))),
            (Some(before), None) => {
                let mut last = before.json();
                last["metadata"]["resourceVersion"] = change.version.to_string().into();
                Some(line("DELETED", form.shape(&last).to_string().as_bytes()))
            }
        }
    }

    /// The next line; `None`: the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            self.told.catch_up();
            self.catch_up();
            if !self.waiting.is_empty() {
                continue;
            }
            let bookmark = self.bookmark;
            let timer = async {
                match bookmark {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                more = self.told.changed() => self.over = !more,
                () = sleep_until(self.end) => self.over = true,
                () = timer => {
                    let mark = self.marked(false);
                    self.waiting.push_back(mark);
                    self.plan_bookmark();
                }
            }
        }
    }

    /// The answer that goes on for as long as the watch does.
    pub(super) async fn stream(self) -> Result<Response<Body>, BoxError> {
        let lines = stream::unfold(self, |mut events| async move {
            let line = events.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(line)), events))
        });
        in_pieces(lines).await
    }
}

/// An answer of JSON whose body comes in pieces.
///
/// # Errors
///
/// None that is known: it is the client's to say.
pub(in crate::lab) async fn in_pieces(
    pieces: impl Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + 'static,
) -> Result<Response<Body>, BoxError> {
    let response = Response::builder().header(CONTENT_TYPE, "application/json").body(StreamBody::new(pieces))?;
    let mut response = Some(response);
    let once = tower::service_fn(move |_: Request<Body>| {
        let response = response.take().ok_or_else(|| BoxError::from("a watch is opened once"));
        async move { response }
    });
    // Only a client makes its own kind of body of one that comes in pieces.
    Ok(kube::Client::new(once, "default").send(Request::new(Body::empty())).await?)
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    [br#"{"type":""#, kind.as_bytes(), br#"","object":"#, object, b"}\n"].concat().into()
}
