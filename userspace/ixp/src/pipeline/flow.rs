//! Which microengine a packet goes to: a hash of its flow, so that a flow keeps its order.
//!
//! It need not be fair against an adversary: whoever aims all flows at one microengine overloads that one, whose
//! ring then drops, and gains nothing else.
use abi::{
    port::PortConfig,
    rxmeta::{RxMeta, flag},
};
use multistack::steer::parse;

use crate::frame::Frame;

/// A hash of protocol-independent flow identity: both addresses and, where they are, both ports.
///
/// A packet that cannot be parsed belongs to nobody; all of those are one flow.
#[inline]
pub(super) fn hash(frame: &Frame, config: Option<&PortConfig>) -> u32 {
    let bytes = frame.bytes();
    let places = match frame.meta() {
        Some(RxMeta { flags, l3_off, l4_off, .. }) => Some((flags, l3_off, l4_off)),
        None => config.and_then(|c| parse(bytes, c).ok()).map(|p| (p.flags, p.l3_off, p.l4_off)),
    };
    let Some((flags, l3, l4)) = places else { return 0 };
    let l3 = usize::from(l3);
    let addresses = if flags & flag::IPV6 == 0 { l3 + 12..l3 + 20 } else { l3 + 8..l3 + 40 };
    // Only a datagram's first fragment has ports, and all its fragments are one flow.
    let is_whole = flags & (flag::FRAG_FIRST | flag::FRAG_LATER) == 0;
    let ports = if is_whole { usize::from(l4)..usize::from(l4) + 4 } else { 0..0 };
    let mut state = 0;
    for range in [addresses, ports] {
        let (words, _) = bytes.get(range).unwrap_or_default().as_chunks::<4>();
        for &word in words {
            state = mix(state ^ u64::from(u32::from_ne_bytes(word)));
        }
    }
    (state >> 32) as u32
}

/// Multiplication by an odd constant (the golden ratio) carries every bit upwards, the shift back down.
#[inline]
fn mix(state: u64) -> u64 {
    let product = state.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 29)
}

/// The hash as an index below `count`.
#[inline]
pub(super) fn share(hash: u32, count: usize) -> usize {
    ((u64::from(hash) * count as u64) >> 32) as usize
}
