//! The routes of this network namespace, read whole, as far as somebody who writes Ethernet headers can follow them.
//!
//! Routes into tunnels, and those of a type of service, are left out: what they lead elsewhere, an application cannot reach.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::libc;

use super::{
    message::{Attributes, Builder, Message, find, u16_at, u32_at},
    route::Route,
};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First address of its prefix.
    pub dst: IpAddr,
    /// Length of its prefix.
    pub bits: u8,
    /// For which sources: first address and length of their prefix; `None` for all.
    pub src: Option<(IpAddr, u8)>,
    /// In which table.
    pub table: u32,
    /// Its priority: of equal prefixes the smallest counts.
    pub metric: u32,
    /// Where it leads.
    pub to: To,
}

/// Where an entry leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Away, by one of these.
    Hops(Vec<Hop>),
    /// To this host itself.
    Here,
    /// To everybody on a subnet.
    Broadcast,
    /// Nowhere: blackhole, unreachable, prohibit.
    Nowhere,
    /// To whatever the next rule says.
    Throw,
}

/// One way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The device.
    pub index: u32,
    /// The router; `None` where the destination is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// Bytes of `struct rtmsg`.
const HEADER: usize = 12;
/// Bytes of `struct rtnexthop`.
const NEXT_HOP: usize = 8;
/// A gateway of another family, `linux/rtnetlink.h`.
const RTA_VIA: u16 = 18;
/// A tunnel, `linux/rtnetlink.h`.
const RTA_ENCAP: u16 = 22;
/// The kernel's note of one destination, not a route.
const RTM_F_CLONED: u32 = 0x200;
/// Out of order.
const RTNH_F_DEAD: u32 = 1;

impl Route {
    /// Every route of every table.
    ///
    /// # Errors
    /// The kernel refuses or is silent.
    pub fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let body = |b: Builder| b.raw(&[0; HEADER]);
        self.0.ask(libc::RTM_GETROUTE, libc::NLM_F_DUMP, body, |message| entries.extend(entry(message)))?;
        Ok(entries)
    }
}

fn entry(message: &Message<'_>) -> Option<Entry> {
    let &[family, bits, src_bits, tos, table, _, _, kind, ..] = message.payload.first_chunk::<HEADER>()?;
    let flags = u32_at(message.payload, 8)?;
    let attributes = message.payload.get(HEADER..)?;
    let table = find(attributes, libc::RTA_TABLE).and_then(|t| u32_at(t, 0)).unwrap_or(table.into());
    if message.kind != libc::RTM_NEWROUTE || tos != 0 || flags & (RTM_F_CLONED | RTNH_F_DEAD) != 0 {
        return None;
    }
    let dst = match find(attributes, libc::RTA_DST) {
        Some(bytes) => address(family, bytes)?,
        None if i32::from(family) == libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        None if i32::from(family) == libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        None => return None,
    };
    let src = match find(attributes, libc::RTA_SRC) {
        Some(bytes) if src_bits != 0 => Some((address(family, bytes)?, src_bits)),
        _ => None,
    };
    let metric = find(attributes, libc::RTA_PRIORITY).and_then(|m| u32_at(m, 0)).unwrap_or(0);
    let to = match kind {
        libc::RTN_UNICAST => To::Hops(hops(family, attributes)),
        libc::RTN_LOCAL | libc::RTN_ANYCAST => To::Here,
        libc::RTN_BROADCAST => To::Broadcast,
        libc::RTN_BLACKHOLE | libc::RTN_UNREACHABLE | libc::RTN_PROHIBIT => To::Nowhere,
        libc::RTN_THROW => To::Throw,
        _ => return None,
    };
    Some(Entry { dst, bits, src, table, metric, to })
}

fn hops(family: u8, attributes: &[u8]) -> Vec<Hop> {
    let single = find(attributes, libc::RTA_OIF).and_then(|index| hop(family, u32_at(index, 0)?, attributes));
    let many = find(attributes, libc::RTA_MULTIPATH).unwrap_or_default();
    single.into_iter().chain(multipath(family, many)).collect()
}

fn multipath(family: u8, mut hops: &[u8]) -> impl Iterator<Item = Hop> {
    let parts = std::iter::from_fn(move || {
        let length = usize::from(u16_at(hops, 0)?);
        let part = hops.get(..length).filter(|_| NEXT_HOP <= length)?;
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(part)
    });
    parts.filter_map(move |part| {
        let alive = u32::from(*part.get(2)?) & RTNH_F_DEAD == 0;
        hop(family, u32_at(part, 4)?, part.get(NEXT_HOP..)?).filter(|_| alive)
    })
}

fn hop(family: u8, index: u32, attributes: &[u8]) -> Option<Hop> {
    if Attributes(attributes).any(|(kind, _)| kind == RTA_ENCAP) {
        return None;
    }
    let own = find(attributes, libc::RTA_GATEWAY).map(|bytes| address(family, bytes));
    let other = || {
        let via = find(attributes, RTA_VIA)?;
        Some(address(u16_at(via, 0)? as u8, via.get(2..)?))
    };
    match own.or_else(other) {
        // A gateway that cannot be read is not the same as none.
        Some(gateway) => Some(Hop { index, gateway: Some(gateway?) }),
        None => Some(Hop { index, gateway: None }),
    }
}

/// An address of this family.
pub(super) fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::message::messages, *};

    fn read(build: impl FnOnce(Builder) -> Builder) -> Option<Entry> {
        let bytes = build(Builder::new(libc::RTM_NEWROUTE, 0, 1)).finish();
        messages(&bytes).next().and_then(|message| entry(&message))
    }

    fn header(family: i32, bits: u8, table: u8, kind: u8) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        [header[0], header[1], header[4], header[7]] = [family as u8, bits, table, kind];
        header
    }

    const MAIN: u8 = libc::RT_TABLE_MAIN;

    #[test]
    fn a_route_by_a_router() {
        let found = read(|b| {
            b.raw(&header(libc::AF_INET, 0, MAIN, libc::RTN_UNICAST))
                .attribute(libc::RTA_GATEWAY, &[192, 0, 2, 1])
                .attribute(libc::RTA_OIF, &5_u32.to_ne_bytes())
                .attribute(libc::RTA_PRIORITY, &100_u32.to_ne_bytes())
        });
        let hop = Hop { index: 5, gateway: Some([192, 0, 2, 1].into()) };
        let (dst, table) = (Ipv4Addr::UNSPECIFIED.into(), MAIN.into());
        assert_eq!(
            found,
            Some(Entry { dst, bits: 0, src: None, table, metric: 100, to: To::Hops(vec![hop]) })
        );
    }

    #[test]
    fn what_leads_nowhere_and_what_says_nothing_is_told_apart() {
        let kind = |kind| read(|b| b.raw(&header(libc::AF_INET, 0, MAIN, kind))).map(|entry| entry.to);
        for nowhere in [libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT] {
            assert_eq!(kind(nowhere), Some(To::Nowhere));
        }
        assert_eq!(kind(libc::RTN_THROW), Some(To::Throw));
        assert_eq!(kind(libc::RTN_MULTICAST), None);
    }

    #[test]
    fn a_route_for_some_sources_says_for_which() {
        let mut head = header(libc::AF_INET6, 0, MAIN, libc::RTN_UNICAST);
        head[2] = 64;
        let net: Ipv6Addr = "2001:db8::".parse().unwrap();
        let found = read(|b| {
            let b = b.raw(&head).attribute(libc::RTA_SRC, &net.octets());
            b.attribute(libc::RTA_OIF, &5_u32.to_ne_bytes())
        });
        assert_eq!(found.and_then(|entry| entry.src), Some((net.into(), 64)));
    }

    #[test]
    fn several_ways_and_a_router_of_the_other_family() {
        let router: Ipv6Addr = "fe80::1".parse().unwrap();
        let via = [&(libc::AF_INET6 as u16).to_ne_bytes()[..], &router.octets()].concat();
        let mut first = vec![16, 0, 0, 0, 7, 0, 0, 0];
        first.extend([8, 0, 5, 0, 192, 0, 2, 9]);
        let mut second = vec![0, 0, 0, 0, 8, 0, 0, 0];
        second.extend(((4 + via.len()) as u16).to_ne_bytes());
        second.extend(RTA_VIA.to_ne_bytes());
        second.extend(&via);
        second[0] = second.len() as u8;
        let found = read(|b| {
            b.raw(&header(libc::AF_INET, 24, MAIN, libc::RTN_UNICAST))
                .attribute(libc::RTA_DST, &[198, 51, 100, 0])
                .attribute(libc::RTA_MULTIPATH, &[first, second].concat())
        });
        let hops = vec![
            Hop { index: 7, gateway: Some([192, 0, 2, 9].into()) },
            Hop { index: 8, gateway: Some(router.into()) },
        ];
        assert_eq!(found.map(|entry| entry.to), Some(To::Hops(hops)));
    }

    #[test]
    fn tunnels_and_dead_ways_are_left_out() {
        let route = |table, more: &dyn Fn(Builder) -> Builder| {
            let oif = |b: Builder| b.attribute(libc::RTA_OIF, &5_u32.to_ne_bytes());
            read(|b| more(oif(b.raw(&header(libc::AF_INET, 0, table, libc::RTN_UNICAST)))))
        };
        assert_eq!(route(99, &|b| b).map(|entry| entry.table), Some(99));
        let many = route(0, &|b| b.attribute(libc::RTA_TABLE, &100_000_u32.to_ne_bytes()));
        assert_eq!(many.map(|entry| entry.table), Some(100_000));
        let mut of_a_service = header(libc::AF_INET, 0, MAIN, libc::RTN_UNICAST);
        of_a_service[3] = 0x10;
        assert_eq!(read(|b| b.raw(&of_a_service)), None);
        let dead = [[8, 0, RTNH_F_DEAD as u8, 0, 7, 0, 0, 0], [8, 0, 0, 0, 8, 0, 0, 0]].concat();
        let living = read(|b| {
            b.raw(&header(libc::AF_INET, 0, MAIN, libc::RTN_UNICAST)).attribute(libc::RTA_MULTIPATH, &dead)
        });
        let hop = Hop { index: 8, gateway: None };
        assert_eq!(living.map(|entry| entry.to), Some(To::Hops(vec![hop])));
        let tunnel = route(MAIN, &|b| b.attribute(RTA_ENCAP, &[]));
        assert_eq!(tunnel.map(|entry| entry.to), Some(To::Hops(vec![])));
    }

    #[test]
    fn loopback_is_here() {
        let mut route = Route::open().unwrap();
        let lo = route.links().unwrap().into_iter().find(|link| link.name == "lo").expect("there is lo");
        let entries = route.entries().unwrap();
        let here = |e: &Entry| e.to == To::Here && e.dst == IpAddr::from([127, 0, 0, 1]);
        assert!(!lo.up || entries.iter().any(here), "{entries:?}");
    }
}
