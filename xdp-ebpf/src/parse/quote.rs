//! The packet that an ICMP error quotes: whose it was.
//!
//! It refuses to believe a length in the quoted packet: a router may quote no more than a header and 8 bytes (RFC 792).
use super::{Key, MIN_TRANSPORT, Network, has_ports, ipv4, ipv6};
use crate::frame::Frame;

/// Before the quoted packet.
const ICMP_HEADER: usize = 8;

/// Rule 22 of ICMP: destination unreachable, time exceeded, parameter problem.
#[inline(always)]
pub fn v4(frame: Frame, error: &Network) -> Option<Key> {
    let kind = frame.words::<1>(error.l4_off)?.first::<0>();
    if !matches!(kind, 3 | 11 | 12) {
        return None;
    }
    let at = error.l4_off + ICMP_HEADER;
    let ip = frame.words::<10>(at)?;
    let version_ihl = ip.first::<0>();
    let header = usize::from(version_ihl & 0x0F) * 4;
    let src = ipv4::mapped(ip.pair::<6, 7>());
    let is_readable = version_ihl >> 4 == 4 && ipv4::HEADER <= header && ip.be::<3>() & ipv4::OFFSET == 0;
    if !is_readable || src != error.dst {
        return None;
    }
    sender(frame, error, ip.second::<4>(), at + header)
}

/// Rule 22 of ICMPv6: every type below 128.
#[inline(always)]
pub fn v6(frame: Frame, error: &Network) -> Option<Key> {
    let kind = frame.words::<1>(error.l4_off)?.first::<0>();
    if 128 <= kind {
        return None;
    }
    let at = error.l4_off + ICMP_HEADER;
    let ip = frame.words::<20>(at)?;
    if ip.first::<0>() >> 4 != 6 || ipv6::source(ip) != error.dst {
        return None;
    }
    sender(frame, error, ip.first::<3>(), at + ipv6::HEADER)
}

/// The quoted packet's source, which is where the error went, and its source port.
#[inline(always)]
fn sender(frame: Frame, error: &Network, proto: u8, at: usize) -> Option<Key> {
    if !has_ports(proto) || at + MIN_TRANSPORT > error.end {
        return None;
    }
    let transport = frame.words::<1>(at)?;
    Some(Key::new(error.dst, transport.raw::<0>(), proto))
}
