//! The way through a chain of IPv6 extension headers to the transport header, with a bound.
//!
//! The walk steps over headers that do not change who the packet is for: hop-by-hop and destination options,
//! a routing header that has done its work, the fragment header of a whole or a first fragment. At everything else it
//! stops and says why. It never looks past [`MAX_HEADERS`] headers or [`MAX_LEN`] bytes: a longer chain costs the reader more than it tells.
use crate::{
    Malformed,
    ip::{FragmentOffset, Protocol},
    ipv6_ext, ipv6_frag,
};

/// Most headers that are stepped over.
pub const MAX_HEADERS: usize = 4;

/// Most bytes of headers that are stepped over.
pub const MAX_LEN: usize = 256;

/// What the chain leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The protocol of the transport header.
    pub protocol: Protocol,
    /// Where it begins in the payload of the fixed header.
    pub offset: usize,
    /// How many headers were stepped over.
    pub headers: usize,
}

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The fragment header, if the packet is only a part of a datagram: at offset zero the first part.
    pub fragment: Option<ipv6_frag::Repr>,
    /// Where the way ends, or why it does not lead to a transport header.
    pub end: Result<Upper, Stop>,
}

/// Why a walk stopped before a transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A header that does not fit the packet.
    Malformed,
    /// A later part of a datagram; only its first part has a transport header.
    LaterFragment,
    /// More than [`MAX_HEADERS`] headers or [`MAX_LEN`] bytes.
    TooLong,
    /// Hop-by-hop options that do not come first (RFC 8200 section 4.1), or a fragment header within a first fragment.
    Misplaced,
    /// A routing header whose packet is still on its way to other nodes.
    SegmentsLeft,
    /// A header that hides the transport, or that nobody knows: ESP, AH, no next header, mobility, …
    Opaque(Protocol),
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Walks the payload of a fixed header, cut at the packet's end, that begins with `first`.
#[must_use]
pub fn walk(first: Protocol, payload: &[u8]) -> Way {
    let mut fragment = None;
    let end = upper(first, payload, &mut fragment);
    Way { fragment, end }
}

fn upper(first: Protocol, payload: &[u8], fragment: &mut Option<ipv6_frag::Repr>) -> Result<Upper, Stop> {
    let mut at = Upper { protocol: first, offset: 0, headers: 0 };
    while let Protocol::HOP_BY_HOP | Protocol::ROUTING | Protocol::FRAGMENT | Protocol::DST_OPTIONS =
        at.protocol
    {
        at = step(at, payload, fragment)?;
    }
    if at.protocol.is_extension_header() || at.protocol == Protocol::NO_NEXT_HEADER {
        return Err(Stop::Opaque(at.protocol));
    }
    Ok(at)
}

/// Over one header. Its place in the chain is judged before its bytes, its first 8 bytes before its length.
fn step(at: Upper, payload: &[u8], fragment: &mut Option<ipv6_frag::Repr>) -> Result<Upper, Stop> {
    if at.headers == MAX_HEADERS {
        return Err(Stop::TooLong);
    }
    let is_fragment = at.protocol == Protocol::FRAGMENT;
    if at.protocol == Protocol::HOP_BY_HOP && at.headers != 0 || is_fragment && fragment.is_some() {
        return Err(Stop::Misplaced);
    }
    let rest =
        payload.get(at.offset..).filter(|rest| ipv6_ext::MIN_LEN <= rest.len()).ok_or(Stop::Malformed)?;
    let header = ipv6_ext::Packet::new_unchecked(rest);
    if at.protocol == Protocol::ROUTING && header.segments_left() != 0 {
        return Err(Stop::SegmentsLeft);
    }
    let mut len = header.header_len();
    if is_fragment {
        let part = ipv6_frag::Packet::new_checked(rest)?;
        if !part.is_atomic() {
            *fragment = Some(ipv6_frag::Repr::parse(&part)?);
        }
        if part.fragment_offset() != FragmentOffset::ZERO {
            return Err(Stop::LaterFragment);
        }
        len = ipv6_frag::HEADER_LEN;
    }
    let next = Upper { protocol: header.next_header(), offset: at.offset + len, headers: at.headers + 1 };
    if MAX_LEN < next.offset {
        return Err(Stop::TooLong);
    }
    if payload.len() < next.offset {
        return Err(Stop::Malformed);
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A header of `len` bytes and type `kind` that announces `next`; a fragment header is atomic.
    fn header(next: u8, len: usize) -> Vec<u8> {
        let mut bytes = std::vec![0; len];
        bytes[..2].copy_from_slice(&[next, (len / 8 - 1) as u8]);
        bytes
    }

    #[track_caller]
    fn check(first: u8, headers: &[Vec<u8>], want: Result<(u8, usize, usize), Stop>) {
        let want =
            want.map(|(protocol, offset, headers)| Upper { protocol: Protocol(protocol), offset, headers });
        assert_eq!(walk(Protocol(first), &headers.concat()), Way { fragment: None, end: want });
    }

    #[test]
    fn a_transport_at_once_is_no_step() {
        check(17, &[], Ok((17, 0, 0)));
    }

    #[test]
    fn the_four_kinds_are_stepped_over() {
        let chain = [header(60, 8), header(43, 16), header(44, 24), header(17, 8)];
        check(0, &chain, Ok((17, 56, 4)));
    }

    #[test]
    fn a_fifth_header_is_too_many_whatever_it_is() {
        let four = [header(60, 8), header(60, 8), header(60, 8)];
        for fifth in [0, 43, 44, 60] {
            let chain = [&four[..], &[header(fifth, 8)]].concat();
            check(60, &chain, Err(Stop::TooLong));
        }
    }

    #[test]
    fn two_hundred_and_fifty_six_bytes_are_the_most() {
        check(0, &[header(17, 256)], Ok((17, 256, 1)));
        check(0, &[header(17, 264)], Err(Stop::TooLong));
        check(0, &[header(60, 248), header(17, 8)], Ok((17, 256, 2)));
        check(0, &[header(60, 248), header(17, 16)], Err(Stop::TooLong));
    }

    #[test]
    fn hop_by_hop_comes_first_or_not_at_all() {
        check(60, &[header(0, 8), header(17, 8)], Err(Stop::Misplaced));
        check(0, &[header(0, 8), header(17, 8)], Err(Stop::Misplaced));
    }

    #[test]
    fn routing_is_stepped_over_when_it_is_done() {
        let mut routing = header(17, 8);
        check(43, &[routing.clone()], Ok((17, 8, 1)));
        routing[3] = 1;
        check(43, &[routing], Err(Stop::SegmentsLeft));
    }

    fn fragment(next: u8, offset_more: u16) -> Vec<u8> {
        let mut bytes = header(next, 8);
        // The length byte is reserved here.
        bytes[1] = 0xff;
        bytes[2..4].copy_from_slice(&offset_more.to_be_bytes());
        bytes[7] = 9;
        bytes
    }

    fn part(next: u8, units: u16, more: bool) -> Option<ipv6_frag::Repr> {
        let offset = FragmentOffset::from_units(units);
        Some(ipv6_frag::Repr { next_header: Protocol(next), offset, more, ident: 9 })
    }

    #[test]
    fn a_whole_datagram_and_a_first_fragment_have_a_transport_header() {
        check(44, &[fragment(17, 0)], Ok((17, 8, 1)));
        check(44, &[fragment(17, 6)], Ok((17, 8, 1)));
        let first = walk(Protocol(44), &[fragment(60, 1), header(17, 8)].concat());
        let end = Ok(Upper { protocol: Protocol::UDP, offset: 16, headers: 2 });
        assert_eq!(first, Way { fragment: part(60, 0, true), end });
    }

    #[test]
    fn a_later_fragment_has_none() {
        for (word, units, more) in [(8, 1, false), (9, 1, true), (0xfff8, 0x1fff, false)] {
            let later = walk(Protocol(44), &fragment(17, word));
            assert_eq!(later, Way { fragment: part(17, units, more), end: Err(Stop::LaterFragment) });
        }
    }

    #[test]
    fn a_first_fragment_is_known_even_if_its_chain_leads_nowhere() {
        for (next, after, stop) in [
            (44, fragment(17, 0), Stop::Misplaced),
            (44, fragment(17, 8), Stop::Misplaced),
            (60, header(17, 16)[..7].to_vec(), Stop::Malformed),
            (50, header(17, 8), Stop::Opaque(Protocol::ESP)),
        ] {
            let way = walk(Protocol(44), &[fragment(next, 1), after].concat());
            assert_eq!(way, Way { fragment: part(next, 0, true), end: Err(stop) });
        }
        // What is atomic is no fragment, so one may follow.
        let way = walk(Protocol(44), &[fragment(44, 0), fragment(17, 8)].concat());
        assert_eq!(way, Way { fragment: part(17, 1, false), end: Err(Stop::LaterFragment) });
    }

    #[test]
    fn what_hides_the_transport_stops_the_walk() {
        for opaque in [50, 51, 59, 135, 139, 140, 253, 254] {
            check(opaque, &[], Err(Stop::Opaque(Protocol(opaque))));
            check(60, &[header(opaque, 8)], Err(Stop::Opaque(Protocol(opaque))));
        }
    }

    #[test]
    fn a_chain_cut_short_is_malformed() {
        let whole = [header(60, 8), header(17, 16)].concat();
        for len in 0..whole.len() {
            assert_eq!(walk(Protocol(0), &whole[..len]).end, Err(Stop::Malformed), "{len}");
        }
        assert!(walk(Protocol(0), &whole).end.is_ok());
    }

    proptest! {
        #[test]
        fn b14_no_chain_leads_beyond_the_packet_or_the_bound(
            first in prop::sample::select(&[0u8, 43, 44, 60][..]), mut payload in prop::collection::vec(0..64u8, 0..400)
        ) {
            // Small bytes make headers that are likely to be followed by another.
            for byte in payload.iter_mut().step_by(8) {
                *byte = [0, 43, 44, 60, 17, 6, 59, 58][usize::from(*byte & 7)];
            }
            if let Ok(upper) = walk(Protocol(first), &payload).end {
                prop_assert!(upper.offset <= payload.len() && upper.offset <= MAX_LEN);
                prop_assert!(1 <= upper.headers && upper.headers <= MAX_HEADERS);
            }
        }
    }
}
