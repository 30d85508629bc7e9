//! Whether labels match a selector, by the API server's rules: `!=` and `notin` also match where the key is absent.

use std::collections::BTreeMap;

use super::Selector;

impl Selector {
    /// Whether these labels match every requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        requirements(self.as_str()).iter().all(|requirement| holds(requirement.trim(), labels))
    }
}

/// Splits at the commas outside parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

/// One requirement of a selector whose grammar was checked when it was read.
fn holds(requirement: &str, labels: &BTreeMap<String, String>) -> bool {
    let has = |key: &str, value: &str| labels.get(key.trim()).is_some_and(|v| v == value.trim());
    if let Some((key, value)) = requirement.split_once("!=") {
        return !has(key, value);
    }
    if let Some((key, value)) = requirement.split_once("==").or_else(|| requirement.split_once('=')) {
        return has(key, value);
    }
    if let Some((left, list)) = requirement.split_once('(') {
        let left = left.trim();
        let (key, negated) = match left.strip_suffix("notin") {
            Some(key) => (key, true),
            None => (left.strip_suffix("in").unwrap_or(left), false),
        };
        let listed = list.trim_end().trim_end_matches(')').split(',').any(|value| has(key, value));
        return listed != negated;
    }
    match requirement.strip_prefix('!') {
        Some(key) => !labels.contains_key(key.trim()),
        None => labels.contains_key(requirement),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_match_as_the_api_server_matches_them() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned()), ("main".to_owned(), "in".to_owned())]);
        let cases = [
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app=db", false),
            ("app!=db", true),
            ("app!=web", false),
            ("tier!=cache", true),
            ("app in (db, web)", true),
            ("app in(db)", false),
            ("app notin (db)", true),
            ("app notin (db,web)", false),
            ("tier notin (cache)", true),
            ("tier in (cache)", false),
            ("app", true),
            ("tier", false),
            ("!tier", true),
            ("! app", false),
            ("app=web,tier", false),
            ("app in (web,db),!tier,main=in", true),
        ];
        for (selector, expected) in cases {
            let selector: Selector = selector.parse().unwrap();
            assert_eq!(selector.matches(&labels), expected, "{selector}");
        }
    }
}
