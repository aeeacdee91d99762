//! Whose is this frame: the slow, obviously right twin of the XDP program `steer`, and the worker's re-parse.
//!
//! It keeps no state, believes no length it has not checked, and never decides what a target does with a packet.
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
//! | 10a | four were stepped over already; or it is hop-by-hop (0) and not the first | [`PassExtHeader`] |
//! | 10b | its first 8 bytes do not lie before *end* | [`PassBadHeader`] |
//! | 10c | routing (43) with segments left ≠ 0 | [`PassExtHeader`] |
//! | 10d | fragment (44) with offset ≠ 0 or the M flag; its other bits are ignored | [`PassFragment`] |
//! | 10e | with it (length byte · 8 + 8; a fragment header always 8) the chain is longer than 256 bytes | [`PassExtHeader`] |
//! | 10f | it does not lie before *end* | [`PassBadHeader`] |
//! | 11 | IPv6: the next header after the chain is ESP 50, AH 51, none 59, mobility 135, HIP 139, shim6 140 or experimental 253, 254 | [`PassExtHeader`] |
//! | 12 | IPv4: fragment offset ≠ 0 or MF (DF and the reserved bit are ignored) | [`PassFragment`] |
//! | 13 | fewer than 8 bytes between the transport header and *end* | [`PassBadHeader`] |
//! | 14 | protocol 1 or 58, over either IP version | [`PassIcmp`] |
//! | 15 | protocol other than 6, 17, 33, 132, 136 (IGMP, GRE, …) | [`PassProtocol`] |
//! | 16 | look up (destination address, destination port, protocol); the port is bytes 2 and 3 of the transport header, an IPv4 address is written ::ffff:a.b.c.d. Found: rule 19 | |
//! | 17 | not found, the interface has [`TRANSIT`], and no option or extension header was stepped over: look up once more with address `::` ([`SteerKey::any`]). Found: rule 19 | |
//! | 18 | not found | [`PassMiss`] |
//! | 19 | hit | redirect to the socket of the receiving queue |
//!
//! [`RxMeta`] after a hit: `magic` [`MAGIC`]; `kind`, `id`, `generation` from the [`Target`]; `l3_off`; `l4_off` the
//! transport header's offset in the frame; `frame_len` the frame's length, padding included; `flags`:
//! [`TAGGED`] if `tags` ≠ 0 (so a priority tag alone does not set it, though it moves `l3_off`),
//! [`IPV6`], [`OPTIONS`] if IHL > 5 or at least one extension header (an atomic fragment's too) was stepped over;
//! `class` and `class_gen` are what the header program left, [`CLASS_NONE`] and 0 without one, and so always here.
//!
//! What only XDP can see comes after rule 19, in this order: a class with [`CLASS_REJECT`] drops (`RulerReject`); no
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
//! - Fragments and ICMP errors of owned tuples will be redirected once there is state to know them by; until
//!   then rules 10d, 12 and 14 leave all of them to the OS.
//!
//! [`PassBadHeader`]: XdpCounter::PassBadHeader
//! [`PassOtherHost`]: XdpCounter::PassOtherHost
//! [`PassVlan`]: XdpCounter::PassVlan
//! [`PassEthertype`]: XdpCounter::PassEthertype
//! [`PassMartian`]: XdpCounter::PassMartian
//! [`PassExtHeader`]: XdpCounter::PassExtHeader
//! [`PassFragment`]: XdpCounter::PassFragment
//! [`PassIcmp`]: XdpCounter::PassIcmp
//! [`PassProtocol`]: XdpCounter::PassProtocol
//! [`PassMiss`]: XdpCounter::PassMiss
//! [`TAGGED`]: flag::TAGGED
//! [`IPV6`]: flag::IPV6
//! [`OPTIONS`]: flag::OPTIONS
//! [`CLASS_REJECT`]: abi::rxmeta::CLASS_REJECT
//! [`ON_CRASH_PASS`]: abi::steer::target_flag::ON_CRASH_PASS
use core::net::Ipv6Addr;

use abi::counter::XdpCounter;
use abi::port::{MAX_TAGS, PortConfig, TRANSIT};
use abi::rxmeta::{CLASS_NONE, MAGIC, RxMeta, flag};
use abi::steer::{SteerKey, Target, mapped};
use wire::ethernet::{EtherType, Frame};
use wire::ip::Protocol;
use wire::ipv6_walk::{Stop, walk};
use wire::{Malformed, ethernet, ipv4, ipv6, udp, vlan};

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

/// What rules 1 to 15 find in a whole packet of a protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The exact key: destination address and port, protocol.
    pub key: SteerKey,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Offset of the network header in the frame: 14, 18 or 22.
    pub l3_off: u8,
    /// Offset of the transport header in the frame.
    pub l4_off: u16,
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

/// Rules 1 to 15: the tuple of a frame, or why it has none.
///
/// # Errors
/// The counter of the first rule that applies; it is always one whose role is `Passed`.
pub fn parse(frame: &[u8], port: &PortConfig) -> Result<Parsed, XdpCounter> {
    let (ethertype, l3_off) = link(frame, port)?;
    let packet = &frame[l3_off..];
    let network = match ethertype {
        EtherType::IPV4 => network_v4(packet)?,
        EtherType::IPV6 => network_v6(packet)?,
        _ => return Err(XdpCounter::PassEthertype),
    };
    let segment = packet.get(network.l4_off..network.end).ok_or(XdpCounter::PassBadHeader)?;
    let dst_port = transport(segment, network.protocol)?;
    let tagged = if port.tags == 0 { 0 } else { flag::TAGGED };
    Ok(Parsed {
        key: SteerKey::v6(network.protocol.0, network.dst, dst_port),
        flags: network.flags | tagged,
        l3_off: l3_off as u8,
        l4_off: (l3_off + network.l4_off) as u16,
    })
}

/// All rules: where a frame goes, and with which metadata.
pub fn steer(frame: &[u8], port: &PortConfig, table: &impl Table) -> Outcome {
    let parsed = match parse(frame, port) {
        Ok(parsed) => parsed,
        Err(reason) => return Outcome::Pass(reason),
    };
    let transit = port.flags & TRANSIT != 0 && parsed.flags & flag::OPTIONS == 0;
    let second = || if transit { table.get(&parsed.key.any()) } else { None };
    match table.get(&parsed.key).or_else(second) {
        Some(target) => Outcome::Redirect { target, meta: meta(frame, &parsed, &target) },
        None => Outcome::Pass(XdpCounter::PassMiss),
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

/// What the network layer says of a whole packet. Offsets are in the packet.
struct Network {
    dst: [u8; 16],
    protocol: Protocol,
    flags: u8,
    l4_off: usize,
    end: usize,
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
    if ip.is_fragment() {
        return Err(XdpCounter::PassFragment);
    }
    Ok(Network {
        dst: mapped(ip.dst().octets()),
        protocol: ip.protocol(),
        flags: if ip.options().is_empty() { 0 } else { flag::OPTIONS },
        l4_off: ip.header_len(),
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
    let upper = walk(ip.next_header(), ip.payload()).map_err(|stop| match stop {
        Stop::Malformed => XdpCounter::PassBadHeader,
        Stop::Fragment => XdpCounter::PassFragment,
        Stop::TooLong | Stop::Misplaced | Stop::SegmentsLeft | Stop::Opaque(_) => XdpCounter::PassExtHeader,
    })?;
    Ok(Network {
        dst: ip.dst().octets(),
        protocol: upper.protocol,
        flags: flag::IPV6 | if upper.headers == 0 { 0 } else { flag::OPTIONS },
        l4_off: ipv6::HEADER_LEN + upper.offset,
        end: ip.total_len(),
    })
}

/// Rules 13 to 15: the destination port. All protocols with ports have them where UDP has.
fn transport(segment: &[u8], protocol: Protocol) -> Result<u16, XdpCounter> {
    if segment.len() < udp::HEADER_LEN {
        return Err(XdpCounter::PassBadHeader);
    }
    match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => Err(XdpCounter::PassIcmp),
        protocol if protocol.has_ports() => Ok(udp::Packet::new_unchecked(segment).dst_port()),
        _ => Err(XdpCounter::PassProtocol),
    }
}

const fn bad_header(_: Malformed) -> XdpCounter {
    XdpCounter::PassBadHeader
}

#[cfg(test)]
mod tests;
