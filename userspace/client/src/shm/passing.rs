//! Messages with descriptors beside them (SCM_RIGHTS), over any connected socket.
//!
//! It refuses to lose one: whatever the kernel installed in this process comes back as an `OwnedFd`, which closes
//! itself, and is close-on-exec from the first instant. A call that a signal interrupted is made again: on a socket with
//! a time limit the kernel does not do it, whether a handler ran or not (signal(7)).
use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg},
};

/// Most descriptors that the kernel carries in one message (SCM_MAX_FD); room for all of them is always given, so that
/// none is installed and not reported.
pub const MAX_FDS: usize = 253;

/// A message's length and what came with it.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer; 0 if the other side has closed.
    pub len: usize,
    /// Descriptors, in the sender's order.
    pub fds: Vec<OwnedFd>,
}

/// Sends one message and duplicates of these descriptors.
///
/// # Errors
/// What sendmsg(2) says, except EINTR.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> Result<(), Errno> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let parts = [IoSlice::new(bytes)];
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, control, flags, None) {
            Err(Errno::EINTR) => {}
            outcome => return outcome.map(drop),
        }
    }
}

/// Receives one message and whatever descriptors come with it.
///
/// # Errors
/// What recvmsg(2) says, except EINTR.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: MsgFlags) -> Result<Received, Errno> {
    let mut control = cmsg_space!([RawFd; MAX_FDS]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut message = loop {
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            outcome => break outcome?,
        }
    };
    // Set where this process may have no more descriptors. Those that were installed before are there all the same,
    // and must be owned to be closed.
    message.flags.remove(MsgFlags::MSG_CTRUNC);
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has just installed these for this message; nobody else has heard of them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(Received { len: message.bytes, fds })
}

/// Borrows many descriptors at once, as [`send`] takes them.
pub fn borrow(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read};

    use nix::{
        fcntl::{FcntlArg, FdFlag, fcntl},
        sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
        unistd::pipe,
    };

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn descriptors_arrive_in_order_and_close_on_exec() {
        let (ours, theirs) = pair();
        let pipes: Vec<(OwnedFd, OwnedFd)> = (0..66).map(|_| pipe().unwrap()).collect();
        let ends: Vec<BorrowedFd<'_>> = pipes.iter().map(|(read, _)| read.as_fd()).collect();
        send(ours.as_fd(), b"hello", &ends, MsgFlags::empty()).unwrap();
        let mut buffer = [0; 16];
        let received = receive(theirs.as_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert_eq!((&buffer[..received.len], received.fds.len()), (&b"hello"[..], 66));
        for (number, (fd, (_, write))) in received.fds.into_iter().zip(pipes).enumerate() {
            assert_eq!(fcntl(&fd, FcntlArg::F_GETFD), Ok(FdFlag::FD_CLOEXEC.bits()));
            nix::unistd::write(&write, &[number as u8]).unwrap();
            drop(write);
            let mut said = Vec::new();
            File::from(fd).read_to_end(&mut said).unwrap();
            assert_eq!(said, [number as u8]);
        }
    }

    #[test]
    fn a_message_without_and_a_hang_up() {
        let (ours, theirs) = pair();
        send(ours.as_fd(), b"x", &[], MsgFlags::empty()).unwrap();
        drop(ours);
        let mut buffer = [0; 4];
        let received = receive(theirs.as_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert_eq!((received.len, received.fds.len()), (1, 0));
        let received = receive(theirs.as_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert_eq!((received.len, received.fds.len()), (0, 0));
    }
}
