//! A connection from its first byte to its end.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::catalogue::{Fault, Level, Step};
use crate::clock;
use crate::http1;
use crate::listen::{Service, draw, unit};
use crate::log::{Book, Entry};
use crate::perform::{Next, Stamps, perform};
use crate::script::{Delay, Protocol};
use crate::wire::Wire;

/// How the log names requests that came when the connection had been given up already.
const TOO_LATE: &str = "too-late";

impl Service {
    /// Sees a connection to its end; `fault` is what is wrong with it as a whole.
    pub(crate) fn converse(&self, tcp: Arc<TcpStream>, number: u64, fault: Option<&'static Fault>, book: &Book) {
        let mut wire = Wire { tcp, tls: None };
        if let Some(Fault { level: Level::Accept, steps, .. }) = fault {
            perform(steps, &mut wire, &mut Stamps::default());
            return;
        }
        if matches!(self.protocol, Protocol::Https | Protocol::H2) {
            match self.certificates.secure(wire.tcp, self.protocol, fault) {
                Some(secured) => wire = secured,
                None => return,
            }
        }
        let mut talk = Talk { service: self, book, connection: number, turn: 0 };
        match self.protocol {
            Protocol::Http | Protocol::Https => talk.http1(&mut wire),
            _ => perform(&[Step::Hang], &mut wire, &mut Stamps::default()),
        };
    }

    /// How long the work on a request takes, in nanoseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "of a delay"
    )]
    fn work(&self, request: u64) -> u64 {
        let word = unit(draw(self.seed ^ 0x5ca1_ab1e, request));
        let micros = match self.delay {
            None => return 0,
            Some(Delay::Fixed { us }) => us,
            Some(Delay::Bimodal { fast, slow, share }) => {
                if word < share {
                    slow
                } else {
                    fast
                }
            }
            // The inverse of its distribution function, of a number that is not 0.
            Some(Delay::Pareto { scale, alpha }) => (scale as f64 * (1.0 - word).powf(-1.0 / alpha)) as u64,
        };
        micros * 1000
    }
}

/// One connection's requests.
pub(crate) struct Talk<'a> {
    service: &'a Service,
    book: &'a Book,
    connection: u64,
    turn: u64,
}

impl Talk<'_> {
    fn http1(&mut self, wire: &mut Wire) -> Next {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(fault) = self.service.chosen(&[Level::Arrival], self.connection, Some((None, self.turn))) {
                if !wire.wait_for_input() {
                    return Next::Over(Vec::new());
                }
                if let Next::Over(_) = self.answer(wire, Some(fault)) {
                    return Next::Over(Vec::new());
                }
            }
            let end = loop {
                if let Some(end) = http1::end_of_request(&bytes) {
                    break end;
                }
                match wire.read(&mut buffer) {
                    Ok(count @ 1..) => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                    Ok(0) | Err(_) => return Next::Over(Vec::new()),
                }
            };
            bytes.drain(..end);
            if let Next::Over(rest) = self.answer(wire, None) {
                bytes.extend(rest);
                for _ in 0..http1::requests_in(&bytes) {
                    self.enter(TOO_LATE);
                }
                return Next::Over(Vec::new());
            }
        }
    }

    /// Does with a request that has arrived what the script says, or what the caller knows already.
    pub(crate) fn answer(&mut self, wire: &mut Wire, fault: Option<&'static Fault>) -> Next {
        let arrived = clock::now();
        let request = self.service.requests.fetch_add(1, Ordering::SeqCst);
        let place = Some((Some(request), self.turn));
        let fault = fault.or_else(|| self.service.chosen(&[Level::Request], self.connection, place));
        let fault = fault.or_else(|| http1::FAULTS.first());
        let (act, steps) = fault.map_or(("ok", &[][..]), |fault| (fault.name, fault.steps));
        let (connection, turn) = (self.connection, self.turn);
        let entry = Entry { request, connection, turn, act, arrived, first: None, last: None };
        let entered = self.book.enter(entry);
        self.turn += 1;
        let work = self.service.work(request);
        if work > 0 {
            clock::wait_until(arrived + work);
        }
        self.service.thaw();
        let mut stamps = Stamps::default();
        // Whatever follows the answer can take as long as the client likes; it has been answered when it has.
        let wait = steps.iter().position(|step| matches!(step, Step::Fin | Step::Hang | Step::Reset | Step::Pause(_)));
        let (answer, after) = steps.split_at(wait.unwrap_or(steps.len()));
        let next = perform(answer, wire, &mut stamps);
        self.book.answered(entered, stamps.first, stamps.last);
        match next {
            Next::Keep => perform(after, wire, &mut stamps),
            over @ Next::Over(_) => over,
        }
    }

    fn enter(&mut self, act: &'static str) {
        let request = self.service.requests.fetch_add(1, Ordering::SeqCst);
        let (connection, turn, arrived) = (self.connection, self.turn, clock::now());
        self.turn += 1;
        self.book.enter(Entry { request, connection, turn, act, arrived, first: None, last: None });
    }
}
