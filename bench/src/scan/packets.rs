//! Packets side by side in one piece of memory, as peers hold them, and the file that peers read them from.
//!
//! Behind each is a byte 0, because some peers look for an end; ours are not told of it.
use std::{io, ops::Range};

use anyhow::{Context as _, Result};

use super::literals::Literals;
use crate::traffic::{
    seeded::Seeded,
    size::{IMIX, Mix},
};

/// Packets of one pass of a text: a whole number of IMIX's cycles, and of batches.
const PACKETS: usize = 768;

/// Packets in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

/// How long packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// All the same.
    Fixed(usize),
    /// IMIX, without the FCS.
    Imix,
}

/// What packets are filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// Random lower-case letters, of which literals are made too: every byte could be one of theirs.
    Letters,
    /// Random bytes, of which nine in ten are no letters.
    Bytes,
}

impl Packets {
    /// These packets.
    #[must_use]
    pub fn new<P: AsRef<[u8]>>(packets: impl IntoIterator<Item = P>) -> Self {
        let mut made = Self::default();
        for packet in packets {
            let begin = made.bytes.len();
            made.bytes.extend_from_slice(packet.as_ref());
            made.ranges.push(begin..made.bytes.len());
            made.bytes.push(0);
        }
        made
    }

    /// Packets filled at random.
    #[must_use]
    pub fn random(lengths: Lengths, filling: Filling, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        Self::new(lengths.of_packets(seed).into_iter().map(|len| filling.fill(len, &mut seeded)))
    }

    /// For each literal a packet that has it somewhere, and one that does not.
    #[must_use]
    pub fn planted(literals: &Literals, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        Self::new(literals.iter().flat_map(|literal| {
            let before = Filling::Letters.fill(seeded.below(200) as usize, &mut seeded);
            let after = Filling::Letters.fill(seeded.below(200) as usize, &mut seeded);
            [[&before[..], literal, &after].concat(), before]
        }))
    }

    /// The packets.
    #[must_use]
    pub fn slices(&self) -> Vec<&[u8]> {
        self.ranges.iter().filter_map(|range| self.bytes.get(range.clone())).collect()
    }

    /// One packet.
    #[must_use]
    pub fn packet(&self, index: usize) -> &[u8] {
        &self.bytes[self.ranges[index].clone()]
    }

    /// A packet's frame, which has one byte more than the packet, and where in it the packet is.
    pub fn frame(&mut self, index: usize) -> (&mut [u8], Range<usize>) {
        let Range { start, end } = self.ranges[index];
        (&mut self.bytes[start..=end], 0..end - start)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ranges.len()
    }

    /// Their bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }

    /// FNV-1a of every packet's length and bytes, as peers compute it.
    #[must_use]
    pub fn sum(&self) -> u64 {
        sum(&self.slices())
    }

    /// Writes the packets as peers read them.
    ///
    /// # Errors
    /// Whatever the writer says, or a packet is too long for a length of four bytes.
    pub fn write(&self, to: &mut impl io::Write) -> Result<()> {
        for packet in self.slices() {
            let len = u32::try_from(packet.len()).context("a packet of 4 GiB")?;
            to.write_all(&len.to_le_bytes())?;
            to.write_all(packet)?;
        }
        Ok(())
    }
}

/// FNV-1a of every packet's length and bytes.
#[must_use]
pub fn sum(packets: &[&[u8]]) -> u64 {
    let add = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    packets.iter().fold(0xcbf2_9ce4_8422_2325, |sum, packet| {
        let sum = (packet.len() as u32).to_le_bytes().into_iter().fold(sum, add);
        packet.iter().copied().fold(sum, add)
    })
}

impl Lengths {
    fn of_packets(self, seed: u64) -> Vec<usize> {
        match self {
            Self::Fixed(len) => vec![len; PACKETS],
            Self::Imix => {
                let cycle: Vec<usize> = Mix::Imix
                    .pattern(seed)
                    .into_iter()
                    .map(|i| IMIX[usize::from(i)].0.frame_len().into())
                    .collect();
                cycle.into_iter().cycle().take(PACKETS).collect()
            }
        }
    }
}

impl Filling {
    fn fill(self, len: usize, seeded: &mut Seeded) -> Vec<u8> {
        let byte = |seeded: &mut Seeded| match self {
            Self::Letters => b'a' + seeded.below(26) as u8,
            Self::Bytes => seeded.below(256) as u8,
        };
        (0..len).map(|_| byte(seeded)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_read_lengths_and_bytes() {
        let mut file = Vec::new();
        Packets::new([&b"abc"[..], b"", &[7; 258]]).write(&mut file).unwrap();
        assert_eq!(file[..16], [3, 0, 0, 0, b'a', b'b', b'c', 0, 0, 0, 0, 2, 1, 0, 0, 7]);
        assert_eq!(file.len(), 4 + 3 + 4 + 4 + 258);
    }

    #[test]
    fn the_sum_is_fnv_1a_of_lengths_and_bytes() {
        // The published value of the empty input, and that of the five bytes 01 00 00 00 61.
        assert_eq!(Packets::default().sum(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Packets::new([b"a"]).sum(), 0xd80d_0dae_a7db_dd7f);
        assert_ne!(Packets::new(["ab", "c"]).sum(), Packets::new(["a", "bc"]).sum());
    }

    #[test]
    fn imix_has_its_shares_and_batches_are_full() {
        let lens: Vec<usize> =
            Packets::random(Lengths::Imix, Filling::Bytes, 1).slices().iter().map(|p| p.len()).collect();
        let count = |len| lens.iter().filter(|l| **l == len).count();
        assert_eq!([60, 566, 1514].map(count), [28 * 16, 16 * 16, 4 * 16]);
        assert_eq!(lens.len() % 64, 0);
    }

    #[test]
    fn every_literal_is_planted_once_and_half_of_the_packets_have_none() {
        let literals = Literals::random(100, 8, 1);
        let packets = Packets::planted(&literals, 2);
        let has = |packet: &[u8]| literals.iter().any(|l| packet.windows(l.len()).any(|w| w == l));
        let hits: Vec<bool> = packets.slices().into_iter().map(has).collect();
        assert_eq!(hits, [true, false].repeat(100));
    }
}
