//! `lab serve`: the embedded cluster on real sockets, in real time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::net::TcpListener;

use super::World;
use super::rehearse::Furniture;
use crate::lab::{Lab, Site};
use crate::record::Exit;
use crate::run::signals;
use crate::term::Terminal;

/// `squall lab`.
#[derive(Debug, Args)]
pub(super) struct LabVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve it on loopback addresses, for kubectl and its kin, until Ctrl-C
    Serve(Serve),
}

/// `squall lab serve`.
#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    furniture: Furniture,
    /// Seed of every random choice of the lab
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Port of the API on 127.0.0.1; a free one when left out
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,
    /// Port of the AWS services on 127.0.0.1; a free one when left out
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    aws_port: u16,
    /// Where to write the kubeconfig; overwritten if it is there
    #[arg(long, default_value = "lab.kubeconfig", value_name = "PATH")]
    kubeconfig_out: PathBuf,
}

impl LabVerb {
    /// Serves until a signal.
    pub(super) async fn run(&self, term: &mut Terminal, world: &World) -> Exit {
        let Verb::Serve(serve) = &self.verb;
        serve.run(term, world).await
    }
}

impl Serve {
    async fn run(&self, term: &mut Terminal, world: &World) -> Exit {
        let manifests = match self.furniture.manifests(term) {
            Ok(manifests) => manifests,
            Err(exit) => return exit,
        };
        let listener = match TcpListener::bind(("127.0.0.1", self.port)).await {
            Ok(listener) => listener,
            Err(e) => return term.refused(&format!("can't listen on port {}: {e}", self.port), None),
        };
        let aws = match TcpListener::bind(("127.0.0.1", self.aws_port)).await {
            Ok(listener) => listener,
            Err(e) => return term.refused(&format!("can't listen on port {}: {e}", self.aws_port), None),
        };
        let (at, cloud_at) = match listener.local_addr().and_then(|at| Ok((at, aws.local_addr()?))) {
            Ok(both) => both,
            Err(e) => return term.errored(&e.to_string()),
        };
        if let Err(e) = write_file(&self.kubeconfig_out, &Lab::kubeconfig(at)) {
            let text = format!("can't write the kubeconfig {}: {e}", self.kubeconfig_out.display());
            return term.refused(&text, Some("name another place with `--kubeconfig-out`"));
        }
        let site = Site { groups: self.furniture.groups, ..Site::default() };
        let sets = format!("AWS_REGION={} AWS_ACCESS_KEY_ID=lab AWS_SECRET_ACCESS_KEY=lab", site.region);
        let lab = self.furniture.lab(self.seed, (world.wall)(), Some(site));
        for (name, text) in &manifests {
            if let Err(e) = lab.apply(text).await {
                return term.usage(&format!("{name}: {e}"), None);
            }
        }
        let mut signals = signals::listen();
        let json = term.wants_json();
        self.tell(at, (cloud_at, &sets), term);
        let told = |listening: crate::lab::Listening| {
            let (service, at) = (listening.service, listening.at);
            if json {
                term.say(&json!({"service": service, "listens": at.to_string()}).to_string());
            } else {
                term.say(&format!("  {service:28} http://{at}/"));
            }
        };
        tokio::select! {
            () = lab.serve(listener, told) => {}
            () = lab.serve_aws(aws) => {}
            _ = signals.recv() => {}
        }
        Exit::Passed
    }
}

impl Serve {
    /// Says where it listens. In JSON one line each, for whoever waits for it; the first says that the API answers.
    fn tell(&self, at: SocketAddr, (cloud, sets): (SocketAddr, &str), term: &mut Terminal) {
        let kubeconfig = self.kubeconfig_out.display().to_string();
        if term.wants_json() {
            let line =
                json!({"api": format!("http://{at}"), "kubeconfig": kubeconfig, "aws": format!("http://{cloud}")});
            return term.say(&line.to_string());
        }
        term.say(&format!("the lab's API listens on http://{at}, in real time; Ctrl-C ends it and forgets everything"));
        term.say(&format!("  export KUBECONFIG={kubeconfig}"));
        term.say(&format!("  export AWS_ENDPOINT_URL=http://{cloud} {sets}"));
    }
}

fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}
