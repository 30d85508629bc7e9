//! A server that breaks on purpose, by a script, and writes down exactly what it saw and did.
//!
//! It shares nothing with the client that it judges: blocking sockets, a thread for each connection, protocol bytes written by hand
//! (TLS alone is rustls, where a fault does not replace it). How to run it: see the README beside it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own, with its own output")]

mod catalogue;
mod clock;
mod datagrams;
mod dns;
mod grpc;
mod http1;
mod http2;
mod listen;
mod log;
mod perform;
#[path = "../script.rs"]
mod script;
mod serve;
mod tls;
mod wire;

use std::error::Error;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

use listen::Service;
use script::{Greeting, Listener, Protocol, Script};

/// Every protocol, with the name that the command line and the script know it by.
const PROTOCOLS: [(&str, Protocol); 9] = [
    ("http", Protocol::Http),
    ("https", Protocol::Https),
    ("h2c", Protocol::H2c),
    ("h2", Protocol::H2),
    ("grpc", Protocol::Grpc),
    ("grpcs", Protocol::Grpcs),
    ("tcp", Protocol::Tcp),
    ("dns-udp", Protocol::DnsUdp),
    ("dns-tcp", Protocol::DnsTcp),
];

const USAGE: &str = "usage: faultserver (--script FILE|JSON | --fault PROTOCOL/NAME) [--log FILE]
       faultserver --list
Prints its ports as one line of JSON and runs until its input ends; then writes its log, to stderr without --log.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faultserver: {error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut script, mut log) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--list" {
            return list();
        }
        let value = arguments.next().ok_or_else(|| format!("`{argument}` needs a value"))?;
        match argument.as_str() {
            "--script" if value.trim_start().starts_with('{') => script = Some(serde_json::from_str(&value)?),
            "--script" => script = Some(serde_json::from_slice(&std::fs::read(&value)?)?),
            "--fault" => script = Some(single(&value)?),
            "--log" => log = Some(value),
            _ => return Err(format!("unknown argument `{argument}`").into()),
        }
    }
    serve(&script.ok_or("nothing to do")?, log.as_deref())
}

/// One listener that does one thing, whoever comes.
fn single(fault: &str) -> Result<Script, Box<dyn Error>> {
    let (protocol, name) = fault.split_once('/').ok_or("a fault is `PROTOCOL/NAME`")?;
    let known = PROTOCOLS.iter().find(|(name, _)| *name == protocol);
    let (_, protocol) = *known.ok_or_else(|| format!("no protocol `{protocol}`"))?;
    let listener = Listener {
        name: fault.to_owned(),
        protocol,
        rules: Vec::new(),
        otherwise: name.to_owned(),
        windows: Vec::new(),
        delay: None,
    };
    Ok(Script { seed: 0, listeners: vec![listener] })
}

fn list() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for (name, protocol) in PROTOCOLS {
        for fault in catalogue::faults(protocol) {
            writeln!(out, "{name}/{}", fault.name)?;
        }
    }
    Ok(())
}

fn serve(script: &Script, log: Option<&str>) -> Result<(), Box<dyn Error>> {
    let zero = clock::now();
    let certificates = Arc::new(tls::Certificates::load()?);
    let mut services = Vec::new();
    for listener in &script.listeners {
        services.push(Service::open(listener, script.seed, zero, &certificates)?);
    }
    for service in &services {
        service.start()?;
    }
    let ports = services.iter().map(|service| service.port()).collect();
    println!("{}", serde_json::to_string(&Greeting { zero, ports })?);
    // Whoever started the server holds its input; when that one is gone, so is the server.
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    listen::settle(&services);
    match log {
        Some(path) => write_log(&services, BufWriter::new(std::fs::File::create(path)?)),
        None => write_log(&services, BufWriter::new(std::io::stderr().lock())),
    }
}

fn write_log(services: &[Arc<Service>], mut out: impl Write) -> Result<(), Box<dyn Error>> {
    for service in services {
        service.log().write(&mut out)?;
    }
    Ok(out.flush()?)
}
