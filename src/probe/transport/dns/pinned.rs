//! One socket for all queries of a stream: answers are told apart by their numbers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::super::resolve::udp_to;
use super::super::stamped::StampedDatagrams;
use super::{DATAGRAM_MAX, Told, id_of};

/// An answer, and when it arrived.
type Arrived = (Vec<u8>, Option<Instant>);

/// A socket that keeps its port.
pub(super) struct Pinned {
    socket: Rc<StampedDatagrams>,
    waiting: RefCell<BTreeMap<u16, oneshot::Sender<io::Result<Arrived>>>>,
    reader: RefCell<Option<AbortHandle>>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.get_mut() {
            reader.abort();
        }
    }
}

impl Pinned {
    /// Opens the socket and begins to listen.
    pub(super) async fn open(server: SocketAddr) -> io::Result<Rc<Self>> {
        let socket = Rc::new(StampedDatagrams::new(udp_to(server).await?));
        let this =
            Rc::new(Self { socket: Rc::clone(&socket), waiting: RefCell::default(), reader: RefCell::default() });
        let reader = tokio::task::spawn_local(listen(socket, Rc::downgrade(&this))).abort_handle();
        this.reader.replace(Some(reader));
        Ok(this)
    }

    /// Asks, and waits for the answer with this number.
    pub(super) async fn ask(&self, id: u16, bytes: &[u8]) -> io::Result<Told> {
        let (told, answer) = oneshot::channel();
        // One that waited for 65,536 queries has timed out long ago.
        self.waiting.borrow_mut().insert(id, told);
        let asked = Asked { pinned: self, id };
        let written = self.socket.send(bytes).await?;
        let answer = answer.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
        drop(asked);
        answer.map(|(bytes, arrived)| Told { bytes, written: Some(written), arrived })
    }

    fn hand_out(&self, received: io::Result<(&[u8], Option<Instant>)>) {
        let mut waiting = self.waiting.borrow_mut();
        match received {
            Ok((answer, arrived)) => {
                if let Some(told) = id_of(answer).and_then(|id| waiting.remove(&id)) {
                    // Nobody waits any more after a deadline.
                    drop(told.send(Ok((answer.to_vec(), arrived))));
                }
            }
            // An ICMP message says that a datagram met nobody, but not which one: all that are under way went the same way.
            Err(error) => {
                for told in std::mem::take(&mut *waiting).into_values() {
                    drop(told.send(Err(copy(&error))));
                }
            }
        }
    }
}

/// A question under way; forgotten when nobody waits for it any more.
struct Asked<'a> {
    pinned: &'a Pinned,
    id: u16,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.pinned.waiting.borrow_mut().remove(&self.id);
    }
}

async fn listen(socket: Rc<StampedDatagrams>, pinned: Weak<Pinned>) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let received = socket.recv(&mut buffer).await;
        let Some(pinned) = pinned.upgrade() else { return };
        pinned.hand_out(received.map(|(length, arrived)| (buffer.get(..length).unwrap_or_default(), arrived)));
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
