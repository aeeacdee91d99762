//! The header program of an interface's filter: made and loaded before the filter is in force, put before `steer` after.
//!
//! Without one a filter does the same, but on its workers alone; why there is none is told and never fatal, unless what
//! was asked for takes one. Making one asks the kernel, which takes its time with a large program: see [`Chain`].
use std::{fmt, sync::Arc};

use client::control::ruler::{HeaderRow, Scope};
use ruler::ebpf::{self, Counter, Settings, limits};
use xsk::bpf::{BpfError, Counters, HeaderCounters, HeaderMaps, HeaderProgram, HeaderRefused, HeaderSlot};

use super::Ready;

/// The chain of programs that a header program is made for, held by descriptors of its own: whoever has it can make one
/// beside the control loop.
pub struct Chain {
    slot: HeaderSlot,
    counters: Counters,
    number: u64,
}

/// What came of making a header program for a chain.
#[derive(Clone, Debug)]
pub struct Headed {
    /// Which chain: it is of use there alone.
    pub chain: u64,
    /// The program.
    pub header: Result<Arc<Header>, Without>,
}

/// A loaded header program, and what it counts.
#[derive(Debug)]
pub struct Header {
    program: HeaderProgram,
    decided: HeaderCounters,
    instructions: u32,
}

/// Why a filter has no header program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Without {
    /// In words.
    pub why: String,
    /// The verifier's log, if it was the verifier.
    pub log: Option<String>,
}

impl Chain {
    /// The chain of this number with its slot, and the books of this instance.
    #[must_use]
    pub const fn new(number: u64, slot: HeaderSlot, counters: Counters) -> Self {
        Self { slot, counters, number }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Makes the header program of a filter.
    #[must_use]
    pub fn head(&self, filter: &Ready) -> Headed {
        let header = Header::load(filter, &self.slot, &self.counters).map(Arc::new);
        Headed { chain: self.number, header }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chain").field(&self.number).finish()
    }
}

impl Header {
    /// The header program of a filter, for the chain with this slot and the books of this instance.
    ///
    /// # Errors
    /// It is too large even when cut, or the kernel refuses it.
    pub fn load(filter: &Ready, slot: &HeaderSlot, counters: &Counters) -> Result<Self, Without> {
        let compiled = filter.installed.bound().filter();
        let rules = u16::try_from(compiled.rules()).unwrap_or(u16::MAX);
        let decided = HeaderCounters::create(Counter::entries(rules)).map_err(Without::of)?;
        let settings = Settings {
            scope: match filter.scope {
                Scope::Steered => ebpf::Scope::Steered,
                Scope::Interface => ebpf::Scope::Interface,
            },
            pass: &filter.pass,
            class_gen: filter.installed.class_generation(),
        };
        let loaded = compiled.header_program(&settings, |program| {
            let maps = HeaderMaps::new(slot, &decided, counters);
            let program = HeaderProgram::load(&program.words(), maps)?;
            let verified = program.verified_instructions();
            Ok(limits::Loaded { program, verified })
        });
        let (program, loaded) = loaded.map_err(Without::unfit)?;
        let instructions = u32::try_from(program.instructions.len()).unwrap_or(u32::MAX);
        Ok(Self { program: loaded.program, decided, instructions })
    }

    /// Runs it before `steer`, from the next frame on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn put(&self, slot: &HeaderSlot) -> Result<(), BpfError> {
        slot.set(&self.program)
    }

    /// What there is to know of it.
    #[must_use]
    pub fn row(&self) -> HeaderRow {
        HeaderRow {
            instructions: Some(self.instructions),
            verified: Some(self.program.verified_instructions()),
            ..HeaderRow::default()
        }
    }

    /// How often it decided for a rule; nothing if the kernel does not say.
    #[must_use]
    pub fn decided(&self, rule: u16) -> u64 {
        // Where a rule's counter is does not depend on how many rules there are.
        self.decided.read_one(Counter::Rule(rule).index(0)).unwrap_or(0)
    }
}

impl Without {
    /// Without a log.
    pub fn of(why: impl ToString) -> Self {
        Self { why: why.to_string(), log: None }
    }

    fn unfit(error: limits::Unfit<HeaderRefused>) -> Self {
        match error {
            limits::Unfit::Refused(HeaderRefused { source, log }) => Self {
                why: format!("the kernel refused it: {source}"),
                log: (!log.is_empty()).then_some(log),
            },
            other => Self::of(other),
        }
    }

    /// What there is to tell.
    #[must_use]
    pub fn row(&self) -> HeaderRow {
        HeaderRow { why: Some(self.why.clone()), log: self.log.clone(), ..HeaderRow::default() }
    }
}
