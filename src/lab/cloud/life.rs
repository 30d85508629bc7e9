//! The life of an instance: it starts, boots and becomes a node; it shuts down, loses its power and is forgotten.

use std::time::Duration;

use tokio::time::Instant;

use super::parts::{Instance, State};
use super::{look, scaling};
use crate::lab::model::{self, Controller};
use crate::lab::shape;
use crate::lab::store::ObjectKey;
use crate::lab::world::World;

/// Has a group launch an instance in a subnet. Its id.
pub(super) fn launch(world: &mut World, group: &str, subnet: &str) -> Option<String> {
    let now = world.wall();
    let id = world.aws.as_mut()?.add_instance(group, subnet, now);
    let after = world.settings.cloud.pending;
    due(world, &id, after);
    Some(id)
}

/// Terminates an instance, unless it is on its way already: at once, or after its operating system has shut down.
pub(super) fn terminate(world: &mut World, id: &str, at_once: bool) {
    let figures = world.settings.cloud.clone();
    let Some(instance) = find(world, id).filter(|instance| instance.state.is_up()) else { return };
    instance.state = State::ShuttingDown;
    if at_once && figures.power_loss.is_zero() {
        cut(world, id);
        due(world, id, figures.end);
    } else {
        due(world, id, if at_once { figures.power_loss } else { figures.shut_down });
    }
    look(world, scaling::GROUPS);
}

/// Does what is due for an instance.
pub(super) fn go_on(world: &mut World, id: &str) {
    let figures = world.settings.cloud.clone();
    let Some(instance) = find(world, id) else { return };
    match instance.due {
        Some(at) if at <= Instant::now() => instance.due = None,
        Some(at) => return plan(world, id, at),
        None => return,
    }
    match instance.state {
        State::Pending => {
            instance.state = State::Running;
            let boot = figures.boot;
            let spread = world.up_to(figures.boot_spread);
            due(world, id, boot + spread);
            look(world, scaling::GROUPS);
        }
        State::Running => join(world, id),
        State::ShuttingDown if !instance.off => {
            cut(world, id);
            due(world, id, figures.end);
        }
        State::ShuttingDown => {
            instance.state = State::Terminated;
            let node = instance.joined.then(|| instance.node.clone());
            if let Some(node) = node {
                model::remove_machine(world, &node);
            }
            due(world, id, figures.forget);
            look(world, scaling::GROUPS);
        }
        State::Terminated => {
            if let Some(aws) = &mut world.aws {
                aws.instances.remove(id);
            }
        }
    }
}

fn find<'a>(world: &'a mut World, id: &str) -> Option<&'a mut Instance> {
    world.aws.as_mut()?.instances.get_mut(id)
}

fn due(world: &mut World, id: &str, after: Duration) {
    let at = Instant::now() + after;
    if let Some(instance) = find(world, id) {
        instance.due = Some(at);
        plan(world, id, at);
    }
}

fn plan(world: &mut World, id: &str, at: Instant) {
    let after = at.saturating_duration_since(Instant::now());
    world.later(after, model::Task::Reconcile(Controller::Cloud, ObjectKey::new("", id)));
}

/// The machine's power is off.
fn cut(world: &mut World, id: &str) {
    let Some(instance) = find(world, id) else { return };
    instance.off = true;
    if instance.joined {
        let node = instance.node.clone();
        model::cut_power(world, &node);
    }
}

/// The machine has booted: its kubelet makes its Node. From a subnet that is cut off it reaches no API server, and tries again.
fn join(world: &mut World, id: &str) {
    let Some(aws) = &mut world.aws else { return };
    let region = aws.site.region.clone();
    let Some(instance) = aws.instances.get(id).filter(|instance| !instance.joined).cloned() else { return };
    if aws.is_cut(&instance.subnet) {
        return due(world, id, RETRY);
    }
    if let Some(instance) = find(world, id) {
        instance.joined = true;
    }
    let provider = provider_id(&instance.zone, id);
    let place = shape::Place { region: &region, zone: &instance.zone, provider: Some(&provider) };
    shape::add(world, shape::node(&instance.node, &instance.address, &place));
}

/// A kubelet's pause between two tries to reach the API server.
const RETRY: Duration = Duration::from_secs(7);

/// By which a node says which instance it is.
pub(in crate::lab) fn provider_id(zone: &str, instance: &str) -> String {
    format!("aws:///{zone}/{instance}")
}
