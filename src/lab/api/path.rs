//! What a request's path names.

use super::no_such_path;
use crate::lab::store::{self, KINDS, Kind, ObjectKey, Refused};

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/healthz` and its like.
    Health,
    /// `/version`.
    Version,
    /// `/`: the paths that there are.
    Root,
    /// `/metrics`.
    Metrics,
    /// `/openapi/v3`: what is described.
    Descriptions,
    /// `/openapi/v3/apis/apps/v1`: the description of a group's version.
    Description(String, String),
    /// `/api`: the versions of the core group.
    Versions,
    /// `/apis`: the groups.
    Groups,
    /// `/apis/apps`.
    Group(String),
    /// `/apis/apps/v1`, `/api/v1`: the resources of a group's version.
    Resources(String, String),
    /// A question about who asks, and what that may do: its resource.
    Review(String, String),
    /// An object, or all of its kind.
    Place(Place),
}

/// An object's path, or that of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The kind's number.
    pub kind: usize,
    /// Empty: the whole cluster.
    pub namespace: String,
    /// Empty: the collection.
    pub name: String,
    /// `status`, …; empty without one.
    pub subresource: String,
}

impl Place {
    pub(super) fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }

    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.clone(), self.name.clone())
    }

    /// `pods/eviction`, as rules of access name it.
    pub(super) fn resource(&self) -> String {
        let plural = self.kind().plural;
        if self.subresource.is_empty() { plural.to_owned() } else { format!("{plural}/{}", self.subresource) }
    }

    /// The namespace that the authoriser sees: a namespace lies in itself.
    pub(super) fn authorised_in(&self) -> &str {
        if self.kind().kind == "Namespace" { &self.name } else { &self.namespace }
    }
}

/// Reads a path.
///
/// # Errors
///
/// When nothing lies there.
pub(super) fn read(path: &str) -> Result<Route, Refused> {
    let segments: Vec<String> = path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [] => Ok(Route::Root),
        ["version"] => Ok(Route::Version),
        ["metrics"] => Ok(Route::Metrics),
        ["openapi", "v3"] => Ok(Route::Descriptions),
        ["openapi", "v3", "api", version] => described("", version),
        ["openapi", "v3", "apis", group, version] => described(group, version),
        ["livez" | "readyz" | "healthz", ..] => Ok(Route::Health),
        ["api"] => Ok(Route::Versions),
        ["apis"] => Ok(Route::Groups),
        ["api", version] => resources("", version),
        ["apis", group] if is_group(group) => Ok(Route::Group((*group).to_owned())),
        ["apis", group, version] => resources(group, version),
        ["apis", group @ ("authorization.k8s.io" | "authentication.k8s.io"), "v1", review] => {
            Ok(Route::Review((*group).to_owned(), (*review).to_owned()))
        }
        ["api", version, rest @ ..] => place("", version, rest),
        ["apis", group, version, rest @ ..] => place(group, version, rest),
        _ => Err(no_such_path()),
    }
}

fn decoded(segment: &str) -> String {
    form_urlencoded::parse(segment.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

/// Groups that answer questions and keep nothing.
pub(super) const REVIEWS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];

fn is_group(group: &str) -> bool {
    REVIEWS.contains(&group) || KINDS.iter().any(|kind| kind.group == group && !group.is_empty())
}

fn resources(group: &str, version: &str) -> Result<Route, Refused> {
    let known = KINDS.iter().any(|kind| kind.group == group && kind.version == version);
    if known || (REVIEWS.contains(&group) && version == "v1") {
        return Ok(Route::Resources(group.to_owned(), version.to_owned()));
    }
    Err(no_such_path())
}

fn described(group: &str, version: &str) -> Result<Route, Refused> {
    resources(group, version).map(|_| Route::Description(group.to_owned(), version.to_owned()))
}

/// What belongs to an object and needs what the lab does not run: why it is not to be had.
fn unmodelled(kind: &str, subresource: &str) -> Option<Refused> {
    let why = match (kind, subresource) {
        ("Pod", "log") => "the lab's containers run no program, and write no logs",
        ("Pod", "exec" | "attach") => {
            "the lab's containers run no program: nothing can be executed in them, or attached to them"
        }
        ("Pod" | "Service" | "Node", "portforward" | "proxy") => {
            "the lab forwards nothing to pods: its Services listen on this machine, where `squall lab serve` says"
        }
        ("Pod", "ephemeralcontainers") => "the lab does not model ephemeral containers",
        ("Pod", "resize") => "the lab does not model pods that change their size in place",
        ("ServiceAccount", "token") => "the lab gives out no tokens, and asks for none",
        ("Namespace", "finalize") => "the lab does not model finalizers of a namespace's spec",
        _ => return None,
    };
    Some(Refused { details: serde_json::json!({}), ..Refused::new(501, "NotImplemented", why) })
}

fn place(group: &str, version: &str, rest: &[&str]) -> Result<Route, Refused> {
    let (namespace, rest) = match rest {
        // What lies under a namespace's name is a kind, unless it is a part of the namespace itself.
        ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        _ => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        // What lies behind a proxy has a path of its own.
        [plural, name, "proxy", ..] => (*plural, *name, "proxy"),
        _ => return Err(no_such_path()),
    };
    let kind = store::at(group, version, plural).ok_or_else(no_such_path)?;
    let of = &KINDS[kind];
    let misplaced = if of.namespaced { namespace.is_empty() && !name.is_empty() } else { !namespace.is_empty() };
    let has = match subresource {
        "" => true,
        "status" => of.status,
        "scale" => of.scale,
        "eviction" | "binding" => of.kind == "Pod",
        _ => false,
    };
    if misplaced {
        return Err(no_such_path());
    }
    if !has {
        return Err(unmodelled(of.kind, subresource).unwrap_or_else(no_such_path));
    }
    let [namespace, name, subresource] = [namespace, name, subresource].map(ToOwned::to_owned);
    Ok(Route::Place(Place { kind, namespace, name, subresource }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> (String, String, String) {
        match read(path).unwrap() {
            Route::Place(place) => (place.resource(), place.namespace, place.name),
            other => panic!("{other:?}"),
        }
    }

    fn three(a: &str, b: &str, c: &str) -> (String, String, String) {
        (a.to_owned(), b.to_owned(), c.to_owned())
    }

    #[test]
    fn a_path_names_a_kind_a_namespace_an_object_and_its_part() {
        assert_eq!(place("/api/v1/namespaces/shop/pods/web/eviction"), three("pods/eviction", "shop", "web"));
        assert_eq!(place("/api/v1/namespaces/shop"), three("namespaces", "", "shop"));
        assert_eq!(place("/api/v1/namespaces/shop/status"), three("namespaces/status", "", "shop"));
        assert_eq!(place("/api/v1/namespaces"), three("namespaces", "", ""));
        assert_eq!(place("/apis/apps/v1/deployments"), three("deployments", "", ""));
        assert_eq!(
            place("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode"),
            three("clusterroles", "", "system:node")
        );
        assert_eq!(read("/apis/apps").unwrap(), Route::Group("apps".to_owned()));
    }

    #[test]
    fn what_needs_a_running_program_is_refused_and_says_why() {
        for path in [
            "pods/web/log",
            "pods/web/exec",
            "pods/web/portforward",
            "services/web/proxy/healthz",
            "serviceaccounts/a/token",
        ] {
            let refused = read(&format!("/api/v1/namespaces/shop/{path}")).unwrap_err();
            assert_eq!((refused.code, refused.reason), (501, "NotImplemented"), "{path}");
            assert!(refused.message.contains("the lab"), "{}", refused.message);
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "/api/v2",
            "/openapi/v2",
            "/openapi/v3/apis/nope/v1",
            "/apis/nope",
            "/apis/apps/v1beta1/deployments",
            "/api/v1/pods/web",
            "/api/v1/namespaces/shop/nodes/n1",
            "/api/v1/namespaces/shop/pods/web/logs",
            "/api/v1/namespaces/shop/configmaps/a/status",
            "/api/v1/namespaces/shop/pods/web/status/more",
        ] {
            assert_eq!(read(path).unwrap_err().code, 404, "{path}");
        }
    }
}
