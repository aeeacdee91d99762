//! IPv6: the fixed header and a bounded walk over extension headers.
//!
//! Stepped over are hop-by-hop, destination options, routing with no segments left and atomic fragments: at most
//! four of them and 256 bytes. Whatever else stands there is the OS stack's.
use abi::{counter::XdpCounter, rxmeta::flag};

use super::Network;
use crate::frame::{Frame, Words};

const HEADER: usize = 40;
/// Most extension headers stepped over.
const MAX_HEADERS: usize = 4;
/// Most bytes of extension headers stepped over.
const MAX_BYTES: usize = 256;
/// Fragment offset and M flag of a fragment header.
const FRAGMENT_FIELD: u16 = 0xFFF9;

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
    if is_impossible_source(ip) || is_unspecified_or_mapped(dst) {
        return Err(XdpCounter::PassMartian);
    }
    let chain = walk(frame, ip.first::<3>(), fixed_end, end)?;
    let options = if chain.l4_off == fixed_end { 0 } else { flag::OPTIONS };
    Ok(Network { dst, proto: chain.proto, flags: flag::IPV6 | options, l4_off: chain.l4_off, end })
}

/// `::`, `::1`, multicast, IPv4-mapped.
#[inline(always)]
fn is_impossible_source(ip: Words<20>) -> bool {
    let address = [ip.pair::<4, 5>(), ip.pair::<6, 7>(), ip.pair::<8, 9>(), ip.pair::<10, 11>()];
    let is_loopback = address[..3] == [0; 3] && address[3] == u32::from_be(1);
    ip.first::<4>() == 0xFF || is_loopback || is_unspecified_or_mapped(address)
}

#[inline(always)]
fn is_unspecified_or_mapped(address: [u32; 4]) -> bool {
    let [a, b, c, d] = address;
    a == 0 && b == 0 && (c == u32::from_be(0xFFFF) || (c == 0 && d == 0))
}

/// Where the chain of extension headers ends.
struct Chain {
    proto: u8,
    l4_off: usize,
}

/// Rules 10 and 11: steps over the extension headers from `at`; `end` is where the packet ends.
#[inline(always)]
fn walk(frame: Frame, first: u8, at: usize, end: usize) -> Result<Chain, XdpCounter> {
    let mut chain = Chain { proto: first, l4_off: at };
    for i in 0..MAX_HEADERS {
        if !is_stepped_over(chain.proto) {
            break;
        }
        if chain.proto == HOP_BY_HOP && i != 0 {
            return Err(XdpCounter::PassExtHeader);
        }
        chain = step(frame, chain, end)?;
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
        _ => Ok(chain),
    }
}

#[inline(always)]
fn is_stepped_over(proto: u8) -> bool {
    matches!(proto, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

/// Rules 10b to 10d: what follows the header that `chain` ends at.
#[inline(always)]
fn step(frame: Frame, chain: Chain, end: usize) -> Result<Chain, XdpCounter> {
    let Chain { proto, l4_off: at } = chain;
    if end < at + 8 {
        return Err(XdpCounter::PassBadHeader);
    }
    // It is there, for the packet ends in the frame; only the verifier does not know.
    let header = frame.words::<4>(at).ok_or(XdpCounter::PassBadHeader)?;
    let next = header.first::<0>();
    match proto {
        FRAGMENT if header.be::<1>() & FRAGMENT_FIELD != 0 => Err(XdpCounter::PassFragment),
        FRAGMENT => Ok(Chain { proto: next, l4_off: at + 8 }),
        ROUTING if header.second::<1>() != 0 => Err(XdpCounter::PassExtHeader),
        _ => Ok(Chain { proto: next, l4_off: at + 8 + usize::from(header.second::<0>()) * 8 }),
    }
}
