//! Reading captures: pcap with micro- or nanoseconds, of either byte order, and pcapng.
//!
//! Ethernet only. A file is hostile input: whatever it holds, memory stays within [`MAX_BLOCK`] and the answer is a
//! record, the end, or an error.
use std::io::{self, Read};

use pcap_parser::{Block, Linktype, PcapBlockOwned, create_reader, traits::PcapReaderIterator};
use thiserror::Error;

/// Longest block of a file; packets are far shorter.
pub const MAX_BLOCK: usize = 1 << 20;

/// Most interfaces of one section of a pcapng file.
pub const MAX_INTERFACES: usize = 1024;

/// Why a capture cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PcapError {
    /// It is neither pcap nor pcapng.
    #[error("neither a pcap nor a pcapng file")]
    NotACapture,
    /// It is not a capture of Ethernet frames.
    #[error("link type {given}, only Ethernet ({limit}) can be read")]
    LinkType {
        /// The link type.
        given: i32,
        /// Ethernet's.
        limit: i32,
    },
    /// It ends in the middle of a block.
    #[error("ends in the middle of a packet or block, after {records} packets")]
    CutShort {
        /// Packets read before.
        records: u64,
    },
    /// A block is longer than [`MAX_BLOCK`].
    #[error("a block after {records} packets is longer than {limit} bytes")]
    BlockTooLong {
        /// Packets read before.
        records: u64,
        /// [`MAX_BLOCK`].
        limit: usize,
    },
    /// More interfaces than [`MAX_INTERFACES`].
    #[error("more than {limit} interfaces")]
    TooManyInterfaces {
        /// [`MAX_INTERFACES`].
        limit: usize,
    },
    /// It contradicts itself.
    #[error("malformed after {records} packets")]
    Malformed {
        /// Packets read before.
        records: u64,
    },
    /// It could not be read at all.
    #[error("read error after {records} packets")]
    Read {
        /// Packets read before.
        records: u64,
    },
}

/// Which kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Classic pcap with microseconds.
    Micro,
    /// Classic pcap with nanoseconds.
    Nano,
    /// pcapng.
    Ng,
}

/// One captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was captured, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Its bytes, as many as were captured.
    pub bytes: &'a [u8],
    /// How long it was, as the file says.
    pub original_len: u32,
    /// Which interface of a pcapng file's section it is of; 0 in other files.
    pub interface: u32,
}

/// A capture being read.
pub struct Capture {
    blocks: Box<dyn PcapReaderIterator + Send>,
    interfaces: Vec<Interface>,
    format: Option<Format>,
    records: u64,
    /// Where the next block begins.
    offset: u64,
    /// The last record's bytes.
    packet: Vec<u8>,
}

/// What a pcapng file says of an interface.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Linktype,
    snaplen: u32,
    resolution: Resolution,
    offset_s: i64,
}

/// The unit of an interface's timestamps, as the option `if_tsresol` writes it.
#[derive(Clone, Copy, Debug)]
struct Resolution(u8);

impl Resolution {
    /// Timestamp units in nanoseconds since 1970; saturating, because a file may say anything.
    fn to_ns(self, units: u64, offset_s: i64) -> u64 {
        let exponent = u32::from(self.0 & 0x7f);
        let base: u128 = if self.0 & 0x80 == 0 { 10 } else { 2 };
        // Finer than any u128: nothing of such a stamp reaches a nanosecond.
        let per_second = base.checked_pow(exponent).unwrap_or(u128::MAX);
        let ns = u128::from(units) * 1_000_000_000 / per_second;
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let ns = ns.saturating_add(i128::from(offset_s) * 1_000_000_000);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// What one block is to the caller.
enum Step {
    /// A packet, whose bytes were copied.
    Record { at_ns: u64, original_len: u32, interface: u32 },
    /// Something else.
    Other,
    /// There are no more.
    End,
}

/// Why `blocks` gave none.
enum Trouble {
    End,
    WantsMore,
    CutShort,
    TooLong,
    Read,
    Malformed,
}

/// A reader that gives as much as was asked for, except at the end: what the parser takes for granted.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Capture {
    /// Opens a capture.
    ///
    /// # Errors
    /// [`PcapError`].
    pub fn open(reader: impl Read + Send + 'static) -> Result<Self, PcapError> {
        let blocks = create_reader(MAX_BLOCK, Whole(reader)).map_err(|error| match error {
            pcap_parser::PcapError::ReadError => PcapError::Read { records: 0 },
            _ => PcapError::NotACapture,
        })?;
        let (interfaces, packet) = (Vec::new(), Vec::new());
        Ok(Self { blocks, interfaces, format: None, records: 0, offset: 0, packet })
    }

    /// Which kind of file it is; known once [`Capture::next`] was asked.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// How many bytes of the file were read in whole blocks: after an error, where the block begins that it is about.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next packet; `None` after the last.
    ///
    /// # Errors
    /// [`PcapError`]; what follows cannot be read then.
    #[expect(
        clippy::should_implement_trait,
        reason = "a record borrows from the reader, which no Iterator can say"
    )]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, PcapError> {
        loop {
            match self.step()? {
                Step::Record { at_ns, original_len, interface } => {
                    self.records += 1;
                    return Ok(Some(Record { at_ns, bytes: &self.packet, original_len, interface }));
                }
                Step::Other => {}
                Step::End => return Ok(None),
            }
        }
    }

    fn step(&mut self) -> Result<Step, PcapError> {
        let Self { blocks, interfaces, format, packet, records, offset } = self;
        let records = *records;
        let trouble = match blocks.next() {
            Ok((len, block)) => {
                let step = judge(&block, interfaces, format, packet, records)?;
                blocks.consume(len);
                *offset += len as u64;
                return Ok(step);
            }
            Err(error) => Trouble::from(&error),
        };
        match trouble {
            Trouble::WantsMore => match blocks.refill() {
                Ok(()) => Ok(Step::Other),
                Err(_) => Err(PcapError::Read { records }),
            },
            Trouble::End => Ok(Step::End),
            Trouble::CutShort => Err(PcapError::CutShort { records }),
            Trouble::TooLong => Err(PcapError::BlockTooLong { records, limit: MAX_BLOCK }),
            Trouble::Read => Err(PcapError::Read { records }),
            Trouble::Malformed => Err(PcapError::Malformed { records }),
        }
    }
}

impl From<&pcap_parser::PcapError<&[u8]>> for Trouble {
    fn from(error: &pcap_parser::PcapError<&[u8]>) -> Self {
        use pcap_parser::PcapError as E;
        match error {
            E::Eof => Self::End,
            E::Incomplete(_) => Self::WantsMore,
            E::UnexpectedEof => Self::CutShort,
            E::BufferTooSmall => Self::TooLong,
            E::ReadError => Self::Read,
            E::HeaderNotRecognized | E::NomError(..) | E::OwnedNomError(..) => Self::Malformed,
        }
    }
}

/// Reads one block.
fn judge(
    block: &PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    format: &mut Option<Format>,
    packet: &mut Vec<u8>,
    records: u64,
) -> Result<Step, PcapError> {
    let malformed = PcapError::Malformed { records };
    let mut keep = |bytes: Option<&[u8]>| {
        packet.clear();
        packet.extend_from_slice(bytes.ok_or(PcapError::Malformed { records })?);
        Ok(())
    };
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            ethernet(header.network)?;
            *format = Some(if header.is_nanosecond_precision() { Format::Nano } else { Format::Micro });
            Ok(Step::Other)
        }
        PcapBlockOwned::Legacy(record) => {
            keep(record.data.get(..record.caplen as usize))?;
            let fraction_ns = if *format == Some(Format::Nano) { 1 } else { 1000 };
            let at_ns = u64::from(record.ts_sec) * 1_000_000_000 + u64::from(record.ts_usec) * fraction_ns;
            Ok(Step::Record { at_ns, original_len: record.origlen, interface: 0 })
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            *format = Some(Format::Ng);
            interfaces.clear();
            Ok(Step::Other)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
            if MAX_INTERFACES <= interfaces.len() {
                return Err(PcapError::TooManyInterfaces { limit: MAX_INTERFACES });
            }
            interfaces.push(Interface {
                link: described.linktype,
                snaplen: described.snaplen,
                resolution: Resolution(described.if_tsresol),
                offset_s: described.if_tsoffset,
            });
            Ok(Step::Other)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(record)) => {
            let interface = interfaces.get(record.if_id as usize).ok_or(malformed)?;
            ethernet(interface.link)?;
            keep(record.data.get(..record.caplen as usize))?;
            let units = u64::from(record.ts_high) << 32 | u64::from(record.ts_low);
            let at_ns = interface.resolution.to_ns(units, interface.offset_s);
            Ok(Step::Record { at_ns, original_len: record.origlen, interface: record.if_id })
        }
        PcapBlockOwned::NG(Block::SimplePacket(record)) => {
            let interface = interfaces.first().ok_or(malformed)?;
            ethernet(interface.link)?;
            let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
            keep(record.data.get(..record.origlen.min(snaplen) as usize))?;
            // Such a block has no time.
            Ok(Step::Record { at_ns: 0, original_len: record.origlen, interface: 0 })
        }
        PcapBlockOwned::NG(_) => Ok(Step::Other),
    }
}

fn ethernet(link: Linktype) -> Result<(), PcapError> {
    if link == Linktype::ETHERNET {
        return Ok(());
    }
    Err(PcapError::LinkType { given: link.0, limit: Linktype::ETHERNET.0 })
}
