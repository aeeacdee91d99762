//! Who owns which tuple: exactly one owner for each (protocol, local address, port), or a refusal that says why.
//!
//! The registry binds, maps and sends nothing. Each operation returns a [`Change`]: ordered [`Step`](crate::step::Step)s for
//! the daemon to carry out. The registry takes the change over only when all of them succeeded; when one fails, those
//! already done are undone in reverse and nothing has changed.
//!
//! ```text
//! Registry::add ──► Change { plan } ──carry_out──► step, step, step ──► new state
//!                                                            └ failed: undo, undo, old state
//! ```
mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use abi::steer::{Target, builtin, kind, target_flag};

use crate::mirror::Mirror;
use crate::refusal::{Refusal, Resource};
use crate::slots::{MAX_SLOTS, Slots, TupleId};
use crate::step::plan;
use crate::tuple::{Address, Tuple, registrable};

use change::Spent;
pub use change::{Change, Failed};

/// Most keys in the steering table: what its map holds.
pub const MAX_TUPLES: usize = abi::steer::STEER_ENTRIES as usize;

/// Most local addresses; each `any` is expanded to as many keys.
pub const MAX_ADDRESSES: usize = 4096;

/// The registry's limits, for tests that want to reach them sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most [`MAX_SLOTS`].
    pub slots: usize,
    /// At most [`MAX_TUPLES`].
    pub tuples: usize,
    /// At most [`MAX_ADDRESSES`].
    pub addresses: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { slots: MAX_SLOTS, tuples: MAX_TUPLES, addresses: MAX_ADDRESSES }
    }
}

/// The targets that the engines themselves implement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Counts the packet as delivered and frees it.
    Sink,
    /// Sends the packet back.
    Echo,
}

impl Builtin {
    /// Its `id` in [`Target`] and metadata.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sink => builtin::SINK,
            Self::Echo => builtin::ECHO,
        }
    }
}

/// What becomes of a tuple's packets while no daemon serves their queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCrash {
    /// XDP drops and counts them: no stranger answers for the tuple.
    #[default]
    Drop,
    /// They go to the OS stack, which may answer RST or "port unreachable".
    Pass,
}

/// A registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What is owned.
    pub tuple: Tuple,
    /// Who serves it.
    pub builtin: Builtin,
    /// What happens without a daemon.
    pub on_crash: OnCrash,
}

impl Registration {
    fn target(&self, id: TupleId) -> Target {
        let flags = match self.on_crash {
            OnCrash::Drop => 0,
            OnCrash::Pass => target_flag::ON_CRASH_PASS,
        };
        let aux = id.slot() as u16;
        Target { kind: kind::BUILTIN, flags, id: self.builtin.id(), generation: id.raw(), aux }
    }
}

/// The registry.
///
/// # Invariants
/// No two registrations [`Tuple::meets`]; the mirror is what the state says; a [`TupleId`] that was ever part of a
/// change is not given again before all others were.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    slots: Slots,
    state: State,
    mirror: Arc<Mirror>,
}

#[derive(Clone, Debug, Default)]
struct State {
    addresses: BTreeSet<IpAddr>,
    registrations: BTreeMap<TupleId, Registration>,
}

impl State {
    /// The addresses at which a tuple has a key now: none while its address is away.
    fn addresses_of<'s>(&'s self, tuple: &'s Tuple) -> impl Iterator<Item = IpAddr> + 's {
        let wanted = tuple.addr();
        self.addresses.iter().copied().filter(move |&a| wanted == Address::Any || wanted == Address::Is(a))
    }

    fn mirror(&self, limits: &Limits) -> Result<Mirror, Refusal> {
        let given = self.registrations.values().map(|r| self.addresses_of(&r.tuple).count()).sum();
        within(Resource::Tuples, given, limits.tuples)?;
        let mut mirror = Mirror::empty(limits.slots);
        for (&id, registration) in &self.registrations {
            mirror.insert(id, registration.builtin.id());
            for addr in self.addresses_of(&registration.tuple) {
                mirror.insert_key(registration.tuple.key_at(addr), registration.target(id));
            }
        }
        Ok(mirror)
    }
}

impl Registry {
    /// An empty registry. Limits above the named ones are lowered to them.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            slots: limits.slots.min(MAX_SLOTS),
            tuples: limits.tuples.min(MAX_TUPLES),
            addresses: limits.addresses.min(MAX_ADDRESSES),
        };
        let mirror = Arc::new(Mirror::empty(limits.slots));
        Self { limits, slots: Slots::new(limits.slots), state: State::default(), mirror }
    }

    /// Registers a builtin target; the change yields its number.
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::NotLocal`], [`Refusal::NoSpace`].
    pub fn add(&mut self, registration: Registration) -> Result<Change<'_, TupleId>, Refusal> {
        let tuple = registration.tuple;
        if let Some((&owner, _)) = self.state.registrations.iter().find(|(_, r)| r.tuple.meets(&tuple)) {
            return Err(Refusal::Busy(owner));
        }
        if let Address::Is(addr) = tuple.addr()
            && !self.state.addresses.contains(&addr)
        {
            return Err(Refusal::NotLocal);
        }
        let given = self.state.registrations.len() + 1;
        within(Resource::Slots, given, self.limits.slots)?;
        let full = Refusal::NoSpace { resource: Resource::Slots, given, limit: self.limits.slots };
        let id = self.slots.take().ok_or(full)?;
        let mut state = self.state.clone();
        state.registrations.insert(id, registration);
        let spent = Spent { on_success: None, on_failure: Some(id) };
        self.change(state, spent, id)
    }

    /// Releases a registration.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`]: nothing has this number, or no longer.
    pub fn remove(&mut self, id: TupleId) -> Result<Change<'_, Registration>, Refusal> {
        let mut state = self.state.clone();
        let registration = state.registrations.remove(&id).ok_or(Refusal::NoSuch)?;
        let spent = Spent { on_success: Some(id), on_failure: None };
        self.change(state, spent, registration)
    }

    /// Makes these the local addresses of the served interfaces; those that nobody may register are left out.
    ///
    /// Every `any` gets one key per address. A registration whose own address goes away stays, without a key,
    /// and has it again when the address comes back.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`]: the old addresses stay in force.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> Result<Change<'_, ()>, Refusal> {
        let mut state = self.state.clone();
        state.addresses = addresses.iter().copied().filter(|&addr| registrable(addr).is_ok()).collect();
        within(Resource::Addresses, state.addresses.len(), self.limits.addresses)?;
        self.change(state, Spent::default(), ())
    }

    /// The number of the registration with exactly this tuple.
    #[must_use]
    pub fn find(&self, tuple: &Tuple) -> Option<TupleId> {
        self.state.registrations.iter().find(|(_, r)| r.tuple == *tuple).map(|(&id, _)| id)
    }

    /// Every registration and the addresses at which it has a key now, by number.
    pub fn list(&self) -> impl Iterator<Item = (TupleId, &Registration, Vec<IpAddr>)> {
        let row = |(&id, r): (&TupleId, _)| (id, r);
        self.state
            .registrations
            .iter()
            .map(row)
            .map(|(id, r)| (id, r, self.state.addresses_of(&r.tuple).collect()))
    }

    /// What the workers know now.
    #[must_use]
    pub const fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    fn change<T>(&mut self, state: State, spent: Spent, value: T) -> Result<Change<'_, T>, Refusal> {
        let mirror = match state.mirror(&self.limits) {
            Ok(mirror) => Arc::new(mirror),
            Err(refusal) => {
                self.give_back(spent.on_failure);
                return Err(refusal);
            }
        };
        let plan = plan(&self.mirror, &mirror);
        Ok(Change { registry: self, state, mirror, plan, spent, value })
    }

    fn give_back(&mut self, id: Option<TupleId>) {
        if let Some(id) = id {
            self.slots.give_back(id);
        }
    }
}

fn within(resource: Resource, given: usize, limit: usize) -> Result<(), Refusal> {
    if given <= limit { Ok(()) } else { Err(Refusal::NoSpace { resource, given, limit }) }
}
