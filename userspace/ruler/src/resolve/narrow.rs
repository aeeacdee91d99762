//! `with` in a pattern: which values a field may hold, and whether they are as wide as the field.
//!
//! How the values are brought into the pattern is in `cut`.

use super::cube::CUBES_MAX;
use super::cut::{self, NoRest};
use super::mistake::{self, Widths, Written, joined, place};
use super::pattern::Body;
use super::shape::{Binding, Shape};
use super::value;
use crate::diagnostic::{Code, Diagnostic};
use crate::resolved::{Allowed as Permitted, Field, Order, Test};
use crate::syntax::tree::{Allowed, Path, Restriction};

impl Body<'_, '_> {
    /// What is left of `shape`, which is a use of `template`, or a group.
    pub(super) fn restrict(
        &mut self,
        shape: Shape,
        fields: &[Restriction],
        template: Option<&str>,
    ) -> Option<Shape> {
        let mut shape = shape;
        let mut fits = true;
        for field in fields {
            match self.restrict_field(&shape, field, template) {
                Some(left) => shape = left,
                None => fits = false,
            }
        }
        fits.then_some(shape)
    }

    fn restrict_field(
        &mut self,
        shape: &Shape,
        field: &Restriction,
        template: Option<&str>,
    ) -> Option<Shape> {
        let path = joined(&field.path);
        let Some((binding, bits)) = shape.find(&path) else {
            let what = template.map_or("this group".to_owned(), |name| format!("`{name}`"));
            self.report(mistake::no_field(&what, &field.path, mistake::names(shape, "")));
            return None;
        };
        let Some(bits) = bits else {
            let message = format!("field `{path}` has no fixed width: it cannot be compared");
            self.report(Diagnostic::new(Code::Width, place(&field.path), message));
            return None;
        };
        let binding = binding.clone();
        let mut alternatives = Vec::new();
        for allowed in &field.values {
            alternatives.push(self.alternative(allowed, bits, &binding, &field.path)?);
        }
        let fields: usize = alternatives.iter().map(Vec::len).sum();
        self.spend(place(&field.path), fields)?;
        let alternatives = merged(alternatives, bits);
        let left = match cut::narrowed(shape, &path, &alternatives) {
            Ok(left) => left,
            Err(NoRest::Nothing) => {
                let message = format!("nothing is left: `{path}` holds other values already");
                self.report(Diagnostic::new(Code::NothingLeft, place(&field.path), message));
                return None;
            }
            Err(NoRest::TooMuch) => {
                let (given, limit) = (CUBES_MAX as u64 + 1, CUBES_MAX as u64);
                self.report(Diagnostic::limit(place(&field.path), "ways to divide a field", given, limit));
                return None;
            }
        };
        // Each alternative may have cost a copy.
        self.spend(place(&field.path), left.size().saturating_sub(shape.size()))?;
        Some(left)
    }

    /// One of a field's values, as fields; `None`, diagnosed, if it is not as wide as the field.
    fn alternative(
        &mut self,
        allowed: &Allowed,
        bits: u32,
        binding: &Binding,
        path: &Path,
    ) -> Option<Vec<Field>> {
        match allowed {
            Allowed::Not(set) => {
                let Some(width) = u8::try_from(bits).ok().filter(|bits| *bits <= 64) else {
                    let message = "`!` stands for fields of at most 8 bytes";
                    self.report(Diagnostic::new(Code::Width, place(path), message));
                    return None;
                };
                Some(vec![self.none_of(set, width, place(path))?])
            }
            Allowed::Value(value, copies) => {
                let fields = value::fields(value)?;
                let copies = copies.map_or(1, |copies| copies.value);
                let one: u64 = fields.iter().map(|field| u64::from(field.bits)).sum();
                let given = one.saturating_mul(copies);
                if given != u64::from(bits) {
                    let given = u32::try_from(given).unwrap_or(u32::MAX);
                    let widths = Widths { given, wanted: bits };
                    let value = Written { value, copies };
                    self.report(mistake::wrong_width(
                        self.resolver.files,
                        self.file,
                        value,
                        widths,
                        binding,
                        path,
                    ));
                    return None;
                }
                let copies = usize::try_from(copies).ok()?;
                Some((0..copies).flat_map(|_| fields.iter().cloned()).collect())
            }
        }
    }
}

/// As few alternatives, and as few fields in each, as the values allow.
fn merged(alternatives: Vec<Vec<Field>>, bits: u32) -> Vec<Vec<Field>> {
    let Some(bits) = u8::try_from(bits).ok().filter(|bits| *bits <= 64) else {
        return alternatives.into_iter().map(in_words).collect();
    };
    let mut tests = Vec::new();
    let mut others = Vec::new();
    for fields in alternatives {
        match one_test(&fields) {
            Some(test) => tests.push(test),
            None => others.push(fields),
        }
    }
    if !tests.is_empty() {
        others.insert(0, vec![Field { bits, all_of: vec![Permitted::AnyOf(tests)], counts: None }]);
    }
    others
}

/// Bytes with one value put together to words of eight.
fn in_words(fields: Vec<Field>) -> Vec<Field> {
    let mut words: Vec<Vec<Field>> = Vec::new();
    let mut bits = 64;
    for field in fields {
        if 64 < bits + u32::from(field.bits) {
            words.push(Vec::new());
            bits = 0;
        }
        bits += u32::from(field.bits);
        words.last_mut().into_iter().for_each(|word| word.push(field.clone()));
    }
    let word = |fields: Vec<Field>| match one_test(&fields) {
        Some(test) => vec![value::one_of(fields.iter().map(|field| field.bits).sum(), test)],
        None => fields,
    };
    words.into_iter().flat_map(word).collect()
}

/// The fields as one test of all their bits, if each has one value under some mask, or if there is only one.
fn one_test(fields: &[Field]) -> Option<Test> {
    let single = |field: &Field| match &field.all_of[..] {
        [] => Some(Test { order: Order::Big, mask: 0, first: 0, last: 0 }),
        [Permitted::AnyOf(tests)] if tests.len() == 1 => tests.first().copied(),
        _ => None,
    };
    if let [field] = fields {
        return single(field);
    }
    let (mut mask, mut value, mut bits) = (0u64, 0u64, 0u32);
    for field in fields {
        let test = single(field).filter(|test| test.first == test.last)?;
        let width = u32::from(field.bits);
        let whole = u64::MAX >> (64 - width);
        let in_order = |number: u64| match test.order {
            Order::Big => number & whole,
            Order::Little => (number & whole).swap_bytes() >> (64 - width),
        };
        mask = mask.checked_shl(width).unwrap_or(0) | in_order(test.mask);
        value = value.checked_shl(width).unwrap_or(0) | in_order(test.first);
        bits += width;
    }
    let mask = if mask == u64::MAX.checked_shr(64 - bits).unwrap_or(0) { u64::MAX } else { mask };
    Some(Test { order: Order::Big, mask, first: value, last: value })
}
