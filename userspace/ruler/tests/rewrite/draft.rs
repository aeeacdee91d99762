//! Outputs made by dice: the packet's own items in their order, then cut, edited and set.
//!
//! They keep what the front end promises: arguments of functions are made exactly once, settings do not overlap.

use ruler::resolved::{Item, Part, Rule, Value};

use super::{
    dice::Dice,
    rule::{self, With as _, id, label},
    traffic::{Ip, Shape, Transport},
};

/// What an output is made from.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    split_ethernet: bool,
    /// How many items are left out before and behind.
    cut: (usize, usize),
    /// And where: counted round the items.
    edits: Vec<(Edit, usize)>,
    settings: [bool; 11],
}

#[derive(Clone, Debug)]
enum Edit {
    Zero,
    Remove,
    Duplicate,
    SwapWithNext,
    Unpad,
    UnpadLast,
    Constant(Vec<u8>),
    ConstantForIt(u8),
    Anonymised,
    Maybe,
}

pub(crate) fn draft(dice: &mut Dice) -> Draft {
    // Most outputs leave out nothing.
    let few = |dice: &mut Dice| if dice.once_in(4) { dice.index(5) } else { 0 };
    Draft {
        split_ethernet: dice.once_in(2),
        cut: (few(dice), few(dice)),
        edits: match dice.below(3) {
            0 => Vec::new(),
            _ => dice.some(1, 2, |dice| (edit(dice), dice.index(0x100))),
        },
        settings: std::array::from_fn(|_| dice.once_in(2)),
    }
}

fn edit(dice: &mut Dice) -> Edit {
    match dice.below(13) {
        0 => Edit::Zero,
        1 => Edit::Remove,
        2 => Edit::Duplicate,
        3 => Edit::SwapWithNext,
        4 => Edit::Unpad,
        5..8 => Edit::UnpadLast,
        8 => Edit::Constant(dice.some(0, 7, Dice::any_byte)),
        9..11 => Edit::ConstantForIt(dice.any_byte()),
        11 => Edit::Anonymised,
        _ => Edit::Maybe,
    }
}

impl Draft {
    /// The rule, for packets of this shape's IP version and transport.
    pub(crate) fn rule(&self, shape: &Shape) -> Rule {
        let version = if matches!(shape.ip, Ip::V4 { .. }) { 4 } else { 6 };
        let mut items = self.items();
        for (edit, at) in &self.edits {
            if items.is_empty() {
                break;
            }
            let at = at % items.len();
            edit.apply(&mut items, at);
        }
        self.set(version, shape.transport, &mut items);
        rule::rule(version, items)
    }

    fn items(&self) -> Vec<Item> {
        let ethernet = match self.split_ethernet {
            false => vec![label(rule::E)],
            true => vec![label(rule::E_DST), label(rule::E_SRC), rule::constant(&[0x88, 0xb5])],
        };
        let rest = [rule::I, rule::X, rule::T, rule::HEAD, rule::TAIL].map(label);
        let mut items = [ethernet, rest.into()].concat();
        items.drain(..self.cut.0);
        items.truncate(items.len().saturating_sub(self.cut.1));
        items
    }

    fn set(&self, version: u8, transport: Transport, items: &mut [Item]) {
        let made = |label: usize| -> Vec<usize> {
            let is_made = |item: &Item| matches!(item.part, Part::Label(it) | Part::Zero(it) | Part::Unpad(it, _) if it == id(label));
            items.iter().enumerate().filter(|(_, item)| is_made(item)).map(|(at, _)| at).collect()
        };
        let ip = match made(rule::I).as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let of = [rule::I, rule::X, rule::T, rule::HEAD, rule::TAIL];
        let once = of.into_iter().filter(|it| made(*it).len() == 1).map(id).collect();
        let len = Value::Len(once);
        let sum = match transport {
            Transport::Tcp => Value::TcpCsum(id(rule::I)),
            Transport::Udp => Value::UdpCsum(id(rule::I)),
        };
        let mut sums = 0;
        for (at, item) in items.iter_mut().enumerate() {
            let Part::Label(label) = item.part else { continue };
            let mut set = |nth: usize, offset_bits: usize, bits: usize, value: Value| {
                if self.settings[nth] {
                    *item = item.clone().with_bits(offset_bits, bits, value);
                }
            };
            let constant = |bytes: &[u8]| Value::Constant(bytes.to_vec());
            match (usize::from(label.0), version) {
                (rule::E, _) => {
                    set(0, 0, 48, Value::Label(id(rule::E_SRC)));
                    set(1, 48, 48, Value::Label(id(rule::E_DST)));
                }
                (rule::I, 4) => {
                    set(0, 8, 8, Value::Label(id(rule::MAYBE)));
                    set(2, 51, 13, constant(&[0, 0]));
                    set(3, 96, 32, Value::PrefixAnon(id(rule::I_SRC)));
                    set(4, 128, 32, Value::Label(id(rule::I_SRC)));
                    set(5, 16, 16, len.clone());
                    set(6, 80, 16, Value::Ipv4Csum);
                }
                (rule::I, _) => {
                    set(0, 4, 8, constant(&[0x5a]));
                    set(2, 12, 20, constant(&[0x0f, 0xed, 0xcb]));
                    set(3, 64, 128, Value::Label(id(rule::I_DST)));
                    set(4, 192, 128, Value::PrefixAnon(id(rule::I_DST)));
                    set(5, 32, 16, len.clone());
                }
                (rule::T, _) => {
                    set(7, 0, 16, constant(&[0x12, 0x34]));
                    let is_first = self.settings[8] && ip.is_some_and(|ip| ip < at) && sums == 0;
                    if is_first {
                        sums += 1;
                        set(8, 8 * transport.field(), 16, sum.clone());
                    }
                }
                (rule::MAYBE, _) => set(9, 0, 8, Value::Label(id(rule::MAYBE))),
                (rule::HEAD, _) => {
                    set(9, 8, 8, constant(&[0x7f]));
                    set(10, 16, 7, len.clone());
                }
                _ => {}
            }
        }
    }
}

impl Edit {
    fn apply(&self, items: &mut Vec<Item>, at: usize) {
        let from = match items[at].part {
            Part::Label(label) => usize::from(label.0),
            _ => rule::TAIL,
        };
        match self {
            Self::Zero => items[at] = rule::item(Part::Zero(id(from))),
            Self::Remove => drop(items.remove(at)),
            Self::Duplicate => items.insert(at, items[at].clone()),
            Self::SwapWithNext => {
                let next = (at + 1) % items.len();
                items.swap(at, next);
            }
            Self::Unpad => items[at] = rule::item(Part::Unpad(id(from), id(rule::I))),
            Self::UnpadLast => {
                items.pop();
                items.push(rule::item(Part::Unpad(id(rule::TAIL), id(rule::I))));
            }
            Self::Constant(bytes) => items.insert(at, rule::constant(bytes)),
            Self::ConstantForIt(byte) => {
                let len = [14, 6, 6, 20, 4, 4, 8, 20, 1, rule::HEAD_LEN, 5][from];
                items[at] = rule::constant(&vec![*byte; len]);
            }
            Self::Anonymised => items[at] = rule::item(Part::PrefixAnon(id(rule::I_SRC))),
            Self::Maybe => items.insert(at, label(rule::MAYBE)),
        }
    }
}
