//! The frame that almost every claimed frame is: untagged, IPv4 without options, not a fragment, TCP or UDP.
//!
//! Its headers lie at offsets that are known before it is read: one check of its length and a dozen comparisons say
//! what the rules would say, in a third of the instructions. It refuses to judge any other frame: `None` only means
//! that the rules are to be tried one by one.
use abi::port::PortConfig;
use zerocopy::IntoBytes as _;

use super::{Key, Parsed, ipv4::MAPPED};
use crate::frame::Frame;

/// Words of Ethernet, IPv4 and the smallest transport header.
const WORDS: usize = 7 + 10 + 4;
const L3: usize = 14;
const L4: usize = 34;
/// IPv4's and UDP's header.
const LEAST: usize = 28;
const IPV4: u16 = 0x0800;
/// Version 4, five words of header.
const VERSION_IHL: u8 = 0x45;
/// More-fragments flag and fragment offset.
const FRAGMENT: u16 = 0x3FFF;

/// The tuple that the rules would find in `frame`, if it is a plain one for `port`.
#[inline(always)]
pub fn parse(frame: Frame, port: &PortConfig) -> Option<(Key, Parsed)> {
    let words = frame.words::<WORDS>(0)?;
    let head = u64::from_le_bytes(*port.as_bytes().first_chunk()?);
    // The address in the upper six bytes; then the port's number of tags.
    if head << 16 != words.quad::<0>() << 16 || (head >> 48) as u8 != 0 || words.be::<6>() != IPV4 {
        return None;
    }
    let (source, proto) = (words.first::<13>(), words.second::<11>());
    let total = usize::from(words.be::<8>());
    let plain = words.first::<7>() == VERSION_IHL
        && LEAST <= total
        && L3 + total <= frame.len()
        && words.be::<10>() & FRAGMENT == 0
        && words.first::<11>() != 0
        && !(source == 0 || source == 127 || 224 <= source)
        && (proto == 6 || proto == 17);
    if !plain {
        return None;
    }
    let ports = u32::from(words.raw::<18>()) | u32::from(proto) << 16;
    let key = Key([0, 0, MAPPED, words.pair::<15, 16>(), ports]);
    Some((key, Parsed { flags: 0, l3_off: L3 as u8, l4_off: L4 as u16 }))
}
