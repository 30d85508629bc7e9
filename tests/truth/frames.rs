//! The server's HTTP/2 and gRPC, byte for byte: what it says to a request of each fault, and how the connection ends.
//!
//! Written against the frames themselves, so that a library that takes a broken answer for a sound one can't hide it.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::{Server, known_faults};
use crate::script::{Listener, Protocol, Script};

/// The names of frames, by type.
const KINDS: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

/// A connection's first words, one request on stream 1, and a ping behind it, which is answered where the connection carries on.
fn request() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(b"\0\0\0\x04\0\0\0\0\0");
    // `:method: GET`, `:scheme: http`, `:path: /`, with nothing to follow.
    bytes.extend(b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84");
    bytes.extend(b"\0\0\x08\x06\0\0\0\0\0are you?");
    bytes
}

/// Everything that is said until the end of the connection, which the client has closed on its side: nothing is waited for.
fn said(port: u16) -> (Vec<u8>, &'static str) {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.write_all(&request()).unwrap();
    // It may be reset already.
    drop(tcp.shutdown(Shutdown::Write));
    let mut bytes = Vec::new();
    let end = tcp.read_to_end(&mut bytes).map_or_else(
        |error| {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
            "RST"
        },
        |_| "FIN",
    );
    (bytes, end)
}

/// One line for each frame; what is no frame stands there as it came.
fn told(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes;
    let mut pings = 0;
    while !rest.is_empty() {
        let whole = rest.first_chunk::<9>().and_then(|head| {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            Some((*head, rest.get(9..9 + length)?))
        });
        let Some((head, payload)) = whole else {
            writeln!(text, "    not whole: {}", rest.escape_ascii()).unwrap();
            break;
        };
        rest = &rest[9 + payload.len()..];
        // Many of a kind are one line.
        let ping = (head[3], head[4]) == (6, 0);
        pings += usize::from(ping);
        if ping && rest.get(3..5) == Some(&[6, 0]) {
            continue;
        }
        let kind = KINDS.get(usize::from(head[3])).map_or_else(|| format!("{:#x}", head[3]), |kind| (*kind).to_owned());
        let count = if ping { format!(" x {pings}") } else { String::new() };
        writeln!(text, "    {kind}{count} flags {} stream {} {}", head[4], head[8], payload.escape_ascii()).unwrap();
    }
    text
}

/// All faults of a protocol that strike once HTTP/2 is spoken.
fn all(name: &str, protocol: Protocol) -> String {
    const BELOW: [&str; 7] =
        ["refused", "backlog-full", "never-accepts", "accept-fin", "accept-rst", "accept-hang", "rst-unread"];
    let faults: Vec<_> = known_faults(name).into_iter().filter(|fault| !BELOW.contains(&fault.as_str())).collect();
    let listener = |fault: &String| Listener {
        name: fault.clone(),
        protocol,
        rules: Vec::new(),
        otherwise: fault.clone(),
        windows: Vec::new(),
        delay: None,
    };
    let server = Server::start(&Script { seed: 1, listeners: faults.iter().map(listener).collect() });
    let mut text = String::new();
    for (index, fault) in faults.iter().enumerate() {
        let (bytes, end) = said(server.port(index));
        write!(text, "{fault}\n{}    {end}\n", told(&bytes)).unwrap();
    }
    let seen = server.finish();
    for fault in &faults {
        assert_eq!(seen[fault].connections, 1, "{fault}");
        let of_connection = fault.starts_with("preface-") || fault.starts_with("settings-");
        assert_eq!(seen[fault].acts(fault), usize::from(!of_connection), "{fault}");
    }
    text
}

#[test]
fn http2_faults_are_these_frames() {
    insta::assert_snapshot!(all("h2c", Protocol::H2c));
}

#[test]
fn grpc_faults_are_these_frames() {
    insta::assert_snapshot!(all("grpc", Protocol::Grpc));
}
