//! The directory of a run record, and the one writer of its events.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Open, Sink, durable};
use super::{Event, Micros, What};

/// `reports/<run-id>/`: where each file of a record lies.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl RunDir {
    /// The directory of a run below `reports`. Nothing is created.
    #[must_use]
    pub fn of(reports: &Path, run: &str) -> Self {
        Self::at(reports.join(run))
    }

    /// An existing directory.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), disk: durable() }
    }

    /// The same, whose files are written to this disk.
    #[must_use]
    pub fn on(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the record: `events.jsonl`, `undo.jsonl`, `report.json`, `report.html`, `junit.xml`, `probes.hlog`, `plan.json`,
    /// `calls.jsonl`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the events. A torn last line, as a crash leaves it, is dropped; any other bad line is an error.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or a line before the last is not an event.
    pub fn events(&self) -> io::Result<Vec<Event>> {
        let text = std::fs::read_to_string(self.file("events.jsonl"))?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut events = Vec::new();
        for (number, line) in complete.lines().enumerate() {
            let event = serde_json::from_str(line).map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidData, format!("events.jsonl line {}: {e}", number + 1))
            })?;
            events.push(event);
        }
        Ok(events)
    }

    /// Writes a file of the record so that a reader sees the old one or the new one, never half of it.
    ///
    /// # Errors
    ///
    /// When the directory can't be written.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = self.file(&format!(".{name}.part"));
        let mut file = self.disk.open(&temporary, Open::Anew)?;
        file.write_all(content)?;
        file.sync()?;
        std::fs::rename(temporary, self.file(name))
    }

    /// Opens a file of the record for writing.
    ///
    /// # Errors
    ///
    /// When it can't be opened.
    pub fn open(&self, name: &str, how: Open) -> io::Result<Box<dyn Sink>> {
        self.disk.open(&self.file(name), how)
    }

    /// Makes the names of its files outlive a power cut.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.path)
    }
}

/// The clock of a run: one zero for every event, probe and watch.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    zero: tokio::time::Instant,
    wall: jiff::Timestamp,
}

impl Clock {
    /// A clock whose zero is now; `wall` is the wall clock at this instant, an argument so that a rehearsal is reproducible.
    #[must_use]
    pub fn start(wall: jiff::Timestamp) -> Self {
        Self { zero: tokio::time::Instant::now(), wall }
    }

    /// The zero.
    #[must_use]
    pub const fn zero(&self) -> tokio::time::Instant {
        self.zero
    }

    /// Microseconds since the zero.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.at(tokio::time::Instant::now())
    }

    /// An instant in microseconds since the zero.
    #[must_use]
    pub fn at(&self, instant: tokio::time::Instant) -> Micros {
        match instant.checked_duration_since(self.zero) {
            Some(since) => Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX),
            None => -Micros::try_from(self.zero.duration_since(instant).as_micros()).unwrap_or(Micros::MAX),
        }
    }

    /// The wall clock at an offset from the zero. Advances with the monotonic clock, whatever somebody does to the wall clock.
    #[must_use]
    pub fn wall(&self, at: Micros) -> jiff::Timestamp {
        self.wall.checked_add(jiff::SignedDuration::from_micros(at)).unwrap_or(self.wall)
    }
}

/// Somebody who is told each event.
type Listener = Box<dyn FnMut(&Event)>;

/// The one writer of a run's events: numbers them, appends them to `events.jsonl`, and hands each to the listeners.
pub struct Recorder {
    clock: Clock,
    next: u64,
    file: Option<Box<dyn Sink>>,
    failure: Option<String>,
    listeners: Vec<Listener>,
    kept: Vec<Event>,
}

impl Recorder {
    /// A recorder that appends to `events.jsonl` in the run's directory, which is created.
    ///
    /// # Errors
    ///
    /// When the directory or the file can't be created.
    pub fn create(dir: &RunDir, clock: Clock) -> io::Result<Self> {
        std::fs::create_dir_all(dir.path())?;
        let file = dir.open("events.jsonl", Open::New)?;
        Ok(Self { clock, next: 0, file: Some(file), failure: None, listeners: Vec::new(), kept: Vec::new() })
    }

    /// A recorder that only keeps its events and tells its listeners.
    #[must_use]
    pub fn in_memory(clock: Clock) -> Self {
        Self { clock, next: 0, file: None, failure: None, listeners: Vec::new(), kept: Vec::new() }
    }

    /// Calls `listener` with each event from now on.
    pub fn listen(&mut self, listener: impl FnMut(&Event) + 'static) {
        self.listeners.push(Box::new(listener));
    }

    /// The run's clock.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Why `events.jsonl` is not complete, if it is not.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Everything recorded so far.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.kept
    }

    /// Records that something happened now.
    pub fn record(&mut self, what: What) {
        self.record_at(self.clock.now(), what);
    }

    /// Records that something happened at an instant. A record that can't be written must not stop an undo: the error is kept
    /// for [`Recorder::failure`].
    pub fn record_at(&mut self, at: Micros, what: What) {
        let event = Event { seq: self.next, at, wall: self.clock.wall(at), what };
        self.next += 1;
        if let Some(file) = &mut self.file
            && let Ok(mut line) = serde_json::to_vec(&event)
        {
            line.push(b'\n');
            if let Err(e) = file.write_all(&line) {
                self.file = None;
                self.failure = Some(e.to_string());
            }
        }
        for listener in &mut self.listeners {
            listener(&event);
        }
        self.kept.push(event);
    }
}
