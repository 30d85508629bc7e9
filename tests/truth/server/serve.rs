//! A connection from its first byte to its end.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::catalogue::{self, Fault, Level, Step};
use crate::listen::{Service, draw, unit};
use crate::log::{Book, Entry};
use crate::perform::{Next, Stamps, perform};
use crate::script::{Delay, Protocol};
use crate::wire::{Asked, Wire};
use crate::{clock, dns, http1, http2};

/// How the log names requests whose answer a window held back.
const FROZEN: &str = "frozen";
/// How the log names requests that came when the connection had been given up already.
const TOO_LATE: &str = "too-late";

impl Service {
    /// Sees a connection to its end; `fault` is what is wrong with it as a whole.
    pub(crate) fn converse(&self, tcp: Arc<TcpStream>, number: u64, fault: Option<&'static Fault>, book: &Book) {
        let mut wire = Wire { tcp, tls: None, asked: Asked::default() };
        if let Some(Fault { level: Level::Accept, steps, .. }) = fault {
            perform(steps, &mut wire, &mut Stamps::default());
            return;
        }
        if matches!(self.protocol, Protocol::Https | Protocol::H2 | Protocol::Grpcs) {
            match self.certificates.secure(wire.tcp, self.protocol, fault) {
                Some(secured) => wire = secured,
                None => return,
            }
        }
        let mut talk = Talk { service: self, book, connection: number, turn: 0 };
        let _over = match self.protocol {
            Protocol::Http | Protocol::Https => talk.http1(&mut wire),
            Protocol::H2 | Protocol::H2c | Protocol::Grpc | Protocol::Grpcs => talk.http2(&mut wire),
            Protocol::DnsTcp | Protocol::DnsUdp => talk.dns(&mut wire),
            Protocol::Tcp => None,
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
    /// Whether the next request is struck before it is read; then the connection is over.
    fn struck_on_arrival(&mut self, wire: &mut Wire) -> Option<bool> {
        let fault = self.service.chosen(&[Level::Arrival], self.connection, Some((None, self.turn)))?;
        if wire.wait_for_input() {
            self.answer(wire, Some(fault));
        }
        Some(true)
    }

    /// Requests until one of them ends the connection; `None` then.
    fn http1(&mut self, wire: &mut Wire) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            if self.struck_on_arrival(wire).is_some() {
                return None;
            }
            let end = loop {
                match http1::end_of_request(&bytes) {
                    Some(end) => break end,
                    None => wire.more(&mut bytes).then_some(())?,
                }
            };
            bytes.drain(..end);
            if let Next::Over(rest) = self.answer(wire, None) {
                bytes.extend(rest);
                (0..http1::requests_in(&bytes)).for_each(|_| self.enter(TOO_LATE));
                return None;
            }
        }
    }

    fn http2(&mut self, wire: &mut Wire) -> Option<()> {
        if self.struck_on_arrival(wire).is_some() {
            return None;
        }
        let mut bytes = Vec::new();
        while bytes.len() < http2::PREFACE.len() {
            wire.more(&mut bytes).then_some(())?;
        }
        bytes.drain(..http2::PREFACE.len());
        if let Some(fault) = self.service.chosen(&[Level::Preface], self.connection, None) {
            perform(fault.steps, wire, &mut Stamps::default());
            return None;
        }
        let settings = self.service.chosen(&[Level::Settings], self.connection, None);
        for steps in [settings.map_or(&[http2::SETTLED][..], |fault| fault.steps), &[http2::ROOM]] {
            if let Next::Over(_) = perform(steps, wire, &mut Stamps::default()) {
                return None;
            }
        }
        loop {
            let ((kind, flags, stream, payload), end) = loop {
                match http2::frame_in(&bytes) {
                    Some(frame) => break frame,
                    None => wire.more(&mut bytes).then_some(())?,
                }
            };
            bytes.drain(..end);
            match kind {
                http2::SETTINGS | http2::PING if flags & http2::ACK == 0 => {
                    let payload = if kind == http2::PING { payload } else { Vec::new() };
                    wire.write(&http2::frame(kind, http2::ACK, 0, &payload)).ok()?;
                }
                http2::HEADERS | http2::DATA if flags & http2::END_STREAM != 0 => {
                    wire.asked.stream = stream;
                    if let Next::Over(rest) = self.answer(wire, None) {
                        self.too_late_over_http2(&[bytes, rest].concat());
                        return None;
                    }
                }
                _ => {}
            }
        }
    }

    fn too_late_over_http2(&mut self, mut bytes: &[u8]) {
        while let Some(((kind, flags, ..), end)) = http2::frame_in(bytes) {
            bytes = bytes.get(end..).unwrap_or_default();
            if matches!(kind, http2::HEADERS | http2::DATA) && flags & http2::END_STREAM != 0 {
                self.enter(TOO_LATE);
            }
        }
    }

    fn dns(&mut self, wire: &mut Wire) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            if self.struck_on_arrival(wire).is_some() {
                return None;
            }
            let (question, end) = loop {
                match dns::message_in(&bytes) {
                    Some(message) => break message,
                    None => wire.more(&mut bytes).then_some(())?,
                }
            };
            bytes.drain(..end);
            wire.asked.question = question;
            if let Next::Over(rest) = self.answer(wire, None) {
                bytes.extend(rest);
                while let Some((_, end)) = dns::message_in(&bytes) {
                    bytes.drain(..end);
                    self.enter(TOO_LATE);
                }
                return None;
            }
        }
    }

    /// Does with a request that has arrived what the script says, or what the caller knows already.
    pub(crate) fn answer(&mut self, wire: &mut Wire, fault: Option<&'static Fault>) -> Next {
        let arrived = clock::now();
        let request = self.service.requests.fetch_add(1, Ordering::SeqCst);
        let place = Some((Some(request), self.turn));
        let fault = fault.or_else(|| self.service.chosen(&[Level::Request], self.connection, place));
        let fault = fault.or_else(|| catalogue::faults(self.service.protocol).into_iter().find(|f| f.name == "ok"));
        let (act, steps) = fault.map_or(("ok", &[][..]), |fault| (fault.name, fault.steps));
        let (connection, turn) = (self.connection, self.turn);
        let entry = Entry { request, connection, turn, act, arrived, first: None, last: None };
        let entered = self.book.enter(entry);
        self.turn += 1;
        let work = self.service.work(request);
        if work > 0 {
            clock::wait_until(arrived + work);
        }
        let frozen = self.service.thaw();
        let mut stamps = Stamps::default();
        // Whatever follows the answer can take as long as the client likes; it has been answered when it has.
        let wait = steps.iter().position(|step| matches!(step, Step::Fin | Step::Hang | Step::Reset | Step::Pause(_)));
        let (answer, after) = steps.split_at(wait.unwrap_or(steps.len()));
        let next = perform(answer, wire, &mut stamps);
        let act = if frozen { FROZEN } else { act };
        self.book.answered(entered, act, stamps.first, stamps.last);
        let multiplexed =
            matches!(self.service.protocol, Protocol::H2 | Protocol::H2c | Protocol::Grpc | Protocol::Grpcs);
        match (next, after) {
            // Other requests on the connection go on: this one alone is never answered.
            (Next::Keep, [Step::Hang]) if multiplexed => Next::Keep,
            (Next::Keep, after) => perform(after, wire, &mut stamps),
            (over @ Next::Over(_), _) => over,
        }
    }

    fn enter(&mut self, act: &'static str) {
        let request = self.service.requests.fetch_add(1, Ordering::SeqCst);
        let (connection, turn, arrived) = (self.connection, self.turn, clock::now());
        self.turn += 1;
        self.book.enter(Entry { request, connection, turn, act, arrived, first: None, last: None });
    }
}
