//! An HTTP/2 server whose frames are written by hand, so that it can do what no library would, and counts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the server does with one request, in turn.
#[derive(Debug, Clone)]
pub(in crate::probe::tests) enum Do {
    Write(Vec<u8>),
    /// Ends its side in order and reads until the client is gone.
    Close,
    /// Ends without a word: with the zero linger of every connection, a reset.
    Reset,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(in crate::probe::tests) struct Asked {
    /// Number of its connection, from 0.
    pub(in crate::probe::tests) connection: usize,
    /// Its number on that connection, from 0.
    pub(in crate::probe::tests) request: usize,
    /// The id of its stream.
    pub(in crate::probe::tests) stream: u32,
}

/// What the server saw.
#[derive(Debug, Default)]
pub(in crate::probe::tests) struct Seen {
    pub(in crate::probe::tests) connections: AtomicUsize,
    pub(in crate::probe::tests) requests: AtomicUsize,
    /// Most requests at a time on one connection that were not given up.
    pub(in crate::probe::tests) at_a_time: AtomicUsize,
    /// The codes with which the client gave up streams.
    pub(in crate::probe::tests) given_up: Mutex<Vec<u32>>,
}

impl Seen {
    pub(in crate::probe::tests) fn counts(&self) -> [usize; 2] {
        [&self.connections, &self.requests].map(|count| count.load(Ordering::SeqCst))
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

pub(in crate::probe::tests) const LAST: u32 = 0x7fff_ffff;
pub(in crate::probe::tests) const INTERNAL_ERROR: u32 = 2;
pub(in crate::probe::tests) const REFUSED_STREAM: u32 = 7;
pub(in crate::probe::tests) const CANCEL: u32 = 8;

pub(in crate::probe::tests) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A status in HPACK: from the static table, or its name from there and its value as it stands.
fn status(status: u16) -> Vec<u8> {
    match status {
        200 => vec![0x88],
        204 => vec![0x89],
        404 => vec![0x8d],
        500 => vec![0x8e],
        other => [&[0x08, 3][..], other.to_string().as_bytes()].concat(),
    }
}

/// A head block, with headers as they stand.
pub(in crate::probe::tests) fn block(code: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = if code == 0 { Vec::new() } else { status(code) };
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A response's head, or with status 0 its trailers.
pub(in crate::probe::tests) fn head(stream: u32, code: u16, headers: &[(&str, &str)], end: bool) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &block(code, headers))
}

pub(in crate::probe::tests) fn data(stream: u32, bytes: &[u8], end: bool) -> Vec<u8> {
    frame(DATA, if end { END_STREAM } else { 0 }, stream, bytes)
}

/// A whole good answer.
pub(in crate::probe::tests) fn ok(stream: u32) -> Vec<u8> {
    [head(stream, 200, &[], false), data(stream, b"ok", true)].concat()
}

pub(in crate::probe::tests) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(in crate::probe::tests) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// Settings that allow so many streams at a time.
pub(in crate::probe::tests) fn settings(streams: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 3][..], &streams.to_be_bytes()].concat())
}

/// Starts the server in clear text. `script` is asked for each request.
pub(in crate::probe::tests) async fn serve(
    settings: Vec<u8>,
    script: impl Fn(Asked) -> Vec<Do> + Send + Sync + 'static,
) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let (script, out) = (Arc::new(script), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_zero_linger().unwrap();
            let (script, seen, settings) = (Arc::clone(&script), Arc::clone(&seen), settings.clone());
            tokio::spawn(async move { converse(stream, &settings, &*script, &seen).await });
        }
    });
    (address, out)
}

/// Serves one connection until it ends.
pub(in crate::probe::tests) async fn converse(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    settings: &[u8],
    script: &(impl Fn(Asked) -> Vec<Do> + ?Sized),
    seen: &Seen,
) -> Option<()> {
    let connection = seen.connections.fetch_add(1, Ordering::SeqCst);
    let mut preface = [0; 24];
    io.read_exact(&mut preface).await.ok()?;
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    io.write_all(settings).await.ok()?;
    let (mut request, mut open) = (0, BTreeSet::new());
    loop {
        let mut start = [0; 9];
        io.read_exact(&mut start).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = start;
        let stream = u32::from_be_bytes(id);
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        io.read_exact(&mut payload).await.ok()?;
        match kind {
            SETTINGS if flags & ACK == 0 => io.write_all(&frame(SETTINGS, ACK, 0, &[])).await.ok()?,
            PING if flags & ACK == 0 => io.write_all(&frame(PING, ACK, 0, &payload)).await.ok()?,
            RST_STREAM => {
                open.remove(&stream);
                seen.given_up.lock().unwrap().push(u32::from_be_bytes(payload[..4].try_into().unwrap()));
            }
            _ => {}
        }
        if !matches!(kind, HEADERS | DATA) || flags & END_STREAM == 0 {
            continue;
        }
        seen.requests.fetch_add(1, Ordering::SeqCst);
        open.insert(stream);
        seen.at_a_time.fetch_max(open.len(), Ordering::SeqCst);
        for act in script(Asked { connection, request, stream }) {
            match act {
                Do::Write(bytes) => {
                    io.write_all(&bytes).await.ok()?;
                    open.clear();
                }
                Do::Close => {
                    io.shutdown().await.ok()?;
                    io.read_to_end(&mut Vec::new()).await.ok()?;
                    return None;
                }
                Do::Reset => return None,
            }
        }
        request += 1;
    }
}
