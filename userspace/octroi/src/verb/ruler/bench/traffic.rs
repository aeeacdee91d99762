//! The packets that a bench judges: made from a fixed seed, or read from a capture.
//!
//! They are all in memory before anything is measured; of a long capture it takes the beginning.
use std::{convert::Infallible, fmt, fs::File, path::PathBuf, str::FromStr};

use anyhow::{Context, Result, ensure};
use ixp::port::pcap::Capture;

/// How many packets are made.
const PACKETS: usize = 4096;
/// The most that is taken of a capture.
const BYTES_MAX: usize = 64 << 20;
const PACKETS_MAX: usize = 1 << 18;
/// Lengths without FCS, and how many there are of each among 48 packets.
const IMIX: [(usize, usize); 3] = [(60, 28), (566, 16), (1514, 4)];
/// Ethernet, IPv4 and TCP to port 80.
const HEADERS: [u8; 54] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, // Ethernet
    0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
    0x40, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x40, 0, 0, 0, 0, 0, // TCP
];

/// Which packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// All of the least length.
    Short,
    /// All of 1500 bytes.
    Long,
    /// Of three lengths, as the internet has them.
    Imix,
    /// Those of a capture.
    Capture(PathBuf),
}

impl FromStr for Traffic {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "64" => Self::Short,
            "1500" => Self::Long,
            "imix" => Self::Imix,
            file => Self::Capture(file.into()),
        })
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("64"),
            Self::Long => f.write_str("1500"),
            Self::Imix => f.write_str("imix"),
            Self::Capture(file) => write!(f, "{}", file.display()),
        }
    }
}

impl Traffic {
    /// All of them; never none.
    ///
    /// # Errors
    /// The capture cannot be read.
    pub(super) fn packets(&self) -> Result<Vec<Vec<u8>>> {
        let mut letters = Letters(0x9e37_79b9_7f4a_7c15);
        let mut made = |len: usize| letters.packet(len);
        Ok(match self {
            Self::Short => (0..PACKETS).map(|_| made(64)).collect(),
            Self::Long => (0..PACKETS).map(|_| made(1500)).collect(),
            Self::Imix => (0..PACKETS).map(|number| made(imix(number))).collect(),
            Self::Capture(file) => read(file).with_context(|| file.display().to_string())?,
        })
    }
}

/// Lengths are spread: five steps forward in a cycle of 48.
fn imix(number: usize) -> usize {
    let mut at = number * 5 % 48;
    for (len, count) in IMIX {
        if at < count {
            return len;
        }
        at -= count;
    }
    unreachable!("the counts are 48 together")
}

fn read(file: &PathBuf) -> Result<Vec<Vec<u8>>> {
    let mut capture = Capture::open(File::open(file)?)?;
    let (mut packets, mut bytes) = (Vec::new(), 0);
    while let Some(record) = capture.next()? {
        bytes += record.bytes.len();
        if BYTES_MAX < bytes || PACKETS_MAX <= packets.len() {
            break;
        }
        packets.push(record.bytes.to_vec());
    }
    ensure!(!packets.is_empty(), "no packets in it");
    Ok(packets)
}

/// A sequence of small letters (xorshift), the same each time.
struct Letters(u64);

impl Letters {
    fn packet(&mut self, len: usize) -> Vec<u8> {
        let mut packet = HEADERS.to_vec();
        let ip_len = u16::try_from(len - 14).unwrap_or(u16::MAX);
        packet[16..18].copy_from_slice(&ip_len.to_be_bytes());
        packet.resize_with(len, || self.next());
        packet
    }

    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        b'a' + (self.0 >> 32) as u8 % 26
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_packets_are_made_each_time() {
        for (name, mean) in [("64", 64), ("1500", 1500), ("imix", 349)] {
            let traffic: Traffic = name.parse().unwrap();
            assert_eq!(traffic.to_string(), name);
            let packets = traffic.packets().unwrap();
            assert_eq!(packets, traffic.packets().unwrap());
            assert_eq!(packets.iter().map(Vec::len).sum::<usize>() / packets.len(), mean, "{name}");
            assert!(packets.iter().all(|packet| packet[..16] == HEADERS[..16]));
        }
    }

    #[test]
    fn a_capture_that_is_not_there_is_said() {
        let error = "gone.pcap".parse::<Traffic>().unwrap().packets().unwrap_err();
        assert!(format!("{error:#}").starts_with("gone.pcap: "), "{error:#}");
    }
}
