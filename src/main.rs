//! The `squall` binary: parses, builds the runtime, and maps the outcome to an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use squall::cli::{Cli, World, main as command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two providers could be compiled in by a dependency; rustls then panics on first use unless one is chosen here.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Where time is its own nothing comes from outside; to ask the kernel at each step whether something did costs half of the step.
    let runtime = if cli.has_its_own_time() { runtime.enable_time().start_paused(true) } else { runtime.enable_all() };
    let Ok(runtime) = runtime.build() else {
        return ExitCode::FAILURE;
    };
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    let wall = jiff::Timestamp::now;
    let exit = runtime.block_on(command(cli, World { wall, by: format!("{user}@{host}") }));
    ExitCode::from(exit.code())
}
