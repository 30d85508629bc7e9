//! Certificates that are valid, but not for as long as the experiment expects: an outage that can be foreseen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// The usual check, and then that of the server's own certificate: authorities above it are renewed by others.
#[derive(Debug)]
pub(super) struct ValidFor {
    pub(super) usual: Arc<WebPkiServerVerifier>,
    pub(super) at_least: Duration,
}

/// Why such a certificate is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpiresSoon {
    /// Seconds of Unix time.
    until: u64,
}

impl fmt::Display for ExpiresSoon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.until).map(Timestamp::from_second) {
            Ok(Ok(until)) => write!(f, "its certificate expires at {until}"),
            _ => f.write_str("its certificate expires too soon"),
        }
    }
}

impl std::error::Error for ExpiresSoon {}

impl ExpiresSoon {
    /// The reason in an error of the TLS library, if it is this one.
    pub(super) fn of(error: &Error) -> Option<Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => why.downcast_ref().copied(),
            _ => None,
        }
    }
}

impl ServerCertVerifier for ValidFor {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let certificate =
            Certificate::from_der(end_entity).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let until = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
        if until < now.as_secs().saturating_add(self.at_least.as_secs()) {
            let why = OtherError(Arc::new(ExpiresSoon { until }));
            return Err(Error::InvalidCertificate(CertificateError::Other(why)));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
