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
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(cli.has_its_own_time()).build();
    let Ok(runtime) = runtime else {
        return ExitCode::FAILURE;
    };
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    let wall = jiff::Timestamp::now;
    let exit = runtime.block_on(command(cli, World { wall, by: format!("{user}@{host}") }));
    ExitCode::from(exit.code())
}
