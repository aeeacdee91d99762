//! Frame sizes as RFC 2544 counts them, with the four bytes of FCS, and mixes of them.
//!
//! A size is never rounded or raised to fit: what does not fit is an error where the frame is planned.
use std::{fmt, str::FromStr};

use abi::pktgen::MAX_PATTERN;
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::seeded::Seeded;

/// Bytes of frame check sequence, which RFC 2544 counts and software never sees.
pub const FCS: u16 = 4;
/// Smallest Ethernet frame.
pub const SMALLEST: u16 = 64;
/// Largest untagged Ethernet frame.
pub const LARGEST: u16 = 1518;
/// The sizes that RFC 2544 section 9.1 recommends for Ethernet.
pub const RFC2544: [FrameSize; 7] = [
    FrameSize(64),
    FrameSize(128),
    FrameSize(256),
    FrameSize(512),
    FrameSize(1024),
    FrameSize(1280),
    FrameSize(1518),
];
/// IMIX: how often each size appears among 48 frames; the mean is 353.8 bytes.
pub const IMIX: [(FrameSize, usize); 3] = [(FrameSize(64), 28), (FrameSize(570), 16), (FrameSize(1518), 4)];

/// A frame's size, FCS included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameSize(u16);

/// What is not a frame size or mix.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SizeError {
    /// Outside Ethernet's limits.
    #[error("a frame has {SMALLEST} to {LARGEST} bytes with its FCS, not {given}")]
    Range {
        /// What was asked for.
        given: u64,
    },
    /// Neither a number nor the name of a mix.
    #[error("a size is a number of bytes from {SMALLEST} to {LARGEST}, or \"imix\"")]
    Unknown,
}

impl FrameSize {
    /// A size in bytes, FCS included.
    ///
    /// # Errors
    /// [`SizeError::Range`] outside 64 to 1518.
    pub const fn new(bytes: u16) -> Result<Self, SizeError> {
        if bytes < SMALLEST || LARGEST < bytes {
            return Err(SizeError::Range { given: bytes as u64 });
        }
        Ok(Self(bytes))
    }

    /// With the FCS.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        self.0
    }

    /// Without the FCS: what XDP, AF_XDP and a veth see.
    #[must_use]
    pub const fn frame_len(self) -> u16 {
        self.0 - FCS
    }
}

impl fmt::Display for FrameSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which sizes the frames have, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// All the same.
    Fixed(FrameSize),
    /// [`IMIX`].
    Imix,
}

impl Mix {
    /// The distinct sizes, smallest first.
    #[must_use]
    pub fn sizes(self) -> Vec<FrameSize> {
        match self {
            Self::Fixed(size) => vec![size],
            Self::Imix => IMIX.iter().map(|&(size, _)| size).collect(),
        }
    }

    /// The order in which the sizes follow each other: indices into [`Mix::sizes`], at most [`MAX_PATTERN`].
    #[must_use]
    pub fn pattern(self, seed: u64) -> Vec<u8> {
        let mut pattern: Vec<u8> = match self {
            Self::Fixed(_) => vec![0],
            Self::Imix => (0_u8..).zip(IMIX).flat_map(|(i, (_, often))| vec![i; often]).collect(),
        };
        debug_assert!(pattern.len() <= MAX_PATTERN);
        Seeded::new(seed).shuffle(&mut pattern);
        pattern
    }

    /// Mean bytes of a frame, FCS included.
    #[must_use]
    pub fn mean(self) -> f64 {
        match self {
            Self::Fixed(size) => f64::from(size.0),
            Self::Imix => {
                let frames: usize = IMIX.iter().map(|&(_, often)| often).sum();
                let bytes: usize = IMIX.iter().map(|&(size, often)| usize::from(size.0) * often).sum();
                bytes as f64 / frames as f64
            }
        }
    }
}

impl FromStr for Mix {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        if text.eq_ignore_ascii_case("imix") {
            return Ok(Self::Imix);
        }
        let given: u64 = text.parse().map_err(|_| SizeError::Unknown)?;
        let bytes = u16::try_from(given).map_err(|_| SizeError::Range { given })?;
        FrameSize::new(bytes).map(Self::Fixed)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Imix => f.write_str("imix"),
        }
    }
}

impl Serialize for Mix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imix_is_28_16_4() {
        let pattern = Mix::Imix.pattern(1);
        let count = |i: u8| pattern.iter().filter(|&&p| p == i).count();
        assert_eq!((count(0), count(1), count(2), pattern.len()), (28, 16, 4, 48));
        assert!((Mix::Imix.mean() - 353.83).abs() < 0.01);
        assert_eq!(pattern, Mix::Imix.pattern(1), "same seed");
        assert_ne!(pattern, Mix::Imix.pattern(2), "another seed");
    }

    #[test]
    fn sizes_are_counted_with_the_fcs() {
        assert_eq!(RFC2544[0].frame_len(), 60);
        assert_eq!(RFC2544[6].frame_len(), 1514);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        assert_eq!("63".parse::<Mix>(), Err(SizeError::Range { given: 63 }));
        assert_eq!("1519".parse::<Mix>(), Err(SizeError::Range { given: 1519 }));
        assert_eq!("70000".parse::<Mix>(), Err(SizeError::Range { given: 70_000 }));
        assert_eq!("big".parse::<Mix>(), Err(SizeError::Unknown));
        assert_eq!("IMIX".parse::<Mix>().map(|m| m.to_string()), Ok("imix".into()));
    }
}
