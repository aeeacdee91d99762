//! `octroi-http`: an HTTP/1.1 server on a TCP of its own: smoltcp, in this process, without any privilege.
//!
//! ```sh
//! octroi-http --listen 192.0.2.1:8080
//! curl http://192.0.2.1:8080/8k          # from another host
//! ```
#![deny(unsafe_code)]

use std::{process::ExitCode, rc::Rc};

use anyhow::Result;
use clap::Parser;
use client::{control::request::Proto, stack::StackOptions};
use octroi_examples::{
    arguments::Arguments,
    http::{object::Objects, on_smoltcp::Http},
    session::Session,
    stop::ended,
    user_stack,
};

/// Slots of each ring: the segments of some forty 32 KiB replies under way at once.
const SLOTS: u32 = 1024;

/// Serve objects of 1 to 1024 KiB by HTTP/1.1, on smoltcp.
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
    let options = StackOptions { rx_slots: SLOTS, tx_slots: SLOTS, ..StackOptions::named("octroi-http") };
    let (session, channels) = Session::open(arguments, &options, Proto::Tcp)?;
    let (port, objects) = (session.tuple().port, Rc::new(Objects::default()));
    user_stack::run(session, channels, |sockets| Ok(Http::new(port, Rc::clone(&objects), sockets)))
}
