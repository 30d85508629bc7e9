//! Binding: how a scheduler puts a pod on a node.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::{Value, json};

use super::{Answer, Asked, verbs};
use crate::lab::model::objects;
use crate::lab::store::Refused;
use crate::lab::world::World;

/// Binds a pod to a node.
///
/// # Errors
///
/// When it is bound already, leaves, or the request can't be read.
pub(super) fn bind(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let place = &asked.place;
    let binding = asked.object()?;
    let node = binding.pointer("/target/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if node.is_empty() {
        let causes = [("target.name".to_owned(), "Required value".to_owned())];
        return Err(Refused::invalid(place.kind(), &place.name, &causes));
    }
    let object = verbs::found(world, place)?;
    let bound = object.node().unwrap_or_default();
    let why = if object.is_leaving() {
        Some(format!("pod {} is being deleted, cannot be assigned to a host", place.name))
    } else if bound.is_empty() {
        None
    } else {
        Some(format!("pod {} is already assigned to node {bound:?}", place.name))
    };
    if let Some(why) = why {
        let message = format!("Operation cannot be fulfilled on pods/binding \"{}\": {why}", place.name);
        let details = json!({"name": place.name, "kind": "pods/binding"});
        return Err(Refused { details, ..Refused::new(409, "Conflict", message) });
    }
    if !asked.query.dry_run()? {
        let now = world.time();
        world.store.update::<Pod>(&place.namespace, &place.name, |pod| {
            pod.spec.get_or_insert_default().node_name = Some(node);
            let [type_, status] = ["PodScheduled", "True"].map(ToOwned::to_owned);
            objects::set_condition(pod, PodCondition { type_, status, ..PodCondition::default() }, &now);
        });
    }
    Ok(Answer::Json(
        201,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}
