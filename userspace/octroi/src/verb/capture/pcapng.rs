//! Blocks of pcapng (draft-ietf-opsawg-pcapng): section, interfaces, packets, statistics; little-endian.
//!
//! It refuses to know where they go: each function appends one whole block to a buffer. Only what a capture of ours needs
//! is here; a crate for all of the format would be more code than this, and less ours to answer for.

/// Link type of Ethernet frames.
const ETHERNET: u16 = 1;
/// Exponent of the resolution of times: nanoseconds.
const NANOSECONDS: u8 = 9;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Option codes; those below 10 mean another thing in each kind of block.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SECTION_OS: u16 = 3;
    pub(super) const SECTION_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const INTERFACE_DESCRIPTION: u16 = 3;
    pub(super) const INTERFACE_RESOLUTION: u16 = 9;
    pub(super) const PACKET_FLAGS: u16 = 2;
    pub(super) const PACKET_QUEUE: u16 = 6;
    pub(super) const STATISTICS_START: u16 = 2;
    pub(super) const STATISTICS_END: u16 = 3;
    pub(super) const STATISTICS_DROPPED: u16 = 5;
    pub(super) const STATISTICS_ACCEPTED: u16 = 6;
    pub(super) const STATISTICS_DELIVERED: u16 = 8;
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verb) enum Direction {
    /// Nobody knows.
    Unknown = 0,
    Inbound = 1,
    Outbound = 2,
}

/// A packet to be written.
#[derive(Clone, Copy, Debug)]
pub(in crate::verb) struct Packet<'a> {
    pub(in crate::verb) interface: u32,
    /// Nanoseconds since 1970.
    pub(in crate::verb) time_ns: u64,
    pub(in crate::verb) bytes: &'a [u8],
    /// How long it was.
    pub(in crate::verb) len: u32,
    pub(in crate::verb) direction: Direction,
    pub(in crate::verb) queue: Option<u32>,
    /// Nothing, if empty.
    pub(in crate::verb) comment: &'a str,
}

/// What is said of an interface at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statistics {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    /// Packets that the filter wanted.
    pub(super) accepted: u64,
    /// Those of them for which there was no room.
    pub(super) dropped: u64,
    /// Packets in the file.
    pub(super) delivered: u64,
}

/// A block that grows at the end of a buffer.
struct Block<'b> {
    buffer: &'b mut Vec<u8>,
    start: usize,
}

impl<'b> Block<'b> {
    fn begin(buffer: &'b mut Vec<u8>, kind: u32) -> Self {
        let start = buffer.len();
        let block = Self { buffer, start };
        // The length is known at the end.
        block.word(kind).word(0)
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.buffer.extend_from_slice(bytes);
        self
    }

    fn half(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn word(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A time, or another number of 64 bits, its high half first.
    fn time(self, ns: u64) -> Self {
        self.word((ns >> 32) as u32).word(ns as u32)
    }

    fn pad(self) -> Self {
        let len = self.buffer.len() - self.start;
        self.buffer.resize(self.start + len.next_multiple_of(4), 0);
        self
    }

    /// An option. What is longer than an option can be is cut.
    fn option(self, code: u16, value: &[u8]) -> Self {
        let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
        self.half(code).half(value.len() as u16).bytes(value).pad()
    }

    fn text(self, code: u16, text: &str) -> Self {
        if text.is_empty() { self } else { self.option(code, text.as_bytes()) }
    }

    fn number(self, code: u16, value: u64) -> Self {
        self.option(code, &value.to_le_bytes())
    }

    fn moment(self, code: u16, ns: u64) -> Self {
        self.half(code).half(8).time(ns)
    }

    /// Ends the options and the block.
    fn end(self) {
        let block = self.half(option::END).half(0);
        let len = (block.buffer.len() - block.start + 4) as u32;
        let block = block.word(len);
        if let Some(place) = block.buffer.get_mut(block.start + 4..block.start + 8) {
            place.copy_from_slice(&len.to_le_bytes());
        }
    }
}

/// Begins the file.
pub(in crate::verb) fn section(buffer: &mut Vec<u8>, application: &str) {
    Block::begin(buffer, SECTION)
        .word(0x1a2b_3c4d)
        .half(1)
        .half(0)
        // Of unknown length.
        .word(u32::MAX)
        .word(u32::MAX)
        .text(option::SECTION_OS, "Linux")
        .text(option::SECTION_APPLICATION, application)
        .end();
}

/// Describes the next interface; they are numbered in their order.
pub(in crate::verb) fn interface(buffer: &mut Vec<u8>, name: &str, description: &str, snaplen: u32) {
    Block::begin(buffer, INTERFACE)
        .half(ETHERNET)
        .half(0)
        .word(snaplen)
        .text(option::INTERFACE_NAME, name)
        .text(option::INTERFACE_DESCRIPTION, description)
        .option(option::INTERFACE_RESOLUTION, &[NANOSECONDS])
        .end();
}

/// A packet.
pub(in crate::verb) fn packet(buffer: &mut Vec<u8>, packet: &Packet<'_>) {
    let block = Block::begin(buffer, PACKET)
        .word(packet.interface)
        .time(packet.time_ns)
        .word(packet.bytes.len() as u32)
        .word(packet.len)
        .bytes(packet.bytes)
        .pad()
        .text(option::COMMENT, packet.comment)
        .option(option::PACKET_FLAGS, &(packet.direction as u32).to_le_bytes());
    let block = match packet.queue {
        Some(queue) => block.option(option::PACKET_QUEUE, &queue.to_le_bytes()),
        None => block,
    };
    block.end();
}

/// What became of an interface's packets.
pub(super) fn statistics(buffer: &mut Vec<u8>, interface: u32, statistics: &Statistics) {
    Block::begin(buffer, STATISTICS)
        .word(interface)
        .time(statistics.end_ns)
        .moment(option::STATISTICS_START, statistics.start_ns)
        .moment(option::STATISTICS_END, statistics.end_ns)
        .number(option::STATISTICS_DROPPED, statistics.dropped)
        .number(option::STATISTICS_ACCEPTED, statistics.accepted)
        .number(option::STATISTICS_DELIVERED, statistics.delivered)
        .end();
}

/// How many of the first `bytes` bytes are whole blocks.
pub(in crate::verb) fn whole(buffer: &[u8], bytes: usize) -> usize {
    let mut at = 0;
    loop {
        let len = buffer.get(at + 4..at + 8).and_then(<[u8]>::first_chunk);
        let Some(next) = len.map(|len| at + u32::from_le_bytes(*len) as usize) else { return at };
        if next <= at || bytes < next {
            return at;
        }
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every block by itself: kind and body, both lengths checked.
    fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
        let mut all = Vec::new();
        while !file.is_empty() {
            let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().unwrap());
            let len = word(4) as usize;
            assert!(len.is_multiple_of(4) && word(len - 4) as usize == len, "{len}");
            all.push((word(0), &file[8..len - 4]));
            file = &file[len..];
        }
        all
    }

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        section(&mut file, "octroi");
        interface(&mut file, "veth0", "received", 96);
        let shown = Packet {
            interface: 0,
            time_ns: 0x0102_0304_0506_0708,
            bytes: b"\xaa\xbb\xcc",
            len: 60,
            direction: Direction::Outbound,
            queue: Some(3),
            comment: "rx_stale",
        };
        packet(&mut file, &shown);
        let said = Statistics { start_ns: 1, end_ns: 2, accepted: 7, dropped: 4, delivered: 3 };
        statistics(&mut file, 0, &said);
        file
    }

    #[test]
    fn blocks_are_as_the_format_says() {
        let file = file();
        let blocks = blocks(&file);
        assert_eq!(blocks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [SECTION, 1, 6, 5]);
        let packet = [
            &[0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 3, 0, 0, 0, 60, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0][..],
            b"\x01\x00\x08\x00rx_stale",
            b"\x02\x00\x04\x00\x02\x00\x00\x00",
            b"\x06\x00\x04\x00\x03\x00\x00\x00",
            &[0; 4],
        ];
        assert_eq!(blocks[2].1, packet.concat());
        assert_eq!(&blocks[1].1[..8], [1, 0, 0, 0, 96, 0, 0, 0]);
        assert_eq!(&blocks[1].1[8..20], b"\x02\x00\x05\x00veth0\0\0\0");
    }

    #[test]
    fn a_cut_is_between_blocks() {
        let file = file();
        let ends: Vec<usize> = blocks(&file)
            .iter()
            .scan(0, |end, (_, body)| {
                *end += body.len() + 12;
                Some(*end)
            })
            .collect();
        for bytes in 0..=file.len() {
            let expected = ends.iter().copied().filter(|&end| end <= bytes).max().unwrap_or(0);
            assert_eq!(whole(&file, bytes), expected, "{bytes}");
        }
    }
}
