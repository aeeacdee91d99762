//! The links and addresses of this network namespace, read whole.
//!
//! No list is kept up to date here by replaying events: a listener says that something changed, and everything is read
//! again. That costs two dumps and cannot be wrong.
use std::{io, net::IpAddr};

use nix::{libc, sys::socket::SockProtocol};

use super::{
    fib,
    message::{Message, find, text, u32_at},
    socket::{Asker, Listener},
};

/// One network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index: the same as long as it exists.
    pub index: u32,
    /// Its name now.
    pub name: String,
    /// Whether it is up, by its administrator's word.
    pub up: bool,
    /// Its MTU.
    pub mtu: u32,
    /// Its MAC address; zero for devices that have none.
    pub mac: [u8; 6],
    /// The kind of device that it is enslaved to, as `bridge` or `vrf`; empty where there is none.
    pub enslaved: String,
}

impl Link {
    /// Whether it is part of a VRF.
    #[must_use]
    pub fn is_in_vrf(&self) -> bool {
        self.enslaved == "vrf"
    }
}

/// One local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The device that has it.
    pub index: u32,
    /// The address.
    pub addr: IpAddr,
}

/// Asks for links and addresses.
#[derive(Debug)]
pub struct Route(pub(super) Asker);

/// Bytes of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;
/// The kind of a device's master, `linux/if_link.h`.
const IFLA_INFO_SLAVE_KIND: u16 = 4;
/// Bytes of `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;

impl Route {
    /// Opens the conversation in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open() -> io::Result<Self> {
        Asker::open(SockProtocol::NetlinkRoute).map(Self)
    }

    /// Hears of every change to links and addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn listen() -> io::Result<Listener> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        Listener::open(SockProtocol::NetlinkRoute, groups.cast_unsigned())
    }

    /// Hears of every change to routes, rules, next hops and neighbours, of which there are many more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn listen_to_ways() -> io::Result<Listener> {
        let old = libc::RTMGRP_NEIGH | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;
        // The other groups have numbers, and no bits of their own any more.
        let groups = [libc::RTNLGRP_IPV4_RULE, libc::RTNLGRP_IPV6_RULE, libc::RTNLGRP_NEXTHOP];
        let more = groups.into_iter().fold(0, |mask, group| mask | 1 << (group - 1));
        Listener::open(SockProtocol::NetlinkRoute, old.cast_unsigned() | more)
    }

    /// Every link.
    ///
    /// # Errors
    /// The kernel refuses or is silent.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        let body = |b: super::message::Builder| b.raw(&[0; LINK_HEADER]);
        self.0.ask(libc::RTM_GETLINK, libc::NLM_F_DUMP, body, |message| links.extend(link(message)))?;
        Ok(links)
    }

    /// Every address of every link.
    ///
    /// # Errors
    /// The kernel refuses or is silent.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let mut addresses = Vec::new();
        let body = |b: super::message::Builder| b.raw(&[0; ADDRESS_HEADER]);
        self.0
            .ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, body, |message| addresses.extend(address(message)))?;
        Ok(addresses)
    }
}

fn link(message: &Message<'_>) -> Option<Link> {
    if message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let attributes = message.payload.get(LINK_HEADER..)?;
    let mac = find(attributes, libc::IFLA_ADDRESS).and_then(|mac| mac.first_chunk::<6>());
    Some(Link {
        index: u32_at(message.payload, 4)?,
        name: text(find(attributes, libc::IFLA_IFNAME)?),
        up: u32_at(message.payload, 8)? & libc::IFF_UP.cast_unsigned() != 0,
        mtu: u32_at(find(attributes, libc::IFLA_MTU)?, 0)?,
        mac: mac.copied().unwrap_or_default(),
        enslaved: find(attributes, libc::IFLA_LINKINFO)
            .and_then(|info| find(info, IFLA_INFO_SLAVE_KIND))
            .map(text)
            .unwrap_or_default(),
    })
}

fn address(message: &Message<'_>) -> Option<Address> {
    if message.kind != libc::RTM_NEWADDR {
        return None;
    }
    let family = *message.payload.first()?;
    let index = u32_at(message.payload, 4)?;
    let attributes = message.payload.get(ADDRESS_HEADER..)?;
    // On a point-to-point link IFA_ADDRESS is the peer's; IFA_LOCAL, where there is one, is always ours.
    let bytes = find(attributes, libc::IFA_LOCAL).or_else(|| find(attributes, libc::IFA_ADDRESS))?;
    Some(Address { index, addr: fib::address(family, bytes)? })
}

#[cfg(test)]
mod tests {
    use super::{
        super::message::{Builder, messages},
        *,
    };

    fn one<T>(bytes: &[u8], read: impl Fn(&Message<'_>) -> Option<T>) -> Option<T> {
        messages(bytes).next().and_then(|message| read(&message))
    }

    #[test]
    fn a_link_is_read() {
        let mut header = [0; LINK_HEADER];
        header[4..8].copy_from_slice(&5_u32.to_ne_bytes());
        header[8..12].copy_from_slice(&0x1043_u32.to_ne_bytes());
        let bytes = Builder::new(libc::RTM_NEWLINK, 0, 1)
            .raw(&header)
            .attribute(libc::IFLA_IFNAME, b"veth1\0")
            .attribute(libc::IFLA_MTU, &1500_u32.to_ne_bytes())
            .attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1])
            .nested(libc::IFLA_LINKINFO, |b| b.attribute(IFLA_INFO_SLAVE_KIND, b"vrf\0"))
            .finish();
        let expected = Link {
            index: 5,
            name: "veth1".to_owned(),
            up: true,
            mtu: 1500,
            mac: [2, 0, 0, 0, 0, 1],
            enslaved: "vrf".to_owned(),
        };
        assert!(expected.is_in_vrf());
        assert_eq!(one(&bytes, link), Some(expected));
        assert_eq!(one(&bytes, address), None);
    }

    #[test]
    fn the_local_address_is_ours_and_the_other_the_peers() {
        let mut header = [0; ADDRESS_HEADER];
        header[0] = 2;
        header[4..8].copy_from_slice(&9_u32.to_ne_bytes());
        let bytes = Builder::new(libc::RTM_NEWADDR, 0, 1)
            .raw(&header)
            .attribute(libc::IFA_ADDRESS, &[192, 0, 2, 2])
            .attribute(libc::IFA_LOCAL, &[192, 0, 2, 1])
            .finish();
        let expected = Address { index: 9, addr: [192, 0, 2, 1].into() };
        assert_eq!(one(&bytes, address), Some(expected));
    }

    #[test]
    fn loopback_is_here() {
        let mut route = Route::open().unwrap();
        let links = route.links().unwrap();
        let lo = links.iter().find(|link| link.name == "lo").expect("every namespace has lo");
        let addresses = route.addresses().unwrap();
        let expected = Address { index: lo.index, addr: [127, 0, 0, 1].into() };
        assert!(!lo.up || addresses.contains(&expected), "{addresses:?}");
    }
}
