//! The table of owners, and what one edit does: to the table, and to the picture of it that workers have.
//!
//! [`State::delta`] looks and [`State::apply`] does; between them the daemon carries out steps, and may fail.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use abi::shm::layout::Shape;
use abi::steer::{SteerKey, Target};

use super::session::{Presence, Session, SessionId, StackTuple};
use super::socket::{Hold, Lent, Socket, Strength, placeholders};
use super::stack::{Event, News};
use super::{Registration, Reservation};
use crate::drr::Weight;
use crate::mirror::Live;
use crate::policy::Credentials;
use crate::slots::TupleId;
use crate::step::{Delta, Planned};
use crate::tuple::{Address, Tuple};

/// Who owns a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A builtin target.
    Builtin(TupleId),
    /// An application.
    Stack {
        /// Its session.
        session: SessionId,
        /// The tuple's number within it.
        tuple: u16,
    },
    /// The administrator, for an application of this user.
    Reserved(u32),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(id) => write!(f, "belongs to tuple {id}"),
            Self::Stack { session, tuple } => write!(f, "belongs to tuple {tuple} of session {session}"),
            Self::Reserved(uid) => write!(f, "is reserved for user {uid}"),
        }
    }
}

/// What one user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) tuples: usize,
    pub(super) bytes: u64,
}

/// Everything that the registry knows, but what it gives out next.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) detaching: BTreeSet<IpAddr>,
    pub(super) registrations: BTreeMap<TupleId, Registration>,
    /// By slot.
    pub(super) sessions: BTreeMap<u16, Session>,
    pub(super) reservations: BTreeMap<Tuple, Reservation>,
    /// The same by tuple: all of one protocol and port side by side, `any` first.
    pub(super) owners: BTreeMap<Tuple, Owner>,
    /// Placeholders that are bound.
    pub(super) held: BTreeSet<Socket>,
    /// By user; nobody is in it who has nothing.
    pub(super) usage: BTreeMap<u32, Usage>,
}

/// What a change does to the state, once its steps are done.
#[derive(Debug)]
pub(super) enum Edit {
    Add(TupleId, Registration),
    Remove(TupleId, Registration),
    Addresses(BTreeSet<IpAddr>),
    Open(Box<Session>),
    Close(SessionId),
    Register { session: SessionId, number: u16, tuple: StackTuple },
    Release { session: SessionId, number: u16, tuple: StackTuple },
    Attach { session: SessionId, caller: Credentials, shape: Shape, weight: Weight },
    Reserve(Tuple, Reservation),
    Unreserve(Tuple),
    Reclaim(Socket),
}

impl State {
    /// The session, if it is still this one that has the slot.
    pub(super) fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id.slot).filter(|session| session.id == id)
    }

    pub(super) fn usage(&self, uid: u32) -> Usage {
        self.usage.get(&uid).copied().unwrap_or_default()
    }

    /// Who owns the tuple or a part of it; of several, the first.
    pub(super) fn owner(&self, tuple: &Tuple) -> Option<Owner> {
        let any = tuple.at_any();
        match tuple.addr() {
            Address::Is(_) => self.owners.get(&any).or_else(|| self.owners.get(tuple)).copied(),
            Address::Any => {
                let met = self.owners.range(any..).take_while(|(owned, _)| owned.meets(&any));
                met.map(|(_, &owner)| owner).min()
            }
        }
    }

    /// How many keys all tuples have at these addresses.
    pub(super) fn keys_at(&self, addresses: &BTreeSet<IpAddr>) -> usize {
        let keys = |tuple: &Tuple| match tuple.addr() {
            Address::Any => addresses.len(),
            Address::Is(addr) => usize::from(addresses.contains(&addr)),
        };
        let builtin = self.registrations.values().map(|r| keys(&r.tuple));
        builtin.chain(self.stack_tuples().map(|(_, _, t)| keys(&t.tuple))).sum()
    }

    /// Whose tuple loses its last key, and whose gets its first, when these become the addresses.
    pub(super) fn events_at(&self, addresses: &BTreeSet<IpAddr>) -> Vec<Event> {
        let event = |(session, number, stack): (SessionId, u16, &StackTuple)| {
            let has = |at| stack.tuple.addresses(at).next().is_some();
            let news = match (has(&self.addresses), has(addresses)) {
                (true, false) => News::AddressGone { tuple: number },
                (false, true) => News::AddressBack { tuple: number },
                _ => return None,
            };
            Some(Event { session, news })
        };
        self.stack_tuples().filter_map(event).collect()
    }

    pub(super) fn stack_tuples(&self) -> impl Iterator<Item = (SessionId, u16, &StackTuple)> {
        self.sessions
            .values()
            .flat_map(|s| s.tuples.iter().map(move |(&number, tuple)| (s.id, number, tuple)))
    }

    /// What becomes of the mirror by this edit, and what is to be done before and after.
    pub(super) fn delta(&self, edit: &Edit) -> Delta {
        let nothing = Delta::default();
        match edit {
            Edit::Add(id, registration) => Delta {
                comes: Some(Live { builtin: registration.builtin.id(), tuple: *id }),
                puts: registration.keys(*id, &self.addresses).collect(),
                ..nothing
            },
            Edit::Remove(id, registration) => {
                Delta { goes: Some(*id), dels: registration.keys(*id, &self.addresses).collect(), ..nothing }
            }
            Edit::Addresses(addresses) => {
                let come = addresses.difference(&self.addresses).copied().collect();
                let gone = self.addresses.difference(addresses).copied().collect();
                Delta { puts: self.all_keys(&come), dels: self.all_keys(&gone), ..nothing }
            }
            Edit::Open(session) => {
                Delta { opens: Some(session.id), before: vec![Planned::open(session.id)], ..nothing }
            }
            Edit::Close(id) => self.session(*id).map_or(nothing, |session| self.closing(session)),
            Edit::Register { session, number, tuple } => Delta {
                puts: keys(*session, *number, tuple, &self.addresses).collect(),
                before: self.reserving(*session, *number, tuple),
                ..nothing
            },
            Edit::Release { session, number, tuple } => Delta {
                dels: keys(*session, *number, tuple, &self.addresses).collect(),
                after: self.giving_back(*session, *number, tuple),
                ..nothing
            },
            Edit::Attach { session, .. } => Delta { before: vec![Planned::open(*session)], ..nothing },
            Edit::Reserve(tuple, reservation) => {
                Delta { before: self.binding(placeholders(tuple, reservation.hold)), ..nothing }
            }
            Edit::Unreserve(tuple) => Delta { after: self.unreserving(tuple), ..nothing },
            Edit::Reclaim(socket) => Delta { before: self.binding(vec![*socket]), ..nothing },
        }
    }

    fn all_keys(&self, addresses: &BTreeSet<IpAddr>) -> Vec<(SteerKey, Target)> {
        let builtin = self.registrations.iter().flat_map(|(&id, r)| r.keys(id, addresses));
        let stack = self.stack_tuples().flat_map(|(id, number, t)| keys(id, number, t, addresses));
        builtin.chain(stack).collect()
    }

    fn closing(&self, session: &Session) -> Delta {
        let tuples = || session.tuples.iter().map(|(&number, tuple)| (session.id, number, tuple));
        let mut after: Vec<_> = tuples().flat_map(|(id, n, t)| self.giving_back(id, n, t)).collect();
        after.extend(session.presence.is_live().then(|| Planned::shut(session.id)));
        Delta {
            closes: Some(session.id),
            dels: tuples().flat_map(|(id, n, t)| keys(id, n, t, &self.addresses)).collect(),
            after,
            ..Delta::default()
        }
    }

    fn reserving(&self, session: SessionId, number: u16, tuple: &StackTuple) -> Vec<Planned> {
        let lent =
            matches!(tuple.hold, Hold::Lent(..)).then(|| Planned::keep(Lent { session, tuple: number }));
        lent.into_iter().chain(self.binding(placeholders(&tuple.tuple, tuple.hold))).collect()
    }

    /// All are bound before the first is silenced: binding is what fails.
    fn binding(&self, sockets: Vec<Socket>) -> Vec<Planned> {
        let missing: Vec<_> = sockets.into_iter().filter(|socket| !self.held.contains(socket)).collect();
        let silent = missing.iter().copied().filter(Socket::queues).map(Planned::silence);
        missing.iter().copied().map(Planned::bind).chain(silent).collect()
    }

    fn giving_back(&self, session: SessionId, number: u16, tuple: &StackTuple) -> Vec<Planned> {
        let kept = match tuple.hold {
            Hold::Lent(_, Strength::Sound | Strength::Weak) => true,
            Hold::Lent(_, Strength::Absent) | Hold::Daemon | Hold::Unbound => false,
        };
        let lent = kept.then(|| Planned::forget(Lent { session, tuple: number }));
        self.unbinding(tuple).into_iter().map(Planned::close).chain(lent).collect()
    }

    /// The placeholders that a tuple leaves behind: none where the administrator keeps them.
    fn unbinding(&self, tuple: &StackTuple) -> Vec<Socket> {
        if self.reservations.contains_key(&tuple.tuple) {
            return Vec::new();
        }
        let held = |socket: &Socket| self.held.contains(socket);
        placeholders(&tuple.tuple, tuple.hold).into_iter().filter(held).collect()
    }

    /// A reservation that is in use leaves its placeholders to the application.
    fn unreserving(&self, tuple: &Tuple) -> Vec<Planned> {
        match (self.owners.get(tuple), self.reservations.get(tuple)) {
            (Some(Owner::Reserved(_)), Some(reservation)) => {
                let held = |socket: &Socket| self.held.contains(socket);
                placeholders(tuple, reservation.hold).into_iter().filter(held).map(Planned::close).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Add(id, registration) => {
                self.registrations.insert(*id, *registration);
                self.owners.insert(registration.tuple, Owner::Builtin(*id));
            }
            Edit::Remove(id, registration) => {
                self.registrations.remove(id);
                self.owners.remove(&registration.tuple);
            }
            Edit::Addresses(addresses) => self.addresses.clone_from(addresses),
            Edit::Open(session) => {
                self.use_more(session.presence.uid(), 0, session.bytes());
                self.sessions.insert(session.id.slot, Session::clone(session));
            }
            Edit::Close(id) => self.close(*id),
            Edit::Register { session, number, tuple } => self.register(*session, *number, tuple),
            Edit::Release { session, number, tuple } => self.release(*session, *number, tuple),
            Edit::Attach { session, caller, shape, weight } => self.attach(*session, caller, *shape, *weight),
            Edit::Reserve(tuple, reservation) => {
                self.held.extend(placeholders(tuple, reservation.hold));
                self.reservations.insert(*tuple, *reservation);
                self.owners.insert(*tuple, Owner::Reserved(reservation.uid));
            }
            Edit::Unreserve(tuple) => self.unreserve(tuple),
            Edit::Reclaim(socket) => _ = self.held.insert(*socket),
        }
    }

    pub(super) fn register(&mut self, id: SessionId, number: u16, tuple: &StackTuple) {
        let Some(session) = self.sessions.get_mut(&id.slot) else { return };
        session.tuples.insert(number, *tuple);
        session.next_tuple = number.wrapping_add(1);
        let uid = session.presence.uid();
        self.use_more(uid, 1, 0);
        self.held.extend(placeholders(&tuple.tuple, tuple.hold));
        self.owners.insert(tuple.tuple, Owner::Stack { session: id, tuple: number });
    }

    fn release(&mut self, id: SessionId, number: u16, tuple: &StackTuple) {
        for socket in self.unbinding(tuple) {
            self.held.remove(&socket);
        }
        match self.reservations.get(&tuple.tuple) {
            Some(reservation) => self.owners.insert(tuple.tuple, Owner::Reserved(reservation.uid)),
            None => self.owners.remove(&tuple.tuple),
        };
        let Some(session) = self.sessions.get_mut(&id.slot) else { return };
        session.tuples.remove(&number);
        let uid = session.presence.uid();
        self.use_less(uid, 1, 0);
    }

    fn close(&mut self, id: SessionId) {
        let Some(session) = self.session(id).cloned() else { return };
        for (&number, tuple) in &session.tuples {
            self.release(id, number, tuple);
        }
        self.sessions.remove(&id.slot);
        self.use_less(session.presence.uid(), 0, session.bytes());
    }

    fn attach(&mut self, id: SessionId, caller: &Credentials, shape: Shape, weight: Weight) {
        let Some(session) = self.sessions.get_mut(&id.slot) else { return };
        let (before, uid) = (session.bytes(), session.presence.uid());
        (session.shape, session.weight) = (shape, weight);
        session.presence = Presence::Live(caller.clone());
        let after = session.bytes();
        self.use_less(uid, 0, before);
        self.use_more(uid, 0, after);
    }

    fn unreserve(&mut self, tuple: &Tuple) {
        let closed = self.unreserving(tuple);
        for planned in closed {
            if let crate::step::Step::Close(socket) = planned.step {
                self.held.remove(&socket);
            }
        }
        self.reservations.remove(tuple);
        if let Some(Owner::Reserved(_)) = self.owners.get(tuple) {
            self.owners.remove(tuple);
        }
    }

    pub(super) fn use_more(&mut self, uid: u32, tuples: usize, bytes: u64) {
        let usage = self.usage.entry(uid).or_default();
        usage.tuples += tuples;
        usage.bytes += bytes;
    }

    fn use_less(&mut self, uid: u32, tuples: usize, bytes: u64) {
        let Some(usage) = self.usage.get_mut(&uid) else { return };
        usage.tuples -= tuples;
        usage.bytes -= bytes;
        if *usage == Usage::default() {
            self.usage.remove(&uid);
        }
    }
}

fn keys<'a>(
    id: SessionId,
    number: u16,
    stack: &StackTuple,
    addresses: &'a BTreeSet<IpAddr>,
) -> impl Iterator<Item = (SteerKey, Target)> + use<'a> {
    let (tuple, target) = (stack.tuple, stack.target(id, number));
    tuple.addresses(addresses).map(move |addr| (tuple.key_at(addr), target))
}
