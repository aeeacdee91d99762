//! Numbers: whether they fit where they stand, and whether ranges, masks, sizes and counts hold anything.
//!
//! Widths of fields are not known here; a value is judged by the size that is written beside it.

use crate::diagnostic::{Code, Diagnostic, Reports};
use crate::syntax::token::Unit;
use crate::syntax::tree::{
    Action, Allowed, Atom, Count, Definition, Extent, Integer, Item, Made, Number, Output, Pattern, Program,
    Restriction, Set, SetTo, Size, Value,
};

/// The most repetitions of an item: no packet is longer.
pub const REPETITIONS_MAX: u64 = 65_535;
/// The greatest code of an action.
pub const ACTION_CODE_MAX: u64 = 65_535;
/// The widest number with a size in bytes.
const NUMBER_BYTES_MAX: u64 = 8;

/// Judges every number of the tree.
pub fn check(program: &Program, reports: &mut Reports) {
    let mut judge = Judge { reports };
    for definition in &program.definitions {
        match definition {
            Definition::Include(..) => {}
            Definition::Template(_, body) => judge.pattern(body),
            Definition::Filter(_, rules) => {
                for rule in rules {
                    judge.pattern(&rule.pattern);
                    judge.action(&rule.action);
                }
            }
        }
    }
}

struct Judge<'a> {
    reports: &'a mut Reports,
}

impl Judge<'_> {
    fn pattern(&mut self, pattern: &Pattern) {
        pattern.arms.iter().flatten().for_each(|item| self.item(item));
    }

    fn item(&mut self, item: &Item) {
        match &item.atom {
            Atom::Byte | Atom::Bit | Atom::Any => {}
            Atom::Value(value) => self.value(value),
            Atom::Not(set) => self.set(set),
            Atom::Template(_, fields) => self.restrictions(fields),
            Atom::Group(body, fields) => {
                self.pattern(body);
                self.restrictions(fields);
            }
        }
        match &item.count {
            Some(Count::Exactly(count)) => self.count(*count),
            Some(Count::Range(least, most)) => self.bounds(*least, *most),
            Some(Count::Field { .. }) | None => {}
        }
    }

    fn restrictions(&mut self, fields: &[Restriction]) {
        for allowed in fields.iter().flat_map(|field| &field.values) {
            match allowed {
                Allowed::Not(set) => self.set(set),
                Allowed::Value(value, copies) => {
                    self.value(value);
                    copies.iter().for_each(|copies| self.count(*copies));
                }
            }
        }
    }

    fn action(&mut self, action: &Action) {
        let code = match action {
            Action::Accept(code) | Action::Reject(code) => code,
            Action::Rewrite(outputs, code) => {
                outputs.iter().for_each(|output| self.output(output));
                code
            }
        };
        if let Some(code) = code.filter(|code| ACTION_CODE_MAX < code.value) {
            self.reports.push(Diagnostic::limit(code.span, "codes", code.value, ACTION_CODE_MAX));
        }
    }

    fn output(&mut self, output: &Output) {
        match output {
            Output::Made(made) => self.made(made),
            Output::Part(_, settings) => {
                for setting in settings {
                    if let SetTo::Made(made) = &setting.value {
                        self.made(made);
                    }
                }
            }
        }
    }

    fn made(&mut self, made: &Made) {
        if let Made::Constant(value, copies) = made {
            self.value(value);
            copies.iter().for_each(|copies| self.count(*copies));
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Integer(integer) => self.integer(integer),
            Value::Ipv4(_, prefix) => self.prefix(*prefix, 32),
            Value::Ip6(_, prefix) => self.prefix(*prefix, 128),
            // An empty string is written on purpose and matches nothing at all, which is no contradiction.
            Value::Bytes(_) | Value::Caseless(_) => {}
        }
    }

    fn set(&mut self, set: &Set) {
        match set {
            Set::AnyOf(sets) => sets.iter().for_each(|set| self.set(set)),
            // Its size is that of the field it is compared with, which is not known here.
            Set::Integer(integer) => self.extent(integer),
        }
    }

    fn integer(&mut self, integer: &Integer) {
        let Some(bits) = self.width(integer.size) else { return };
        self.fits(integer.first, bits);
        match integer.extent {
            Extent::Upto(number) | Extent::Mask(number) => self.fits(number, bits),
            Extent::One => {}
        }
        self.extent(integer);
    }

    /// In bits; `None`, diagnosed, if there is no such width.
    fn width(&mut self, size: Option<Size>) -> Option<u64> {
        let Some(size) = size else { return Some(8) };
        let (limit, scale, what) = match size.unit {
            Unit::Bits => (8 * NUMBER_BYTES_MAX, 1, "bits of a number"),
            Unit::Bytes | Unit::LittleEndian => (NUMBER_BYTES_MAX, 8, "bytes of a number"),
        };
        let Number { value, span } = size.count;
        if value == 0 {
            self.empty(size.count, "a size of 0 holds nothing");
        } else if limit < value {
            self.reports.push(Diagnostic::limit(span, what, value, limit));
        }
        (1..=limit).contains(&value).then_some(value * scale)
    }

    fn fits(&mut self, number: Number, bits: u64) {
        let Number { value, span } = number;
        let needed = u64::from(64 - value.leading_zeros()).max(1);
        if needed <= bits {
            return;
        }
        let wide = match bits {
            8 => "one byte".to_owned(),
            _ if bits.is_multiple_of(8) => format!("{} bytes", bits / 8),
            1 => "one bit".to_owned(),
            _ => format!("{bits} bits"),
        };
        let shown = if value < 0x100 { value.to_string() } else { format!("{value:#x}") };
        let help = if bits.is_multiple_of(8) {
            format!("`{shown}~{}`", needed.div_ceil(8))
        } else {
            format!("`{shown}~{needed}b`")
        };
        let message = format!("{shown} does not fit in {wide}");
        self.reports.push(Diagnostic::new(Code::TooBig, span, message).help(format!("write {help}")));
    }

    fn extent(&mut self, integer: &Integer) {
        match integer.extent {
            Extent::Upto(last) if last.value < integer.first.value => {
                self.empty(last, "this range ends before it begins")
            }
            Extent::Mask(mask) if integer.first.value & !mask.value != 0 => {
                self.empty(mask, "the value has bits outside this mask: nothing is equal to it");
            }
            _ => {}
        }
    }

    fn prefix(&mut self, prefix: Option<Number>, limit: u64) {
        if let Some(prefix) = prefix.filter(|prefix| limit < prefix.value) {
            self.reports.push(Diagnostic::limit(prefix.span, "bits of a prefix", prefix.value, limit));
        }
    }

    fn bounds(&mut self, least: Number, most: Option<Number>) {
        let highest = most.unwrap_or(least);
        if highest.value < least.value {
            self.empty(highest, "this count ends before it begins");
        } else if most.is_some_and(|most| most.value == 0) {
            self.empty(highest, "a count of 0 leaves nothing");
        } else if REPETITIONS_MAX < highest.value {
            self.reports.push(Diagnostic::limit(highest.span, "repetitions", highest.value, REPETITIONS_MAX));
        }
    }

    fn count(&mut self, count: Number) {
        self.bounds(count, Some(count));
    }

    fn empty(&mut self, number: Number, message: &str) {
        self.reports.push(Diagnostic::new(Code::Empty, number.span, message));
    }
}
