//! What is designed but not in this version: said in plain words, rather than called unknown.

/// What is not there, and what to do instead.
pub(super) struct Later {
    pub what: String,
    pub instead: &'static str,
}

/// A value of an enum that a later version will have.
pub(super) fn choice(variants: &[&str], text: &str) -> Option<Later> {
    match text {
        "perEndpoint" if variants.contains(&"keepAlive") => Some(Later {
            what: format!("`connection: {text}` is not in this version"),
            instead: "write `paired`, `fresh`, `keepAlive` or `{reuse: 100}`",
        }),
        _ => None,
    }
}
