//! From the resolved tree to the regex form: fields become byte sets, counted lengths a choice, labels tags.
//!
//! Preferences stay as they are: where a choice over a counting field's values is put in front of other parts, the field
//! is read first and tells the arms apart, and an alternative that holds the field takes what follows into its arms.

use std::collections::BTreeMap;

use super::{ByteSet, Node, Tag, run};
use crate::resolved::{Allowed, Counter, Field, Order, Pattern, Test};

/// The most nodes of one pattern.
pub const NODES_MAX: usize = 1 << 18;
/// No packet is longer.
const PACKET_MAX: i64 = 65_535;

/// Two lengths that depend on each other, or a set of numbers, need more nodes than are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern needs more than {limit} nodes")]
pub struct TooBig {
    /// What would be allowed.
    pub limit: usize,
}

/// The regex form of a pattern.
///
/// # Errors
/// If it would have more than [`NODES_MAX`] nodes.
pub fn lower(pattern: &Pattern) -> Result<Node, TooBig> {
    Lowering { left: NODES_MAX }.pattern(pattern, &Values::new())
}

/// What the counting fields on the way here hold.
type Values = BTreeMap<Counter, u8>;

/// A part of a sequence, with nested sequences and labels taken apart.
#[derive(Clone, Copy)]
enum Step<'p> {
    Tag(Tag),
    Part(&'p Pattern),
}

struct Lowering {
    left: usize,
}

impl Lowering {
    fn pattern(&mut self, pattern: &Pattern, values: &Values) -> Result<Node, TooBig> {
        self.spend(1)?;
        match pattern {
            Pattern::Any => Ok(Node::any()),
            Pattern::Seq(_) | Pattern::Label(..) => self.steps(&flatten(pattern), values),
            Pattern::Alt(arms) => Ok(Node::alt(self.each(arms.iter(), values)?)),
            Pattern::Repeat { body, least, most } => {
                let body = Box::new(self.pattern(body, values)?);
                Ok(Node::Repeat { body, least: *least, most: *most })
            }
            Pattern::Run(fields) => self.run(fields, values),
            Pattern::Counted { field, times, plus } => {
                let Some(value) = values.get(field) else {
                    unreachable!("a counted length comes after its field, which is always bound");
                };
                let count = i64::from(*value) * i64::from(*times) + i64::from(*plus);
                Ok(match u32::try_from(count) {
                    Ok(bytes) if count <= PACKET_MAX => Node::bytes(ByteSet::ALL, bytes),
                    _ => Node::never(),
                })
            }
        }
    }

    fn each<'p>(
        &mut self,
        patterns: impl Iterator<Item = &'p Pattern>,
        values: &Values,
    ) -> Result<Vec<Node>, TooBig> {
        patterns.map(|pattern| self.pattern(pattern, values)).collect()
    }

    fn steps(&mut self, steps: &[Step<'_>], values: &Values) -> Result<Node, TooBig> {
        let mut nodes = Vec::new();
        let mut rest = steps;
        while let Some((first, behind)) = rest.split_first() {
            match first {
                Step::Tag(tag) => {
                    self.spend(1)?;
                    nodes.push(Node::Tag(*tag));
                    rest = behind;
                }
                Step::Part(part) => {
                    // What a counter of this part held before, in an earlier copy of a repetition, is over.
                    let values = without_counters_of(part, values);
                    match counter_used_behind(part, behind, &values) {
                        None => {
                            nodes.push(self.pattern(part, &values)?);
                            rest = behind;
                        }
                        Some((counter, used)) => {
                            nodes.push(self.choice(counter, part, &behind[..=used], &values)?);
                            rest = &behind[used + 1..];
                        }
                    }
                }
            }
        }
        Ok(Node::seq(nodes))
    }

    /// A part that holds a counting field, and what follows up to the last length that it counts.
    fn choice(
        &mut self,
        counter: Counter,
        part: &Pattern,
        behind: &[Step<'_>],
        values: &Values,
    ) -> Result<Node, TooBig> {
        let mut arms = Vec::new();
        match part {
            Pattern::Run(fields) => {
                let field = fields.iter().find(|field| field.counts == Some(counter));
                for value in field.into_iter().flat_map(allowed_values) {
                    let mut values = values.clone();
                    values.insert(counter, value);
                    arms.push(match counter_used_behind(part, behind, &values) {
                        // The same bytes hold another counter.
                        Some((other, _)) => self.choice(other, part, behind, &values)?,
                        None => Node::seq([self.run(fields, &values)?, self.steps(behind, &values)?]),
                    });
                }
            }
            Pattern::Alt(patterns) => {
                for arm in patterns {
                    let mut steps = flatten(arm);
                    steps.extend_from_slice(behind);
                    arms.push(self.steps(&steps, values)?);
                }
            }
            _ => unreachable!("a field that is bound on every way is in no repetition"),
        }
        Ok(Node::alt(arms))
    }

    fn run(&mut self, fields: &[Field], values: &Values) -> Result<Node, TooBig> {
        let fields: Vec<Field> = fields.iter().map(|field| pinned(field, values)).collect();
        let node = run::lower(&fields, self.left).ok_or(TooBig { limit: NODES_MAX })?;
        self.spend(node.count())?;
        Ok(node)
    }

    fn spend(&mut self, nodes: usize) -> Result<(), TooBig> {
        self.left = self.left.checked_sub(nodes).ok_or(TooBig { limit: NODES_MAX })?;
        Ok(())
    }
}

impl Node {
    /// How many nodes it has, itself and those in it.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + match self {
            Self::Byte(_) | Self::Tag(_) => 0,
            Self::Seq(parts) | Self::Alt(parts) => parts.iter().map(Self::count).sum(),
            Self::Repeat { body, .. } => body.count(),
        }
    }
}

/// A counter whose field is in `part` and not known, and the last step behind that needs any such counter.
fn counter_used_behind(part: &Pattern, behind: &[Step<'_>], values: &Values) -> Option<(Counter, usize)> {
    let mut counters = counters_of(part);
    let used = |counter: &Counter| {
        let is_bound =
            |step: &Step<'_>| matches!(step, Step::Part(part) if counters_of(part).contains(counter));
        // Behind a field that counts anew, as copies of a repetition do, it is that field that is meant.
        let reach = behind.iter().position(is_bound).unwrap_or(behind.len());
        behind[..reach].iter().rposition(|step| matches!(step, Step::Part(part) if uses(part, *counter)))
    };
    counters.retain(|counter| !values.contains_key(counter) && used(counter).is_some());
    let last = counters.iter().filter_map(used).max()?;
    counters.first().map(|counter| (*counter, last))
}

fn counters_of(pattern: &Pattern) -> Vec<Counter> {
    let mut counters = Vec::new();
    collect_counters(pattern, &mut counters);
    counters
}

fn without_counters_of(part: &Pattern, values: &Values) -> Values {
    let counters = counters_of(part);
    values
        .iter()
        .map(|(counter, value)| (*counter, *value))
        .filter(|(it, _)| !counters.contains(it))
        .collect()
}

fn collect_counters(pattern: &Pattern, counters: &mut Vec<Counter>) {
    match pattern {
        Pattern::Run(fields) => counters.extend(fields.iter().filter_map(|field| field.counts)),
        Pattern::Any | Pattern::Counted { .. } => {}
        Pattern::Seq(parts) | Pattern::Alt(parts) => {
            parts.iter().for_each(|part| collect_counters(part, counters));
        }
        Pattern::Repeat { body, .. } | Pattern::Label(_, body) => collect_counters(body, counters),
    }
}

fn uses(pattern: &Pattern, counter: Counter) -> bool {
    match pattern {
        Pattern::Counted { field, .. } => *field == counter,
        Pattern::Run(_) | Pattern::Any => false,
        Pattern::Seq(parts) | Pattern::Alt(parts) => parts.iter().any(|part| uses(part, counter)),
        Pattern::Repeat { body, .. } | Pattern::Label(_, body) => uses(body, counter),
    }
}

fn flatten(pattern: &Pattern) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    flatten_into(pattern, &mut steps);
    steps
}

fn flatten_into<'p>(pattern: &'p Pattern, steps: &mut Vec<Step<'p>>) {
    match pattern {
        Pattern::Seq(parts) => parts.iter().for_each(|part| flatten_into(part, steps)),
        Pattern::Label(label, body) => {
            steps.push(Step::Tag(Tag::Begin(*label)));
            flatten_into(body, steps);
            steps.push(Step::Tag(Tag::End(*label)));
        }
        // Once is not a repetition: fields in it are bound on every way.
        Pattern::Repeat { body, least: 1, most: Some(1) } => flatten_into(body, steps),
        _ => steps.push(Step::Part(pattern)),
    }
}

fn allowed_values(field: &Field) -> impl Iterator<Item = u8> {
    let field = field.clone();
    let last = u8::MAX >> 8_u8.saturating_sub(field.bits);
    (0..=last).filter(move |value| field.allows(u64::from(*value)))
}

fn pinned(field: &Field, values: &Values) -> Field {
    let mut field = field.clone();
    if let Some(value) = field.counts.and_then(|counter| values.get(&counter)) {
        let value = u64::from(*value);
        let test = Test { order: Order::Big, mask: u64::MAX, first: value, last: value };
        field.all_of.push(Allowed::AnyOf(vec![test]));
    }
    field
}

#[cfg(test)]
mod tests;
