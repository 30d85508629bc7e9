//! The Service that a probe asks, as far as its host says it.

use super::{Connection, Grpc, Http, Protocol, Tcp, TcpConnection};

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The port, as the Service has it.
    pub port: u16,
}

impl Protocol {
    /// The host and the port that a probe with `connection: perEndpoint` names; `None` for any other.
    pub(super) fn per_endpoint(&self) -> Option<(&str, u16)> {
        match self {
            Self::Http(Http { url, connection: Connection::PerEndpoint, .. }) => {
                let usual = if url.0.scheme_str() == Some("https") { 443 } else { 80 };
                Some((url.0.host().unwrap_or_default(), url.0.port_u16().unwrap_or(usual)))
            }
            Self::Grpc(Grpc { address, connection: Connection::PerEndpoint, .. })
            | Self::Tcp(Tcp { address, connection: TcpConnection::PerEndpoint }) => Some((&address.host, address.port)),
            _ => None,
        }
    }

    /// The port of the Service whose endpoints a probe with `connection: perEndpoint` asks; `None` for any other.
    #[must_use]
    pub fn followed(&self) -> Option<ServicePort> {
        let (host, port) = self.per_endpoint()?;
        let (namespace, name) = service_of(host)?;
        Some(ServicePort { namespace, name, port })
    }
}

/// The Service that a host names, as namespace and name: `web.shop.svc`, `web.shop.svc.cluster.local`, `web.shop`. A name of two parts
/// may be another host's; no such Service is then found.
#[must_use]
pub fn service_of(host: &str) -> Option<(String, String)> {
    let mut parts = host.trim_end_matches('.').split('.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    let ours = parts.next().is_none_or(|svc| svc == "svc");
    let named = !name.is_empty() && !namespace.is_empty() && !host.starts_with('[');
    (ours && named).then(|| (namespace.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_in_the_cluster_names_its_service() {
        let named = |host| service_of(host).map(|(namespace, name)| format!("{namespace}/{name}"));
        for host in ["web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web.shop.svc.cluster.local."] {
            assert_eq!(named(host).as_deref(), Some("shop/web"), "{host}");
        }
        for host in ["web", "10.0.0.1", "www.example.com", "[fd00::1.2.3.4]", ".shop"] {
            assert_eq!(named(host), None, "{host}");
        }
    }

    #[test]
    fn only_a_probe_per_endpoint_follows_its_service() {
        let followed = |protocol: &str| {
            let probe = format!(r#"{{"name": "web", "rate": "1/s", "timeout": "1s", {protocol}}}"#);
            let probe: crate::spec::Probe = serde_json::from_str(&probe).unwrap();
            probe.protocol.followed().map(|of| format!("{}/{}:{}", of.namespace, of.name, of.port))
        };
        let per = r#""connection": "perEndpoint""#;
        for (protocol, port) in [
            (format!(r#""http": {{"url": "http://web.shop.svc/", {per}}}"#), 80),
            (format!(r#""http": {{"url": "https://web.shop/", {per}}}"#), 443),
            (format!(r#""http": {{"url": "https://web.shop:8443/", {per}}}"#), 8443),
            (format!(r#""grpc": {{"address": "web.shop.svc:9090", {per}}}"#), 9090),
            (format!(r#""tcp": {{"address": "web.shop.svc:5432", {per}}}"#), 5432),
        ] {
            assert_eq!(followed(&protocol), Some(format!("shop/web:{port}")), "{protocol}");
        }
        assert_eq!(followed(r#""http": {"url": "http://web.shop.svc/"}"#), None);
        assert_eq!(followed(r#""tcp": {"address": "web.shop.svc:5432"}"#), None);
    }
}
