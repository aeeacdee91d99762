//! Programs of the grammar, made by dice: small, short of alphabet so that rules overlap, and written out as text.
//!
//! It keeps what the static rules ask for (nothing that may be empty is repeated, no label stands in a repetition), so that
//! each program can be used.

use std::fmt::Write as _;

use super::made::Dice;

/// Rules in order.
#[derive(Clone, Debug)]
pub(crate) struct Program(pub(crate) Vec<Rule>);

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    items: Vec<Part>,
    action: Action,
}

/// An item of a pattern.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Byte,
    Any,
    Value(u8),
    Range(u8, u8),
    Mask(u8, u8),
    Not(u8, u8),
    Big(u16),
    Little(u16),
    WideRange(u16, u16),
    /// Two halves of a byte; `None` is any.
    Halves(Option<u8>, Option<u8>),
    Text(Vec<u8>),
    Caseless(Vec<u8>),
    /// One of [`WORDS`].
    Word(usize),
    /// A fixed header, restricted.
    Fixed(u8, u16),
    /// A header with a length in it.
    Counting(Option<u8>),
    /// A length in half a byte, something between, and so many bytes.
    Counted(bool, Box<Part>, u8, i8),
    Group(Vec<Vec<Part>>),
    Repeat(Box<Part>, Count),
    Named(Box<Part>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Exactly(u8),
    Range(u8, u8),
    AtLeast(u8),
    Star,
    Plus,
    Perhaps,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Accept(u16),
    Reject(u16),
    /// Items by what they choose from, and a code.
    Rewrite(Vec<(Choice, usize)>, u16),
}

/// What an output item is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    Label,
    Zero,
    Set,
    Length,
    Constant,
}

/// Marks that are long enough to be searched for, one in another or overlapping.
const WORDS: [&str; 6] = ["\"abc\"", "\"bcabc\"", "\"Abc\"i", "\"cab\"i", "hex\"00ff00\"", "hex\"ff00ff00\""];

const TEMPLATES: &str =
    "pattern Fixed : a:byte b:byte#2 c:bit#4 d:bit#4 ;\npattern Counting : n:0..3 v:byte#(n*2) ;\n";

/// How deep parts stand in parts.
const DEPTH: u8 = 3;

pub(crate) fn program(dice: &mut Dice) -> Program {
    if dice.once_in(5) {
        return searches(dice);
    }
    Program(dice.some(1, 4, |dice| {
        let mut items = dice.some(1, 3, |dice| part(dice, DEPTH));
        if dice.once_in(2) {
            items.push(Part::Named(Box::new(Part::Any)));
        }
        Rule { items, action: action(dice) }
    }))
}

/// Rules that search for words anywhere, and one for the rest.
fn searches(dice: &mut Dice) -> Program {
    let mut rules = dice.some(1, 4, |dice| {
        let words = dice.some(1, 3, |dice| vec![Part::Named(Box::new(Part::Word(dice.index(WORDS.len()))))]);
        Rule { items: vec![Part::Any, Part::Group(words), Part::Any], action: action(dice) }
    });
    rules.push(Rule { items: vec![Part::Any], action: action(dice) });
    Program(rules)
}

fn byte(dice: &mut Dice) -> u8 {
    dice.one_of(&[0, 1, 2, 3, 0x45, 0x46, 0x61, 0x80, 0xff])
}

fn wide(dice: &mut Dice) -> u16 {
    u16::from_be_bytes([byte(dice), byte(dice)])
}

/// From `first`, so many.
fn small(dice: &mut Dice, first: u8, count: u8) -> u8 {
    first + u8::try_from(dice.below(u64::from(count))).unwrap()
}

/// Outside most parts have others in them, inside few do.
fn part(dice: &mut Dice, depth: u8) -> Part {
    let has_parts = match depth {
        0 => return leaf(dice),
        1 => dice.once_in(18),
        2 => dice.once_in(3),
        _ => !dice.once_in(10),
    };
    if has_parts { compound(dice, depth - 1) } else { part(dice, depth - 1) }
}

fn leaf(dice: &mut Dice) -> Part {
    let half = |dice: &mut Dice| dice.once_in(2).then(|| small(dice, 0, 16));
    match dice.below(21) {
        0..3 => Part::Byte,
        3..5 => Part::Any,
        5..9 => Part::Value(byte(dice)),
        9 => {
            let (a, b) = (byte(dice), byte(dice));
            Part::Range(a.min(b), a.max(b))
        }
        10 => {
            let (value, mask) = (byte(dice), small(dice, 1, 255));
            Part::Mask(value & mask, mask)
        }
        11 => Part::Not(byte(dice), byte(dice)),
        12 => Part::Big(wide(dice)),
        13 => Part::Little(wide(dice)),
        14 => {
            let (a, b) = (wide(dice), wide(dice));
            Part::WideRange(a.min(b), a.max(b))
        }
        15 => Part::Halves(half(dice), half(dice)),
        16 => Part::Text(dice.some(1, 3, byte)),
        17 => Part::Caseless(dice.some(1, 2, |dice| dice.one_of(b"aAbE@"))),
        18 => Part::Word(dice.index(WORDS.len())),
        19 => Part::Fixed(byte(dice), wide(dice)),
        _ => Part::Counting(dice.once_in(2).then(|| small(dice, 0, 4))),
    }
}

/// A part with parts of this depth.
fn compound(dice: &mut Dice, depth: u8) -> Part {
    match dice.below(8) {
        0..2 => Part::Group(dice.some(1, 3, |dice| dice.some(1, 2, |dice| part(dice, depth)))),
        2..4 => Part::Repeat(Box::new(part(dice, depth)), count(dice)),
        4..7 => Part::Named(Box::new(part(dice, depth))),
        _ => {
            let (first, between) = (dice.once_in(2), Box::new(part(dice, depth)));
            let (times, plus) = (small(dice, 1, 3), small(dice, 0, 6).cast_signed() - 2);
            Part::Counted(first, between, times, plus)
        }
    }
}

fn count(dice: &mut Dice) -> Count {
    match dice.below(6) {
        0 => Count::Exactly(small(dice, 1, 3)),
        1 => {
            let least = small(dice, 0, 3);
            Count::Range(least, least + small(dice, 1, 3))
        }
        2 => Count::AtLeast(small(dice, 0, 3)),
        3 => Count::Star,
        4 => Count::Plus,
        _ => Count::Perhaps,
    }
}

fn action(dice: &mut Dice) -> Action {
    use Choice::{Constant, Label, Length, Set, Zero};
    const CHOICES: [Choice; 9] = [Label, Label, Label, Label, Zero, Set, Set, Length, Constant];
    let code = |dice: &mut Dice, codes| u16::try_from(dice.below(codes)).unwrap();
    match dice.below(5) {
        0 => Action::Accept(code(dice, 0x1_0000)),
        1 => Action::Reject(code(dice, 0x1_0000)),
        _ => {
            let items = dice.some(1, 4, |dice| (dice.one_of(&CHOICES), dice.index(0x1_0000)));
            Action::Rewrite(items, code(dice, 100))
        }
    }
}

impl Program {
    /// Its text: one filter.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{TEMPLATES}filter f\n");
        for rule in &self.0 {
            let mut writer =
                Writer { text: String::new(), labels: Vec::new(), is_repeated: false, is_optional: false };
            writer.all(&rule.items);
            let Writer { text: pattern, labels, .. } = writer;
            writeln!(text, "  {pattern}=> {};", rule.action.text(&labels)).unwrap();
        }
        text
    }
}

/// A label.
struct Label {
    name: String,
    /// Of a whole [`Part::Fixed`].
    is_fixed: bool,
    /// On every way.
    is_certain: bool,
}

struct Writer {
    text: String,
    labels: Vec<Label>,
    is_repeated: bool,
    /// Not on every way.
    is_optional: bool,
}

impl Writer {
    fn all(&mut self, parts: &[Part]) {
        for part in parts {
            self.part(part);
            self.text.push(' ');
        }
    }

    fn say(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).unwrap();
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Byte => self.text.push_str("byte"),
            Part::Any => self.text.push('*'),
            Part::Value(value) => self.say(format_args!("{value}")),
            Part::Range(first, last) => self.say(format_args!("{first}..{last}")),
            Part::Mask(value, mask) => self.say(format_args!("{value:#x}/{mask:#x}")),
            Part::Not(a, b) => self.say(format_args!("!({a}|{b})")),
            Part::Big(value) => self.say(format_args!("{value}~2")),
            Part::Little(value) => self.say(format_args!("{value}~2le")),
            Part::WideRange(first, last) => self.say(format_args!("{first}..{last}~2")),
            Part::Halves(first, last) => {
                let half = |half: &Option<u8>| half.map_or("bit#4".to_owned(), |half| format!("{half}~4b"));
                self.say(format_args!("{} {}", half(first), half(last)));
            }
            Part::Text(bytes) => {
                let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
                self.say(format_args!("\"{escaped}\""));
            }
            Part::Caseless(bytes) => self.say(format_args!("\"{}\"i", String::from_utf8_lossy(bytes))),
            Part::Word(word) => self.text.push_str(WORDS[*word]),
            Part::Fixed(a, b) => self.say(format_args!("Fixed with [a={a}|7, b={b}..0xffff~2, d=!(3|4)]")),
            Part::Counting(None) => self.text.push_str("Counting"),
            Part::Counting(Some(n)) => self.say(format_args!("Counting with [n={n}]")),
            Part::Counted(..) if self.is_repeated => self.text.push_str("byte"),
            Part::Counted(first, between, times, plus) => self.counted(*first, between, *times, *plus),
            Part::Group(arms) => self.group(arms),
            Part::Repeat(body, _) if body.may_be_empty() => self.part(body),
            Part::Repeat(body, count) => {
                let outside = (self.is_repeated, self.is_optional);
                self.is_repeated |= !matches!(count, Count::Perhaps);
                self.is_optional = true;
                self.group(&[vec![(**body).clone()]]);
                (self.is_repeated, self.is_optional) = outside;
                match count {
                    Count::Exactly(count) => self.say(format_args!("#{count}")),
                    Count::Range(least, most) => self.say(format_args!("#{least}..{most}")),
                    Count::AtLeast(least) => self.say(format_args!("#{least}..*")),
                    Count::Star => self.text.push_str("#*"),
                    Count::Plus => self.text.push_str("#+"),
                    Count::Perhaps => self.text.push_str("#?"),
                }
            }
            Part::Named(body) if self.is_repeated => self.part(body),
            Part::Named(body) => {
                let name = format!("l{}", self.labels.len());
                let is_fixed = matches!(**body, Part::Fixed(..));
                self.labels.push(Label { name: name.clone(), is_fixed, is_certain: !self.is_optional });
                self.say(format_args!("{name}:"));
                match **body {
                    Part::Any | Part::Fixed(..) | Part::Counting(_) | Part::Group(_) => self.part(body),
                    _ => self.group(&[vec![(**body).clone()]]),
                }
            }
        }
    }

    fn group(&mut self, arms: &[Vec<Part>]) {
        let outside = self.is_optional;
        self.is_optional |= 1 < arms.len();
        self.text.push('(');
        for (at, arm) in arms.iter().enumerate() {
            self.text.push_str(if at == 0 { "" } else { "| " });
            self.all(arm);
        }
        self.text.push(')');
        self.is_optional = outside;
    }

    fn counted(&mut self, is_first: bool, between: &Part, times: u8, plus: i8) {
        let name = format!("n{}", self.text.len());
        let halves = if is_first {
            [format!("{name}:0..6~4b"), "bit#4".into()]
        } else {
            ["bit#4".into(), format!("{name}:bit#4")]
        };
        self.say(format_args!("{} {} ", halves[0], halves[1]));
        self.part(between);
        self.say(format_args!(" byte#({name}*{times}{plus:+})"));
    }
}

impl Part {
    fn may_be_empty(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Group(arms) => arms.iter().any(|arm| arm.iter().all(Self::may_be_empty)),
            Self::Named(body) => body.may_be_empty(),
            Self::Repeat(body, count) => {
                body.may_be_empty()
                    || matches!(count, Count::Star | Count::Perhaps | Count::Range(0, _) | Count::AtLeast(0))
            }
            _ => false,
        }
    }
}

impl Action {
    fn text(&self, labels: &[Label]) -> String {
        let (choices, code) = match self {
            Self::Accept(code) => return format!("accept {code}"),
            Self::Reject(code) => return format!("reject {code}"),
            Self::Rewrite(choices, code) => (choices, code),
        };
        let mut items = Vec::new();
        for (choice, at) in choices {
            let label = labels.get(at % labels.len().max(1));
            items.push(match (choice, label) {
                (Choice::Constant, _) | (_, None) => format!("{}~2", at % 65_536),
                (Choice::Zero, Some(Label { name, .. })) => format!("zero({name})"),
                (Choice::Set, Some(Label { name, is_fixed: true, is_certain })) => {
                    let copied = if *is_certain { format!("{name}.b") } else { "0x102~2".to_owned() };
                    format!("{name} with [b={copied}, a={}, c={}~4b]", at % 256, at % 16)
                }
                // Of what a length is taken stands once: this is all there is.
                (Choice::Length, Some(Label { name, is_fixed: true, .. })) if choices.len() == 1 => {
                    format!("{name} with [a=len({name})]")
                }
                (_, Some(Label { name, .. })) => name.clone(),
            });
        }
        format!("{} class {code}", items.join(" "))
    }
}
