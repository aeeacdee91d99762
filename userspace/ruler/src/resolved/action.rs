//! Actions: what becomes of a packet that a rule matches.

use super::LabelId;
use crate::source::Span;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on unchanged, with this code.
    Accept(u16),
    /// It is dropped, with this code.
    Reject(u16),
    /// It becomes these items, one after the other, and goes on with this code.
    Rewrite(Vec<Item>, u16),
}

/// A piece of the new packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its bytes.
    pub part: Part,
    /// What is replaced in them; no two overlap.
    pub settings: Vec<Setting>,
    /// Where it is written.
    pub span: Span,
}

/// Where an item's bytes come from; labels mean the matched packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a label matched.
    Label(LabelId),
    /// These bytes.
    Constant(Vec<u8>),
    /// As many zero bytes as the label matched.
    Zero(LabelId),
    /// What the first label matched, as far as it lies inside the IP datagram whose header is the second.
    Unpad(LabelId, LabelId),
    /// The address of a label, 4 or 16 bytes, anonymised.
    PrefixAnon(LabelId),
}

/// `field = value`, at a fixed place of the item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its first bit, counted from the item's first.
    pub offset_bits: u32,
    /// How many bits; whole bytes unless the value is [`Value::Constant`] or [`Value::Len`].
    pub bits: u32,
    /// What they become.
    pub value: Value,
    /// Where it is written.
    pub span: Span,
}

/// What a field becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// This number or these bytes, as many bits as the field has, right-aligned in whole bytes.
    Constant(Vec<u8>),
    /// What a label of the matched packet has.
    Label(LabelId),
    /// The address of a label of the matched packet, anonymised.
    PrefixAnon(LabelId),
    /// The sum of the lengths of the output items made from these labels.
    Len(Vec<LabelId>),
    /// The checksum of this item, an IPv4 header.
    Ipv4Csum,
    /// The TCP checksum from this item on; the IP header is the item made from this label.
    TcpCsum(LabelId),
    /// The UDP checksum, as [`Value::TcpCsum`].
    UdpCsum(LabelId),
}
