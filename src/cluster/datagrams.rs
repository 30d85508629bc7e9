//! Questions to DNS servers: over this machine's sockets, or by what stands in their place in a rehearsal.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hickory_resolver::proto::op::Message;
use tokio::net::UdpSocket;

/// Largest datagram that is read.
const DATAGRAM_MAX: usize = 4096;

/// Carries a question to a DNS server, and its answer back.
pub trait AskDns: Send + Sync {
    /// Sends the question once, as one datagram. Waits for ever where nothing comes back; dropping the future gives up.
    fn ask(&self, server: SocketAddr, question: Message) -> BoxFuture<'static, io::Result<Message>>;
}

/// Who carries questions to DNS servers. Cheap to clone.
#[derive(Clone)]
pub struct Datagrams(Arc<dyn AskDns>);

impl Datagrams {
    pub(super) fn by(carrier: impl AskDns + 'static) -> Self {
        Self(Arc::new(carrier))
    }

    /// Sends a question, whose number may be changed, and waits for the answer to it.
    ///
    /// Waits for ever where nothing comes back; dropping the future gives up.
    ///
    /// # Errors
    ///
    /// When the question can't be sent, or whoever is there says that nobody listens.
    pub async fn ask(&self, server: SocketAddr, question: Message) -> io::Result<Message> {
        self.0.ask(server, question).await
    }
}

impl Default for Datagrams {
    fn default() -> Self {
        Self::by(Sockets)
    }
}

/// This machine's sockets: one for each question.
struct Sockets;

impl AskDns for Sockets {
    fn ask(&self, server: SocketAddr, question: Message) -> BoxFuture<'static, io::Result<Message>> {
        ask(server, question).boxed()
    }
}

async fn ask(server: SocketAddr, mut question: Message) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    // The kernel picks a port for each question; its number tells answers apart as well as one of our own.
    let id = socket.local_addr()?.port();
    question.metadata.id = id;
    socket.send(&question.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Whatever is not the answer is passed over, as if it had not come.
        if let Ok(answer) = Message::from_vec(buffer.get(..length).unwrap_or_default())
            && answer.metadata.id == id
        {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::{MessageType, OpCode};

    use super::*;

    #[tokio::test]
    async fn what_is_not_the_answer_is_passed_over() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = server.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; DATAGRAM_MAX];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let mut answer = Message::from_vec(&buffer[..length]).unwrap();
            answer.metadata.message_type = MessageType::Response;
            let right = answer.metadata.id;
            for id in [right.wrapping_add(1), right] {
                answer.metadata.id = id;
                server.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
            right
        });
        let answer = Datagrams::default().ask(at, Message::new(0, MessageType::Query, OpCode::Query)).await.unwrap();
        assert_eq!(answer.metadata.id, serving.await.unwrap());
    }
}
