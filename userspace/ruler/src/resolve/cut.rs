//! Brings values into a pattern, bit by bit if need be.
//!
//! A field and its values may divide the same bits differently (`byte#2` and `80~2`). Where they do, free bits are put
//! together or cut; where bits are no longer free, the values are cut into cubes, which can be cut anywhere.

use super::cube::{self, Cube};
use super::shape::{BitName, Run, Shape};
use super::value;
use crate::resolved::{Allowed, Field, Test};

/// Why there is no pattern left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRest {
    /// No value passes.
    Nothing,
    /// Saying what is left takes too many cubes.
    TooMuch,
}

type Rest = Result<Shape, NoRest>;

/// What is left of `shape` when the label holds one of `alternatives`.
pub(super) fn narrowed(shape: &Shape, path: &str, alternatives: &[Vec<Field>]) -> Rest {
    match shape {
        Shape::Run(run) => {
            let name = run.names.iter().find(|name| name.binding.path == path).ok_or(NoRest::Nothing)?;
            any_of(shape, name.offset, alternatives)
        }
        Shape::Any | Shape::Counted(_) => Err(NoRest::Nothing),
        Shape::Seq(parts) => {
            // On any way the label is bound at most once: in one part alone.
            let at = parts.iter().position(|part| part.find(path).is_some()).ok_or(NoRest::Nothing)?;
            let mut left = parts.clone();
            left[at] = narrowed(&parts[at], path, alternatives)?;
            Ok(Shape::seq(left))
        }
        Shape::Alt(arms) => some_of(arms.iter().map(|arm| narrowed(arm, path, alternatives))),
        // It has a label inside, so it repeats at most once; and no field, no match.
        Shape::Repeat { body, .. } => narrowed(body, path, alternatives),
        Shape::Named(binding, inner) => {
            let left = if binding.path == path {
                any_of(&flat(inner), 0, alternatives)?
            } else {
                narrowed(inner, path, alternatives)?
            };
            Ok(Shape::Named(binding.clone(), Box::new(left)))
        }
    }
}

/// The arms that are left.
fn some_of(arms: impl Iterator<Item = Rest>) -> Rest {
    let mut left = Vec::new();
    for arm in arms {
        match arm {
            Ok(arm) => left.push(arm),
            Err(NoRest::Nothing) => {}
            Err(NoRest::TooMuch) => return Err(NoRest::TooMuch),
        }
    }
    Shape::alt(left).ok_or(NoRest::Nothing)
}

fn any_of(shape: &Shape, offset: u32, alternatives: &[Vec<Field>]) -> Rest {
    some_of(alternatives.iter().map(|fields| {
        let mut at = offset;
        fields.iter().try_fold(shape.clone(), |shape, field| {
            let here = at;
            at += u32::from(field.bits);
            limited(&shape, here, field)
        })
    }))
}

/// The same, with repetitions of one length written out and runs that touch put together.
fn flat(shape: &Shape) -> Shape {
    match shape {
        Shape::Repeat { body, least, most } if Some(*least) == *most => {
            let copies = usize::try_from(*least).unwrap_or(usize::MAX);
            fused(std::iter::repeat_n(flat(body), copies).collect())
        }
        Shape::Seq(parts) => fused(parts.iter().map(flat).collect()),
        Shape::Alt(arms) => Shape::Alt(arms.iter().map(flat).collect()),
        Shape::Named(binding, inner) => Shape::Named(binding.clone(), Box::new(flat(inner))),
        Shape::Run(_) | Shape::Any | Shape::Counted(_) | Shape::Repeat { .. } => shape.clone(),
    }
}

fn fused(parts: Vec<Shape>) -> Shape {
    let parts = match Shape::seq(parts) {
        Shape::Seq(parts) => parts,
        one => return one,
    };
    let mut all: Vec<Shape> = Vec::new();
    for part in parts {
        match (all.last_mut(), part) {
            (Some(Shape::Run(run)), Shape::Run(next)) => {
                let shift = run.bits();
                run.fields.extend(next.fields);
                run.names.extend(
                    next.names.into_iter().map(|name| BitName { offset: name.offset + shift, ..name }),
                );
            }
            (_, part) => all.push(part),
        }
    }
    Shape::seq(all)
}

/// What is left when the bits from `offset` on are `wanted`. They lie in what has a fixed width.
fn limited(shape: &Shape, offset: u32, wanted: &Field) -> Rest {
    if wanted.all_of.is_empty() {
        return Ok(shape.clone());
    }
    match shape {
        Shape::Run(run) => limited_run(run, offset, wanted),
        Shape::Any | Shape::Counted(_) | Shape::Repeat { .. } => unreachable!("a field has one width"),
        Shape::Alt(arms) => some_of(arms.iter().map(|arm| limited(arm, offset, wanted))),
        Shape::Named(binding, inner) => {
            Ok(Shape::Named(binding.clone(), Box::new(limited(inner, offset, wanted)?)))
        }
        Shape::Seq(parts) => limited_seq(parts, offset, wanted),
    }
}

fn limited_seq(parts: &[Shape], offset: u32, wanted: &Field) -> Rest {
    let end = offset + u32::from(wanted.bits);
    let mut start = 0;
    for (at, part) in parts.iter().enumerate() {
        let next = start + part.bits().unwrap_or(0);
        if start <= offset && end <= next {
            let mut left = parts.to_vec();
            left[at] = limited(part, offset - start, wanted)?;
            return Ok(Shape::Seq(left));
        }
        if start <= offset && offset < next {
            return cut(&Shape::Seq(parts.to_vec()), offset, wanted, next - offset);
        }
        start = next;
    }
    unreachable!("the bits lie inside")
}

fn limited_run(run: &Run, offset: u32, wanted: &Field) -> Rest {
    let end = offset + u32::from(wanted.bits);
    let (at, start) = field_at(run, offset);
    let field = &run.fields[at];
    let next = start + u32::from(field.bits);
    let with = |range: std::ops::Range<usize>, fields: Vec<Field>| {
        let mut left = run.clone();
        left.fields.splice(range, fields);
        Ok(Shape::Run(left))
    };
    if (start, next) == (offset, end) {
        let mut left = field.clone();
        left.all_of.extend(wanted.all_of.iter().cloned());
        return if cube::is_possible(&left) { with(at..at + 1, vec![left]) } else { Err(NoRest::Nothing) };
    }
    if is_free(field) && end <= next {
        let piece = |bits: u32| u8::try_from(bits).ok().filter(|bits| 0 < *bits).map(value::any);
        let pieces = [piece(offset - start), Some(wanted.clone()), piece(next - end)];
        return with(at..at + 1, pieces.into_iter().flatten().collect());
    }
    let (mut last, mut reached) = (at, start);
    while reached < end && is_free(&run.fields[last]) {
        reached += u32::from(run.fields[last].bits);
        last += 1;
    }
    if (start, reached) == (offset, end) {
        return with(at..last, vec![wanted.clone()]);
    }
    if end <= next {
        let wider = widened(wanted, field.bits, next - end)?;
        return limited_run(run, start, &wider);
    }
    cut(&Shape::Run(run.clone()), offset, wanted, next - offset)
}

/// Which field holds the bit, and where it begins.
fn field_at(run: &Run, offset: u32) -> (usize, u32) {
    let mut start = 0;
    for (at, field) in run.fields.iter().enumerate() {
        let next = start + u32::from(field.bits);
        if offset < next {
            return (at, start);
        }
        start = next;
    }
    unreachable!("the bit lies inside")
}

fn is_free(field: &Field) -> bool {
    field.all_of.is_empty() && field.counts.is_none()
}

/// The same test on a field of more bits, of which `shift` follow those that are tested.
fn widened(wanted: &Field, bits: u8, shift: u32) -> Result<Field, NoRest> {
    let set = cube::cubes(&wanted.all_of, wanted.bits).ok_or(NoRest::TooMuch)?;
    let tests =
        set.into_iter().map(|cube| Cube { mask: cube.mask << shift, value: cube.value << shift }.test());
    Ok(Field { bits, all_of: vec![Allowed::AnyOf(tests.collect())], counts: None })
}

/// Asks for the first `bits` of `wanted` and for the rest apart, cube by cube.
fn cut(shape: &Shape, offset: u32, wanted: &Field, bits: u32) -> Rest {
    let rest = u32::from(wanted.bits) - bits;
    let set = cube::cubes(&wanted.all_of, wanted.bits).ok_or(NoRest::TooMuch)?;
    let low = u64::MAX >> (64 - rest);
    some_of(set.into_iter().map(|cube| {
        let head = piece(bits, Cube { mask: cube.mask >> rest, value: cube.value >> rest });
        let tail = piece(rest, Cube { mask: cube.mask & low, value: cube.value & low });
        limited(&limited(shape, offset, &head)?, offset + bits, &tail)
    }))
}

fn piece(bits: u32, cube: Cube) -> Field {
    let tests: Vec<Test> = (cube.mask != 0).then(|| cube.test()).into_iter().collect();
    let all_of = if tests.is_empty() { Vec::new() } else { vec![Allowed::AnyOf(tests)] };
    Field { bits: u8::try_from(bits).unwrap_or(64), all_of, counts: None }
}
