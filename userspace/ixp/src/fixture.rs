//! What tests of the engines steer: one host with an echo on UDP port 7 and a sink on UDP port 9, and its callers.
//!
//! Uses only what a stranger to this crate could use, so that integration tests include the same file.
#![allow(dead_code, reason = "each test binary uses its part")]
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use abi::{
    port::PortConfig,
    rxmeta::{RxMeta, flag},
};
use multistack::{
    mirror::Mirror,
    registry::{Builtin, Limits, OnCrash, Registration, Registry},
    slots::TupleId,
    steer::{Outcome, steer},
    tuple::{Address, Proto, Tuple},
};
use wire::{
    checksum::Sum,
    ip::{Addresses, Protocol},
};

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const CALLER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
pub(crate) const CALLER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);
pub(crate) const ECHO: u16 = 7;
pub(crate) const SINK: u16 = 9;
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CALLER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// A frame to be made.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) tags: Vec<u16>,
    pub(crate) src_mac: [u8; 6],
    pub(crate) src: (IpAddr, u16),
    pub(crate) dst: (IpAddr, u16),
    pub(crate) proto: u8,
    pub(crate) ttl: u8,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// A datagram from the caller's port 4000.
    pub(crate) fn to(port: u16) -> Self {
        Self {
            tags: Vec::new(),
            src_mac: CALLER_MAC,
            src: (CALLER.into(), 4000),
            dst: (HOST.into(), port),
            proto: Protocol::UDP.0,
            ttl: 64,
            payload: b"eighteen bytes in.".to_vec(),
        }
    }

    /// The same over IPv6.
    pub(crate) fn v6(self) -> Self {
        Self { src: (CALLER6.into(), self.src.1), dst: (HOST6.into(), self.dst.1), ..self }
    }

    pub(crate) fn addresses(&self) -> Addresses {
        match (self.src.0, self.dst.0) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Addresses::V4(src, dst),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Addresses::V6(src, dst),
            mixed => panic!("{mixed:?}"),
        }
    }

    /// Its bytes, all checksums complete.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = [HOST_MAC, self.src_mac].concat();
        for (nth, tag) in self.tags.iter().enumerate() {
            let outer = nth + 1 < self.tags.len();
            frame.extend([if outer { [0x88, 0xa8] } else { [0x81, 0x00] }, tag.to_be_bytes()].concat());
        }
        let udp = self.udp();
        match self.addresses() {
            Addresses::V4(src, dst) => {
                let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, self.ttl, self.proto, 0, 0];
                ip.extend([src.octets(), dst.octets()].concat());
                ip[2..4].copy_from_slice(&(20 + udp.len() as u16).to_be_bytes());
                let sum = Sum::of(&ip).complement();
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend([&[0x08, 0x00], &ip[..]].concat());
            }
            Addresses::V6(src, dst) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, udp.len() as u8, self.proto, self.ttl]);
                frame.extend([src.octets(), dst.octets()].concat());
            }
        }
        frame.extend(udp);
        frame
    }

    fn udp(&self) -> Vec<u8> {
        let len = 8 + self.payload.len() as u16;
        let mut udp = [self.src.1, self.dst.1, len, 0].map(u16::to_be_bytes).concat();
        udp.extend(&self.payload);
        let pseudo = self.addresses().pseudo_header(Protocol(self.proto), u32::from(len));
        let sum = match pseudo.plus(Sum::of(&udp)).complement() {
            0 => 0xffff,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        udp
    }

    /// The metadata that XDP would leave, for a target with these numbers.
    pub(crate) fn meta(&self, builtin: Builtin, tuple: TupleId) -> RxMeta {
        let l3 = 14 + 4 * self.tags.len();
        let (ipv6, ip_len) = if self.dst.0.is_ipv6() { (flag::IPV6, 40) } else { (0, 20) };
        let tagged = if self.tags.is_empty() { 0 } else { flag::TAGGED };
        RxMeta {
            magic: abi::rxmeta::MAGIC,
            kind: abi::steer::kind::BUILTIN,
            flags: ipv6 | tagged,
            id: builtin.id(),
            generation: tuple.raw(),
            class: abi::rxmeta::CLASS_NONE,
            class_gen: 0,
            l3_off: l3 as u8,
            l4_off: (l3 + ip_len) as u16,
            frame_len: self.frame().len() as u16,
        }
    }
}

/// The host's registrations.
pub(crate) struct Host {
    pub(crate) registry: Registry,
    pub(crate) echo: TupleId,
    pub(crate) sink: TupleId,
}

impl Host {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::new(Limits::default());
        let nothing = |_: &_| Ok::<(), std::convert::Infallible>(());
        let addresses = [HOST.into(), HOST6.into()];
        registry.set_addresses(&addresses).expect("few").carry_out(nothing).expect("cannot fail");
        let mut add = |port, builtin| {
            let tuple = Tuple::new(Proto::Udp, Address::Any, port).expect("a legal tuple");
            let wanted = Registration { tuple, builtin, on_crash: OnCrash::Drop };
            registry.add(wanted).expect("free").carry_out(nothing).expect("cannot fail")
        };
        let (echo, sink) = (add(ECHO, Builtin::Echo), add(SINK, Builtin::Sink));
        Self { registry, echo, sink }
    }

    pub(crate) fn mirror(&self) -> Arc<Mirror> {
        Arc::clone(self.registry.mirror())
    }

    /// What XDP would leave before this frame.
    pub(crate) fn meta(&self, frame: &[u8]) -> RxMeta {
        match steer(frame, &config(&[]), &*self.mirror()) {
            Outcome::Redirect { meta, .. } => meta,
            Outcome::Pass(reason) => panic!("not for this host: {reason:?}"),
        }
    }

    /// Ends the echo.
    pub(crate) fn remove_echo(&mut self) {
        let nothing = |_: &_| Ok::<(), std::convert::Infallible>(());
        self.registry.remove(self.echo).expect("there").carry_out(nothing).expect("cannot fail");
    }
}

/// The host's interface.
pub(crate) fn config(vlan: &[u16]) -> PortConfig {
    let mut config = PortConfig { mac: HOST_MAC, tags: vlan.len() as u8, ..PortConfig::default() };
    config.vlan[..vlan.len()].copy_from_slice(vlan);
    config
}
