//! Whose is this frame: the slow, obviously right twin of the XDP program `steer`, and the worker's re-parse.
//!
//! It keeps no state (what a fragment changes for the next one is part of the answer), believes no length it has not
//! checked, and never decides what a target does with a packet.
//!
//! # The rules
//!
//! This table is normative: `xdp-ebpf`, this module and the oracle in `tests/` must agree on every frame, in the
//! verdict, in the counter and in all 16 bytes of [`RxMeta`]. Rules are tried in the order of their numbers, and
//! the first that applies ends the work. *Frame* is everything from the destination MAC to the last byte that
//! was received; *end* is the end of the IP packet, which may lie before the end of the frame (padding).
//!
//! | # | condition | outcome |
//! |---|---|---|
//! | 1 | the frame is shorter than 14 or longer than 65,535 bytes | [`PassBadHeader`] |
//! | 2 | the destination MAC is not [`PortConfig::mac`] (other host, multicast, broadcast) | [`PassOtherHost`] |
//! | 3 | walk the tags: EtherType 0x8100 or 0x88a8 opens a tag of 4 bytes, in any mixture and order. | |
//! | 3a | a third tag opens, whatever its VID | [`PassVlan`] |
//! | 3b | a tag (its TCI and the EtherType after it) does not fit the frame | [`PassBadHeader`] |
//! | 3c | the tags whose VID (low 12 bits of the TCI) is not 0 differ from `vlan[..tags]`, in number, value or order, outermost first. Tags with VID 0 are stepped over, wherever they stand; PCP, DEI and TPID are not compared | [`PassVlan`] |
//! | 4 | the EtherType after the tags is neither 0x0800 nor 0x86dd. Now `l3` is 14, 18 or 22 | [`PassEthertype`] |
//! | 5 | IPv4 header: the frame ends before `l3 + 20`; version ≠ 4; IHL < 5; total length < IHL·4; `l3` + total length beyond the frame; TTL 0. *End* is `l3` + total length | [`PassBadHeader`] |
//! | 6 | IPv6 header: the frame ends before `l3 + 40`; version ≠ 6; payload length 0 (jumbogram); `l3 + 40` + payload length beyond the frame; hop limit 0. *End* is `l3 + 40` + payload length | [`PassBadHeader`] |
//! | 7 | IPv4 source in 0/8, 127/8 or 224/3 | [`PassMartian`] |
//! | 8 | IPv6 source `::`, `::1`, in ff00::/8 or in ::ffff:0:0/96; or IPv6 destination `::` or in ::ffff:0:0/96 | [`PassMartian`] |
//! | 9 | IPv4 options are stepped over unread: the transport header is at `l3` + IHL·4 | |
//! | 10 | IPv6 extension headers, in their order, from `l3 + 40`, while next header is 0, 43, 44 or 60. For each: | |
//! | 10a | four were stepped over already; or it is hop-by-hop (0) and not the first; or it is a fragment header (44) behind a first fragment's | [`PassExtHeader`] |
//! | 10b | its first 8 bytes do not lie before *end* | [`PassBadHeader`] |
//! | 10c | routing (43) with segments left ≠ 0 | [`PassExtHeader`] |
//! | 10d | fragment (44); its other bits are ignored. Offset ≠ 0: a *later fragment*, whose identity is (source, destination, the identification, the next header it names) | rule 20 |
//! | | Offset 0 and the M flag: a *first fragment* of that identity. It is stepped over, as is one with neither (atomic) | |
//! | 10e | with it (length byte · 8 + 8; a fragment header always 8) the chain is longer than 256 bytes | [`PassExtHeader`] |
//! | 10f | it does not lie before *end* | [`PassBadHeader`] |
//! | 11 | IPv6: the next header after the chain is ESP 50, AH 51, none 59, mobility 135, HIP 139, shim6 140 or experimental 253, 254 | [`PassExtHeader`] |
//! | 12 | IPv4 (DF and the reserved bit are ignored). Fragment offset ≠ 0: a *later fragment*, whose identity is (source, destination, identification, protocol) | rule 20 |
//! | | Offset 0 and MF: a *first fragment* of that identity | |
//! | 13 | fewer than 8 bytes between the transport header and *end* | [`PassBadHeader`] |
//! | 14 | protocol 1 over IPv4 or 58 over IPv6, of a whole packet: rule 22. Otherwise protocol 1 or 58 | [`PassIcmp`] |
//! | 15 | protocol other than 6, 17, 33, 132, 136 (IGMP, GRE, …) | [`PassProtocol`] |
//! | 16 | look up (destination address, destination port, protocol); the port is bytes 2 and 3 of the transport header, an IPv4 address is written ::ffff:a.b.c.d. Found: rule 19 | |
//! | 17 | not found, the interface has [`TRANSIT`], the packet is whole, and no option or extension header was stepped over: look up once more with address `::` ([`SteerKey::any`]). Found: rule 19 | |
//! | 18 | not found | [`PassMiss`] |
//! | 19 | hit | redirect to the socket of the receiving queue |
//! | 20 | a later fragment: look its identity up among the datagrams. Found, and not older than 30 s | redirect, as the first |
//! | 20a | found, and older | [`PassFragExpired`] |
//! | 20b | not found | [`PassFragment`] |
//! | 21 | a first fragment after a hit enters its identity and the target, for 30 s from now. A first fragment that passes, for whatever reason is found after rule 10d or 12, makes its identity forgotten. Nothing else changes the datagrams | |
//! | 22 | ICMP type 3, 11 or 12, or ICMPv6 type below 128, and all of: behind its 8 bytes an IP header of the same version lies whole before *end* (IPv4: IHL ≥ 5, fragment offset 0); its source is this packet's destination; a protocol with ports (rule 15) and 8 bytes of it follow directly, before *end*; (that source, the source port, that protocol) is found, and the target has [`ICMP`] | redirect |
//! | 22a | any of it is not so | [`PassIcmp`] |
//!
//! [`RxMeta`] of a redirect: `magic` [`MAGIC`]; `kind`, `id`, `generation` from the [`Target`]; `l3_off`; `l4_off` the
//! transport or ICMP header's offset in the frame, 0 of a later fragment; `frame_len` the frame's length, padding
//! included; `flags`: [`FRAG_FIRST`], [`FRAG_LATER`], [`ICMP_ERROR`] by rules 19, 20 and 22;
//! [`TAGGED`] if `tags` ≠ 0 (so a priority tag alone does not set it, though it moves `l3_off`),
//! [`IPV6`], [`OPTIONS`] if IHL > 5 or at least one extension header (a fragment header too, of any kind) was met;
//! `class` and `class_gen` are what the header program left, [`CLASS_NONE`] and 0 without one, and so always here.
//!
//! What only XDP can see comes after these rules, rule 21 included, in this order: a class with [`CLASS_REJECT`] drops (`RulerReject`); no
//! socket for the queue passes or drops (`PassNoSocket`, `DropNoSocket`, by [`ON_CRASH_PASS`]); metadata that the driver
//! refused does not change the verdict (`Redirect`, and the note `NoMeta`).
//!
//! # Why
//!
//! - Every malformed frame passes, for the OS drops and counts it as it always did; none is redirected. Nothing
//!   here verifies a checksum: the worker does that for IPv4 headers, the stack for its transport.
//! - Rule 8 guards the table: without it an IPv6 packet to ::ffff:192.0.2.1 would spell the key of an IPv4 tuple,
//!   and one to `::` the key of a transit service. Linux drops mapped sources for the same reason.
//! - Rule 13 stands after the fragments because the last fragment of a datagram may hold one byte.
//! - Rule 10a: RFC 8200 section 4.1 allows any order and number, but hop-by-hop directly after the fixed header only.
//! - Rule 13 is what makes rule 20 safe: the ports are in the first 8 bytes, no later fragment has an offset below 8, so
//!   none can write over the ports that its datagram was steered by (RFC 1858, RFC 3128).
//! - Rule 20b: it may belong to a socket of the OS. Without the first fragment the OS can neither assemble nor answer it.
//! - Rule 21 forgets, because senders use numbers again: what follows a first fragment of nobody's must not go to whoever
//!   owned the last datagram of that number. A later fragment that overtakes its own first still follows the datagram
//!   before it for up to 30 s; a stack that assembles by the same identity would mix the two as well.
//! - Rule 22 wants the quoted source to be the address that the error came to: an error for another host, which this
//!   one routes, and a forged one that quotes us, stay with the OS. It looks at no extension header in the quoted packet:
//!   stacks send none. An error that is itself a fragment is nobody's.
//!
//! [`PassBadHeader`]: XdpCounter::PassBadHeader
//! [`PassOtherHost`]: XdpCounter::PassOtherHost
//! [`PassVlan`]: XdpCounter::PassVlan
//! [`PassEthertype`]: XdpCounter::PassEthertype
//! [`PassMartian`]: XdpCounter::PassMartian
//! [`PassExtHeader`]: XdpCounter::PassExtHeader
//! [`PassFragment`]: XdpCounter::PassFragment
//! [`PassIcmp`]: XdpCounter::PassIcmp
//! [`PassFragExpired`]: XdpCounter::PassFragExpired
//! [`FRAG_FIRST`]: flag::FRAG_FIRST
//! [`FRAG_LATER`]: flag::FRAG_LATER
//! [`ICMP_ERROR`]: flag::ICMP_ERROR
//! [`PassProtocol`]: XdpCounter::PassProtocol
//! [`PassMiss`]: XdpCounter::PassMiss
//! [`TAGGED`]: flag::TAGGED
//! [`IPV6`]: flag::IPV6
//! [`OPTIONS`]: flag::OPTIONS
//! [`CLASS_REJECT`]: abi::rxmeta::CLASS_REJECT
//! [`ON_CRASH_PASS`]: abi::steer::target_flag::ON_CRASH_PASS
//! [`ICMP`]: abi::steer::target_flag::ICMP
use core::net::Ipv6Addr;
use core::time::Duration;

use abi::counter::XdpCounter;
use abi::fragment::{FragEntry, FragKey};
use abi::port::{MAX_TAGS, PortConfig, TRANSIT};
use abi::rxmeta::{CLASS_NONE, MAGIC, RxMeta, flag};
use abi::steer::{SteerKey, Target, mapped, target_flag};
use wire::ethernet::{EtherType, Frame};
use wire::ip::{FragmentOffset, Protocol};
use wire::ipv6_walk::{Stop, walk};
use wire::{Malformed, ethernet, ipv4, ipv6, udp, vlan};

use crate::fragment::{Change, Forgetful, Fragments, is_live};

mod quote;

/// What a frame's tuple is looked up in: the steering map, or a worker's mirror of it.
pub trait Table {
    /// The target of exactly this key.
    fn get(&self, key: &SteerKey) -> Option<Target>;
}

impl<T: Table + ?Sized> Table for &T {
    fn get(&self, key: &SteerKey) -> Option<Target> {
        (**self).get(key)
    }
}

impl Table for std::collections::BTreeMap<SteerKey, Target> {
    fn get(&self, key: &SteerKey) -> Option<Target> {
        Self::get(self, key).copied()
    }
}

/// By what a frame's owner is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A whole packet: destination address and port, protocol.
    Whole(SteerKey),
    /// A first fragment: the same, and which datagram it begins.
    First(SteerKey, FragKey),
    /// A later fragment of this datagram.
    Later(FragKey),
    /// An ICMP error that quotes a packet of this tuple: source address and port, protocol.
    Error(SteerKey),
}

/// What rules 1 to 15 find in a frame that may have an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// By what to look for the owner.
    pub subject: Subject,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Offset of the network header in the frame: 14, 18 or 22.
    pub l3_off: u8,
    /// Offset of the transport or ICMP header in the frame; 0 if there is none.
    pub l4_off: u16,
}

/// Why rules 1 to 15 find no owner possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The counter of the first rule that applies; its role is `Passed`.
    pub reason: XdpCounter,
    /// The datagram that the frame begins, if it is a first fragment.
    pub first_of: Option<FragKey>,
}

impl From<XdpCounter> for Refused {
    fn from(reason: XdpCounter) -> Self {
        Self { reason, first_of: None }
    }
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To the socket of its queue.
    Redirect {
        /// What the table says of its tuple.
        target: Target,
        /// The 16 bytes that XDP leaves before the packet.
        meta: RxMeta,
    },
    /// To the OS stack, for this reason.
    Pass(XdpCounter),
}

/// Rules 1 to 15: by what a frame's owner is found, or why it has none.
///
/// # Errors
/// [`Refused`].
pub fn parse(frame: &[u8], port: &PortConfig) -> Result<Parsed, Refused> {
    let (ethertype, l3_off) = link(frame, port)?;
    let packet = &frame[l3_off..];
    let network = match ethertype {
        EtherType::IPV4 => network_v4(packet)?,
        EtherType::IPV6 => network_v6(packet)?,
        _ => return Err(XdpCounter::PassEthertype.into()),
    };
    let tagged = if port.tags == 0 { 0 } else { flag::TAGGED };
    let parsed = |subject, flags, l4_off| Parsed {
        subject,
        flags: network.flags | tagged | flags,
        l3_off: l3_off as u8,
        l4_off,
    };
    let upper = match network.part {
        Part::Later(datagram) => return Ok(parsed(Subject::Later(datagram), flag::FRAG_LATER, 0)),
        Part::First(datagram) => {
            let refused = |reason| Refused { reason, first_of: Some(datagram) };
            network.upper.map_err(refused)?.with_key(packet, &network).map_err(refused)?
        }
        Part::Whole => network.upper?.with_key(packet, &network)?,
    };
    let l4_off = (l3_off + upper.offset) as u16;
    Ok(match (upper.key, network.part) {
        (Key::Quoted(key), _) => parsed(Subject::Error(key), flag::ICMP_ERROR, l4_off),
        (Key::Ports(key), Part::First(datagram)) => {
            parsed(Subject::First(key, datagram), flag::FRAG_FIRST, l4_off)
        }
        (Key::Ports(key), _) => parsed(Subject::Whole(key), 0, l4_off),
    })
}

/// All rules, by somebody who knows no datagrams: an engine that parses again. Each later fragment passes.
pub fn steer(frame: &[u8], port: &PortConfig, table: &impl Table) -> Outcome {
    steer_among(frame, port, table, &Forgetful, Duration::ZERO).0
}

/// All rules: where a frame goes, with which metadata, and what it changes among the datagrams.
pub fn steer_among(
    frame: &[u8],
    port: &PortConfig,
    table: &impl Table,
    datagrams: &impl Fragments,
    now: Duration,
) -> (Outcome, Change) {
    let parsed = match parse(frame, port) {
        Ok(parsed) => parsed,
        Err(Refused { reason, first_of }) => {
            return (Outcome::Pass(reason), first_of.map_or(Change::None, Change::Forget));
        }
    };
    let (found, change) = match parsed.subject {
        Subject::Whole(key) => {
            let transit = port.flags & TRANSIT != 0 && parsed.flags & flag::OPTIONS == 0;
            let second = || if transit { table.get(&key.any()) } else { None };
            (table.get(&key).or_else(second).ok_or(XdpCounter::PassMiss), Change::None)
        }
        Subject::First(key, datagram) => match table.get(&key) {
            Some(target) => (Ok(target), Change::enter(datagram, target, now)),
            None => (Err(XdpCounter::PassMiss), Change::Forget(datagram)),
        },
        Subject::Later(datagram) => (later(datagrams.get(&datagram), now), Change::None),
        Subject::Error(key) => {
            let wants = |target: &Target| target.flags & target_flag::ICMP != 0;
            (table.get(&key).filter(wants).ok_or(XdpCounter::PassIcmp), Change::None)
        }
    };
    let outcome = match found {
        Ok(target) => Outcome::Redirect { target, meta: meta(frame, &parsed, &target) },
        Err(reason) => Outcome::Pass(reason),
    };
    (outcome, change)
}

/// Rule 20.
fn later(entry: Option<FragEntry>, now: Duration) -> Result<Target, XdpCounter> {
    match entry {
        Some(entry) if is_live(&entry, now) => Ok(entry.target),
        Some(_) => Err(XdpCounter::PassFragExpired),
        None => Err(XdpCounter::PassFragment),
    }
}

fn meta(frame: &[u8], parsed: &Parsed, target: &Target) -> RxMeta {
    RxMeta {
        magic: MAGIC,
        kind: target.kind,
        flags: parsed.flags,
        id: target.id,
        generation: target.generation,
        class: CLASS_NONE,
        class_gen: 0,
        l3_off: parsed.l3_off,
        l4_off: parsed.l4_off,
        frame_len: frame.len() as u16,
    }
}

/// Rules 1 to 3: what the network layer is, and where it begins.
fn link(frame: &[u8], port: &PortConfig) -> Result<(EtherType, usize), XdpCounter> {
    if usize::from(u16::MAX) < frame.len() {
        return Err(XdpCounter::PassBadHeader);
    }
    let header = Frame::new_checked(frame).map_err(bad_header)?;
    if header.dst().0 != port.mac {
        return Err(XdpCounter::PassOtherHost);
    }
    let (mut ethertype, mut l3_off) = (header.ethertype(), ethernet::HEADER_LEN);
    let (mut vids, mut tags) = ([0; MAX_TAGS], 0);
    while ethertype.is_tag() {
        if l3_off == ethernet::HEADER_LEN + MAX_TAGS * vlan::TAG_LEN {
            return Err(XdpCounter::PassVlan);
        }
        let tag = vlan::Packet::new_checked(&frame[l3_off..]).map_err(bad_header)?;
        if tag.tci().vid() != vlan::Vid::NONE {
            vids[tags] = tag.tci().vid().get();
            tags += 1;
        }
        ethertype = tag.ethertype();
        l3_off += vlan::TAG_LEN;
    }
    if port.vlan.get(..usize::from(port.tags)) != Some(&vids[..tags]) {
        return Err(XdpCounter::PassVlan);
    }
    Ok((ethertype, l3_off))
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    First(FragKey),
    Later(FragKey),
}

impl Part {
    fn of(offset: FragmentOffset, more: bool, datagram: FragKey) -> Self {
        match (offset, more) {
            (FragmentOffset::ZERO, false) => Self::Whole,
            (FragmentOffset::ZERO, true) => Self::First(datagram),
            _ => Self::Later(datagram),
        }
    }
}

/// What the network layer says. Offsets are in the packet.
struct Network {
    dst: [u8; 16],
    flags: u8,
    part: Part,
    /// The transport header, or why there is no way to one. A later fragment has none.
    upper: Result<Upper, XdpCounter>,
    end: usize,
}

#[derive(Clone, Copy)]
struct Upper {
    protocol: Protocol,
    offset: usize,
}

/// Rules 5, 7, 9 and 12.
fn network_v4(packet: &[u8]) -> Result<Network, XdpCounter> {
    let ip = ipv4::Packet::new_checked(packet).map_err(bad_header)?;
    if ip.version() != 4 || ip.ttl() == 0 {
        return Err(XdpCounter::PassBadHeader);
    }
    if let [0 | 127 | 224..=255, ..] = ip.src().octets() {
        return Err(XdpCounter::PassMartian);
    }
    let protocol = ip.protocol();
    let datagram = FragKey::v4(ip.src().octets(), ip.dst().octets(), ip.ident(), protocol.0);
    Ok(Network {
        dst: mapped(ip.dst().octets()),
        flags: if ip.options().is_empty() { 0 } else { flag::OPTIONS },
        part: Part::of(ip.fragment_offset(), ip.more_fragments(), datagram),
        upper: Ok(Upper { protocol, offset: ip.header_len() }),
        end: usize::from(ip.total_len()),
    })
}

/// Rules 6, 8, 10 and 11.
fn network_v6(packet: &[u8]) -> Result<Network, XdpCounter> {
    let ip = ipv6::Packet::new_checked(packet).map_err(bad_header)?;
    if ip.version() != 6 || ip.payload_len() == 0 || ip.hop_limit() == 0 {
        return Err(XdpCounter::PassBadHeader);
    }
    let neither = |addr: Ipv6Addr| addr.is_unspecified() || addr.to_ipv4_mapped().is_some();
    if neither(ip.src()) || ip.src().is_loopback() || ip.src().is_multicast() || neither(ip.dst()) {
        return Err(XdpCounter::PassMartian);
    }
    let way = walk(ip.next_header(), ip.payload());
    let part = way.fragment.map_or(Part::Whole, |header| {
        let datagram = FragKey::v6(ip.src().octets(), ip.dst().octets(), header.ident, header.next_header.0);
        Part::of(header.offset, header.more, datagram)
    });
    let stepped_over = !matches!(way.end, Ok(upper) if upper.headers == 0);
    let upper = way.end.map_err(|stop| match stop {
        Stop::Malformed => XdpCounter::PassBadHeader,
        Stop::LaterFragment => XdpCounter::PassFragment,
        Stop::TooLong | Stop::Misplaced | Stop::SegmentsLeft | Stop::Opaque(_) => XdpCounter::PassExtHeader,
    });
    Ok(Network {
        dst: ip.dst().octets(),
        flags: flag::IPV6 | if stepped_over { flag::OPTIONS } else { 0 },
        part,
        upper: upper.map(|at| Upper { protocol: at.protocol, offset: ipv6::HEADER_LEN + at.offset }),
        end: ip.total_len(),
    })
}

/// What an owner is looked up by.
enum Key {
    /// The packet's own destination.
    Ports(SteerKey),
    /// The source of the packet that an ICMP error quotes.
    Quoted(SteerKey),
}

struct Keyed {
    key: Key,
    offset: usize,
}

impl Upper {
    /// Rules 13 to 15, and the quoted packet of rule 22. All protocols with ports have them where UDP has.
    fn with_key(self, packet: &[u8], network: &Network) -> Result<Keyed, XdpCounter> {
        let Self { protocol, offset } = self;
        let segment = packet.get(offset..network.end).ok_or(XdpCounter::PassBadHeader)?;
        if segment.len() < udp::HEADER_LEN {
            return Err(XdpCounter::PassBadHeader);
        }
        let key = match protocol {
            Protocol::ICMP | Protocol::ICMPV6 => {
                let quoted = match (network.part, protocol, network.flags & flag::IPV6) {
                    (Part::Whole, Protocol::ICMP, 0) => quote::v4(segment),
                    (Part::Whole, Protocol::ICMPV6, flag::IPV6) => quote::v6(segment),
                    _ => None,
                };
                let of_ours = |key: &SteerKey| key.addr == network.dst;
                Key::Quoted(quoted.filter(of_ours).ok_or(XdpCounter::PassIcmp)?)
            }
            _ if protocol.has_ports() => {
                let dst_port = udp::Packet::new_unchecked(segment).dst_port();
                Key::Ports(SteerKey::v6(protocol.0, network.dst, dst_port))
            }
            _ => return Err(XdpCounter::PassProtocol),
        };
        Ok(Keyed { key, offset })
    }
}

const fn bad_header(_: Malformed) -> XdpCounter {
    XdpCounter::PassBadHeader
}

#[cfg(test)]
mod tests;
