//! The echo service (RFC 862, UDP): turns a datagram into its own reply, in place.
//!
//! Addresses and ports change places at all three layers, the time to live starts anew, VLAN tags and payload stay.
//! A swap leaves a right checksum right, so none is computed but where the sender left that to a device which it
//! never met (`CHECKSUM_PARTIAL` of the peer's stack behind a veth): what we send is complete.
//!
//! It refuses to answer whoever cannot be answered safely: no reply goes to a group or to nobody, none to the port
//! it came from (two echo services would talk for ever), none by a source route turned round.
use abi::rxmeta::{RxMeta, flag};
use wire::{
    Malformed, checksum, ethernet,
    ip::{Addresses, Protocol},
    ipv4, ipv6, udp,
};

/// Time to live of a reply: the default that IANA recommends (RFC 1700).
const TTL: u8 = 64;

/// The datagram gets no reply, and is as it came: whoever captures what is dropped wants to see that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// Makes the reply out of `frame`, whose IPv4 header checksum has been verified.
///
/// # Errors
/// [`Refused`].
#[inline]
pub fn reply(frame: &mut [u8], meta: &RxMeta) -> Result<(), Refused> {
    if meta.flags & (flag::OPTIONS | flag::FRAG_FIRST | flag::FRAG_LATER | flag::ICMP_ERROR) != 0 {
        return Err(Refused);
    }
    let l3 = usize::from(meta.l3_off);
    let link = ethernet::Frame::new_checked(&*frame)?;
    let (src, dst) = (link.src(), link.dst());
    if src.is_group() || src == ethernet::Mac::default() {
        return Err(Refused);
    }
    let packet = frame.get_mut(l3..).ok_or(Refused)?;
    if meta.flags & flag::IPV6 == 0 {
        turn_ipv4(packet)?
    } else {
        turn_ipv6(packet)?
    };
    let mut link = ethernet::Frame::new_unchecked(frame);
    link.set_src(dst);
    link.set_dst(src);
    Ok(())
}

fn turn_ipv4(packet: &mut [u8]) -> Result<(), Refused> {
    let mut ip = ipv4::Packet::new_checked(packet)?;
    let (src, dst, ttl) = (ip.src(), ip.dst(), ip.ttl());
    let nobody = src.octets()[0] == 0 || src.is_loopback() || src.is_multicast() || src.is_broadcast();
    if nobody || ip.protocol() != Protocol::UDP {
        return Err(Refused);
    }
    turn_udp(ip.payload_mut(), &Addresses::V4(src, dst))?;
    ip.set_src(dst);
    ip.set_dst(src);
    if ttl != TTL {
        let protocol = ip.protocol().0;
        let word = |ttl| u16::from_be_bytes([ttl, protocol]);
        let sum = checksum::update(ip.checksum(), word(ttl), word(TTL));
        ip.set_ttl(TTL);
        ip.set_checksum(sum);
    }
    Ok(())
}

fn turn_ipv6(packet: &mut [u8]) -> Result<(), Refused> {
    let mut ip = ipv6::Packet::new_checked(packet)?;
    let (src, dst) = (ip.src(), ip.dst());
    let nobody = src.is_unspecified() || src.is_loopback() || src.is_multicast();
    if nobody || ip.next_header() != Protocol::UDP {
        return Err(Refused);
    }
    turn_udp(ip.payload_mut(), &Addresses::V6(src, dst))?;
    ip.set_src(dst);
    ip.set_dst(src);
    ip.set_hop_limit(TTL);
    Ok(())
}

/// The order of the addresses does not matter to a sum.
fn turn_udp(datagram: &mut [u8], addresses: &Addresses) -> Result<(), Refused> {
    let mut udp = udp::Packet::new_checked(datagram)?;
    let (src, dst) = (udp.src_port(), udp.dst_port());
    if src == 0 || src == dst {
        return Err(Refused);
    }
    let checksum = udp.checksum();
    // Over IPv6 no receiver may accept none (RFC 8200 section 8.1): not from us either.
    if checksum == 0 && matches!(addresses, Addresses::V6(..)) {
        return Err(Refused);
    }
    udp.set_src_port(dst);
    udp.set_dst_port(src);
    match checksum {
        0 => {}
        given if given == partial(addresses, udp.len()) => udp.fill_checksum(addresses),
        _ => {}
    }
    Ok(())
}

/// What a stack writes that leaves the checksum to its device: the pseudo-header's sum, not complemented.
///
/// One whole checksum in 65,535 looks like it; computing that one anew gives the same.
fn partial(addresses: &Addresses, len: usize) -> u16 {
    !addresses.pseudo_header(Protocol::UDP, len as u32).complement()
}

#[cfg(test)]
mod tests;
