//! A session: one application's connection, its slot, its rings' shape and the tuples that it holds.
//!
//! These are values only; what may become of them is the registry's business.
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use abi::shm::desc::Form;
use abi::shm::layout::Shape;
use abi::steer::{Target, kind, target_flag};
use serde::{Deserialize, Serialize};

use super::socket::Hold;
use super::{OnCrash, State};
use crate::books::NO_TUPLE;
use crate::drr::Weight;
use crate::policy::Credentials;
use crate::refusal::Refusal;
use crate::tuple::Tuple;

/// Most sessions at once.
pub const MAX_SESSIONS: usize = 4096;

/// Most tuples of one session.
pub const SESSION_TUPLES: usize = 4096;

pub use abi::shm::MAX_NAME;

/// A session: its slot, and how often that slot had been given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// Its index: `id` of its targets.
    pub slot: u16,
    /// `generation` of its targets: a packet steered to an earlier holder of the slot has another.
    pub generation: u16,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// The secret by which an application takes its session up again after the daemon has restarted: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lease(u128);

/// Not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lease has 32 hexadecimal digits")]
pub struct NotALease;

impl Lease {
    /// A lease of these bits, which nobody may be able to guess.
    #[must_use]
    pub const fn new(random: u128) -> Self {
        Self(random)
    }
}

/// Secrets do not belong into logs.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease(…)")
    }
}

impl From<Lease> for String {
    fn from(lease: Lease) -> Self {
        format!("{:032x}", lease.0)
    }
}

impl FromStr for Lease {
    type Err = NotALease;

    fn from_str(text: &str) -> Result<Self, NotALease> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = if digits { u128::from_str_radix(text, 16).ok() } else { None };
        bits.map(Self).ok_or(NotALease)
    }
}

impl TryFrom<String> for Lease {
    type Error = NotALease;

    fn try_from(text: String) -> Result<Self, NotALease> {
        text.parse()
    }
}

/// What people call a session.
///
/// # Invariants
/// 1 to [`MAX_NAME`] bytes, without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// A name.
    ///
    /// # Errors
    /// [`Refusal::Name`].
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let fits = (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(Refusal::Name) }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl TryFrom<String> for Name {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::new(&text)
    }
}

/// Who is at the other end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// This process.
    Live(Credentials),
    /// Nobody, since the daemon restarted: a process of this user may attach until then.
    Orphan {
        /// Whose it was.
        uid: u32,
        /// On the clock of the registry's callers.
        until: Duration,
    },
}

impl Presence {
    /// Whose session it is.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        match self {
            Self::Live(credentials) => credentials.uid,
            Self::Orphan { uid, .. } => *uid,
        }
    }

    /// Whether a process is there, and with it rings and channels.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }
}

/// Whether ICMP errors that quote a tuple are its owner's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IcmpErrors {
    /// They stay with the OS.
    #[default]
    Kept,
    /// They are delivered to the owner.
    Delivered,
}

/// A tuple that a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackTuple {
    /// The tuple.
    pub tuple: Tuple,
    /// How its port is kept from the OS.
    pub hold: Hold,
    /// What happens without a daemon.
    pub on_crash: OnCrash,
    /// Who gets the errors.
    pub icmp: IcmpErrors,
}

impl StackTuple {
    /// Where its packets go.
    pub(super) const fn target(&self, session: SessionId, number: u16) -> Target {
        let crash = match self.on_crash {
            OnCrash::Drop => 0,
            OnCrash::Pass => target_flag::ON_CRASH_PASS,
        };
        let icmp = match self.icmp {
            IcmpErrors::Kept => 0,
            IcmpErrors::Delivered => target_flag::ICMP,
        };
        let SessionId { slot, generation } = session;
        Target { kind: kind::STACK, flags: crash | icmp, id: slot, generation, aux: number }
    }
}

/// A session as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its slot and generation.
    pub id: SessionId,
    /// Its secret.
    pub lease: Lease,
    /// Its name, chosen by the application.
    pub name: Name,
    /// Who is there.
    pub presence: Presence,
    /// The shape of its rings.
    pub shape: Shape,
    /// Whether it may bring Ethernet headers of its own.
    pub form: Form,
    /// Its share where channels compete.
    pub weight: Weight,
    /// Its tuples, by number.
    pub tuples: BTreeMap<u16, StackTuple>,
    /// The number to try next: a released one rests as long as possible, for frames in the rings still say it.
    pub(super) next_tuple: u16,
}

impl Session {
    /// Bytes of both regions.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        bytes_of(&self.shape)
    }

    /// A number for one more tuple, or none when the session has [`SESSION_TUPLES`].
    ///
    /// No two of its tuples have the same number modulo [`SESSION_TUPLES`], so that this is an index for whoever
    /// keeps something for each. None has [`NO_TUPLE`].
    pub(super) fn free_number(&self) -> Option<u16> {
        let rows = SESSION_TUPLES as u16;
        let taken = |number: u16| {
            let laps = (number % rows..=u16::MAX).step_by(SESSION_TUPLES);
            laps.into_iter().any(|same_row| self.tuples.contains_key(&same_row))
        };
        (0..rows)
            .map(|n| self.next_tuple.wrapping_add(n))
            .find(|&number| number != NO_TUPLE && !taken(number))
    }
}

pub(super) const fn bytes_of(shape: &Shape) -> u64 {
    shape.down_size() as u64 + shape.up_size() as u64
}

/// The order in which slots are given: round and round, so that none is given again soon.
///
/// One number says all about the past, and so a restarted daemon goes on where the last one stopped:
///
/// ```text
/// ticket = generation · slots + slot
/// ```
///
/// With all [`MAX_SESSIONS`] slots, a pair comes back after 2²⁸ sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tickets {
    pub(super) next: u32,
    slots: u16,
}

impl Tickets {
    pub(super) const fn new(next: u32, slots: u16) -> Self {
        Self { next, slots }
    }

    /// The next pair whose slot nobody holds. It is spent, whatever becomes of it: packets may carry it.
    pub(super) fn take(&mut self, state: &State) -> Option<SessionId> {
        for _ in 0..self.slots {
            let slots = u32::from(self.slots);
            let (slot, generation) = ((self.next % slots) as u16, (self.next / slots) as u16);
            self.next = self.next.wrapping_add(1);
            if !state.sessions.contains_key(&slot) {
                return Some(SessionId { slot, generation });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_comes_back_only_when_generations_are_used_up() {
        let (state, mut tickets) = (State::default(), Tickets::new(0, 2));
        let first = tickets.take(&state);
        assert_eq!(first, Some(SessionId { slot: 0, generation: 0 }));
        let mut others = 0;
        while tickets.take(&state) != first {
            others += 1;
        }
        assert_eq!(others, 2 * 65_536 - 1);
    }

    #[test]
    fn a_lease_is_32_hexadecimal_digits_and_does_not_show() {
        let lease = Lease::new(0x2a);
        assert_eq!(String::from(lease), "0000000000000000000000000000002a");
        assert_eq!(String::from(lease).parse(), Ok(lease));
        assert_eq!(format!("{lease:?}"), "Lease(…)");
        for text in ["", "2a", "+0000000000000000000000000000002", &"0".repeat(33)] {
            assert_eq!(text.parse::<Lease>(), Err(NotALease), "{text}");
        }
    }

    #[test]
    fn a_name_is_short_and_printable() {
        assert_eq!(Name::new("dns").unwrap().as_str(), "dns");
        assert!(Name::new(&"x".repeat(MAX_NAME)).is_ok());
        for text in ["", "a\nb", &"x".repeat(65)] {
            assert_eq!(Name::new(text), Err(Refusal::Name), "{text:?}");
        }
    }
}
