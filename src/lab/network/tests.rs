mod protocols;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::looks::Looks;
use super::resolve::Host;
use super::transport::{Ask, LabTransport};
use crate::lab::api::defaults;
use crate::lab::model;
use crate::lab::store::{ObjectKey, named, number_of};
use crate::lab::testing::{deployment, lab, pass};
use crate::lab::world::Shared;
use crate::probe::{Answer, Class, Exchange, Slot, StreamKind, TimedOut, Transport as _};

const S: Duration = Duration::from_secs(1);

/// Creates an object with the API server's defaults.
fn make(lab: &Shared, mut object: Value) {
    let kind = named(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap();
    lab.with(|world| {
        defaults::apply(world, kind, &mut object);
        let wall = world.wall();
        world.store.create(kind, object, wall).unwrap();
    });
}

/// Three replicas behind the Service `web`, whose pods carry these annotations; all of them ready.
async fn shop(replicas: i32, annotations: Value) -> Shared {
    let lab = lab();
    let mut web = deployment(replicas);
    web["spec"]["template"]["metadata"]["annotations"] = annotations;
    make(&lab, web);
    make(
        &lab,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
    );
    pass(30 * S).await;
    lab
}

fn transport(lab: &Shared, stream: StreamKind) -> LabTransport {
    let host = Host::read("web.shop.svc", |_| false).unwrap();
    let ask = Ask { host, port: 80, tls: false, statuses: Some(Vec::new()), timed_out: TimedOut::default() };
    LabTransport::new(lab.clone(), Rc::new(ask), stream, Looks::default())
}

async fn send(transport: &LabTransport) -> Exchange {
    let planned = Instant::now();
    transport.clone().send(Slot { number: 0, planned, deadline: planned + S }).await
}

fn class(exchange: &Exchange) -> Option<Class> {
    match exchange.answer {
        Answer::Good => None,
        Answer::Bad { class, .. } => Some(class),
        Answer::Local(_) => panic!("the lab runs out of nothing"),
    }
}

fn pods(lab: &Shared) -> Vec<std::sync::Arc<Pod>> {
    lab.read(|world| world.store.list::<Pod>(Some("shop")).collect())
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_is_used_again_and_a_fresh_one_never() {
    let lab = shop(3, json!({"lab.squall.dev/answers-in": "5ms"})).await;
    let (fresh, kept) = (transport(&lab, StreamKind::Fresh), transport(&lab, StreamKind::KeptAlive));
    for number in 0..4 {
        let (one, other) = (send(&fresh).await, send(&kept).await);
        assert_eq!((class(&one), class(&other)), (None, None));
        assert_eq!((one.reused, other.reused), (false, number > 0));
        assert!(other.done - other.sent >= Duration::from_millis(5), "{:?}", other.done - other.sent);
        assert_eq!(one.remote.unwrap().port(), 80, "a client sees the Service's address");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_through_a_drain_unless_the_answers_close_it() {
    for (says_close, reused) in [("false", true), ("true", false)] {
        let lab = shop(1, json!({"lab.squall.dev/serves-on": "5s", "lab.squall.dev/says-close": says_close})).await;
        let kept = transport(&lab, StreamKind::KeptAlive);
        send(&kept).await;
        let key = ObjectKey::new("shop", pods(&lab)[0].metadata.name.clone().unwrap());
        lab.with(|world| model::objects::delete(world, number_of::<Pod>(), &key, None));
        pass(2 * S).await;
        // The answer to the first one after SIGTERM is what tells the client.
        let (first, second) = (send(&kept).await, send(&kept).await);
        assert_eq!((class(&first), first.reused), (None, true));
        assert_eq!((class(&second), second.reused), (None, reused), "says-close: {says_close}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_endpoints_refuses_and_one_that_is_not_there_has_no_name() {
    let lab = shop(0, json!({})).await;
    assert_eq!(class(&send(&transport(&lab, StreamKind::Fresh)).await), Some(Class::ConnectRefused));
    lab.with(|world| world.store.remove(number_of::<Service>(), &ObjectKey::new("shop", "web")));
    pass(2 * S).await;
    assert_eq!(class(&send(&transport(&lab, StreamKind::Fresh)).await), Some(Class::DnsNxdomain));
}

#[tokio::test(start_paused = true)]
async fn of_a_node_without_power_nothing_comes_back_until_the_deadline() {
    let lab = shop(1, json!({})).await;
    let kept = transport(&lab, StreamKind::KeptAlive);
    assert_eq!(class(&send(&kept).await), None);
    let node = pods(&lab)[0].spec.as_ref().unwrap().node_name.clone().unwrap();
    lab.with(|world| model::cut_power(world, &node));
    let (reused, fresh) = (send(&kept).await, send(&transport(&lab, StreamKind::Fresh)).await);
    assert_eq!((reused.reused, class(&reused)), (true, Some(Class::ResponseTimeout)));
    assert_eq!(class(&fresh), Some(Class::ConnectTimeout));
    assert_eq!(fresh.done - fresh.sent, S);
}

#[tokio::test(start_paused = true)]
async fn a_source_port_that_led_to_a_lost_node_leads_there_after_the_service_has_let_go_of_it() {
    let lab = shop(2, json!({})).await;
    let lost = pods(&lab)[0].clone();
    let node = lost.spec.as_ref().unwrap().node_name.clone().unwrap();
    lab.with(|world| model::cut_power(world, &node));
    let fresh = transport(&lab, StreamKind::Fresh);
    let mut silent = 0;
    for _ in 0..200 {
        silent += usize::from(class(&send(&fresh).await) == Some(Class::ConnectTimeout));
        pass(S / 100).await;
    }
    // Half of them while the node counts as ready: by then its pod is no endpoint any more.
    assert!(silent > 10, "{silent}");
    let mut classes = std::collections::BTreeMap::new();
    for _ in 0..6_000 {
        *classes.entry(class(&send(&fresh).await)).or_insert(0) += 1;
    }
    let same_port = classes.remove(&Some(Class::ConnectTimeoutSamePort)).unwrap_or_default();
    assert!((1..=silent).contains(&same_port), "{same_port} of {silent}");
    assert_eq!(classes.into_keys().collect::<Vec<_>>(), [None], "every other port is led to the replica that lives");
}

#[tokio::test(start_paused = true)]
async fn of_a_node_without_a_network_nothing_comes_back_until_it_has_one() {
    let lab = shop(1, json!({})).await;
    let kept = transport(&lab, StreamKind::KeptAlive);
    assert_eq!(class(&send(&kept).await), None);
    let node = pods(&lab)[0].spec.as_ref().unwrap().node_name.clone().unwrap();
    lab.with(|world| model::cut_network(world, &node));
    let (reused, fresh) = (send(&kept).await, send(&transport(&lab, StreamKind::Fresh)).await);
    assert_eq!((reused.reused, class(&reused)), (true, Some(Class::ResponseTimeout)));
    assert_eq!(class(&fresh), Some(Class::ConnectTimeout));
    lab.with(|world| model::restore_network(world, &node));
    assert_eq!(class(&send(&transport(&lab, StreamKind::Fresh)).await), None, "the same process, which never stopped");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_under_way_when_its_process_ends_is_cut_at_that_instant() {
    let lab = shop(1, json!({"lab.squall.dev/answers-in": "400ms", "lab.squall.dev/crashes-after": "40s"})).await;
    let address: SocketAddr =
        format!("{}:8080", pods(&lab)[0].status.as_ref().unwrap().pod_ip.clone().unwrap()).parse().unwrap();
    let life = lab.read(|world| world.kubelets.at(address.ip(), address.port()).unwrap().life);
    let ended = || lab.read(|world| world.kubelets.life(life).unwrap().ended);
    let mut cut = None;
    while cut.is_none() {
        let exchange = send(&transport(&lab, StreamKind::Fresh)).await;
        match class(&exchange) {
            None => assert!(ended().is_none_or(|(at, _)| at >= exchange.done), "an answer from the dead"),
            Some(class) => cut = Some((class, exchange.done)),
        }
    }
    let (class, done) = cut.unwrap();
    let (at, by_power) = ended().unwrap();
    assert_eq!((class, by_power), (Class::ResponseClosed, false));
    assert!(done >= at && done - at < Duration::from_millis(1), "{:?} after the end", done - at);
}

/// What the lab did is what the probes measure: from the instant at which the only process hangs every request fails, and none before.
#[tokio::test(start_paused = true)]
async fn failures_begin_when_the_truth_says() {
    let lab = shop(1, json!({"lab.squall.dev/hangs-after": "60s"})).await;
    let address: SocketAddr =
        format!("{}:8080", pods(&lab)[0].status.as_ref().unwrap().pod_ip.clone().unwrap()).parse().unwrap();
    let life = lab.read(|world| world.kubelets.at(address.ip(), address.port()).unwrap().life);
    let hang = || lab.read(|world| world.kubelets.life(life).unwrap().hangs);
    let (mut last_good, mut first_bad) = (None, None);
    let slot = Duration::from_millis(10);
    let mut planned = Instant::now();
    while first_bad.is_none_or(|bad| planned < bad + 2 * S) {
        sleep_until(planned).await;
        let sent = transport(&lab, StreamKind::Fresh).send(Slot { number: 0, planned, deadline: planned + 5 * slot });
        if class(&sent.await).is_none() {
            assert!(first_bad.is_none(), "good again though it hangs");
            last_good = Some(planned);
        } else if first_bad.is_none() {
            first_bad = Some(planned);
        }
        planned += slot;
    }
    let hang = hang().unwrap();
    let (last_good, first_bad) = (last_good.unwrap(), first_bad.unwrap());
    assert!(last_good < hang && hang < first_bad + slot, "{:?} {:?}", hang - last_good, first_bad);
    assert_eq!(first_bad - last_good, slot, "the edge is one slot wide");
}

/// Whoever looks at an answer later than it came finds it as it was: a node that was cut off in between had answered.
#[tokio::test(start_paused = true)]
async fn an_answer_that_came_before_the_node_was_cut_off_stays_an_answer() {
    let lab = shop(1, json!({"lab.squall.dev/answers-in": "5ms"})).await;
    let node = pods(&lab)[0].spec.as_ref().unwrap().node_name.clone().unwrap();
    let cut = async |after: u64| {
        sleep_until(Instant::now() + Duration::from_millis(after)).await;
        lab.with(|world| model::cut_network(world, &node));
    };
    for (after, wanted) in [(15, None), (3, Some(Class::ResponseTimeout))] {
        let kept = transport(&lab, StreamKind::KeptAlive);
        send(&kept).await;
        let (exchange, ()) = tokio::join!(send(&kept), cut(after));
        assert_eq!((class(&exchange), exchange.reused), (wanted, true), "cut off after {after} ms");
        lab.with(|world| model::restore_network(world, &node));
        pass(30 * S).await;
    }
}

/// Fewer replicas, the same load: each has more to do, and answers take longer, as M/D/1 says.
#[tokio::test(start_paused = true)]
async fn losing_a_replica_under_load_shows_in_the_latency() {
    let answers = json!({"lab.squall.dev/answers-in": "10ms", "lab.squall.dev/workers": "1"});
    let lab = shop(3, answers).await;
    let annotate = |load: &str| {
        lab.with(|world| {
            world.store.update::<Service>("shop", "web", |service| {
                service.metadata.annotations = Some([("lab.squall.dev/load".to_owned(), load.to_owned())].into());
            })
        });
    };
    // Beyond the service itself; the look-ups and the way there are in it.
    let wait = async || {
        let (transport, mut waited) = (transport(&lab, StreamKind::Fresh), Duration::ZERO);
        for _ in 0..3000 {
            let exchange = send(&transport).await;
            assert_eq!(class(&exchange), None);
            waited += (exchange.done - exchange.sent).saturating_sub(Duration::from_millis(10));
            pass(Duration::from_millis(37)).await;
        }
        waited.as_secs_f64() / 3000.0
    };
    let way = wait().await;
    assert!(way < 0.003, "nobody else asks: {way}");
    annotate("150/s");
    pass(2 * S).await;
    let three = wait().await - way;
    lab.with(|world| {
        world.store.update::<k8s_openapi::api::apps::v1::Deployment>("shop", "web", |web| {
            web.spec.as_mut().unwrap().replicas = Some(2);
        })
    });
    pass(5 * S).await;
    let two = wait().await - way;
    // ρ is 0.5, and then 0.75: ρ·S / 2(1−ρ). What the probe itself asks adds a little.
    assert!((three / 0.005 - 1.0).abs() < 0.2, "{three}");
    assert!((two / 0.015 - 1.0).abs() < 0.2, "{two}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_turns_requests_away_as_its_pod_says() {
    for (full, expected) in [("503", Class::Status), ("reset", Class::ConnectRefused)] {
        let lab = shop(
            1,
            json!({
                "lab.squall.dev/answers-in": "10ms", "lab.squall.dev/workers": "2", "lab.squall.dev/queue": "5",
                "lab.squall.dev/when-full": full,
            }),
        )
        .await;
        lab.with(|world| {
            world.store.update::<Service>("shop", "web", |service| {
                service.metadata.annotations = Some([("lab.squall.dev/load".to_owned(), "1000/s".to_owned())].into());
            })
        });
        pass(2 * S).await;
        let mut turned = 0;
        for number in 0..400 {
            match class(&send(&transport(&lab, StreamKind::Fresh)).await) {
                None => {}
                Some(class) => {
                    assert_eq!(class, expected);
                    turned += 1;
                }
            }
            // Services take 10 ms each: whoever came in step with them would see the same moment again and again.
            pass(Duration::from_millis(17 + number * 7 % 13)).await;
        }
        // Five times more comes than can be served: four of five find no room.
        assert!((280..=360).contains(&turned), "{turned}");
    }
}
