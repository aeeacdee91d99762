//! What the XDP programs have to say: a line at debug level where something is wrong that no packet explains.
//!
//! It refuses to decide where lines go: they are kept until the daemon drains them. The ring they come through has
//! a fixed size; while nobody drains it, further lines are lost and packets go on.
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// Most lines handed over by one drain.
const LINES_MAX: usize = 64;

/// The lines of one object's programs.
pub(super) struct ProgramLog {
    logger: EbpfLogger<Arc<Lines>>,
    lines: Arc<Lines>,
}

impl ProgramLog {
    /// Takes the ring of `ebpf`, before its programs are loaded; `None` for an object that never logs.
    pub(super) fn take(ebpf: &mut Ebpf) -> Option<Self> {
        let lines = Arc::new(Lines::default());
        let logger = EbpfLogger::init_with_logger(ebpf, Arc::clone(&lines)).ok()?;
        Some(Self { logger, lines })
    }

    /// What was said since the last call.
    pub(super) fn drain(&mut self) -> Vec<String> {
        self.logger.flush();
        self.lines.take()
    }
}

impl std::fmt::Debug for ProgramLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProgramLog").finish_non_exhaustive()
    }
}

/// Where aya-log puts lines.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Log for Lines {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}
