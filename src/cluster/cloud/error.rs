//! What goes wrong with a call to the cloud, and which calls are worth another try.

/// Codes that say: later. The last three are Auto Scaling's for "this group is busy", which the SDK does not count as throttling.
const LATER: [&str; 12] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "EC2ThrottledException",
    "BandwidthLimitExceeded",
    "ScalingActivityInProgress",
    "ResourceContention",
    "ResourceInUse",
];
/// Codes that say: you may not.
const DENIED: [&str; 4] = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthorizationError"];
/// Codes that say: who are you?
const UNKNOWN_CALLER: [&str; 8] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
];

/// A call that was refused, or not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {}{message}", .code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default())]
pub struct CloudError {
    /// `service:Action`, as IAM writes it.
    pub action: String,
    /// The service's code; `None` without an answer.
    pub code: Option<String>,
    /// In words.
    pub message: String,
    /// The HTTP status; `None` without an answer.
    pub status: Option<u16>,
    /// Whether it was stopped here, before it was sent.
    pub unsent: bool,
}

impl CloudError {
    /// Whether the same call may be tried again with hope: throttled, a busy group, unavailable, no answer.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let later = self
            .code
            .as_deref()
            .is_some_and(|code| LATER.contains(&code) || code.ends_with("Fault") && self.status >= Some(500));
        !self.unsent && (later || self.status.is_none_or(|status| status >= 500 || status == 429))
    }

    /// Whether the caller may not do this.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.code.as_deref().is_some_and(|code| DENIED.contains(&code))
    }

    /// Whether the credentials are not accepted, or no longer.
    #[must_use]
    pub fn is_unknown_caller(&self) -> bool {
        self.code.as_deref().is_some_and(|code| UNKNOWN_CALLER.contains(&code))
    }

    /// Whether there is no network ACL of the id that was named.
    #[must_use]
    pub fn is_unknown_acl(&self) -> bool {
        self.code.as_deref() == Some("InvalidNetworkAclID.NotFound")
    }

    /// Whether something still uses what should be deleted.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.code.as_deref() == Some("DependencyViolation")
    }

    /// Whether a dry run was answered with "it would have been done".
    #[must_use]
    pub fn would_succeed(&self) -> bool {
        self.code.as_deref() == Some("DryRunOperation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, status: u16) -> CloudError {
        CloudError {
            action: "autoscaling:SuspendProcesses".into(),
            code: Some(code.into()),
            message: "Rate exceeded".into(),
            status: Some(status),
            unsent: false,
        }
    }

    #[test]
    fn tells_what_a_retry_may_change() {
        for (code, status) in
            [("Throttling", 400), ("RequestLimitExceeded", 503), ("ScalingActivityInProgress", 400), ("", 500)]
        {
            assert!(error(code, status).is_transient(), "{code}");
        }
        for (code, status) in [("ValidationError", 400), ("AccessDenied", 403), ("DryRunOperation", 412)] {
            assert!(!error(code, status).is_transient(), "{code}");
        }
        let silent = CloudError { code: None, status: None, ..error("", 0) };
        assert!(silent.is_transient());
        assert!(!CloudError { unsent: true, ..silent }.is_transient(), "what the leash holds back stays held back");
        assert_eq!(error("Throttling", 400).to_string(), "autoscaling:SuspendProcesses: Throttling: Rate exceeded");
    }
}
