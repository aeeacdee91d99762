//! IPv6: the fixed header and a bounded walk over extension headers.
//!
//! Stepped over are hop-by-hop, destination options, routing with no segments left, and the fragment header of a whole
//! or a first fragment: at most four of them and 256 bytes. Whatever else stands there is the OS stack's.
use abi::{counter::XdpCounter, rxmeta::flag};

use super::{Datagram, Network, Part};
use crate::frame::{Frame, Words};

pub(super) const HEADER: usize = 40;
/// Most extension headers stepped over.
const MAX_HEADERS: usize = 4;
/// Most bytes of extension headers stepped over.
const MAX_BYTES: usize = 256;
/// The fragment offset in a fragment header's second word.
const OFFSET: u16 = 0xFFF8;
/// The M flag beside it.
const MORE_FRAGMENTS: u16 = 1;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Rules 6, 8, 10 and 11, on the header at `l3`.
#[inline(always)]
pub fn parse(frame: Frame, l3: usize) -> Result<Network, XdpCounter> {
    let ip = frame.words::<20>(l3).ok_or(XdpCounter::PassBadHeader)?;
    let payload = usize::from(ip.be::<2>());
    let fixed_end = l3 + HEADER;
    let end = fixed_end + payload;
    let (version, hop_limit) = (ip.first::<0>() >> 4, ip.second::<3>());
    if version != 6 || payload == 0 || frame.len() < end || hop_limit == 0 {
        return Err(XdpCounter::PassBadHeader);
    }
    let dst = [ip.pair::<12, 13>(), ip.pair::<14, 15>(), ip.pair::<16, 17>(), ip.pair::<18, 19>()];
    let src = source(ip);
    if is_impossible_source(src) || is_unspecified_or_mapped(dst) {
        return Err(XdpCounter::PassMartian);
    }
    let mut chain = Chain { proto: ip.first::<3>(), l4_off: fixed_end, part: Part::Whole };
    let walked = walk(frame, &mut chain, fixed_end, end);
    let Chain { proto, l4_off, part } = chain;
    let options = if l4_off == fixed_end && matches!(part, Part::Whole) { 0 } else { flag::OPTIONS };
    let flags = flag::IPV6 | options;
    Ok(Network { src, dst, part, flags, l3_off: l3, l4_off, proto: walked.map(|()| proto), end })
}

/// The source of the header, as it lies in memory.
#[inline(always)]
pub(super) fn source(ip: Words<20>) -> [u32; 4] {
    [ip.pair::<4, 5>(), ip.pair::<6, 7>(), ip.pair::<8, 9>(), ip.pair::<10, 11>()]
}

/// `::`, `::1`, multicast, IPv4-mapped.
#[inline(always)]
fn is_impossible_source(address: [u32; 4]) -> bool {
    let is_loopback = address[..3] == [0; 3] && address[3] == u32::from_be(1);
    address[0] as u8 == 0xFF || is_loopback || is_unspecified_or_mapped(address)
}

#[inline(always)]
fn is_unspecified_or_mapped(address: [u32; 4]) -> bool {
    let [a, b, c, d] = address;
    a == 0 && b == 0 && (c == u32::from_be(0xFFFF) || (c == 0 && d == 0))
}

/// How far the chain of extension headers has been read.
struct Chain {
    /// The number of the header at `l4_off`.
    proto: u8,
    l4_off: usize,
    part: Part,
}

/// Rules 10 and 11: steps over the extension headers from `at`; `end` is where the packet ends. A later fragment ends the
/// walk; what follows its header is no header.
#[inline(always)]
fn walk(frame: Frame, chain: &mut Chain, at: usize, end: usize) -> Result<(), XdpCounter> {
    for i in 0..MAX_HEADERS {
        if !is_stepped_over(chain.proto) {
            break;
        }
        if chain.proto == HOP_BY_HOP && i != 0 {
            return Err(XdpCounter::PassExtHeader);
        }
        step(frame, chain, end)?;
        if let Part::Later(_) = chain.part {
            return Ok(());
        }
        if MAX_BYTES < chain.l4_off - at {
            return Err(XdpCounter::PassExtHeader);
        }
        if end < chain.l4_off {
            return Err(XdpCounter::PassBadHeader);
        }
    }
    match chain.proto {
        // A fifth header; or ESP, AH, none, mobility, HIP, shim6, experimental.
        proto if is_stepped_over(proto) => Err(XdpCounter::PassExtHeader),
        50 | 51 | 59 | 135 | 139 | 140 | 253 | 254 => Err(XdpCounter::PassExtHeader),
        _ => Ok(()),
    }
}

#[inline(always)]
fn is_stepped_over(proto: u8) -> bool {
    matches!(proto, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

/// Rules 10a to 10d: over the header that `chain` ends at.
#[inline(always)]
fn step(frame: Frame, chain: &mut Chain, end: usize) -> Result<(), XdpCounter> {
    let (proto, at) = (chain.proto, chain.l4_off);
    let in_first = matches!(chain.part, Part::First(_));
    if proto == FRAGMENT && in_first {
        return Err(XdpCounter::PassExtHeader);
    }
    if end < at + 8 {
        return Err(XdpCounter::PassBadHeader);
    }
    // It is there, for the packet ends in the frame; only the verifier does not know.
    let header = frame.words::<4>(at).ok_or(XdpCounter::PassBadHeader)?;
    if proto == ROUTING && header.second::<1>() != 0 {
        return Err(XdpCounter::PassExtHeader);
    }
    let next = header.first::<0>();
    let mut len = 8;
    if proto == FRAGMENT {
        let datagram = Datagram { id: header.pair::<2, 3>(), proto: next };
        let offset_more = header.be::<1>();
        chain.part = match (offset_more & OFFSET, offset_more & MORE_FRAGMENTS) {
            (0, 0) => chain.part,
            (0, _) => Part::First(datagram),
            _ => Part::Later(datagram),
        };
    } else {
        len += usize::from(header.second::<0>()) * 8;
    }
    (chain.proto, chain.l4_off) = (next, at + len);
    Ok(())
}
