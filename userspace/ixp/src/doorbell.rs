//! Doorbells: how a worker and an application wake each other, one socketpair per channel.
//!
//! A byte means "look", nothing else. Never an eventfd: both sides would share one file description, and the peer could
//! clear its O_NONBLOCK, fill the counter and block a worker in write(2). A `send` with MSG_DONTWAIT blocks nobody,
//! whatever the peer does to its own end. It refuses to report a full or closed bell: a full one is rung enough, and
//! that an application is gone is the control connection's to say.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
};

/// Most bytes that one look takes out: a flood is emptied over many looks, and costs each of them one call.
const DRAIN: usize = 256;

/// The daemon's end of a channel's bell.
#[derive(Debug)]
pub struct Doorbell {
    fd: OwnedFd,
}

impl Doorbell {
    /// Makes a bell, and the descriptor that the application is sent.
    ///
    /// # Errors
    /// What socketpair(2) says.
    pub fn pair() -> Result<(Self, OwnedFd), Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
        Ok((Self { fd: ours }, theirs))
    }

    /// Tells the application to look.
    #[inline]
    pub fn ring(&self) {
        let _ = send(self.fd.as_raw_fd(), &[1], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    /// Takes out what the application has rung, up to a limit: before the last look, so that no ring is lost.
    #[inline]
    pub fn drain(&self) {
        let _ = recv(self.fd.as_raw_fd(), &mut [0; DRAIN], MsgFlags::MSG_DONTWAIT);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn readable(fd: BorrowedFd<'_>) -> bool {
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).expect("poll") == 1
    }

    #[test]
    fn a_byte_wakes_and_is_taken_out() {
        let (bell, theirs) = Doorbell::pair().expect("two descriptors");
        assert!(!readable(theirs.as_fd()));
        bell.ring();
        assert!(readable(theirs.as_fd()) && !readable(bell.as_fd()));
        send(theirs.as_raw_fd(), &[1; 3], MsgFlags::empty()).expect("room");
        assert!(readable(bell.as_fd()));
        bell.drain();
        assert!(!readable(bell.as_fd()));
    }

    #[test]
    fn h06_a_full_or_closed_bell_blocks_nobody() {
        let (bell, theirs) = Doorbell::pair().expect("two descriptors");
        let before =
            (0..100_000).take_while(|_| send(bell.fd.as_raw_fd(), &[1], MsgFlags::MSG_DONTWAIT).is_ok());
        assert!(before.count() < 100_000, "full");
        bell.ring();
        // The peer can make its own end block, but not ours.
        nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))
            .expect("its own");
        bell.ring();
        drop(theirs);
        bell.ring();
        bell.drain();
    }
}
