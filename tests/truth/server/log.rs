//! What the server saw and did, kept in memory until its end.
//!
//! Each connection writes into a book of its own: one lock that nobody else asks for, no system call, and no copying as it grows.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::script::{Event, Trouble};

/// Entries that are allocated at once on a connection that has more than one.
const CHUNK: usize = 4096;

/// The log of one listener.
pub(crate) struct Log {
    listener: String,
    books: Mutex<Vec<Arc<Book>>>,
    windows: Mutex<Vec<Window>>,
}

/// The log of one connection, or of a socket for datagrams.
pub(crate) struct Book {
    connection: Option<Connection>,
    closed: Mutex<Option<u64>>,
    entries: Mutex<Vec<Vec<Entry>>>,
}

/// How a connection began.
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) peer: u16,
    pub(crate) accepted: u64,
    pub(crate) act: &'static str,
}

/// A request and its answer.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) request: u64,
    pub(crate) connection: u64,
    pub(crate) turn: u64,
    pub(crate) act: &'static str,
    pub(crate) arrived: u64,
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
}

/// A window that has begun.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) kind: Trouble,
    pub(crate) begun: u64,
    pub(crate) complete: u64,
    pub(crate) ending: Option<u64>,
    pub(crate) ended: Option<u64>,
}

/// Where an entry is in its book.
#[derive(Clone, Copy)]
pub(crate) struct Place(usize, usize);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    pub(crate) fn new(listener: &str) -> Self {
        Self { listener: listener.to_owned(), books: Mutex::default(), windows: Mutex::default() }
    }

    /// A new book; `None` where there is no connection.
    pub(crate) fn open(&self, connection: Option<Connection>) -> Arc<Book> {
        let book = Arc::new(Book { connection, closed: Mutex::default(), entries: Mutex::default() });
        lock(&self.books).push(Arc::clone(&book));
        book
    }

    /// Notes a window, or replaces the note on the one that began at that instant.
    pub(crate) fn window(&self, window: Window) {
        let mut windows = lock(&self.windows);
        windows.retain(|other| other.begun != window.begun);
        windows.push(window);
    }

    /// Writes everything as lines of JSON.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = |event: &Event| {
            serde_json::to_writer(&mut *out, event)?;
            out.write_all(b"\n")
        };
        let listener = || self.listener.clone();
        for window in lock(&self.windows).iter() {
            let Window { kind, begun, complete, ending, ended } = *window;
            line(&Event::Window { listener: listener(), kind, begun, complete, ending, ended })?;
        }
        for book in lock(&self.books).iter() {
            if let Some(Connection { number, peer, accepted, act }) = book.connection {
                let (act, closed) = (act.to_owned(), *lock(&book.closed));
                line(&Event::Connection { listener: listener(), connection: number, peer, act, accepted, closed })?;
            }
            for Entry { request, connection, turn, act, arrived, first, last } in lock(&book.entries).iter().flatten() {
                line(&Event::Request {
                    listener: listener(),
                    request: *request,
                    connection: *connection,
                    turn: *turn,
                    act: (*act).to_owned(),
                    arrived: *arrived,
                    first: *first,
                    last: *last,
                })?;
            }
        }
        Ok(())
    }
}

impl Book {
    /// Notes a request; at once, so that it stands there however long the answer takes.
    pub(crate) fn enter(&self, entry: Entry) -> Place {
        let mut entries = lock(&self.entries);
        if entries.last().is_none_or(|chunk| chunk.len() == chunk.capacity()) {
            let capacity = if entries.is_empty() { 1 } else { CHUNK };
            entries.push(Vec::with_capacity(capacity));
        }
        let chunk = entries.len() - 1;
        let Some(last) = entries.last_mut() else { return Place(0, 0) };
        last.push(entry);
        Place(chunk, last.len() - 1)
    }

    /// Notes when it was answered.
    pub(crate) fn answered(&self, place: Place, first: Option<u64>, last: Option<u64>) {
        if let Some(entry) = lock(&self.entries).get_mut(place.0).and_then(|chunk| chunk.get_mut(place.1)) {
            (entry.first, entry.last) = (first, last);
        }
    }

    /// Notes that the connection is over.
    pub(crate) fn close(&self, at: u64) {
        *lock(&self.closed) = Some(at);
    }
}
