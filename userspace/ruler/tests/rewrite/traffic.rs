//! Packets of one shape, Ethernet, IP, TCP or UDP, with right checksums, and where the labels of [`crate::rule`] lie.
//!
//! It is written against the RFCs and uses neither `wire` nor anything that it is to test.

use std::ops::Range;

use super::{naive, rule};

/// What a packet is like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) ip: Ip,
    pub(crate) transport: Transport,
    /// Words of TCP options.
    pub(crate) tcp_words: u8,
    /// Whether the label in an arm of the pattern is bound.
    pub(crate) has_maybe: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) padding: Vec<u8>,
    pub(crate) addresses: [u8; 32],
    /// UDP without a checksum.
    pub(crate) unsummed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ip {
    V4 {
        /// Words of options.
        words: u8,
        /// Flags and offset.
        fragment: u16,
    },
    V6 {
        /// The type of an extension header of 8 bytes.
        extension: Option<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Where its checksum is.
    pub(crate) const fn field(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// A packet and where each label of the rule lies in it.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) labels: Vec<Range<usize>>,
}

pub(crate) fn packet(shape: &Shape) -> Packet {
    let (ip, transport) = (ip_header(shape), transport_header(shape));
    let extension = match shape.ip {
        Ip::V6 { extension: Some(_) } => vec![shape.transport.number(), 0, 0, 0, 1, 2, 3, 4],
        _ => Vec::new(),
    };
    let (head, tail) = shape.payload.split_at(rule::HEAD_LEN);
    let mut ethernet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    ethernet.extend(if ip[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] });

    let mut bytes = Vec::new();
    let mut labels = vec![0..0; rule::LABELS.len()];
    let tail = [tail, &shape.padding].concat();
    let parts: [(usize, &[u8]); 6] = [
        (rule::E, &ethernet),
        (rule::I, &ip),
        (rule::X, &extension),
        (rule::T, &transport),
        (rule::HEAD, head),
        (rule::TAIL, &tail),
    ];
    for (label, part) in parts {
        labels[label] = bytes.len()..bytes.len() + part.len();
        bytes.extend_from_slice(part);
    }
    let (ip, head) = (labels[rule::I].start, labels[rule::HEAD].start);
    labels[rule::MAYBE] = if shape.has_maybe { head..head + 1 } else { 0..0 };
    labels[rule::E_DST] = 0..6;
    labels[rule::E_SRC] = 6..12;
    let (first, len) = match shape.ip {
        Ip::V4 { .. } => (ip + 12, 4),
        Ip::V6 { .. } => (ip + 8, 16),
    };
    labels[rule::I_SRC] = first..first + len;
    labels[rule::I_DST] = first + len..first + 2 * len;
    let mut packet = Packet { bytes, labels };
    fill_sums(shape, &mut packet);
    packet
}

fn fill_sums(shape: &Shape, packet: &mut Packet) {
    let Packet { bytes, labels } = packet;
    let (ip, header) = (labels[rule::I].clone(), labels[rule::T].clone());
    if matches!(shape.ip, Ip::V4 { .. }) {
        let sum = naive::checksum(&bytes[ip.clone()]);
        bytes[ip.start + 10..ip.start + 12].copy_from_slice(&sum.to_be_bytes());
    }
    if shape.transport == Transport::Udp && shape.unsummed {
        return;
    }
    let end = bytes.len() - shape.padding.len();
    let sum = naive::transport_sum(shape.transport.number(), &bytes[ip], &bytes[header.start..end]);
    let field = header.start + shape.transport.field();
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

fn behind_ip(shape: &Shape) -> usize {
    transport_header(shape).len() + shape.payload.len()
}

fn ip_header(shape: &Shape) -> Vec<u8> {
    let number = shape.transport.number();
    match shape.ip {
        Ip::V4 { words, fragment } => {
            let len = 20 + 4 * usize::from(words);
            let total = u16::try_from(len + behind_ip(shape)).unwrap().to_be_bytes();
            let [f, g] = fragment.to_be_bytes();
            let mut header = vec![0x45 + words, 0, total[0], total[1], 0x12, 0x34, f, g, 64, number, 0, 0];
            header.extend(&shape.addresses[..8]);
            header.resize(len, 1);
            header
        }
        Ip::V6 { extension } => {
            let len = behind_ip(shape) + if extension.is_some() { 8 } else { 0 };
            let len = u16::try_from(len).unwrap().to_be_bytes();
            let mut header = vec![0x60, 0x0a, 0xbc, 0xde, len[0], len[1], extension.unwrap_or(number), 64];
            header.extend(&shape.addresses);
            header
        }
    }
}

fn transport_header(shape: &Shape) -> Vec<u8> {
    match shape.transport {
        Transport::Tcp => {
            let mut header = vec![0x04, 0xd2, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8];
            header.extend([0x50 + (shape.tcp_words << 4), 0x18, 0x20, 0, 0, 0, 0, 0]);
            header.resize(20 + 4 * usize::from(shape.tcp_words), 1);
            header
        }
        Transport::Udp => {
            let len = u16::try_from(8 + shape.payload.len()).unwrap().to_be_bytes();
            vec![0x04, 0xd2, 0, 53, len[0], len[1], 0, 0]
        }
    }
}

/// Whether it is no fragment and has all its checksums.
pub(crate) fn is_whole(shape: &Shape) -> bool {
    let is_fragment = match shape.ip {
        Ip::V4 { fragment, .. } => fragment & 0x3fff != 0,
        Ip::V6 { extension } => extension == Some(44),
    };
    !is_fragment && !shape.unsummed
}
