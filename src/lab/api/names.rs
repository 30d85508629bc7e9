//! Which texts may stand as names, labels and keys, in the API server's words.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
     and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with \
     an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const OLD_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
     and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
     '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
     character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
     and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
     '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  \
     or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Why a text is no name of a host with dots; `None`: it is one.
pub(super) fn subdomain(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(too_long(253));
    }
    (!text.split('.').all(is_label)).then(|| SUBDOMAIN.to_owned())
}

/// Why a text is no name of a host without dots.
pub(super) fn label(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(too_long(63));
    }
    (!is_label(text)).then(|| LABEL.to_owned())
}

/// The same as Services have it: no digit first.
pub(super) fn old_label(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(too_long(63));
    }
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    (!begins || !is_label(text)).then(|| OLD_LABEL.to_owned())
}

/// Why a text is no part of a path: the names of roles.
pub(super) fn segment(text: &str) -> Option<String> {
    if text == "." || text == ".." {
        return Some(format!("may not be '{text}'"));
    }
    ['/', '%'].into_iter().find(|c| text.contains(*c)).map(|c| format!("may not contain '{c}'"))
}

/// Why a text is no key of a label or an annotation.
pub(super) fn qualified(text: &str) -> Option<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if name.contains('/') {
        return Some(format!(
            "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ));
    }
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("prefix part must be non-empty".to_owned());
        }
        if let Some(why) = subdomain(prefix) {
            return Some(format!("prefix part {why}"));
        }
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Some(format!("name part {}", too_long(63)));
    }
    (!is_word(name)).then(|| QUALIFIED.to_owned())
}

/// Why a text is no value of a label.
pub(super) fn label_value(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(too_long(63));
    }
    (!text.is_empty() && !is_word(text)).then(|| LABEL_VALUE.to_owned())
}

/// Why a text is no key of a ConfigMap or Secret.
pub(super) fn config_key(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(too_long(253));
    }
    if text == "." || text == ".." || text.starts_with("..") {
        return Some(if text == "." { "must not be '.'".to_owned() } else { "must not start with '..'".to_owned() });
    }
    let fits = !text.is_empty() && text.chars().all(is_inner);
    (!fits).then(|| CONFIG_KEY.to_owned())
}

/// Why a text is no name of an object of this kind.
pub(super) fn object(kind: &str, name: &str) -> Option<String> {
    match kind {
        "Namespace" => label(name),
        "Service" => old_label(name),
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => segment(name),
        _ => subdomain(name),
    }
}

fn too_long(most: usize) -> String {
    format!("must be no more than {most} bytes")
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_inner(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_word(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.chars().all(is_inner) && text.starts_with(ends) && text.ends_with(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_api_takes_them_for() {
        assert!(subdomain("web-1.example").is_none() && subdomain("web..example").is_some());
        assert!(label("1-web").is_none() && label("web.example").is_some() && label(&"a".repeat(64)).is_some());
        assert!(old_label("web").is_none() && old_label("1web").is_some());
        assert!(segment("system:node").is_none() && segment("a/b").is_some());
        assert!(
            qualified("example.com/My_name").is_none() && qualified("/name").is_some() && qualified("-x").is_some()
        );
        assert!(label_value("").is_none() && label_value("a b").is_some());
        assert!(config_key("a.b").is_none() && config_key("a b").is_some() && config_key("..a").is_some());
        assert!(object("Service", "1web").is_some() && object("Pod", "1web").is_none());
    }
}
