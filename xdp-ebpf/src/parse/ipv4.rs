//! IPv4: the header, the length of its options, and which part of a datagram it begins.
use abi::{counter::XdpCounter, rxmeta::flag};

use super::{Datagram, Network, Part};
use crate::frame::Frame;

pub(super) const HEADER: usize = 20;
/// Fragment offset, in units of eight bytes.
pub(super) const OFFSET: u16 = 0x1FFF;
const MORE_FRAGMENTS: u16 = 0x2000;
/// Bytes 8 to 11 of an IPv4 address in its IPv4-mapped form.
pub(super) const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xFF, 0xFF]);

/// Rules 5, 7, 9 and 12, on the header at `l3`.
#[inline(always)]
pub fn parse(frame: Frame, l3: usize) -> Result<Network, XdpCounter> {
    let ip = frame.words::<10>(l3).ok_or(XdpCounter::PassBadHeader)?;
    let version_ihl = ip.first::<0>();
    let header = usize::from(version_ihl & 0x0F) * 4;
    let total = usize::from(ip.be::<1>());
    let end = l3 + total;
    let lengths_fit = HEADER <= header && header <= total && end <= frame.len();
    let ttl = ip.first::<4>();
    if version_ihl >> 4 != 4 || !lengths_fit || ttl == 0 {
        return Err(XdpCounter::PassBadHeader);
    }
    let source = ip.first::<6>();
    if source == 0 || source == 127 || 224 <= source {
        return Err(XdpCounter::PassMartian);
    }
    let proto = ip.second::<4>();
    // The identification is the upper half of the key's four bytes.
    let datagram = Datagram { id: u32::from(ip.raw::<2>()) << 16, proto };
    let fragment = ip.be::<3>();
    let part = match (fragment & OFFSET, fragment & MORE_FRAGMENTS) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First(datagram),
        _ => Part::Later(datagram),
    };
    let flags = if header == HEADER { 0 } else { flag::OPTIONS };
    let (src, dst) = (mapped(ip.pair::<6, 7>()), mapped(ip.pair::<8, 9>()));
    Ok(Network { src, dst, part, flags, l3_off: l3, l4_off: l3 + header, proto: Ok(proto), end })
}

/// An address in its IPv4-mapped form, all as it lies in memory.
#[inline(always)]
pub(super) fn mapped(address: u32) -> [u32; 4] {
    [0, 0, MAPPED, address]
}
