//! `octroi top`: the live view: rates per queue, engine, target and drop reason.
//!
//! Rates are differences of two answers of `status`; the daemon keeps no rates, so looking costs it nothing more than
//! answering.
mod rates;
mod screen;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use client::control::{connection::Connection, status::Status};

use self::rates::Rates;
use super::{Form, Outcome};
use crate::{cli::Global, daemon};

/// Watch rates live, per queue, engine, target and drop reason; q ends it.
#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    form: Form,
    /// Milliseconds between two looks.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval: u64,
    /// End after this many looks [default: with --json 1, else never].
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Top {
    /// Watches until the user or the count ends it.
    ///
    /// # Errors
    /// If the daemon does not answer any more.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let mut watch = Watch::begin(daemon::connect(global)?)?;
        let interval = Duration::from_millis(self.interval);
        if self.form.is_json() {
            for _ in 0..self.count.unwrap_or(1) {
                std::thread::sleep(interval);
                self.form.print(&watch.next()?, |_| String::new())?;
            }
        } else {
            screen::run(&mut watch, interval, self.count)?;
        }
        Ok(Outcome::Well)
    }
}

/// A daemon and the last answer it gave.
struct Watch {
    daemon: Connection,
    last: Status,
    at: Instant,
}

impl Watch {
    fn begin(mut daemon: Connection) -> Result<Self> {
        let last = daemon.status()?;
        Ok(Self { daemon, last, at: Instant::now() })
    }

    /// What happened since the last look.
    fn next(&mut self) -> Result<Rates> {
        let now = self.daemon.status()?;
        let at = Instant::now();
        let rates = Rates::between(&self.last, &now, at - self.at);
        (self.last, self.at) = (now, at);
        Ok(rates)
    }
}
