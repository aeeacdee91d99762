//! A pattern on its way: templates written out, but every label still there, with where it comes from.
//!
//! It differs from the resolved tree in that alone; `with` and outputs look for fields in it.

use std::rc::Rc;

use super::files::FileId;
use crate::resolved::{Counter, Field};
use crate::source::Span;

/// Which bytes, and the names of their parts.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Run(Run),
    Any,
    Seq(Vec<Shape>),
    Alt(Vec<Shape>),
    Repeat { body: Box<Shape>, least: u32, most: Option<u32> },
    Counted(Counted),
    Named(Binding, Box<Shape>),
}

/// Fields side by side, whole bytes together.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) fields: Vec<Field>,
    /// Names of some of the bits.
    pub(super) names: Vec<BitName>,
}

/// A label of bits.
#[derive(Clone, Debug)]
pub(super) struct BitName {
    pub(super) binding: Binding,
    /// The first, counted from the first of the run.
    pub(super) offset: u32,
    pub(super) bits: u32,
}

/// Bytes counted by a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) field: Counter,
    pub(super) times: u32,
    pub(super) plus: i32,
    /// The fewest, for any value that the field may have.
    pub(super) least: u32,
    /// The most.
    pub(super) most: u32,
}

/// A label.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// What a rule writes to reach it: `ih`, `ih.src`.
    pub(super) path: String,
    pub(super) origin: Rc<Origin>,
}

/// Where a label is written.
#[derive(Debug)]
pub(super) struct Origin {
    /// The template in which it stands; `None` in a rule.
    pub(super) owner: Option<String>,
    /// As it is written there.
    pub(super) name: String,
    pub(super) file: FileId,
    pub(super) span: Span,
    /// What it labels, as it is written.
    pub(super) text: String,
    /// The template that it labels, if it does: the name written, and the layout behind it.
    pub(super) template: Option<(String, String)>,
}

/// Where a label is bound, seen from the start of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In bits; `None` if it varies.
    pub(super) offset: Option<u32>,
    /// In bits; `None` if it varies.
    pub(super) bits: Option<u32>,
    /// Whether it is a label of bits, and not of bytes.
    pub(super) is_bits: bool,
}

impl Shape {
    pub(super) fn nothing() -> Self {
        Self::Seq(Vec::new())
    }

    /// One after the other, without needless nesting.
    pub(super) fn seq(parts: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Self::Seq(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.remove(0) } else { Self::Seq(flat) }
    }

    /// One of these, without needless nesting; `None` if there is none.
    pub(super) fn alt(mut arms: Vec<Self>) -> Option<Self> {
        match arms.len() {
            0 => None,
            1 => arms.pop(),
            _ => Some(Self::Alt(arms)),
        }
    }

    /// The fewest and the most bytes.
    pub(super) fn length(&self) -> (u64, Option<u64>) {
        match self {
            Self::Run(run) => {
                let bytes = u64::from(run.bits() / 8);
                (bytes, Some(bytes))
            }
            Self::Any => (0, None),
            Self::Seq(parts) => parts
                .iter()
                .map(Self::length)
                .fold((0, Some(0)), |all, part| (all.0.saturating_add(part.0), add(all.1, part.1))),
            Self::Alt(arms) => {
                let lengths = arms.iter().map(Self::length);
                let joined = lengths
                    .reduce(|all, arm| (all.0.min(arm.0), all.1.zip(arm.1).map(|(all, arm)| all.max(arm))));
                joined.unwrap_or((0, Some(0)))
            }
            Self::Repeat { body, least, most } => {
                let (shortest, longest) = body.length();
                let most = most.zip(longest).map(|(most, longest)| u64::from(most).saturating_mul(longest));
                (shortest.saturating_mul(u64::from(*least)), most)
            }
            Self::Counted(counted) => (counted.least.into(), Some(counted.most.into())),
            Self::Named(_, inner) => inner.length(),
        }
    }

    /// How many bits, if always as many.
    pub(super) fn bits(&self) -> Option<u32> {
        let (least, most) = self.length();
        (Some(least) == most).then(|| u32::try_from(least.saturating_mul(8)).ok()).flatten()
    }

    /// What it costs to hold: its parts and fields.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Run(run) => 1 + run.fields.len() + run.names.len(),
            Self::Any | Self::Counted(_) => 1,
            Self::Seq(parts) | Self::Alt(parts) => 1 + parts.iter().map(Self::size).sum::<usize>(),
            Self::Repeat { body: inner, .. } | Self::Named(_, inner) => 1 + inner.size(),
        }
    }

    /// Calls `visit` with each label in wire order, and what it binds.
    pub(super) fn each_name<'a>(&'a self, visit: &mut impl FnMut(&'a Binding, Option<u32>)) {
        match self {
            Self::Run(run) => run.names.iter().for_each(|name| visit(&name.binding, Some(name.bits))),
            Self::Any | Self::Counted(_) => {}
            Self::Seq(parts) | Self::Alt(parts) => parts.iter().for_each(|part| part.each_name(visit)),
            Self::Repeat { body, .. } => body.each_name(visit),
            Self::Named(binding, inner) => {
                visit(binding, inner.bits());
                inner.each_name(visit);
            }
        }
    }

    /// Changes each label; those for which `change` gives `None` go.
    pub(super) fn rename(self, change: &impl Fn(Binding) -> Option<Binding>) -> Self {
        let all = |parts: Vec<Self>| parts.into_iter().map(|part| part.rename(change)).collect();
        match self {
            Self::Run(mut run) => {
                let renamed = run
                    .names
                    .into_iter()
                    .filter_map(|name| change(name.binding).map(|binding| BitName { binding, ..name }));
                run.names = renamed.collect();
                Self::Run(run)
            }
            Self::Any | Self::Counted(_) => self,
            Self::Seq(parts) => Self::seq(all(parts)),
            Self::Alt(arms) => Self::Alt(all(arms)),
            Self::Repeat { body, least, most } => {
                Self::Repeat { body: Box::new(body.rename(change)), least, most }
            }
            Self::Named(binding, inner) => {
                let inner = inner.rename(change);
                match change(binding) {
                    Some(binding) => Self::Named(binding, Box::new(inner)),
                    None => inner,
                }
            }
        }
    }

    /// Calls `visit` with each field and each count by a field, in order.
    pub(super) fn each_counter(&mut self, visit: &mut impl FnMut(&mut Counter)) {
        match self {
            Self::Run(run) => run.fields.iter_mut().filter_map(|field| field.counts.as_mut()).for_each(visit),
            Self::Any => {}
            Self::Counted(counted) => visit(&mut counted.field),
            Self::Seq(parts) | Self::Alt(parts) => parts.iter_mut().for_each(|part| part.each_counter(visit)),
            Self::Repeat { body: inner, .. } | Self::Named(_, inner) => inner.each_counter(visit),
        }
    }

    /// The first label with this path, and how many bits it binds, if always as many.
    pub(super) fn find(&self, path: &str) -> Option<(&Binding, Option<u32>)> {
        let mut found = None;
        self.each_name(&mut |binding, bits| {
            if found.is_none() && binding.path == path {
                found = Some((binding, bits));
            }
        });
        found
    }

    /// Everything that the label binds, arm by arm.
    pub(super) fn contents<'a>(&'a self, path: &str, out: &mut Vec<&'a Self>) {
        match self {
            Self::Run(_) | Self::Any | Self::Counted(_) => {}
            Self::Seq(parts) | Self::Alt(parts) => parts.iter().for_each(|part| part.contents(path, out)),
            Self::Repeat { body, .. } => body.contents(path, out),
            Self::Named(binding, inner) if binding.path == path => out.push(inner),
            Self::Named(_, inner) => inner.contents(path, out),
        }
    }

    /// Everywhere that the label is bound, seen from `offset`.
    pub(super) fn places(&self, path: &str, offset: Option<u32>, out: &mut Vec<Place>) {
        match self {
            Self::Run(run) => {
                for name in run.names.iter().filter(|name| name.binding.path == path) {
                    let offset = offset.and_then(|offset| offset.checked_add(name.offset));
                    out.push(Place { offset, bits: Some(name.bits), is_bits: true });
                }
            }
            Self::Any | Self::Counted(_) => {}
            Self::Seq(parts) => {
                let mut offset = offset;
                for part in parts {
                    part.places(path, offset, out);
                    offset = offset.zip(part.bits()).and_then(|(offset, bits)| offset.checked_add(bits));
                }
            }
            Self::Alt(arms) => arms.iter().for_each(|arm| arm.places(path, offset, out)),
            Self::Repeat { body, .. } => body.places(path, offset, out),
            Self::Named(binding, inner) => {
                if binding.path == path {
                    out.push(Place { offset, bits: inner.bits(), is_bits: false });
                }
                inner.places(path, offset, out);
            }
        }
    }

    /// Whether each way through it binds the label.
    pub(super) fn always_binds(&self, path: &str) -> bool {
        match self {
            Self::Run(run) => run.names.iter().any(|name| name.binding.path == path),
            Self::Any | Self::Counted(_) => false,
            Self::Seq(parts) => parts.iter().any(|part| part.always_binds(path)),
            Self::Alt(arms) => arms.iter().all(|arm| arm.always_binds(path)),
            Self::Repeat { body, least, .. } => 0 < *least && body.always_binds(path),
            Self::Named(binding, inner) => binding.path == path || inner.always_binds(path),
        }
    }
}

impl Run {
    pub(super) fn bits(&self) -> u32 {
        self.fields.iter().map(|field| u32::from(field.bits)).sum()
    }

    /// A run of these, without names.
    pub(super) fn of(fields: Vec<Field>) -> Self {
        Self { fields, names: Vec::new() }
    }
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).map(|(a, b)| a.saturating_add(b))
}
