//! The capture that is written: of the same kind as the one that is read, and nothing in it but packets and their times.
use std::path::Path;

use anyhow::{Context, Result};
use ixp::port::pcap::Format;

use super::batch::{Held, PACKET_BYTES_MAX};
use crate::verb::capture::{
    output::{Output, Unwritten},
    pcapng::{self, Direction, Packet},
};

/// Link type of Ethernet frames.
const ETHERNET: u32 = 1;
const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;
/// Length of the header of a record of classic pcap.
const RECORD_HEADER: usize = 16;

/// A capture that is being written.
pub(super) struct Recording {
    output: Output,
    form: Form,
}

/// Of which kind it is.
enum Form {
    /// Classic pcap, whose times have a fraction in units of so many nanoseconds.
    Classic { unit_ns: u64 },
    /// pcapng with so many interfaces up to now.
    Ng { interfaces: u32 },
}

impl Recording {
    /// Makes the file and begins it.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub(super) fn begin(path: &Path, format: Option<Format>) -> Result<Self> {
        let (form, whole): (_, fn(&[u8], usize) -> usize) = match format {
            Some(Format::Ng) => (Form::Ng { interfaces: 0 }, pcapng::whole),
            Some(Format::Nano) => (Form::Classic { unit_ns: 1 }, whole),
            Some(Format::Micro) | None => (Form::Classic { unit_ns: 1000 }, whole),
        };
        let mut output = Output::open(path, whole)?;
        match form {
            Form::Classic { unit_ns } => {
                let magic = if unit_ns == 1 { NANO } else { MICRO };
                let version = 4 << 16 | 2;
                // Zone and accuracy are 0 in all files.
                for word in [magic, version, 0, 0, PACKET_BYTES_MAX as u32, ETHERNET] {
                    output.block().extend(word.to_le_bytes());
                }
            }
            Form::Ng { .. } => pcapng::section(output.block(), concat!("octroi ", env!("CARGO_PKG_VERSION"))),
        }
        let mut recording = Self { output, form };
        // At once: a file without this is no capture, and records are counted from here.
        match recording.output.flush() {
            Err(Unwritten::Failed(error)) => Err(error).context(path.display().to_string()),
            // The next write says it again.
            Err(Unwritten::ReaderGone) | Ok(()) => Ok(recording),
        }
    }

    /// Writes a packet as it is now.
    ///
    /// # Errors
    /// [`Unwritten`].
    pub(super) fn write(&mut self, held: &Held, bytes: &[u8]) -> Result<(), Unwritten> {
        let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let len = captured.saturating_add(held.missing);
        match &mut self.form {
            Form::Classic { unit_ns } => {
                // Such a file has 32 bits for seconds; what was read from one fits.
                let seconds = u32::try_from(held.at_ns / 1_000_000_000).unwrap_or(u32::MAX);
                let fraction = (held.at_ns % 1_000_000_000 / *unit_ns) as u32;
                for word in [seconds, fraction, captured, len] {
                    self.output.block().extend(word.to_le_bytes());
                }
                self.output.block().extend(bytes);
            }
            Form::Ng { interfaces } => {
                while *interfaces <= held.interface {
                    pcapng::interface(self.output.block(), "", "", PACKET_BYTES_MAX as u32);
                    *interfaces += 1;
                }
                let packet = Packet {
                    interface: held.interface,
                    time_ns: held.at_ns,
                    bytes,
                    len,
                    direction: Direction::Unknown,
                    queue: None,
                    comment: "",
                };
                pcapng::packet(self.output.block(), &packet);
            }
        }
        self.output.spill()
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// [`Unwritten`].
    pub(super) fn end(&mut self) -> Result<(), Unwritten> {
        self.output.flush()
    }
}

/// How many of the first `bytes` bytes of records of classic pcap are whole records.
fn whole(buffer: &[u8], bytes: usize) -> usize {
    let mut at = 0;
    loop {
        let captured = buffer.get(at + 8..at + 12).and_then(<[u8]>::first_chunk);
        let next = captured.map(|len| at + RECORD_HEADER + u32::from_le_bytes(*len) as usize);
        match next {
            Some(next) if next <= bytes => at = next,
            _ => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_between_records() {
        let record = |len: u32| [&[0; 8][..], &len.to_le_bytes(), &[0; 4], &vec![1; len as usize]].concat();
        let buffer = [record(3), record(0), record(60)].concat();
        let ends = [0, 19, 35, 111];
        for bytes in 0..=buffer.len() {
            let expected = ends.into_iter().filter(|end| *end <= bytes).max().unwrap_or(0);
            assert_eq!(whole(&buffer, bytes), expected, "{bytes}");
        }
    }
}
