//! Programs of the grammar, at random: small, short of alphabet so that rules overlap, and written out as text.
//!
//! It keeps what the static rules ask for (nothing that may be empty is repeated, no label stands in a repetition), so that
//! each program can be used.

use std::fmt::Write as _;

use proptest::prelude::*;

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

pub(crate) fn programs() -> impl Strategy<Value = Program> {
    let rule = (prop::collection::vec(part(), 1..4), any::<bool>(), action()).prop_map(
        |(mut items, open, action)| {
            if open {
                items.push(Part::Named(Box::new(Part::Any)));
            }
            Rule { items, action }
        },
    );
    prop_oneof![
        4 => prop::collection::vec(rule, 1..5).prop_map(Program),
        1 => searches(),
    ]
}

/// Rules that search for words anywhere, and one for the rest.
fn searches() -> impl Strategy<Value = Program> {
    let word = || (0..WORDS.len()).prop_map(|word| vec![Part::Named(Box::new(Part::Word(word)))]);
    let rule = (prop::collection::vec(word(), 1..4), action())
        .prop_map(|(words, action)| Rule { items: vec![Part::Any, Part::Group(words), Part::Any], action });
    (prop::collection::vec(rule, 1..5), action()).prop_map(|(mut rules, action)| {
        rules.push(Rule { items: vec![Part::Any], action });
        Program(rules)
    })
}

fn byte() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0, 1, 2, 3, 0x45, 0x46, 0x61, 0x80, 0xff])
}

fn wide() -> impl Strategy<Value = u16> {
    (byte(), byte()).prop_map(|(high, low)| u16::from_be_bytes([high, low]))
}

fn part() -> impl Strategy<Value = Part> {
    let half = || prop::option::of(0..16_u8);
    let leaf = prop_oneof![
        3 => Just(Part::Byte),
        2 => Just(Part::Any),
        4 => byte().prop_map(Part::Value),
        1 => (byte(), byte()).prop_map(|(a, b)| Part::Range(a.min(b), a.max(b))),
        1 => (byte(), 1..=255_u8).prop_map(|(value, mask)| Part::Mask(value & mask, mask)),
        1 => (byte(), byte()).prop_map(|(a, b)| Part::Not(a, b)),
        1 => wide().prop_map(Part::Big),
        1 => wide().prop_map(Part::Little),
        1 => (wide(), wide()).prop_map(|(a, b)| Part::WideRange(a.min(b), a.max(b))),
        1 => (half(), half()).prop_map(|(a, b)| Part::Halves(a, b)),
        1 => prop::collection::vec(byte(), 1..4).prop_map(Part::Text),
        1 => prop::collection::vec(prop::sample::select(b"aAbE@".to_vec()), 1..3).prop_map(Part::Caseless),
        1 => (0..WORDS.len()).prop_map(Part::Word),
        1 => (byte(), wide()).prop_map(|(a, b)| Part::Fixed(a, b)),
        1 => prop::option::of(0..4_u8).prop_map(Part::Counting),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let arms = prop::collection::vec(prop::collection::vec(inner.clone(), 1..3), 1..4);
        let count = prop_oneof![
            (1..4_u8).prop_map(Count::Exactly),
            (0..3_u8, 1..4_u8).prop_map(|(least, more)| Count::Range(least, least + more)),
            (0..3_u8).prop_map(Count::AtLeast),
            Just(Count::Star),
            Just(Count::Plus),
            Just(Count::Perhaps),
        ];
        prop_oneof![
            2 => arms.prop_map(Part::Group),
            2 => (inner.clone(), count).prop_map(|(body, count)| Part::Repeat(Box::new(body), count)),
            3 => inner.clone().prop_map(|body| Part::Named(Box::new(body))),
            1 => (any::<bool>(), inner, 1..4_u8, -2..4_i8)
                .prop_map(|(first, between, times, plus)| Part::Counted(first, Box::new(between), times, plus)),
        ]
    })
}

fn action() -> impl Strategy<Value = Action> {
    let choice = prop_oneof![
        4 => Just(Choice::Label),
        1 => Just(Choice::Zero),
        2 => Just(Choice::Set),
        1 => Just(Choice::Length),
        1 => Just(Choice::Constant),
    ];
    let items = prop::collection::vec((choice, any::<usize>()), 1..5);
    prop_oneof![
        1 => any::<u16>().prop_map(Action::Accept),
        1 => any::<u16>().prop_map(Action::Reject),
        3 => (items, 0..100_u16).prop_map(|(items, code)| Action::Rewrite(items, code)),
    ]
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
