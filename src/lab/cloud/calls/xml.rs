//! Answers, as the services write them.

use std::fmt::Write as _;

/// Elements, one after the other.
#[derive(Debug, Default, Clone)]
pub(super) struct Xml(String);

impl Xml {
    /// An element with a text.
    pub(super) fn text(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let value = value.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        // Writing to a String can't fail.
        write!(self.0, "<{name}>{value}</{name}>").unwrap_or_default();
        self
    }

    /// The same where there is a value.
    pub(super) fn maybe(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// An element with others in it.
    pub(super) fn node(mut self, name: &str, Self(inner): Self) -> Self {
        write!(self.0, "<{name}>{inner}</{name}>").unwrap_or_default();
        self
    }

    /// A list: EC2 calls each entry `item`, the others `member`.
    pub(super) fn list(self, name: &str, entry: &str, all: impl IntoIterator<Item = Self>) -> Self {
        let inner = all.into_iter().fold(Self::default(), |list, one| list.node(entry, one));
        self.node(name, inner)
    }

    /// And then these.
    pub(super) fn add(mut self, Self(more): Self) -> Self {
        self.0.push_str(&more);
        self
    }

    /// The answer to an action. EC2 has its fields at the top, the others within a result.
    pub(super) fn whole(self, action: &str, flat: bool) -> String {
        let request = "00000000-0000-4000-8000-000000000000";
        let whole = if flat {
            Self::default().text("requestId", request).add(self)
        } else {
            let meta = Self::default().text("RequestId", request);
            Self::default().node(&format!("{action}Result"), self).node("ResponseMetadata", meta)
        };
        Self::default().node(&format!("{action}Response"), whole).0
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}
