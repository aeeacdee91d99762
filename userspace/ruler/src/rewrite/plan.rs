//! Plans: what is done to each packet of a rule, decided once, from the rule's text.
//!
//! A plan knows no packet, no key and no limit. Which kind it is can be seen in its dump and in nothing else.
//!
//! The output is a row of *items*. Of a rule whose text says that they lie in the packet as they will in the output,
//! the frame is patched, and cut if the output is a piece of it; of any other it is rebuilt. Fields are then set in one
//! order, whatever the kind: what comes from the matched packet, which is *loaded* before anything is written; lengths;
//! IPv4 checksums; those of TCP and UDP, the last item's first, as an outer one covers an inner one.

use std::cmp::Reverse;

use super::{
    anonymise,
    checksum::{Before, Transport},
    outline::{Cut, Outline},
};
use crate::resolved::{Action, Item, LabelId, Part, Rule, Setting, Value};

/// How the new packet comes into the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Each item keeps its place and length: what changes is written.
    Patch,
    /// The output is one piece of the packet: start and length move, what changes is written.
    Cut,
    /// It is put together in scratch memory and copied back.
    Rebuild,
}

/// What is done to each packet that a rule rewrites.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ItemId(pub(super) usize);

/// Where the bytes of an item come from.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) at: usize,
    pub(super) len: usize,
}

/// What is read before anything is written, if its item has any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) item: ItemId,
    pub(super) slot: Slot,
    pub(super) what: Loaded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) item: ItemId,
    /// From the item's first bit.
    pub(super) offset_bits: usize,
    pub(super) bits: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let (kind, anchor) = kind_of(items, &outline);
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
        let mode = match header_above_the_same(ip, id, items, outline) {
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

/// How items lie in the packet, and one that says where.
fn kind_of(items: &[Item], outline: &Outline<'_>) -> (Kind, ItemId) {
    in_place(items, outline).unwrap_or((Kind::Rebuild, ItemId(0)))
}

/// Walks the items and the pattern together; none as soon as they part.
fn in_place(items: &[Item], outline: &Outline<'_>) -> Option<(Kind, ItemId)> {
    let mut walk = Walk { at: None, constants: 0, kind: Kind::Patch };
    let mut anchor = None;
    for (id, item) in (0..).map(ItemId).zip(items) {
        let (label, is_last) = (placed(&item.part), id.0 + 1 == items.len());
        let Some(label) = label else {
            walk.constants += constant_len(&item.part);
            continue;
        };
        let (from, to) = outline.place(label)?;
        walk.reach(from, outline)?;
        walk.at = Some(to);
        anchor.get_or_insert(id);
        if let Part::Unpad(_, ip) = item.part {
            // It loses its end, so nothing may follow; its begin stays only if the datagram begins no later.
            let begins_within = outline.place(ip).is_some_and(|(ip, _)| ip <= from);
            if !is_last || !begins_within && id != ItemId(0) {
                return None;
            }
            walk.kind = Kind::Cut;
        }
    }
    walk.finish(outline)?;
    anchor.map(|anchor| (walk.kind, anchor))
}

/// How far items and pattern are the same.
struct Walk {
    /// Behind the last item that lies in the packet.
    at: Option<Cut>,
    /// How many bytes of constants came after it.
    constants: usize,
    kind: Kind,
}

impl Walk {
    /// On to an item that begins here: the constants before it must cover just what lies between.
    fn reach(&mut self, from: Cut, outline: &Outline<'_>) -> Option<()> {
        let gap = outline.between(self.at.unwrap_or(Cut::START), from)?;
        let constants = std::mem::take(&mut self.constants);
        match self.at {
            _ if gap.is(constants) => Some(()),
            None if gap.has(constants) => {
                self.kind = Kind::Cut;
                Some(())
            }
            _ => None,
        }
    }

    /// To the end of the packet, or to where the output ends before it.
    fn finish(&mut self, outline: &Outline<'_>) -> Option<()> {
        let rest = outline.between(self.at?, outline.end())?;
        if !rest.is(self.constants) {
            self.kind = Kind::Cut;
        }
        rest.has(self.constants).then_some(())
    }
}

/// The label whose bytes an item stands for, one for one.
fn placed(part: &Part) -> Option<LabelId> {
    match part {
        Part::Label(label) | Part::Zero(label) | Part::Unpad(label, _) | Part::PrefixAnon(label) => {
            Some(*label)
        }
        Part::Constant(_) => None,
    }
}

fn constant_len(part: &Part) -> usize {
    match part {
        Part::Constant(bytes) => bytes.len(),
        _ => 0,
    }
}

/// The label of a transport header if, by the text, nothing that its checksum covers but header and addresses changes.
///
/// So the output must be, from the IP header on, what the packet is: the same pieces up to its end, but for `unpad`
/// there, which takes away what no checksum covers; nothing set behind the transport header; and the IP header's version
/// and length as they were. A rule that sets the length says that it means other bytes.
fn header_above_the_same(ip: ItemId, id: ItemId, items: &[Item], outline: &Outline<'_>) -> Option<LabelId> {
    let Part::Label(header) = items.get(id.0)?.part else { return None };
    let Part::Label(ip_label) = items.get(ip.0)?.part else { return None };
    let mut at = None;
    for item in items.get(ip.0..)? {
        let (from, to) = match item.part {
            Part::Label(label) => outline.place(label)?,
            Part::Unpad(label, of) if of == ip_label => outline.place(label)?,
            _ => return None,
        };
        if at.is_some_and(|at| at != from) {
            return None;
        }
        at = Some(to);
    }
    let behind = items.get(id.0 + 1..)?;
    let lengths: &[(u32, u32)] = match outline.version(ip_label) {
        Some(4) => &[(0, 4), (16, 32)],
        Some(6) => &[(0, 4), (32, 48)],
        _ => &[(0, 4), (16, 48)],
    };
    let touches = |setting: &Setting| {
        let end = setting.offset_bits.saturating_add(setting.bits);
        lengths.iter().any(|(from, to)| setting.offset_bits < *to && *from < end)
    };
    let is_same = ip < id
        && at == Some(outline.end())
        && behind.iter().all(|item| item.settings.is_empty())
        && !items.get(ip.0)?.settings.iter().any(touches);
    is_same.then_some(header)
}
