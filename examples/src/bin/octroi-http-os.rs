//! `octroi-http-os`: the server of `octroi-http` on the operating system's TCP, to compare the two.
//!
//! The same conversation and the same bytes; one thread, epoll. It needs no daemon, and refuses to be anything but a peer
//! for measurements and a second opinion.
//!
//! ```sh
//! octroi-http-os --listen 127.0.0.1:8081
//! octroi-http-os --write-objects DIR     # for a server that serves files
//! ```
#![deny(unsafe_code)]

use std::{fs, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser;
use octroi_examples::{
    http::{
        object::{Kib, MAX_KIB, Objects},
        on_os::Server,
    },
    stop::ended,
};

/// Serve objects of 1 to 1024 KiB by HTTP/1.1, on the OS's TCP.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What to serve.
    #[arg(long, value_name = "ADDR:PORT", required_unless_present = "write_objects")]
    listen: Option<SocketAddr>,
    /// Write the objects of up to 64 KiB as files 1k, 2k … there, and end.
    #[arg(long, value_name = "DIR", conflicts_with = "listen")]
    write_objects: Option<PathBuf>,
}

/// KiB of the largest object that is written as a file.
const MAX_FILE: u16 = 64;
const _: () = assert!(MAX_FILE <= MAX_KIB);

fn main() -> ExitCode {
    ended(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    let Arguments { listen, write_objects } = arguments;
    let objects = Objects::default();
    if let Some(directory) = write_objects {
        let mut objects = (1..=MAX_FILE).filter_map(|kib| Some((kib, objects.get(Kib::new(kib)?))));
        return objects.try_for_each(|(kib, bytes)| {
            let path = directory.join(format!("{kib}k"));
            fs::write(&path, bytes).with_context(|| path.display().to_string())
        });
    }
    let listen = listen.context("--listen is missing")?;
    let server = Server::bind(listen, objects).with_context(|| format!("cannot listen on {listen}"))?;
    println!("octroi-http-os: ready on tcp {}", server.local_addr()?);
    Ok(server.run()?)
}
