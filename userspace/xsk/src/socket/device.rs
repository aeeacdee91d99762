//! What a socket must know of its interface before it binds: number, MTU, and the queues in use.
//!
//! All of it is asked by ioctl, not read from `/sys`: a daemon that entered a network namespace by setns(2) still
//! sees the `/sys` of the one it came from. Nothing is changed here.
#![allow(unsafe_code, reason = "reads the union that the kernel filled, and describes a structure to it")]

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use thiserror::Error;

use super::{
    call::{Call, CallError},
    config::InterfaceName,
    syscall::{self, EthtoolCommand},
};

const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// A handle on an interface of the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Device {
    name: InterfaceName,
    index: u32,
    socket: OwnedFd,
}

/// Queues that are in use, which can be fewer than were allocated: a fresh veth has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveQueues {
    /// For receiving.
    pub rx: u32,
    /// For sending.
    pub tx: u32,
}

/// Why a device cannot be asked.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// No such interface in this network namespace.
    #[error("there is no interface {name} in this network namespace")]
    NotFound {
        /// The name.
        name: InterfaceName,
    },
    /// The kernel refused.
    #[error("{name}: {source}")]
    Call {
        /// The interface.
        name: InterfaceName,
        /// What the kernel said.
        source: CallError,
    },
}

/// `struct ethtool_channels`
#[derive(Default)]
#[repr(C)]
struct Channels {
    cmd: u32,
    max: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

const _: () = assert!(size_of::<Channels>() == 36);

// SAFETY: nine `u32`s in `repr(C)`, `struct ethtool_channels` of ETHTOOL_GCHANNELS.
unsafe impl EthtoolCommand for Channels {}

impl Device {
    /// Finds the interface in the calling thread's network namespace.
    pub(crate) fn open(name: InterfaceName) -> Result<Self, DeviceError> {
        let socket = syscall::device_socket().map_err(|source| DeviceError::Call { name, source })?;
        let mut device = Self { name, index: 0, socket };
        let request = device.ask(Call::DeviceIndex, libc::SIOCGIFINDEX as libc::Ioctl)?;
        // SAFETY: SIOCGIFINDEX filled this member, and any bytes are an integer.
        device.index = unsafe { request.ifr_ifru.ifru_ifindex }.unsigned_abs();
        Ok(device)
    }

    /// Its number. A device that is deleted and made again has another one.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Largest packet above the link layer.
    pub(crate) fn mtu(&self) -> Result<u32, DeviceError> {
        let request = self.ask(Call::DeviceMtu, libc::SIOCGIFMTU as libc::Ioctl)?;
        // SAFETY: SIOCGIFMTU filled this member, and any bytes are an integer.
        Ok(unsafe { request.ifr_ifru.ifru_mtu }.unsigned_abs())
    }

    /// The queues in use. A driver that cannot say has one.
    pub(crate) fn queues(&self) -> Result<ActiveQueues, DeviceError> {
        let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
        let (socket, request) = (self.socket.as_fd(), self.request());
        match syscall::ethtool(socket, Call::DeviceChannels, request, &mut channels) {
            Ok(()) => Ok(ActiveQueues {
                rx: (channels.rx + channels.combined).max(1),
                tx: (channels.tx + channels.combined).max(1),
            }),
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => Ok(ActiveQueues { rx: 1, tx: 1 }),
            Err(source) => Err(self.error(source)),
        }
    }

    fn ask(&self, call: Call, number: libc::Ioctl) -> Result<libc::ifreq, DeviceError> {
        let mut request = self.request();
        syscall::device_ioctl(self.socket.as_fd(), call, number, &mut request)
            .map_err(|source| self.error(source))?;
        Ok(request)
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: a name and a union of numbers, addresses and a pointer that no call here reads; zero is all of it.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.as_str().bytes()) {
            *to = from as libc::c_char;
        }
        request
    }

    fn error(&self, source: CallError) -> DeviceError {
        match source.errno() {
            Some(Errno::ENODEV) => DeviceError::NotFound { name: self.name },
            _ => DeviceError::Call { name: self.name, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        InterfaceName::new(text).expect("a legal name")
    }

    #[test]
    fn loopback_answers_every_question() {
        let lo = Device::open(name("lo")).expect("every namespace has one");
        assert_ne!(lo.index(), 0);
        assert!(0 < lo.mtu().expect("an MTU"));
        assert_eq!(lo.queues().expect("queues"), ActiveQueues { rx: 1, tx: 1 });
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = Device::open(name("nosuchdevice0")).expect_err("no such device");
        assert_eq!(error.to_string(), "there is no interface nosuchdevice0 in this network namespace");
    }
}
