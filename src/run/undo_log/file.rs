//! The log on disk.

use std::io;

use super::{Acts, Entry, MAX_BYTES, Record, VERSION, read};
use crate::record::{Open, RunDir, Sink};

/// Name of the log in the run's directory.
pub const UNDO_LOG: &str = "undo.jsonl";

/// Where a record of what happened has come to lie.
#[derive(Debug)]
pub enum Noted {
    /// On this machine's disk, unless the log has no file any more.
    Here,
    /// Only in the text for the cluster's copy: the disk refused, and will not be asked again.
    Elsewhere(io::Error),
}

/// The log on disk, open for appending.
#[derive(Debug)]
pub struct UndoLog {
    run: String,
    /// `None` where this machine's disk refuses and the cluster's copy has to do.
    file: Option<Box<dyn Sink>>,
    text: String,
    acts: Acts,
}

impl UndoLog {
    /// Makes the log of a new run; the file and its directory entry are durable when this returns.
    ///
    /// # Errors
    ///
    /// When the file exists already or can't be written: no log, no fault.
    pub fn create(dir: &RunDir, run: &str) -> io::Result<Self> {
        let file = dir.open(UNDO_LOG, Open::New)?;
        dir.sync()?;
        Ok(Self { run: run.to_owned(), file: Some(file), text: String::new(), acts: Acts::default() })
    }

    /// Takes up the log of a run that died, to write its recovery behind it. `text` is its longest copy: where the file on this
    /// machine is missing or shorter, it is written anew.
    ///
    /// # Errors
    ///
    /// When the text is not a log, or the file can't be written.
    pub fn resume(dir: &RunDir, run: &str, text: &str) -> io::Result<Self> {
        let mut log = Self::in_memory(run, text)?;
        // The old file stays whole until the new one is: it may be the only copy.
        dir.write(UNDO_LOG, log.text.as_bytes())?;
        dir.sync()?;
        log.file = Some(dir.open(UNDO_LOG, Open::Append)?);
        Ok(log)
    }

    /// The same where nothing can be written on this machine: the cluster's copy is then the only one.
    ///
    /// # Errors
    ///
    /// When the text is not a log.
    pub fn in_memory(run: &str, text: &str) -> io::Result<Self> {
        let acts = read(text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        let complete = text.rfind('\n').map_or("", |end| &text[..=end]).to_owned();
        Ok(Self { run: run.to_owned(), file: None, text: complete, acts })
    }

    /// The text of a log that begins with these records, for a run of which no log is left.
    ///
    /// # Errors
    ///
    /// When a record can't follow the one before.
    pub fn anew(run: &str, wall: jiff::Timestamp, records: Vec<Record>) -> io::Result<String> {
        Ok(extended(run, &Acts::default(), wall, records)?.1)
    }

    /// Appends records and syncs them to disk in one go. When this returns, a crash can't lose them here; the cluster's copy is
    /// the caller's next step.
    ///
    /// # Errors
    ///
    /// When a record can't follow (a bug), when the log is full, or when the disk refuses: then the log is as it was.
    pub fn append(&mut self, wall: jiff::Timestamp, records: Vec<Record>) -> io::Result<()> {
        let announces = records.iter().any(|record| matches!(record, Record::Prepared { .. }));
        let (acts, lines) = extended(&self.run, &self.acts, wall, records)?;
        if announces && self.text.len() + lines.len() > MAX_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the undo log is full ({MAX_BYTES} bytes)"),
            ));
        }
        if announces && self.file.is_none() {
            return Err(io::Error::other("it can't be written on this machine any more"));
        }
        self.keep(&lines)?;
        self.text.push_str(&lines);
        self.acts = acts;
        Ok(())
    }

    /// Appends the record of something that happened, whatever the disk says of it: the cluster's copy has it then, and the file here, which
    /// is not written any more, only undoes more than needed.
    ///
    /// # Errors
    ///
    /// When a record can't follow (a bug).
    pub fn note(&mut self, wall: jiff::Timestamp, record: Record) -> io::Result<Noted> {
        let (acts, lines) = extended(&self.run, &self.acts, wall, vec![record])?;
        let kept = self.keep(&lines);
        if kept.is_err() {
            self.file = None;
        }
        self.text.push_str(&lines);
        self.acts = acts;
        Ok(kept.map_or_else(Noted::Elsewhere, |()| Noted::Here))
    }

    /// Writes lines behind the file's, where there is one: all of them, or none.
    fn keep(&mut self, lines: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync());
        // Half a line in the middle would make what follows unreadable.
        if written.is_err() && file.cut(self.text.len() as u64).is_err() {
            self.file = None;
        }
        written
    }

    /// The whole log, as the cluster's copy holds it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The state of every act.
    #[must_use]
    pub const fn acts(&self) -> &Acts {
        &self.acts
    }
}

/// The state after more records, and their lines.
fn extended(run: &str, acts: &Acts, wall: jiff::Timestamp, records: Vec<Record>) -> io::Result<(Acts, String)> {
    let (mut acts, mut lines) = (acts.clone(), String::new());
    for what in records {
        let entry = Entry { v: VERSION, seq: acts.len(), run: run.to_owned(), wall, prev: acts.last.clone(), what };
        let line = serde_json::to_string(&entry)?;
        acts.apply(&entry, &line).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        lines.push_str(&line);
        lines.push('\n');
    }
    Ok((acts, lines))
}
