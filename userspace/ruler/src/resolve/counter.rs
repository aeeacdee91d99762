//! Counts from a field, `#( field * k ± c )`: ties each to its field, and works out how many bytes it can be.
//!
//! A count that can be only one number becomes a plain repetition.

use std::collections::{BTreeMap, BTreeSet};

use super::shape::{Counted, Run, Shape};
use super::value;
use crate::resolved::{Counter, Field};

/// Why a label cannot count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// No label before it has this name.
    Unknown,
    /// Some way to the count does not bind it.
    NotAlwaysBound,
    /// It is not one number of at most eight bits.
    NotANumber,
}

/// Makes the label that is bound before the count its field.
pub(super) fn tie(shape: &mut Shape, label: &str, counter: Counter) -> Result<(), Unfit> {
    let mut bound = BTreeSet::new();
    if !is_bound_before(shape, label, counter, &mut bound) {
        return Err(if shape.find(label).is_some() { Unfit::NotAlwaysBound } else { Unfit::Unknown });
    }
    mark(shape, label, counter)
}

/// Follows each way; `bound` tells whether it has bound the label so far.
fn is_bound_before<'a>(
    shape: &'a Shape,
    label: &str,
    counter: Counter,
    bound: &mut BTreeSet<&'a str>,
) -> bool {
    match shape {
        Shape::Run(run) => {
            bound.extend(run.names.iter().map(|name| name.binding.path.as_str()));
            true
        }
        Shape::Any => true,
        Shape::Counted(counted) => counted.field != counter || bound.contains(label),
        Shape::Seq(parts) => parts.iter().all(|part| is_bound_before(part, label, counter, bound)),
        Shape::Alt(arms) => {
            let mut ends = Vec::new();
            for arm in arms {
                let mut end = bound.clone();
                if !is_bound_before(arm, label, counter, &mut end) {
                    return false;
                }
                ends.push(end);
            }
            if let Some(common) =
                ends.into_iter().reduce(|all, end| all.intersection(&end).copied().collect())
            {
                *bound = common;
            }
            true
        }
        Shape::Repeat { body, least, .. } => {
            let mut end = bound.clone();
            let fits = is_bound_before(body, label, counter, &mut end);
            if 0 < *least {
                *bound = end;
            }
            fits
        }
        Shape::Named(binding, inner) => {
            let fits = is_bound_before(inner, label, counter, bound);
            bound.insert(&binding.path);
            fits
        }
    }
}

fn mark(shape: &mut Shape, label: &str, counter: Counter) -> Result<(), Unfit> {
    match shape {
        Shape::Run(Run { fields, names }) => {
            for name in names.iter().filter(|name| name.binding.path == label) {
                let mut offset = 0;
                let field = fields.iter_mut().find(|field| {
                    let here = offset;
                    offset += u32::from(field.bits);
                    (here, u32::from(field.bits)) == (name.offset, name.bits)
                });
                mark_field(field, counter)?;
            }
            Ok(())
        }
        Shape::Any | Shape::Counted(_) => Ok(()),
        Shape::Seq(parts) | Shape::Alt(parts) => {
            parts.iter_mut().try_for_each(|part| mark(part, label, counter))
        }
        Shape::Repeat { body, .. } => mark(body, label, counter),
        Shape::Named(binding, inner) if binding.path == label => mark_number(inner, counter),
        Shape::Named(_, inner) => mark(inner, label, counter),
    }
}

fn mark_number(shape: &mut Shape, counter: Counter) -> Result<(), Unfit> {
    match shape {
        Shape::Run(Run { fields, .. }) if fields.len() == 1 => mark_field(fields.first_mut(), counter),
        Shape::Alt(arms) => arms.iter_mut().try_for_each(|arm| mark_number(arm, counter)),
        Shape::Named(_, inner) => mark_number(inner, counter),
        _ => Err(Unfit::NotANumber),
    }
}

fn mark_field(field: Option<&mut Field>, counter: Counter) -> Result<(), Unfit> {
    match field {
        Some(field) if field.bits <= 8 && field.counts.is_none_or(|other| other == counter) => {
            field.counts = Some(counter);
            Ok(())
        }
        _ => Err(Unfit::NotANumber),
    }
}

/// Brings the counts up to date with what their fields may be; an error if one can only be negative.
pub(super) fn settle(shape: &mut Shape) -> Result<(), Unfit> {
    let mut values = BTreeMap::new();
    gather(shape, &mut values);
    settle_with(shape, &values)
}

type Values = BTreeMap<Counter, BTreeSet<u8>>;

fn gather(shape: &Shape, values: &mut Values) {
    match shape {
        Shape::Run(run) => {
            for field in &run.fields {
                let Some(counter) = field.counts else { continue };
                let last = u8::MAX >> (8 - field.bits.min(8));
                values
                    .entry(counter)
                    .or_default()
                    .extend((0..=last).filter(|value| field.allows((*value).into())));
            }
        }
        Shape::Any | Shape::Counted(_) => {}
        Shape::Seq(parts) | Shape::Alt(parts) => parts.iter().for_each(|part| gather(part, values)),
        Shape::Repeat { body: inner, .. } | Shape::Named(_, inner) => gather(inner, values),
    }
}

fn settle_with(shape: &mut Shape, values: &Values) -> Result<(), Unfit> {
    match shape {
        Shape::Run(_) | Shape::Any => Ok(()),
        Shape::Seq(parts) | Shape::Alt(parts) => {
            parts.iter_mut().try_for_each(|part| settle_with(part, values))
        }
        Shape::Repeat { body: inner, .. } | Shape::Named(_, inner) => settle_with(inner, values),
        Shape::Counted(counted) => {
            let Some(values) = values.get(&counted.field) else { return Ok(()) };
            let bytes: Vec<i64> = values.iter().map(|value| bytes(*counted, *value)).collect();
            let possible: BTreeSet<u32> =
                bytes.iter().filter_map(|bytes| u32::try_from(*bytes).ok()).collect();
            let (Some(least), Some(most)) = (possible.first(), possible.last()) else {
                return Err(Unfit::NotANumber);
            };
            (counted.least, counted.most) = (*least, *most);
            if least == most && bytes.iter().all(|bytes| *bytes == i64::from(*least)) {
                *shape = exactly(*least);
            }
            Ok(())
        }
    }
}

fn bytes(counted: Counted, value: u8) -> i64 {
    i64::from(value) * i64::from(counted.times) + i64::from(counted.plus)
}

fn exactly(count: u32) -> Shape {
    let byte = || Shape::Run(Run::of(vec![value::any(8)]));
    match count {
        0 => Shape::nothing(),
        1 => byte(),
        _ => Shape::Repeat { body: Box::new(byte()), least: count, most: Some(count) },
    }
}
