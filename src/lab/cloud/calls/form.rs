//! What a request asks for: fields by dotted names, lists numbered from 1. Auto Scaling and IAM write `member` before the number.

use std::collections::BTreeMap;

use super::Refused;

/// A form.
#[derive(Debug, Default)]
pub(super) struct Form(BTreeMap<String, String>);

/// What a page begins and ends with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    from: usize,
    most: usize,
}

/// A condition of a list: its name, and the values of which one has to be met.
#[derive(Debug)]
pub(super) struct Filter {
    pub name: String,
    values: Vec<String>,
}

impl Form {
    pub(super) fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Empty where it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Refused> {
        let read = |text: &str| {
            text.parse().map_err(|_| Refused::invalid(format!("Value '{text}' at '{name}' is not a whole number")))
        };
        self.get(name).map(read).transpose()
    }

    /// The fields' names of the entries of a list, in order: `Filter.1`, `Tags.member.2`.
    pub(super) fn entries(&self, name: &str) -> Vec<String> {
        let place = |number: usize| {
            let names = [format!("{name}.{number}"), format!("{name}.member.{number}")];
            names.into_iter().find(|entry| {
                let deeper = format!("{entry}.");
                self.0.contains_key(entry) || self.0.keys().any(|key| key.starts_with(&deeper))
            })
        };
        (1..).map_while(place).collect()
    }

    /// A list of texts.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.entries(name).iter().map(|entry| self.text(entry).to_owned()).collect()
    }

    /// The filters: EC2 calls them `Filter` with a `Value`, Auto Scaling `Filters` with `Values`.
    pub(super) fn filters(&self) -> Vec<Filter> {
        let of = |list: &str, values: &str| -> Vec<Filter> {
            let one = |entry: &String| Filter {
                name: self.text(&format!("{entry}.Name")).to_owned(),
                values: self.list(&format!("{entry}.{values}")),
            };
            self.entries(list).iter().map(one).collect()
        };
        of("Filter", "Value").into_iter().chain(of("Filters", "Values")).collect()
    }

    /// Which part of a list is asked for.
    pub(super) fn page(&self, size: &str, usual: usize) -> Result<Page, Refused> {
        let from = match self.get("NextToken").filter(|token| !token.is_empty()) {
            Some(token) => token.strip_prefix("from-").and_then(|number| number.parse().ok()),
            None => Some(0),
        };
        let from = from.ok_or_else(|| Refused::new("InvalidNextToken", "The token 'NextToken' is not valid"))?;
        Ok(Page { from, most: self.number(size)?.unwrap_or(usual).max(1) })
    }
}

impl Page {
    /// Its part of all, and the token of the next.
    pub(super) fn of<T>(self, all: Vec<T>) -> (Vec<T>, Option<String>) {
        let end = self.from.saturating_add(self.most);
        let next = (all.len() > end).then(|| format!("from-{end}"));
        (all.into_iter().skip(self.from).take(self.most).collect(), next)
    }
}

impl Filter {
    /// Whether a value meets it: `*` and `?` stand for any letters.
    pub(super) fn meets(&self, value: &str) -> bool {
        self.values.iter().any(|pattern| matches(pattern.as_bytes(), value.as_bytes()))
    }

    /// Whether tags meet it: `tag:KEY` by the value, `tag-key` by a key, `tag-value` by a value. `None`: it is not about tags.
    pub(super) fn meets_tags<'a>(&self, mut tags: impl Iterator<Item = (&'a str, &'a str)>) -> Option<bool> {
        match (self.name.strip_prefix("tag:"), self.name.as_str()) {
            (Some(key), _) => Some(tags.any(|(name, value)| name == key && self.meets(value))),
            (None, "tag-key") => Some(tags.any(|(name, _)| self.meets(name))),
            (None, "tag-value") => Some(tags.any(|(_, value)| self.meets(value))),
            (None, _) => None,
        }
    }

    pub(super) fn unknown(&self) -> Refused {
        Refused::new("InvalidParameterValue", format!("The filter '{}' is invalid", self.name))
    }
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, text @ ..]) => matches(rest, text),
        ([a, rest @ ..], [b, text @ ..]) => a == b && matches(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_both_kinds_are_read_in_order() {
        let form = Form::read(
            b"InstanceId.1=i-1&InstanceId.2=i-2&Tags.member.1.Key=a&Tags.member.1.Value=&Filter.1.Name=zone&Filter.1.Value.1=x*",
        );
        assert_eq!(form.list("InstanceId"), ["i-1", "i-2"]);
        assert_eq!(form.entries("Tags"), ["Tags.member.1"]);
        let filters = form.filters();
        assert!(filters[0].name == "zone" && filters[0].meets("xy") && !filters[0].meets("yx"));
    }

    #[test]
    fn pages_follow_each_other() {
        let page = |body: &str| Form::read(body.as_bytes()).page("MaxRecords", 50).map(|page| page.of(vec![1, 2, 3]));
        assert_eq!(page("").unwrap(), (vec![1, 2, 3], None));
        assert_eq!(page("MaxRecords=2").unwrap(), (vec![1, 2], Some("from-2".to_owned())));
        assert_eq!(page("MaxRecords=2&NextToken=from-2").unwrap(), (vec![3], None));
        assert!(page("NextToken=mine").is_err());
    }
}
