//! Damage: frames that were whole once, and bytes that never were one.
//!
//! Damage is biased towards what a parser looks at: the first bytes, whole fields, lengths, numbers that mean
//! something. Uniformly random bytes would nearly all end at the destination MAC.
use super::{
    Sample,
    layers::{IPV4, IPV6, MAC, PEER},
    matrix::PROTOCOLS,
    rng::Rng,
};

/// Longest frame that a test run takes, with room to spare.
pub const MAX_LEN: usize = 2048;

/// Bytes that mean something somewhere: versions with header lengths, header numbers, small and extreme lengths.
const BYTES: [u8; 24] =
    [0, 1, 2, 3, 4, 7, 8, 31, 32, 43, 44, 50, 51, 58, 59, 60, 0x45, 0x46, 0x60, 0x81, 0x88, 0xa8, 0xfe, 0xff];

/// A frame of `corpus`, damaged one to four times.
pub fn damaged(corpus: &[Sample], rng: &mut Rng) -> Vec<u8> {
    let mut frame = rng.pick(corpus).frame.clone();
    for _ in 0..=rng.below(4) {
        damage(&mut frame, corpus, rng);
    }
    frame.truncate(MAX_LEN);
    frame
}

/// Bytes after a MAC address and perhaps an EtherType that let some of them be looked at.
pub fn random(rng: &mut Rng) -> Vec<u8> {
    let longest = if rng.once_in(8) { 400 } else { 90 };
    let len = 14 + rng.below(longest);
    let mut frame = rng.bytes(len);
    if !rng.once_in(16) {
        frame[..6].copy_from_slice(&MAC);
        frame[6..12].copy_from_slice(&PEER);
    }
    let (ethertype, first) = *rng.pick(&[(IPV4, 0x45), (IPV4, 0x46), (IPV6, 0x60), (0x8100, 0), (0x88a8, 0)]);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    if rng.once_in(2) && 34 < len {
        frame[14] = first;
        let rest = (len - 14) as u16;
        // A length that fits, and a protocol that leads on.
        if ethertype == IPV4 {
            frame[16..18].copy_from_slice(&rest.to_be_bytes());
            frame[20] &= 0xc0;
            frame[21] = 0;
            frame[23] = *rng.pick(&PROTOCOLS);
        } else {
            frame[18..20].copy_from_slice(&rest.saturating_sub(40).to_be_bytes());
            frame[20] = *rng.pick(&[0, 6, 17, 43, 44, 60]);
        }
    }
    frame
}

fn damage(frame: &mut Vec<u8>, corpus: &[Sample], rng: &mut Rng) {
    if frame.is_empty() {
        return;
    }
    // Headers end before byte 128, and that is where most of the damage shall be.
    let near = if rng.once_in(8) { frame.len() } else { frame.len().min(128) };
    let at = rng.below(near);
    match rng.below(8) {
        0..=2 => frame[at] ^= 1 << rng.below(8),
        3 => frame[at] = *rng.pick(&BYTES),
        4 => frame[at] = rng.byte(),
        5 => frame.truncate(at),
        6 => {
            let more = rng.below(64);
            frame.extend(rng.bytes(more));
        }
        _ => {
            let other = &rng.pick(corpus).frame;
            frame.splice(at.., other.iter().skip(at).copied());
        }
    }
}
