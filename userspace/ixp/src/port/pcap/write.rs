//! Writing captures: classic pcap with nanoseconds, Ethernet, in native byte order.
use std::io::{self, BufWriter, Write};

use crate::clock::Nanos;

/// The magic of a pcap file whose fractions are nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;

/// Longest packet that the header announces; none of ours is longer.
const SNAPLEN: u32 = 65_535;

/// Link type of Ethernet frames.
const ETHERNET: u32 = 1;

/// A capture being written.
pub struct Recorder {
    out: BufWriter<Box<dyn Write + Send>>,
}

impl Recorder {
    /// Begins a capture.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(out: impl Write + Send + 'static) -> io::Result<Self> {
        let mut out = BufWriter::<Box<dyn Write + Send>>::new(Box::new(out));
        out.write_all(&MAGIC.to_ne_bytes())?;
        out.write_all(&[2u16, 4].map(u16::to_ne_bytes).concat())?;
        out.write_all(&[0, 0, SNAPLEN, ETHERNET].map(u32::to_ne_bytes).concat())?;
        Ok(Self { out })
    }

    /// Writes one packet.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&mut self, at: Nanos, packet: &[u8]) -> io::Result<()> {
        let (seconds, fraction) = (at.get() / 1_000_000_000, at.get() % 1_000_000_000);
        let len = packet.len() as u32;
        for word in [seconds as u32, fraction as u32, len, len] {
            self.out.write_all(&word.to_ne_bytes())?;
        }
        self.out.write_all(packet)
    }

    /// Hands everything to the writer.
    ///
    /// # Errors
    /// What the writer says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
