//! What may go wrong between a client and the API server: calls that are refused, lost or slow, and the death of the client itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::Body;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tower::{BoxError, Service, ServiceExt as _};

use super::Lab;
use super::api::Server;
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
    /// By how much any answer may be late.
    pub late: Duration,
    /// When the client dies, if it does.
    pub death: Option<Death>,
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
    calls: Arc<Mutex<u64>>,
    died: watch::Receiver<bool>,
}

impl Watched {
    /// The calls that it made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner)
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
        let calls: Arc<Mutex<u64>> = Arc::default();
        let chance = ChaCha8Rng::seed_from_u64(weather.seed);
        let sky = Arc::new(Sky { weather, calls: Arc::clone(&calls), chance: Mutex::new(chance), died: died_in });
        let service = Outside { server: Server::new(self.shared.clone()), sky: Arc::clone(&sky) };
        let cluster = Cluster::over(service, self.id.clone()).asking(self.datagrams());
        (self.in_cloud(cluster, Some(sky)), Watched { calls, died })
    }
}

/// The weather as it goes, for every way that a client has to the outside.
#[derive(Debug)]
pub(in crate::lab) struct Sky {
    weather: Weather,
    calls: Arc<Mutex<u64>>,
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

impl Sky {
    /// What becomes of the next call.
    pub(in crate::lab) fn fate(&self) -> Fate {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.died.borrow() {
            return Fate::Death { carried_out: false };
        }
        *calls += 1;
        if let Some(death) = self.weather.death
            && death.call == *calls
        {
            return Fate::Death { carried_out: death.carried_out };
        }
        let drawn = chance.random::<f64>();
        let (refused, unsent, lost) = (self.weather.refused, self.weather.unsent, self.weather.lost);
        if drawn < refused {
            let (status, reason) = match chance.random_range(0..4_u8) {
                0 => (429, "TooManyRequests"),
                1 => (500, "InternalError"),
                2 => (503, "ServiceUnavailable"),
                _ => (504, "Timeout"),
            };
            return Fate::Refused { status, reason };
        }
        if drawn < refused + unsent {
            return Fate::Unsent;
        }
        if drawn < refused + unsent + lost {
            return Fate::Lost;
        }
        Fate::Fair { late: self.weather.late.mul_f64(chance.random::<f64>()) }
    }

    /// The client is dead.
    pub(in crate::lab) fn die(&self) {
        self.died.send_replace(true);
    }
}

/// A client's way to the server, through the weather.
#[derive(Debug, Clone)]
struct Outside {
    server: Server,
    sky: Arc<Sky>,
}

impl Service<Request<Body>> for Outside {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (server, sky) = (self.server.clone(), Arc::clone(&self.sky));
        async move {
            let broken = || BoxError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
            match sky.fate() {
                Fate::Fair { late } => {
                    if !late.is_zero() {
                        sleep(late).await;
                    }
                    server.oneshot(request).await
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
        .boxed()
    }
}
