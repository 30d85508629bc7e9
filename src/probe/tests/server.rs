//! A server over real sockets that does to each request what the test's script says, and counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Writes these bytes and waits for the next request.
    Answer(&'static str),
    /// Writes these bytes and closes in order.
    AnswerAndClose(&'static str),
    /// Writes these bytes and resets.
    AnswerAndReset(&'static str),
    /// Never answers.
    Hang,
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What the server saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) connections: AtomicUsize,
    pub(super) requests: AtomicUsize,
    /// Requests that were not answered with [`OK`].
    pub(super) others: AtomicUsize,
    /// The last request's head.
    pub(super) head: std::sync::Mutex<String>,
}

impl Seen {
    pub(super) fn counts(&self) -> [usize; 3] {
        [&self.connections, &self.requests, &self.others].map(|count| count.load(Ordering::SeqCst))
    }
}

/// Starts the server. `script` is asked once per request, with the connection's number and the request's number on it, from 0.
pub(super) async fn serve(script: impl Fn(usize, usize) -> Act + Send + Sync + 'static) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let (script, out) = (Arc::new(script), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = seen.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(converse(stream, number, Arc::clone(&script), Arc::clone(&seen)));
        }
    });
    (address, out)
}

async fn converse(mut stream: TcpStream, number: usize, script: Arc<impl Fn(usize, usize) -> Act>, seen: Arc<Seen>) {
    let mut request = 0;
    while let Some(head) = read_head(&mut stream).await {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        *seen.head.lock().unwrap() = head;
        let act = script(number, request);
        if !matches!(act, Act::Answer(OK)) {
            seen.others.fetch_add(1, Ordering::SeqCst);
        }
        match act {
            Act::Answer(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap_or_default(),
            Act::AnswerAndClose(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap_or_default();
                return;
            }
            Act::AnswerAndReset(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap_or_default();
                stream.set_zero_linger().unwrap();
                return;
            }
            Act::Hang => std::future::pending().await,
        }
        request += 1;
    }
}

/// Reads up to the end of a request's head; the requests of these tests have no body.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
