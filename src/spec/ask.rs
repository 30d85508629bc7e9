//! What probes of other protocols than HTTP ask.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::check_authority;
use crate::scalar::{ScalarError, quoted, text_serde};

/// A TCP connection that is opened and at once reset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tcp {
    /// `host:port`. The name is looked up for every connection.
    pub address: HostPort,
    /// Where the connections go.
    #[serde(default)]
    pub connection: TcpConnection,
}

/// Where the connections of a TCP probe go: each is a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TcpConnection {
    /// To what the name stands for.
    #[default]
    Fresh,
    /// One stream for each ready address in the `EndpointSlice`s of the Service that the host names, past its virtual address.
    PerEndpoint,
}

/// A DNS query, and what is expected of its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Dns {
    /// The name, as an application would give it to its resolver. Without a dot at its end it goes through the search list of the
    /// runner's `/etc/resolv.conf`: inside the cluster, as a pod's names do (`ndots`).
    pub name: DnsName,
    /// Kind of record.
    #[serde(default, rename = "type")]
    pub record: RecordType,
    /// The server that is asked, `address` or `address:port`; the first one of the runner's `/etc/resolv.conf` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerAddress>,
    /// What carries the queries.
    #[serde(default)]
    pub over: DnsOver,
    /// How sockets are used.
    #[serde(default)]
    pub socket: Socket,
    /// What a good answer looks like.
    #[serde(default)]
    pub expect: DnsExpect,
}

/// Kind of a DNS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// IPv4 addresses.
    #[default]
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name.
    Cname,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
    /// The name of an address.
    Ptr,
    /// Ports and targets of a service, as headless Services have them.
    Srv,
    /// Text.
    Txt,
}

/// What carries DNS queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DnsOver {
    /// Datagrams.
    #[default]
    Udp,
    /// TCP.
    Tcp,
}

/// How a DNS probe uses sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Socket {
    /// Two streams side by side, one of each kind below; the worse decides.
    #[default]
    Paired,
    /// A new socket, and so a new source port, for every query.
    PerQuery,
    /// One socket for all queries: over TCP, connections that are kept.
    Pinned,
}

/// What a good answer to a DNS query looks like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DnsExpect {
    /// Response code. With `NOERROR` there must also be a record of the kind asked for.
    #[serde(default)]
    pub rcode: Rcode,
    /// Addresses that must be among the answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// Response code of DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Rcode {
    /// Answered.
    #[default]
    NoError,
    /// The name does not exist.
    NxDomain,
    /// The server failed.
    ServFail,
    /// The server does not answer this client.
    Refused,
    /// The server could not read the question.
    FormErr,
    /// The server does not do this kind of query.
    NotImp,
}

/// `host:port`, with an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let address = rest.split(['/', '?', '#']).next().unwrap_or_default();
            return Err(ScalarError::new(format!("an address has no scheme: {}", quoted(&format!("{scheme}://"))))
                .hint(format!("write `{address}`{}", if address.contains(':') { "" } else { " with its port" })));
        }
        if let Some(at) = text.find(|c: char| !c.is_ascii_graphic() || "/?#\"<>\\^`{|}".contains(c)) {
            return Err(ScalarError::new(format!("{} is not `host:port`", quoted(text)))
                .hint("write `web.shop.svc:80`")
                .at(at));
        }
        check_authority(text)?;
        let (host, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once("]:")) {
            Some(parts) => parts,
            None if text.starts_with('[') => ("", ""),
            None => text.split_once(':').unwrap_or_default(),
        };
        match port.parse() {
            Ok(port) => Ok(Self { host: host.to_owned(), port }),
            Err(_) => Err(ScalarError::new("an address needs a port").hint(format!("write `{text}:80`"))),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

text_serde!(
    HostPort,
    deserialize_string,
    "an address such as `web.shop.svc:80`",
    "`host:port`, with an IPv6 address in brackets.",
    r"^([^@/?#:\[\] ]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$",
    ["web.shop.svc:80", "[::1]:8080"]
);

/// The address of a DNS server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerAddress(pub SocketAddr);

/// The port of DNS.
const DNS_PORT: u16 = 53;

impl FromStr for ServerAddress {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self(SocketAddr::new(address, DNS_PORT)));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => Ok(Self(address)),
            _ => Err(ScalarError::new(format!("{} is not the address of a server", quoted(text))).hint(
                "write `10.96.0.10` or `10.96.0.10:53`: a name would need DNS itself; \
                 `kubectl -n kube-system get service kube-dns` shows the cluster's",
            )),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_serde!(
    ServerAddress,
    deserialize_string,
    "an address such as `10.96.0.10` or `10.96.0.10:53`",
    "Address of a DNS server, with a port where it is not 53.",
    r"^[0-9a-fA-F:.\[\]]+$",
    ["10.96.0.10", "10.96.0.10:53"]
);

/// A name that DNS can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName(String);

impl DnsName {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let fail = |message: String, at| Err(ScalarError::new(message).hint("write `web.shop.svc`").at(at));
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.is_empty() || bare.len() > 253 {
            return fail(format!("{} is not a name: it has 1 to 253 characters", quoted(text)), 0);
        }
        let mut at = 0;
        for label in bare.split('.') {
            if label.is_empty() || label.len() > 63 {
                return fail(format!("{} is not a name: between its dots stand 1 to 63 characters", quoted(text)), at);
            }
            // `_` begins the labels of SRV records.
            let wrong = label.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
            if let Some((within, c)) = wrong {
                return fail(format!("a name can't contain {}", quoted(&c.to_string())), at + within);
            }
            at += label.len() + 1;
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_serde!(
    DnsName,
    deserialize_string,
    "a name such as `web.shop.svc`",
    "A name that DNS can be asked for; with a dot at its end it is taken as it stands.",
    r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$",
    ["web.shop.svc", "web.shop.svc.cluster.local."]
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_come_back_as_they_were_written() {
        for good in ["web.shop.svc:80", "10.0.0.1:65535", "[::1]:8080", "web:1"] {
            assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
        }
        for (server, shown) in
            [("10.96.0.10", "10.96.0.10:53"), ("[::1]", "[::1]:53"), ("::1", "[::1]:53"), ("1.2.3.4:54", "1.2.3.4:54")]
        {
            assert_eq!(server.parse::<ServerAddress>().unwrap().to_string(), shown);
        }
        for good in ["web.shop.svc", "web.shop.svc.cluster.local.", "_http._tcp.web.shop.svc", "a"] {
            assert_eq!(good.parse::<DnsName>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        let of = |text: &str| {
            let error = text.parse::<HostPort>().unwrap_err();
            (error.message, error.hint.unwrap_or_default(), error.offset)
        };
        let told = |message: &str, hint: &str, at| (message.to_owned(), hint.to_owned(), at);
        assert_eq!(of("web.shop.svc"), told("an address needs a port", "write `web.shop.svc:80`", 0));
        assert_eq!(of("[::1]"), told("an address needs a port", "write `[::1]:80`", 0));
        assert_eq!(of("tcp://web:80/"), told("an address has no scheme: `tcp://`", "write `web:80`", 0));
        assert_eq!(of("web:80/x"), told("`web:80/x` is not `host:port`", "write `web.shop.svc:80`", 6));
        assert_eq!(of("web:0").2, 4);
        assert_eq!(of("::1:80").0, "an IPv6 address stands in brackets: `::1:80`");
        assert!("kube-dns.kube-system.svc".parse::<ServerAddress>().unwrap_err().hint.unwrap().contains("10.96.0.10"));
        assert!("10.0.0.1:0".parse::<ServerAddress>().is_err());
        assert_eq!("web..svc".parse::<DnsName>().unwrap_err().offset, 4);
        assert_eq!("web.sh op".parse::<DnsName>().unwrap_err().offset, 6);
    }

    proptest! {
        #[test]
        fn never_panics_and_points_inside(text in "\\PC{0,20}|([:/@\\[\\]#?a1 é._-]){0,12}") {
            let errors = [
                text.parse::<HostPort>().err(), text.parse::<ServerAddress>().err(), text.parse::<DnsName>().err(),
            ];
            for offset in errors.into_iter().flatten().map(|error| error.offset) {
                prop_assert!(offset <= text.len() && text.is_char_boundary(offset), "{offset}");
            }
        }
    }
}
