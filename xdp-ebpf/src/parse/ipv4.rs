//! IPv4: the header and the length of its options.
use abi::{counter::XdpCounter, rxmeta::flag};

use super::Network;
use crate::frame::Frame;

const HEADER: usize = 20;
/// More-fragments flag and fragment offset.
const FRAGMENT: u16 = 0x3FFF;
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
    if ip.be::<3>() & FRAGMENT != 0 {
        return Err(XdpCounter::PassFragment);
    }
    let flags = if header == HEADER { 0 } else { flag::OPTIONS };
    let proto = ip.second::<4>();
    Ok(Network { dst: [0, 0, MAPPED, ip.pair::<8, 9>()], proto, flags, l4_off: l3 + header, end })
}
