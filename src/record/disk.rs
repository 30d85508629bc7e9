//! How the files of a run reach this machine's disk: an argument, because a rehearsal leaves nothing behind that a power cut may not take,
//! and because a disk may be full.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// A file that is being written, without a buffer: what a call has written outlives this process.
pub trait Sink: Write + Send + fmt::Debug {
    /// Makes what was written outlive the machine's next power cut.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file down to this length, in bytes.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// How a file is opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must not be there yet; what is written goes to its end.
    New,
    /// What was in it goes.
    Anew,
    /// It is there; what is written goes to its end.
    Append,
}

/// Where files are written.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file for writing.
    ///
    /// # Errors
    ///
    /// When it can't be opened.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Sink>>;

    /// Makes the names of a folder's files outlive a power cut.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// This machine's disk: what is synced is durable.
#[must_use]
pub fn durable() -> Arc<dyn Disk> {
    Arc::new(Files { durable: true })
}

/// The same disk for what need not outlive a power cut: nobody waits for it to sync.
#[must_use]
pub fn volatile() -> Arc<dyn Disk> {
    Arc::new(Files { durable: false })
}

#[derive(Debug)]
struct Files {
    durable: bool,
}

#[derive(Debug)]
struct Written {
    file: File,
    durable: bool,
}

impl Disk for Files {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Sink>> {
        let mut options = OpenOptions::new();
        match how {
            Open::New => options.create_new(true).append(true),
            Open::Anew => options.create(true).write(true).truncate(true),
            Open::Append => options.append(true),
        };
        Ok(Box::new(Written { file: options.open(path)?, durable: self.durable }))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.durable { File::open(folder)?.sync_all() } else { Ok(()) }
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for Written {
    fn sync(&mut self) -> io::Result<()> {
        if self.durable { self.file.sync_data() } else { Ok(()) }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
