//! Who must not notice: an application whose packets flow while something happens beside it.
//!
//! Every packet comes back once, in order and unchanged, and the daemon's books have it so.
use std::{
    panic::resume_unwind,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    app::App,
    books::{Account, Reading},
    daemon::Wrapper,
    load::{Load, Tally},
    served::Served,
    tap::Tap,
};

/// Its UDP port.
pub const PORT: u16 = 5777;

/// Packets between two looks whether it is over.
const ROUND: u64 = 100;

/// A running echo and its load.
#[derive(Debug)]
pub struct Victim {
    app: App,
    tap: Tap,
    load: Load,
    sent: u64,
}

impl Victim {
    /// Starts one on UDP port [`PORT`], and lets its first packets flow.
    ///
    /// # Errors
    /// It cannot be started, or packets are lost already.
    pub fn new(served: &Served) -> Result<Self> {
        let mut app = App::start(served.daemon.home(), &served.pair.served, &Wrapper::default())?;
        app.udp(PORT)?;
        let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 2, 100));
        let mut victim = Self { app, tap, load, sent: 0 };
        victim.beside(|| Ok(()))?;
        Ok(victim)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.app.pid()
    }

    /// Packets sent to it so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Does `deed` while its packets flow, at least one round of them.
    ///
    /// # Errors
    /// A packet was lost, doubled, changed or overtaken; or the deed failed.
    pub fn beside<T>(&mut self, deed: impl FnOnce() -> Result<T>) -> Result<T> {
        let Self { tap, load, sent, .. } = self;
        let (done, first) = (AtomicBool::new(false), *sent);
        let (did, flowed) = thread::scope(|scope| {
            let flow = scope.spawn(|| -> Result<u64> {
                let mut next = first;
                loop {
                    let tally = load.echo_from(tap, next, ROUND)?;
                    // What others send passes its tap too.
                    ensure!(Tally { foreign: 0, ..tally } == Tally::whole(ROUND), "{tally:?}");
                    next += ROUND;
                    if done.load(Ordering::Relaxed) {
                        return Ok(next);
                    }
                }
            });
            let did = deed();
            done.store(true, Ordering::Relaxed);
            (did, flow.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        *sent = flowed.context("the victim suffered")?;
        did
    }

    /// Fails unless the books say that all its packets were delivered, and all its answers sent.
    ///
    /// # Errors
    /// They say something else.
    pub fn unharmed(&self, reading: &Reading) -> Result<()> {
        let expected: Account<'_> =
            ["rx_delivered", "tx_read", "tx_sent"].map(|name| (name, self.sent)).into_iter().collect();
        let books = reading.of_tuple(PORT);
        ensure!(books == expected, "the victim's books are {books:?}, and should be {expected:?}");
        Ok(())
    }
}
