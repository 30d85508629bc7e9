//! A Docker Engine on this machine or in its reach: the fourth way to the outside, for clusters whose nodes are containers.

use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};

/// Where Docker listens unless somebody says otherwise.
const SOCKET: &str = "unix:///var/run/docker.sock";
/// How long an answer may take, that of a stop included.
const PATIENCE: Duration = Duration::from_secs(25);

/// Why the engine did not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// `DOCKER_HOST` names what can't be reached this way.
    #[error("`DOCKER_HOST` is `{0}`: only `unix:///PATH` and `tcp://HOST:PORT` without TLS are understood")]
    Address(String),
    /// Nobody answers.
    #[error("the Docker Engine at {engine} does not answer: {why}")]
    Unreachable {
        /// Where.
        engine: String,
        /// Why.
        why: String,
    },
    /// It answers that it can't.
    #[error("the Docker Engine at {engine} answered {status}: {why}")]
    Refused {
        /// Where.
        engine: String,
        /// HTTP status.
        status: u16,
        /// Its words.
        why: String,
    },
}

impl EngineError {
    /// Whether the same call may be tried again with hope.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Address(_) => false,
        }
    }
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id, which no other has, now or later.
    pub id: String,
    /// Its names, without the slash that the engine puts before them.
    pub names: Vec<String>,
}

impl Container {
    fn of(found: ContainerSummary) -> Option<Self> {
        let names = found.names.unwrap_or_default();
        let names = names.into_iter().map(|name| name.trim_start_matches('/').to_owned()).collect();
        Some(Self { id: found.id?, names })
    }
}

/// An engine.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    host: String,
}

impl Engine {
    /// How long a container may take to shut down before the engine kills it: Docker's own default.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// The engine that `DOCKER_HOST` names; without it the one of this machine.
    ///
    /// # Errors
    ///
    /// When it can't be reached, or not in this way.
    pub async fn of_environment() -> Result<Self, EngineError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let host = variable("DOCKER_HOST").unwrap_or_else(|| SOCKET.to_owned());
        if host.starts_with("tcp://") && variable("DOCKER_TLS_VERIFY").is_some() {
            return Err(EngineError::Address(format!("{host}` with `DOCKER_TLS_VERIFY")));
        }
        Self::open(&host).await
    }

    /// The engine at an address as `DOCKER_HOST` has it. One that does not answer is known at once.
    ///
    /// # Errors
    ///
    /// When it can't be reached, or not in this way.
    async fn open(host: &str) -> Result<Self, EngineError> {
        let seconds = PATIENCE.as_secs();
        let docker = match host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => {
                Docker::connect_with_unix(host, seconds, API_DEFAULT_VERSION)
            }
            Some(("tcp", place)) if place.contains(':') => {
                Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION)
            }
            _ => return Err(EngineError::Address(host.to_owned())),
        };
        let failed = |e: &Error| error(host, e);
        let docker = docker.map_err(|e| failed(&e))?.negotiate_version().await.map_err(|e| failed(&e))?;
        Ok(Self { docker, host: host.to_owned() })
    }

    /// The containers that carry a label with this value, running or not.
    ///
    /// # Errors
    ///
    /// When the engine does not answer with a list.
    pub async fn labelled(&self, label: &str, value: &str) -> Result<Vec<Container>, EngineError> {
        let filters = [("label", vec![format!("{label}={value}")])].into_iter().collect();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await.map_err(|e| error(&self.host, &e))?;
        Ok(found.into_iter().filter_map(Container::of).collect())
    }

    /// Whether a container runs; `None` when there is none of this id.
    ///
    /// # Errors
    ///
    /// When the engine does not say.
    pub async fn runs(&self, id: &str) -> Result<Option<bool>, EngineError> {
        let found = self.there(self.docker.inspect_container(id, None::<InspectContainerOptions>).await)?;
        Ok(found.map(|found| found.state.and_then(|state| state.running) == Some(true)))
    }

    /// Kills every process of a container at once. Whether there is such a container.
    ///
    /// # Errors
    ///
    /// When the engine does not answer, or the container does not run.
    pub async fn kill(&self, id: &str) -> Result<bool, EngineError> {
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        Ok(self.there(self.docker.kill_container(id, Some(options)).await)?.is_some())
    }

    /// Asks a container to shut down, and kills it when it has not in time. Whether there is such a container.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn stop(&self, id: &str) -> Result<bool, EngineError> {
        let seconds = i32::try_from(Self::GRACE.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        Ok(self.there(self.docker.stop_container(id, Some(options)).await)?.is_some())
    }

    /// Starts a container; nothing to do where it runs. Whether there is such a container.
    ///
    /// # Errors
    ///
    /// When the engine does not answer, or can't start it.
    pub async fn start(&self, id: &str) -> Result<bool, EngineError> {
        Ok(self.there(self.docker.start_container(id, None::<StartContainerOptions>).await)?.is_some())
    }

    /// `None` where the engine knows nothing of the id.
    fn there<T>(&self, answer: Result<T, Error>) -> Result<Option<T>, EngineError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(e) => Err(error(&self.host, &e)),
        }
    }
}

/// As `DOCKER_HOST` names it.
impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)
    }
}

fn error(host: &str, error: &Error) -> EngineError {
    let engine = host.to_owned();
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            EngineError::Refused { engine, status: *status_code, why: message.trim().to_owned() }
        }
        Error::SocketNotFoundError(_) => EngineError::Unreachable { engine, why: "there is no such socket".to_owned() },
        Error::RequestTimeoutError => {
            EngineError::Unreachable { engine, why: format!("nothing came within {} s", PATIENCE.as_secs()) }
        }
        other => EngineError::Unreachable { engine, why: innermost(other) },
    }
}

/// What broke: the client's own words are the same for all of it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    async fn failure(host: &str) -> String {
        Engine::open(host).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn an_engine_that_cannot_be_reached_says_which_and_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let host = format!("unix://{}", path.display());
        assert_eq!(
            failure(&host).await,
            format!("the Docker Engine at {host} does not answer: there is no such socket")
        );
        drop(UnixListener::bind(&path).unwrap());
        let refused = failure(&host).await;
        assert!(refused.contains("does not answer: Connection refused"), "{refused}");
        for wrong in ["ssh://me@there", "unix://docker.sock", "tcp://there", "docker.sock"] {
            assert!(failure(wrong).await.starts_with(&format!("`DOCKER_HOST` is `{wrong}`: only ")), "{wrong}");
        }
    }

    /// An engine that answers each connection's one request by the next of these.
    fn engine(
        path: &std::path::Path,
        answers: Vec<(&'static str, &'static str)>,
    ) -> tokio::task::JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                asked.push(String::from_utf8(request).unwrap().lines().next().unwrap().to_owned());
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        })
    }

    #[tokio::test]
    async fn it_asks_in_the_engines_own_version_and_tells_absence_from_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let asked = engine(
            &path,
            vec![
                ("200 OK", r#"{"ApiVersion": "1.41"}"#),
                ("200 OK", r#"[{"Id": "abc", "Names": ["/n1"], "State": "running"}]"#),
                ("404 Not Found", r#"{"message": "No such container: x"}"#),
                ("409 Conflict", r#"{"message": "container abc is not running"}"#),
                ("204 No Content", ""),
                ("500 Internal Server Error", r#"{"message": "no space left"}"#),
            ],
        );
        let engine = Engine::open(&format!("unix://{}", path.display())).await.unwrap();
        let found = engine.labelled("cluster", "a b").await.unwrap();
        assert_eq!(found, [Container { id: "abc".to_owned(), names: vec!["n1".to_owned()] }]);
        assert_eq!(engine.runs("x").await, Ok(None));
        let refused = engine.kill("abc").await.unwrap_err();
        assert!(refused.to_string().ends_with("answered 409: container abc is not running") && !refused.is_transient());
        assert_eq!(engine.stop("abc").await, Ok(true));
        assert!(engine.start("abc").await.unwrap_err().is_transient());
        let asked = asked.await.unwrap();
        assert_eq!(asked[0], "GET /version HTTP/1.1");
        // Without a version in the path an engine answers in its own.
        assert!(asked[1].starts_with("GET /containers/json?all=true&"), "{asked:?}");
        assert_eq!(asked[3], "POST /containers/abc/kill?signal=KILL HTTP/1.1");
        assert!(asked[4].starts_with("POST /containers/abc/stop?t=10"), "{asked:?}");
    }
}
