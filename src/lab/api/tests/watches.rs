//! Watches, as the client and its informers see them.

use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::api::{WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::time::{Instant, timeout};

use super::*;

type Event = kube::Result<WatchEvent<ConfigMap>>;

/// The next event: its type and the object's name, or what it is about.
async fn next(events: &mut (impl Stream<Item = Event> + Unpin)) -> String {
    let name = |map: &ConfigMap| map.metadata.name.clone().unwrap_or_default();
    match timeout(Duration::from_secs(90), events.next()).await {
        Err(_) => "silence".to_owned(),
        Ok(None) => "end".to_owned(),
        Ok(Some(Ok(WatchEvent::Added(map)))) => format!("added {}", name(&map)),
        Ok(Some(Ok(WatchEvent::Modified(map)))) => format!("modified {}", name(&map)),
        Ok(Some(Ok(WatchEvent::Deleted(map)))) => format!("deleted {}", name(&map)),
        Ok(Some(Ok(WatchEvent::Bookmark(mark)))) => {
            let first = mark.metadata.annotations.contains_key("k8s.io/initial-events-end");
            format!("bookmark {}{}", mark.metadata.resource_version, if first { " first" } else { "" })
        }
        Ok(Some(Ok(WatchEvent::Error(status)))) => {
            format!("error {} {}: {}", status.code, status.reason, status.message)
        }
        Ok(Some(Err(e))) => e.to_string(),
    }
}

fn quietly() -> WatchParams {
    WatchParams { bookmarks: false, ..WatchParams::default() }
}

async fn watch(lab: &Quiet, params: &WatchParams, from: &str) -> impl Stream<Item = Event> + Unpin + use<> {
    lab.maps().watch(params, from).await.unwrap().boxed()
}

fn version(lab: &Quiet) -> u64 {
    lab.shared.read(|world| world.store.version())
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_is_there_and_then_what_changes() {
    let lab = quiet();
    create(&lab.shared, map("a"));
    let mut events = watch(&lab, &quietly(), "0").await;
    assert_eq!(next(&mut events).await, "added a");
    create(&lab.shared, map("b"));
    assert_eq!(next(&mut events).await, "added b");
    lab.merge(&format!("{MAPS}/a"), &json!({"data": {"k": "v"}})).await.unwrap();
    assert_eq!(next(&mut events).await, "modified a");
    lab.delete(&format!("{MAPS}/a"), &Value::Null).await.unwrap();
    assert_eq!(next(&mut events).await, "deleted a");
    let elsewhere = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other"}});
    create(&lab.shared, elsewhere);
    assert_eq!(next(&mut events).await, "silence");
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_the_version_of_a_list() {
    let lab = quiet();
    create(&lab.shared, map("a"));
    let from = version(&lab).to_string();
    create(&lab.shared, map("b"));
    lab.merge(&format!("{MAPS}/b"), &json!({"data": {"k": "v"}})).await.unwrap();
    let mut events = watch(&lab, &quietly(), &from).await;
    assert_eq!(next(&mut events).await, "added b");
    assert_eq!(next(&mut events).await, "modified b");
}

#[tokio::test(start_paused = true)]
async fn what_enters_or_leaves_a_selection_begins_or_ends() {
    let lab = quiet();
    create(&lab.shared, labelled("a", "web"));
    create(&lab.shared, labelled("b", "db"));
    let mut events = watch(&lab, &quietly().labels("app=web"), "0").await;
    assert_eq!(next(&mut events).await, "added a");
    let label = async |name: &str, app: &str| {
        lab.merge(&format!("{MAPS}/{name}"), &json!({"metadata": {"labels": {"app": app}}})).await.unwrap()
    };
    label("b", "web").await;
    assert_eq!(next(&mut events).await, "added b");
    let left = label("a", "db").await;
    let Some(Ok(WatchEvent::Deleted(last))) = events.next().await else { panic!("not deleted") };
    assert_eq!(last.metadata.labels.unwrap()["app"], "web", "as it last was in the selection");
    assert_eq!(left["metadata"]["resourceVersion"], last.metadata.resource_version.unwrap().as_str());
    lab.delete(&format!("{MAPS}/a"), &Value::Null).await.unwrap();
    lab.delete(&format!("{MAPS}/b"), &Value::Null).await.unwrap();
    assert_eq!(next(&mut events).await, "deleted b", "the other was not selected any more");
    let mut one = watch(&lab, &quietly().fields("metadata.name=c"), "0").await;
    create(&lab.shared, map("d"));
    create(&lab.shared, map("c"));
    assert_eq!(next(&mut one).await, "added c");
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_before_the_compaction_is_too_old() {
    let lab = quiet();
    create(&lab.shared, map("a"));
    create(&lab.shared, map("b"));
    lab.shared.with(|world| world.store.compact());
    let mut events = watch(&lab, &quietly(), "2").await;
    let words = next(&mut events).await;
    assert!(words.starts_with("error 410 Expired: too old resource version: 2 ("), "{words}");
    assert_eq!(next(&mut events).await, "end");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_by_the_minute_and_before_the_end() {
    let lab = quiet();
    let before = Instant::now();
    let mut events = watch(&lab, &WatchParams::default().timeout(100), "0").await;
    assert_eq!(next(&mut events).await, format!("bookmark {}", version(&lab)));
    assert_eq!(before.elapsed().as_secs(), 60);
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other"}});
    create(&lab.shared, other);
    assert_eq!(next(&mut events).await, format!("bookmark {}", version(&lab)));
    assert_eq!(before.elapsed().as_secs(), 98);
    assert_eq!(next(&mut events).await, "end");
    assert_eq!(before.elapsed().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_list_can_be_had_as_the_beginning_of_a_watch() {
    let lab = quiet();
    create(&lab.shared, map("a"));
    let mut events = watch(&lab, &WatchParams { send_initial_events: true, ..WatchParams::default() }, "0").await;
    assert_eq!(next(&mut events).await, "added a");
    assert_eq!(next(&mut events).await, format!("bookmark {} first", version(&lab)));
    create(&lab.shared, map("b"));
    assert_eq!(next(&mut events).await, "added b");
    let refused = lab.get(&format!("{MAPS}?watch=true&sendInitialEvents=true")).await.unwrap_err();
    assert_eq!(refused.code, 422);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_watched_alone() {
    let lab = quiet();
    create(&lab.shared, labelled("a", "web"));
    let mut events = lab.maps().watch_metadata(&quietly(), "0").await.unwrap().boxed();
    let Ok(Some(WatchEvent::Added(first))) = events.try_next().await else { panic!("not added") };
    assert_eq!(first.types.unwrap().kind, "PartialObjectMetadata");
}

/// Whether an informer sees what is there, what comes and what goes.
async fn informed(config: watcher::Config) {
    let lab = quiet();
    create(&lab.shared, map("a"));
    let mut events = watcher(lab.maps(), config).default_backoff().boxed();
    let mut seen = async || match events.try_next().await.unwrap().unwrap() {
        watcher::Event::Init => "init".to_owned(),
        watcher::Event::InitDone => "done".to_owned(),
        watcher::Event::InitApply(map) => format!("there {}", map.metadata.name.unwrap()),
        watcher::Event::Apply(map) => format!("apply {}", map.metadata.name.unwrap()),
        watcher::Event::Delete(map) => format!("delete {}", map.metadata.name.unwrap()),
    };
    assert_eq!([seen().await, seen().await, seen().await], ["init", "there a", "done"]);
    create(&lab.shared, map("b"));
    assert_eq!(seen().await, "apply b");
    lab.delete(&format!("{MAPS}/a"), &Value::Null).await.unwrap();
    assert_eq!(seen().await, "delete a");
    // Longer than a watch lasts: it is opened again, and misses nothing.
    let later = async {
        tokio::time::sleep(Duration::from_secs(400)).await;
        create(&lab.shared, map("c"))
    };
    let (_, after) = tokio::join!(later, seen());
    assert_eq!(after, "apply c");
}

#[tokio::test(start_paused = true)]
async fn an_informer_that_lists_sees_every_change() {
    informed(watcher::Config::default()).await;
    informed(watcher::Config::default().page_size(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_informer_that_streams_its_list_sees_every_change() {
    informed(watcher::Config::default().streaming_lists()).await;
}
