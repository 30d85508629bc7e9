//! Commands of this machine: the third way to the outside, beside the Kubernetes API and the cloud's.
//!
//! As the leash is told what may be changed, it is told here which commands may be run: those that a plan names, and nobody else's. Any
//! other is never started.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long what is asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(1);
/// How long the end of the output is waited for once the command has ended: what it left running may hold the pipe for ever.
const LINGER: Duration = Duration::from_millis(250);
/// How much of each output is kept: its end, which is where the reason stands.
const KEPT: usize = 600;

/// A program with its arguments. No shell reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandLine {
    /// The program as an absolute path, then its arguments.
    pub argv: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

impl CommandLine {
    /// The command with its program found, in `PATH` or from the working directory, so that it is the same whoever runs it later.
    ///
    /// # Errors
    ///
    /// When there is no such program that may be run, in words.
    pub fn find(argv: &[String], timeout: Duration) -> Result<Self, String> {
        let Some((program, arguments)) = argv.split_first() else { return Err("the command is empty".to_owned()) };
        let directory = std::env::current_dir().map_err(|e| format!("the working directory can't be found: {e}"))?;
        let path = find(program, &directory, std::env::var_os("PATH").unwrap_or_default().as_ref())?;
        let argv = std::iter::once(path).chain(arguments.iter().cloned()).collect();
        Ok(Self { argv, directory, timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) })
    }

    /// What a person types to do the same.
    #[must_use]
    pub fn by_hand(&self) -> String {
        format!("cd {} && {self}", quoted(&self.directory.display().to_string()))
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// As a shell takes it, so that it can be copied.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.argv.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { " " }, quoted(word))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The absolute path of a program; without a slash it is looked for in the folders of `path`.
fn find(program: &str, directory: &Path, path: &std::ffi::OsStr) -> Result<String, String> {
    let may_run =
        |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![directory.join(program)]
    } else {
        std::env::split_paths(path).map(|folder| directory.join(folder).join(program)).collect()
    };
    let found = candidates.into_iter().find(|candidate| may_run(candidate)).ok_or_else(|| {
        let place = if program.contains('/') { directory.display().to_string() } else { "`PATH`".to_owned() };
        format!("there is no program `{program}` in {place}")
    })?;
    found.into_os_string().into_string().map_err(|path| format!("the path {} is not text", path.display()))
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nobody let it run: it was not started.
    #[error("not run, because no plan that was allowed to run commands names it: `{0}`")]
    NotLet(CommandLine),
    /// It could not be started.
    #[error("can't run `{command}`: {source}")]
    Start {
        /// The command.
        command: CommandLine,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// It says that it failed.
    #[error("`{command}` failed ({status}){output}")]
    Failed {
        /// The command.
        command: CommandLine,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// It took too long, and was ended.
    #[error("`{command}` was not over after {} s, and was ended with everything that it had started{output}", .command.timeout().as_secs_f64())]
    TimedOut {
        /// The command.
        command: CommandLine,
        /// The end of what it printed.
        output: String,
    },
    /// Nobody waits for it any more, and it was ended.
    #[error("`{command}` was ended, because the run was ending{output}")]
    Interrupted {
        /// The command.
        command: CommandLine,
        /// The end of what it printed.
        output: String,
    },
}

/// Which commands may be run. Cheap to clone; clones share it. At first none.
#[derive(Debug, Clone, Default)]
pub struct Commands(Arc<Mutex<Vec<CommandLine>>>);

impl Commands {
    /// Lets these be run from now on.
    pub fn let_run(&self, more: impl IntoIterator<Item = CommandLine>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
    }

    /// Lets none be run any more: what one run was let is nothing to the next.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether it may be run.
    #[must_use]
    pub fn may_run(&self, command: &CommandLine) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(command)
    }

    /// Runs a command to its end and answers with the end of what it printed. When it takes too long, when `ending` comes, or when this
    /// is dropped, its process group is ended; what it leaves running when it ends by itself goes on.
    ///
    /// # Errors
    ///
    /// When it may not be run, can't be started, fails, or did not come to its end.
    pub async fn run(&self, command: &CommandLine, ending: impl Future<Output = ()>) -> Result<String, CommandError> {
        if !self.may_run(command) {
            return Err(CommandError::NotLet(command.clone()));
        }
        let started = |source| CommandError::Start { command: command.clone(), source };
        let mut running = Running::start(command).map_err(started)?;
        let how = running.go(command.timeout(), ending).await;
        let (command, output) = (command.clone(), running.output());
        match how.map_err(started)? {
            How::Ended(status) if status.success() => Ok(output),
            How::Ended(status) => Err(CommandError::Failed { command, status, output }),
            How::TimedOut => Err(CommandError::TimedOut { command, output }),
            How::Interrupted => Err(CommandError::Interrupted { command, output }),
        }
    }
}

/// How a command came to its end.
enum How {
    Ended(ExitStatus),
    TimedOut,
    Interrupted,
}

/// A command that runs in a process group of its own, which ends with this unless it ended by itself.
struct Running {
    child: Child,
    group: Option<Pid>,
    out: Tail,
    err: Tail,
}

impl Running {
    fn start(command: &CommandLine) -> io::Result<Self> {
        let (program, arguments) =
            command.argv.split_first().ok_or_else(|| io::Error::other("there is no program in it"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(&command.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let out = Tail::of(child.stdout.take().map(|pipe| Box::new(pipe) as Pipe));
        let err = Tail::of(child.stderr.take().map(|pipe| Box::new(pipe) as Pipe));
        Ok(Self { child, group, out, err })
    }

    async fn go(&mut self, most: Duration, ending: impl Future<Output = ()>) -> io::Result<How> {
        let Self { child, out, err, .. } = self;
        let mut reading = std::pin::pin!(async { tokio::join!(out.fill(), err.fill()) });
        let (mut late, mut ending) = (std::pin::pin!(sleep(most)), std::pin::pin!(ending));
        let mut read = false;
        let how = loop {
            tokio::select! {
                biased;
                status = child.wait() => break How::Ended(status?),
                _ = &mut reading, if !read => read = true,
                () = &mut late => break How::TimedOut,
                () = &mut ending => break How::Interrupted,
            }
        };
        if matches!(how, How::Ended(_)) {
            // It ended by itself: what it left running is meant to go on.
            self.group = None;
        } else {
            signal(self.group, Signal::TERM);
            let _asked = timeout(GRACE, child.wait()).await;
            signal(self.group.take(), Signal::KILL);
            child.wait().await?;
        }
        if !read {
            let _held_by_others = timeout(LINGER, reading).await;
        }
        Ok(how)
    }

    /// The end of what it printed, as it follows in a sentence.
    fn output(&self) -> String {
        let parts = [("stderr", self.err.text()), ("stdout", self.out.text())];
        let said: Vec<String> = parts
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        if said.is_empty() { "; it printed nothing".to_owned() } else { format!("; {}", said.join("; ")) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.group, Signal::KILL);
    }
}

/// One that is gone already needs no signal.
fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        let _gone = kill_process_group(group, signal);
    }
}

type Pipe = Box<dyn AsyncRead + Unpin>;

/// The end of what comes through a pipe.
struct Tail {
    pipe: Option<Pipe>,
    kept: Vec<u8>,
}

impl Tail {
    const fn of(pipe: Option<Pipe>) -> Self {
        Self { pipe, kept: Vec::new() }
    }

    async fn fill(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            self.kept.extend_from_slice(&buffer[..length]);
            let more = self.kept.len().saturating_sub(KEPT);
            self.kept.drain(..more);
        }
    }

    /// In one line.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" | ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn line(script: &str, timeout: Duration) -> CommandLine {
        let argv = ["sh", "-c", script].map(str::to_owned);
        CommandLine::find(&argv, timeout).unwrap()
    }

    async fn ran(script: &str, timeout: Duration) -> Result<String, CommandError> {
        let (commands, line) = (Commands::default(), line(script, timeout));
        commands.let_run([line.clone()]);
        commands.run(&line, pending()).await
    }

    /// Whether a process of this id still runs.
    fn lives(id: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// What was killed and is nobody's child here dies when the kernel comes to it; what was not makes this wait for ever.
    async fn dead(id: &str) {
        while lives(id) {
            tokio::task::yield_now().await;
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn only_what_was_let_is_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made");
        let touch = line(&format!("touch {}", path.display()), LONG);
        let commands = Commands::default();
        assert!(matches!(commands.run(&touch, pending()).await, Err(CommandError::NotLet(_))));
        commands.let_run([touch.clone()]);
        let other = CommandLine { timeout_ms: 1, ..touch.clone() };
        assert!(matches!(commands.run(&other, pending()).await, Err(CommandError::NotLet(_))));
        assert!(!path.exists());
        commands.run(&touch, pending()).await.unwrap();
        assert!(path.exists());
        commands.forget();
        assert!(!commands.may_run(&touch));
    }

    #[tokio::test]
    async fn a_failure_says_how_it_ended_and_what_it_printed_last() {
        let error = ran("echo out; echo no route >&2; exit 3", LONG).await.unwrap_err().to_string();
        assert!(error.ends_with("failed (exit status: 3); stderr: no route; stdout: out"), "{error}");
        let error = ran("yes long | head -c 1000000; echo the end; false", LONG).await.unwrap_err().to_string();
        assert!(error.ends_with("| the end") && error.len() < 2000, "{error}");
    }

    #[tokio::test]
    async fn what_takes_too_long_ends_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        // The second ignores the polite signal, and holds the pipe.
        let script = format!(
            "sh -c 'trap \"\" TERM; echo $$ >{0}.new; mv {0}.new {0}; sleep 60; sleep 60' & wait",
            path.display()
        );
        let error = ran(&script, Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        dead(&std::fs::read_to_string(&path).unwrap()).await;
    }

    #[tokio::test]
    async fn it_ends_when_the_run_does_and_when_nobody_waits_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        let line = line(&format!("echo $$ >{0}.new; mv {0}.new {0}; sleep 60", path.display()), LONG);
        let commands = Commands::default();
        commands.let_run([line.clone()]);
        let started = || async {
            while !path.exists() {
                tokio::task::yield_now().await;
            }
        };
        let error = commands.run(&line, started()).await.unwrap_err();
        assert!(matches!(error, CommandError::Interrupted { .. }), "{error}");
        assert!(!lives(&std::fs::read_to_string(&path).unwrap()));
        std::fs::remove_file(&path).unwrap();
        tokio::select! {
            _ = commands.run(&line, pending()) => panic!("it is not over"),
            () = started() => {}
        }
        dead(&std::fs::read_to_string(&path).unwrap()).await;
    }

    #[tokio::test]
    async fn what_it_leaves_running_goes_on_and_holds_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        ran(&format!("sleep 60 & echo $! >{}", path.display()), LONG).await.unwrap();
        let id = std::fs::read_to_string(&path).unwrap();
        assert!(lives(&id));
        let id = Pid::from_raw(id.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(id, Signal::KILL).unwrap();
    }

    #[test]
    fn it_is_printed_as_it_can_be_typed() {
        let argv = ["/bin/off", "n1", "", "it's $HOME"].map(str::to_owned).to_vec();
        let line = CommandLine { argv, directory: "/a b".into(), timeout_ms: 1 };
        assert_eq!(line.by_hand(), r"cd '/a b' && /bin/off n1 '' 'it'\''s $HOME'");
    }

    #[test]
    fn a_program_that_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("off");
        std::fs::write(&path, "").unwrap();
        let here = |program: &str| find(program, folder.path(), folder.path().as_os_str());
        assert_eq!(here("off").unwrap_err(), "there is no program `off` in `PATH`", "it may not be run");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(here("off").unwrap(), path.to_str().unwrap());
        assert_eq!(here("./off").unwrap(), folder.path().join("./off").to_str().unwrap());
        assert!(here("./on").unwrap_err().starts_with("there is no program `./on` in /"));
    }
}
