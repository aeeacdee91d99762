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
use abi::counter::XdpCounter;
use abi::port::{MAX_TAGS, PortConfig, TRANSIT};
use abi::rxmeta::{CLASS_NONE, MAGIC, RxMeta, flag};
use abi::steer::{SteerKey, Target};

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
    let (l3, ethertype) = link(frame, port)?;
    let network = match ethertype {
        0x0800 => ipv4(frame, l3)?,
        0x86dd => ipv6(frame, l3)?,
        _ => return Err(XdpCounter::PassEthertype),
    };
    let dst_port = transport(frame, &network)?;
    let tagged = if port.tags == 0 { 0 } else { flag::TAGGED };
    Ok(Parsed {
        key: SteerKey { addr: network.dst, port: dst_port, proto: network.proto, zero: 0 },
        flags: network.flags | tagged,
        l3_off: l3 as u8,
        l4_off: network.l4 as u16,
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

/// What the network layer says, once rules 5 to 12 are done with it.
struct Network {
    dst: [u8; 16],
    proto: u8,
    flags: u8,
    l4: usize,
    end: usize,
}

/// Rules 1 to 3: the offset of the network header and the EtherType in force there.
fn link(frame: &[u8], port: &PortConfig) -> Result<(usize, u16), XdpCounter> {
    if frame.len() < 14 || frame.len() > usize::from(u16::MAX) {
        return Err(XdpCounter::PassBadHeader);
    }
    if frame[..6] != port.mac {
        return Err(XdpCounter::PassOtherHost);
    }
    let (mut l3, mut ethertype) = (14, be16(frame, 12)?);
    let (mut seen, mut vids, mut tags) = (0, [0; MAX_TAGS], 0);
    while ethertype == 0x8100 || ethertype == 0x88a8 {
        if seen == MAX_TAGS {
            return Err(XdpCounter::PassVlan);
        }
        let vid = be16(frame, l3)? & 0x0fff;
        ethertype = be16(frame, l3 + 2)?;
        if vid != 0 {
            vids[tags] = vid;
            tags += 1;
        }
        seen += 1;
        l3 += 4;
    }
    if port.vlan.get(..usize::from(port.tags)) != Some(&vids[..tags]) {
        return Err(XdpCounter::PassVlan);
    }
    Ok((l3, ethertype))
}

/// Rules 5, 7, 9 and 12.
fn ipv4(frame: &[u8], l3: usize) -> Result<Network, XdpCounter> {
    let ip = frame.get(l3..l3 + 20).ok_or(XdpCounter::PassBadHeader)?;
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    let total_len = usize::from(be16(ip, 2)?);
    let end = l3 + total_len;
    if ip[0] >> 4 != 4 || header_len < 20 || total_len < header_len || end > frame.len() || ip[8] == 0 {
        return Err(XdpCounter::PassBadHeader);
    }
    if ip[12] == 0 || ip[12] == 127 || ip[12] >= 224 {
        return Err(XdpCounter::PassMartian);
    }
    if be16(ip, 6)? & 0x3fff != 0 {
        return Err(XdpCounter::PassFragment);
    }
    let dst = abi::steer::mapped([ip[16], ip[17], ip[18], ip[19]]);
    let flags = if header_len > 20 { flag::OPTIONS } else { 0 };
    Ok(Network { dst, proto: ip[9], flags, l4: l3 + header_len, end })
}

/// Rules 6, 8, 10 and 11.
fn ipv6(frame: &[u8], l3: usize) -> Result<Network, XdpCounter> {
    let ip = frame.get(l3..l3 + 40).ok_or(XdpCounter::PassBadHeader)?;
    let payload_len = usize::from(be16(ip, 4)?);
    let end = l3 + 40 + payload_len;
    if ip[0] >> 4 != 6 || payload_len == 0 || end > frame.len() || ip[7] == 0 {
        return Err(XdpCounter::PassBadHeader);
    }
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    src.copy_from_slice(&ip[8..24]);
    dst.copy_from_slice(&ip[24..40]);
    let is_mapped = |a: &[u8; 16]| a[..12] == abi::steer::mapped([0; 4])[..12];
    let loopback = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let impossible_src = src == [0; 16] || src == loopback || src[0] == 0xff || is_mapped(&src);
    if impossible_src || dst == [0; 16] || is_mapped(&dst) {
        return Err(XdpCounter::PassMartian);
    }
    let (proto, l4, stepped) = extension_headers(&frame[..end], ip[6], l3 + 40)?;
    let options = if stepped == 0 { 0 } else { flag::OPTIONS };
    Ok(Network { dst, proto, flags: flag::IPV6 | options, l4, end })
}

/// Rules 10 and 11: the upper-layer protocol, its offset, and how many headers stand before it.
fn extension_headers(packet: &[u8], first: u8, at: usize) -> Result<(u8, usize, usize), XdpCounter> {
    let (mut next, mut off, mut stepped) = (first, at, 0);
    while let 0 | 43 | 44 | 60 = next {
        if stepped == 4 || (next == 0 && stepped != 0) {
            return Err(XdpCounter::PassExtHeader);
        }
        let header = packet.get(off..off + 8).ok_or(XdpCounter::PassBadHeader)?;
        if next == 43 && header[3] != 0 {
            return Err(XdpCounter::PassExtHeader);
        }
        if next == 44 && be16(header, 2)? & 0xfff9 != 0 {
            return Err(XdpCounter::PassFragment);
        }
        off += if next == 44 { 8 } else { usize::from(header[1]) * 8 + 8 };
        if off - at > 256 {
            return Err(XdpCounter::PassExtHeader);
        }
        if off > packet.len() {
            return Err(XdpCounter::PassBadHeader);
        }
        next = header[0];
        stepped += 1;
    }
    match next {
        50 | 51 | 59 | 135 | 139 | 140 | 253 | 254 => Err(XdpCounter::PassExtHeader),
        proto => Ok((proto, off, stepped)),
    }
}

/// Rules 13 to 15: the destination port.
fn transport(frame: &[u8], network: &Network) -> Result<[u8; 2], XdpCounter> {
    let header = frame[..network.end].get(network.l4..network.l4 + 8).ok_or(XdpCounter::PassBadHeader)?;
    match network.proto {
        1 | 58 => Err(XdpCounter::PassIcmp),
        6 | 17 | 33 | 132 | 136 => Ok([header[2], header[3]]),
        _ => Err(XdpCounter::PassProtocol),
    }
}

/// Two bytes in network order, or the frame is too short for them.
fn be16(bytes: &[u8], at: usize) -> Result<u16, XdpCounter> {
    match bytes.get(at..at + 2) {
        Some(two) => Ok(u16::from_be_bytes([two[0], two[1]])),
        None => Err(XdpCounter::PassBadHeader),
    }
}
