//! What is sent, as a library on the other side reads it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;

/// Answers one request, and hands it over with its body.
async fn read_one() -> (std::net::SocketAddr, oneshot::Receiver<(http::request::Parts, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (out, read) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let (head, mut body) = request.into_parts();
        let reading = async move {
            let mut whole = Vec::new();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                whole.extend(data);
            }
            respond.send_response(http::Response::new(()), true).unwrap();
            out.send((head, whole)).unwrap();
            std::future::pending::<()>().await;
        };
        // The connection has to be driven for the body to come.
        tokio::select! { () = reading => {}, _ = connection.accept() => {} }
    });
    (address, read)
}

#[tokio::test]
async fn requests_say_where_they_go_without_a_word_about_the_connection() {
    let (address, read) = read_one().await;
    answers(&format!("http://{address}/healthz?deep=1"), StreamKind::Fresh, 1, LONG).await;
    let (head, body) = read.await.unwrap();
    assert_eq!((head.method, head.uri.to_string()), (Method::GET, format!("http://{address}/healthz?deep=1")));
    assert_eq!(head.headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["user-agent"]);
    assert!(body.is_empty());
}

#[tokio::test]
async fn a_body_larger_than_the_peers_window_is_sent_whole_and_a_host_becomes_the_authority() {
    let (address, read) = read_one().await;
    let mut config = config(&format!("http://{address}"), StreamKind::Fresh);
    let request = &mut http(&mut config).request;
    request.method = Method::POST;
    request.body = Bytes::from(vec![b'x'; 300_000]);
    request.headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("web.test:81"))]);
    let got = LocalSet::new().run_until(async { ask(&transport(&config, StreamKind::Fresh), LONG).await }).await;
    assert_eq!(got.answer, Answer::Good);
    let (head, body) = read.await.unwrap();
    assert_eq!(head.uri, "http://web.test:81/");
    assert!(!head.headers.contains_key("host"));
    assert_eq!(body.len(), 300_000);
}

#[test]
fn a_header_about_the_connection_is_a_mistake_and_not_data() {
    let mut config = config("http://127.0.0.1/", StreamKind::Fresh);
    http(&mut config).request.headers.insert("connection", HeaderValue::from_static("close"));
    let error = super::super::super::transport::real::Prepared::of(&config).err().unwrap();
    assert_eq!(error.to_string(), "probe `web`: HTTP/2 has no header `connection`");
}
