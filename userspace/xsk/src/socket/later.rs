//! What the kernel's answer to a wake-up means: not now, or never again.
//!
//! Sending and receiving are woken by calls that do not block. Most refusals pass by themselves; none of them is
//! answered by calling again at once.
use nix::errno::Errno;

use ixp::port::PortError;

use super::call::Call;

/// A refusal that passes: come back in the next loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// The kernel did what it may in one call, and there is more.
    Again,
    /// The device or the socket's send buffer is full, or the call was interrupted.
    Busy,
    /// The device is down; it can come up again with this socket.
    Down,
}

/// Judges what the kernel said to `call`.
pub(crate) fn judge(call: Call, errno: Errno) -> Result<Later, PortError> {
    match errno {
        Errno::EAGAIN => Ok(Later::Again),
        Errno::EBUSY | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR => Ok(Later::Busy),
        Errno::ENETDOWN => Ok(Later::Down),
        Errno::ENXIO | Errno::ENODEV => Err(PortError::Gone),
        errno => Err(PortError::Kernel { call: call.name(), source: errno.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_refusals_are_not_errors() {
        for (errno, later) in [
            (Errno::EAGAIN, Later::Again),
            (Errno::EBUSY, Later::Busy),
            (Errno::ENOBUFS, Later::Busy),
            (Errno::ENETDOWN, Later::Down),
        ] {
            assert_eq!(judge(Call::Send, errno).expect("passes"), later);
        }
    }

    #[test]
    fn lasting_refusals_name_the_call() {
        assert!(matches!(judge(Call::Send, Errno::ENXIO), Err(PortError::Gone)));
        let error = judge(Call::Send, Errno::EBADF).expect_err("lasting");
        assert!(error.to_string().starts_with("sendto(AF_XDP): "), "{error}");
    }
}
