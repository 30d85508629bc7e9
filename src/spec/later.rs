//! What is designed but not in this version: said in plain words, rather than called unknown.

/// What is not there, and what to do instead.
pub(super) struct Later {
    pub what: String,
    pub instead: &'static str,
    /// The field that is not missing where this one is given.
    pub replaces: Option<&'static str>,
}

/// A field of a struct that a later version will have.
pub(super) fn field(of: &str, field: &str) -> Option<Later> {
    match (of, field) {
        ("Probe", "grpc") => Some(Later {
            what: format!("`{field}` probes are not in this version"),
            instead: "probes can be `http`, `tcp` or `dns`",
            replaces: Some("http"),
        }),
        ("Http", "version") => Some(Later {
            what: "`http.version` is not in this version".to_owned(),
            instead: "remove it: probes speak HTTP/1.1",
            replaces: None,
        }),
        _ => None,
    }
}

/// A value of an enum that a later version will have.
pub(super) fn choice(of: &str, text: &str) -> Option<Later> {
    match (of, text) {
        ("Connection", "perEndpoint" | "reuse") => Some(Later {
            what: format!("`connection: {text}` is not in this version"),
            instead: "write `paired`, `fresh` or `keepAlive`",
            replaces: None,
        }),
        _ => None,
    }
}
