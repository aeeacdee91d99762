//! The one clock of a test: after 30 s it is taken to hang, what it made is removed and the program ends.
//!
//! Nothing is asserted by it, and a test that ends never reads it.
use std::{
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use super::sweep;

/// How long a test may take before it is taken to hang.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Watches a test until dropped.
#[derive(Debug)]
pub struct Guard {
    _alive: Sender<()>,
}

impl Guard {
    /// Begins to watch the test `id`.
    #[must_use]
    pub fn start(id: &'static str) -> Self {
        let (alive, ended) = channel::<()>();
        thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{id} hangs: not done after {LIMIT:?}");
                sweep::own();
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}
