//! Reservations: the administrator keeps a tuple for the applications of one user, while none of them runs.
//!
//! The port is held in the OS, but nothing is steered: until an application of that user registers exactly this tuple,
//! its packets meet a socket that nobody reads. What a reservation grants, no other policy takes away: privileged
//! ports are the point of it.
use super::change::Spent;
use super::socket::Hold;
use super::state::Edit;
use super::{Change, OnCrash, Registry, within};
use crate::policy::{Credentials, Kernel};
use crate::refusal::{Denied, Refusal, Resource};
use crate::tuple::Tuple;

/// Most reservations.
pub const MAX_RESERVATIONS: usize = 4096;

/// What the administrator keeps a tuple for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The user whose applications may register it.
    pub uid: u32,
    /// What happens without a daemon, whatever the application asks for; `None` leaves it to the application.
    pub on_crash: Option<OnCrash>,
    /// How the port is kept: never by a lent socket.
    pub(super) hold: Hold,
}

impl Registry {
    /// Keeps a tuple for the applications of user `uid`.
    ///
    /// # Errors
    /// [`Refusal::Denied`] to everybody but root, [`Refusal::Busy`], [`Refusal::NotLocal`], [`Refusal::Detaching`],
    /// [`Refusal::NoSpace`].
    pub fn reserve(
        &mut self,
        caller: &Credentials,
        tuple: Tuple,
        uid: u32,
        on_crash: Option<OnCrash>,
        kernel: &Kernel,
    ) -> Result<Change<'_, ()>, Refusal> {
        only_root(caller)?;
        self.free(&tuple)?;
        within(Resource::Reservations, self.state.reservations.len() + 1, MAX_RESERVATIONS)?;
        let hold = if kernel.protocols.contains(&tuple.proto()) { Hold::Daemon } else { Hold::Unbound };
        let reservation = Reservation { uid, on_crash, hold };
        Ok(self.change(Edit::Reserve(tuple, reservation), Spent::default(), ()))
    }

    /// Keeps a tuple no longer. An application that has it keeps it, and leaves nothing behind when it goes.
    ///
    /// # Errors
    /// [`Refusal::Denied`] to everybody but root, [`Refusal::NoSuch`].
    pub fn unreserve(&mut self, caller: &Credentials, tuple: &Tuple) -> Result<Change<'_, ()>, Refusal> {
        only_root(caller)?;
        if !self.state.reservations.contains_key(tuple) {
            return Err(Refusal::NoSuch);
        }
        Ok(self.change(Edit::Unreserve(*tuple), Spent::default(), ()))
    }

    /// Every reservation, in use or not.
    pub fn reservations(&self) -> impl Iterator<Item = (&Tuple, &Reservation)> {
        self.state.reservations.iter()
    }
}

pub(super) fn only_root(caller: &Credentials) -> Result<(), Refusal> {
    if caller.is_root() { Ok(()) } else { Err(Denied::NotRoot.into()) }
}
