//! Plans: what is done to each packet of a rule, decided once, from the rule's text.
//!
//! A plan knows no packet, no key and no limit. Which kind it is can be seen in its dump and in nothing else.
//!
//! The output is a row of *items*. Of a rule whose text says that they lie in the packet as they will in the output,
//! the frame is patched, and cut if the output is a piece of it; of any other it is rebuilt. Fields are then set in one
//! order, whatever the kind: what comes from the matched packet, which is *loaded* before anything is written; lengths;
//! IPv4 checksums; those of TCP and UDP, the last item's first, as an outer one covers an inner one.

use std::cmp::Reverse;

use serde::Serialize;

use super::{
    anonymise,
    checksum::{Before, Transport},
    outline::Outline,
    text,
};
use crate::resolved::{Action, Item, LabelId, Part, Rule, Setting, Value};

/// How the new packet comes into the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Each item keeps its place and length: what changes is written.
    Patch,
    /// The output is one piece of the packet: start and length move, what changes is written.
    Cut,
    /// It is put together in scratch memory and copied back.
    Rebuild,
}

/// What is done to each packet that a rule rewrites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub(super) kind: Kind,
    /// In [`Kind::Patch`] and [`Kind::Cut`]: the item that stays where it lies in the packet.
    pub(super) anchor: ItemId,
    pub(super) items: Vec<Piece>,
    pub(super) loads: Vec<Load>,
    /// In the order in which they are done.
    pub(super) writes: Vec<Write>,
    /// How many bytes all loads have.
    pub(super) loaded: usize,
}

/// Which item of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct ItemId(pub(super) usize);

/// Where the bytes of an item come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Piece {
    Label(LabelId),
    Constant(Box<[u8]>),
    Zero(LabelId),
    Unpad {
        label: LabelId,
        ip: LabelId,
    },
    /// As many loaded bytes as the label has, or zeros.
    Loaded {
        label: LabelId,
        slot: Slot,
    },
}

/// Where bytes are kept that are read before anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Slot {
    pub(super) at: usize,
    pub(super) len: usize,
}

/// What is read before anything is written, if its item has any bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Load {
    pub(super) item: ItemId,
    pub(super) slot: Slot,
    pub(super) what: Loaded,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Loaded {
    /// A label, exactly as long as the slot.
    Copy(LabelId),
    /// The same, anonymised.
    Anonymised(LabelId),
    /// A label of any length, anonymised if it is an address.
    AnonymisedItem(LabelId),
    /// [`Before`] of a header with its checksum at `field`, and of the IP header below it.
    Before { header: LabelId, ip: LabelId, field: usize },
}

/// A field that is set, if its item has any bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Write {
    pub(super) item: ItemId,
    /// From the item's first bit.
    pub(super) offset_bits: usize,
    pub(super) bits: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Constant(Box<[u8]>),
    Loaded(Slot),
    /// The sum of these items' lengths.
    Len(Vec<ItemId>),
    Ipv4,
    /// The checksum of a transport above the IP header that is this item.
    Transport {
        transport: Transport,
        ip: ItemId,
        mode: Mode,
    },
}

/// How a transport's checksum is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// From what was loaded here: nothing that it covers but the headers changes.
    Incremental(Slot),
    Full,
}

impl Plan {
    /// The plan of a rule; none if it does not rewrite.
    #[must_use]
    pub fn of(rule: &Rule) -> Option<Self> {
        let Action::Rewrite(items, _) = &rule.action else { return None };
        let outline = Outline::of(&rule.pattern);
        let (kind, anchor) = text::in_place(items, &outline).unwrap_or((Kind::Rebuild, ItemId(0)));
        let mut plan =
            Self { kind, anchor, items: Vec::new(), loads: Vec::new(), writes: Vec::new(), loaded: 0 };
        for (id, item) in (0..).map(ItemId).zip(items) {
            let piece = plan.piece(id, &item.part);
            plan.items.push(piece);
            for setting in &item.settings {
                let what = plan.what(id, setting, items, &outline);
                let [offset_bits, bits] = [setting.offset_bits, setting.bits].map(bit_count);
                plan.writes.push(Write { item: id, offset_bits, bits, what });
            }
        }
        plan.writes.sort_by_key(Write::turn);
        Some(plan)
    }

    /// Which kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether some address is anonymised, so that a key is needed.
    #[must_use]
    pub fn needs_key(&self) -> bool {
        self.loads.iter().any(|load| matches!(load.what, Loaded::Anonymised(_) | Loaded::AnonymisedItem(_)))
    }

    /// The same by a kind that can do more, to compare the kinds; none for one that can do less.
    #[must_use]
    pub fn as_kind(&self, kind: Kind) -> Option<Self> {
        (self.kind <= kind).then(|| Self { kind, ..self.clone() })
    }

    fn piece(&mut self, id: ItemId, part: &Part) -> Piece {
        match part {
            Part::Label(label) => Piece::Label(*label),
            Part::Constant(bytes) => Piece::Constant(bytes.as_slice().into()),
            Part::Zero(label) => Piece::Zero(*label),
            Part::Unpad(label, ip) => Piece::Unpad { label: *label, ip: *ip },
            Part::PrefixAnon(label) => {
                let slot = self.load(id, anonymise::LONGEST, Loaded::AnonymisedItem(*label));
                Piece::Loaded { label: *label, slot }
            }
        }
    }

    fn what(&mut self, id: ItemId, setting: &Setting, items: &[Item], outline: &Outline<'_>) -> What {
        let len = bit_count(setting.bits).div_ceil(8);
        match &setting.value {
            Value::Constant(bytes) => What::Constant(bytes.as_slice().into()),
            Value::Label(label) => What::Loaded(self.load(id, len, Loaded::Copy(*label))),
            Value::PrefixAnon(label) => What::Loaded(self.load(id, len, Loaded::Anonymised(*label))),
            Value::Len(labels) => What::Len(labels.iter().map(|label| made_from(*label, items)).collect()),
            Value::Ipv4Csum => What::Ipv4,
            Value::TcpCsum(ip) => self.transport(Transport::Tcp, *ip, id, setting, items, outline),
            Value::UdpCsum(ip) => self.transport(Transport::Udp, *ip, id, setting, items, outline),
        }
    }

    fn transport(
        &mut self,
        transport: Transport,
        ip_label: LabelId,
        id: ItemId,
        setting: &Setting,
        items: &[Item],
        outline: &Outline<'_>,
    ) -> What {
        let ip = made_from(ip_label, items);
        let mode = match text::header_above_the_same(ip, id, items, outline) {
            Some(header) if setting.offset_bits.is_multiple_of(16) => {
                let field = bit_count(setting.offset_bits / 8);
                let before = Loaded::Before { header, ip: ip_label, field };
                Mode::Incremental(self.load(id, Before::LEN, before))
            }
            _ => Mode::Full,
        };
        What::Transport { transport, ip, mode }
    }

    fn load(&mut self, item: ItemId, len: usize, what: Loaded) -> Slot {
        let slot = Slot { at: self.loaded, len };
        self.loaded += len;
        self.loads.push(Load { item, slot, what });
        slot
    }
}

impl Write {
    /// When it is done: smaller first.
    fn turn(&self) -> (u8, Reverse<usize>) {
        match self.what {
            What::Constant(_) | What::Loaded(_) => (0, Reverse(0)),
            What::Len(_) => (1, Reverse(0)),
            What::Ipv4 => (2, Reverse(0)),
            What::Transport { .. } => (3, Reverse(self.item.0)),
        }
    }
}

/// The item that is made from a label.
fn made_from(label: LabelId, items: &[Item]) -> ItemId {
    let is_made = |item: &Item| match item.part {
        Part::Label(from) | Part::Zero(from) | Part::Unpad(from, _) => from == label,
        Part::Constant(_) | Part::PrefixAnon(_) => false,
    };
    match items.iter().position(is_made) {
        Some(at) => ItemId(at),
        None => unreachable!("an argument of `len`, `tcp_csum` or `udp_csum` is an item of the output"),
    }
}

fn bit_count(bits: u32) -> usize {
    usize::try_from(bits).unwrap_or(usize::MAX)
}
