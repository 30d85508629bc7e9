//! Asking a resolver: one question, one datagram, one answer or none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::cluster::Datagrams;

/// How long a resolver may take beyond the delay that it is meant to have. An answer from within the cluster takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a question comes to while the fault bites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Bite {
    /// This response code.
    Code(String),
    /// No answer.
    Silence,
    /// The answer of before, so many milliseconds late.
    Late(u64),
}

/// What is asked to see whether the fault bites, and whether it is over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Questions {
    /// The response code of each name before the fault. Empty where nobody answers from here.
    pub(super) before: BTreeMap<String, String>,
    /// The resolver's Service, where it is asked.
    pub(super) service: Option<SocketAddr>,
    /// Port of the pods.
    pub(super) port: u16,
    /// Labels of the pods.
    pub(super) selector: String,
    /// What the fault makes of it; nothing where only the end of it is asked for.
    pub(super) bite: Option<Bite>,
    /// How often each question is asked: a share of the queries is met by some of them only.
    pub(super) tries: u32,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    code: Option<String>,
    took: Duration,
}

impl Answered {
    pub(super) fn is(&self, bite: &Bite) -> bool {
        match bite {
            Bite::Code(code) => self.code.as_ref() == Some(code),
            Bite::Silence => self.code.is_none(),
            Bite::Late(late) => self.code.is_some() && self.took >= Duration::from_millis(*late),
        }
    }
}

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code} after {} ms", self.took.as_millis()),
            None => f.write_str("no answer"),
        }
    }
}

impl Questions {
    /// Whether somebody answered before, from here.
    pub(super) fn can_be_asked(&self) -> bool {
        !self.before.is_empty()
    }

    fn patience(&self) -> Duration {
        match self.bite {
            Some(Bite::Late(late)) => PATIENCE + Duration::from_millis(late),
            _ => PATIENCE,
        }
    }

    /// Whether the server shows the bite for every name; otherwise what it answers.
    pub(super) async fn bitten(&self, by: &Datagrams, server: SocketAddr) -> Result<(), String> {
        let Some(bite) = &self.bite else { return Err("nothing is asked".to_owned()) };
        for name in self.before.keys() {
            let mut last = None;
            for _ in 0..self.tries.max(1) {
                let answer = ask(by, server, name, self.patience()).await;
                let is = answer.is(bite);
                last = Some(answer);
                if is {
                    last = None;
                    break;
                }
            }
            if let Some(answer) = last {
                return Err(format!("{server} answers `{name}` with {answer}"));
            }
        }
        Ok(())
    }

    /// Whether the server answers every name as it did before; otherwise what it answers.
    pub(super) async fn as_before(&self, by: &Datagrams, server: SocketAddr) -> Result<(), String> {
        for (name, before) in &self.before {
            let answers = join_all((0..self.tries.max(1)).map(|_| ask(by, server, name, self.patience()))).await;
            let late =
                |answer: &Answered| self.bite.as_ref().is_some_and(|b| matches!(b, Bite::Late(_)) && answer.is(b));
            if let Some(other) = answers.iter().find(|answer| answer.code.as_ref() != Some(before) || late(answer)) {
                return Err(format!("{server} answers `{name}` with {other}, and with {before} before"));
            }
        }
        Ok(())
    }
}

/// Asks for an address of a name. Without an answer in time, or when none could be asked for, there is none.
pub(super) async fn ask(by: &Datagrams, server: SocketAddr, name: &str, patience: Duration) -> Answered {
    let begun = Instant::now();
    let code = timeout(patience, query(by, server, name)).await.ok().and_then(Result::ok);
    Answered { code, took: begun.elapsed() }
}

/// The response code to one name, in words.
pub(super) async fn code_of(by: &Datagrams, server: SocketAddr, name: &str) -> Option<String> {
    ask(by, server, name, PATIENCE).await.code
}

async fn query(by: &Datagrams, server: SocketAddr, name: &str) -> std::io::Result<String> {
    let name = Name::from_ascii(name).map_err(std::io::Error::other)?;
    let mut question = Message::new(0, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name, RecordType::A));
    let answer = by.ask(server, question).await?;
    Ok(word_of(answer.metadata.response_code))
}

/// A response code as the protocol's documents write it.
fn word_of(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("response code {}", u16::from(other)),
    }
}
