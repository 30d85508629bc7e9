//! The lab on real sockets of this machine, in real time: its API server for kubectl and its kin, and its Services over HTTP.
//!
//! A Service `10.96.a.b` listens at `127.96.a.b`. A connection goes to one pod, as kube-proxy would choose it when it is opened. What this
//! machine's kernel has accepted can't be refused any more: where nobody is behind the Service, the connection is reset instead.
//!
//! The API's port is an HTTP proxy too, for those Services alone: programs that go by `http_proxy` reach them by their names.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Service;
use kube::client::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use super::Lab;
use super::api::Server;
use super::network::{self, Dialled, Served, dial};
use super::world::Shared;

/// Between two looks at whether the process behind a connection is still there.
const LOOK: Duration = Duration::from_millis(20);
/// How long a connection is held open on which nothing answers.
const SILENCE: Duration = Duration::from_mins(2);
/// Most connections of one listener at the same time.
const CONNECTIONS: usize = 10_000;
/// Largest request body, that of the real server.
const REQUEST_MAX: usize = 3 * 1024 * 1024;
/// Pause after a connection that could not be accepted: descriptors may have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A Service's port, and where it listens on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// `web.shop.svc:80`.
    pub service: String,
    /// Where.
    pub at: SocketAddr,
}

impl Lab {
    /// Serves the API and the Services until the future is dropped. `tell` is told of each Service that listens now.
    ///
    /// # Errors
    ///
    /// Never by itself: a Service that can't listen is left out, and told by nobody.
    pub async fn serve(&self, api: TcpListener, mut tell: impl FnMut(Listening)) {
        let server = Server::new(self.shared.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_api(api, server, self.shared.clone()));
        let mut changes = self.shared.read(|world| world.store.told());
        let mut bound: BTreeMap<SocketAddr, String> = BTreeMap::new();
        loop {
            for (address, service) in self.shared.read(services) {
                if bound.contains_key(&address) {
                    continue;
                }
                bound.insert(address, service.clone());
                if let Some(listener) = listen(address).await {
                    if let Ok(at) = listener.local_addr() {
                        tell(Listening { service, at });
                    }
                    tasks.spawn(serve_service(listener, address, self.shared.clone()));
                }
            }
            if !changes.changed().await {
                return;
            }
        }
    }

    /// A kubeconfig for the API at an address.
    #[must_use]
    pub fn kubeconfig(at: SocketAddr) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\nclusters:\n  - {{name: lab, cluster: {{server: \"http://{at}\"}}}}\n\
             users:\n  - {{name: lab, user: {{}}}}\ncontexts:\n  - {{name: lab, context: {{cluster: lab, user: lab}}}}\n"
        )
    }
}

/// Every Service's address and port, as they are in the cluster.
fn services(world: &super::world::World) -> Vec<(SocketAddr, String)> {
    let mut all = Vec::new();
    for service in world.store.list::<Service>(None) {
        let spec = service.spec.clone().unwrap_or_default();
        let Some(Ok(address)) = spec.cluster_ip.as_ref().map(|ip| ip.parse::<IpAddr>()) else { continue };
        let name = service.metadata.name.clone().unwrap_or_default();
        let namespace = service.metadata.namespace.clone().unwrap_or_default();
        // Datagrams are not carried.
        let ports = spec.ports.iter().flatten().filter(|port| port.protocol.as_deref() != Some("UDP"));
        all.extend(ports.filter_map(|port| {
            let number = u16::try_from(port.port).ok()?;
            Some((SocketAddr::new(address, number), format!("{name}.{namespace}.svc:{number}")))
        }));
    }
    all
}

/// Listens at the loopback address that stands for a Service's; at another port where this one is taken, or not for us.
async fn listen(service: SocketAddr) -> Option<TcpListener> {
    let IpAddr::V4(ip) = service.ip() else { return None };
    let [_, b, c, d] = ip.octets();
    let here = Ipv4Addr::new(127, b, c, d);
    match TcpListener::bind((here, service.port())).await {
        Ok(listener) => Some(listener),
        Err(_) => TcpListener::bind((here, 0)).await.ok(),
    }
}

/// Accepts for ever; each connection is served by itself.
pub(super) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = listener.accept().await;
        match accepted {
            Ok((tcp, _)) if connections.len() < CONNECTIONS => drop(connections.spawn(serve(tcp))),
            Ok(_) => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn serve_api(listener: TcpListener, server: Server, shared: Shared) {
    let serve = |tcp: TcpStream| {
        let (server, shared) = (server.clone(), shared.clone());
        async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let (server, shared) = (server.clone(), shared.clone());
                async move {
                    // Only to a proxy a request names its host in its first line.
                    let named = Some(request.uri().clone()).filter(|uri| uri.authority().is_some());
                    match named {
                        Some(uri) => Ok(proxied(&shared, &uri).await),
                        None => answer_api(server, request).await,
                    }
                }
            });
            // A client that goes away in the middle of an answer is none of our business.
            drop(http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(tcp), answer).await);
        }
    };
    accept(listener, serve).await;
}

async fn answer_api(server: Server, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, REQUEST_MAX).collect().await;
    let body = body.map_err(|e| io::Error::other(e.to_string()))?.to_bytes();
    let answer = server.oneshot(Request::from_parts(parts, Body::from(body))).await;
    answer.map_err(|e| io::Error::other(e.to_string()))
}

/// Asks a Service by its name, over a connection of its own.
async fn proxied(shared: &Shared, uri: &http::Uri) -> Response<Body> {
    let host = uri.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let host = host.strip_suffix(".cluster.local").unwrap_or(&host);
    let wanted = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let all = shared.read(services);
    let found = all.into_iter().find(|(address, name)| *name == wanted || address.to_string() == wanted);
    let Some((address, _)) = found else {
        return failed(http::StatusCode::NOT_FOUND, &format!("the lab has no Service {wanted}"));
    };
    match shared.act(|world| dial(world, address, None)) {
        Dialled::Open { life, .. } => match answer_of(shared, life).await {
            Some(response) => response.map(Body::from),
            None => failed(http::StatusCode::BAD_GATEWAY, "the connection was closed"),
        },
        Dialled::Silent { .. } => {
            sleep(SILENCE).await;
            failed(http::StatusCode::GATEWAY_TIMEOUT, "nothing answered")
        }
        Dialled::Failed { .. } => failed(http::StatusCode::BAD_GATEWAY, "the connection was refused"),
    }
}

fn failed(status: http::StatusCode, why: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{why}\n").into_bytes()));
    *response.status_mut() = status;
    response
}

async fn serve_service(listener: TcpListener, service: SocketAddr, shared: Shared) {
    let serve = |tcp: TcpStream| {
        let shared = shared.clone();
        async move {
            match shared.act(|world| dial(world, service, None)) {
                Dialled::Open { life, .. } => serve_process(tcp, shared, life).await,
                Dialled::Silent { .. } => sleep(SILENCE).await,
                Dialled::Failed { .. } => drop(reset(&tcp)),
            }
        }
    };
    accept(listener, serve).await;
}

/// Ends a connection by a reset, as the end of a process that had not read everything does.
fn reset(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_zero_linger()
}

/// Answers the requests of one connection as the process behind it would, until the process is gone.
async fn serve_process(tcp: TcpStream, shared: Shared, life: u64) {
    let here = shared.clone();
    let answer = service_fn(move |_: Request<Incoming>| {
        let shared = shared.clone();
        async move { answer_of_living(&shared, life).await.map(|answer| answer.map(Full::new)) }
    });
    tokio::select! {
        _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(tcp), answer) => {}
        () = gone(&here, life) => {}
    }
}

/// What a process answers to one request. `None`: it was gone before that, or resets the connection.
async fn answer_of(shared: &Shared, life: u64) -> Option<Response<Bytes>> {
    tokio::select! {
        response = answer_of_living(shared, life) => response.ok(),
        () = gone(shared, life) => None,
    }
}

/// The same for as long as it takes: a process that hangs or is gone never answers.
async fn answer_of_living(shared: &Shared, life: u64) -> io::Result<Response<Bytes>> {
    let Some(process) = shared.read(|world| world.kubelets.life(life).cloned()) else {
        return std::future::pending().await;
    };
    let served = shared.act(|world| network::serve(world, life, Instant::now()));
    let (takes, status) = match served {
        Served::After(takes) => (takes, process.status),
        Served::Turned(network::Full::Status) => (Duration::ZERO, 503),
        Served::Turned(network::Full::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
    };
    sleep(takes).await;
    if process.hangs.is_some_and(|at| at <= Instant::now()) {
        return std::future::pending().await;
    }
    let mut response = Response::new(Bytes::from(format!("{}/{}\n", process.pod.namespace, process.pod.name)));
    if let Ok(status) = http::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    Ok(response)
}

/// Waits until what ends with a process is seen at the other end of a connection.
async fn gone(shared: &Shared, life: u64) {
    loop {
        let ended = shared.read(|world| world.kubelets.life(life).map(|process| process.ended));
        match ended {
            // Of a machine without power nothing comes any more, not even the end of a connection.
            Some(Some((_, true))) => sleep(SILENCE).await,
            Some(None) => sleep(LOOK).await,
            Some(Some((_, false))) | None => return,
        }
    }
}
