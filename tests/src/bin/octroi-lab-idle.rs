//! Clients of the control socket that say nothing: so many connections, held until this program is killed.
//!
//! `octroi-lab-idle SOCKET COUNT` prints `ready` when all of them are made. Whether the daemon keeps them is not its business.
#![deny(unsafe_code)]

use std::{io::Write as _, path::Path, thread};

use anyhow::{Context as _, Result};
use client::control::connection::{Connection, DEFAULT_TIMEOUT};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().context("which control socket?")?;
    let count: usize = arguments.next().context("how many connections?")?.parse()?;
    let connect = |_| Connection::open(Path::new(&socket), DEFAULT_TIMEOUT);
    let held = (0..count).map(connect).collect::<Result<Vec<_>, _>>()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    loop {
        thread::park();
        // It may return at any time: they are held all the same.
        let _held = &held;
    }
}
