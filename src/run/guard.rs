//! A second process that outlives a runner that is killed: it waits, does nothing, and takes back what a dead runner left.
//!
//! It learns of the runner's end from a pipe that the kernel closes with the runner, whatever ends it: SIGKILL, the OOM killer, a bug.
//! A runner that ends in order says so first. It is in a process group of its own, so that a Ctrl-C reaches the runner alone. It
//! can't help where the whole machine, or the container, goes: there the undo log in the cluster waits for `squall recover`.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

/// What a runner that ends in order writes.
const ORDERLY: &[u8] = b"done\n";

/// The running guard. Dropped without [`dismiss`](Self::dismiss), it takes the runner for dead.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts `command`, which has to call [`runner_died`], with `log` as its output.
    ///
    /// # Errors
    ///
    /// When the process can't be started.
    pub fn start(mut command: Command, log: File) -> io::Result<Self> {
        let errors = log.try_clone()?;
        let mut child = command.stdin(Stdio::piped()).stdout(log).stderr(errors).process_group(0).spawn()?;
        let pipe = child.stdin.take().ok_or_else(|| io::Error::other("it has no standard input"))?;
        Ok(Self { child, pipe })
    }

    /// The run ended in order: nothing is left, or a person was told what is. Whether the guard was there until now.
    #[must_use]
    pub fn dismiss(mut self) -> bool {
        let was_there = matches!(self.child.try_wait(), Ok(None)) && self.pipe.write_all(ORDERLY).is_ok();
        drop(self.pipe);
        // It ends with the pipe; that it is waited for keeps no zombie, and its exit says nothing more.
        let _ended = self.child.wait();
        was_there
    }
}

/// Waits until the runner is gone; whether it ended without a word.
///
/// # Errors
///
/// When the pipe can't be read: then nothing is known of the runner.
pub fn runner_died(mut pipe: impl Read) -> io::Result<bool> {
    let mut said = Vec::new();
    pipe.read_to_end(&mut said)?;
    Ok(said != ORDERLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_is_an_orderly_end() {
        assert!(!runner_died(&b"done\n"[..]).unwrap());
        assert!(runner_died(&b""[..]).unwrap());
        assert!(runner_died(&b"do"[..]).unwrap());
    }

    #[test]
    fn a_guard_hears_of_both_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.log");
        let start = || {
            let mut command = Command::new("sh");
            command.args(["-c", "cat; echo over"]);
            Guard::start(command, File::create(&path).unwrap()).unwrap()
        };
        assert!(start().dismiss());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "done\nover\n");
        let Guard { mut child, pipe } = start();
        drop(pipe);
        child.wait().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "over\n");
    }

    #[test]
    fn one_that_was_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("guard.log")).unwrap();
        let mut guard = Guard::start(Command::new("true"), log).unwrap();
        guard.child.wait().unwrap();
        assert!(!guard.dismiss());
    }
}
