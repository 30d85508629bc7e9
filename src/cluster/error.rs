//! What the client's errors mean to a person, and which of them are worth another try.

use std::error::Error as _;

/// The API's answer, where there was one.
#[must_use]
pub fn status_of(error: &kube::Error) -> Option<&kube::core::Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// One line that says what happened: the API's own words, or the innermost cause of a broken call.
#[must_use]
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            let words = if status.message.is_empty() { &status.reason } else { &status.message };
            format!("{words} ({})", status.code)
        }
        other => {
            let mut text = String::new();
            let mut cause: Option<&dyn std::error::Error> = other.source();
            while let Some(error) = cause {
                text = error.to_string();
                cause = error.source();
            }
            if text.is_empty() { other.to_string() } else { text }
        }
    }
}

/// Whether the same call may be tried again with hope: throttling, unavailability, a broken connection. A refusal by a disruption
/// budget is a 429 too; callers look at its cause first.
#[must_use]
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::Service(error) if error.is::<super::OffLeash>() => false,
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}
