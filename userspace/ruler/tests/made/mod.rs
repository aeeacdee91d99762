//! Filters and packets made by dice, for properties of the header DAG: small, and likely to meet.
//!
//! A number makes the same filter for ever, so a failure names the number and nothing else. Bytes come from a short
//! alphabet, so that rules overlap; packets are made by walking a rule, then damaged or cut.
#![allow(dead_code, reason = "each test needs a part of it")]

mod dice;
pub(crate) mod matcher;

use ruler::{
    resolved::{Action, Allowed, Counter, Field, Filter, LabelId, Order, Pattern, Rule, Test},
    source::Span,
};

pub(crate) use dice::Dice;

/// One of the short alphabet.
fn letter(dice: &mut Dice) -> u8 {
    const ALPHABET: [u8; 8] = [0, 1, 2, 3, 0x45, 0x46, 0x80, 0xff];
    dice.one_of(&ALPHABET)
}

fn number(dice: &mut Dice, bits: u8) -> u64 {
    let number = (0..bits.div_ceil(8)).fold(0, |number, _| number << 8 | u64::from(letter(dice)));
    number & ones(bits)
}

pub(crate) fn ones(bits: u8) -> u64 {
    u64::MAX >> (64 - bits)
}

/// A filter of one to six rules.
pub(crate) fn filter(dice: &mut Dice) -> Filter {
    let rules = 1 + dice.below(6);
    Filter { name: "made".to_owned(), rules: (0..rules).map(|number| rule(dice, number)).collect() }
}

fn rule(dice: &mut Dice, number: u64) -> Rule {
    let mut maker = Maker { dice, labels: 0, counters: 0 };
    let pattern = maker.pattern(3, Labels::Some);
    let pattern = match maker.dice.below(3) {
        // An open end is what most rules have.
        0 | 1 => Pattern::Seq(vec![pattern, maker.named(Pattern::Any)]),
        _ => pattern,
    };
    let code = u16::try_from(number).unwrap();
    let action = if dice.once_in(2) { Action::Accept(code) } else { Action::Reject(code) };
    Rule { pattern, action, labels: Vec::new(), span: Span::new(0, 0) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Labels {
    Some,
    None,
}

struct Maker<'a> {
    dice: &'a mut Dice,
    labels: u16,
    counters: u16,
}

impl Maker<'_> {
    fn named(&mut self, pattern: Pattern) -> Pattern {
        self.labels += 1;
        Pattern::Label(LabelId(self.labels - 1), Box::new(pattern))
    }

    fn pattern(&mut self, depth: u32, labels: Labels) -> Pattern {
        let items = 1 + self.dice.below(4);
        let items = (0..items).map(|_| self.item(depth, labels)).collect();
        let pattern = Pattern::Seq(items);
        if labels == Labels::Some && self.dice.once_in(4) { self.named(pattern) } else { pattern }
    }

    fn item(&mut self, depth: u32, labels: Labels) -> Pattern {
        if depth == 0 {
            return self.run();
        }
        match self.dice.below(16) {
            0 => Pattern::Alt((0..=self.dice.below(3)).map(|_| self.pattern(depth - 1, labels)).collect()),
            1 => {
                let least = u32::try_from(self.dice.below(3)).unwrap();
                let most = [None, Some(least + 1), Some(least + 7)][self.dice.index(3)];
                Pattern::Repeat { body: Box::new(self.run()), least, most }
            }
            2 => {
                let body = self.pattern(depth - 1, Labels::None);
                Pattern::Repeat { body: Box::new(body), least: 0, most: Some(2) }
            }
            3 => {
                let count = u32::try_from(1 + self.dice.below(12)).unwrap();
                let body = Pattern::Run(vec![Field { bits: 8, all_of: vec![], counts: None }]);
                Pattern::Repeat { body: Box::new(body), least: count, most: Some(count) }
            }
            4 | 5 => self.counted(depth, labels),
            6 => Pattern::Any,
            7 | 8 if labels == Labels::Some => {
                let body = self.pattern(depth - 1, labels);
                self.named(body)
            }
            9 => {
                let text = (0..1 + self.dice.below(12)).map(|_| letter(self.dice));
                let byte = |b: u8| exactly(8, u64::from(b));
                Pattern::Run(text.collect::<Vec<_>>().into_iter().map(byte).collect())
            }
            _ => self.run(),
        }
    }

    /// A field, perhaps something between, and as many bytes as the field says.
    fn counted(&mut self, depth: u32, labels: Labels) -> Pattern {
        let counter = Counter(self.counters);
        self.counters += 1;
        let mut count = Field { bits: 4, all_of: vec![], counts: Some(counter) };
        if self.dice.once_in(2) {
            count.all_of.push(Allowed::AnyOf(vec![test(ones(4), self.dice.below(6), 15)]));
        }
        let other = Field { bits: 4, all_of: vec![], counts: None };
        let fields = if self.dice.once_in(2) { vec![other, count] } else { vec![count, other] };
        let mut items = vec![Pattern::Run(fields)];
        while self.dice.once_in(2) {
            items.push(self.item(depth - 1, labels));
        }
        let times = u32::try_from(self.dice.below(5)).unwrap();
        let plus = i32::try_from(self.dice.below(12)).unwrap() - 8;
        items.push(Pattern::Counted { field: counter, times, plus });
        Pattern::Seq(items)
    }

    /// One to eight bytes as fields.
    fn run(&mut self) -> Pattern {
        const SHAPES: [&[u8]; 12] = [
            &[8],
            &[8],
            &[16],
            &[16],
            &[4, 4],
            &[3, 13],
            &[24],
            &[32],
            &[48],
            &[64],
            &[1, 6, 9],
            &[4, 64, 4],
        ];
        let shape = SHAPES[self.dice.index(SHAPES.len())];
        Pattern::Run(shape.iter().map(|bits| self.field(*bits)).collect())
    }

    fn field(&mut self, bits: u8) -> Field {
        let conditions = [0, 1, 1, 1, 2][self.dice.index(5)];
        Field { bits, all_of: (0..conditions).map(|_| self.allowed(bits)).collect(), counts: None }
    }

    fn allowed(&mut self, bits: u8) -> Allowed {
        let count = [1, 1, 1, 2, 3, 7][self.dice.index(6)];
        let tests = (0..count).map(|_| self.test(bits)).collect();
        if self.dice.once_in(5) { Allowed::NoneOf(tests) } else { Allowed::AnyOf(tests) }
    }

    fn test(&mut self, bits: u8) -> Test {
        let (a, b) = (number(self.dice, bits), number(self.dice, bits));
        let whole = bits.is_multiple_of(8) && bits <= 48;
        let order = if whole && self.dice.once_in(6) { Order::Little } else { Order::Big };
        match self.dice.below(8) {
            0 => Test { order, mask: u64::MAX, first: a.min(b), last: a.max(b) },
            1 => Test { order, ..test(b, a & b, a & b) },
            2 => {
                let mask = ones(bits) & !ones(1 + u8::try_from(self.dice.below(u64::from(bits))).unwrap());
                Test { order, ..test(mask, a & mask, a & mask) }
            }
            _ => Test { order, ..test(u64::MAX, a, a) },
        }
    }
}

fn test(mask: u64, first: u64, last: u64) -> Test {
    Test { order: Order::Big, mask, first, last }
}

/// A field that must be this number.
pub(crate) fn exactly(bits: u8, number: u64) -> Field {
    Field { bits, all_of: vec![Allowed::AnyOf(vec![test(u64::MAX, number, number)])], counts: None }
}

/// A field that may be anything.
pub(crate) fn free(bits: u8) -> Field {
    Field { bits, all_of: vec![], counts: None }
}

/// A packet that a rule of the filter may like; at most 255 bytes.
pub(crate) fn packet(dice: &mut Dice, filter: &Filter) -> Vec<u8> {
    let rule = &filter.rules[dice.index(filter.rules.len())];
    let mut packet = Vec::new();
    walk(&rule.pattern, dice, &mut packet, &mut Vec::new());
    if dice.once_in(3) {
        let more = dice.below(20);
        packet.extend((0..more).map(|_| letter(dice)));
    }
    if dice.once_in(3) && !packet.is_empty() {
        let at = dice.index(packet.len());
        packet[at] = letter(dice);
    }
    if dice.once_in(4) && !packet.is_empty() {
        packet.truncate(dice.index(packet.len()));
    }
    packet.truncate(255);
    packet
}

/// Appends bytes that this pattern should match, as far as a few tries find them.
fn walk(pattern: &Pattern, dice: &mut Dice, packet: &mut Vec<u8>, counters: &mut Vec<(Counter, u64)>) {
    match pattern {
        Pattern::Run(fields) => {
            let mut bits = Vec::new();
            for field in fields {
                let value = value(field, dice);
                counters.extend(field.counts.map(|counter| (counter, value)));
                bits.extend((0..field.bits).rev().map(|bit| u8::from(value >> bit & 1 == 1)));
            }
            packet.extend(bits.chunks(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit)));
        }
        Pattern::Any => packet.extend((0..dice.below(8)).map(|_| letter(dice)).collect::<Vec<_>>()),
        Pattern::Seq(items) => items.iter().for_each(|item| walk(item, dice, packet, counters)),
        Pattern::Alt(arms) => walk(&arms[dice.index(arms.len())], dice, packet, counters),
        Pattern::Repeat { body, least, most } => {
            let more = most.map_or(3, |most| most - least);
            let times = u64::from(*least) + dice.below(u64::from(more) + 1);
            (0..times).for_each(|_| walk(body, dice, packet, counters));
        }
        Pattern::Counted { field, times, plus } => {
            let value = counters.iter().rev().find(|(counter, _)| counter == field).map_or(0, |(_, v)| *v);
            let count = i64::try_from(value * u64::from(*times)).unwrap() + i64::from(*plus);
            packet.extend((0..count.max(0)).map(|_| letter(dice)).collect::<Vec<_>>());
        }
        Pattern::Label(_, body) => walk(body, dice, packet, counters),
    }
}

fn value(field: &Field, dice: &mut Dice) -> u64 {
    let bounds = field.all_of.iter().flat_map(|allowed| match allowed {
        Allowed::AnyOf(tests) | Allowed::NoneOf(tests) => tests,
    });
    let mut tries: Vec<u64> = bounds
        .flat_map(|test| [test.first, test.last, test.first | !test.mask, test.last.wrapping_add(1)])
        .flat_map(|number| [number, number.swap_bytes() >> (64 - u32::from(field.bits))])
        .map(|number| number & ones(field.bits))
        .collect();
    tries.extend((0..4).map(|_| number(dice, field.bits)));
    let liked: Vec<u64> = tries.iter().copied().filter(|number| field.allows(*number)).collect();
    let tries = if liked.is_empty() { tries } else { liked };
    tries[dice.index(tries.len())]
}
