//! Repetitions: a fixed number, a range, or as many bytes as an earlier field of the same pattern says.
//!
//! What may be repeated is decided here; what a repetition matches is the engines' business.

use std::collections::BTreeSet;

use super::{
    super::{
        counter::{self, Unfit},
        shape::{Counted, Shape},
    },
    Body,
};
use crate::{
    diagnostic::{Code, Diagnostic},
    resolved::Counter,
    source::Span,
    syntax::tree::{Atom, Count, Item, Name, Number, Sign},
};

/// The greatest number in `#( field * k ± c )`.
const FACTOR_MAX: u64 = 65_535;

impl Body<'_, '_> {
    /// A label in a repetition would mean many places.
    pub(super) fn refuse_labels(&mut self, shape: &Shape) -> Option<()> {
        let mut labels: BTreeSet<(Span, String)> = BTreeSet::new();
        shape.each_name(&mut |binding, _| {
            if !binding.path.contains('.') {
                labels.insert((binding.origin.span, binding.path.clone()));
            }
        });
        for (span, label) in &labels {
            let message = format!("label `{label}` stands in a repetition: it would mean many places");
            self.report(
                Diagnostic::new(Code::RepeatedLabel, *span, message).help("label the whole repetition"),
            );
        }
        labels.is_empty().then_some(())
    }

    /// A shape as often as its item says.
    pub(super) fn repeat(&mut self, item: &Item, shape: Shape) -> Option<Shape> {
        let (least, most) = match item.count {
            None => return Some(shape),
            Some(Count::Exactly(count)) => (count, Some(count)),
            Some(Count::Range(least, most)) => (least, most),
            Some(Count::Field { .. }) => unreachable!("counts by fields are handled before"),
        };
        if matches!(item.atom, Atom::Any) {
            // Diagnosed by the parser.
            return None;
        }
        if shape.length().0 == 0 {
            let message = "what is repeated may be empty: there is no telling how often";
            self.report(
                Diagnostic::new(Code::RepeatedEmpty, item.span, message)
                    .help("repeat what has at least one byte"),
            );
            return None;
        }
        let most = match most {
            None => None,
            Some(most) => Some(self.small(most)?),
        };
        let least = u32::try_from(least.value).ok().filter(|least| *least <= most.unwrap_or(65_535))?;
        self.spend(item.span, 1)?;
        Some(if (least, most) == (1, Some(1)) {
            shape
        } else {
            Shape::Repeat { body: Box::new(shape), least, most }
        })
    }

    /// As many bytes as the field of this label says: `label * times + plus`.
    pub(super) fn counted(
        &mut self,
        item: &Item,
        label: &Name,
        times: Option<Number>,
        plus: Option<(Sign, Number)>,
    ) -> Option<Shape> {
        if !matches!(item.atom, Atom::Byte) {
            let message = "only `byte` can be counted by a field";
            self.report(Diagnostic::new(Code::BadCounter, item.span, message).help("write `byte#( … )`"));
            return None;
        }
        for number in times.iter().chain(plus.iter().map(|(_, number)| number)) {
            if FACTOR_MAX < number.value {
                self.report(Diagnostic::limit(number.span, "numbers in a count", number.value, FACTOR_MAX));
                return None;
            }
        }
        let small = |number: Number| u16::try_from(number.value).unwrap_or(u16::MAX);
        let times = times.map_or(1, small);
        let plus = plus.map_or(0, |(sign, number)| match sign {
            Sign::Plus => i32::from(small(number)),
            Sign::Minus => -i32::from(small(number)),
        });
        let known = self.counts.iter().find(|(name, _)| name.text == label.text).map(|(_, counter)| *counter);
        let field = match known {
            Some(counter) => counter,
            None => {
                let counter = Counter(self.counters);
                self.counters = self.counters.checked_add(1)?;
                counter
            }
        };
        self.counts.push((label.clone(), field));
        self.spend(item.span, 1)?;
        let most = u32::try_from(255 * i64::from(times) + i64::from(plus)).unwrap_or(0);
        let least = u32::try_from(plus).unwrap_or(0);
        Some(Shape::Counted(Counted { field, times: times.into(), plus, least, most }))
    }

    /// Ties every count to its field, which must stand before it, and settles what both can be.
    pub(super) fn tie_counts(&mut self, shape: &mut Shape) -> Option<()> {
        for (label, counter) in std::mem::take(&mut self.counts) {
            let Err(unfit) = counter::tie(shape, &label.text, counter) else { continue };
            let name = &label.text;
            let message = match unfit {
                Unfit::Unknown => format!("no label `{name}` stands before this count"),
                Unfit::NotAlwaysBound => format!("label `{name}` is not bound on each way to this count"),
                Unfit::NotANumber => format!("label `{name}` is not one number of at most 8 bits"),
            };
            let help = "a count names a field of the same pattern that always stands before it";
            self.report(Diagnostic::new(Code::BadCounter, label.span, message).help(help));
            return None;
        }
        let mut first = None;
        shape.each_name(&mut |binding, _| {
            first.get_or_insert(binding.origin.span);
        });
        if counter::settle(shape).is_err() {
            let message = "a count of this pattern is negative whatever its field holds";
            self.report(Diagnostic::new(Code::BadCounter, first.unwrap_or(Span::new(0, 0)), message));
            return None;
        }
        Some(())
    }
}
