//! Receive queues and offloads of one link, by ethtool's netlink family.
//!
//! One thing is ever changed: a named feature, on or off. Whether it may be changed is asked first, because the
//! kernel answers a request for a fixed feature with silence.
use std::io;

use nix::{libc, sys::socket::SockProtocol};

use super::{
    message::{Attributes, Builder, find, text, u16_at, u32_at},
    socket::Asker,
};

/// The features that take a received tag out of the frame before XDP sees it (`ethtool`'s `rxvlan`).
pub const RX_VLAN_FEATURES: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

/// Asks about links, by their index.
#[derive(Debug)]
pub struct Ethtool {
    asker: Asker,
    family: u16,
}

/// Features of one link, by the kernel's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    active: Vec<String>,
    changeable: Vec<String>,
}

/// A feature's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Off, or unknown to this device: it does nothing.
    Off,
    /// On, and can be switched off.
    On,
    /// On for good.
    FixedOn,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Off.
    Off,
    /// On.
    On,
}

// `linux/genetlink.h` and `linux/ethtool_netlink.h`: numbers of the kernel's ABI that libc does not name.
const GENL_HEADER: usize = 4;
const CTRL_GET_FAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;
const MSG_FEATURES_GET: u8 = 11;
const MSG_FEATURES_SET: u8 = 12;
const MSG_CHANNELS_GET: u8 = 17;
const HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const CHANNELS_RX_COUNT: u16 = 6;
const CHANNELS_COMBINED_COUNT: u16 = 9;
const FEATURES_HW: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const FEATURES_NOCHANGE: u16 = 5;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

impl Ethtool {
    /// Opens the conversation in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel refuses, or has no such family (before 5.6).
    pub fn open() -> io::Result<Self> {
        let mut asker = Asker::open(SockProtocol::NetlinkGeneric)?;
        let mut family = None;
        let kind = libc::GENL_ID_CTRL as u16;
        let body = |b: Builder| b.raw(&[CTRL_GET_FAMILY, 1, 0, 0]).attribute(CTRL_FAMILY_NAME, b"ethtool\0");
        asker.ask(kind, 0, body, |answer| {
            let attributes = answer.payload.get(GENL_HEADER..).unwrap_or_default();
            family = find(attributes, CTRL_FAMILY_ID).and_then(|id| u16_at(id, 0)).or(family);
        })?;
        let family = family.ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self { asker, family })
    }

    /// How many receive queues are active.
    ///
    /// A device whose driver cannot say has one.
    ///
    /// # Errors
    /// The device is gone, or the kernel is silent.
    pub fn rx_queues(&mut self, index: u32) -> io::Result<u32> {
        let mut queues = 0;
        let asked = self.ask(
            MSG_CHANNELS_GET,
            index,
            |b| b,
            |attributes| {
                let count = |kind| find(attributes, kind).and_then(|v| u32_at(v, 0)).unwrap_or(0);
                queues = count(CHANNELS_RX_COUNT) + count(CHANNELS_COMBINED_COUNT);
            },
        );
        match asked {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
            other => other.map(|()| queues.max(1)),
        }
    }

    /// The features of a link.
    ///
    /// # Errors
    /// The device is gone, or the kernel is silent.
    pub fn features(&mut self, index: u32) -> io::Result<Features> {
        let mut features = Features::default();
        self.ask(
            MSG_FEATURES_GET,
            index,
            |b| b,
            |attributes| {
                let fixed = names(attributes, FEATURES_NOCHANGE);
                features.active = names(attributes, FEATURES_ACTIVE);
                features.changeable = names(attributes, FEATURES_HW);
                features.changeable.retain(|name| !fixed.contains(name));
            },
        )?;
        Ok(features)
    }

    /// Switches features of a link.
    ///
    /// # Errors
    /// The device is gone, or the kernel refuses.
    pub fn switch(&mut self, index: u32, features: &[&str], to: Switch) -> io::Result<()> {
        let bit = |b: Builder, name: &str| {
            let name = [name.as_bytes(), b"\0"].concat();
            b.nested(BITS_BIT, |b| match to {
                Switch::Off => b.attribute(BIT_NAME, &name),
                Switch::On => b.attribute(BIT_NAME, &name).attribute(BIT_VALUE, &[]),
            })
        };
        let bits = |b: Builder| features.iter().fold(b, |b, name| bit(b, name));
        let wanted = |b: Builder| b.nested(FEATURES_WANTED, |b| b.nested(BITSET_BITS, bits));
        self.ask(MSG_FEATURES_SET, index, wanted, |_| {})
    }

    fn ask(
        &mut self,
        command: u8,
        index: u32,
        more: impl FnOnce(Builder) -> Builder,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let header = |b: Builder| b.attribute(HEADER_DEV_INDEX, &index.to_ne_bytes());
        let body = |b: Builder| more(b.raw(&[command, 1, 0, 0]).nested(HEADER, header));
        self.asker.ask(self.family, 0, body, |answer| {
            each(answer.payload.get(GENL_HEADER..).unwrap_or_default());
        })
    }
}

impl Features {
    /// The state of the feature with this name.
    #[must_use]
    pub fn state(&self, name: &str) -> Feature {
        let has = |names: &[String]| names.iter().any(|n| n == name);
        match (has(&self.active), has(&self.changeable)) {
            (false, _) => Feature::Off,
            (true, true) => Feature::On,
            (true, false) => Feature::FixedOn,
        }
    }
}

/// The names of the bits that are set in a bitset without a mask.
fn names(attributes: &[u8], bitset: u16) -> Vec<String> {
    let bits = find(attributes, bitset).and_then(|set| find(set, BITSET_BITS)).unwrap_or_default();
    let bits = Attributes(bits).filter(|&(kind, _)| kind == BITS_BIT);
    bits.filter_map(|(_, bit)| find(bit, BIT_NAME).map(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_cannot_be_switched_is_fixed() {
        let features = Features {
            active: vec!["a".to_owned(), "b".to_owned()],
            changeable: vec!["b".to_owned(), "c".to_owned()],
        };
        let states = ["a", "b", "c", "d"].map(|name| features.state(name));
        assert_eq!(states, [Feature::FixedOn, Feature::On, Feature::Off, Feature::Off]);
    }

    #[test]
    fn loopback_has_one_queue_and_no_tags_to_take() {
        let mut route = super::super::route::Route::open().unwrap();
        let lo = route.links().unwrap().into_iter().find(|link| link.name == "lo").unwrap();
        let mut ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.rx_queues(lo.index).unwrap(), 1);
        let features = ethtool.features(lo.index).unwrap();
        assert_eq!(RX_VLAN_FEATURES.map(|name| features.state(name)), [Feature::Off; 2]);
        assert!(features.active.iter().any(|name| name == "loopback"), "{features:?}");
        let gone = ethtool.rx_queues(u32::MAX / 2).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ENODEV), "{gone}");
    }
}
