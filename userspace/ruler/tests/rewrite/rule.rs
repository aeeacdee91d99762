//! Rules written by hand: one pattern with all that labels can be, and short ways to say items and settings.
//!
//! The pattern says no more of a packet than where its labels lie; nothing here matches.

use ruler::{
    resolved::{
        Action, Allowed, Counter, Field, Item, Label, LabelId, Order, Part, Pattern, Rule, Setting, Test,
        Value,
    },
    source::Span,
};

pub(crate) const E: usize = 0;
pub(crate) const E_DST: usize = 1;
pub(crate) const E_SRC: usize = 2;
pub(crate) const I: usize = 3;
pub(crate) const I_SRC: usize = 4;
pub(crate) const I_DST: usize = 5;
/// An extension header, or nothing.
pub(crate) const X: usize = 6;
pub(crate) const T: usize = 7;
/// The first byte of `head`, if the pattern's way led through that arm.
pub(crate) const MAYBE: usize = 8;
/// The first bytes of the payload.
pub(crate) const HEAD: usize = 9;
pub(crate) const HEAD_LEN: usize = 3;
/// The rest, with the padding.
pub(crate) const TAIL: usize = 10;

pub(crate) const LABELS: [&str; 11] =
    ["e", "e.dst", "e.src", "i", "i.src", "i.dst", "x", "t", "maybe", "head", "tail"];

const NOWHERE: Span = Span::new(0, 0);

pub(crate) fn id(label: usize) -> LabelId {
    LabelId(u16::try_from(label).unwrap())
}

/// A rule over Ethernet, IP of this version, an extension header, a transport header, payload.
pub(crate) fn rule(version: u8, items: Vec<Item>) -> Rule {
    let label = |name, body| Pattern::Label(id(name), Box::new(body));
    let (before, address) = if version == 4 { (11, 4) } else { (7, 16) };
    let first = nibbles(version);
    let mut ip = vec![first, bytes(before), label(I_SRC, bytes(address)), label(I_DST, bytes(address))];
    if version == 4 {
        ip.push(Pattern::Counted { field: Counter(0), times: 4, plus: -20 });
    }
    let ethernet = Pattern::Seq(vec![label(E_DST, bytes(6)), label(E_SRC, bytes(6)), bytes(2)]);
    let maybe = Pattern::Seq(vec![label(MAYBE, bytes(1)), bytes(HEAD_LEN - 1)]);
    let pattern = Pattern::Seq(vec![
        label(E, ethernet),
        label(I, Pattern::Seq(ip)),
        label(X, Pattern::Any),
        label(T, Pattern::Any),
        label(HEAD, Pattern::Alt(vec![maybe, bytes(HEAD_LEN)])),
        label(TAIL, Pattern::Any),
    ]);
    let labels = LABELS.map(|name| Label { name: name.to_owned(), width: None });
    Rule { pattern, action: Action::Rewrite(items, 0), labels: labels.into(), span: NOWHERE }
}

pub(crate) fn bytes(count: usize) -> Pattern {
    Pattern::Run(vec![Field { bits: 8, all_of: Vec::new(), counts: None }; count])
}

/// A byte whose upper half is this, and whose lower half counts.
fn nibbles(upper: u8) -> Pattern {
    let value = u64::from(upper);
    let test = Test { order: Order::Big, mask: 0xf, first: value, last: value };
    Pattern::Run(vec![
        Field { bits: 4, all_of: vec![Allowed::AnyOf(vec![test])], counts: None },
        Field { bits: 4, all_of: Vec::new(), counts: Some(Counter(0)) },
    ])
}

pub(crate) fn item(part: Part) -> Item {
    Item { part, settings: Vec::new(), span: NOWHERE }
}

pub(crate) fn label(name: usize) -> Item {
    item(Part::Label(id(name)))
}

pub(crate) fn constant(bytes: &[u8]) -> Item {
    item(Part::Constant(bytes.to_vec()))
}

pub(crate) trait With {
    /// With a field set: whole bytes from here on.
    fn with(self, offset: usize, len: usize, value: Value) -> Self;
    /// With some bits set.
    fn with_bits(self, offset_bits: usize, bits: usize, value: Value) -> Self;
}

impl With for Item {
    fn with(self, offset: usize, len: usize, value: Value) -> Self {
        self.with_bits(8 * offset, 8 * len, value)
    }

    fn with_bits(mut self, offset_bits: usize, bits: usize, value: Value) -> Self {
        let [offset_bits, bits] = [offset_bits, bits].map(|it| u32::try_from(it).unwrap());
        self.settings.push(Setting { offset_bits, bits, value, span: NOWHERE });
        self
    }
}
