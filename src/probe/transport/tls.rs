//! How a connection is secured: authorities, server name, no resumption.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::expiry::ValidFor;
use crate::probe::config::SetupError;

/// How a connection is secured.
pub(crate) struct Tls {
    pub(crate) connector: TlsConnector,
    pub(crate) server_name: ServerName<'static>,
}

impl Tls {
    /// For connections of `probe` to `host`, whose certificate has to be valid for so long yet; reads the authorities.
    pub(crate) fn prepare(
        probe: &str,
        host: &str,
        ca_file: Option<&Path>,
        alpn: &[u8],
        valid_for: Option<Duration>,
    ) -> Result<Self, SetupError> {
        let fail = |message: String| SetupError::new(Some(probe), message);
        let server_name = ServerName::try_from(host.to_owned())
            .map_err(|error| fail(format!("not a name that a certificate can carry: `{host}`")).source(error))?;
        let roots = match ca_file {
            Some(path) => roots_from(path).map_err(|error| {
                fail(format!("`caFile` can't be read: `{}`", path.display()))
                    .hint("it has to hold PEM certificates")
                    .source(error)
            })?,
            None => system_roots(probe)?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| fail("TLS can't be set up".to_owned()).source(error))?;
        let roots = Arc::new(roots);
        let client = match valid_for {
            None => client.with_root_certificates(roots),
            Some(at_least) => {
                let usual = WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| fail("certificates can't be checked".to_owned()).source(error))?;
                client.dangerous().with_custom_certificate_verifier(Arc::new(ValidFor { usual, at_least }))
            }
        };
        let mut client = client.with_no_client_auth();
        client.alpn_protocols = vec![alpn.to_vec()];
        // A resumed session would leave out the certificate: a handshake is measured whole, or not at all.
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self { connector: TlsConnector::from(Arc::new(client)), server_name })
    }
}

/// A configuration that trusts nobody, for a client that wants one and sends in clear text.
pub(super) fn nobody() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(client.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn roots_from(path: &Path) -> Result<RootCertStore, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("no certificate in it".into()) } else { Ok(roots) }
}

fn system_roots(probe: &str) -> Result<RootCertStore, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let error = SetupError::new(Some(probe), "this machine has no certificate authorities")
        .hint("install `ca-certificates`, or name the authority with `caFile`");
    Err(match found.errors.into_iter().next() {
        Some(cause) => error.source(cause),
        None => error,
    })
}
