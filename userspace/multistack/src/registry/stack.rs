//! What applications ask of the registry: open, register, release, attach; and what ends them: close and revoke.
//!
//! Each operation checks in the order policy, owner, limits, so that a refusal tells nobody more than it may know.
use std::time::Duration;

use abi::shm::desc::Form;
use abi::shm::layout::Shape;

use super::change::Spent;
use super::reservation::only_root;
use super::session::{
    IcmpErrors, Lease, Name, Presence, SESSION_TUPLES, Session, SessionId, StackTuple, bytes_of,
};
use super::socket::{Cover, Hold, Socket, Strength, placeholders};
use super::state::{Edit, Owner};
use super::{Change, OnCrash, Registry, within};
use crate::policy::{Credential, Credentials, Kernel, Permission, Rule};
use crate::refusal::{Denied, Refusal, Resource};
use crate::tuple::{Address, Proto, Tuple};

/// Most bytes that the regions of all sessions may take.
pub const MAX_RING_BYTES: u64 = 8 << 30;

/// What an application asks for when it opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Whose process it is.
    pub caller: Credentials,
    /// What it calls itself.
    pub name: Name,
    /// The shape of its rings.
    pub shape: Shape,
    /// L2, if it wants to write Ethernet headers.
    pub form: Form,
    /// Random bits that nobody else knows.
    pub lease: Lease,
}

/// How a tuple is to be reserved against the OS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// The daemon binds placeholders.
    Daemon,
    /// The application passed a socket, which [`super::check`] found to cover this much.
    Lent(Cover),
}

/// What an application asks for when it registers a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The protocol.
    pub proto: Proto,
    /// The address, or any.
    pub addr: Address,
    /// The port; 0 to have one chosen.
    pub port: u16,
    /// How it is reserved.
    pub reserve: Reserve,
    /// What happens without a daemon.
    pub on_crash: OnCrash,
    /// Who gets ICMP errors.
    pub icmp: IcmpErrors,
}

/// A tuple, registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its number within the session.
    pub number: u16,
    /// The tuple, its port chosen.
    pub tuple: Tuple,
    /// The addresses at which packets are steered to it now.
    pub addrs: Vec<std::net::IpAddr>,
}

/// A session, taken up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The same as before.
    pub session: SessionId,
    /// Its tuples, by the same numbers as before.
    pub tuples: Vec<(u16, Tuple)>,
}

/// Why something is taken away that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The administrator released it.
    Released,
    /// The application broke a rule of its rings.
    Violation,
    /// While no daemon ran, an OS process took the port.
    PortTaken,
    /// Its interface is no longer served.
    InterfaceGone,
    /// The daemon ends.
    Shutdown,
}

/// What an application is told without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A tuple is no longer the session's.
    TupleRevoked {
        /// Its number.
        tuple: u16,
        /// Why.
        reason: Reason,
    },
    /// The session is over.
    SessionRevoked {
        /// Why.
        reason: Reason,
    },
    /// The tuple has no address at which it could be reached any more.
    AddressGone {
        /// Its number.
        tuple: u16,
    },
    /// It has one again.
    AddressBack {
        /// Its number.
        tuple: u16,
    },
}

/// News, and whom to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The session.
    pub session: SessionId,
    /// What happened to it.
    pub news: News,
}

impl Registry {
    /// Opens a session.
    ///
    /// # Errors
    /// [`Refusal::Denied`], [`Refusal::NoSpace`].
    pub fn open(&mut self, open: Open) -> Result<Change<'_, SessionId>, Refusal> {
        let rule = self.policy.rule_for(&open.caller)?;
        if open.form == Form::L2 && rule.l2 == Permission::Denied {
            return Err(Denied::L2.into());
        }
        let weight = rule.weight;
        self.room_for_rings(open.caller.uid, rule, bytes_of(&open.shape), 0)?;
        let given = self.state.sessions.len() + 1;
        within(Resource::Sessions, given, self.limits.sessions)?;
        let full = Refusal::NoSpace { resource: Resource::Sessions, given, limit: self.limits.sessions };
        let id = self.tickets.take(&self.state).ok_or(full)?;
        let Open { caller, name, shape, form, lease } = open;
        let presence = Presence::Live(caller);
        let tuples = std::collections::BTreeMap::new();
        let session = Session { id, lease, name, presence, shape, form, weight, tuples, next_tuple: 0 };
        Ok(self.change(Edit::Open(session.into()), Spent::default(), id))
    }

    /// Registers a tuple for a session. `random` chooses among the ports that are free, where none is named: when
    /// the OS turns out to hold the chosen one, asking again with another number tries another.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`] without the session; [`Refusal::Denied`], [`Refusal::Busy`], [`Refusal::NotLocal`],
    /// [`Refusal::Detaching`], [`Refusal::NoSpace`], and those of [`Tuple::new`].
    pub fn register(
        &mut self,
        session: SessionId,
        want: &Want,
        kernel: &Kernel,
        random: u64,
    ) -> Result<Change<'_, Registered>, Refusal> {
        let holder = self.state.session(session).ok_or(Refusal::NoSuch)?;
        let Presence::Live(caller) = &holder.presence else { return Err(Refusal::NoSuch) };
        let rule = self.policy.rule_for(caller)?;
        let port = match want.port {
            0 => self.choose_port(want, rule, kernel, random)?,
            port => port,
        };
        let tuple = Tuple::new(want.proto, want.addr, port)?;
        let granted = self.grant(caller, rule, tuple, want, kernel)?;
        within(Resource::UserTuples, self.state.usage(caller.uid).tuples + 1, rule.max_tuples)?;
        let given = holder.tuples.len() + 1;
        let full = Refusal::NoSpace { resource: Resource::SessionTuples, given, limit: SESSION_TUPLES };
        let number = holder.free_number().ok_or(full)?;
        self.room_for_keys(&tuple)?;
        let addrs = tuple.addresses(&self.state.addresses).collect();
        let edit = Edit::Register { session, number, tuple: granted };
        Ok(self.change(edit, Spent::default(), Registered { number, tuple, addrs }))
    }

    /// Releases a tuple of a session, at its own wish.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`].
    pub fn release(&mut self, session: SessionId, number: u16) -> Result<Change<'_, ()>, Refusal> {
        let tuple = self.tuple(session, number)?;
        Ok(self.change(Edit::Release { session, number, tuple }, Spent::default(), ()))
    }

    /// Takes a tuple away from a session.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`].
    pub fn revoke(
        &mut self,
        session: SessionId,
        number: u16,
        reason: Reason,
    ) -> Result<Change<'_, Event>, Refusal> {
        let tuple = self.tuple(session, number)?;
        let event = Event { session, news: News::TupleRevoked { tuple: number, reason } };
        Ok(self.change(Edit::Release { session, number, tuple }, Spent::default(), event))
    }

    /// Takes exactly this tuple away from whichever session has it, as root may with `force`.
    ///
    /// # Errors
    /// [`Refusal::Denied`] to everybody but root, [`Refusal::NoSuch`] unless a session has it.
    pub fn force_release(
        &mut self,
        caller: &Credentials,
        tuple: &Tuple,
    ) -> Result<Change<'_, Event>, Refusal> {
        only_root(caller)?;
        match self.owner(tuple) {
            Some(Owner::Stack { session, tuple }) => self.revoke(session, tuple, Reason::Released),
            Some(Owner::Builtin(_) | Owner::Reserved(_)) | None => Err(Refusal::NoSuch),
        }
    }

    /// Ends a session whose process is gone, with everything that it had.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`].
    pub fn close(&mut self, session: SessionId) -> Result<Change<'_, ()>, Refusal> {
        self.state.session(session).ok_or(Refusal::NoSuch)?;
        Ok(self.change(Edit::Close(session), Spent::default(), ()))
    }

    /// Ends a session whose process is still there, and yields what to tell it.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`].
    pub fn expel(&mut self, session: SessionId, reason: Reason) -> Result<Change<'_, Event>, Refusal> {
        self.state.session(session).ok_or(Refusal::NoSuch)?;
        let event = Event { session, news: News::SessionRevoked { reason } };
        Ok(self.change(Edit::Close(session), Spent::default(), event))
    }

    /// Gives an application the session back that it had before the daemon restarted, with rings of the shape that
    /// `refit` makes of the one they had: workers may be more or fewer now.
    ///
    /// # Errors
    /// [`Refusal::Stale`]: no such lease, or too late. [`Refusal::InUse`]: nobody lost this session.
    /// [`Refusal::Denied`]: it was another user's, or policy changed. [`Refusal::NoSpace`]: the new rings are larger.
    pub fn attach(
        &mut self,
        lease: Lease,
        caller: &Credentials,
        now: Duration,
        refit: impl FnOnce(Shape) -> Shape,
    ) -> Result<Change<'_, Attached>, Refusal> {
        let found = self.state.sessions.values().find(|session| session.lease == lease);
        let session = found.ok_or(Refusal::Stale)?;
        match session.presence {
            Presence::Live(_) => return Err(Refusal::InUse),
            Presence::Orphan { uid, .. } if uid != caller.uid => return Err(Denied::NotYours.into()),
            Presence::Orphan { until, .. } if until <= now => return Err(Refusal::Stale),
            Presence::Orphan { .. } => {}
        }
        let rule = self.policy.rule_for(caller)?;
        if session.form == Form::L2 && rule.l2 == Permission::Denied {
            return Err(Denied::L2.into());
        }
        let (id, shape, weight) = (session.id, refit(session.shape), rule.weight);
        self.room_for_rings(caller.uid, rule, bytes_of(&shape), session.bytes())?;
        let tuples = session.tuples.iter().map(|(&number, stack)| (number, stack.tuple)).collect();
        let edit = Edit::Attach { session: id, caller: caller.clone(), shape, weight };
        Ok(self.change(edit, Spent::default(), Attached { session: id, tuples }))
    }

    /// Sessions that nobody took up again in time: each is to be closed.
    #[must_use]
    pub fn expired(&self, now: Duration) -> Vec<SessionId> {
        let past = |p: &Presence| matches!(p, Presence::Orphan { until, .. } if *until <= now);
        self.sessions().filter(|session| past(&session.presence)).map(|session| session.id).collect()
    }

    /// Every session, by slot.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.state.sessions.values()
    }

    /// One session, as long as it exists.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.state.session(id)
    }

    /// Notes what a lent socket's flags say now.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`]: no such tuple, or no socket was lent for it.
    pub fn set_strength(&mut self, lent: super::Lent, strength: Strength) -> Result<(), Refusal> {
        self.tuple(lent.session, lent.tuple)?;
        let session = self.state.sessions.get_mut(&lent.session.slot);
        match session.and_then(|s| s.tuples.get_mut(&lent.tuple)).map(|tuple| &mut tuple.hold) {
            // A duplicate that the daemon does not have cannot be sound, whatever somebody says.
            Some(Hold::Lent(_, known @ (Strength::Sound | Strength::Weak)))
                if strength != Strength::Absent =>
            {
                *known = strength;
                Ok(())
            }
            _ => Err(Refusal::NoSuch),
        }
    }

    /// Placeholders that should be bound and are not: after a restart, all.
    #[must_use]
    pub fn missing(&self) -> Vec<(Socket, Owner)> {
        let stack = self.state.stack_tuples().map(|(session, tuple, stack)| {
            (placeholders(&stack.tuple, stack.hold), Owner::Stack { session, tuple })
        });
        let reserved = self.state.reservations.iter().filter_map(|(tuple, reservation)| {
            let waiting = matches!(self.owner(tuple), Some(Owner::Reserved(_)));
            let owner = Owner::Reserved(reservation.uid);
            waiting.then(|| (placeholders(tuple, reservation.hold), owner))
        });
        let each =
            stack.chain(reserved).flat_map(|(sockets, owner)| sockets.into_iter().map(move |s| (s, owner)));
        each.filter(|(socket, _)| !self.state.held.contains(socket)).collect()
    }

    /// Binds a placeholder again. If the port is taken, [`Self::revoke`] its tuple, or [`Self::unreserve`] it.
    ///
    /// # Errors
    /// [`Refusal::NoSuch`]: it is not [`Self::missing`].
    pub fn reclaim(&mut self, socket: Socket) -> Result<Change<'_, ()>, Refusal> {
        if !self.missing().iter().any(|&(missing, _)| missing == socket) {
            return Err(Refusal::NoSuch);
        }
        Ok(self.change(Edit::Reclaim(socket), Spent::default(), ()))
    }

    fn tuple(&self, session: SessionId, number: u16) -> Result<StackTuple, Refusal> {
        let holder = self.state.session(session).ok_or(Refusal::NoSuch)?;
        holder.tuples.get(&number).copied().ok_or(Refusal::NoSuch)
    }

    /// What the caller gets when it asks for this tuple, if it may have it and nobody has.
    fn grant(
        &self,
        caller: &Credentials,
        rule: &Rule,
        tuple: Tuple,
        want: &Want,
        kernel: &Kernel,
    ) -> Result<StackTuple, Refusal> {
        let Want { reserve, on_crash, icmp, .. } = *want;
        let waiting = matches!(self.owner(&tuple), Some(Owner::Reserved(uid)) if uid == caller.uid);
        if let Some(reservation) = self.state.reservations.get(&tuple).filter(|_| waiting) {
            let on_crash = reservation.on_crash.unwrap_or(on_crash);
            self.reachable(&tuple)?;
            return Ok(StackTuple { tuple, hold: reservation.hold, on_crash, icmp });
        }
        let credential = match reserve {
            Reserve::Daemon => Credential::None,
            Reserve::Lent(_) => Credential::BoundSocket,
        };
        rule.permits((tuple.proto(), tuple.addr(), tuple.port()), credential, kernel)?;
        let hold = match reserve {
            Reserve::Lent(cover) => Hold::Lent(cover, Strength::Sound),
            Reserve::Daemon if kernel.protocols.contains(&tuple.proto()) => Hold::Daemon,
            Reserve::Daemon if rule.unbound == Permission::Granted => Hold::Unbound,
            Reserve::Daemon => return Err(Denied::Unbound.into()),
        };
        self.free(&tuple)?;
        Ok(StackTuple { tuple, hold, on_crash, icmp })
    }

    fn choose_port(&self, want: &Want, rule: &Rule, kernel: &Kernel, random: u64) -> Result<u16, Refusal> {
        let (first, last) = (*kernel.ephemeral.start(), *kernel.ephemeral.end());
        let count = u64::from(last.saturating_sub(first)) + 1;
        let free = |port: u16| {
            let tuple = Tuple::new(want.proto, want.addr, port);
            tuple.is_ok_and(|tuple| self.state.owner(&tuple).is_none())
        };
        let mut ports = (0..count).map(|n| first.saturating_add(((random % count + n) % count) as u16));
        let permitted = |port: &u16| rule.permits_port(*port, Credential::None, kernel);
        let (given, limit) = (count as usize + 1, count as usize);
        let none = Refusal::NoSpace { resource: Resource::Ports, given, limit };
        ports.find(|port| permitted(port) && free(*port)).ok_or(none)
    }

    /// Whether a user may have rings of so many bytes more, and there are so many; `gone` are those that it had.
    fn room_for_rings(&self, uid: u32, rule: &Rule, bytes: u64, gone: u64) -> Result<(), Refusal> {
        let bounded = |resource, given: u64, limit: u64| {
            let count = |n| usize::try_from(n).unwrap_or(usize::MAX);
            within(resource, count(given), count(limit))
        };
        bounded(Resource::UserMemory, self.state.usage(uid).bytes + bytes - gone, rule.max_bytes)?;
        let all: u64 = self.state.usage.values().map(|usage| usage.bytes).sum();
        bounded(Resource::Memory, all + bytes - gone, self.limits.ring_bytes)
    }
}
