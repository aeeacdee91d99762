//! The packet that an ICMP error quotes: whose it was.
//!
//! It believes nothing of the quoted packet but its addresses and ports, and those only where they can be read: a router
//! may quote no more than a header and 8 bytes (RFC 792), so its lengths and checksums say nothing about the quote.
use abi::steer::SteerKey;
use wire::ip::FragmentOffset;
use wire::{icmp, icmpv6, ipv4, ipv6, udp};

/// The source of the packet that an ICMP error quotes. `segment` is the error, from its ICMP header to the packet's end.
pub(super) fn v4(segment: &[u8]) -> Option<SteerKey> {
    let error = icmp::Packet::new_checked(segment).ok().filter(icmp::Packet::is_error)?;
    let quoted = error.payload();
    let ip = ipv4::Packet::new_unchecked(quoted.get(..ipv4::HEADER_LEN)?);
    let is_readable = ip.version() == 4
        && ipv4::HEADER_LEN <= ip.header_len()
        && ip.fragment_offset() == FragmentOffset::ZERO
        && ip.protocol().has_ports();
    let port = src_port(quoted.get(ip.header_len()..)?)?;
    is_readable.then(|| SteerKey::v4(ip.protocol().0, ip.src().octets(), port))
}

/// The same of ICMPv6.
pub(super) fn v6(segment: &[u8]) -> Option<SteerKey> {
    let error = icmpv6::Packet::new_checked(segment).ok().filter(icmpv6::Packet::is_error)?;
    let quoted = error.payload();
    let ip = ipv6::Packet::new_unchecked(quoted.get(..ipv6::HEADER_LEN)?);
    let is_readable = ip.version() == 6 && ip.next_header().has_ports();
    let port = src_port(&quoted[ipv6::HEADER_LEN..])?;
    is_readable.then(|| SteerKey::v6(ip.next_header().0, ip.src().octets(), port))
}

/// All protocols with ports have them where UDP has.
fn src_port(transport: &[u8]) -> Option<u16> {
    let ports = transport.get(..udp::HEADER_LEN)?;
    Some(udp::Packet::new_unchecked(ports).src_port())
}
