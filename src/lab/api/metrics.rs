//! What the server counts, as Prometheus reads it: who it is, and how much it keeps.

use crate::lab::VERSION;
use crate::lab::store::KINDS;
use crate::lab::world::World;

/// All metrics.
pub(super) fn all(world: &World) -> String {
    let counted = KINDS.iter().enumerate().map(|(number, kind)| {
        let count = world.store.objects(number, None).count();
        format!("apiserver_storage_objects{{resource=\"{}\"}} {count}\n", kind.resource())
    });
    let objects = counted.collect::<Vec<_>>().concat();
    format!(
        "# HELP apiserver_storage_objects Number of stored objects at the time of last check split by kind.\n\
         # TYPE apiserver_storage_objects gauge\n{objects}\
         # HELP kubernetes_build_info A metric with a constant '1' value labeled by the version that is modelled.\n\
         # TYPE kubernetes_build_info gauge\nkubernetes_build_info{{git_version=\"{VERSION}\"}} 1\n"
    )
}
