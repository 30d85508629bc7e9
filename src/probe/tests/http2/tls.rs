//! HTTP/2 in TLS: it is agreed on in the handshake, or not spoken at all.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::super::tls::{acceptor, file};
use super::server::{Asked, Do, Seen, converse, ok, settings};
use super::*;

async fn secure(alpn: &[&str]) -> (u16, Arc<Seen>) {
    let acceptor = acceptor(alpn);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Seen::default());
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                converse(stream, &settings(MANY), &|Asked { stream, .. }| vec![Do::Write(ok(stream))], &seen).await;
            });
        }
    });
    (port, seen)
}

async fn asked(port: u16, stream: StreamKind, count: usize) -> Vec<Exchange> {
    let mut config = config(&format!("https://127.0.0.1:{port}/"), stream);
    http(&mut config).ca_file = Some(file("ca.pem"));
    LocalSet::new()
        .run_until(async {
            let transport = transport(&config, stream);
            let mut answers = Vec::new();
            for _ in 0..count {
                answers.push(ask(&transport, LONG).await);
            }
            answers
        })
        .await
}

#[tokio::test]
async fn http2_is_agreed_on_in_the_handshake() {
    let (port, seen) = secure(&["http/1.1", "h2"]).await;
    let got = asked(port, StreamKind::KeptAlive, 3).await;
    assert!(got.iter().all(|got| got.answer == Answer::Good), "{got:?}");
    assert_eq!(got.iter().map(|got| got.reused).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(seen.counts(), [1, 3]);
}

#[tokio::test]
async fn a_server_that_does_not_agree_is_asked_nothing() {
    // One that knows nothing of such agreements, and one that insists on another version.
    for alpn in [&[][..], &["http/1.1"]] {
        let (port, seen) = secure(alpn).await;
        let got = asked(port, StreamKind::Fresh, 1).await;
        assert_eq!(got[0].answer, bad(Class::TlsAlpn, 0), "{alpn:?}");
        assert_eq!(seen.counts()[1], 0);
    }
}
