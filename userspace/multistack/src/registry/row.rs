//! What people are shown: one row for each tuple that somebody other than the engines owns, and how it stands.
use std::net::IpAddr;

use super::session::{Presence, Session};
use super::socket::{Hold, Strength, placeholders};
use super::{Owner, Registry};
use crate::tuple::Tuple;

/// How a tuple stands. Of several that are true, the first in this order is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// Kept by the administrator; no application has it.
    Reserved,
    /// The daemon restarted; its application may still attach.
    Orphan,
    /// No address at which it could be reached.
    Suspended,
    /// No socket keeps its port from the OS.
    Unreserved,
    /// The socket that should keep its port no longer does, or nobody can tell.
    Weak,
    /// As it should be.
    Live,
}

impl RowState {
    /// As `octroi stack list` writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Orphan => "orphan",
            Self::Suspended => "suspended",
            Self::Unreserved => "unreserved",
            Self::Weak => "weak",
            Self::Live => "live",
        }
    }
}

/// A tuple and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The tuple.
    pub tuple: Tuple,
    /// Whose it is.
    pub owner: Owner,
    /// The user.
    pub uid: u32,
    /// The process, where one is there.
    pub pid: Option<i32>,
    /// What the application calls itself.
    pub name: Option<&'a str>,
    /// How it stands.
    pub state: RowState,
    /// The addresses at which packets are steered to it.
    pub addrs: Vec<IpAddr>,
}

impl Registry {
    /// Every tuple of every session, by slot and number, then the reservations that wait.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let live = self.sessions().flat_map(|session| self.rows_of(session));
        let waiting = self.reservations().filter_map(|(tuple, reservation)| {
            let owner = self.owner(tuple).filter(|owner| matches!(owner, Owner::Reserved(_)))?;
            let (uid, state) = (reservation.uid, RowState::Reserved);
            Some(Row { tuple: *tuple, owner, uid, pid: None, name: None, state, addrs: Vec::new() })
        });
        live.chain(waiting)
    }

    fn rows_of<'a>(&'a self, session: &'a Session) -> impl Iterator<Item = Row<'a>> {
        let pid = match &session.presence {
            Presence::Live(caller) => Some(caller.pid),
            Presence::Orphan { .. } => None,
        };
        session.tuples.iter().map(move |(&number, stack)| {
            let addrs: Vec<_> = stack.tuple.addresses(&self.state.addresses).collect();
            Row {
                tuple: stack.tuple,
                owner: Owner::Stack { session: session.id, tuple: number },
                uid: session.presence.uid(),
                pid,
                name: Some(session.name.as_str()),
                state: match stack.hold {
                    _ if pid.is_none() => RowState::Orphan,
                    _ if addrs.is_empty() => RowState::Suspended,
                    Hold::Unbound => RowState::Unreserved,
                    Hold::Lent(_, Strength::Weak | Strength::Absent) => RowState::Weak,
                    _ if !self.holds_all(&stack.tuple, stack.hold) => RowState::Weak,
                    Hold::Daemon | Hold::Lent(_, Strength::Sound) => RowState::Live,
                },
                addrs,
            }
        })
    }

    fn holds_all(&self, tuple: &Tuple, hold: Hold) -> bool {
        placeholders(tuple, hold).iter().all(|socket| self.state.held.contains(socket))
    }
}
