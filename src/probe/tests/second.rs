//! The engine `reqwest`: what it refuses, and what it says of an answer.

use tokio::task::LocalSet;

use super::super::transport::real::Prepared;
use super::super::{Answer, Ask, Class, HttpVersion, ProbeConfig, STEPS, StreamKind, TcpAsk, preflight};
use super::outcomes::{LONG, ask, transport};
use super::server::{Act, OK, serve};
use super::{http, probe};
use crate::scalar::EngineKind;

fn config(url: &str, stream: StreamKind) -> ProbeConfig {
    ProbeConfig { engine: EngineKind::Reqwest, ..probe(url, "1/s", LONG, &[stream]) }
}

fn refused(config: &ProbeConfig) -> String {
    let error = Prepared::of(config).err().unwrap();
    assert!(error.hint.as_ref().unwrap().contains("--engine reqwest"), "{error:?}");
    error.to_string()
}

#[test]
fn what_it_can_not_measure_is_refused() {
    let url = "http://127.0.0.1:1/";
    let two = |stream| {
        let mut config = config(url, stream);
        http(&mut config).version = HttpVersion::Two;
        config
    };
    let tcp = Ask::Tcp(TcpAsk { host: "127.0.0.1".to_owned(), port: 1 });
    let mut host = two(StreamKind::Fresh);
    http(&mut host).request.headers.insert("host", "other".parse().unwrap());
    let refusals = [
        (ProbeConfig { ask: tcp, ..config(url, StreamKind::Fresh) }, "sends HTTP only"),
        (config(url, StreamKind::Reuse(3)), "has no `reuse 3` stream"),
        (config(url, StreamKind::PerEndpoint), "has no `per endpoint` stream"),
        (two(StreamKind::KeptAlive), "one connection for all requests"),
        (host, "the header `host`"),
        (config("http://127.0.0.1:1/a/../b?c", StreamKind::Fresh), "`/b?c` instead of `/a/../b?c`"),
    ];
    for (config, text) in refusals {
        assert!(refused(&config).contains(text), "{}", refused(&config));
    }
    for sound in [config(url, StreamKind::Fresh), config(url, StreamKind::KeptAlive), two(StreamKind::Fresh)] {
        assert!(Prepared::of(&sound).is_ok());
    }
}

#[tokio::test]
async fn a_kept_connection_carries_what_follows_and_no_step_is_made_up() {
    let (address, seen) = serve(|_, _| Act::Answer(OK)).await;
    // A name, so that our resolver is asked through the library.
    let url = format!("http://localhost:{}/", address.port());
    let config = config(&url, StreamKind::KeptAlive);
    let exchanges = LocalSet::new()
        .run_until(async {
            let transport = transport(&config, StreamKind::KeptAlive);
            [ask(&transport, LONG).await, ask(&transport, LONG).await]
        })
        .await;
    assert_eq!(exchanges.map(|exchange| (exchange.answer, exchange.remote)), [(Answer::Good, Some(address)); 2]);
    assert_eq!(seen.counts(), [exchanges.iter().filter(|exchange| !exchange.reused).count(), 2, 0]);
    assert!(!exchanges[0].reused);
    for exchange in exchanges {
        assert_eq!(STEPS.map(|step| exchange.steps.duration(step, 1_000_000)), [0; 6]);
        assert!(exchange.acted.is_none(), "no stamp of the kernel reaches it");
    }
}

/// What the server may go by is the same, but for one header that the library insists on.
#[tokio::test]
async fn both_engines_send_the_same_request() {
    for stream in [StreamKind::Fresh, StreamKind::KeptAlive] {
        let mut heads = Vec::new();
        for engine in [EngineKind::Native, EngineKind::Reqwest] {
            let (address, seen) = serve(|_, _| Act::Answer(OK)).await;
            let mut config = ProbeConfig { engine, ..config(&format!("http://{address}/path?query"), stream) };
            http(&mut config).request.headers.insert("x-test", "1".parse().unwrap());
            LocalSet::new().run_until(async { ask(&transport(&config, stream), LONG).await }).await;
            let head = seen.head.lock().unwrap().replace(&address.to_string(), "ADDRESS");
            let mut lines: Vec<_> = head.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            heads.push(lines);
        }
        heads[1].retain(|line| line != "accept: */*");
        assert_eq!(heads[0], heads[1]);
        assert!(heads[0].iter().any(|line| line == "x-test: 1"), "{heads:?}");
    }
}

#[tokio::test]
async fn the_first_request_is_explained_as_the_native_engine_explains_it() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error =
        preflight(&config(&format!("http://{closed}/"), StreamKind::Fresh), StreamKind::Fresh).await.unwrap_err();
    assert_eq!(error.class, Some(Class::ConnectRefused));
    assert!(error.detail.contains("Connection refused"), "{error}");
    assert!(error.hint.unwrap().starts_with("nothing listens there"));
}
