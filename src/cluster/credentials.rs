//! When the credentials of a kubeconfig end: a run must not lose its access between a fault and its undo.
//!
//! Looked at are a token that stands in the kubeconfig, if it is a JSON Web Token, and the client certificate. A token file and a
//! credential plugin are asked again by the client whenever it needs to, so they have no end that could be known here.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use kube::config::AuthInfo;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use x509_cert::Certificate;
use x509_cert::der::DecodePem as _;

/// What ends, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// `token` or `client certificate`.
    pub what: &'static str,
    /// When it is no longer accepted.
    pub at: Timestamp,
}

impl Expiry {
    /// Says it in the past or in the future.
    #[must_use]
    pub fn in_words(&self, now: Timestamp) -> String {
        // Whole seconds: nobody reads nanoseconds of a credential.
        let at = Timestamp::from_second(self.at.as_second()).unwrap_or(self.at);
        let Self { what, .. } = self;
        if self.at <= now { format!("the {what} expired at {at}") } else { format!("the {what} expires at {at}") }
    }
}

/// The first end of what an entry of a kubeconfig authenticates with; `None` when it has none, or none that can be read.
pub(super) fn expiry(auth: &AuthInfo) -> Option<Expiry> {
    let token = auth.token.as_ref().and_then(|token| of_token(token.expose_secret()));
    [token, of_certificate(auth)].into_iter().flatten().min_by_key(|expiry| expiry.at)
}

fn of_token(token: &str) -> Option<Expiry> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Some(Expiry { what: "token", at: Timestamp::from_second(claims.exp).ok()? })
}

fn of_certificate(auth: &AuthInfo) -> Option<Expiry> {
    let pem = match (&auth.client_certificate_data, &auth.client_certificate) {
        (Some(data), _) => BASE64_STANDARD.decode(data.trim()).ok()?,
        (None, Some(path)) => std::fs::read(path).ok()?,
        (None, None) => return None,
    };
    // The first of a chain is the client's own.
    let end = pem.windows(END.len()).position(|window| window == END)? + END.len();
    let certificate = Certificate::from_pem(pem.get(..end)?).ok()?;
    let until = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(Expiry { what: "client certificate", at: Timestamp::from_second(i64::try_from(until.as_secs()).ok()?).ok()? })
}

const END: &[u8] = b"-----END CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl req -x509 -newkey ed25519 -nodes -subj /CN=t -days 1500`; the key was thrown away.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBLDCB36ADAgECAhQoGmft89My8SIq50wbeQIFjS0KEzAFBgMrZXAwDDEKMAgG
A1UEAwwBdDAeFw0yNjExMjEwODA1MzRaFw0zMDEyMzAwODA1MzRaMAwxCjAIBgNV
BAMMAXQwKjAFBgMrZXADIQB96SMjeb9fHMHE5jcPrvurQbIzpQztwlnl4RSIXa3d
aaNTMFEwHQYDVR0OBBYEFLibSBxC+vHBozg/4Y63jCJnxoazMB8GA1UdIwQYMBaA
FLibSBxC+vHBozg/4Y63jCJnxoazMA8GA1UdEwEB/wQFMAMBAf8wBQYDK2VwA0EA
ydYhm8U0fxUndPn9OWU+5AzYuQbzcF+UHj4KvXxsR9J5PZT+aYkZFgGribZVK4KZ
TY4S4CeLXYweEHBbmfO2AQ==
-----END CERTIFICATE-----
";

    fn token(claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.sig", part(r#"{"alg":"RS256"}"#), part(claims))
    }

    fn auth(token: Option<String>, certificate: Option<&str>) -> AuthInfo {
        AuthInfo {
            token: token.map(Into::into),
            client_certificate_data: certificate.map(|pem| BASE64_STANDARD.encode(pem)),
            ..AuthInfo::default()
        }
    }

    #[test]
    fn the_first_end_counts() {
        let certificate: Timestamp = "2030-12-30T08:05:34Z".parse().unwrap();
        let second = certificate.as_second();
        assert_eq!(
            expiry(&auth(None, Some(CERTIFICATE))),
            Some(Expiry { what: "client certificate", at: certificate })
        );
        let before = expiry(&auth(Some(token(&format!(r#"{{"exp":{}}}"#, second - 1))), Some(CERTIFICATE))).unwrap();
        assert_eq!(before.what, "token");
        let after = expiry(&auth(Some(token(&format!(r#"{{"exp":{}}}"#, second + 1))), Some(CERTIFICATE))).unwrap();
        assert_eq!(after.what, "client certificate");
        let chain = format!("{CERTIFICATE}\n{CERTIFICATE}\n");
        assert_eq!(expiry(&auth(None, Some(&chain))).unwrap().at, certificate);
    }

    #[test]
    fn what_can_not_be_read_has_no_end() {
        for token in ["opaque", "a.b.c", "", &token(r#"{"sub":"me"}"#), &token(r#"{"exp":"soon"}"#)] {
            assert_eq!(expiry(&auth(Some(token.to_owned()), None)), None, "{token}");
        }
        assert_eq!(expiry(&auth(None, Some("not a certificate"))), None);
        assert_eq!(expiry(&AuthInfo::default()), None);
    }

    #[test]
    fn says_whether_it_is_over() {
        let at = Timestamp::from_second(1_000).unwrap();
        let expiry = Expiry { what: "token", at };
        assert_eq!(expiry.in_words(at), "the token expired at 1970-01-01T00:16:40Z");
        assert_eq!(expiry.in_words(Timestamp::UNIX_EPOCH), "the token expires at 1970-01-01T00:16:40Z");
    }
}
