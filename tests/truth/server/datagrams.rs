//! DNS over datagrams: one socket, one thread, no connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crate::catalogue::{Level, Step};
use crate::listen::Service;
use crate::log::{Book, Entry};
use crate::perform::{Stamps, pause_for};
use crate::{clock, dns};

impl Service {
    /// Answers datagrams on the listener's port, for as long as the server lives.
    pub(crate) fn answer_datagrams(self: &Arc<Self>, nobody: bool) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, self.port()))?;
        if nobody {
            // Bound to a peer that never sends: for everybody else there is nobody, and the port stays ours.
            socket.connect((Ipv4Addr::LOCALHOST, self.port()))?;
            self.keep(socket.into());
            return Ok(());
        }
        let service = Arc::clone(self);
        let book = self.log().open(None);
        thread::Builder::new().spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                service.answer_datagram(&socket, buffer.get(..length).unwrap_or_default(), from, &book);
            }
        })?;
        Ok(())
    }

    fn answer_datagram(&self, socket: &UdpSocket, question: &[u8], from: SocketAddr, book: &Book) {
        let arrived = clock::now();
        let request = self.requests.fetch_add(1, Ordering::SeqCst);
        let connection = u64::from(from.port());
        // A datagram has no connection: its turn is that of the listener's requests, so that one rule fits both.
        let fault = self.chosen(&[Level::Request], connection, Some((Some(request), request)));
        let (act, steps) = fault.map_or(("ok", &[Step::Reply(dns::Say::Right)][..]), |fault| (fault.name, fault.steps));
        let entry = Entry { request, connection, turn: request, act, arrived, first: None, last: None };
        let place = book.enter(entry);
        self.thaw();
        let mut stamps = Stamps::default();
        for step in steps {
            let (message, elsewhere) = match *step {
                Step::Reply(say) => (dns::reply(say, question), None),
                Step::Elsewhere => {
                    (dns::reply(dns::Say::Right, question), UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok())
                }
                Step::Write(bytes) => (bytes.to_vec(), None),
                Step::Pause(pause) => {
                    pause_for(pause);
                    continue;
                }
                // There is nothing to be closed, and silence is all that a datagram can be answered with.
                _ => continue,
            };
            let before = clock::now();
            if elsewhere.as_ref().unwrap_or(socket).send_to(&message, from).is_ok() {
                stamps.first.get_or_insert(before);
                stamps.last = Some(clock::now());
            }
        }
        book.answered(place, act, stamps.first, stamps.last);
    }
}
