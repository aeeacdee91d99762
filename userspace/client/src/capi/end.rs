//! A channel as C has it: packets one at a time, slots that are lent until a later call says otherwise.
//!
//! It refuses what a burst's lifetime forbids in Rust: a slot is not committed that was not handed out, and nothing is
//! given back twice. When the memory goes (the daemon died, the session is over), the call that notices says so, once
//! for certain, before any later call can touch other memory.
use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    thread,
    time::Duration,
};

use abi::{
    rxmeta::CLASS_NONE,
    shm::{desc::Form, layout::State},
};
use nix::errno::Errno;

use super::{
    errno::Numbered,
    types::{OCTROI_FRAME_CSUM_PARTIAL, octroi_frame, octroi_slot},
};
use crate::{
    shm::channel::{Bell, Channel, Interest, Ready},
    stack::FIRST_PAUSE,
};

/// One channel number of a session, whatever memory is behind it now.
///
/// # Invariants
/// `lent` frames and, if `slot` says so, the next free slot are in a C program's hands; all are `channel`'s.
#[derive(Debug, Default)]
pub(super) struct End {
    channel: Option<Channel>,
    lent: usize,
    slot: Lent,
}

/// Whether the next Tx slot was handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lent {
    Yes,
    #[default]
    No,
}

/// What to wait for, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Sleeps as long as this, or for ever.
    Sleep(Option<Duration>),
    /// Asks to be rung.
    Arm,
}

impl End {
    /// Takes other memory, or none, and forgets what was lent of the old. Whether there was any.
    pub(super) fn change(&mut self, channel: Option<Channel>) -> bool {
        let had = self.channel.is_some();
        *self = Self { channel, ..Self::default() };
        had
    }

    /// The next received packet.
    pub(super) fn rx_next(&mut self) -> Result<octroi_frame, Errno> {
        let Self { channel, lent, .. } = self;
        let channel = channel.as_mut().ok_or(Errno::ENOTCONN)?;
        let partial = if channel.has_partial_checksums() { OCTROI_FRAME_CSUM_PARTIAL } else { 0 };
        let mut burst = channel.rx(*lent + 1);
        let frame = burst.get(*lent).map(|frame| octroi_frame {
            bytes: frame.bytes.as_ptr(),
            len: frame.bytes.len(),
            tuple: frame.tuple,
            flags: frame.flags | partial,
            // A descriptor has no more bits for either.
            l3: frame.l3 as u16,
            l4: frame.l4 as u16,
            traffic_class: frame.class.unwrap_or(CLASS_NONE),
        });
        // Nothing of it is given back yet.
        burst.truncate(0);
        drop(burst);
        let Some(frame) = frame else { return Err(alive(channel).err().unwrap_or(Errno::EAGAIN)) };
        *lent += 1;
        Ok(frame)
    }

    /// Gives back every frame that was handed out.
    pub(super) fn rx_release(&mut self) -> Result<(), Errno> {
        let lent = std::mem::take(&mut self.lent);
        drop(self.channel()?.rx(lent));
        Ok(())
    }

    /// The next free slot: the same until it is committed.
    pub(super) fn tx_next(&mut self) -> Result<octroi_slot, Errno> {
        self.slot = Lent::No;
        let channel = self.channel()?;
        alive(channel)?;
        let mut burst = channel.tx(1);
        let slot =
            burst.next().map(|slot| octroi_slot { bytes: slot.bytes.as_mut_ptr(), len: slot.bytes.len() });
        burst.hold();
        let slot = slot.ok_or(Errno::EAGAIN)?;
        self.slot = Lent::Yes;
        Ok(slot)
    }

    /// Has the first `len` bytes of the slot sent at the next flush. One that is too long stays lent.
    pub(super) fn tx_commit(&mut self, len: usize, form: Form) -> Result<(), Errno> {
        let lent = self.slot;
        let channel = self.channel()?;
        alive(channel)?;
        if lent == Lent::No {
            return Err(Errno::EBADSLT);
        }
        let mut burst = channel.tx(1);
        let done = burst.next().map(|slot| slot.commit(len, form));
        burst.hold();
        // There is one: it was lent, and nobody else takes any.
        done.ok_or(Errno::EBADSLT)?.map_err(|_| Errno::EMSGSIZE)?;
        self.slot = Lent::No;
        Ok(())
    }

    /// Shows the daemon what was committed.
    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        let channel = self.channel()?;
        drop(channel.tx(0));
        alive(channel)
    }

    /// Flushes, then waits. While there is no memory it sleeps a little all the same, so that a loop around it does not
    /// spin until the daemon is back.
    pub(super) fn wait(&mut self, what: Interest, how: Wait) -> Result<Ready, Errno> {
        let Some(channel) = self.channel.as_mut() else {
            let nap = match how {
                Wait::Sleep(limit) => limit.map_or(FIRST_PAUSE, |limit| limit.min(FIRST_PAUSE)),
                Wait::Arm => Duration::ZERO,
            };
            thread::sleep(nap);
            return Err(Errno::ENOTCONN);
        };
        drop(channel.tx(0));
        let ready = match how {
            Wait::Sleep(limit) => channel.wait(what, limit).map_err(|error| error.errno())?,
            Wait::Arm => match (channel.drain(), channel.arm(what)) {
                // What came before can still be read.
                (Bell::HungUp, ready @ Ready { rx: 0, .. }) => Ready { session: State::Revoked, ..ready },
                (_, ready) => ready,
            },
        };
        if ready.session != State::Revoked {
            return Ok(ready);
        }
        alive(channel)?;
        // Nobody was left to say that it is over: the daemon died, or breaks the rules of its rings.
        self.change(None);
        Err(Errno::ENOTCONN)
    }

    /// The bell.
    pub(super) fn fd(&mut self) -> Result<RawFd, Errno> {
        Ok(self.channel()?.as_fd().as_raw_fd())
    }

    fn channel(&mut self) -> Result<&mut Channel, Errno> {
        self.channel.as_mut().ok_or(Errno::ENOTCONN)
    }
}

/// Whether the daemon has not ended the session.
fn alive(channel: &Channel) -> Result<(), Errno> {
    if channel.session() == State::Revoked { Err(Errno::ESHUTDOWN) } else { Ok(()) }
}
