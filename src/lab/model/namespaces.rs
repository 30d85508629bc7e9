//! Namespaces that leave: what is in them is deleted, and once nothing is left, so are they.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, Pod};

use super::Controller;
use super::objects::{delete, finalize, is_finished};
use crate::lab::store::{Change, KINDS, Object, ObjectKey, number_of};
use crate::lab::world::World;

/// How long a change of a namespace is let come to everybody's knowledge before its controller looks: `namespaceDeletionGracePeriod`.
const GRACE: Duration = Duration::from_secs(5);
/// How long objects are expected to take that have finalizers, in seconds.
const FINALIZERS: i64 = 15;

pub(super) fn observe(world: &mut World, change: &Change) {
    if change.after.as_ref().is_some_and(|now| now.kind == number_of::<Namespace>() && now.is_leaving()) {
        world.later(GRACE, super::Task::Reconcile(Controller::Namespaces, change.object().key.clone()));
    }
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let kind = number_of::<Namespace>();
    if !world.store.object(kind, key).is_some_and(|namespace| namespace.is_leaving()) {
        return;
    }
    let expected = expected(world, key);
    for number in kinds() {
        let inside: Vec<_> = world.store.objects(number, Some(&key.name)).map(|object| object.key.clone()).collect();
        for inner in inside {
            delete(world, number, &inner, None);
        }
    }
    let rest: Vec<&Object> =
        kinds().flat_map(|number| world.store.objects(number, Some(&key.name))).map(AsRef::as_ref).collect();
    if rest.is_empty() {
        return finalize(world, kind, key);
    }
    let held = rest.iter().any(|object| !object.finalizers().is_empty());
    let conditions = conditions(&rest);
    let now = world.time();
    world.store.update::<Namespace>("", &key.name, |namespace| {
        let all = namespace.status.get_or_insert_default().conditions.get_or_insert_default();
        for (type_, status, reason, message) in conditions {
            let [type_, status, reason] = [type_, status, reason].map(ToOwned::to_owned);
            let before = all.iter().position(|condition| condition.type_ == type_);
            let since = before
                .filter(|place| all[*place].status == status)
                .and_then(|place| all[place].last_transition_time.clone());
            let condition = NamespaceCondition {
                type_,
                status,
                reason: Some(reason),
                message: Some(message),
                last_transition_time: since.or_else(|| Some(now.clone())),
            };
            match before {
                Some(place) => all[place] = condition,
                None => all.push(condition),
            }
        }
    });
    let seconds = expected.max(if held { FINALIZERS } else { 0 });
    let again = Duration::from_secs(u64::try_from(seconds / 2 + 1).unwrap_or(1));
    world.later(again, super::Task::Reconcile(Controller::Namespaces, key.clone()));
}

fn kinds() -> impl Iterator<Item = usize> {
    (0..KINDS.len()).filter(|number| KINDS[*number].namespaced)
}

/// How long the pods of a namespace may take to end, in seconds; 0 once that is over.
fn expected(world: &World, key: &ObjectKey) -> i64 {
    let namespace = world.store.get::<Namespace>("", &key.name);
    let since = namespace.and_then(|namespace| namespace.metadata.deletion_timestamp.clone());
    let passed = since.map_or(0, |since| world.wall().duration_since(since.0).as_secs());
    let pods = world.store.list::<Pod>(Some(&key.name)).filter(|pod| !is_finished(pod));
    let grace = pods.filter_map(|pod| pod.spec.as_ref()?.termination_grace_period_seconds).max().unwrap_or(0);
    if passed >= grace { 0 } else { grace }
}

/// What the namespace says of what is left in it: condition, status, reason and message.
fn conditions(rest: &[&Object]) -> [(&'static str, &'static str, &'static str, String); 5] {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    for object in rest {
        let of = &KINDS[object.kind];
        // The core group has no name, and its resources end with the dot alone.
        *kinds.entry(format!("{}.{}", of.plural, of.group)).or_default() += 1;
        for finalizer in object.finalizers() {
            *held.entry(finalizer.clone()).or_default() += 1;
        }
    }
    let each = |of: &BTreeMap<String, usize>, word: &str| {
        of.iter()
            .map(|(name, count)| format!("{name} {word} {count} resource instances"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let finalizers = if held.is_empty() {
        (
            "NamespaceFinalizersRemaining",
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        )
    } else {
        let message = format!("Some content in the namespace has finalizers remaining: {}", each(&held, "in"));
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message)
    };
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", each(&kinds, "has")),
        ),
        finalizers,
    ]
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;
    use crate::lab::testing::{create, deployment, lab, pass};
    use crate::lab::world::Shared;

    fn leave(lab: &Shared) {
        lab.with(|world| delete(world, number_of::<Namespace>(), &ObjectKey::new("", "shop"), None));
    }

    fn condition(lab: &Shared, type_: &str) -> String {
        lab.read(|world| {
            let shop = world.store.get::<Namespace>("", "shop").unwrap();
            let all = shop.status.clone().unwrap().conditions.unwrap_or_default();
            all.into_iter().find(|condition| condition.type_ == type_).unwrap().message.unwrap()
        })
    }

    fn is_there(lab: &Shared) -> bool {
        lab.read(|world| world.store.get::<Namespace>("", "shop").is_some())
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_takes_along_what_is_in_it() {
        let lab = lab();
        create(&lab, deployment(3));
        pass(Duration::from_secs(20)).await;
        leave(&lab);
        pass(Duration::from_secs(4)).await;
        assert_eq!(lab.read(|world| world.store.list::<Pod>(Some("shop")).count()), 3, "it waits until all know");
        pass(Duration::from_millis(1_100)).await;
        let rest = condition(&lab, "NamespaceContentRemaining");
        assert!(rest.contains("pods. has 3 resource instances"), "{rest}");
        pass(Duration::from_secs(2)).await;
        assert!(is_there(&lab), "nothing is in it any more, which is not looked at before its next turn");
        pass(Duration::from_secs(4)).await;
        assert!(!is_there(&lab));
    }

    #[tokio::test(start_paused = true)]
    async fn a_finalizer_within_keeps_a_namespace_and_is_named() {
        let lab = lab();
        let map = create(
            &lab,
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "namespace": "shop", "finalizers": ["example.com/wait"]},
            }),
        );
        leave(&lab);
        pass(Duration::from_mins(10)).await;
        assert!(!map.is_leaving());
        assert_eq!(
            condition(&lab, "NamespaceFinalizersRemaining"),
            "Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances"
        );
        lab.with(|world| {
            world.store.update::<ConfigMap>("shop", "a", |map| map.metadata.finalizers = None);
            finalize(world, number_of::<ConfigMap>(), &map.key);
        });
        pass(Duration::from_secs(16)).await;
        assert!(!is_there(&lab));
    }
}
