//! DNS queries of the program itself into the lab: as real bytes, both ways.

use std::io;
use std::net::SocketAddr;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hickory_resolver::proto::op::Message;
use tokio::time::{Instant, sleep_until};

use super::Lab;
use super::dns::{Query, plain};
use super::network::{CLIENT, Delivered, deliver};
use super::world::Shared;
use crate::cluster::AskDns;

/// The lab's network, for who asks DNS servers.
#[derive(Debug, Clone)]
pub(super) struct Datagrams(Shared);

impl Lab {
    pub(super) fn datagrams(&self) -> Datagrams {
        Datagrams(self.shared.clone())
    }
}

impl AskDns for Datagrams {
    fn ask(&self, server: SocketAddr, question: Message) -> BoxFuture<'static, io::Result<Message>> {
        let shared = self.0.clone();
        async move {
            let Some(asked) = question.queries.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
            let (name, kind) = (plain(asked.name()), asked.query_type());
            let query = Query { name: &name, kind, client: CLIENT, tcp: false };
            let sent = Instant::now();
            let round_trip = shared.read(|world| world.settings.round_trip);
            let delivered = shared.act(|world| deliver(world, server, query, None));
            match delivered {
                Delivered::Answered { reply, takes, life } => {
                    sleep_until(sent + round_trip + takes).await;
                    let ended = shared.read(|world| world.kubelets.life(life).and_then(|process| process.ended));
                    if ended.is_some_and(|(at, _)| at < sent + takes) {
                        return std::future::pending().await;
                    }
                    let answer = reply.message(&name, kind, question.metadata.id);
                    let bytes = answer.and_then(|answer| answer.to_vec().ok()).unwrap_or_default();
                    Message::from_vec(&bytes).map_err(io::Error::other)
                }
                Delivered::Refused => {
                    sleep_until(sent + round_trip).await;
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                // Of one that is no CoreDNS nobody knows the answer.
                Delivered::Silent { .. } | Delivered::Stranger { .. } => std::future::pending().await,
            }
        }
        .boxed()
    }
}
