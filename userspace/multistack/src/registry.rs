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

use abi::steer::{SteerKey, Target, builtin, kind, target_flag};

use crate::mirror::{Live, Mirror};
use crate::refusal::{Refusal, Resource};
use crate::slots::{MAX_SLOTS, Slots, TupleId};
use crate::step::{Delta, plan};
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
    /// Its keys at these addresses, none while its own is away, and the target of each.
    fn keys<'a>(
        &self,
        id: TupleId,
        addresses: &'a BTreeSet<IpAddr>,
    ) -> impl Iterator<Item = (SteerKey, Target)> + use<'a> {
        let (tuple, target) = (self.tuple, self.target(id));
        tuple.addresses(addresses).map(move |addr| (tuple.key_at(addr), target))
    }

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

#[derive(Debug, Default)]
struct State {
    addresses: BTreeSet<IpAddr>,
    registrations: BTreeMap<TupleId, Registration>,
    /// The same by tuple: all of one protocol and port side by side, `any` first.
    owners: BTreeMap<Tuple, TupleId>,
}

impl State {
    /// Who owns the tuple or a part of it; of several, the one with the smallest number.
    fn owner(&self, tuple: &Tuple) -> Option<TupleId> {
        let any = tuple.at_any();
        match tuple.addr() {
            Address::Is(_) => self.owners.get(&any).or_else(|| self.owners.get(tuple)).copied(),
            Address::Any => {
                let met = self.owners.range(any..).take_while(|(owned, _)| owned.meets(&any));
                met.map(|(_, &id)| id).min()
            }
        }
    }

    /// How many keys all registrations have at these addresses.
    fn keys_at(&self, addresses: &BTreeSet<IpAddr>) -> usize {
        let keys = |r: &Registration| match r.tuple.addr() {
            Address::Any => addresses.len(),
            Address::Is(addr) => usize::from(addresses.contains(&addr)),
        };
        self.registrations.values().map(keys).sum()
    }

    /// What becomes of the mirror by this edit.
    fn delta(&self, edit: &Edit) -> Delta {
        match edit {
            Edit::Add(id, registration) => Delta {
                comes: Some(Live { builtin: registration.builtin.id(), tuple: *id }),
                puts: registration.keys(*id, &self.addresses).collect(),
                ..Delta::default()
            },
            Edit::Remove(id, registration) => Delta {
                goes: Some(*id),
                dels: registration.keys(*id, &self.addresses).collect(),
                ..Delta::default()
            },
            Edit::Addresses(addresses) => {
                let come = addresses.difference(&self.addresses).copied().collect();
                let gone = self.addresses.difference(addresses).copied().collect();
                let keys = |at| self.registrations.iter().flat_map(move |(&id, r)| r.keys(id, at)).collect();
                Delta { puts: keys(&come), dels: keys(&gone), ..Delta::default() }
            }
        }
    }

    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Add(id, registration) => {
                self.registrations.insert(*id, *registration);
                self.owners.insert(registration.tuple, *id);
            }
            Edit::Remove(id, registration) => {
                self.registrations.remove(id);
                self.owners.remove(&registration.tuple);
            }
            Edit::Addresses(addresses) => self.addresses.clone_from(addresses),
        }
    }
}

/// What a change does to the state, once its steps are done.
#[derive(Debug)]
enum Edit {
    Add(TupleId, Registration),
    Remove(TupleId, Registration),
    Addresses(BTreeSet<IpAddr>),
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
        if let Some(owner) = self.state.owner(&tuple) {
            return Err(Refusal::Busy(owner));
        }
        let keys = tuple.addresses(&self.state.addresses).count();
        if keys == 0 && tuple.addr() != Address::Any {
            return Err(Refusal::NotLocal);
        }
        let given = self.state.registrations.len() + 1;
        within(Resource::Slots, given, self.limits.slots)?;
        within(Resource::Tuples, self.mirror.len() + keys, self.limits.tuples)?;
        let full = Refusal::NoSpace { resource: Resource::Slots, given, limit: self.limits.slots };
        let id = self.slots.take().ok_or(full)?;
        let spent = Spent { on_success: None, on_failure: Some(id) };
        Ok(self.change(Edit::Add(id, registration), spent, id))
    }

    /// Releases a registration.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`]: nothing has this number, or no longer.
    pub fn remove(&mut self, id: TupleId) -> Result<Change<'_, Registration>, Refusal> {
        let registration = *self.state.registrations.get(&id).ok_or(Refusal::NoSuch)?;
        let spent = Spent { on_success: Some(id), on_failure: None };
        Ok(self.change(Edit::Remove(id, registration), spent, registration))
    }

    /// Makes these the local addresses of the served interfaces; those that nobody may register are left out.
    ///
    /// Every `any` gets one key per address. A registration whose own address goes away stays, without a key,
    /// and has it again when the address comes back.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`]: the old addresses stay in force.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> Result<Change<'_, ()>, Refusal> {
        let addresses: BTreeSet<IpAddr> =
            addresses.iter().copied().filter(|&addr| registrable(addr).is_ok()).collect();
        within(Resource::Addresses, addresses.len(), self.limits.addresses)?;
        within(Resource::Tuples, self.state.keys_at(&addresses), self.limits.tuples)?;
        Ok(self.change(Edit::Addresses(addresses), Spent::default(), ()))
    }

    /// The number of the registration with exactly this tuple.
    #[must_use]
    pub fn find(&self, tuple: &Tuple) -> Option<TupleId> {
        self.state.owners.get(tuple).copied()
    }

    /// Every registration and the addresses at which it has a key now, by number.
    pub fn list(&self) -> impl Iterator<Item = (TupleId, &Registration, Vec<IpAddr>)> {
        let addresses = |r: &Registration| r.tuple.addresses(&self.state.addresses).collect();
        self.state.registrations.iter().map(move |(&id, r)| (id, r, addresses(r)))
    }

    /// What the workers know now.
    #[must_use]
    pub const fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    fn change<T>(&mut self, edit: Edit, spent: Spent, value: T) -> Change<'_, T> {
        let (mirror, plan) = plan(&self.mirror, self.state.delta(&edit));
        Change { registry: self, edit, mirror, plan, spent, value }
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
