//! A disk with so much room.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use squall::record::{Disk, Open, Sink, volatile};

/// What is written to it beyond its room is refused as a file system refuses it: what still fits is written first.
#[derive(Debug)]
pub(crate) struct Room {
    disk: Arc<dyn Disk>,
    left: Arc<AtomicU64>,
}

impl Room {
    pub(crate) fn of(bytes: u64) -> Arc<dyn Disk> {
        Arc::new(Self { disk: volatile(), left: Arc::new(AtomicU64::new(bytes)) })
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk for Room {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Sink>> {
        if how != Open::Append && self.left.load(Ordering::Relaxed) == 0 {
            return Err(full());
        }
        Ok(Box::new(File { file: self.disk.open(path, how)?, left: Arc::clone(&self.left) }))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }
}

#[derive(Debug)]
struct File {
    file: Box<dyn Sink>,
    left: Arc<AtomicU64>,
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        let fits = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if fits == 0 && !bytes.is_empty() {
            return Err(full());
        }
        let written = self.file.write(&bytes[..fits])?;
        self.left.fetch_sub(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.cut(length)
    }
}
