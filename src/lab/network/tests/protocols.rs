//! Probes of DNS, HTTP/2 and gRPC: what each meets when the other side breaks.

use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::Timestamp;

use super::super::asking::{DnsTransport, Question};
use super::super::multiplexed::MultiplexedTransport;
use super::super::resolve::candidates;
use super::*;
use crate::lab::model::objects;
use crate::lab::{Lab, Shape};
use crate::probe::{DnsExpectation, DnsOver, HealthState, RecordType, ResponseCode, TimedOut, Transport};

const MS: Duration = Duration::from_millis(1);

/// A lab with its DNS, and the Service `web` in `shop`.
async fn whole() -> Lab {
    let wall = Timestamp::from_second(crate::lab::testing::WALL).unwrap();
    let lab = Lab::new(&Shape { nodes: 3, zones: 3, seed: 1, wall, name: "lab".to_owned(), aws: None });
    lab.ensure_namespace("shop").await.unwrap();
    make(&lab.shared, deployment(2));
    make(
        &lab.shared,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.7.7", "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}),
    );
    lab.settled().await.unwrap();
    lab
}

fn question(name: &str, kind: RecordType, over: DnsOver) -> Question {
    let expect = DnsExpectation { rcode: ResponseCode::NoError, addresses: Vec::new() };
    Question { server: "10.96.0.10:53".parse().unwrap(), names: candidates(name), kind, over, expect }
}

fn dns(lab: &Lab, question: Question, stream: StreamKind) -> DnsTransport {
    DnsTransport::new(lab.shared.clone(), Rc::new(question), stream, Looks::default())
}

async fn sent(to: &impl Transport) -> Exchange {
    let planned = Instant::now();
    to.clone().send(Slot { number: 0, planned, deadline: planned + S }).await
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for_over_every_kind_of_socket() {
    let lab = whole().await;
    for over in [DnsOver::Udp, DnsOver::Tcp] {
        let per_query = dns(&lab, question("web.shop.svc", RecordType::A, over), StreamKind::PerQuery);
        let pinned = dns(&lab, question("web.shop.svc.cluster.local.", RecordType::A, over), StreamKind::Pinned);
        for number in 0..3 {
            let (one, other) = (sent(&per_query).await, sent(&pinned).await);
            assert_eq!((class(&one), class(&other)), (None, None));
            assert_eq!((one.reused, other.reused), (false, number > 0), "{over:?}");
            assert!(one.done > one.sent && one.done - one.sent < 10 * MS, "{:?}", one.done - one.sent);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_judged_as_the_real_engine_judges_it() {
    let lab = whole().await;
    let ask = async |question: Question| class(&sent(&dns(&lab, question, StreamKind::PerQuery)).await);
    let of = |name, kind| question(name, kind, DnsOver::Udp);
    assert_eq!(ask(of("web.shop.svc", RecordType::AAAA)).await, Some(Class::DnsNodata));
    assert_eq!(ask(of("gone.shop.svc", RecordType::A)).await, Some(Class::DnsNxdomain));
    assert_eq!(ask(of("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV)).await, None);
    assert_eq!(ask(of("7.7.96.10.in-addr.arpa.", RecordType::PTR)).await, None);
    let mut expected = of("web.shop.svc", RecordType::A);
    expected.expect.addresses = vec!["10.96.7.7".parse().unwrap()];
    assert_eq!(ask(expected).await, None);
    let mut other = of("web.shop.svc", RecordType::A);
    other.expect.addresses = vec!["10.96.7.8".parse().unwrap()];
    assert_eq!(ask(other).await, Some(Class::DnsMismatch));
    for (name, met) in [("gone.shop.svc", None), ("web.shop.svc", Some(Class::DnsMismatch))] {
        let mut gone = of(name, RecordType::A);
        gone.expect.rcode = ResponseCode::NXDomain;
        assert_eq!(ask(gone).await, met, "{name}");
    }
    let nobody = Question { server: "10.250.0.1:53".parse().unwrap(), ..of("web.shop.svc", RecordType::A) };
    assert_eq!(ask(nobody).await, Some(Class::DnsTimeout));
}

#[tokio::test(start_paused = true)]
async fn without_a_pod_behind_it_the_dns_is_unreachable_and_open_connections_stay() {
    let lab = whole().await;
    let host = Host::read("web.shop.svc", |_| false).unwrap();
    let ask = Rc::new(Ask { host, port: 80, tls: false, statuses: Some(Vec::new()), timed_out: TimedOut::default() });
    let web = |stream| LabTransport::new(lab.shared.clone(), Rc::clone(&ask), stream, Looks::default());
    let (kept, fresh) = (web(StreamKind::KeptAlive), web(StreamKind::Fresh));
    assert_eq!((class(&send(&kept).await), class(&send(&fresh).await)), (None, None));
    let zero = |dns: &mut Deployment| dns.spec.as_mut().unwrap().replicas = Some(0);
    lab.shared.with(|world| world.store.update("kube-system", "coredns", zero));
    pass(10 * S).await;
    for over in [DnsOver::Udp, DnsOver::Tcp] {
        let exchange = sent(&dns(&lab, question("web.shop.svc", RecordType::A, over), StreamKind::Pinned)).await;
        assert_eq!(class(&exchange), Some(Class::DnsUnreachable), "{over:?}");
    }
    assert_eq!((class(&send(&kept).await), class(&send(&fresh).await)), (None, Some(Class::DnsUnreachable)));
}

#[tokio::test(start_paused = true)]
async fn a_server_without_power_is_silent_until_its_endpoint_goes() {
    let lab = whole().await;
    let pinned = dns(&lab, question("web.shop.svc.cluster.local.", RecordType::A, DnsOver::Udp), StreamKind::Pinned);
    assert_eq!(class(&sent(&pinned).await), None);
    for node in ["node1", "node2", "node3"] {
        lab.cut_power(node);
    }
    assert_eq!(class(&sent(&pinned).await), Some(Class::DnsTimeout));
}

/// A stream over HTTP/2, or of gRPC, to `web`.
fn multiplexed(lab: &Shared, health: Option<HealthState>, stream: StreamKind) -> MultiplexedTransport {
    let host = Host::read("web.shop.svc", |_| false).unwrap();
    let ask = Ask { host, port: 80, tls: false, statuses: Some(Vec::new()), timed_out: TimedOut::default() };
    MultiplexedTransport::new(lab.clone(), Rc::new(ask), health, stream, Looks::default())
}

fn delete_all(lab: &Shared) {
    for pod in pods(lab) {
        let key = ObjectKey::new("shop", pod.metadata.name.clone().unwrap());
        lab.with(|world| objects::delete(world, number_of::<Pod>(), &key, None));
    }
}

#[tokio::test(start_paused = true)]
async fn one_connection_carries_many_requests_at_a_time() {
    let lab = shop(3, json!({"lab.squall.dev/answers-in": "50ms"})).await;
    let (fresh, kept) = (multiplexed(&lab, None, StreamKind::Fresh), multiplexed(&lab, None, StreamKind::KeptAlive));
    assert_eq!((class(&sent(&fresh).await), class(&sent(&kept).await)), (None, None));
    let all = join_all((0..20).map(|_| sent(&kept))).await;
    assert!(all.iter().all(|exchange| exchange.reused && class(exchange).is_none()), "{all:?}");
    let all = join_all((0..20).map(|_| sent(&fresh))).await;
    assert!(all.iter().all(|exchange| !exchange.reused && class(exchange).is_none()), "{all:?}");
    // Before the first one's settings are there, each opens its own; afterwards there is one again.
    let new = multiplexed(&lab, None, StreamKind::KeptAlive);
    let all = join_all((0..3).map(|_| sent(&new))).await;
    assert!(all.iter().all(|exchange| !exchange.reused), "{all:?}");
    assert_eq!(new.connections(), 1);
    // A connection with a bounded number of requests is followed by another.
    let reuse = multiplexed(&lab, None, StreamKind::Reuse(2));
    let mut reused = Vec::new();
    for _ in 0..4 {
        reused.push(sent(&reuse).await.reused);
    }
    assert_eq!(reused, [false, true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_process_is_told_by_what_it_said_before() {
    for (annotations, expected) in [
        (json!({"lab.squall.dev/drains": "true", "lab.squall.dev/stops-in": "200ms"}), Some(Class::GoawayProcessed)),
        (json!({"lab.squall.dev/drains": "true", "lab.squall.dev/stops-in": "3s"}), None),
        (json!({}), Some(Class::ReusedClosed)),
    ] {
        let mut annotations = annotations;
        annotations["lab.squall.dev/answers-in"] = "400ms".into();
        let lab = shop(1, annotations).await;
        let kept = multiplexed(&lab, None, StreamKind::KeptAlive);
        assert_eq!(class(&sent(&kept).await), None);
        let delete = async {
            pass(100 * MS).await;
            delete_all(&lab);
        };
        let (exchange, ()) = futures::join!(sent(&kept), delete);
        assert!(exchange.reused);
        assert_eq!(class(&exchange), expected);
        // The client has heard of it: the next request has a connection of its own.
        let next = sent(&kept).await;
        assert!(!next.reused, "{next:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_from_which_nothing_comes_is_given_up() {
    let lab = shop(1, json!({"lab.squall.dev/hangs-after": "40s"})).await;
    let kept = multiplexed(&lab, None, StreamKind::KeptAlive);
    assert_eq!(class(&sent(&kept).await), None);
    // It hangs, and is not yet found unready.
    pass(12 * S).await;
    let (first, second) = (sent(&kept).await, sent(&kept).await);
    assert_eq!((class(&first), class(&second)), (Some(Class::ResponseTimeout), Some(Class::ResponseTimeout)));
    assert_eq!((first.reused, second.reused), (true, false));
}

#[tokio::test(start_paused = true)]
async fn a_health_check_has_a_status_of_its_own() {
    for (annotations, expect, expected) in [
        (json!({}), HealthState::Serving, Answer::Good),
        (json!({}), HealthState::NotServing, Answer::Good),
        (
            json!({"lab.squall.dev/grpc-status": "14"}),
            HealthState::Serving,
            Answer::Bad { class: Class::GrpcStatus, status: 14 },
        ),
        (json!({"lab.squall.dev/grpc-status": "5"}), HealthState::ServiceUnknown, Answer::Good),
        (
            json!({"lab.squall.dev/status": "503"}),
            HealthState::Serving,
            Answer::Bad { class: Class::Status, status: 503 },
        ),
    ] {
        let lab = lab();
        let mut web = deployment(1);
        web["spec"]["template"]["metadata"]["annotations"] = annotations;
        web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = Value::Null;
        make(&lab, web);
        make(
            &lab,
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        );
        pass(30 * S).await;
        let exchange = sent(&multiplexed(&lab, Some(expect), StreamKind::Fresh)).await;
        assert_eq!(exchange.answer, expected);
    }
}
