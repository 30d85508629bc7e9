//! The server's side of TLS handshakes, sound and broken.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::catalogue::{Fault, Step};
use crate::perform::{Next, Stamps, perform};
use crate::script::Protocol;
use crate::wire::{Asked, Wire};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/truth/certificates");
const GOOD: &str = "good";

/// What a server agrees to speak (ALPN).
type Spoken = &'static [u8];
const HTTP1: Spoken = b"http/1.1";
const HTTP2: Spoken = b"h2";
/// It knows nothing of such agreements.
const UNSAID: Spoken = b"";

/// What the server can present itself with, by name and by what it agrees to speak.
pub(crate) struct Certificates(BTreeMap<(&'static str, Spoken), Arc<ServerConfig>>);

impl Certificates {
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        let folder = Path::new(FOLDER);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut configs = BTreeMap::new();
        for name in [GOOD, "expired", "other-name", "untrusted"] {
            for spoken in [HTTP1, HTTP2, UNSAID] {
                let chain = CertificateDer::pem_file_iter(folder.join(name).with_extension("pem"))?;
                let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
                let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                    .with_safe_default_protocol_versions()?
                    .with_no_client_auth()
                    .with_single_cert(chain.collect::<Result<_, _>>()?, key)?;
                // Tickets would be bytes that no request asked for.
                config.send_tls13_tickets = 0;
                if spoken != UNSAID {
                    config.alpn_protocols = vec![spoken.to_vec()];
                }
                configs.insert((name, spoken), Arc::new(config));
            }
        }
        Ok(Self(configs))
    }

    /// Shakes hands, or does what the fault says instead; `None` where that is all.
    pub(crate) fn secure(&self, tcp: Arc<TcpStream>, protocol: Protocol, fault: Option<&Fault>) -> Option<Wire> {
        let steps = fault.map_or(&[][..], |fault| fault.steps);
        let usual = if protocol == Protocol::Https { HTTP1 } else { HTTP2 };
        let (name, spoken) = match steps {
            [Step::Certificate(name), ..] => (*name, usual),
            [Step::Unagreed, ..] => (GOOD, UNSAID),
            _ => (GOOD, usual),
        };
        let mut tls = ServerConnection::new(Arc::clone(self.0.get(&(name, spoken))?)).ok()?;
        match steps {
            [] | [Step::Certificate(_)] => return shake_hands(tcp, tls),
            [Step::Unagreed, rest @ ..] => {
                let mut wire = shake_hands(tcp, tls)?;
                perform(rest, &mut wire, &mut Stamps::default());
                return None;
            }
            _ => {}
        }
        let hello = read_record(&tcp).ok()?;
        let mut wire = Wire { tcp, tls: None, asked: Asked::default() };
        if matches!(steps, [Step::HalfOfHandshake, ..]) {
            let flight = answer_to(&mut tls, &hello).ok()?;
            wire.write(flight.get(..flight.len() / 2)?).ok()?;
        }
        match perform(steps, &mut wire, &mut Stamps::default()) {
            Next::Keep | Next::Over(_) => None,
        }
    }
}

fn shake_hands(tcp: Arc<TcpStream>, mut tls: ServerConnection) -> Option<Wire> {
    let mut stream = &*tcp;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).ok()?;
    }
    Some(Wire { tcp, tls: Some(Box::new(tls)), asked: Asked::default() })
}

/// The client's hello, which is its first record.
fn read_record(mut tcp: &TcpStream) -> io::Result<Vec<u8>> {
    let mut record = vec![0; 5];
    tcp.read_exact(&mut record)?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    tcp.read_exact(&mut record[5..])?;
    Ok(record)
}

/// All that a sound server says to a hello before it waits for the client.
fn answer_to(tls: &mut ServerConnection, mut hello: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    tls.read_tls(&mut hello)?;
    tls.process_new_packets()?;
    let mut flight = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut flight)?;
    }
    Ok(flight)
}
