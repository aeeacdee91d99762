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
//!
//! Three kinds of owner share one table: a *builtin* target of the engines, a *session* (an application, which holds
//! any number of tuples), and a *reservation* by the administrator, which waits for an application of one user.
//!
//! | file | idea |
//! |---|---|
//! | `state` | the table itself, and what an edit does to it and to the workers' mirror |
//! | `change` | carried out whole, or undone |
//! | `session` | sessions and their tuples, as values |
//! | `stack` | open, register, release, attach, close |
//! | `socket` | how a port is kept from the OS |
//! | `reservation` | the administrator's |
//! | `saved` | what outlives the daemon |
//! | `row` | what people are shown |
mod change;
mod reservation;
mod row;
mod saved;
mod session;
mod socket;
mod stack;
mod state;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use abi::steer::{SteerKey, Target, builtin, kind, target_flag};
use serde::{Deserialize, Serialize};

use crate::mirror::Mirror;
use crate::policy::Policy;
use crate::refusal::{Refusal, Resource};
use crate::slots::{MAX_SLOTS, Slots, TupleId};
use crate::step::plan;
use crate::tuple::{Address, Tuple, registrable};

pub use change::{Change, Failed};
use change::{Pending, Spent};
pub use reservation::{MAX_RESERVATIONS, Reservation};
pub use row::{Row, RowState};
pub use saved::{RestoreError, Saved};
use session::Tickets;
pub use session::{
    IcmpErrors, Lease, MAX_NAME, MAX_SESSIONS, Name, NotALease, Presence, SESSION_TUPLES, Session, SessionId,
    StackTuple,
};
pub use socket::{Cover, Facts, Flag, Hold, Lent, Socket, Strength, Unfit, check};
pub use stack::{Attached, Event, MAX_RING_BYTES, News, Open, Reason, Registered, Reserve, Want};
pub use state::Owner;
use state::{Edit, State};

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
    /// At most [`MAX_SESSIONS`].
    pub sessions: usize,
    /// At most [`MAX_RING_BYTES`].
    pub ring_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            slots: MAX_SLOTS,
            tuples: MAX_TUPLES,
            addresses: MAX_ADDRESSES,
            sessions: MAX_SESSIONS,
            ring_bytes: MAX_RING_BYTES,
        }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCrash {
    /// XDP drops and counts them: no stranger answers for the tuple.
    #[default]
    Drop,
    /// They go to the OS stack, which may answer RST or "port unreachable".
    Pass,
}

/// A registration of a builtin target.
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
/// No two owners' tuples [`Tuple::meets`]; the mirror is what the state says; a [`TupleId`] or [`SessionId`] that was
/// ever part of a change is not given again before all others were.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    slots: Slots,
    tickets: Tickets,
    policy: Policy,
    state: State,
    mirror: Arc<Mirror>,
}

impl Registry {
    /// An empty registry, whose policy is that of a host without rules and without a group. Limits above the named
    /// ones are lowered to them.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            slots: limits.slots.min(MAX_SLOTS),
            tuples: limits.tuples.min(MAX_TUPLES),
            addresses: limits.addresses.min(MAX_ADDRESSES),
            sessions: limits.sessions.min(MAX_SESSIONS),
            ring_bytes: limits.ring_bytes.min(MAX_RING_BYTES),
        };
        Self {
            limits,
            slots: Slots::new(limits.slots),
            tickets: Tickets::new(0, limits.sessions as u16),
            policy: Policy::default(),
            state: State::default(),
            mirror: Arc::new(Mirror::empty(limits.slots, limits.sessions)),
        }
    }

    /// The same registry, its mirrors hashed under this seed, which applications should not know.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.mirror = Arc::new(self.mirror.seeded(seed));
        self
    }

    /// Makes this the policy, for what is asked from now on: nothing that was granted is taken away.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Registers a builtin target; the change yields its number.
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::NotLocal`], [`Refusal::NoSpace`].
    pub fn add(&mut self, registration: Registration) -> Result<Change<'_, TupleId>, Refusal> {
        let tuple = registration.tuple;
        self.free(&tuple)?;
        let given = self.state.registrations.len() + 1;
        within(Resource::Slots, given, self.limits.slots)?;
        self.room_for_keys(&tuple)?;
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
    /// Every `any` gets one key per address. A tuple whose own address goes away stays, without a key, and has it again
    /// when the address comes back; the change yields the events that tell its session so.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`]: the old addresses stay in force.
    pub fn set_addresses<'a>(
        &mut self,
        addresses: impl IntoIterator<Item = &'a IpAddr>,
    ) -> Result<Change<'_, Vec<Event>>, Refusal> {
        let addresses: BTreeSet<IpAddr> =
            addresses.into_iter().copied().filter(|&addr| registrable(addr).is_ok()).collect();
        within(Resource::Addresses, addresses.len(), self.limits.addresses)?;
        within(Resource::Tuples, self.state.keys_at(&addresses), self.limits.tuples)?;
        let events = self.state.events_at(&addresses);
        Ok(self.change(Edit::Addresses(addresses), Spent::default(), events))
    }

    /// Makes these the addresses of interfaces that are gone or going: nothing more is registered at them, and what is,
    /// [`Self::detached`] says.
    pub fn set_detaching<'a>(&mut self, addresses: impl IntoIterator<Item = &'a IpAddr>) {
        self.state.detaching = addresses.into_iter().copied().collect();
    }

    /// Tuples of sessions at exactly an address that [`Self::set_detaching`] named: each is to be [revoked](Self::revoke).
    #[must_use]
    pub fn detached(&self) -> Vec<(SessionId, u16)> {
        let goes = |stack: &StackTuple| match stack.tuple.addr() {
            Address::Is(addr) => self.state.detaching.contains(&addr),
            Address::Any => false,
        };
        let tuples = self.state.stack_tuples().filter(|(_, _, stack)| goes(stack));
        tuples.map(|(session, number, _)| (session, number)).collect()
    }

    /// The number of the builtin target with exactly this tuple.
    #[must_use]
    pub fn find(&self, tuple: &Tuple) -> Option<TupleId> {
        match self.owner(tuple)? {
            Owner::Builtin(id) => Some(id),
            Owner::Stack { .. } | Owner::Reserved(_) => None,
        }
    }

    /// Who owns exactly this tuple.
    #[must_use]
    pub fn owner(&self, tuple: &Tuple) -> Option<Owner> {
        self.state.owners.get(tuple).copied()
    }

    /// Every builtin target and the addresses at which it has a key now, by number.
    pub fn list(&self) -> impl Iterator<Item = (TupleId, &Registration, Vec<IpAddr>)> {
        let addresses = |r: &Registration| r.tuple.addresses(&self.state.addresses).collect();
        self.state.registrations.iter().map(move |(&id, r)| (id, r, addresses(r)))
    }

    /// What the workers know now.
    #[must_use]
    pub const fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// Whether nobody owns the tuple or a part of it, and it could have a key now.
    fn free(&self, tuple: &Tuple) -> Result<(), Refusal> {
        if let Some(owner) = self.state.owner(tuple) {
            return Err(Refusal::Busy(owner));
        }
        self.reachable(tuple)
    }

    /// Whether the tuple could have a key now, or as soon as there is an address.
    fn reachable(&self, tuple: &Tuple) -> Result<(), Refusal> {
        match tuple.addr() {
            Address::Is(addr) if self.state.detaching.contains(&addr) => Err(Refusal::Detaching),
            Address::Is(addr) if !self.state.addresses.contains(&addr) => Err(Refusal::NotLocal),
            Address::Is(_) | Address::Any => Ok(()),
        }
    }

    fn room_for_keys(&self, tuple: &Tuple) -> Result<(), Refusal> {
        let keys = tuple.addresses(&self.state.addresses).count();
        within(Resource::Tuples, self.mirror.len() + keys, self.limits.tuples)
    }

    fn change<T>(&mut self, edit: Edit, spent: Spent, value: T) -> Change<'_, T> {
        let (mirror, plan) = plan(&self.mirror, self.state.delta(&edit));
        Change { pending: Pending { registry: self, edit, mirror, plan, spent }, value }
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
