//! How many engines, on which cores, joined in which way: what is decided before any of them starts.
use std::{fmt, io};

use thiserror::Error;

pub use crate::{engine::Limits, worker::Idle};

/// Most engines of a system.
pub const MAX_ENGINES: usize = 64;

/// How the work is shared out among engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Every engine receives, judges and sends for the ports it owns.
    RunToCompletion,
    /// The first core receives, the last sends, all between judge.
    Pipeline,
}

impl Layout {
    /// Fewest cores that it needs.
    #[must_use]
    pub const fn min_cores(self) -> usize {
        match self {
            Self::RunToCompletion => 1,
            Self::Pipeline => 3,
        }
    }
}

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSpec {
    /// How the work is shared out.
    pub layout: Layout,
    /// The core of each engine. A core may be named twice; it is then shared.
    pub cores: Vec<usize>,
    /// What an engine does when there is nothing to do.
    pub idle: Idle,
    /// Their limits.
    pub limits: Limits,
    /// What each thread does once it is pinned, before its first round.
    pub confine: Confine,
}

/// What an engine's thread does to itself before its first round: gives up the rights that it will not need.
#[derive(Clone, Copy)]
pub struct Confine(pub fn() -> io::Result<()>);

impl Confine {
    /// Keeps every right.
    pub const NOT: Self = Self(|| Ok(()));
}

impl PartialEq for Confine {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for Confine {}

impl fmt::Debug for Confine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confine(…)")
    }
}

/// Why a specification is impossible.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SpecError {
    /// Too few cores for the layout.
    #[error("{given} cores, the layout needs at least {limit}")]
    TooFewCores {
        /// Cores named.
        given: usize,
        /// Cores needed.
        limit: usize,
    },
    /// More engines than [`MAX_ENGINES`].
    #[error("{given} engines, {limit} are possible")]
    TooManyEngines {
        /// Cores named.
        given: usize,
        /// [`MAX_ENGINES`].
        limit: usize,
    },
    /// The machine has no such core, or this process may not use it.
    #[error("core {core} does not exist here, or may not be used")]
    NoSuchCore {
        /// The core.
        core: usize,
    },
    /// A limit is out of its range.
    #[error("{what} is {given}, possible are {least} to {limit}")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// Its value.
        given: usize,
        /// The least value.
        least: usize,
        /// The greatest value.
        limit: usize,
    },
    /// A limit must be a power of two.
    #[error("{what} is {given}, which is not a power of two")]
    NoPowerOfTwo {
        /// Which limit.
        what: &'static str,
        /// Its value.
        given: usize,
    },
}

impl EngineSpec {
    /// One engine on each of `cores`, run-to-completion, adaptive, with the default limits, not confined.
    #[must_use]
    pub fn on_cores(cores: Vec<usize>) -> Self {
        let (idle, limits) = (Idle::Adaptive, Limits::default());
        Self { layout: Layout::RunToCompletion, cores, idle, limits, confine: Confine::NOT }
    }

    /// Refuses what cannot work here.
    ///
    /// # Errors
    /// [`SpecError`], the first thing that is wrong.
    pub fn check(&self) -> Result<(), SpecError> {
        let given = self.cores.len();
        let least = self.layout.min_cores();
        if given < least {
            return Err(SpecError::TooFewCores { given, limit: least });
        }
        if MAX_ENGINES < given {
            return Err(SpecError::TooManyEngines { given, limit: MAX_ENGINES });
        }
        let usable = core_affinity::get_core_ids().unwrap_or_default();
        if let Some(&core) = self.cores.iter().find(|&&core| usable.iter().all(|u| u.id != core)) {
            return Err(SpecError::NoSuchCore { core });
        }
        self.limits.check()
    }
}

impl Limits {
    /// Refuses limits out of their ranges.
    ///
    /// # Errors
    /// [`SpecError::Limit`].
    pub fn check(&self) -> Result<(), SpecError> {
        let within = |what, given: usize, least, limit| {
            if (least..=limit).contains(&given) {
                return Ok(());
            }
            Err(SpecError::Limit { what, given, least, limit })
        };
        within("batch", self.batch, 1, 1024)?;
        within("backlog_frames", self.backlog_frames, 1, 1 << 16)?;
        within("scratch_slots", self.scratch_slots, 2, 1 << 16)?;
        if !self.scratch_slots.is_power_of_two() {
            return Err(SpecError::NoPowerOfTwo { what: "scratch_slots", given: self.scratch_slots });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        let spec = EngineSpec { layout: Layout::Pipeline, ..EngineSpec::on_cores(vec![0, 0]) };
        assert_eq!(spec.check(), Err(SpecError::TooFewCores { given: 2, limit: 3 }));
        let spec = EngineSpec::on_cores(vec![99_999]);
        assert_eq!(spec.check(), Err(SpecError::NoSuchCore { core: 99_999 }));
        let limits = Limits { batch: 0, ..Limits::default() };
        let error = SpecError::Limit { what: "batch", given: 0, least: 1, limit: 1024 };
        assert_eq!(limits.check(), Err(error));
        let limits = Limits { scratch_slots: 1000, ..Limits::default() };
        let error = SpecError::NoPowerOfTwo { what: "scratch_slots", given: 1000 };
        assert_eq!(limits.check(), Err(error));
    }
}
