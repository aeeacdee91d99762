//! `octroi-dns`: an authoritative DNS responder for `octroi.test`, on a UDP of its own: smoltcp, in this process.
//!
//! ```sh
//! octroi-dns --listen 192.0.2.1:53
//! dig @192.0.2.1 www.octroi.test AAAA    # from another host
//! ```
#![deny(unsafe_code)]

use std::{process::ExitCode, rc::Rc};

use anyhow::{Context as _, Result};
use clap::Parser;
use client::{control::request::Proto, stack::StackOptions};
use octroi_examples::{
    arguments::Arguments,
    dns::{responder::Responder, zone::Zone},
    session::Session,
    stop::ended,
    user_stack,
};

/// Answer questions about octroi.test over UDP, on smoltcp.
#[derive(Debug, Parser)]
#[command(version)]
struct Server {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    ended(run(&Server::parse().arguments))
}

fn run(arguments: &Arguments) -> Result<()> {
    let (session, channels) = Session::open(arguments, &StackOptions::named("octroi-dns"), Proto::Udp)?;
    let (port, zone) = (session.tuple().port, Rc::new(Zone::example()?));
    user_stack::run(session, channels, |sockets| {
        Responder::new(port, Rc::clone(&zone), sockets).context("no such port")
    })
}
