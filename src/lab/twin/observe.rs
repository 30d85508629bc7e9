//! What the objects show of the applications in them, written down as the annotations by which the lab models these.
//!
//! Only what can be seen is concluded, each with its source; an annotation that is there is left alone. How long an application takes to
//! start is seen where a kubelet probe had to wait for it: between the last probe that failed and the first that succeeded. Whether an image
//! has to be pulled is seen from the images that the nodes list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Assumption, controller, holds, items, ports, text};

const PREFIX: &str = "lab.squall.dev/";
/// What took longer was not a start: the pod became ready again after something else.
const LONGEST: Duration = Duration::from_mins(15);
/// A kubelet lists no more images than these (`nodeStatusMaxImages`): where it lists as many, others may be there.
const LISTED: usize = 50;
/// Kinds that have a template.
const WORKLOADS: [&str; 5] = ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"];

/// Namespace, kind, name.
type Place = (String, String, String);

fn place(object: &Value) -> Place {
    let field = |pointer: &str| text(object, pointer).to_owned();
    (field("/metadata/namespace"), field("/kind"), field("/metadata/name"))
}

/// Concludes what can be, and writes it on pods and templates.
pub(super) fn conclude(objects: &mut [Value]) -> Vec<Assumption> {
    let owners: BTreeMap<Place, Place> =
        objects.iter().filter_map(|object| Some((place(object), owner(object)?))).collect();
    let top = |object: &Value| {
        let mut at = place(object);
        // Three steps are more than any chain of controllers has.
        for _ in 0..3 {
            match owners.get(&at) {
                Some(owner) => at.clone_from(owner),
                None => break,
            }
        }
        at
    };
    let mut pods: BTreeMap<Place, Vec<&Value>> = BTreeMap::new();
    for pod in objects.iter().filter(|object| object["kind"] == "Pod") {
        pods.entry(top(pod)).or_default().push(pod);
    }
    let images = Images::of(objects);
    let mut found: BTreeMap<Place, Vec<Assumption>> = BTreeMap::new();
    for (workload, pods) in &pods {
        let (namespace, kind, name) = workload;
        let named = format!("{}/{name} in {namespace}", kind.to_lowercase());
        let mut all = starts(pods);
        all.extend(images.pull(pods));
        let open = |(annotation, ..): &(String, String, String)| !is_said(pods, annotation);
        let all = all.into_iter().filter(open).map(|(annotation, value, source)| Assumption {
            workload: named.clone(),
            annotation,
            value,
            source,
        });
        let all: Vec<Assumption> = all.collect();
        if !all.is_empty() {
            found.insert(workload.clone(), all);
        }
    }
    let tops: Vec<Place> = objects.iter().map(top).collect();
    for (object, top) in objects.iter_mut().zip(&tops) {
        for assumption in found.get(top).into_iter().flatten() {
            annotate(object, assumption);
        }
    }
    ports::declare(objects, &tops);
    strip_images(objects);
    found.into_values().flatten().collect()
}

fn owner(object: &Value) -> Option<Place> {
    let owner = controller(object)?;
    let kind = text(owner, "/kind");
    WORKLOADS
        .contains(&kind)
        .then(|| (text(object, "/metadata/namespace").to_owned(), kind.to_owned(), text(owner, "/name").to_owned()))
}

/// Whether somebody said it already, of the pod or of the container.
fn is_said(pods: &[&Value], annotation: &str) -> bool {
    let what = annotation.rsplit('.').next().unwrap_or_default();
    let what = what.rsplit('/').next().unwrap_or_default();
    let general = format!("{PREFIX}{what}");
    pods.iter().any(|pod| {
        let said = &pod["metadata"]["annotations"];
        said.get(annotation).is_some() || said.get(&general).is_some()
    })
}

fn annotate(object: &mut Value, assumption: &Assumption) {
    let meta = match object["kind"].as_str() {
        Some("Pod") => object.get_mut("metadata"),
        Some(kind) if WORKLOADS.contains(&kind) => object.pointer_mut("/spec/template").map(|template| {
            if template["metadata"].is_null() {
                template["metadata"] = json!({});
            }
            &mut template["metadata"]
        }),
        _ => None,
    };
    let Some(meta) = meta else { return };
    if meta["annotations"].is_null() {
        meta["annotations"] = json!({});
    }
    meta["annotations"][&assumption.annotation] = assumption.value.clone().into();
}

/// What a probe makes visible of a start.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// From the container's start to its first probe.
    delay: Duration,
    period: Duration,
    /// Successes that are needed after the first.
    more: u32,
}

impl Window {
    fn of(probe: &Value) -> Self {
        let number = |field: &str, default: u64| probe[field].as_u64().unwrap_or(default);
        let period = Duration::from_secs(number("periodSeconds", 10).max(1));
        let more = u32::try_from(number("successThreshold", 1).max(1) - 1).unwrap_or(0);
        Self { delay: Duration::from_secs(number("initialDelaySeconds", 0)), period, more }
    }

    /// Between which times after its start the application began to answer. `None`: the first probe found it working.
    fn bounds(self, ready: Duration) -> Option<(Duration, Duration)> {
        let first = ready.checked_sub(self.period * self.more)?;
        let failed = first.checked_sub(self.period)?;
        // Times are whole seconds: one either way.
        (failed > self.delay).then_some((failed, first))
    }
}

/// How long the containers of a workload's pods took to start, where that can be seen.
fn starts(pods: &[&Value]) -> Vec<(String, String, String)> {
    let Some(pod) = pods.first() else { return Vec::new() };
    let probed = items(pod, "/spec/containers").filter_map(|container| {
        let probe = ["startupProbe", "readinessProbe"].into_iter().find(|probe| container.get(probe).is_some())?;
        Some((text(container, "/name"), probe, Window::of(&container[probe])))
    });
    probed.filter_map(|(container, probe, window)| start(pods, container, probe, window)).collect()
}

fn start(pods: &[&Value], container: &str, probe: &str, window: Window) -> Option<(String, String, String)> {
    let mut seen: Vec<Duration> = pods.iter().filter_map(|pod| ready_after(pod, container)).collect();
    seen.sort();
    let ready = *seen.get(seen.len().saturating_sub(1) / 2)?;
    let (from, to) = window.bounds(ready)?;
    let middle = (from + to) / 2;
    let source = format!(
        "ready {} s after its start, in the middle of {} pods; its {probe} of every {} s failed at {} s",
        ready.as_secs(),
        seen.len(),
        window.period.as_secs(),
        from.as_secs()
    );
    Some((format!("{PREFIX}{container}.starts-in"), format!("{}ms", middle.as_millis()), source))
}

/// From a container's start to its pod being ready. `None` where that says nothing of the start: it was started again, or became ready again.
fn ready_after(pod: &Value, container: &str) -> Option<Duration> {
    let status = items(pod, "/status/containerStatuses").find(|status| status["name"] == container)?;
    if status["restartCount"].as_u64().unwrap_or(0) > 0 || !holds(pod, "Ready") {
        return None;
    }
    let ready = items(pod, "/status/conditions").find(|condition| condition["type"] == "Ready")?;
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let (began, ready) = (time(text(status, "/state/running/startedAt"))?, time(text(ready, "/lastTransitionTime"))?);
    Duration::try_from(ready.duration_since(began)).ok().filter(|took| *took <= LONGEST)
}

/// The images that nodes list.
struct Images {
    /// By node; those that list as many as they may are not among them.
    on: BTreeMap<String, BTreeSet<String>>,
}

impl Images {
    fn of(objects: &[Value]) -> Self {
        let usable =
            |node: &&Value| node["kind"] == "Node" && holds(node, "Ready") && node["spec"]["unschedulable"] != true;
        let on = objects.iter().filter(usable).filter_map(|node| {
            let listed = items(node, "/status/images").count();
            (1..LISTED).contains(&listed).then(|| (text(node, "/metadata/name").to_owned(), listed_on(node).collect()))
        });
        Self { on: on.collect() }
    }

    /// Where an image of a workload lacks on a node, it is pulled there.
    fn pull(&self, pods: &[&Value]) -> Option<(String, String, String)> {
        let wanted: BTreeSet<&str> = items(pods.first()?, "/spec/containers").map(|of| text(of, "/image")).collect();
        let has = |names: &BTreeSet<String>, image: &str| names.contains(image);
        let runs: BTreeSet<&str> = pods.iter().map(|pod| text(pod, "/spec/nodeName")).collect();
        let lack = |(node, names): &(&String, &BTreeSet<String>)| {
            !runs.contains(node.as_str()) && wanted.iter().any(|image| !has(names, image))
        };
        let lacking = self.on.iter().filter(lack).count();
        let source =
            format!("{lacking} of {} nodes that list their images lack it; how long is the lab's own", self.on.len());
        (lacking > 0).then(|| (format!("{PREFIX}pull"), "true".to_owned(), source))
    }
}

/// The names of a node's images, as pods may write them too.
fn listed_on(node: &Value) -> impl Iterator<Item = String> {
    let names = items(node, "/status/images").flat_map(|image| items(image, "/names")).filter_map(Value::as_str);
    names.flat_map(|name| {
        let short = name.strip_prefix("docker.io/").map(|name| name.strip_prefix("library/").unwrap_or(name));
        [Some(name), short].into_iter().flatten().map(ToOwned::to_owned).collect::<Vec<_>>()
    })
}

/// Of the nodes' images only those stay that a pod runs.
fn strip_images(objects: &mut [Value]) {
    let pods = objects.iter().filter(|object| object["kind"] == "Pod");
    let used: BTreeSet<String> =
        pods.flat_map(|pod| items(pod, "/spec/containers")).map(|of| text(of, "/image").to_owned()).collect();
    for node in objects.iter_mut().filter(|object| object["kind"] == "Node") {
        let there: BTreeSet<String> = listed_on(node).filter(|name| used.contains(name)).collect();
        if let Some(status) = node["status"].as_object_mut() {
            status.remove("images");
            if !there.is_empty() {
                status.insert("images".to_owned(), json!([{"names": there}]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: u64) -> Duration {
        Duration::from_secs(text)
    }

    #[test]
    fn a_start_lies_between_the_last_probe_that_failed_and_the_first_that_succeeded() {
        let window = |probe: Value| Window::of(&probe);
        // Every two seconds: found at 14 s, not at 12 s.
        assert_eq!(window(json!({"periodSeconds": 2})).bounds(seconds(14)), Some((seconds(12), seconds(14))));
        // Three successes in a row: the first was at 10 s.
        let strict = window(json!({"periodSeconds": 2, "successThreshold": 3}));
        assert_eq!(strict.bounds(seconds(14)), Some((seconds(8), seconds(10))));
        // The first probe found it: it may have been there long before.
        assert_eq!(window(json!({"initialDelaySeconds": 30, "periodSeconds": 5})).bounds(seconds(33)), None);
        assert_eq!(window(json!({})).bounds(seconds(8)), None);
    }

    fn pod(name: &str, ready: &str, restarts: u64) -> Value {
        json!({
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": true}]},
            "spec": {"nodeName": "node1", "containers": [{"name": "web", "image": "web:1", "readinessProbe": {"periodSeconds": 1}}]},
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready}],
                "containerStatuses": [{"name": "web", "restartCount": restarts, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
            },
        })
    }

    fn set(kind: &str, name: &str, owner: &Value) -> Value {
        json!({
            "kind": kind, "metadata": {"name": name, "namespace": "shop", "ownerReferences": owner},
            "spec": {"template": {"metadata": {"labels": {"app": "web"}}}},
        })
    }

    #[test]
    fn what_is_seen_stands_on_pods_and_templates_alike_and_what_is_said_stays() {
        let node = |name: &str, image: &str| {
            json!({"kind": "Node", "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "images": [{"names": [image]}, {"names": ["other:2"]}]}})
        };
        let owner = json!([{"kind": "Deployment", "name": "web", "controller": true}]);
        let mut objects = vec![
            node("node1", "docker.io/library/web:1"),
            node("node2", "docker.io/library/old:1"),
            set("Deployment", "web", &json!([])),
            set("ReplicaSet", "web-1", &owner),
            pod("web-1-a", "2026-01-01T00:00:09Z", 0),
            pod("web-1-b", "2026-01-01T00:00:11Z", 0),
            // Ready again, hours later; and one that was restarted.
            pod("web-1-c", "2026-01-01T05:00:00Z", 0),
            pod("web-1-d", "2026-01-01T00:00:01Z", 3),
        ];
        let found = conclude(&mut objects);
        let told: Vec<(&str, &str)> = found.iter().map(|one| (one.annotation.as_str(), one.value.as_str())).collect();
        assert_eq!(told, [("lab.squall.dev/web.starts-in", "8500ms"), ("lab.squall.dev/pull", "true")]);
        assert_eq!(found[0].workload, "deployment/web in shop");
        assert!(found[0].source.contains("ready 9 s after its start, in the middle of 2 pods"), "{}", found[0].source);
        for at in ["/metadata", "/spec/template/metadata"] {
            for object in &objects[2..] {
                let is_pod = object["kind"] == "Pod";
                if is_pod == (at == "/metadata") {
                    assert_eq!(object.pointer(at).unwrap()["annotations"]["lab.squall.dev/web.starts-in"], "8500ms");
                }
            }
        }
        // Only images that somebody runs stay.
        assert_eq!(objects[0]["status"]["images"], json!([{"names": ["web:1"]}]));
        assert!(objects[1]["status"].get("images").is_none());
        let mut said = objects.clone();
        for object in &mut said[4..] {
            object["metadata"]["annotations"] = json!({"lab.squall.dev/starts-in": "1s", "lab.squall.dev/pull": "5s"});
        }
        assert!(conclude(&mut said).is_empty());
    }
}
