//! What may go wrong between a client and the API server: calls that are refused, lost or slow, watches that break off or are behind, a token
//! that is not accepted any more, and the death of the client itself.
//!
//! A read is never stale here: Kubernetes answers a get or a list that names no version with what etcd has, and Squall names none. What may be
//! behind is a watch.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, stream};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use kube::client::Body;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{BoxError, Service, ServiceExt as _};

use super::Lab;
use super::api::{Server, in_pieces};
use crate::cluster::Cluster;

/// How rough it is. The default is a fair day.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Fixes every chance.
    pub seed: u64,
    /// The share of calls that the server refuses, undone: throttled, unavailable, timed out, an internal error.
    pub refused: f64,
    /// The share of calls whose connection breaks before the server sees them.
    pub unsent: f64,
    /// The share of calls that are carried out, and whose answer is lost.
    pub lost: f64,
    /// The share of changes that the server refuses for a conflict with another writer's, undone.
    pub conflicts: f64,
    /// By how much any answer may be late.
    pub late: Duration,
    /// How long a watch goes on at most; each breaks off at random within it, as a server does that restarts: its connection breaks, or it
    /// ends, or its version is too old. Zero: as long as the server lets it.
    pub watches: Duration,
    /// By how much any event of a watch may be late: that server's cache is behind.
    pub behind: Duration,
    /// When the client's token is not accepted.
    pub expired: Option<Expired>,
    /// When the client dies, if it does.
    pub death: Option<Death>,
}

/// A time in which every call is answered with 401.
#[derive(Debug, Clone, Copy)]
pub struct Expired {
    /// From when on, since the client was made.
    pub from: Duration,
    /// Until when; `None`: for good.
    pub until: Option<Duration>,
}

impl Expired {
    fn covers(&self, age: Duration) -> bool {
        age >= self.from && self.until.is_none_or(|until| age < until)
    }
}

/// A call as it was made, and whether the server carried it out.
#[derive(Debug, Clone)]
pub struct Deed {
    /// Method and path: `PATCH /api/v1/nodes/node1`.
    pub call: String,
    /// What follows the path's question mark.
    pub query: String,
    /// Its body; empty without one.
    pub body: Bytes,
    /// Whether it reached the server, which then may have refused it all the same.
    pub arrived: bool,
}

/// The end of a client, as SIGKILL brings it: no call after this one is made, and no answer comes.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    /// Within which call, from 1.
    pub call: u64,
    /// Whether the server still carries that call out.
    pub carried_out: bool,
}

/// How a client fares.
#[derive(Debug, Clone)]
pub struct Watched {
    deeds: Arc<Mutex<Vec<Deed>>>,
    died: watch::Receiver<bool>,
}

impl Watched {
    /// The calls that it made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Each of them, in order.
    #[must_use]
    pub fn deeds(&self) -> Vec<Deed> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it dies; for ever, if it does not.
    pub async fn death(&mut self) {
        if self.died.wait_for(|died| *died).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Lab {
    /// The same cluster as seen by a client in this weather.
    #[must_use]
    pub fn cluster_in(&self, weather: Weather) -> (Cluster, Watched) {
        let (died_in, died) = watch::channel(false);
        let deeds: Arc<Mutex<Vec<Deed>>> = Arc::default();
        let chance = Mutex::new(ChaCha8Rng::seed_from_u64(weather.seed));
        let sky = Arc::new(Sky { weather, born: Instant::now(), deeds: Arc::clone(&deeds), chance, died: died_in });
        let service = Outside { server: Server::new(self.shared.clone()), sky: Arc::clone(&sky) };
        let cluster = Cluster::over(service, self.id.clone()).asking(self.datagrams());
        (self.in_cloud(cluster, Some(sky)), Watched { deeds, died })
    }
}

/// The weather as it goes, for every way that a client has to the outside.
#[derive(Debug)]
pub(in crate::lab) struct Sky {
    weather: Weather,
    born: Instant,
    deeds: Arc<Mutex<Vec<Deed>>>,
    chance: Mutex<ChaCha8Rng>,
    died: watch::Sender<bool>,
}

/// What becomes of one call.
pub(in crate::lab) enum Fate {
    Fair {
        late: Duration,
    },
    Refused {
        status: u16,
        reason: &'static str,
    },
    Unsent,
    Lost,
    /// The client dies within it.
    Death {
        carried_out: bool,
    },
}

impl Fate {
    /// Whether the server sees the call.
    const fn arrives(&self) -> bool {
        matches!(self, Self::Fair { .. } | Self::Lost | Self::Death { carried_out: true })
    }
}

/// How a watch breaks off.
#[derive(Debug, Clone, Copy)]
enum Break {
    /// The connection breaks.
    Broken,
    /// It ends as if its time were up.
    Ended,
    /// The server says that its version is too old.
    Gone,
}

impl Sky {
    /// What becomes of the next call, which is noted; `conflicts`: whether it may meet another writer's. A client that is dead makes none.
    pub(in crate::lab) fn fate(&self, deed: Deed, conflicts: bool) -> Fate {
        let mut deeds = self.deeds.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.died.borrow() {
            return Fate::Death { carried_out: false };
        }
        let number = deeds.len() as u64 + 1;
        let death = self.weather.death.filter(|death| death.call == number);
        let fate = match death {
            Some(death) => Fate::Death { carried_out: death.carried_out },
            None => self.draw(conflicts),
        };
        deeds.push(Deed { arrived: fate.arrives(), ..deed });
        fate
    }

    /// The client is dead.
    pub(in crate::lab) fn die(&self) {
        self.died.send_replace(true);
    }

    fn draw(&self, conflicts: bool) -> Fate {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let weather = &self.weather;
        // Drawn in any case: what is drawn later must not depend on the token.
        let (drawn, other) = (chance.random::<f64>(), chance.random::<f64>());
        if weather.expired.is_some_and(|expired| expired.covers(self.born.elapsed())) {
            return Fate::Refused { status: 401, reason: "Unauthorized" };
        }
        let shares = [weather.refused, weather.unsent, weather.lost, if conflicts { weather.conflicts } else { 0.0 }];
        let mut most = 0.0;
        let hit = shares.iter().position(|share| {
            most += share;
            drawn < most
        });
        match hit {
            Some(0) if other < 0.25 => Fate::Refused { status: 429, reason: "TooManyRequests" },
            Some(0) if other < 0.5 => Fate::Refused { status: 500, reason: "InternalError" },
            Some(0) if other < 0.75 => Fate::Refused { status: 503, reason: "ServiceUnavailable" },
            Some(0) => Fate::Refused { status: 504, reason: "Timeout" },
            Some(1) => Fate::Unsent,
            Some(2) => Fate::Lost,
            Some(_) => Fate::Refused { status: 409, reason: "Conflict" },
            None => Fate::Fair { late: weather.late.mul_f64(other) },
        }
    }

    /// When a watch that begins now breaks off, and how.
    fn watch_ends(&self) -> Option<(Instant, Break)> {
        if self.weather.watches.is_zero() {
            return None;
        }
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let how = [Break::Broken, Break::Ended, Break::Gone][chance.random_range(0..3_usize)];
        Some((Instant::now() + self.weather.watches.mul_f64(chance.random::<f64>()), how))
    }

    fn lag(&self) -> Duration {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        self.weather.behind.mul_f64(chance.random::<f64>())
    }

    /// A watch's answer as it comes through the weather.
    async fn watched(self: Arc<Self>, response: Response<Body>) -> Result<Response<Body>, BoxError> {
        let (ends, lags) = (self.watch_ends(), !self.weather.behind.is_zero());
        if (ends.is_none() && !lags) || !response.status().is_success() {
            return Ok(response);
        }
        let watch = Watch { sky: self, body: response.into_body(), ends };
        in_pieces(stream::unfold(Some(watch), |watch| async move { watch?.next().await })).await
    }
}

/// A watch that goes on.
struct Watch {
    sky: Arc<Sky>,
    body: Body,
    ends: Option<(Instant, Break)>,
}

impl Watch {
    /// The next piece, and the rest; `None`: it is over.
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, BoxError>, Option<Self>)> {
        let piece = async {
            let piece = self.body.frame().await;
            // In order: what comes after it waits with it.
            sleep(self.sky.lag()).await;
            piece
        };
        let piece = match self.ends {
            None => piece.await,
            Some((at, how)) => tokio::select! {
                biased;
                piece = piece => piece,
                () = sleep_until(at) => return match how {
                    Break::Broken => Some((Err(broken()), None)),
                    Break::Ended => None,
                    Break::Gone => Some((Ok(Frame::data(gone())), None)),
                },
            },
        };
        Some((piece?.map_err(BoxError::from), Some(self)))
    }
}

/// What a watch is told whose version is too old.
fn gone() -> Bytes {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410});
    Bytes::from(json!({"type": "ERROR", "object": status}).to_string() + "\n")
}

fn broken() -> BoxError {
    BoxError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
}

/// A client's way to the server, through the weather.
#[derive(Debug, Clone)]
struct Outside {
    server: Server,
    sky: Arc<Sky>,
}

impl Outside {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let Self { server, sky } = self;
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let deed = Deed {
            call: format!("{} {}", parts.method, parts.uri.path()),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: body.clone(),
            arrived: false,
        };
        let fate = sky.fate(deed, matches!(parts.method, Method::PUT | Method::PATCH));
        let watches = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
        let request = Request::from_parts(parts, Body::from(body));
        match fate {
            Fate::Fair { late } => {
                if !late.is_zero() {
                    sleep(late).await;
                }
                let response = server.oneshot(request).await?;
                if watches { sky.watched(response).await } else { Ok(response) }
            }
            Fate::Refused { status, reason } => {
                let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "the weather is foul", "reason": reason, "code": status});
                let body = Body::from(serde_json::to_vec(&body)?);
                let response = Response::builder().status(status).header("content-type", "application/json");
                Ok(response.body(body)?)
            }
            Fate::Unsent => Err(broken()),
            Fate::Lost => {
                drop(server.oneshot(request).await);
                Err(broken())
            }
            Fate::Death { carried_out } => {
                if carried_out {
                    drop(server.oneshot(request).await);
                }
                sky.die();
                std::future::pending().await
            }
        }
    }
}

impl Service<Request<Body>> for Outside {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().answer(request).boxed()
    }
}
