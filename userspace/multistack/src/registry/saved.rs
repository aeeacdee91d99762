//! What outlives the daemon: sessions, tuples, leases and reservations, as a value that can be written to a file.
//!
//! Nothing here reads or writes one. A restored registry says what the last one said, so that the pinned steering table
//! is right as it stands; only the world has changed: no process is connected, no placeholder is bound, and each
//! session waits for its application until its grace is over.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use abi::shm::desc::Form;
use abi::shm::layout::{Shape, ShapeError, SlotSize, Slots};
use abi::steer::{SteerKey, Target};
use serde::{Deserialize, Serialize};

use super::session::{
    IcmpErrors, Lease, Name, Presence, SESSION_TUPLES, Session, SessionId, StackTuple, Tickets,
};
use super::socket::{Hold, Strength};
use super::state::Edit;
use super::{Limits, MAX_RESERVATIONS, OnCrash, Owner, Registry, Reservation, within};
use crate::drr::Weight;
use crate::refusal::{Refusal, Resource};
use crate::steer::Table;
use crate::step::{Step, plan};
use crate::tuple::{Address, Proto, Tuple, registrable};

/// A registry's sessions and reservations, to be kept over the daemon's end.
///
/// Whoever writes it to a file writes the number of a format beside it, and raises that number when a field here comes,
/// goes or changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// The next ticket, and of how many slots: no slot's generation is ever given again.
    next: u32,
    slots: u16,
    addresses: Vec<IpAddr>,
    sessions: Vec<SavedSession>,
    reservations: Vec<SavedReservation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedSession {
    slot: u16,
    generation: u16,
    lease: Lease,
    name: Name,
    uid: u32,
    channels: u16,
    rx_slots: u32,
    tx_slots: u32,
    slot_size: u32,
    l2: bool,
    weight: u8,
    next_tuple: u16,
    tuples: Vec<SavedTuple>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTuple {
    number: u16,
    proto: Proto,
    /// `null` is any.
    addr: Option<IpAddr>,
    port: u16,
    hold: Hold,
    on_crash: OnCrash,
    icmp: IcmpErrors,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedReservation {
    proto: Proto,
    addr: Option<IpAddr>,
    port: u16,
    uid: u32,
    on_crash: Option<OnCrash>,
    hold: Hold,
}

/// Why a saved value is no registry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The rings cannot have this shape.
    #[error("impossible rings: {0}")]
    Shape(#[from] ShapeError),
    /// A weight outside its range.
    #[error("impossible weight {given}")]
    Weight {
        /// The weight.
        given: u8,
    },
    /// A slot that does not exist, or is there twice.
    #[error("slot {given} is there twice, or not at all")]
    Slot {
        /// The slot.
        given: u16,
    },
    /// A number that two tuples of a session share.
    #[error("tuple number {given} is there twice")]
    Number {
        /// The number.
        given: u16,
    },
    /// Something that the registry would not have granted.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Registry {
    /// What is to be kept, now. Builtin targets are not in it: the configuration has them.
    #[must_use]
    pub fn save(&self) -> Saved {
        let reservation = |(tuple, kept): (&Tuple, &Reservation)| SavedReservation {
            proto: tuple.proto(),
            addr: saved_addr(tuple),
            port: tuple.port(),
            uid: kept.uid,
            on_crash: kept.on_crash,
            hold: kept.hold,
        };
        Saved {
            next: self.tickets.next,
            slots: self.limits.sessions as u16,
            addresses: self.state.addresses.iter().copied().collect(),
            sessions: self.sessions().map(SavedSession::of).collect(),
            reservations: self.state.reservations.iter().map(reservation).collect(),
        }
    }

    /// The registry that was saved, at the time `now`: every session an orphan until `grace` has passed.
    ///
    /// # Errors
    /// [`RestoreError`]; then a new registry begins without them.
    pub fn restore(
        limits: Limits,
        saved: &Saved,
        now: Duration,
        grace: Duration,
    ) -> Result<Self, RestoreError> {
        let mut registry = Self::new(limits);
        registry.tickets = tickets(saved, registry.limits.sessions as u16);
        registry.restore_addresses(&saved.addresses)?;
        within(Resource::Reservations, saved.reservations.len(), MAX_RESERVATIONS)?;
        for reservation in &saved.reservations {
            registry.restore_reservation(reservation)?;
        }
        for session in &saved.sessions {
            registry.restore_session(session, now.saturating_add(grace))?;
        }
        let keys = registry.state.keys_at(&registry.state.addresses);
        within(Resource::Tuples, keys, registry.limits.tuples)?;
        registry.state.held.clear();
        registry.picture_all();
        Ok(registry)
    }

    /// The steps that make the steering table, found as it is, what this registry says.
    pub fn reconcile(&self, found: impl IntoIterator<Item = (SteerKey, Target)>) -> Vec<Step> {
        let (mut known, mut dels, mut puts) = (BTreeSet::new(), Vec::new(), Vec::new());
        for (key, target) in found {
            let wanted = self.mirror.get(&key);
            known.insert(key);
            if wanted != Some(target) {
                dels.push(Step::DelSteer { key });
                puts.extend(wanted.map(|target| Step::PutSteer { key, target }));
            }
        }
        let missing = self.mirror.iter().filter(|(key, _)| !known.contains(*key));
        puts.extend(missing.map(|(&key, &target)| Step::PutSteer { key, target }));
        dels.append(&mut puts);
        dels
    }

    fn restore_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), Refusal> {
        within(Resource::Addresses, addresses.len(), self.limits.addresses)?;
        for &addr in addresses {
            registrable(addr).map_err(Refusal::Address)?;
            self.state.addresses.insert(addr);
        }
        Ok(())
    }

    fn restore_reservation(&mut self, saved: &SavedReservation) -> Result<(), RestoreError> {
        let tuple = tuple(saved.proto, saved.addr, saved.port)?;
        self.unowned(&tuple)?;
        let SavedReservation { uid, on_crash, hold, .. } = *saved;
        self.state.apply(&Edit::Reserve(tuple, Reservation { uid, on_crash, hold }));
        Ok(())
    }

    fn restore_session(&mut self, saved: &SavedSession, until: Duration) -> Result<(), RestoreError> {
        let id = SessionId { slot: saved.slot, generation: saved.generation };
        let known = usize::from(id.slot) < self.limits.sessions;
        if !known || self.state.sessions.contains_key(&id.slot) {
            return Err(RestoreError::Slot { given: id.slot });
        }
        self.state.apply(&Edit::Open(saved.session(id, until)?.into()));
        let mut rows = BTreeSet::new();
        for stack in &saved.tuples {
            if !rows.insert(usize::from(stack.number) % SESSION_TUPLES) {
                return Err(RestoreError::Number { given: stack.number });
            }
            let tuple = tuple(stack.proto, stack.addr, stack.port)?;
            match self.owner(&tuple) {
                Some(Owner::Reserved(uid)) if uid == saved.uid => {}
                _ => self.unowned(&tuple)?,
            }
            let SavedTuple { number, hold, on_crash, icmp, .. } = *stack;
            let hold = without_descriptor(hold);
            self.state.register(id, number, &StackTuple { tuple, hold, on_crash, icmp });
        }
        if let Some(session) = self.state.sessions.get_mut(&id.slot) {
            session.next_tuple = saved.next_tuple;
        }
        Ok(())
    }

    fn unowned(&self, tuple: &Tuple) -> Result<(), Refusal> {
        self.state.owner(tuple).map_or(Ok(()), |owner| Err(Refusal::Busy(owner)))
    }

    /// Makes the mirror of the whole state, as the changes that led to it would have.
    fn picture_all(&mut self) {
        let addresses = std::mem::take(&mut self.state.addresses);
        let delta = self.state.delta(&Edit::Addresses(addresses.clone()));
        self.state.addresses = addresses;
        let mut mirror = crate::mirror::Mirror::clone(&self.mirror);
        self.state.sessions.values().for_each(|session| mirror.insert_session(session.id));
        (self.mirror, _) = plan(&Arc::new(mirror), delta);
    }
}

/// A ticket later than all that were given, in however many slots there are now.
const fn tickets(saved: &Saved, slots: u16) -> Tickets {
    if saved.slots == slots || saved.slots == 0 {
        return Tickets::new(saved.next, slots);
    }
    let generation = saved.next / saved.slots as u32 + 1;
    Tickets::new(generation.wrapping_mul(slots as u32), slots)
}

fn tuple(proto: Proto, addr: Option<IpAddr>, port: u16) -> Result<Tuple, Refusal> {
    Tuple::new(proto, addr.map_or(Address::Any, Address::Is), port)
}

/// How a tuple is held when nobody is left who has descriptors.
const fn without_descriptor(hold: Hold) -> Hold {
    match hold {
        Hold::Lent(cover, _) => Hold::Lent(cover, Strength::Absent),
        Hold::Daemon | Hold::Unbound => hold,
    }
}

const fn saved_addr(tuple: &Tuple) -> Option<IpAddr> {
    match tuple.addr() {
        Address::Any => None,
        Address::Is(addr) => Some(addr),
    }
}

impl SavedSession {
    fn of(session: &Session) -> Self {
        let tuple = |(&number, stack): (&u16, &StackTuple)| SavedTuple {
            number,
            proto: stack.tuple.proto(),
            addr: saved_addr(&stack.tuple),
            port: stack.tuple.port(),
            hold: without_descriptor(stack.hold),
            on_crash: stack.on_crash,
            icmp: stack.icmp,
        };
        Self {
            slot: session.id.slot,
            generation: session.id.generation,
            lease: session.lease,
            name: session.name.clone(),
            uid: session.presence.uid(),
            channels: session.shape.channels(),
            rx_slots: session.shape.rx_slots().get(),
            tx_slots: session.shape.tx_slots().get(),
            slot_size: session.shape.slot_size().get(),
            l2: session.form == Form::L2,
            weight: session.weight.get(),
            next_tuple: session.next_tuple,
            tuples: session.tuples.iter().map(tuple).collect(),
        }
    }

    fn session(&self, id: SessionId, until: Duration) -> Result<Session, RestoreError> {
        let (rx, tx) = (Slots::new(self.rx_slots)?, Slots::new(self.tx_slots)?);
        let weight = Weight::new(self.weight).ok_or(RestoreError::Weight { given: self.weight })?;
        Ok(Session {
            id,
            lease: self.lease,
            name: self.name.clone(),
            presence: Presence::Orphan { uid: self.uid, until },
            shape: Shape::new(self.channels, rx, tx, SlotSize::new(self.slot_size)?)?,
            form: if self.l2 { Form::L2 } else { Form::L3 },
            weight,
            tuples: std::collections::BTreeMap::new(),
            next_tuple: self.next_tuple,
        })
    }
}
