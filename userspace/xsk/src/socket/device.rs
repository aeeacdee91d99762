//! A network interface as AF_XDP sees it: MTU, address, link, active queues, and the offloads that get in the way.
//!
//! All of it is asked by ioctl, not read from `/sys`: a daemon that entered a network namespace by setns(2) still
//! sees the `/sys` of the one it came from. The only thing that can be changed here is VLAN offload.
#![allow(unsafe_code, reason = "reads the union that the kernel filled, and describes two structures to it")]

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use thiserror::Error;

use super::{
    call::{Call, CallError},
    config::InterfaceName,
    syscall::{self, EthtoolCommand},
};

const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `ETH_FLAG_TXVLAN` and `ETH_FLAG_RXVLAN`.
const TXVLAN: u32 = 1 << 7;
const RXVLAN: u32 = 1 << 8;

/// A handle on an interface of the network namespace it was opened in.
#[derive(Debug)]
pub struct Device {
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

/// What the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Nobody set it up.
    Down,
    /// Set up, but the other end is not there.
    NoCarrier,
    /// Packets pass.
    Up,
}

/// One direction of VLAN offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanOffload {
    /// The device takes tags out of received frames: XDP would see tagged frames as untagged.
    #[doc(alias = "rxvlan")]
    Receive,
    /// The device puts tags into sent frames: on a veth, the peer's XDP would not see them.
    #[doc(alias = "txvlan")]
    Transmit,
}

/// A setting that is either on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Why a device cannot be asked or set.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// No such interface in this network namespace.
    #[error("there is no interface {name} in this network namespace")]
    NotFound {
        /// The name.
        name: InterfaceName,
    },
    /// The driver does not let an offload be switched.
    #[error("{offload:?} VLAN offload of {name} is fixed {state:?}")]
    Fixed {
        /// The interface.
        name: InterfaceName,
        /// The offload.
        offload: VlanOffload,
        /// What it is and stays.
        state: Switch,
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

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

const _: () = assert!(size_of::<Channels>() == 36 && size_of::<Value>() == 8);

// SAFETY: nine `u32`s in `repr(C)`, `struct ethtool_channels` of ETHTOOL_GCHANNELS.
unsafe impl EthtoolCommand for Channels {}
// SAFETY: two `u32`s in `repr(C)`, `struct ethtool_value` of ETHTOOL_GFLAGS and ETHTOOL_SFLAGS.
unsafe impl EthtoolCommand for Value {}

impl Device {
    /// Finds the interface in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`DeviceError::NotFound`], or what the kernel said.
    pub fn open(name: InterfaceName) -> Result<Self, DeviceError> {
        let socket = syscall::device_socket().map_err(|source| DeviceError::Call { name, source })?;
        let mut device = Self { name, index: 0, socket };
        let request = device.ask(Call::DeviceIndex, libc::SIOCGIFINDEX as libc::Ioctl)?;
        // SAFETY: SIOCGIFINDEX filled this member, and any bytes are an integer.
        device.index = unsafe { request.ifr_ifru.ifru_ifindex }.unsigned_abs();
        Ok(device)
    }

    /// Its name when it was opened.
    #[must_use]
    pub fn name(&self) -> InterfaceName {
        self.name
    }

    /// Its number. A device that is deleted and made again has another one.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Largest packet above the link layer.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn mtu(&self) -> Result<u32, DeviceError> {
        let request = self.ask(Call::DeviceMtu, libc::SIOCGIFMTU as libc::Ioctl)?;
        // SAFETY: SIOCGIFMTU filled this member, and any bytes are an integer.
        Ok(unsafe { request.ifr_ifru.ifru_mtu }.unsigned_abs())
    }

    /// The link-layer address.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn address(&self) -> Result<[u8; 6], DeviceError> {
        let request = self.ask(Call::DeviceAddress, libc::SIOCGIFHWADDR as libc::Ioctl)?;
        // SAFETY: SIOCGIFHWADDR filled this member, and any bytes are a `sockaddr`.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let [a, b, c, d, e, f, ..] = address.sa_data.map(|byte| byte as u8);
        Ok([a, b, c, d, e, f])
    }

    /// Whether packets pass.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn link(&self) -> Result<LinkState, DeviceError> {
        let request = self.ask(Call::DeviceFlags, libc::SIOCGIFFLAGS as libc::Ioctl)?;
        // SAFETY: SIOCGIFFLAGS filled this member, and any bytes are a number.
        let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
        Ok(match (flags & libc::IFF_UP != 0, flags & libc::IFF_RUNNING != 0) {
            (false, _) => LinkState::Down,
            (true, false) => LinkState::NoCarrier,
            (true, true) => LinkState::Up,
        })
    }

    /// The queues in use. A driver that cannot say has one.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn queues(&self) -> Result<ActiveQueues, DeviceError> {
        let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
        match self.ethtool(Call::DeviceChannels, &mut channels) {
            Ok(()) => Ok(ActiveQueues {
                rx: (channels.rx + channels.combined).max(1),
                tx: (channels.tx + channels.combined).max(1),
            }),
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => Ok(ActiveQueues { rx: 1, tx: 1 }),
            Err(source) => Err(self.error(source)),
        }
    }

    /// Whether a VLAN offload is on.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn vlan_offload(&self, offload: VlanOffload) -> Result<Switch, DeviceError> {
        let flags = self.offloads()?;
        Ok(if flags & offload.flag() == 0 { Switch::Off } else { Switch::On })
    }

    /// Switches a VLAN offload and returns what it was, so that it can be put back.
    ///
    /// # Errors
    /// [`DeviceError::Fixed`] if the driver does not let it be switched.
    pub fn set_vlan_offload(&self, offload: VlanOffload, to: Switch) -> Result<Switch, DeviceError> {
        let before = self.vlan_offload(offload)?;
        if before == to {
            return Ok(before);
        }
        let fixed = DeviceError::Fixed { name: self.name, offload, state: before };
        let data = self.offloads()? ^ offload.flag();
        match self.ethtool(Call::SetDeviceOffloads, &mut Value { cmd: ETHTOOL_SFLAGS, data }) {
            // Accepted is not done: a feature can depend on another one that stays as it is.
            Ok(()) if self.vlan_offload(offload)? == to => Ok(before),
            Ok(()) => Err(fixed),
            Err(error) if matches!(error.errno(), Some(Errno::EOPNOTSUPP | Errno::EINVAL)) => Err(fixed),
            Err(source) => Err(self.error(source)),
        }
    }

    fn offloads(&self) -> Result<u32, DeviceError> {
        let mut value = Value { cmd: ETHTOOL_GFLAGS, data: 0 };
        self.ethtool(Call::DeviceOffloads, &mut value).map_err(|source| self.error(source))?;
        Ok(value.data)
    }

    fn ask(&self, call: Call, number: libc::Ioctl) -> Result<libc::ifreq, DeviceError> {
        let mut request = self.request();
        syscall::device_ioctl(self.socket.as_fd(), call, number, &mut request)
            .map_err(|source| self.error(source))?;
        Ok(request)
    }

    fn ethtool<T: EthtoolCommand>(&self, call: Call, command: &mut T) -> Result<(), CallError> {
        syscall::ethtool(self.socket.as_fd(), call, self.request(), command)
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

impl VlanOffload {
    fn flag(self) -> u32 {
        match self {
            Self::Receive => RXVLAN,
            Self::Transmit => TXVLAN,
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
        assert_eq!(lo.address().expect("an address"), [0; 6]);
        assert_eq!(lo.queues().expect("queues"), ActiveQueues { rx: 1, tx: 1 });
        assert_eq!(lo.vlan_offload(VlanOffload::Receive).expect("offloads"), Switch::Off);
        lo.link().expect("flags");
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = Device::open(name("nosuchdevice0")).expect_err("no such device");
        assert_eq!(error.to_string(), "there is no interface nosuchdevice0 in this network namespace");
    }
}
