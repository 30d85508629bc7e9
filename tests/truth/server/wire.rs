//! A connection's bytes, with or without TLS, and the ways to end it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustix::net::connect_unspec;
use rustls::ServerConnection;

use crate::clock;

/// One accepted connection.
pub(crate) struct Wire {
    pub(crate) tcp: Arc<TcpStream>,
    pub(crate) tls: Option<Box<ServerConnection>>,
}

impl Wire {
    /// Some bytes; none once the peer has closed.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tcp = &*self.tcp;
        match &mut self.tls {
            None => tcp.read(buffer),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut tcp).read(buffer),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut tcp = &*self.tcp;
        match &mut self.tls {
            None => tcp.write_all(bytes),
            Some(tls) => {
                let mut stream = rustls::Stream::new(&mut **tls, &mut tcp);
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    /// Waits until something has come that nobody has read; false where the peer left instead.
    pub(crate) fn wait_for_input(&mut self) -> bool {
        let held = self.tls.as_mut().and_then(|tls| tls.process_new_packets().ok());
        held.is_some_and(|state| state.plaintext_bytes_to_read() > 0)
            || self.tcp.peek(&mut [0]).is_ok_and(|count| count > 0)
    }

    /// Below TLS.
    pub(crate) fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self.tcp).write_all(bytes)
    }

    pub(crate) fn notify(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let mut tcp = &*self.tcp;
            while tls.wants_write() {
                tls.write_tls(&mut tcp)?;
            }
        }
        Ok(())
    }

    /// Closes the sending side, reads on until the peer has left, and gives back what came.
    pub(crate) fn fin(&mut self) -> Vec<u8> {
        // It may be gone already.
        drop(self.tcp.shutdown(Shutdown::Write));
        self.rest(|| true)
    }

    /// Resets, having read what is there, and gives that back.
    pub(crate) fn reset(&mut self) -> Vec<u8> {
        let tcp = Arc::clone(&self.tcp);
        let rest = self.rest(|| clock::wait_for(&*tcp, true, Some(0)));
        self.cut();
        rest
    }

    /// Resets at once, whoever else holds the socket.
    pub(crate) fn cut(&self) {
        let _gone = connect_unspec(&*self.tcp);
    }

    fn rest(&mut self, more: impl Fn() -> bool) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut buffer = [0; 4096];
        while more() {
            match self.read(&mut buffer) {
                Ok(count @ 1..) => rest.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Ok(0) | Err(_) => break,
            }
        }
        rest
    }
}
