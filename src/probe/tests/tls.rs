//! TLS: what is accepted, and the classes of what is not.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use super::super::{Answer, Class, StreamKind};
use super::outcomes::{LONG, SHORT, ask, transport};
use super::server::{Act, OK, serve};
use super::{http, probe};

pub(super) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/probe/tests/certificates").join(name)
}

/// What a server needs that has a certificate for `localhost` and 127.0.0.1, signed by the tests' own authority.
pub(super) fn acceptor(alpn: &[&str]) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("server-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A server that answers every request.
async fn secure() -> u16 {
    let acceptor = acceptor(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        stream.write_all(OK.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    port
}

async fn outcome(url: &str, ca: Option<&str>, timeout: std::time::Duration) -> Answer {
    let mut config = probe(url, "1/s", timeout, &[StreamKind::Fresh]);
    http(&mut config).ca_file = ca.map(file);
    LocalSet::new().run_until(async { ask(&transport(&config, StreamKind::Fresh), timeout).await }).await.answer
}

fn bad(class: Class) -> Answer {
    Answer::Bad { class, status: 0 }
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_accepted_on_both_streams() {
    let port = secure().await;
    assert_eq!(outcome(&format!("https://127.0.0.1:{port}/"), Some("ca.pem"), LONG).await, Answer::Good);
    let mut config = probe(&format!("https://127.0.0.1:{port}/"), "1/s", LONG, &[StreamKind::KeptAlive]);
    http(&mut config).ca_file = Some(file("ca.pem"));
    LocalSet::new()
        .run_until(async {
            let transport = transport(&config, StreamKind::KeptAlive);
            for reused in [false, true, true] {
                let got = ask(&transport, LONG).await;
                assert_eq!((got.answer, got.reused), (Answer::Good, reused));
            }
        })
        .await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_for_another_name_is_not_accepted() {
    let port = secure().await;
    let untrusted = outcome(&format!("https://127.0.0.1:{port}/"), Some("server.pem"), LONG).await;
    assert_eq!(untrusted, bad(Class::TlsCertificate));
    // The whole of 127.0.0.0/8 is this machine, but the certificate names one address of it.
    let other = outcome(&format!("https://127.0.0.2:{port}/"), Some("ca.pem"), LONG).await;
    assert!(matches!(other, Answer::Bad { class: Class::TlsCertificate | Class::ConnectRefused, .. }), "{other:?}");
}

#[tokio::test]
async fn what_is_not_tls_has_its_classes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // Plain HTTP, a close, a reset, silence: one after the other.
        for turn in 0..4 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 64];
            let _ = stream.read(&mut hello).await.unwrap();
            match turn {
                0 => stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap(),
                1 => stream.shutdown().await.unwrap(),
                2 => stream.set_zero_linger().unwrap(),
                _ => std::future::pending().await,
            }
        }
    });
    let url = format!("https://{address}/");
    assert_eq!(outcome(&url, Some("ca.pem"), LONG).await, bad(Class::TlsOther));
    assert_eq!(outcome(&url, Some("ca.pem"), LONG).await, bad(Class::TlsClosed));
    assert_eq!(outcome(&url, Some("ca.pem"), LONG).await, bad(Class::TlsClosed));
    assert_eq!(outcome(&url, Some("ca.pem"), SHORT).await, bad(Class::TlsTimeout));
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_not_taken_for_an_answer() {
    let port = secure().await;
    let got = outcome(&format!("http://127.0.0.1:{port}/"), None, LONG).await;
    assert!(matches!(got, Answer::Bad { class: Class::ResponseMalformed | Class::ResponseClosed, .. }), "{got:?}");
}

#[tokio::test]
async fn an_authority_file_without_a_certificate_is_a_mistake_and_not_data() {
    let (address, _) = serve(|_, _| Act::Answer(OK)).await;
    for name in ["server-key.pem", "absent.pem"] {
        let mut config = probe(&format!("https://{address}/"), "1/s", LONG, &[StreamKind::Fresh]);
        http(&mut config).ca_file = Some(file(name));
        let error = super::super::transport::real::Prepared::of(&config).err().unwrap();
        assert!(error.message.starts_with("`caFile` can't be read"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_expires_too_soon_has_a_class_of_its_own() {
    let port = secure().await;
    let day = std::time::Duration::from_hours(24);
    // It is valid until 2126.
    for (days, ca, expected) in [
        (30, "ca.pem", Answer::Good),
        (40_000, "ca.pem", bad(Class::TlsExpiresSoon)),
        (30, "server.pem", bad(Class::TlsCertificate)),
    ] {
        let mut config = probe(&format!("https://127.0.0.1:{port}/"), "1/s", LONG, &[StreamKind::Fresh]);
        http(&mut config).ca_file = Some(file(ca));
        http(&mut config).certificate_valid_for = Some(day * days);
        let got = LocalSet::new().run_until(async { ask(&transport(&config, StreamKind::Fresh), LONG).await }).await;
        assert_eq!(got.answer, expected, "{days} days");
        if expected == bad(Class::TlsExpiresSoon) {
            let said = super::super::preflight(&config, StreamKind::Fresh).await.unwrap_err();
            assert!(said.detail.ends_with(": its certificate expires at 2126-10-28T02:37:31Z"), "{}", said.detail);
        }
    }
}
